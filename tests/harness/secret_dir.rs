//! A Secret on disk as kubelet mounts it: the files lie in a directory named after the time, `..data`
//! is a symlink to it that is replaced in one rename, and every key is a symlink through `..data`.
//! (kubelet's `AtomicWriter`, `pkg/volume/util/atomic_writer.go`.)

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use tempfile::TempDir;

use crate::pki::SecretData;

/// A mounted Secret; the directory is removed when it is dropped.
#[derive(Debug)]
pub struct SecretDir {
    path: PathBuf,
    round: AtomicU32,
    _home: Option<TempDir>,
}

impl SecretDir {
    /// Mounts `data` in a temporary directory of its own.
    pub fn new(data: &SecretData) -> Self {
        let home =
            TempDir::with_prefix("lasthop-secret-").expect("a temporary directory can be made");
        let path = home.path().to_owned();
        let dir = Self { path, round: AtomicU32::new(0), _home: Some(home) };
        dir.rotate(data);
        dir
    }

    /// Mounts `data` at `path`, which is made, and left behind when this is dropped: for a
    /// `--secrets-root` with several Secrets below it.
    pub fn at(path: impl Into<PathBuf>, data: &SecretData) -> Self {
        let path = path.into();
        std::fs::create_dir_all(&path).expect("the directory can be made");
        let dir = Self { path, round: AtomicU32::new(0), _home: None };
        dir.rotate(data);
        dir
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Replaces the data at once, as kubelet does when the Secret changed.
    pub fn rotate(&self, data: &SecretData) {
        let round = self.round.fetch_add(1, Ordering::Relaxed);
        let fresh = format!("..2026_11_21_12_00_{:02}.{:09}", round % 60, round);
        let directory = self.path.join(&fresh);
        std::fs::create_dir(&directory).expect("the name is new");
        for (key, bytes) in data {
            std::fs::write(directory.join(key), bytes).expect("a file can be written");
        }
        let old = std::fs::read_link(self.path.join("..data")).ok();
        let next = self.path.join("..data_tmp");
        symlink(&fresh, &next).expect("the name is free");
        std::fs::rename(&next, self.path.join("..data")).expect("a symlink can be renamed");
        self.link_keys(data);
        if let Some(old) = old {
            std::fs::remove_dir_all(self.path.join(old)).expect("the old data can be removed");
        }
    }

    /// Every key a symlink; those of keys that are gone are removed.
    fn link_keys(&self, data: &SecretData) {
        for key in data.keys() {
            let link = self.path.join(key);
            if link.symlink_metadata().is_err() {
                symlink(Path::new("..data").join(key), link).expect("a symlink can be made");
            }
        }
        let entries = std::fs::read_dir(&self.path).expect("the directory can be read");
        for name in entries.map(|entry| entry.expect("the directory can be read").file_name()) {
            let name = name.to_str().expect("keys are ASCII");
            if !name.starts_with("..") && !data.contains_key(name) {
                std::fs::remove_file(self.path.join(name)).expect("a symlink can be removed");
            }
        }
    }
}
