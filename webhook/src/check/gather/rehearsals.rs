//! Re-encrypted hops of which both ends are known: looked up, and rehearsed.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::Semaphore;

use super::{Key, Looks};
use crate::check::scene::{self, Portless, Rehearsed, SeenSecret};
use crate::check::{Mode, Setting, Subject, User};
use crate::finding::Severity;
use crate::hops::{self, Anchors, Presents};
use crate::inject::Mount;
use crate::object::{ObjectRef, Secret};
use crate::reference::Holder;
use crate::rehearse::{
    Act, Blame, Caller, Client, Found, Listener, Originating, Outcome, Outlet, Party, Place,
    client_of, rehearse,
};
use crate::surroundings::Sighting;

mod elsewhere;
mod hop;

use hop::{Dialer, Hop};

/// No more hops are rehearsed for one object.
const MOST_REHEARSALS: usize = 8;

/// So many rehearsals of all reviews run at once; each is a few milliseconds of arithmetic.
static POOL: Semaphore = Semaphore::const_new(2);

/// How long a review waits for its turn.
const PATIENCE: Duration = Duration::from_millis(200);

/// What came of a look at a Secret that an annotation of an Ingress names.
type Seen = Option<Sighting<Arc<SeenSecret>>>;

/// A hop with everything that was found of its ends.
struct Ends {
    from: FromEnd,
    place: Place,
    found: Found,
    severity: Severity,
    now: i64,
}

/// The end that connects.
enum FromEnd {
    Balancer { balancer: Box<hop::Balancer>, presents: Seen, trusts: Seen },
    Sidecar { outlet: Box<Outlet>, found: Found },
}

impl From<Anchors> for Key {
    fn from(Anchors { holder, namespace, name, key: _ }: Anchors) -> Self {
        Self { holder, namespace, name }
    }
}

impl Looks<'_> {
    /// The hops on which `subject` lies, as far as they do not work, and the next tiers to which there is
    /// none. `users` are who names it, where it is a Secret.
    pub(super) async fn rehearsed(
        &self,
        (subject, users): (&Subject, &[User]),
        mode: &Mode,
        now: i64,
    ) -> (Vec<Rehearsed>, Vec<Portless>) {
        let found = self.hops(subject, users, mode).await;
        let mut all = Vec::new();
        for hop in found.hops.into_iter().take(MOST_REHEARSALS) {
            all.push(self.ends(subject, hop, now).await);
        }
        (self.run(all, mode).await, found.portless)
    }

    async fn run(&self, all: Vec<Ends>, mode: &Mode) -> Vec<Rehearsed> {
        if all.is_empty() {
            return Vec::new();
        }
        let turn = match mode.setting {
            Setting::Files => POOL.acquire().await.ok(),
            // Who is not served in time is let through: nobody could look.
            Setting::Review => {
                let turn = tokio::time::timeout(PATIENCE, POOL.acquire()).await;
                turn.ok().and_then(Result::ok)
            }
        };
        let Some(_turn) = turn else { return Vec::new() };
        let run = move || all.into_iter().filter_map(Ends::rehearse).collect();
        tokio::task::spawn_blocking(run).await.unwrap_or_default()
    }

    async fn ends(&self, subject: &Subject, hop: Hop, now: i64) -> Ends {
        let Hop { from, place, severity } = hop;
        let look = |of: &Option<Key>| {
            let key = of.clone();
            async move {
                match key {
                    Some(key) => Some(self.seen(subject, &key).await),
                    None => None,
                }
            }
        };
        let from = match from {
            Dialer::Balancer(balancer) => {
                let presents = match &balancer.towards.presents {
                    Presents::Secret(namespace, name) => Some(Key::of_secret(namespace, name)),
                    Presents::Nothing | Presents::Unknown(_) => None,
                };
                let trusts = balancer.towards.trusts.clone().map(Key::from);
                let (presents, trusts) = (look(&presents).await, look(&trusts).await);
                FromEnd::Balancer { balancer, presents, trusts }
            }
            Dialer::Sidecar(outlet) => {
                let mounts = Originating::mounts(&outlet.originate);
                let found = self.found(subject, &outlet.workload, mounts).await;
                FromEnd::Sidecar { outlet, found }
            }
        };
        let mounts = Listener::mounts(&place.terminate);
        let found = self.found(subject, &place.workload, mounts).await;
        Ends { from, place, found, severity, now }
    }

    /// What the sidecar of `workload` reads.
    async fn found(&self, subject: &Subject, workload: &ObjectRef, mounts: Vec<Mount>) -> Found {
        let namespace = workload.namespace.as_str();
        let mounts: BTreeSet<Mount> = mounts.into_iter().collect();
        let looks = mounts.into_iter().map(|mount| async move {
            let seen = match &mount {
                Mount::CaConfigMap(name) | Mount::UpstreamCaConfigMap(name) => {
                    self.config_map(namespace, name).await
                }
                Mount::Tls(name) | Mount::Ca(name) | Mount::Crl(name) | Mount::UpstreamCa(name) => {
                    let key = Key::of_secret(namespace, name);
                    self.seen(subject, &key).await
                }
            };
            (mount, seen)
        });
        join_all(looks).await.into_iter().collect()
    }

    /// One Secret; the one in question as it is going to be.
    async fn seen(&self, subject: &Subject, key: &Key) -> Sighting<Arc<SeenSecret>> {
        let object = &subject.object;
        let is_own = object.is("", "Secret")
            && key.holder == Holder::Secret
            && (object.name(), &subject.namespace) == (key.name.as_str(), &key.namespace);
        let found = if is_own {
            Sighting::Found(Secret::read(object.clone()))
        } else {
            self.secret(subject, key).await
        };
        found.map(|secret| Arc::new(SeenSecret::new(secret)))
    }

    async fn config_map(&self, namespace: &str, name: &str) -> Sighting<Arc<SeenSecret>> {
        let found: Sighting<Secret> =
            self.look(self.surroundings.config_map(namespace, name)).await;
        found.map(|secret| Arc::new(SeenSecret::new(secret)))
    }
}

