//! The one place where the clock is read; everything else is told the time.

use std::time::UNIX_EPOCH;

/// The time, as Unix time in seconds.
#[expect(clippy::disallowed_methods, reason = "this is the edge at which the clock is read")]
pub fn now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

/// A Unix time as RFC 3339 has it, in UTC.
pub fn rfc3339(at: i64) -> String {
    use time::format_description::well_known::Rfc3339;
    let at = time::OffsetDateTime::from_unix_timestamp(at);
    at.ok().and_then(|at| at.format(&Rfc3339).ok()).unwrap_or_default()
}

/// Reads a day (`2026-12-24`, its first second in UTC) or a time (RFC 3339), as Unix time.
///
/// # Errors
/// What is expected instead.
pub fn parse(text: &str) -> Result<i64, String> {
    use time::format_description::well_known::Rfc3339;
    let whole = if text.len() == 10 { format!("{text}T00:00:00Z") } else { text.to_owned() };
    time::OffsetDateTime::parse(&whole, &Rfc3339)
        .map(time::OffsetDateTime::unix_timestamp)
        .map_err(|_syntax| "expected `2026-12-24` or `2026-12-24T18:00:00Z`".to_owned())
}
