//! Secrets to what a listener serves: read, judged, and the last good state kept.
//!
//! Every Secret of a listener has a slot. A slot takes a change only when it is good, so one broken
//! Secret neither stops the listener nor holds back the renewal of another.

use std::collections::hash_map::RandomState;
use std::sync::Arc;

use lasthop_contract::client_policy::{ClientPolicy, ClientPolicyParts, RefusalObserver};
use lasthop_contract::credential::{Credential, Trust};
use lasthop_contract::problem::Problem;
use lasthop_contract::server_policy::ServerObserver;
use lasthop_contract::tls::{ServerTls, SniResolver, alpn};
use rustls::{KeyLog, ServerConfig};

use crate::config::terminate::{ClientsPlan, TerminatePlan};
use crate::secret_dir::SecretDir;
use crate::trouble::Trouble;

pub(crate) mod outward;
mod slot;

use slot::{Look, Slot, judge_authorities, judge_credential, judge_lists};

/// What a listener serves at one moment. A connection keeps the generation it began with.
#[derive(Debug)]
pub(crate) struct Generation {
    pub(crate) tls: Arc<ServerConfig>,
    /// [`None`]: no certificate is asked for.
    pub(crate) policy: Option<Arc<ClientPolicy>>,
    /// How certificates are chosen, to tell how one was.
    pub(crate) sni: SniResolver,
}

/// Who learns of handshakes.
#[derive(Clone, Debug)]
pub(crate) struct Witnesses {
    /// Of clients that were let in or refused.
    pub(crate) clients: Arc<dyn RefusalObserver>,
    /// Of next tiers that were refused.
    pub(crate) servers: Arc<dyn ServerObserver>,
    /// Of secrets; [`None`]: nobody, ever.
    pub(crate) secrets: Option<Arc<dyn KeyLog>>,
}

/// The Secrets of one listener, and the last good state of each.
#[derive(Debug)]
pub(crate) struct Keeper {
    hasher: RandomState,
    witnesses: Witnesses,
    alpn: Vec<Vec<u8>>,
    credentials: Vec<Slot<Credential>>,
    clients: Option<ClientsKeeper>,
}

#[derive(Debug)]
struct ClientsKeeper {
    plan: ClientsPlan,
    authorities: Slot<Trust>,
    lists: Option<Slot<Trust>>,
    policy: Arc<ClientPolicy>,
}

/// What looking at the Secrets brought.
#[derive(Debug)]
pub(crate) struct Refresh<G> {
    /// A new state to serve.
    pub(crate) generation: Option<G>,
    /// What is newly known to be wrong.
    pub(crate) troubles: Vec<Trouble>,
    /// Secrets whose change was not taken.
    pub(crate) rejected: usize,
}

impl<G> Default for Refresh<G> {
    fn default() -> Self {
        Self { generation: None, troubles: Vec::new(), rejected: 0 }
    }
}

impl<G> Refresh<G> {
    /// The same, once `take` took the new state.
    pub(crate) fn taken(self, take: impl FnOnce(G)) -> Refresh<()> {
        let Self { generation, troubles, rejected } = self;
        Refresh { generation: generation.map(take), troubles, rejected }
    }

    /// Looks at a slot that stands for itself; whether its change was taken.
    fn follow<T>(&mut self, slot: &mut Slot<T>, hasher: &RandomState, now: i64) -> bool {
        match slot.look(hasher, now) {
            Look::Same => false,
            Look::Rejected => {
                self.reject(slot);
                false
            }
            Look::Candidate(new) => {
                self.take(slot, new);
                true
            }
        }
    }

    /// The change of `slot` is taken.
    fn take<T>(&mut self, slot: &mut Slot<T>, new: T) {
        slot.take(new);
        self.troubles.extend(slot.troubles.iter().cloned());
    }

    /// What was made of a change.
    fn renew(&mut self, made: Result<G, Trouble>) {
        match made {
            Ok(generation) => self.generation = Some(generation),
            Err(trouble) => {
                self.rejected += 1;
                self.troubles.push(trouble);
            }
        }
    }

