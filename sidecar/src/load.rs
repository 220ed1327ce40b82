//! The Secrets of all listeners, read for the first time.

use std::sync::Arc;

use crate::config::Plan;
use crate::config::originate::OriginatePlan;
use crate::config::terminate::TerminatePlan;
use crate::dial::upstream::ServerWitness;
use crate::generation::outward::{Outward, OutwardKeeper};
use crate::generation::{Generation, Keeper, Witnesses};
use crate::handshake::Witness;
use crate::keylog::KeyTap;
use crate::run::Exit;
use crate::telemetry::clock;
use crate::trouble::Trouble;

/// The TLS listeners with their Secrets.
#[derive(Debug, Default)]
pub(crate) struct Loaded {
    pub(crate) terminate: Vec<(TerminatePlan, Keeper, Generation)>,
    pub(crate) originate: Vec<(OriginatePlan, OutwardKeeper, Outward)>,
}

/// Reads the Secrets of all listeners, and tells everything that is wrong with any.
pub(crate) fn load(
    plan: &Plan,
    tap: Option<&Arc<KeyTap>>,
    mut tell: impl FnMut(&str, &Trouble),
) -> Result<Loaded, Exit> {
    let witnesses = Witnesses {
        clients: Arc::new(Witness),
        servers: Arc::new(ServerWitness),
        secrets: tap.map(|tap| Arc::clone(tap) as Arc<dyn rustls::KeyLog>),
    };
    let now = clock::now().seconds();
    let mut loaded = Loaded::default();
    let mut failed = None;
    let mut fail = |troubles: Vec<Trouble>| {
        let is_unsafe = troubles.iter().any(Trouble::is_unsafe);
        failed = if is_unsafe { Some(Exit::Usage) } else { failed.or(Some(Exit::Secret)) };
        troubles
    };
    for terminate in &plan.terminate {
        let loading = Keeper::load(terminate, witnesses.clone(), now);
        let loading = loading.map(|(keeper, generation, troubles)| {
            loaded.terminate.push((terminate.clone(), keeper, generation));
            troubles
        });
        let listener = terminate.listen.port().to_string();
        let troubles = loading.unwrap_or_else(&mut fail);
        for trouble in &troubles {
            tell(&listener, trouble);
        }
    }
    for originate in &plan.originate {
        let loading = OutwardKeeper::load(originate, witnesses.clone(), now);
        let loading = loading.map(|(keeper, outward, troubles)| {
            loaded.originate.push((originate.clone(), keeper, outward));
            troubles
        });
        let listener = originate.listen.port().to_string();
        let troubles = loading.unwrap_or_else(&mut fail);
        for trouble in &troubles {
            tell(&listener, trouble);
        }
    }
    match failed {
        None => Ok(loaded),
        Some(exit) => Err(exit),
    }
}
