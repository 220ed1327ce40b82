//! Re-encrypted hops of which both ends are known: looked up, and rehearsed.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::Semaphore;

use super::{Key, Looks};
use crate::check::scene::{Rehearsed, SeenSecret};
use crate::check::{DryRun, Mode, Operation, Setting, Subject};
use crate::finding::Severity;
use crate::hops::{self, Presents, Reencrypted};
use crate::inject::{self, Maker, Mount};
use crate::object::{Object, Secret};
use crate::reference::ingress::is_ingress;
use crate::rehearse::{Blame, Client, Found, Listener, Party, client_of, rehearse};
use crate::surroundings::{Listed, Sighting};

/// No more hops are rehearsed for one object.
const MOST_REHEARSALS: usize = 8;

/// So many rehearsals of all reviews run at once; each is a few milliseconds of arithmetic.
static POOL: Semaphore = Semaphore::const_new(2);

/// How long a review waits for its turn.
const PATIENCE: Duration = Duration::from_millis(200);

/// A hop with everything that was found of its ends.
struct Ends {
    hop: Reencrypted,
    found: Found,
    presents: Option<Sighting<Arc<SeenSecret>>>,
    trusts: Option<Sighting<Arc<SeenSecret>>>,
    called: String,
    severity: Severity,
    now: i64,
}

impl Looks<'_> {
    /// The hops on which `subject` lies, as far as they do not work.
    pub(super) async fn rehearsed(
        &self,
        subject: &Subject,
        mode: &Mode,
        now: i64,
    ) -> Vec<Rehearsed> {
        let hops = self.hops(subject, mode).await;
        let mut all = Vec::new();
        for (ingress, hop) in hops.into_iter().take(MOST_REHEARSALS) {
            all.push(self.ends(subject, mode, (ingress, hop), now).await);
        }
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

    /// The re-encrypted hops from an Ingress to a sidecar on which `subject` lies. Among files a hop is
    /// told once, at its Ingress.
    async fn hops(&self, subject: &Subject, mode: &Mode) -> Vec<(Object, Reencrypted)> {
        let object = &subject.object;
        let is_delete = subject.operation == Operation::Delete;
        let list = |kind| self.look(self.surroundings.list(kind, &subject.namespace));
        if is_delete || object.is_being_deleted() {
            return Vec::new();
        }
        let (ingresses, workloads) = if is_ingress(object) {
            if !hops::may_reencrypt(object) {
                return Vec::new();
            }
            (vec![object.clone()], list(Listed::Workloads).await.into_found())
        } else if mode.setting == Setting::Review
            && Maker::of(object) != Maker::Controller
            && inject::service::request_of(object).is_some()
        {
            let ingresses = list(Listed::Ingresses).await.into_found().unwrap_or_default();
            (ingresses, Some(vec![object.clone()]))
        } else {
            return Vec::new();
        };
        let ingresses: Vec<Object> = ingresses.into_iter().filter(hops::may_reencrypt).collect();
        let Some(workloads) = workloads.filter(|_| !ingresses.is_empty()) else {
            return Vec::new();
        };
        let services = list(Listed::Services).await.into_found().unwrap_or_default();
        let mut all = Vec::new();
        for ingress in ingresses {
            let hops = hops::reencrypted(&ingress, &subject.namespace, (&services, &workloads));
            all.extend(hops.into_iter().map(|hop| (ingress.clone(), hop)));
        }
        all
    }

    async fn ends(
        &self,
        subject: &Subject,
        mode: &Mode,
        (ingress, hop): (Object, Reencrypted),
        now: i64,
    ) -> Ends {
        let look = |namespace: &str, name: &str| {
            let key = Key { namespace: namespace.to_owned(), name: name.to_owned() };
            async move {
                let found = self.secret(subject, &key).await;
                found.map(|secret| Arc::new(SeenSecret::new(secret)))
            }
        };
        let presents = match &hop.towards.presents {
            Presents::Secret(namespace, name) => Some(look(namespace, name).await),
            Presents::Nothing | Presents::Unknown(_) => None,
        };
        let trusts = match &hop.towards.trusts {
            Some((namespace, name)) => Some(look(namespace, name).await),
            None => None,
        };
        let mounts: BTreeSet<Mount> = Listener::mounts(&hop.place.terminate).into_iter().collect();
        let found = mounts.into_iter().map(|mount| async move {
            let seen = match &mount {
                Mount::CaConfigMap(name) | Mount::UpstreamCaConfigMap(name) => {
                    self.config_map(subject, mode, name).await
                }
                Mount::Tls(name) | Mount::Ca(name) | Mount::Crl(name) | Mount::UpstreamCa(name) => {
                    look(&subject.namespace, name).await
                }
            };
            (mount, seen)
        });
        let found = join_all(found).await.into_iter().collect();
        let severity = severity(subject, mode, &hop);
        let called = ingress.reference(&subject.namespace).to_string();
        Ends { hop, found, presents, trusts, called, severity, now }
    }

    /// The webhook has no right to read `ConfigMap`s, so it does not try.
    async fn config_map(
        &self,
        subject: &Subject,
        mode: &Mode,
        name: &str,
    ) -> Sighting<Arc<SeenSecret>> {
        if mode.setting == Setting::Review {
            return Sighting::Unknown("ConfigMaps are not looked at".to_owned());
        }
        let found: Sighting<Secret> =
            self.look(self.surroundings.config_map(&subject.namespace, name)).await;
        found.map(|secret| Arc::new(SeenSecret::new(secret)))
    }
}

