//! What became of a request over HTTP/2 that has no answer: whether the application looked at it.

use h2::Reason;
use http::Method;

use super::exchange::died;

/// Why there is no answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Fate {
    /// The application did not process it, and takes others on this connection (RFC 9113, 8.7).
    Refused,
    /// The application did not process it, and takes no others on this connection (RFC 9113, 6.8).
    Left,
    /// The connection ended; what the application did is not known.
    Broken,
    /// Something else, about this request alone.
    Other,
}

impl Fate {
    /// Whether a request of `method` that met it may be sent once more.
    pub(super) fn allows(self, method: &Method) -> bool {
        match self {
            Self::Refused | Self::Left => true,
            // Asked once more, it does nothing twice.
            Self::Broken => is_idempotent(method),
            Self::Other => false,
        }
    }
}

/// Whether sending a request twice is as good as once (RFC 9110, 9.2.2).
pub(super) fn is_idempotent(method: &Method) -> bool {
    matches!(
        *method,
        Method::GET | Method::HEAD | Method::OPTIONS | Method::PUT | Method::DELETE | Method::TRACE
    )
}

/// What `error` says of a request that was on its way.
pub(super) fn fate(error: &hyper::Error) -> Fate {
    let source = std::error::Error::source(error);
    let Some(cause) = source.and_then(|source| source.downcast_ref::<h2::Error>()) else {
        return if died(error) { Fate::Broken } else { Fate::Other };
    };
    if cause.reason() == Some(Reason::REFUSED_STREAM) {
        Fate::Refused
    } else if cause.is_go_away() && cause.is_remote() {
        // Streams that the application had begun with when it said so do not end by it.
        Fate::Left
    } else if cause.is_go_away() || cause.is_io() {
        Fate::Broken
    } else {
        Fate::Other
    }
}
