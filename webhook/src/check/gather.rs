//! Looks up everything that an object refers to, once each, within bounds.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use lasthop_contract::annotation;
use tokio::time::Instant;

use super::behind::{self, Behind};
use super::scene::{Maker, Nearest, Own, Rival, Scene, SeenSecret, Sight, User};
use super::{Mode, Operation, Setting, Subject};
use crate::hops;
use crate::inject;
use crate::object::{Object, Secret};
use crate::reference::ingress_annotations::{Backend, Reencryption, reencryption};
use crate::reference::ingress_hosts::{self, Brought};
use crate::reference::{
    self, Holder, Reference, Role, Weight, certificate, gateway_api, ingress, istio_gateway,
};
use crate::rules::copied_secret;
use crate::surroundings::{Listed, Sighting, Surroundings};

mod rehearsals;

/// What was looked up around a subject, and what may still have to be.
pub(super) struct Gathered<'a> {
    /// The object as it is going to be.
    pub(super) scene: Scene,
    subject: &'a Subject,
    mode: &'a Mode,
    looks: Looks<'a>,
    seen: BTreeMap<Key, Seen>,
    home: Option<Sighting<Object>>,
}

/// Why a Secret is unknown that was not even looked at.
pub(crate) const BUDGET_USED_UP: &str = "the review names more Secrets than one review may look at";

/// Why a Secret is unknown that whoever asks may not read: it is the same whether it is there or not.
const NOT_SHOWN: &str = "it is of another namespace, and who applies this may not read it";

/// Why the Secrets of an Istio Gateway are unknown.
const NO_PODS: &str = "no pod was found that has the labels of `spec.selector`";

/// What is looked up last has so long in any case: well within what the API server still waits.
const LAST_LOOK: Duration = Duration::from_millis(200);

/// A Secret's namespace and name, or those of a `ConfigMap`.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Key {
    holder: Holder,
    namespace: String,
    name: String,
}

impl Key {
    fn of(reference: &Reference) -> Self {
        Self {
            holder: reference.holder,
            namespace: reference.namespace.clone(),
            name: reference.secret.clone(),
        }
    }

    fn of_secret(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self { holder: Holder::Secret, namespace: namespace.into(), name: name.into() }
    }
}

/// Why the namespace is unknown where no rule reads it.
const NOT_READ: &str = "nobody has looked";

/// Looks up everything around `subject` that rules read: first the namespace, the Secrets that it names
/// and who names it; then, where a Secret is not to be seen, what would make it or was meant.
pub(super) async fn gather<'a>(
    subject: &'a Subject,
    surroundings: &'a Surroundings,
    mode: &'a Mode,
    now: i64,
) -> Gathered<'a> {
    let looks = Looks::new(surroundings, mode);
    let object = &subject.object;
    let named = Box::pin(async {
        let references = looks.references(object, &subject.namespace).await;
        let seen = looks.all(subject, references.iter().map(Key::of).collect()).await;
        (references, seen)
    });
    // Nearly all of a review's time goes by in the API server, so what can be asked at once is, and
    // what most reviews can do without is not asked before it is needed.
    let home = async {
        if !rules_read_home(object, mode) {
            return None;
        }
        Some(looks.look(surroundings.namespace(&subject.namespace)).await)
    };
    let (home, (references, seen)) = tokio::join!(home, named);
    let namespace = home.clone().unwrap_or_else(|| Sighting::Unknown(NOT_READ.to_owned()));
    let users = looks.users(subject, mode).await;
    let maker = looks.own_maker(subject).await;
    let around = looks.around(subject).await;
    let behind = looks.behind(subject, &namespace).await;
    let room = looks.room(subject).await;
    let grants = looks.grants(subject, &references).await;
    let named_by = users.found().map_or(&[][..], Vec::as_slice);
    let (rehearsed, portless) = looks.rehearsed((subject, named_by), mode, now).await;
    let rivals = looks.rivals(subject, mode).await;
    let scene = Scene {
        object: object.clone(),
        namespace: subject.namespace.clone(),
        operation: subject.operation,
        setting: mode.setting,
        references: sights(&seen, (object, references), &namespace, mode),
        own: maker.map(|maker| Own::of(object, maker)),
        users,
        home: namespace,
        around,
        behind,
        room,
        grants,
        rehearsed,
        portless,
        rivals,
        substitutes: surroundings.substitutes().filter(|_| !keeps_variables(object)),
        sidecar: Arc::new(mode.sidecar.clone()),
        now,
    };
    Gathered { scene, subject, mode, looks, seen, home }
}