    /// The change of `slot` was not taken.
    fn reject<T>(&mut self, slot: &Slot<T>) {
        self.rejected += 1;
        self.troubles.extend(slot.troubles.iter().cloned());
    }
}

impl Keeper {
    /// Reads all Secrets of `plan` for the first time; every one must be good. The troubles beside
    /// the keeper are weaknesses that do not stop it.
    ///
    /// # Errors
    /// Everything that is wrong, as far as it stops the listener.
    pub(crate) fn load(
        plan: &TerminatePlan,
        witnesses: Witnesses,
        now: i64,
    ) -> Result<(Self, Generation, Vec<Trouble>), Vec<Trouble>> {
        let hasher = RandomState::new();
        let mut troubles = Vec::new();
        let mut complete = true;
        let mut credentials = Vec::new();
        for dir in &plan.tls {
            let mut slot = Slot::new(dir.clone(), judge_credential);
            complete &= slot.fill(&hasher, now);
            troubles.extend(slot.troubles.iter().cloned());
            credentials.push(slot);
        }
        let clients = match &plan.clients {
            None => None,
            Some(clients) => match ClientsKeeper::load(clients, &hasher, now, &mut troubles) {
                Some(keeper) => Some(keeper),
                None => return Err(troubles),
            },
        };
        if !complete {
            return Err(troubles);
        }
        let alpn = alpn(plan.protocol, &plan.alpn);
        let keeper = Self { hasher, witnesses, alpn, credentials, clients };
        match keeper.generation() {
            Ok(generation) => Ok((keeper, generation, troubles)),
            Err(trouble) => {
                troubles.push(trouble);
                Err(troubles)
            }
        }
    }

    /// Looks at the Secrets again.
    pub(crate) fn refresh(&mut self, now: i64) -> Refresh<Generation> {
        let mut refresh = Refresh::default();
        let mut changed = false;
        for slot in &mut self.credentials {
            changed |= refresh.follow(slot, &self.hasher, now);
        }
        if let Some(clients) = &mut self.clients {
            changed |= clients.refresh(&self.hasher, now, &mut refresh);
        }
        if changed {
            refresh.renew(self.generation());
        }
        refresh
    }

    fn generation(&self) -> Result<Generation, Trouble> {
        let credentials: Vec<Credential> =
            self.credentials.iter().filter_map(|slot| slot.good.clone()).collect();
        let policy = self.clients.as_ref().map(|clients| Arc::clone(&clients.policy));
        let clients = policy.clone().map(|policy| (policy, Arc::clone(&self.witnesses.clients)));
        let mut tls = ServerTls { credentials: &credentials, clients, alpn: &self.alpn }
            .config()
            .map_err(|error| Trouble::tls(&error))?;
        if let Some(secrets) = &self.witnesses.secrets {
            tls.key_log = Arc::clone(secrets);
        }
        Ok(Generation { tls: Arc::new(tls), policy, sni: SniResolver::new(&credentials) })
    }

    /// The credentials in use, each with the name of its Secret.
    pub(crate) fn credentials(&self) -> impl Iterator<Item = (&str, &Credential)> {
        self.credentials.iter().filter_map(|slot| Some((slot.dir.name(), slot.good.as_ref()?)))
    }

    /// Whether a change waits that was not good enough to be taken.
    pub(crate) fn is_failing(&self) -> bool {
        self.credentials.iter().any(|slot| slot.failing)
            || self.clients.as_ref().is_some_and(ClientsKeeper::is_failing)
    }

    /// What is wrong with the Secrets as they are on disk, and what time did to those in use.
    pub(crate) fn troubles(&self, now: i64) -> Vec<Trouble> {
        let mut troubles = Vec::new();
        for slot in &self.credentials {
            slot.tell(&mut troubles);
            if let Some(good) = &slot.good
                && !slot.failing
            {
                add_problems(&slot.dir, good.problems_at(now), &mut troubles);
            }
        }
        if let Some(clients) = &self.clients {
            clients.authorities.tell(&mut troubles);
            for slot in clients.trusts() {
                slot.tell(&mut troubles);
                if let Some(good) = &slot.good {
                    add_problems(&slot.dir, good.problems_at(now), &mut troubles);
                }
            }
        }
        troubles.dedup();
        troubles
    }
}

