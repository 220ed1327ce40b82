//! The re-encrypted hops on which an object lies, whichever end of them it is, or between the ends.

use std::collections::{BTreeMap, BTreeSet};

use super::super::Looks;
use crate::check::{DryRun, Mode, Operation, Portless, Setting, Subject, User};
use crate::finding::Severity;
use crate::hops::next_tier::{self, ServiceName};
use crate::hops::stated::{self, Beside, Certainty, Fields};
use crate::hops::{self, Anchors, Presents, Reencrypted, Towards};
use crate::inject::{self, Maker, Mount};
use crate::object::{Object, ObjectRef, Secret};
use crate::reference::ingress::is_ingress;
use crate::reference::{Holder, gateway_api, istio_gateway};
use crate::rehearse::{Listener, Originating, Outlet, Place};
use crate::surroundings::Listed;

/// A hop to a listener of a sidecar.
pub(super) struct Hop {
    pub(super) from: Dialer,
    pub(super) place: Place,
    /// What it weighs that it does not work.
    pub(super) severity: Severity,
}

/// What was found of the hops on which an object lies.
#[derive(Default)]
pub(super) struct Found {
    pub(super) hops: Vec<Hop>,
    /// Next tiers that no hop leads to.
    pub(super) portless: Vec<Portless>,
}

impl From<Vec<Hop>> for Found {
    fn from(hops: Vec<Hop>) -> Self {
        Self { hops, portless: Vec::new() }
    }
}

/// Who connects.
pub(super) enum Dialer {
    Balancer(Box<Balancer>),
    Sidecar(Box<Outlet>),
}

/// A balancer, as an Ingress, a `BackendTLSPolicy`, a `DestinationRule` and the like configure it.
pub(super) struct Balancer {
    pub(super) from: ObjectRef,
    /// The fields of that which re-encrypt.
    pub(super) fields: Fields,
    /// The other object that says part of it.
    pub(super) with: Option<ObjectRef>,
    pub(super) towards: Towards,
}

impl Balancer {
    /// What it is called in a sentence.
    pub(super) fn called(&self) -> String {
        match &self.with {
            Some(with) => format!("{} with {with}", self.from),
            None => self.from.to_string(),
        }
    }
}

impl Hop {
    /// Whether an end of it reads the Secret `name` of `namespace`.
    fn reads(&self, namespace: &str, name: &str) -> bool {
        let is_it = |of: &str, secret: &str| (of, secret) == (namespace, name);
        let among = |workload: &ObjectRef, mounts: Vec<Mount>| {
            mounts.iter().any(|it| it.is_secret() && is_it(&workload.namespace, it.name()))
        };
        let of_caller = match &self.from {
            Dialer::Balancer(balancer) => {
                let towards = &balancer.towards;
                let presents = match &towards.presents {
                    Presents::Secret(of, secret) => is_it(of, secret),
                    Presents::Nothing | Presents::Unknown(_) => false,
                };
                let is_trusted =
                    |it: &Anchors| it.holder == Holder::Secret && is_it(&it.namespace, &it.name);
                presents || towards.trusts.as_ref().is_some_and(is_trusted)
            }
            Dialer::Sidecar(outlet) => {
                among(&outlet.workload, Originating::mounts(&outlet.originate))
            }
        };
        of_caller || among(&self.place.workload, Listener::mounts(&self.place.terminate))
    }
}

/// What of a namespace hops are made of.
#[derive(Default)]
pub(super) struct Stage {
    pub(super) ingresses: Vec<Object>,
    pub(super) services: Vec<Object>,
    pub(super) workloads: Vec<Object>,
}

