//! Text that came from outside, made safe to print.

use std::borrow::Cow;
use std::fmt::Write as _;

/// At most this many characters of a foreign text are shown.
const SHOWN: usize = 200;

/// `raw` without control characters, bounded in length, so that it can stand in a log line, a
/// terminal or an admission warning without steering any of them.
pub fn escape(raw: &str) -> String {
    escaped(raw).into_owned()
}

/// The same, without a copy where nothing has to be escaped, as in nearly all that is ever shown.
pub fn escaped(raw: &str) -> Cow<'_, str> {
    if raw.len() <= SHOWN && raw.bytes().all(|it| it == b' ' || it.is_ascii_graphic()) {
        return Cow::Borrowed(raw);
    }
    let mut out = String::with_capacity(raw.len().min(SHOWN));
    for (count, character) in raw.chars().enumerate() {
        if count == SHOWN {
            out.push('…');
            break;
        }
        if is_plain(character) {
            out.push(character);
        } else {
            let _infallible = write!(out, "{}", character.escape_unicode());
        }
    }
    Cow::Owned(out)
}

/// Control characters steer terminals; the bidirectional and invisible ones make text lie.
fn is_plain(character: char) -> bool {
    !character.is_control()
        && !matches!(character, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// A Unix time in seconds as `2026-11-21T13:00:00Z` (RFC 3339).
pub fn rfc3339(unix_seconds: i64) -> String {
    time::OffsetDateTime::from_unix_timestamp(unix_seconds)
        .ok()
        .and_then(|at| at.format(&time::format_description::well_known::Rfc3339).ok())
        .unwrap_or_else(|| unix_seconds.to_string())
}

/// A Unix time in seconds as `2026-11-21`.
pub fn day(unix_seconds: i64) -> String {
    let mut text = rfc3339(unix_seconds);
    text.truncate(text.find('T').unwrap_or(text.len()));
    text
}

/// Bytes as lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut out, byte| {
        let _infallible = write!(out, "{byte:02x}");
        out
    })
}

/// Words as `a`, `b` and `c`, each in backticks; after `most` of them a count of the rest.
pub fn list<S: AsRef<str>>(words: &[S], most: usize) -> String {
    let quoted: Vec<String> =
        words.iter().take(most).map(|word| format!("`{}`", escape(word.as_ref()))).collect();
    let rest = words.len().saturating_sub(most);
    match (quoted.split_last(), rest) {
        (None, _) => "none".to_owned(),
        (Some((only, [])), 0) => only.clone(),
        (Some((last, before)), 0) => format!("{} and {last}", before.join(", ")),
        (Some(_), rest) => format!("{} and {rest} more", quoted.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_what_steers_a_terminal() {
        assert_eq!(escape("a\u{1b}[2Jb\n"), "a\\u{1b}[2Jb\\u{a}");
        assert_eq!(escape("ab\u{202e}cd"), "ab\\u{202e}cd");
        assert_eq!(escape("ab\u{61c}cd"), "ab\\u{61c}cd");
        assert_eq!(escape(&"x".repeat(300)).chars().count(), SHOWN + 1);
    }

    #[test]
    fn lists_words_as_a_person_would() {
        assert_eq!(list(&["a"], 3), "`a`");
        assert_eq!(list(&["a", "b", "c"], 3), "`a`, `b` and `c`");
        assert_eq!(list(&["a", "b", "c"], 2), "`a`, `b` and 1 more");
    }

    #[test]
    fn prints_times_in_utc() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00Z");
        assert_eq!(day(86_400), "1970-01-02");
    }
}