/// Whether there is a rule that reads the labels of the namespace which `object` is in. Those of all
/// others matter once there is a finding. Files cost nothing, and all that is in them is told.
fn rules_read_home(object: &Object, mode: &Mode) -> bool {
    let asks_for_something = || {
        let (annotations, labels) = (object.annotations(), object.labels());
        annotations.keys().chain(labels.keys()).any(|key| key.starts_with(annotation::PREFIX))
    };
    mode.setting == Setting::Files
        || object.is("", "Secret")
        || object.is("", "Service")
        || inject::template_of(object).is_some()
        || reencryption(object).is_some()
        || hops::may_reencrypt(object)
        || gateway_api::is_backend_policy(object)
        || asks_for_something()
}

impl Gathered<'_> {
    /// The object as it was before an update, in the same surroundings. Of the Secrets that it named
    /// those are looked up that it does not name any more.
    pub(super) async fn before(&mut self) -> Option<Scene> {
        let old = self.subject.old.as_ref()?;
        self.looks.give_time();
        let references = self.looks.references(old, &self.subject.namespace).await;
        let keys = references.iter().map(Key::of).filter(|key| !self.seen.contains_key(key));
        let seen = self.looks.all(self.subject, keys.collect()).await;
        self.seen.extend(seen);
        let scene = &self.scene;
        Some(Scene {
            object: old.clone(),
            references: sights(&self.seen, (old, references), &scene.home, self.mode),
            own: scene.own.as_ref().map(|own| Own::of(old, own.maker.clone())),
            ..scene.clone()
        })
    }

    /// The namespace of the object, for the labels.
    pub(super) async fn home(&mut self) -> &Sighting<Object> {
        if self.home.is_none() {
            self.looks.give_time();
            let looking = self.looks.surroundings.namespace(&self.subject.namespace);
            // However many Secrets were named: else a label that asks for less were not heard.
            self.home = Some(self.looks.in_time(looking).await);
        }
        self.home.as_ref().unwrap_or(&self.scene.home)
    }
}

/// What came of the looks at the Secrets that `object` names.
fn sights(
    seen: &BTreeMap<Key, Seen>,
    (object, references): (&Object, Vec<Reference>),
    home: &Sighting<Object>,
    mode: &Mode,
) -> Vec<Sight> {
    let has_sidecars = inject::is_switched_on_in(home);
    let sight = |mut reference: Reference| {
        // The label is missing, which is told; until it is there, nothing reads the Secret.
        if reference.role.is_sidecar() && !has_sidecars {
            reference.weight = Weight::Warns;
        }
        Some(seen.get(&Key::of(&reference))?.sight(object, reference, mode))
    };
    references.into_iter().filter_map(sight).collect()
}

/// Whether an object is to keep its `${NAME}`.
fn keeps_variables(object: &Object) -> bool {
    let key = "kustomize.toolkit.fluxcd.io/substitute";
    let is_disabled = |value: Option<&str>| value == Some("disabled");
    is_disabled(object.annotation(key)) || is_disabled(object.labels().get(key).copied())
}

/// What came of looking for one Secret.
struct Seen {
    secret: Sighting<Arc<SeenSecret>>,
    maker: Sighting<Maker>,
    nearest: Option<Nearest>,
}

