//! Paths to texts.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use lasthop_contract::text::escape;

use super::{Failure, MOST_BYTES, Source};

/// The endings that a folder is searched for.
const ENDINGS: [&str; 3] = ["yaml", "yml", "json"];

/// No folder is entered that lies deeper than this below the one that was given.
const DEEPEST: usize = 64;

pub(super) fn standard_input() -> Result<Source, Failure> {
    text("<stdin>", io::stdin().lock())
}

/// Every file at or below `path`, by name.
pub(super) fn files(path: &Path, each: &mut dyn FnMut(Result<Source, Failure>)) {
    match fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => folder(path, 0, each),
        Ok(_) => each(file(path)),
        Err(error) => each(Err(failure(&path.to_string_lossy(), &error))),
    }
}

/// A folder's files, then its folders, each by name. Links to folders are not followed: they may
/// lead round in a circle. Names that begin with a dot are left out, `.git` among them.
fn folder(path: &Path, depth: usize, each: &mut dyn FnMut(Result<Source, Failure>)) {
    let entries = fs::read_dir(path).and_then(Iterator::collect::<io::Result<Vec<_>>>);
    let mut entries = match entries {
        Ok(entries) => entries,
        Err(error) => return each(Err(failure(&path.to_string_lossy(), &error))),
    };
    entries.retain(|entry| !entry.file_name().as_encoded_bytes().starts_with(b"."));
    entries.sort_by_key(fs::DirEntry::file_name);
    let is_folder = |entry: &fs::DirEntry| entry.file_type().is_ok_and(|kind| kind.is_dir());
    let (folders, others): (Vec<_>, Vec<_>) = entries.into_iter().partition(is_folder);
    for entry in others {
        let path = entry.path();
        let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
        // Pipes and devices in a folder would never come to an end.
        let wanted =
            ENDINGS.contains(&ending) && fs::metadata(&path).map_or(true, |it| it.is_file());
        if wanted {
            each(file(&path));
        }
    }
    for entry in folders {
        if depth < DEEPEST {
            folder(&entry.path(), depth + 1, each);
        }
    }
}

fn file(path: &Path) -> Result<Source, Failure> {
    let name = path.to_string_lossy();
    File::open(path).map_err(|error| failure(&name, &error)).and_then(|file| text(&name, file))
}

fn text(name: &str, from: impl Read) -> Result<Source, Failure> {
    let fail = |message: String| Failure { file: escape(name), place: None, message };
    let mut bytes = Vec::new();
    let read = from.take(MOST_BYTES + 1).read_to_end(&mut bytes);
    read.map_err(|error| failure(name, &error))?;
    if bytes.len() as u64 > MOST_BYTES {
        return Err(fail(format!("it has more than {} MiB", MOST_BYTES / 1024 / 1024)));
    }
    if bytes.starts_with(b"\xFF\xFE") || bytes.starts_with(b"\xFE\xFF") {
        return Err(fail("it is UTF-16 text, save it as UTF-8".to_owned()));
    }
    let text = String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        fail(format!("it is not UTF-8 text (byte {at})"))
    })?;
    if text.contains('\0') {
        return Err(fail("it is not text, it holds a zero byte".to_owned()));
    }
    let text = text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text);
    Ok(Source::new(&escape(name), text))
}

pub(super) fn failure(name: &str, error: &io::Error) -> Failure {
    let message = match error.kind() {
        io::ErrorKind::NotFound => "there is no such file or folder".to_owned(),
        io::ErrorKind::PermissionDenied => "it may not be read".to_owned(),
        _ => format!("it cannot be read: {error}"),
    };
    Failure { file: escape(name), place: None, message }
}