impl Looks<'_> {
    /// The hops on which `subject` lies. Among files a hop is told once, at the end that connects.
    pub(super) async fn hops(&self, subject: &Subject, users: &[User], mode: &Mode) -> Found {
        let object = &subject.object;
        if subject.operation == Operation::Delete || object.is_being_deleted() {
            return Found::default();
        }
        if is_ingress(object) {
            return self.of_ingress(subject, mode).await.into();
        }
        if gateway_api::is_backend_policy(object) || mode.setting == Setting::Files {
            let hops = self.stated(subject, mode).await;
            if !hops.is_empty() {
                return hops.into();
            }
        }
        if Maker::of(object) != Maker::Controller && inject::service::request_of(object).is_some() {
            let mut found = self.begun_by_workload(subject, mode).await;
            if mode.setting == Setting::Review {
                let mut hops = self.ending_at_workload(subject, mode).await;
                hops.append(&mut found.hops);
                found.hops = hops;
            }
            return found;
        }
        if mode.setting == Setting::Files {
            return Found::default();
        }
        if object.is("", "Service") {
            return self.of_service(subject, mode).await;
        }
        if object.is("", "Secret") {
            return self.of_secret(subject, users, mode).await.into();
        }
        Found::default()
    }

    pub(super) async fn listed(&self, kind: Listed, namespace: &str) -> Vec<Object> {
        self.look(self.surroundings.list(kind, namespace)).await.into_found().unwrap_or_default()
    }

    async fn of_ingress(&self, subject: &Subject, mode: &Mode) -> Vec<Hop> {
        if !hops::may_reencrypt(&subject.object) {
            return Vec::new();
        }
        let stage = Stage {
            ingresses: vec![subject.object.clone()],
            services: self.listed(Listed::Services, &subject.namespace).await,
            workloads: self.listed(Listed::Workloads, &subject.namespace).await,
        };
        stage.of_balancers(subject, mode)
    }

    /// The hops that an object states which is no Ingress.
    async fn stated(&self, subject: &Subject, mode: &Mode) -> Vec<Hop> {
        let object = &subject.object;
        let mut hops = Vec::new();
        let beside = self.beside(object).await;
        for stated in stated::of(object, &subject.namespace, &beside) {
            let namespace = stated.namespace.as_str();
            let services = self.listed(Listed::Services, namespace).await;
            if services.is_empty() || !self.injects(subject, namespace).await {
                continue;
            }
            let workloads = self.listed(Listed::Workloads, namespace).await;
            let found = stated.hops((&services, &workloads)).into_iter();
            let from = object.reference(&subject.namespace);
            hops.extend(found.map(|hop| of_balancer(from.clone(), hop, subject, mode)));
        }
        hops
    }

    async fn beside(&self, object: &Object) -> Beside {
        let Some(kind) = stated::needs(object) else { return Beside::default() };
        let found = self.look(self.surroundings.everywhere(kind, |_| true)).await;
        let objects = found.into_found().unwrap_or_default();
        let mut proxies = BTreeSet::new();
        for selector in objects.iter().filter_map(istio_gateway::selector) {
            let found = self.look(self.surroundings.namespaces_of_pods(&selector)).await;
            proxies.extend(found.into_found().unwrap_or_default());
        }
        Beside { objects, proxies }
    }

    /// The hops that end at the workload in question: of Ingresses and of its neighbours.
    async fn ending_at_workload(&self, subject: &Subject, mode: &Mode) -> Vec<Hop> {
        let own = subject.object.reference(&subject.namespace);
        if Place::all(&subject.object, &subject.namespace).is_empty() {
            return Vec::new();
        }
        let services = self.listed(Listed::Services, &subject.namespace).await;
        let workloads = vec![subject.object.clone()];
        let before = services.iter().filter(|it| hops::is_before(it, &subject.object));
        let before: Vec<&Object> = before.collect();
        if before.is_empty() {
            return Vec::new();
        }
        let elsewhere = if is_another_server(subject) {
            self.callers_elsewhere(subject, &before).await
        } else {
            Vec::new()
        };
        let ingresses = self.listed(Listed::Ingresses, &subject.namespace).await;
        let mut neighbours = self.listed(Listed::Workloads, &subject.namespace).await;
        neighbours.retain(|it| it.reference(&subject.namespace) != own);
        let stage = Stage { ingresses, services, workloads };
        let mut hops = stage.of_balancers(subject, mode);
        hops.extend(stage.of_sidecars(&neighbours, subject, mode));
        hops.extend(stage.of_outlets(elsewhere, subject, mode));
        hops
    }

    /// The hops from the workload in question to its next tiers, in whichever namespaces they are.
    async fn begun_by_workload(&self, subject: &Subject, mode: &Mode) -> Found {
        let mut outlets: BTreeMap<String, Vec<Outlet>> = BTreeMap::new();
        for outlet in Outlet::all(&subject.object, &subject.namespace) {
            let host = outlet.originate.upstream.host();
            if let Some(service) = ServiceName::of(host, &subject.namespace) {
                outlets.entry(service.namespace).or_default().push(outlet);
            }
        }
        let own = subject.object.reference(&subject.namespace);
        let mut found = Found::default();
        for (namespace, outlets) in outlets {
            let services = self.listed(Listed::Services, &namespace).await;
            let lacking = outlets.iter().filter_map(|it| portless(it, &services, mode));
            let lacking: Vec<Portless> = lacking.collect();
            if !lacking.is_empty() && self.is_shown(subject, &namespace).await {
                found.portless.extend(lacking);
            }
            if services.is_empty() || !self.injects(subject, &namespace).await {
                continue;
            }
            let mut workloads = self.listed(Listed::Workloads, &namespace).await;
            workloads.retain(|it| it.reference(&namespace) != own);
            for outlet in outlets {
                let places = next_tier::places(&outlet, &namespace, (&services, &workloads));
                found.hops.extend(places.into_iter().map(|place| of_sidecar(&outlet, place, mode)));
            }
        }
        found
    }

    /// Whether there are sidecars in another namespace; of its own one the rules see it.
    pub(super) async fn injects(&self, subject: &Subject, namespace: &str) -> bool {
        if *namespace == subject.namespace {
            return true;
        }
        let home = self.look(self.surroundings.namespace(namespace)).await;
        inject::is_switched_on_in(&home)
    }

    async fn of_service(&self, subject: &Subject, mode: &Mode) -> Found {
        let is_changed = |pointer: &str| {
            subject.old.as_ref().map(|old| old.0.pointer(pointer))
                != Some(subject.object.0.pointer(pointer))
        };
        if !is_changed("/spec") || subject.object.0.pointer("/spec/selector").is_none() {
            return Found::default();
        }
        let mut workloads = self.listed(Listed::Workloads, &subject.namespace).await;
        workloads.retain(|it| inject::service::request_of(it).is_some());
        let services = vec![subject.object.clone()];
        let mut callers = outlets(&workloads, &subject.namespace);
        if !workloads.iter().any(|it| hops::is_before(&subject.object, it)) {
            let lacking = callers.iter().filter_map(|it| portless(it, &services, mode));
            return Found { hops: Vec::new(), portless: lacking.collect() };
        }
        callers.extend(self.callers_elsewhere(subject, &[&subject.object]).await);
        let portless = callers.iter().filter_map(|it| portless(it, &services, mode)).collect();
        let ingresses = self.listed(Listed::Ingresses, &subject.namespace).await;
        let stage = Stage { ingresses, services, workloads };
        let mut hops = stage.of_balancers(subject, mode);
        hops.extend(stage.of_outlets(callers, subject, mode));
        Found { hops, portless }
    }

    async fn of_secret(&self, subject: &Subject, users: &[User], mode: &Mode) -> Vec<Hop> {
        let data = |object: &Object| Secret::read(object.clone()).data;
        let is_same = |old: &Object| data(old) == data(&subject.object);
        if subject.old.as_ref().is_some_and(is_same) {
            return Vec::new();
        }
        let elsewhere = self.balancers_elsewhere(subject, users, mode).await;
        let mut workloads = self.listed(Listed::Workloads, &subject.namespace).await;
        workloads.retain(|it| inject::service::request_of(it).is_some());
        if workloads.is_empty() {
            return elsewhere;
        }
        let ingresses = self.listed(Listed::Ingresses, &subject.namespace).await;
        let services = self.listed(Listed::Services, &subject.namespace).await;
        let stage = Stage { ingresses, services, workloads };
        let mut hops = stage.of_balancers(subject, mode);
        hops.extend(stage.of_sidecars(&stage.workloads, subject, mode));
        let callers = self.callers_elsewhere(subject, &stage.before_readers(subject)).await;
        hops.extend(stage.of_outlets(callers, subject, mode));
        hops.extend(elsewhere);
        hops.retain(|hop| hop.reads(&subject.namespace, subject.object.name()));
        hops
    }
}