/// A hop that cannot work refuses where somebody makes one of its ends. An update may be the first of
/// two, of which the other end is the second, and a dry-run is not stored before the next is asked
/// about: both only warn. So does what another namespace has a part in.
fn severity(subject: &Subject, mode: &Mode, hop: &Reencrypted) -> Severity {
    let is_own = |of: &Option<(String, String)>| {
        of.as_ref().is_none_or(|(namespace, _)| *namespace == subject.namespace)
    };
    let presents = match &hop.towards.presents {
        Presents::Secret(namespace, _) => *namespace == subject.namespace,
        // Snippets and defaults of a controller are in no object.
        Presents::Nothing | Presents::Unknown(_) => return Severity::Warning,
    };
    let is_new = subject.operation == Operation::Create && subject.dry_run == DryRun::No;
    let refuses = mode.setting == Setting::Files || is_new;
    if refuses && presents && is_own(&hop.towards.trusts) {
        Severity::Error
    } else {
        Severity::Warning
    }
}

impl Ends {
    /// What does not work; [`None`] where it does, or where not everything is known.
    fn rehearse(self) -> Option<Rehearsed> {
        let Self { hop, found, presents, trusts, called, severity, now } = self;
        let client = client(&hop, presents.as_ref(), trusts.as_ref())?;
        let listener = Listener::new(&hop.place.terminate, &found);
        // What keeps a listener from serving is told of its Secrets.
        let acts = rehearse(&listener, &client, now).ok()?;
        let chain = client.chain();
        let trusts =
            hop.towards.trusts.as_ref().map(|(namespace, name)| hops::called(namespace, name));
        let trusts = trusts.map(|secret| format!("the CAs in {secret}"));
        let party = Party { called: &called, chain: &chain, trusts: trusts.as_deref() };
        let (refused, blame) = acts.iter().find_map(|act| {
            let blame = Blame::of(&act.outcome, &hop.place, party)?;
            Some((act.outcome.clone(), blame))
        })?;
        Some(Rehearsed { path: hop.path, place: hop.place, refused, blame, severity })
    }
}

fn client(
    hop: &Reencrypted,
    presents: Option<&Sighting<Arc<SeenSecret>>>,
    trusts: Option<&Sighting<Arc<SeenSecret>>>,
) -> Option<Client> {
    let presents = match (&hop.towards.presents, presents) {
        (Presents::Secret(..), Some(Sighting::Found(seen))) => Some(seen.as_ref()),
        (Presents::Nothing, _) => None,
        _ => return None,
    };
    let trusts = match trusts {
        Some(Sighting::Found(seen)) => Some(&seen.secret.data),
        Some(_) => return None,
        None => None,
    };
    let names = (hop.towards.expects.as_deref(), hop.towards.asks_for.as_deref());
    client_of(presents, trusts, names)
}