impl Seen {
    /// Whether something else may be about to write it.
    fn may_be_awaited(&self) -> bool {
        self.secret.found().is_none_or(|seen| seen.is_placeholder())
    }

    /// Whether who asks may know of it.
    fn is_shown(&self) -> bool {
        !matches!(&self.secret, Sighting::Unknown(why) if why == NOT_SHOWN)
    }

    /// The same from the point of view of one reference, whose own annotations can name a maker.
    fn sight(&self, object: &Object, reference: Reference, mode: &Mode) -> Sight {
        let annotated = reference::maker_annotation(object, &reference, &mode.maker_annotations);
        let maker = match annotated {
            Some(annotation) if self.may_be_awaited() => {
                Sighting::Found(Maker::Annotation(annotation))
            }
            _ => self.maker.clone(),
        };
        let (secret, nearest) = (self.secret.clone(), self.nearest.clone());
        Sight { reference, secret, maker, nearest }
    }
}

/// Looks that are counted, and bounded in time.
struct Looks<'a> {
    surroundings: &'a Surroundings,
    left: AtomicUsize,
    deadline: Option<Instant>,
}

impl<'a> Looks<'a> {
    fn new(surroundings: &'a Surroundings, mode: &Mode) -> Self {
        let deadline = mode.limits.deadline.map(|within| Instant::now() + within);
        Self { surroundings, left: AtomicUsize::new(mode.limits.lookups), deadline }
    }

    /// Leaves time for what decides whether a finding refuses, also where other looks used it up.
    fn give_time(&mut self) {
        let at_least = Instant::now() + LAST_LOOK;
        self.deadline = self.deadline.map(|deadline| deadline.max(at_least));
    }

    /// The outcome of `looking`, or why it is unknown.
    async fn look<T>(&self, looking: impl Future<Output = Sighting<T>>) -> Sighting<T> {
        let take = |left: usize| left.checked_sub(1);
        if self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_err() {
            return Sighting::Unknown(BUDGET_USED_UP.to_owned());
        }
        self.in_time(looking).await
    }

    /// The same, uncounted: for what is asked once a namespace, however many Secrets are named.
    async fn in_time<T>(&self, looking: impl Future<Output = Sighting<T>>) -> Sighting<T> {
        match self.deadline {
            None => looking.await,
            Some(deadline) => {
                tokio::time::timeout_at(deadline, looking).await.unwrap_or_else(|_elapsed| {
                    Sighting::Unknown("the API server did not answer in time".to_owned())
                })
            }
        }
    }

    /// Every Secret at once; then, namespace by namespace, who makes those that are awaited; then
    /// which one may have been meant instead.
    async fn all(&self, subject: &Subject, keys: BTreeSet<Key>) -> BTreeMap<Key, Seen> {
        let looking = keys.into_iter().map(|key| async move {
            let found = self.secret(subject, &key).await;
            let secret = found.map(|secret| Arc::new(SeenSecret::new(secret)));
            (key, Seen { secret, maker: Sighting::Missing, nearest: None })
        });
        let mut seen: BTreeMap<Key, Seen> = join_all(looking).await.into_iter().collect();
        let mut awaited: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        let is_secret = |key: &Key| key.holder == Holder::Secret;
        let awaiting = |(key, seen): &(&Key, &Seen)| {
            is_secret(key) && seen.may_be_awaited() && seen.is_shown()
        };
        for (key, _) in seen.iter().filter(awaiting) {
            awaited.entry(&key.namespace).or_default().insert(&key.name);
        }
        let mut makers = BTreeMap::new();
        for (namespace, names) in awaited {
            let found = self.in_time(self.surroundings.makers(namespace, &names)).await;
            makers.insert(namespace.to_owned(), found);
        }
        for (key, seen) in seen.iter_mut().filter(|(key, _)| is_secret(key)) {
            let Some(found) = makers.get(&key.namespace) else { continue };
            seen.maker = match found {
                Sighting::Unknown(why) => Sighting::Unknown(why.clone()),
                Sighting::Missing => Sighting::Missing,
                Sighting::Found(makers) => makers
                    .get(&key.name)
                    .map_or(Sighting::Missing, |it| Sighting::Found(Maker::Object(it.clone()))),
            };
            if let Some(filler) = seen.secret.found().and_then(|it| it.secret.filled_by()) {
                seen.maker = Sighting::Found(Maker::Annotation(filler.to_owned()));
            }
        }
        self.add_nearest(subject, &mut seen).await;
        seen
    }