/// Whether clients of the workload in question meet another server than before.
fn is_another_server(subject: &Subject) -> bool {
    let server = |object: &Object| {
        let places = Place::all(object, &subject.namespace).into_iter();
        let labels =
            inject::pod_of(object).map(|(_, pod)| pod.0.pointer("/metadata/labels").cloned());
        (places.map(|place| place.terminate).collect::<Vec<_>>(), labels)
    };
    subject.old.as_ref().is_none_or(|old| server(old) != server(&subject.object))
}

/// What keeps `outlet` from its next tier, if that is one of `services`.
fn portless(outlet: &Outlet, services: &[Object], mode: &Mode) -> Option<Portless> {
    let lacking = next_tier::portless(outlet, services)?;
    let is_own = outlet.workload.namespace == lacking.namespace;
    let severity = of_tiers(mode, is_own);
    Some(Portless {
        outlet: outlet.clone(),
        service: lacking.service,
        ports: lacking.ports,
        severity,
    })
}

/// The outlets of those of `workloads` that somebody wrote.
fn outlets(workloads: &[Object], namespace: &str) -> Vec<Outlet> {
    let written = workloads.iter().filter(|it| Maker::of(it) != Maker::Controller);
    written.flat_map(|it| Outlet::all(it, namespace)).collect()
}

/// The hops of the Ingresses of `stage`, which is of another namespace than what is in question.
pub(super) fn of_elsewhere(
    stage: &Stage,
    namespace: &str,
    subject: &Subject,
    mode: &Mode,
) -> Vec<Hop> {
    let of_one = |ingress: &Object| {
        let around = (stage.services.as_slice(), stage.workloads.as_slice());
        let found = hops::reencrypted(ingress, namespace, around).into_iter();
        let from = ingress.reference(namespace);
        found.map(|hop| of_balancer(from.clone(), hop, subject, mode)).collect::<Vec<_>>()
    };
    stage.ingresses.iter().flat_map(of_one).collect()
}

