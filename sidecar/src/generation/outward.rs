//! Secrets to what an originating listener says and takes: read, judged, and the last good state kept.

use std::collections::hash_map::RandomState;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;

use lasthop_contract::credential::{Certificate, Credential, Trust};
use lasthop_contract::server_policy::{Authorities, ServerNames, ServerPolicy};
use lasthop_contract::sidecar_config::UpstreamScheme;
use lasthop_contract::tls::{ClientTls, upstream_alpn};
use rustls::ClientConfig;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

use super::slot::{Look, Slot, judge_authorities, judge_presented};
use super::{Refresh, Witnesses, add_problems};
use crate::config::originate::{OriginatePlan, Roots};
use crate::trouble::Trouble;

/// What an originating listener says and takes at one moment.
#[derive(Debug)]
pub(crate) struct Outward {
    /// Another one for each generation.
    pub(crate) serial: u64,
    /// Offers what the listener can speak.
    pub(crate) tls: Arc<ClientConfig>,
    /// Offers HTTP/1.1 alone, which alone has upgrades.
    pub(crate) http1: Arc<ClientConfig>,
    pub(crate) policy: Arc<ServerPolicy>,
}

/// The Secrets of one originating listener, and the last good state of each.
#[derive(Debug)]
pub(crate) struct OutwardKeeper {
    hasher: RandomState,
    witnesses: Witnesses,
    scheme: UpstreamScheme,
    names: ServerNames,
    client: Option<Slot<Credential>>,
    roots: KeptRoots,
    policy: Arc<ServerPolicy>,
    serial: u64,
}

#[derive(Debug)]
enum KeptRoots {
    /// They do not change while the process runs.
    Fixed,
    Secret(Box<Slot<Trust>>),
}

impl OutwardKeeper {
    /// Reads all Secrets of `plan` for the first time; every one must be good. The troubles beside
    /// the keeper are weaknesses that do not stop it.
    ///
    /// # Errors
    /// Everything that is wrong, as far as it stops the listener.
    pub(crate) fn load(
        plan: &OriginatePlan,
        witnesses: Witnesses,
        now: i64,
    ) -> Result<(Self, Outward, Vec<Trouble>), Vec<Trouble>> {
        let hasher = RandomState::new();
        let mut troubles = Vec::new();
        let mut complete = true;
        let client = plan.client.clone().map(|dir| {
            let mut slot = Slot::new(dir, judge_presented);
            complete &= slot.fill(&hasher, now);
            troubles.extend(slot.troubles.iter().cloned());
            slot
        });
        let names = plan.names.clone();
        let mut roots = KeptRoots::Fixed;
        let read = match &plan.roots {
            Roots::Mozilla => policy("", Authorities::Mozilla, &names),
            Roots::File(file) => bundle(file).and_then(|found| {
                policy(&file.display().to_string(), Authorities::Bundle(&found), &names)
            }),
            Roots::Secret(dir) => {
                let slot = Slot::new(dir.clone(), judge_authorities);
                let (slot, read) = of_secret(slot, &hasher, now, &names);
                troubles.extend(slot.troubles.iter().cloned());
                roots = KeptRoots::Secret(Box::new(slot));
                read
            }
        };
        let policy = match read {
            Ok(policy) => policy,
            Err(errors) => {
                troubles.extend(errors);
                return Err(troubles);
            }
        };
        if !complete {
            return Err(troubles);
        }
        let scheme = plan.target.scheme();
        let mut keeper =
            Self { hasher, witnesses, scheme, names, client, roots, policy, serial: 0 };
        match keeper.generation() {
            Ok(outward) => Ok((keeper, outward, troubles)),
            Err(trouble) => {
                troubles.push(trouble);
                Err(troubles)
            }
        }
    }

    /// Looks at the Secrets again.
    pub(crate) fn refresh(&mut self, now: i64) -> Refresh<Outward> {
        let mut refresh = Refresh::default();
        let mut changed = false;
        if let Some(slot) = &mut self.client {
            changed |= refresh.follow(slot, &self.hasher, now);
        }
        if let KeptRoots::Secret(slot) = &mut self.roots {
            match slot.look(&self.hasher, now) {
                Look::Same => {}
                Look::Rejected => refresh.reject(slot),
                Look::Candidate(trust) => {
                    let authorities = Authorities::These(&trust.authorities);
                    match policy(slot.dir.name(), authorities, &self.names) {
                        Ok(policy) => {
                            self.policy = policy;
                            refresh.take(slot, trust);
                            changed = true;
                        }
                        Err(errors) => {
                            slot.reject(errors);
                            refresh.reject(slot);
                        }
                    }
                }
            }
        }
        if changed {
            refresh.renew(self.generation());
        }
        refresh
    }