    /// One Secret or `ConfigMap`; one of another namespace only for a person who may read it.
    async fn secret(&self, subject: &Subject, key: &Key) -> Sighting<Secret> {
        let Key { holder, namespace, name } = key;
        if namespace.is_empty() {
            return Sighting::Unknown(NO_PODS.to_owned());
        }
        if *namespace != subject.namespace {
            let may = self.surroundings.may_get(&subject.requester, *holder, (namespace, name));
            let shown = self.look(async { Sighting::Found(may.await) }).await;
            match shown {
                Sighting::Found(true) => {}
                Sighting::Found(false) | Sighting::Missing => {
                    return Sighting::Unknown(NOT_SHOWN.to_owned());
                }
                Sighting::Unknown(why) => return Sighting::Unknown(why),
            }
        }
        let found = match holder {
            Holder::Secret => self.look(self.surroundings.secret(namespace, name)).await,
            Holder::ConfigMap => self.look(self.surroundings.config_map(namespace, name)).await,
        };
        match found {
            Sighting::Found(secret) => match secret.withheld() {
                Some(why) => Sighting::Unknown(why.to_owned()),
                None => Sighting::Found(secret),
            },
            other => other,
        }
    }

    async fn add_nearest(&self, subject: &Subject, seen: &mut BTreeMap<Key, Seen>) {
        for (key, seen) in seen.iter_mut().filter(|(key, _)| key.holder == Holder::Secret) {
            let is_own = key.namespace == subject.namespace;
            if !is_own && matches!(seen.secret, Sighting::Missing) && seen.maker.found().is_none() {
                // The usual slip is that it was made beside what names it.
                let found = self.surroundings.secret(&subject.namespace, &key.name);
                seen.nearest = self.look(found).await.into_found().map(|_| Nearest {
                    namespace: subject.namespace.clone(),
                    name: key.name.clone(),
                });
            }
            // Another name of another namespace is no business of who asks.
            if is_own && seen.secret.found().is_none() && seen.maker.found().is_none() {
                let nearest =
                    self.surroundings.nearest_secret(&subject.requester, &key.namespace, &key.name);
                let found = self.look(async { Sighting::from(nearest.await) }).await;
                seen.nearest = found.into_found();
            }
        }
    }

    /// Where `subject` is a Secret: what makes it, looked for where it is an empty placeholder, or says
    /// that cert-manager does.
    async fn own_maker(&self, subject: &Subject) -> Option<Sighting<Maker>> {
        let object = &subject.object;
        if !object.is("", "Secret") {
            return None;
        }
        let is_marked = object.annotation(copied_secret::MARK).is_some();
        let seen = SeenSecret::new(Secret::read(object.clone()));
        if seen.secret.withheld().is_some() {
            return None;
        }
        if !is_marked && !seen.is_placeholder() {
            return Some(Sighting::Missing);
        }
        if let Some(filler) = seen.secret.filled_by() {
            return Some(Sighting::Found(Maker::Annotation(filler.to_owned())));
        }
        let names = BTreeSet::from([object.name()]);
        let found = self.look(self.surroundings.makers(&subject.namespace, &names)).await;
        Some(match found {
            Sighting::Found(makers) => {
                Sighting::from(makers.into_values().next().map(Maker::Object))
            }
            Sighting::Missing => Sighting::Missing,
            Sighting::Unknown(why) => Sighting::Unknown(why),
        })
    }