impl Ends {
    /// What does not work; [`None`] where it does, or where not everything is known.
    fn rehearse(self) -> Option<Rehearsed> {
        let Self { from, place, found, severity, now } = self;
        // What keeps a listener from serving is told of its Secrets.
        let listener = Listener::new(&place.terminate, &found);
        match from {
            FromEnd::Balancer { balancer, presents, trusts } => {
                let called = balancer.called();
                let hop::Balancer { from, fields, with: _, towards } = *balancer;
                let client = client(&towards, presents.as_ref(), trusts.as_ref())?;
                let acts = rehearse(&listener, Caller::Client(&client), now).ok()?;
                let chain = client.chain();
                let trusts = towards.trusts.as_ref();
                let trusts = trusts.map(|anchors| format!("the CAs in {}", anchors.called()));
                let trusts = trusts.as_deref();
                let party = Party { called: &called, chain: &chain, trusts, outlet: None };
                let (refused, blame) = first_refusal(&acts, &place, party)?;
                // Of what is presented nothing is known then.
                if matches!(
                    (&towards.presents, &refused),
                    (Presents::Unknown(_), Outcome::Refused(_))
                ) {
                    return None;
                }
                let path = fields.about(blame.code).clone();
                let from = scene::Dialer::Balancer { ingress: from, path };
                Some(Rehearsed { from, place, refused, blame, severity })
            }
            FromEnd::Sidecar { outlet, found } => {
                let sidecar = Originating::new(&outlet.originate, &found).ok()?;
                let acts = rehearse(&listener, Caller::Sidecar(&sidecar), now).ok()?;
                let called = format!("the sidecar of {}", outlet.workload);
                let (trusts, chain) = (outlet.authority(), sidecar.chain());
                let trusts = Some(trusts.as_str());
                let party = Party { called: &called, chain, trusts, outlet: Some(&outlet) };
                let (refused, blame) = first_refusal(&acts, &place, party)?;
                Some(Rehearsed {
                    from: scene::Dialer::Sidecar(outlet),
                    place,
                    refused,
                    blame,
                    severity,
                })
            }
        }
    }
}

/// The first handshake that does not come about, and who is to blame for it.
fn first_refusal(acts: &[Act], place: &Place, party: Party<'_>) -> Option<(Outcome, Blame)> {
    acts.iter().find_map(|act| {
        let blame = Blame::of(&act.outcome, place, party)?;
        Some((act.outcome.clone(), blame))
    })
}

fn client(
    towards: &hops::Towards,
    presents: Option<&Sighting<Arc<SeenSecret>>>,
    trusts: Option<&Sighting<Arc<SeenSecret>>>,
) -> Option<Client> {
    let presents = match (&towards.presents, presents) {
        (Presents::Secret(..), Some(Sighting::Found(seen))) => Some(seen.as_ref()),
        (Presents::Nothing, _) => None,
        // Whether it verifies the sidecar is known all the same.
        (Presents::Unknown(_), _) if towards.trusts.is_some() => None,
        _ => return None,
    };
    let trusts = match (trusts, &towards.trusts) {
        (Some(Sighting::Found(seen)), Some(anchors)) => Some(anchors.of(&seen.secret.data)),
        (Some(_), _) => return None,
        (None, _) => None,
    };
    let names = (towards.expects.as_slice(), towards.asks_for.as_deref());
    client_of(presents, trusts.as_ref(), names)
}
