//! What the sidecar tells its operators: log lines, metrics, and nothing of a private key.

pub(crate) mod clock;
pub(crate) mod log;
pub(crate) mod metrics;
pub(crate) mod refusals;
