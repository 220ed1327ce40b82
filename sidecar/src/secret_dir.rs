//! A Secret on disk, as kubelet mounts it, read one generation at a time.
//!
//! kubelet writes a new timestamped directory and then points the symbolic link `..data` to it, so
//! the link is resolved once and every file read through what it resolved to: chain and key never
//! come from different generations. A plain directory is read until it did not change meanwhile.

use std::collections::hash_map::RandomState;
use std::ffi::OsString;
use std::fs::{self, File};
use std::hash::BuildHasher as _;
use std::io::{self, Read as _};
use std::path::{Component, Path, PathBuf};
use std::time::SystemTime;

use lasthop_contract::credential::{CA_KEYS, CRL_KEYS, Form, MOST_BYTES, SecretData};
use lasthop_contract::text::escape;

/// Reads that a directory which keeps changing is given.
const TRIES: usize = 5;

/// Files that are looked at; Kubernetes bounds a Secret's size, a plain directory has no bound.
const MOST_FILES: usize = 256;

/// How names of Secrets become directories.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum SecretPaths {
    /// They are paths, as the command line gives them.
    AsGiven,
    /// They are names below this directory.
    Under(PathBuf),
}

impl SecretPaths {
    /// The directory of the Secret `name`.
    ///
    /// # Errors
    /// A name in a document that leads out of its root.
    pub(crate) fn directory(&self, name: &str) -> Result<SecretDir, String> {
        let path = match self {
            Self::AsGiven => PathBuf::from(name),
            Self::Under(root) => {
                let relative = Path::new(name);
                let plain = |part: Component<'_>| matches!(part, Component::Normal(_));
                if name.is_empty() || !relative.components().all(plain) {
                    return Err(format!(
                        "`{}` is not the name of a Secret below the secrets root",
                        escape(name)
                    ));
                }
                root.join(relative)
            }
        };
        Ok(SecretDir { name: name.to_owned(), path })
    }
}

/// The directory of one Secret.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct SecretDir {
    name: String,
    path: PathBuf,
}

/// What a directory looks like from outside: cheap to take, and different after a change.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Stamp {
    /// Where `..data` points.
    Generation(PathBuf),
    /// Name, length and time of change of every file.
    Files(Vec<(OsString, u64, SystemTime)>),
}

/// A Secret as it was at one moment.
#[derive(Debug)]
pub(crate) struct Snapshot {
    /// What it looked like from outside.
    pub(crate) stamp: Stamp,
    /// A digest of the contents, comparable within this process only.
    pub(crate) digest: u64,
    /// The contents; keys without a meaning for us are there without their values.
    pub(crate) data: SecretData,
}

impl SecretDir {
    /// The name in configuration, log and metrics.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// What it looks like now.
    pub(crate) fn stamp(&self) -> io::Result<Stamp> {
        match fs::read_link(self.path.join("..data")) {
            Ok(target) => Ok(Stamp::Generation(target)),
            Err(_no_link) => files(&self.path).map(Stamp::Files),
        }
    }

    /// Reads one generation.
    pub(crate) fn read(&self, hasher: &RandomState) -> io::Result<Snapshot> {
        for _ in 0..TRIES {
            let stamp = self.stamp()?;
            let directory = match &stamp {
                Stamp::Generation(target) => self.path.join(target),
                Stamp::Files(_) => self.path.clone(),
            };
            let data = match contents(&directory) {
                Ok(data) => data,
                // kubelet removes the old generation as soon as `..data` points to the new one.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            if self.stamp()? == stamp {
                let digest = hasher.hash_one(&data);
                return Ok(Snapshot { stamp, digest, data });
            }
        }
        Err(io::Error::other("it changes faster than it can be read"))
    }
}

/// The files of `directory`, in the order of their names.
fn files(directory: &Path) -> io::Result<Vec<(OsString, u64, SystemTime)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory)? {
        let name = entry?.file_name();
        if name.as_encoded_bytes().starts_with(b"..") {
            continue;
        }
        if found.len() == MOST_FILES {
            return Err(io::Error::other(format!("it holds more than {MOST_FILES} files")));
        }
        let about = fs::metadata(directory.join(&name))?;
        if about.is_file() {
            found.push((name, about.len(), about.modified()?));
        }
    }
    found.sort();
    Ok(found)
}

/// The values of the keys that mean something to us.
fn contents(directory: &Path) -> io::Result<SecretData> {
    let mut data = SecretData::new();
    for (name, _, _) in files(directory)? {
        let Ok(key) = name.into_string() else { continue };
        let value = if is_meant(&key) { bounded(&directory.join(&key))? } else { Vec::new() };
        data.insert(key, value);
    }
    Ok(data)
}

fn is_meant(key: &str) -> bool {
    Form::ALL.iter().any(|form| key == form.chain_key() || key == form.private_key())
        || CA_KEYS.contains(&key)
        || CRL_KEYS.contains(&key)
}

