//! What the journeys are written with: certificates made in the run, Secrets as kubelet mounts
//! them, real programs as processes, real curl, openssl and kubectl as clients.
//!
//! Whatever fails here panics with a message that says what was expected; a test that cannot run on
//! this machine is reported by [`skip`] instead of passing silently. `tests/README.md` has the tour.

pub mod app;
pub mod at_end;
pub mod curl;
pub mod document;
pub mod frames;
pub mod golden;
pub mod kubelet;
pub mod kubernetes;
pub mod names;
pub mod openssl;
pub mod outward;
pub mod pki;
pub mod pod;
pub mod process;
pub mod raw;
pub mod records;
pub mod review;
pub mod scene;
pub mod secret_dir;
pub mod sidecar;
pub mod skip;
pub mod suite;
pub mod tls;
pub mod webhook;
pub mod workloads;
