//! The TLS terminator beside an application.
//!
//! A connection walks through five rooms, in the order of these names: `accept` takes it,
//! `handshake` secures it, `admit` decides whether it may speak, `forward` passes on what it
//! says, over a connection that `dial` made to the application.

mod accept;
mod admit;
pub mod cli;
mod config;
mod confine;
mod dial;
mod door;
mod drain;
mod forward;
#[cfg(any(fuzzing, test))]
pub mod fuzzing;
mod generation;
mod handshake;
mod hardening;
mod host;
mod keylog;
mod limits;
mod listener;
mod load;
mod memory;
mod originator;
mod plain;
mod probe;
mod proxy_protocol;
mod redirect;
mod reload;
mod run;
mod secret_dir;
mod shares;
mod standing;
mod status;
mod systemd;
mod telemetry;
mod trouble;

pub use run::{Exit, read_key_log, run};