/// The file at `path`; of one that is too long, enough for the reader to see that.
fn bounded(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let most = u64::try_from(MOST_BYTES).unwrap_or(u64::MAX).saturating_add(1);
    File::open(path)?.take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    /// A directory that goes when the test does.
    struct Scratch(PathBuf);

    impl Scratch {
        fn new() -> Self {
            static NEXT: AtomicU32 = AtomicU32::new(0);
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let path = std::env::temp_dir()
                .join(format!("lasthop-secret-dir-{}-{number}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }

        fn dir(&self) -> SecretDir {
            SecretPaths::AsGiven.directory(self.0.to_str().unwrap()).unwrap()
        }

        /// Writes a generation and points `..data` to it, as kubelet does.
        fn publish(&self, generation: &str, files: &[(&str, &str)]) {
            let directory = self.0.join(generation);
            fs::create_dir(&directory).unwrap();
            for (name, text) in files {
                fs::write(directory.join(name), text).unwrap();
                let link = self.0.join(name);
                if !link.is_symlink() {
                    symlink(Path::new("..data").join(name), link).unwrap();
                }
            }
            let fresh = self.0.join("..data_tmp");
            symlink(generation, &fresh).unwrap();
            fs::rename(fresh, self.0.join("..data")).unwrap();
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _left_behind = fs::remove_dir_all(&self.0);
        }
    }

    fn text(snapshot: &Snapshot, key: &str) -> String {
        String::from_utf8(snapshot.data[key].clone()).unwrap()
    }

    #[test]
    fn a_mounted_secret_is_read_through_its_generation() {
        let scratch = Scratch::new();
        scratch
            .publish("..2026_01", &[("tls.crt", "one"), ("tls.key", "one"), ("note", "private")]);
        let hasher = RandomState::new();
        let first = scratch.dir().read(&hasher).unwrap();
        assert_eq!(first.stamp, Stamp::Generation(PathBuf::from("..2026_01")));
        assert_eq!((text(&first, "tls.crt"), text(&first, "note")), ("one".into(), String::new()));
        scratch.publish("..2026_02", &[("tls.crt", "two"), ("tls.key", "two")]);
        let second = scratch.dir().read(&hasher).unwrap();
        assert_eq!(text(&second, "tls.key"), "two");
        assert_ne!(first.digest, second.digest);
        assert!(!second.data.contains_key("note"));
    }

    #[test]
    fn the_same_contents_in_a_new_generation_have_the_same_digest() {
        let scratch = Scratch::new();
        let hasher = RandomState::new();
        scratch.publish("..1", &[("tls.crt", "same")]);
        let first = scratch.dir().read(&hasher).unwrap();
        scratch.publish("..2", &[("tls.crt", "same")]);
        let second = scratch.dir().read(&hasher).unwrap();
        assert_ne!(first.stamp, second.stamp);
        assert_eq!(first.digest, second.digest);
    }

    #[test]
    fn a_plain_directory_works_too() {
        let scratch = Scratch::new();
        fs::write(scratch.0.join("tls.crt"), "plain").unwrap();
        let snapshot = scratch.dir().read(&RandomState::new()).unwrap();
        assert_eq!(text(&snapshot, "tls.crt"), "plain");
        let before = scratch.dir().stamp().unwrap();
        fs::write(scratch.0.join("tls.crt"), "longer than before").unwrap();
        assert_ne!(scratch.dir().stamp().unwrap(), before);
    }

    #[test]
    fn what_is_not_there_is_an_error() {
        let dir = SecretPaths::AsGiven.directory("/nonexistent/secret").unwrap();
        assert_eq!(dir.read(&RandomState::new()).unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn an_endless_file_is_not_read_to_its_end() {
        let scratch = Scratch::new();
        fs::write(scratch.0.join("tls.crt"), vec![b'x'; MOST_BYTES + 100]).unwrap();
        let snapshot = scratch.dir().read(&RandomState::new()).unwrap();
        assert_eq!(snapshot.data["tls.crt"].len(), MOST_BYTES + 1);
    }

    #[test]
    fn names_in_a_document_stay_below_the_root() {
        let paths = SecretPaths::Under(PathBuf::from("/secrets"));
        assert_eq!(paths.directory("ca/alb").unwrap().path, PathBuf::from("/secrets/ca/alb"));
        for name in ["", "/etc", "..", "../x", "a/../../b", "./a", "a/.."] {
            assert!(paths.directory(name).is_err(), "{name}");
        }
    }

    #[test]
    fn chain_and_key_never_come_from_two_generations() {
        let scratch = Scratch::new();
        scratch.publish("..0", &[("tls.crt", "0"), ("tls.key", "0")]);
        let dir = scratch.dir();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for number in 1..200 {
                    let text = number.to_string();
                    scratch
                        .publish(&format!("..{number}"), &[("tls.crt", &text), ("tls.key", &text)]);
                    fs::remove_dir_all(scratch.0.join(format!("..{}", number - 1))).unwrap();
                }
            });
            let hasher = RandomState::new();
            for _ in 0..500 {
                // A directory that changes all the time may be given up on, but is never mixed.
                if let Ok(snapshot) = dir.read(&hasher) {
                    assert_eq!(text(&snapshot, "tls.crt"), text(&snapshot, "tls.key"));
                }
            }
        });
    }
}
