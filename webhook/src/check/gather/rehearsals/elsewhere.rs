//! Who connects from another namespace to what is being changed. It only warns, and only who may read
//! the Secrets of that namespace: what lives there is nobody else's business.

use std::collections::BTreeMap;

use lasthop_contract::annotation as name;

use super::super::Looks;
use super::hop::{Hop, Stage, of_elsewhere};
use crate::check::{Mode, Subject, User};
use crate::hops;
use crate::hops::next_tier::ServiceName;
use crate::inject::{self, Maker};
use crate::object::Object;
use crate::reference::Holder;
use crate::rehearse::Outlet;
use crate::surroundings::Listed;

/// No more namespaces are looked at.
const MOST_NAMESPACES: usize = 4;

impl Looks<'_> {
    /// The sidecars of other namespaces whose next tier is one of `services`, which are of the namespace in
    /// question.
    pub(super) async fn callers_elsewhere(
        &self,
        subject: &Subject,
        services: &[&Object],
    ) -> Vec<Outlet> {
        // All workloads of a cluster are read for it, page by page: not for a program, which is shown nothing.
        if services.is_empty() || !subject.requester.is_person() {
            return Vec::new();
        }
        let own = subject.namespace.as_str();
        let connects = |it: &Object| {
            inject::pod_of(it)
                .is_some_and(|(_, pod)| pod.annotations().contains_key(name::UPSTREAMS))
        };
        let workloads = self.look(self.surroundings.everywhere(Listed::Workloads, connects)).await;
        let mut callers: BTreeMap<String, Vec<Outlet>> = BTreeMap::new();
        for workload in workloads.found().into_iter().flatten() {
            let namespace = workload.namespace();
            if namespace == own || Maker::of(workload) == Maker::Controller {
                continue;
            }
            let is_meant = |outlet: &Outlet| {
                let meant = ServiceName::of(outlet.originate.upstream.host(), namespace);
                meant.is_some_and(|it| {
                    it.namespace == own && services.iter().any(|service| service.name() == it.name)
                })
            };
            let outlets = Outlet::all(workload, namespace).into_iter().filter(is_meant);
            let outlets: Vec<Outlet> = outlets.collect();
            if !outlets.is_empty() {
                callers.entry(namespace.to_owned()).or_default().extend(outlets);
            }
        }
        let mut shown = Vec::new();
        for (namespace, outlets) in callers.into_iter().take(MOST_NAMESPACES) {
            if self.injects(subject, &namespace).await && self.is_shown(subject, &namespace).await {
                shown.extend(outlets);
            }
        }
        shown
    }

    /// Whether who asks may know what is in another namespace: a person who may read its Secrets.
    pub(super) async fn is_shown(&self, subject: &Subject, namespace: &str) -> bool {
        if *namespace == subject.namespace {
            return true;
        }
        // Without a name, every one of them is meant.
        let all = (namespace, "");
        let may = self.surroundings.may_get(&subject.requester, Holder::Secret, all);
        self.look(async { Some(may.await).filter(|may| *may).into() }).await.found().is_some()
    }

    /// The hops that Ingresses of other namespaces among `users` of the Secret in question re-encrypt with
    /// it.
    pub(super) async fn balancers_elsewhere(
        &self,
        subject: &Subject,
        users: &[User],
        mode: &Mode,
    ) -> Vec<Hop> {
        let mut ingresses: BTreeMap<&str, Vec<Object>> = BTreeMap::new();
        for user in users {
            let namespace = user.object.namespace.as_str();
            let all = ingresses.entry(namespace).or_default();
            if hops::may_reencrypt(&user.raw) && !all.contains(&user.raw) {
                all.push(Object::clone(&user.raw));
            }
        }
        ingresses.retain(|namespace, all| *namespace != subject.namespace && !all.is_empty());
        let mut hops = Vec::new();
        for (namespace, ingresses) in ingresses.into_iter().take(MOST_NAMESPACES) {
            if !self.injects(subject, namespace).await || !self.is_shown(subject, namespace).await {
                continue;
            }
            let services = self.listed(Listed::Services, namespace).await;
            let workloads = self.listed(Listed::Workloads, namespace).await;
            let stage = Stage { ingresses, services, workloads };
            hops.extend(of_elsewhere(&stage, namespace, subject, mode));
        }
        hops
    }
}