    /// The other side of a Service: the pods behind it, or what leads to them.
    async fn around(&self, subject: &Subject) -> Sighting<Vec<Object>> {
        let object = &subject.object;
        let kind = if object.is("", "Service") && object.0.pointer("/spec/selector").is_some() {
            Listed::Workloads
        } else if inject::service::request_of(object).is_some() {
            Listed::Services
        } else {
            return Sighting::Found(Vec::new());
        };
        self.look(self.surroundings.list(kind, &subject.namespace)).await
    }

    /// Who else brings certificates for hosts of an Ingress. A review asks where a person brings a host, or
    /// brings them to a class, that was not there before; all of it is told of files.
    async fn rivals(&self, subject: &Subject, mode: &Mode) -> Vec<Rival> {
        let Subject { object, old, namespace, .. } = subject;
        let here = ingress_hosts::brought(object, namespace);
        let is_new = || {
            subject.requester.is_person()
                && old.as_ref().is_none_or(|old| {
                    let before = ingress_hosts::brought(old, namespace);
                    ingress::class(old) != ingress::class(object)
                        || !here.keys().all(|host| before.contains_key(host))
                })
        };
        if here.is_empty()
            || subject.operation == Operation::Delete
            || (mode.setting == Setting::Review && !is_new())
        {
            return Vec::new();
        }
        let found = self.look(self.surroundings.bringers(namespace)).await;
        let Some(bringers) = found.into_found() else { return Vec::new() };
        let rival = |(host, brought): (String, Brought)| {
            let asked = (host.as_str(), brought.secret.as_str());
            let (secret, other) = bringers.rival((object, namespace), asked)?;
            Some(Rival { other_secret: secret.to_owned(), other: other.to_owned(), brought })
        };
        here.into_iter().filter_map(rival).collect()
    }

    /// The references of an object; those of an Istio Gateway where its pods are.
    async fn references(&self, object: &Object, namespace: &str) -> Vec<Reference> {
        let references = reference::of(object, namespace);
        let Some(selector) = istio_gateway::selector(object) else { return references };
        if references.is_empty() {
            return references;
        }
        let found = self.look(self.surroundings.namespaces_of_pods(&selector)).await;
        istio_gateway::placed(object, references, &found.into_found().unwrap_or_default())
    }

    /// The ReferenceGrants beside the Secrets of other namespaces that a Gateway names.
    async fn grants(
        &self,
        subject: &Subject,
        references: &[Reference],
    ) -> BTreeMap<String, Sighting<Vec<Object>>> {
        let of_listener = |it: &&Reference| {
            matches!(
                it.role,
                Role::ListenerServer | Role::ListenerClientCa | Role::GatewayBackendClient
            ) && it.namespace != subject.namespace
        };
        let namespaces = references.iter().filter(of_listener).map(|it| it.namespace.clone());
        let namespaces: BTreeSet<String> = namespaces.collect();
        let looking = namespaces.into_iter().map(|namespace| async move {
            let found = self.look(self.surroundings.list(Listed::Grants, &namespace)).await;
            (namespace, found)
        });
        join_all(looking).await.into_iter().collect()
    }

