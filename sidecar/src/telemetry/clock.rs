//! The one place where the clock is read.

use std::io::Write as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls_pki_types::UnixTime;
use time::OffsetDateTime;

/// A moment, in time since the epoch.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Moment(Duration);

/// This moment.
#[expect(clippy::disallowed_methods, reason = "the edge at which the sidecar reads the clock")]
pub(crate) fn now() -> Moment {
    Moment(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
}

impl Moment {
    /// Seconds since the epoch.
    pub(crate) fn seconds(self) -> i64 {
        i64::try_from(self.0.as_secs()).unwrap_or(i64::MAX)
    }

    /// The same for who verifies certificates.
    pub(crate) fn unix(self) -> UnixTime {
        UnixTime::since_unix_epoch(self.0)
    }
}

/// Writes moments as `2026-11-21T13:00:00.123Z`, one after the other: what a moment has in common with
/// the one before is not made again.
#[derive(Debug, Default)]
pub(super) struct Stamp {
    /// Seconds since the epoch, and how they are written.
    last: Option<(i64, String)>,
}

impl Stamp {
    /// Appends `moment` to `out`.
    pub(super) fn write(&mut self, moment: Moment, out: &mut Vec<u8>) {
        let seconds = moment.seconds();
        let (_, text) = match self.last.take() {
            Some(last) if last.0 == seconds => self.last.insert(last),
            _ => self.last.insert((seconds, to_the_second(seconds))),
        };
        out.extend_from_slice(text.as_bytes());
        // Writing to memory does not fail.
        let _infallible = write!(out, ".{:03}Z", moment.0.subsec_millis());
    }
}

fn to_the_second(seconds: i64) -> String {
    let at = OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}",
        at.year(),
        u8::from(at.month()),
        at.day(),
        at.hour(),
        at.minute(),
        at.second()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_written_one_after_the_other() {
        let mut stamp = Stamp::default();
        for (millis, expected) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (999, "1970-01-01T00:00:00.999Z"),
            (1_763_730_000_007, "2025-11-21T13:00:00.007Z"),
            (1_763_730_000_070, "2025-11-21T13:00:00.070Z"),
            (1_763_729_999_999, "2025-11-21T12:59:59.999Z"),
        ] {
            let mut out = Vec::new();
            stamp.write(Moment(Duration::from_millis(millis)), &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }
}
