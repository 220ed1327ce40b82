//! The rehearsal: would a hop work? Nobody reasons about it: the handshake is run.
//!
//! One end is a listener of the sidecar, made from the document that the injector writes by the code
//! that the sidecar runs. The other is whoever connects to it: a balancer with the credential and the
//! habits that its annotations give it. rustls does no I/O of its own, so both sit in one function and
//! pass bytes to each other. Where another sidecar connects, both ends are what the sidecars run. What fails is told with the field that has to change: [`Blame`].

use std::sync::Arc;

use lasthop_contract::client_policy::{ClientIdentity, ClientPattern, Refusal};
use lasthop_contract::server_policy::ServerRefusal;

mod advice;
mod balancer;
mod handshake;
mod listener;
mod look;
mod originating;
mod place;

pub use advice::{Blame, Party};
pub use balancer::client_of;
pub use handshake::{Caller, Client, Trusts, Version};
pub use listener::{Found, Listener, Unfit};
pub use look::look;
pub use originating::Originating;
pub use place::{Outlet, Place};

/// What came of one handshake.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// The connection stands.
    LetIn(Entry),
    /// The sidecar does not let the client in.
    Refused(Box<Refusal>),
    /// The client does not accept the sidecar's certificate.
    Distrusted(Box<ServerRefusal>),
    /// There is no handshake between these two.
    Incompatible {
        /// Which end broke it off.
        by: Side,
        /// What it says of it.
        reason: String,
    },
}

/// How a client came in.
#[derive(Clone, Debug)]
pub enum Entry {
    /// Nobody asked who it is.
    Unasked,
    /// It was asked, did not say, and need not.
    Unnamed,
    /// It matched this entry of the allowed clients.
    Named(ClientPattern),
}

/// An end of a hop.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Side {
    /// Who connects.
    Client,
    /// Who is connected to.
    Sidecar,
}

impl From<Result<ClientIdentity, Refusal>> for Outcome {
    fn from(judgement: Result<ClientIdentity, Refusal>) -> Self {
        match judgement {
            Ok(identity) => Self::LetIn(Entry::Named(identity.matched)),
            Err(refusal) => Self::Refused(Box::new(refusal)),
        }
    }
}

/// One handshake of a rehearsal.
#[derive(Clone, Debug)]
pub struct Act {
    /// The version of TLS.
    pub version: Version,
    /// What came of it.
    pub outcome: Outcome,
}

/// Runs the handshake of `caller` and `listener` in both versions of TLS, at the Unix time `now`.
///
/// # Errors
/// What keeps the listener from serving, or from being known.
pub fn rehearse(
    listener: &Listener,
    caller: Caller<'_>,
    now: i64,
) -> Result<Vec<Act>, Arc<[Unfit]>> {
    let server = listener.tls()?;
    let acts = Version::ALL
        .into_iter()
        .map(|version| Act { version, outcome: handshake::run(&server, caller, version, now) });
    Ok(acts.collect())
}