    /// Where `subject` is an Ingress whose controller speaks TLS to the application, or should: the
    /// sidecars behind it.
    async fn behind(&self, subject: &Subject, home: &Sighting<Object>) -> Vec<Behind> {
        let speaks_tls = Backend::read(&subject.object).is_some_and(|it| it.speaks_tls());
        // Of an Ingress that asks for nothing nobody looks, but where there can be sidecars.
        let may_forget = || {
            matches!(reencryption(&subject.object), Some(Reencryption::Absent { .. }))
                && self.surroundings.may_inject(&subject.namespace, home)
        };
        if !speaks_tls && !may_forget() {
            return Vec::new();
        }
        let list = |kind| self.look(self.surroundings.list(kind, &subject.namespace));
        let (services, workloads) = tokio::join!(list(Listed::Services), list(Listed::Workloads));
        let (Some(services), Some(workloads)) = (services.found(), workloads.found()) else {
            return Vec::new();
        };
        let mut behind = behind::of(&subject.object, &subject.namespace, services, workloads);
        let names = behind.iter().flat_map(|it| &it.certificates).map(|(name, _)| name.clone());
        let names: BTreeSet<String> = names.collect();
        let looking = names.into_iter().map(|name| async move {
            let found = self.look(self.surroundings.secret(&subject.namespace, &name)).await;
            (name, found.map(|secret| Arc::new(SeenSecret::new(secret))))
        });
        let seen: BTreeMap<String, _> = join_all(looking).await.into_iter().collect();
        for (name, certificate) in behind.iter_mut().flat_map(|it| &mut it.certificates) {
            if let Some(seen) = seen.get(name) {
                *certificate = seen.clone();
            }
        }
        behind
    }

    /// What bounds the containers of the namespace, where one more is going to be in it.
    async fn room(&self, subject: &Subject) -> Sighting<Vec<Object>> {
        if inject::service::request_of(&subject.object).is_none() {
            return Sighting::Found(Vec::new());
        }
        self.look(self.surroundings.list(Listed::Limits, &subject.namespace)).await
    }

    /// The places that name the Secret which `subject` is, or makes.
    async fn users(&self, subject: &Subject, mode: &Mode) -> Sighting<Vec<User>> {
        let Some(secret) = certificate::subject_secret(&subject.object) else {
            return Sighting::Found(Vec::new());
        };
        let readers = self.look(self.surroundings.readers(&subject.namespace, secret)).await;
        let readers = match readers {
            Sighting::Found(readers) => readers,
            Sighting::Missing => return Sighting::Missing,
            Sighting::Unknown(why) => return Sighting::Unknown(why),
        };
        let mut pods: BTreeMap<BTreeMap<&str, &str>, BTreeSet<String>> = BTreeMap::new();
        for selector in readers.iter().filter_map(istio_gateway::selector) {
            if let Entry::Vacant(vacant) = pods.entry(selector) {
                let found = self.look(self.surroundings.namespaces_of_pods(vacant.key())).await;
                vacant.insert(found.into_found().unwrap_or_default());
            }
        }
        // What is on its way out needs nothing any more.
        let stay = readers.iter().filter(|reader| !reader.is_being_deleted());
        let users = stay.flat_map(|reader| {
            let namespace = match reader.namespace() {
                "" => subject.namespace.as_str(),
                own => own,
            };
            let mut references = reference::of(reader, namespace);
            if let Some(namespaces) = istio_gateway::selector(reader).and_then(|it| pods.get(&it)) {
                references = istio_gateway::placed(reader, references, namespaces);
            }
            references.retain(|it| it.is_to_secret(&subject.namespace, secret));
            users(reader, namespace, references, (subject, mode))
        });
        Sighting::Found(users.collect())
    }
}

/// `reader` of `namespace` with each of its `references` to the Secret in question.
fn users(
    reader: &Object,
    namespace: &str,
    references: Vec<Reference>,
    (subject, mode): (&Subject, &Mode),
) -> Vec<User> {
    let object = reader.reference(namespace);
    let raw = Arc::new(reader.clone());
    let user = |mut reference: Reference| {
        // Else any tenant had a veto over the Secrets of another.
        if namespace != subject.namespace {
            reference.weight = Weight::Warns;
        }
        let maker = reference::maker_annotation(reader, &reference, &mode.maker_annotations);
        User { object: object.clone(), raw: Arc::clone(&raw), reference, maker }
    };
    references.into_iter().map(user).collect()
}