impl Stage {
    /// The hops that annotations of its Ingresses re-encrypt.
    fn of_balancers(&self, subject: &Subject, mode: &Mode) -> Vec<Hop> {
        let namespace = subject.namespace.as_str();
        let ingresses = self.ingresses.iter().filter(|it| hops::may_reencrypt(it));
        let of_one = |ingress: &Object| {
            let hops = hops::reencrypted(ingress, namespace, (&self.services, &self.workloads));
            let from = ingress.reference(namespace);
            hops.into_iter()
                .map(|it| of_balancer(from.clone(), it, subject, mode))
                .collect::<Vec<_>>()
        };
        ingresses.flat_map(of_one).collect()
    }

    /// The hops from the sidecars of `callers`, which live in the same namespace.
    fn of_sidecars(&self, callers: &[Object], subject: &Subject, mode: &Mode) -> Vec<Hop> {
        let namespace = subject.namespace.as_str();
        self.of_outlets(outlets(callers, namespace), subject, mode)
    }

    /// The hops from `outlets`, of whichever namespaces.
    fn of_outlets(&self, outlets: Vec<Outlet>, subject: &Subject, mode: &Mode) -> Vec<Hop> {
        let namespace = subject.namespace.as_str();
        let of_one = |outlet: Outlet| {
            let places = next_tier::places(&outlet, namespace, (&self.services, &self.workloads));
            let hops = places.into_iter().map(|place| of_sidecar(&outlet, place, mode));
            hops.collect::<Vec<_>>()
        };
        outlets.into_iter().flat_map(of_one).collect()
    }

    /// The Services before those of its workloads whose sidecars read the Secret in question.
    fn before_readers(&self, subject: &Subject) -> Vec<&Object> {
        let namespace = subject.namespace.as_str();
        let reads = |place: &Place| {
            let mounts = Listener::mounts(&place.terminate);
            mounts.iter().any(|it| it.is_secret() && it.name() == subject.object.name())
        };
        let readers =
            self.workloads.iter().filter(|it| Place::all(it, namespace).iter().any(reads));
        let readers: Vec<&Object> = readers.collect();
        let is_before = |service: &&Object| readers.iter().any(|it| hops::is_before(service, it));
        self.services.iter().filter(is_before).collect()
    }
}

/// The hop that `from` has a balancer re-encrypt.
fn of_balancer(from: ObjectRef, hop: Reencrypted, subject: &Subject, mode: &Mode) -> Hop {
    let Reencrypted { fields, towards, place, with, certainty } = hop;
    let severity = match certainty {
        Certainty::Said => severity(subject, mode, &towards),
        Certainty::Likely => Severity::Warning,
    };
    Hop {
        from: Dialer::Balancer(Box::new(Balancer { from, fields, with, towards })),
        place,
        severity,
    }
}

/// Two workloads are applied one after the other, in whichever order: at admission it only warns. So does
/// what is between two namespaces.
fn of_tiers(mode: &Mode, is_own: bool) -> Severity {
    match mode.setting {
        Setting::Files if is_own => Severity::Error,
        Setting::Files | Setting::Review => Severity::Warning,
    }
}

fn of_sidecar(outlet: &Outlet, place: Place, mode: &Mode) -> Hop {
    let is_own = outlet.workload.namespace == place.workload.namespace;
    let severity = of_tiers(mode, is_own);
    Hop { from: Dialer::Sidecar(Box::new(outlet.clone())), place, severity }
}

/// A hop that cannot work refuses where somebody makes one of its ends. An update may be the first of
/// two, of which the other end is the second, a dry-run is not stored before the next is asked
/// about, and Secrets and Services come before whatever they belong to: all of them only warn. So does
/// what another namespace has a part in.
fn severity(subject: &Subject, mode: &Mode, towards: &Towards) -> Severity {
    let is_own =
        |of: &Option<Anchors>| of.as_ref().is_none_or(|it| it.namespace == subject.namespace);
    let presents = match &towards.presents {
        Presents::Secret(namespace, _) => *namespace == subject.namespace,
        // Snippets and defaults of a controller are in no object.
        Presents::Nothing | Presents::Unknown(_) => return Severity::Warning,
    };
    let is_end = !subject.object.is("", "Secret") && !subject.object.is("", "Service");
    let is_new = subject.operation == Operation::Create && subject.dry_run == DryRun::No;
    let refuses = mode.setting == Setting::Files || (is_new && is_end);
    if refuses && presents && is_own(&towards.trusts) { Severity::Error } else { Severity::Warning }
}