    fn generation(&mut self) -> Result<Outward, Trouble> {
        let config = |alpn: &[&[u8]]| {
            let credential = self.client.as_ref().and_then(|slot| slot.good.as_ref());
            let server = (Arc::clone(&self.policy), Arc::clone(&self.witnesses.servers));
            let tls = ClientTls { credential, server, alpn }.config();
            let mut tls = tls.map_err(|error| Trouble::tls(&error))?;
            if let Some(secrets) = &self.witnesses.secrets {
                tls.key_log = Arc::clone(secrets);
            }
            Ok(Arc::new(tls))
        };
        let tls = config(upstream_alpn(self.scheme))?;
        let http1 = config(&[b"http/1.1"])?;
        self.serial += 1;
        Ok(Outward { serial: self.serial, tls, http1, policy: Arc::clone(&self.policy) })
    }

    /// The credentials in use, each with the name of its Secret.
    pub(crate) fn credentials(&self) -> impl Iterator<Item = (&str, &Credential)> {
        self.client.iter().filter_map(|slot| Some((slot.dir.name(), slot.good.as_ref()?)))
    }

    /// Whether a change waits that was not good enough to be taken.
    pub(crate) fn is_failing(&self) -> bool {
        let roots = match &self.roots {
            KeptRoots::Fixed => false,
            KeptRoots::Secret(slot) => slot.failing,
        };
        roots || self.client.as_ref().is_some_and(|slot| slot.failing)
    }

    /// What is wrong with the Secrets as they are on disk, and what time did to those in use.
    pub(crate) fn troubles(&self, now: i64) -> Vec<Trouble> {
        let mut troubles = Vec::new();
        if let Some(slot) = &self.client {
            slot.tell(&mut troubles);
            if let Some(good) = slot.good.as_ref().filter(|_| !slot.failing) {
                add_problems(&slot.dir, good.problems_at(now), &mut troubles);
            }
        }
        if let KeptRoots::Secret(slot) = &self.roots {
            slot.tell(&mut troubles);
            if let Some(good) = &slot.good {
                add_problems(&slot.dir, good.problems_at(now), &mut troubles);
            }
        }
        troubles
    }
}

/// Fills `slot` for the first time; nothing but its troubles where that fails.
fn of_secret(
    mut slot: Slot<Trust>,
    hasher: &RandomState,
    now: i64,
    names: &ServerNames,
) -> (Slot<Trust>, Result<Arc<ServerPolicy>, Vec<Trouble>>) {
    slot.fill(hasher, now);
    let read = match &slot.good {
        Some(trust) => policy(slot.dir.name(), Authorities::These(&trust.authorities), names),
        None => Err(Vec::new()),
    };
    (slot, read)
}

fn policy(
    found_in: &str,
    authorities: Authorities<'_>,
    names: &ServerNames,
) -> Result<Arc<ServerPolicy>, Vec<Trouble>> {
    ServerPolicy::new(authorities, names.clone()).map(Arc::new).map_err(|errors| {
        errors.iter().map(|error| Trouble::server_policy(found_in, error)).collect()
    })
}

/// A bundle of CAs is no longer than this, in bytes; those of distributions have about 250 KiB.
const MOST_BYTES: u64 = 8 * 1024 * 1024;

/// The CAs of a bundle of the system's. A few of its hundred may be such as we cannot read; whoever
/// needs one of those is refused by name.
fn bundle(file: &Path) -> Result<Vec<Certificate>, Vec<Trouble>> {
    let trouble = |reason: String| vec![Trouble::bundle(file, reason)];
    let mut bytes = Vec::new();
    File::open(file)
        .and_then(|file| file.take(MOST_BYTES).read_to_end(&mut bytes))
        .map_err(|error| trouble(error.to_string()))?;
    let found: Vec<Certificate> = CertificateDer::pem_slice_iter(&bytes)
        .filter_map(|der| Certificate::from_der(&der.ok()?).ok())
        .collect();
    if found.is_empty() {
        return Err(trouble("there is no CA certificate in it, as PEM".to_owned()));
    }
    Ok(found)
}