fn add_problems(dir: &SecretDir, problems: Vec<Problem>, troubles: &mut Vec<Trouble>) {
    for problem in problems {
        let trouble = Trouble::problem(dir, problem);
        if !troubles.contains(&trouble) {
            troubles.push(trouble);
        }
    }
}

impl ClientsKeeper {
    fn load(
        plan: &ClientsPlan,
        hasher: &RandomState,
        now: i64,
        troubles: &mut Vec<Trouble>,
    ) -> Option<Self> {
        let mut authorities = Slot::new(plan.ca.clone(), judge_authorities);
        let mut complete = authorities.fill(hasher, now);
        troubles.extend(authorities.troubles.iter().cloned());
        let mut lists = plan.crl.clone().map(|dir| Slot::new(dir, judge_lists));
        if let Some(slot) = &mut lists {
            complete &= slot.fill(hasher, now);
            troubles.extend(slot.troubles.iter().cloned());
        }
        if !complete {
            return None;
        }
        let good = authorities.good.as_ref()?;
        match policy(plan, good, lists.as_ref().and_then(|slot| slot.good.as_ref())) {
            Ok(policy) => {
                Some(Self { plan: plan.clone(), authorities, lists, policy: Arc::new(policy) })
            }
            Err(errors) => {
                troubles.extend(errors);
                None
            }
        }
    }

    /// Takes what is new as far as a safe policy comes of it; whether one did.
    fn refresh<G>(&mut self, hasher: &RandomState, now: i64, refresh: &mut Refresh<G>) -> bool {
        let authorities = self.authorities.look(hasher, now);
        let lists = self.lists.as_mut().map_or(Look::Same, |slot| slot.look(hasher, now));
        for (look, slot) in [(&authorities, Some(&self.authorities)), (&lists, self.lists.as_ref())]
        {
            if matches!(look, Look::Rejected) {
                refresh.rejected += 1;
                refresh.troubles.extend(slot.iter().flat_map(|slot| slot.troubles.iter().cloned()));
            }
        }
        let (authorities, lists) = (authorities.candidate(), lists.candidate());
        if authorities.is_none() && lists.is_none() {
            return false;
        }
        let in_use = self.lists.as_ref().and_then(|slot| slot.good.as_ref());
        let Some(bundle) = authorities.as_ref().or(self.authorities.good.as_ref()) else {
            return false;
        };
        match policy(&self.plan, bundle, lists.as_ref().or(in_use)) {
            Ok(policy) => {
                self.policy = Arc::new(policy);
                if let Some(trust) = authorities {
                    refresh.take(&mut self.authorities, trust);
                }
                if let (Some(trust), Some(slot)) = (lists, &mut self.lists) {
                    refresh.take(slot, trust);
                }
                true
            }
            Err(errors) => {
                refresh.rejected += 1;
                refresh.troubles.extend(errors.iter().cloned());
                let slot = match (&authorities, &mut self.lists) {
                    (None, Some(slot)) => slot,
                    _ => &mut self.authorities,
                };
                slot.reject(errors);
                false
            }
        }
    }

    fn trusts(&self) -> impl Iterator<Item = &Slot<Trust>> {
        std::iter::once(&self.authorities).chain(&self.lists)
    }

    fn is_failing(&self) -> bool {
        self.trusts().any(|slot| slot.failing)
    }
}

fn policy(
    plan: &ClientsPlan,
    authorities: &Trust,
    lists: Option<&Trust>,
) -> Result<ClientPolicy, Vec<Trouble>> {
    let parts = ClientPolicyParts {
        auth: plan.auth,
        authorities: &authorities.authorities,
        allowed: plan.allowed.clone(),
        eku: plan.eku,
        revocation_lists: lists.map_or(&[], |trust| &trust.revocation_lists),
        revocation: plan.revocation,
    };
    ClientPolicy::new(parts)
        .map_err(|errors| errors.iter().map(|error| Trouble::policy(&plan.ca, error)).collect())
}
