//! The one place where the clock is read.

use std::fmt::Write as _;
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

    /// Appends `2026-11-21T13:00:00.123Z`.
    pub(super) fn write_rfc3339(self, out: &mut String) {
        let at = OffsetDateTime::from_unix_timestamp(self.seconds())
            .unwrap_or(OffsetDateTime::UNIX_EPOCH);
        let _infallible = write!(
            out,
            "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z",
            at.year(),
            u8::from(at.month()),
            at.day(),
            at.hour(),
            at.minute(),
            at.second(),
            self.0.subsec_millis()
        );
    }
}
