//! The admission webhook `lasthop`, and the same rules as a command line.
//!
//! A request takes five hops, in the order of these modules: `serve` takes it in, `review` turns it
//! into a question, [`check`] gathers what the question refers to and runs the rules over it, and
//! `review` turns the findings into an answer. `inject` takes the place of [`check`] where a pod
//! is to be changed. `lasthop check -f` enters at [`check`] with files as its [`surroundings`].

pub mod certificate;
pub mod check;
pub mod cli;
pub mod clock;
pub mod commands;
pub mod documents;
pub mod finding;
pub mod hardening;
pub mod hops;
pub mod inject;
pub mod object;
pub mod path;
mod punycode;
pub mod reference;
pub mod rehearse;
pub mod render;
pub mod review;
pub mod rules;
pub mod serve;
pub mod sidecar_log;
mod spread;
pub mod surroundings;
pub mod symptom;
pub mod telemetry;
