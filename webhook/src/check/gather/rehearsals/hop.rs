//! The re-encrypted hops on which an object lies, whichever end of them it is, or between the ends.

use std::collections::BTreeMap;

use super::super::Looks;
use crate::check::{DryRun, Mode, Operation, Setting, Subject};
use crate::finding::Severity;
use crate::hops::next_tier::{self, ServiceName};
use crate::hops::{self, Anchors, Presents, Reencrypted, Towards};
use crate::inject::{self, Maker, Mount};
use crate::object::{Object, ObjectRef, Secret};
use crate::path::FieldPath;
use crate::reference::ingress::is_ingress;
use crate::reference::{Holder, gateway_api};
use crate::rehearse::{Listener, Originating, Outlet, Place};
use crate::surroundings::Listed;

/// A hop to a listener of a sidecar.
pub(super) struct Hop {
    pub(super) from: Dialer,
    pub(super) place: Place,
    /// What it weighs that it does not work.
    pub(super) severity: Severity,
}

/// Who connects.
pub(super) enum Dialer {
    Balancer(Box<Balancer>),
    Sidecar(Box<Outlet>),
}

/// A balancer, as an Ingress or a `BackendTLSPolicy` configures it.
pub(super) struct Balancer {
    pub(super) from: ObjectRef,
    /// The field of that which re-encrypts.
    pub(super) path: FieldPath,
    pub(super) towards: Towards,
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
struct Stage {
    ingresses: Vec<Object>,
    services: Vec<Object>,
    workloads: Vec<Object>,
}

impl Looks<'_> {
    /// The hops on which `subject` lies. Among files a hop is told once, at the end that connects.
    pub(super) async fn hops(&self, subject: &Subject, mode: &Mode) -> Vec<Hop> {
        let object = &subject.object;
        if subject.operation == Operation::Delete || object.is_being_deleted() {
            return Vec::new();
        }
        if is_ingress(object) {
            return self.of_ingress(subject, mode).await;
        }
        if gateway_api::is_backend_policy(object) {
            return self.of_policy(subject, mode).await;
        }
        if Maker::of(object) != Maker::Controller && inject::service::request_of(object).is_some() {
            let mut hops = match mode.setting {
                Setting::Review => self.ending_at_workload(subject, mode).await,
                Setting::Files => Vec::new(),
            };
            hops.extend(self.begun_by_workload(subject, mode).await);
            return hops;
        }
        if mode.setting == Setting::Files {
            return Vec::new();
        }
        if object.is("", "Service") {
            return self.of_service(subject, mode).await;
        }
        if object.is("", "Secret") {
            return self.of_secret(subject, mode).await;
        }
        Vec::new()
    }

