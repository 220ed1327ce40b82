//! What the webhook and the sidecar must agree on, and nothing else.
//!
//! If the two programs could disagree about it, it lives here: what a Secret really holds
//! ([`credential`]), what can be wrong with it ([`problem`]), which clients may come in
//! ([`client_policy`]), which server is the next tier ([`server_policy`]), which paths need no
//! certificate ([`exempt_paths`]), whose headers are believed ([`trusted_proxies`]), the TLS configurations that follow from all that ([`tls`]), and the document
//! that the webhook writes and the sidecar reads ([`sidecar_config`]).
//!
//! The crate is free of I/O, of the clock and of async; `clippy.toml` beside it says so.

pub mod alpn;
pub mod annotation;
pub mod client_policy;
pub mod credential;
pub mod exempt_paths;
pub mod hsts;
pub mod near;
pub mod problem;
pub mod server_policy;
pub mod sidecar_config;
pub mod text;
pub mod tls;
pub mod trusted_proxies;
