//! Comparison with a file that a person has read: what differs is shown as a diff, and
//! `UPDATE_GOLDEN=1 cargo test` writes the file anew.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use similar::{ChangeTag, TextDiff};

/// What differs from run to run and is replaced before the comparison.
#[derive(Clone, Debug)]
pub enum Varying {
    /// This text becomes that one: a directory, an address, a fingerprint.
    Text(String, String),
    /// The port after `127.0.0.1:`, `[::1]:` or `localhost:` becomes `PORT`.
    Ports,
    /// Times of RFC 3339 and their dates become `TIME` and `DAY`.
    Times,
}

impl Varying {
    /// `path` becomes `name`.
    pub fn path(path: impl AsRef<Path>, name: &str) -> Self {
        Self::Text(path.as_ref().display().to_string(), name.to_owned())
    }
}

/// Panics unless `actual`, less what varies, is the text of the file; `file` is relative to the
/// crate `tests`.
#[track_caller]
pub fn check(file: impl AsRef<Path>, actual: &str, varying: &[Varying]) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    let actual = normalise(actual, varying);
    if std::env::var("UPDATE_GOLDEN").is_ok_and(|value| value == "1") {
        write(&path, &actual);
        return;
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_else(|error| {
        panic!(
            "{} cannot be read ({error}); UPDATE_GOLDEN=1 writes it. It would be:\n{actual}",
            path.display()
        )
    });
    assert!(
        expected == actual,
        "{} differs; where the new text is right, UPDATE_GOLDEN=1 writes it\n{}",
        path.display(),
        diff(&expected, &actual)
    );
}

fn write(path: &PathBuf, text: &str) {
    let parent = path.parent().expect("a file has a directory");
    std::fs::create_dir_all(parent).expect("the directory can be made");
    std::fs::write(path, text).expect("a golden file can be written");
}

/// `text` with everything that varies replaced.
pub fn normalise(text: &str, varying: &[Varying]) -> String {
    varying.iter().fold(text.to_owned(), |text, varying| match varying {
        Varying::Text(from, to) => text.replace(from, to),
        Varying::Ports => ports(&text),
        Varying::Times => times(&text),
    })
}

fn ports(text: &str) -> String {
    ["127.0.0.1:", "[::1]:", "localhost:"].iter().fold(text.to_owned(), |text, host| {
        let mut pieces = text.split(host);
        let mut out = pieces.next().unwrap_or_default().to_owned();
        for piece in pieces {
            let rest = piece.trim_start_matches(|character: char| character.is_ascii_digit());
            let port = if rest.len() < piece.len() { "PORT" } else { "" };
            let _infallible = write!(out, "{host}{port}{rest}");
        }
        out
    })
}

fn times(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(character) = rest.chars().next() {
        let (length, word) = match (date(rest), time_of_day(rest)) {
            (Some(date), Some(time)) => (date + time, "TIME"),
            (Some(date), None) => (date, "DAY"),
            (None, _) => {
                out.push(character);
                rest = &rest[character.len_utf8()..];
                continue;
            }
        };
        out.push_str(word);
        rest = &rest[length..];
    }
    out
}

/// The length of `2026-11-21` at the start of `text`.
fn date(text: &str) -> Option<usize> {
    fits(text.as_bytes(), b"dddd-dd-dd")
}

/// The length of `T13:00:00.123Z` ten bytes after the start of `text`.
fn time_of_day(text: &str) -> Option<usize> {
    let bytes = text.as_bytes().get(10..)?;
    let whole = fits(bytes, b"Tdd:dd:dd")?;
    let fraction = match bytes.get(whole) {
        Some(b'.') => 1 + bytes[whole + 1..].iter().take_while(|it| it.is_ascii_digit()).count(),
        _ => 0,
    };
    (bytes.get(whole + fraction) == Some(&b'Z')).then_some(whole + fraction + 1)
}

/// The length of `shape` if `bytes` begin like it, `d` being any digit.
fn fits(bytes: &[u8], shape: &[u8]) -> Option<usize> {
    let bytes = bytes.get(..shape.len())?;
    let same = |(byte, shape): (&u8, &u8)| match shape {
        b'd' => byte.is_ascii_digit(),
        other => byte == other,
    };
    bytes.iter().zip(shape).all(same).then_some(shape.len())
}

/// The lines that differ, with three around them: `-` is the file, `+` what came.
pub fn diff(expected: &str, actual: &str) -> String {
    let diff = TextDiff::from_lines(expected, actual);
    let mut out = String::new();
    for group in diff.grouped_ops(3) {
        out.push_str("...\n");
        for change in group.iter().flat_map(|op| diff.iter_changes(op)) {
            let sign = match change.tag() {
                ChangeTag::Delete => '-',
                ChangeTag::Insert => '+',
                ChangeTag::Equal => ' ',
            };
            let end = if change.missing_newline() { "  (no line break)\n" } else { "" };
            let _infallible = write!(out, "{sign}{}{end}", change.value());
        }
    }
    out
}