    async fn listed(&self, kind: Listed, namespace: &str) -> Vec<Object> {
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

    async fn of_policy(&self, subject: &Subject, mode: &Mode) -> Vec<Hop> {
        let namespace = subject.namespace.as_str();
        let services = self.listed(Listed::Services, namespace).await;
        let workloads = self.listed(Listed::Workloads, namespace).await;
        let around = (services.as_slice(), workloads.as_slice());
        let hops = hops::reencrypted_by_policy(&subject.object, namespace, around);
        hops.into_iter().map(|hop| of_balancer(&subject.object, hop, subject, mode)).collect()
    }

    /// The hops that end at the workload in question: of Ingresses and of its neighbours.
    async fn ending_at_workload(&self, subject: &Subject, mode: &Mode) -> Vec<Hop> {
        let own = subject.object.reference(&subject.namespace);
        if Place::all(&subject.object, &subject.namespace).is_empty() {
            return Vec::new();
        }
        let services = self.listed(Listed::Services, &subject.namespace).await;
        let workloads = vec![subject.object.clone()];
        if !services.iter().any(|it| hops::is_before(it, &subject.object)) {
            return Vec::new();
        }
        let ingresses = self.listed(Listed::Ingresses, &subject.namespace).await;
        let mut neighbours = self.listed(Listed::Workloads, &subject.namespace).await;
        neighbours.retain(|it| it.reference(&subject.namespace) != own);
        let stage = Stage { ingresses, services, workloads };
        let mut hops = stage.of_balancers(subject, mode);
        hops.extend(stage.of_sidecars(&neighbours, subject, mode));
        hops
    }

    /// The hops from the workload in question to its next tiers, in whichever namespaces they are.
    async fn begun_by_workload(&self, subject: &Subject, mode: &Mode) -> Vec<Hop> {
        let mut outlets: BTreeMap<String, Vec<Outlet>> = BTreeMap::new();
        for outlet in Outlet::all(&subject.object, &subject.namespace) {
            let host = outlet.originate.upstream.host();
            if let Some(service) = ServiceName::of(host, &subject.namespace) {
                outlets.entry(service.namespace).or_default().push(outlet);
            }
        }
        let own = subject.object.reference(&subject.namespace);
        let mut hops = Vec::new();
        for (namespace, outlets) in outlets {
            let services = self.listed(Listed::Services, &namespace).await;
            if services.is_empty() || !self.injects(subject, &namespace).await {
                continue;
            }
            let mut workloads = self.listed(Listed::Workloads, &namespace).await;
            workloads.retain(|it| it.reference(&namespace) != own);
            for outlet in outlets {
                let places = next_tier::places(&outlet, &namespace, (&services, &workloads));
                hops.extend(places.into_iter().map(|place| of_sidecar(&outlet, place, mode)));
            }
        }
        hops
    }

    /// Whether there are sidecars in another namespace; of its own one the rules see it.
    async fn injects(&self, subject: &Subject, namespace: &str) -> bool {
        if *namespace == subject.namespace {
            return true;
        }
        let home = self.look(self.surroundings.namespace(namespace)).await;
        inject::is_switched_on_in(&home)
    }

    async fn of_service(&self, subject: &Subject, mode: &Mode) -> Vec<Hop> {
        let is_changed = |pointer: &str| {
            subject.old.as_ref().map(|old| old.0.pointer(pointer))
                != Some(subject.object.0.pointer(pointer))
        };
        if !is_changed("/spec") || subject.object.0.pointer("/spec/selector").is_none() {
            return Vec::new();
        }
        let mut workloads = self.listed(Listed::Workloads, &subject.namespace).await;
        workloads.retain(|it| inject::service::request_of(it).is_some());
        if !workloads.iter().any(|it| hops::is_before(&subject.object, it)) {
            return Vec::new();
        }
        let ingresses = self.listed(Listed::Ingresses, &subject.namespace).await;
        let services = vec![subject.object.clone()];
        let stage = Stage { ingresses, services, workloads };
        let mut hops = stage.of_balancers(subject, mode);
        hops.extend(stage.of_sidecars(&stage.workloads, subject, mode));
        hops
    }

    async fn of_secret(&self, subject: &Subject, mode: &Mode) -> Vec<Hop> {
        let data = |object: &Object| Secret::read(object.clone()).data;
        let is_same = |old: &Object| data(old) == data(&subject.object);
        if subject.old.as_ref().is_some_and(is_same) {
            return Vec::new();
        }
        let mut workloads = self.listed(Listed::Workloads, &subject.namespace).await;
        workloads.retain(|it| inject::service::request_of(it).is_some());
        if workloads.is_empty() {
            return Vec::new();
        }
        let ingresses = self.listed(Listed::Ingresses, &subject.namespace).await;
        let services = self.listed(Listed::Services, &subject.namespace).await;
        let stage = Stage { ingresses, services, workloads };
        let mut hops = stage.of_balancers(subject, mode);
        hops.extend(stage.of_sidecars(&stage.workloads, subject, mode));
        hops.retain(|hop| hop.reads(&subject.namespace, subject.object.name()));
        hops
    }
}

impl Stage {
    /// The hops that annotations of its Ingresses re-encrypt.
    fn of_balancers(&self, subject: &Subject, mode: &Mode) -> Vec<Hop> {
        let namespace = subject.namespace.as_str();
        let ingresses = self.ingresses.iter().filter(|it| hops::may_reencrypt(it));
        let of_one = |ingress: &Object| {
            let hops = hops::reencrypted(ingress, namespace, (&self.services, &self.workloads));
            hops.into_iter().map(|it| of_balancer(ingress, it, subject, mode)).collect::<Vec<_>>()
        };
        ingresses.flat_map(of_one).collect()
    }

    /// The hops from the sidecars of `callers`, which live in the same namespace.
    fn of_sidecars(&self, callers: &[Object], subject: &Subject, mode: &Mode) -> Vec<Hop> {
        let namespace = subject.namespace.as_str();
        let callers = callers.iter().filter(|it| Maker::of(it) != Maker::Controller);
        let outlets = callers.flat_map(|it| Outlet::all(it, namespace));
        let of_one = |outlet: Outlet| {
            let places = next_tier::places(&outlet, namespace, (&self.services, &self.workloads));
            let hops = places.into_iter().map(|place| of_sidecar(&outlet, place, mode));
            hops.collect::<Vec<_>>()
        };
        outlets.flat_map(of_one).collect()
    }
}

/// The hop that `from`, an object of the namespace in question, has a balancer re-encrypt.
fn of_balancer(from: &Object, hop: Reencrypted, subject: &Subject, mode: &Mode) -> Hop {
    let Reencrypted { path, towards, place } = hop;
    let severity = severity(subject, mode, &towards);
    let from = from.reference(&subject.namespace);
    Hop { from: Dialer::Balancer(Box::new(Balancer { from, path, towards })), place, severity }
}

/// Two workloads are applied one after the other, in whichever order: at admission it only warns.
fn of_sidecar(outlet: &Outlet, place: Place, mode: &Mode) -> Hop {
    let is_own = outlet.workload.namespace == place.workload.namespace;
    let severity = match mode.setting {
        Setting::Files if is_own => Severity::Error,
        Setting::Files | Setting::Review => Severity::Warning,
    };
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
