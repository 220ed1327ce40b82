//! What an object refers to: the cluster around it, or the other documents beside it.
//!
//! A look has three answers. [`Sighting::Unknown`] is never an error about the user's input: live, the
//! API server did not answer; offline, the files do not hold it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::check::{Nearest, Requester};
use crate::object::{Object, ObjectRef, Secret};
use crate::reference::Holder;
use crate::reference::ingress_hosts::Bringers;

pub mod audit;
mod cluster;
mod files;
mod makers;

pub use cluster::{ApiError, ApiServer, Cluster, Looks, NameSource, Version, Versions, is_name};
pub use files::{Completeness, Files, SecretListing};

/// What came of a look.
#[derive(Clone, Debug, PartialEq)]
pub enum Sighting<T> {
    /// It is there.
    Found(T),
    /// It is not there, and whoever was asked would know.
    Missing,
    /// Nobody could say; why, in words that fit behind "could not look: ".
    Unknown(String),
}

impl<T> Sighting<T> {
    /// The same, with what was found turned into something else.
    pub fn map<U>(self, into: impl FnOnce(T) -> U) -> Sighting<U> {
        match self {
            Self::Found(it) => Sighting::Found(into(it)),
            Self::Missing => Sighting::Missing,
            Self::Unknown(why) => Sighting::Unknown(why),
        }
    }

    /// What was found, given away.
    pub fn into_found(self) -> Option<T> {
        match self {
            Self::Found(it) => Some(it),
            Self::Missing | Self::Unknown(_) => None,
        }
    }

    /// What was found.
    pub fn found(&self) -> Option<&T> {
        match self {
            Self::Found(it) => Some(it),
            Self::Missing | Self::Unknown(_) => None,
        }
    }
}

impl<T> From<Option<T>> for Sighting<T> {
    fn from(it: Option<T>) -> Self {
        it.map_or(Self::Missing, Self::Found)
    }
}

/// The kinds that are listed around an object, one namespace at a time.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Listed {
    /// `networking.k8s.io` Ingresses.
    Ingresses,
    /// `gateway.networking.k8s.io` ReferenceGrants.
    Grants,
    /// Istio's Gateways.
    IstioGateways,
    /// Services.
    Services,
    /// `LimitRange` and `ResourceQuota`: what bounds containers.
    Limits,
    /// Pods.
    Pods,
    /// Ambassador's `TLSContext`s.
    TlsContexts,
    /// Traefik's `ServersTransport`s.
    Transports,
    /// Deployments, StatefulSets, DaemonSets and CronJobs; among files every kind that makes pods.
    Workloads,
}

/// Where the objects of a kind are.
struct Collection {
    /// The group; empty for the core group.
    group: &'static str,
    /// The versions, of which an API server serves some, the newest first.
    versions: &'static [&'static str],
    /// The name in paths and rights.
    resource: &'static str,
    /// The name in objects.
    kind: &'static str,
}

impl Collection {
    /// Whether `object` is one of it, in whatever version.
    fn holds(&self, object: &Object) -> bool {
        object.is(self.group, self.kind)
    }

    /// Whether both are the same.
    fn is_same(&self, other: &Self) -> bool {
        (self.group, self.resource) == (other.group, other.resource)
    }
}

/// Where an object's surroundings come from.
#[derive(Clone, Debug)]
pub enum Surroundings {
    /// A live cluster.
    Cluster(Cluster),
    /// Documents: `lasthop check -f`, and `lasthop serve --surroundings`.
    Files(Files),
}

impl Surroundings {
    /// The Secret `namespace/name`.
    pub async fn secret(&self, namespace: &str, name: &str) -> Sighting<Secret> {
        match self {
            Self::Cluster(cluster) => cluster.secret(namespace, name).await,
            Self::Files(files) => match files.beyond(namespace) {
                Some(cluster) => cluster.secret(namespace, name).await,
                None => files.secret(namespace, name),
            },
        }
    }

    /// The data of the `ConfigMap` `namespace/name`, in the shape of a Secret.
    pub async fn config_map(&self, namespace: &str, name: &str) -> Sighting<Secret> {
        match self {
            Self::Cluster(cluster) => cluster.config_map(namespace, name).await,
            Self::Files(files) => match files.beyond(namespace) {
                Some(cluster) => cluster.config_map(namespace, name).await,
                None => files.config_map(namespace, name),
            },
        }
    }

    /// The namespace itself, for its labels.
    pub async fn namespace(&self, name: &str) -> Sighting<Object> {
        match self {
            Self::Cluster(cluster) => cluster.namespace(name).await,
            Self::Files(files) => match files.beyond(name) {
                Some(cluster) => cluster.namespace(name).await,
                None => files.namespace(name),
            },
        }
    }

    /// All objects of a kind in a namespace.
    pub async fn list(&self, kind: Listed, namespace: &str) -> Sighting<Vec<Object>> {
        match self {
            Self::Cluster(cluster) => cluster.list(kind, namespace).await,
            Self::Files(files) => match files.beyond(namespace) {
                Some(cluster) => cluster.list(kind, namespace).await,
                None => files.list(kind, namespace),
            },
        }
    }

    /// The Ingresses of a namespace by the hosts for which they bring certificates.
    pub async fn bringers(&self, namespace: &str) -> Sighting<Arc<Bringers>> {
        let cluster = match self {
            Self::Cluster(cluster) => cluster,
            Self::Files(files) => match files.beyond(namespace) {
                Some(cluster) => cluster,
                None => return Sighting::Found(files.bringers()),
            },
        };
        let ingresses = cluster.list(Listed::Ingresses, namespace).await;
        ingresses.map(|ingresses| Arc::new(Bringers::of(&ingresses)))
    }

    /// The objects of a kind in all namespaces that `keep` wants.
    pub async fn everywhere(
        &self,
        kind: Listed,
        keep: impl Fn(&Object) -> bool,
    ) -> Sighting<Vec<Object>> {
        match self {
            Self::Cluster(cluster) => cluster.everywhere(kind, keep).await,
            Self::Files(files) => match files.cluster() {
                Some(cluster) => cluster.everywhere(kind, keep).await,
                None => Sighting::Found(files.everywhere(kind, keep)),
            },
        }
    }

    /// Whether there can be sidecars in a namespace, of which `home` is the object: its label says so,
    /// and where there is nothing but files, one of them has to ask for it.
    pub fn may_inject(&self, namespace: &str, home: &Sighting<Object>) -> bool {
        match self {
            Self::Cluster(_) => {
                home.found().is_some_and(|it| crate::inject::is_switched_on(Some(&it.labels())))
            }
            Self::Files(files) => files.asks_for_sidecars(namespace),
        }
    }

    /// Names of Secrets in a namespace that are known without asking for them: for "did you mean".
    pub async fn secret_names(&self, namespace: &str) -> Vec<String> {
        match self {
            Self::Cluster(cluster) => cluster.secret_names(namespace).await,
            Self::Files(files) => files.secret_names(namespace),
        }
    }

    /// Secrets of other namespaces that are known without asking for them: namespace and name. None
    /// of it is shown before [`Self::may_get`].
    pub fn secrets_elsewhere(&self, namespace: &str) -> Vec<(String, String)> {
        match self {
            Self::Cluster(cluster) => cluster.secrets_elsewhere(namespace),
            Self::Files(files) => files.secrets_elsewhere(namespace),
        }
    }

    /// Whether `requester` is a person who may `get` the Secret or `ConfigMap` `(namespace, name)`: only
    /// then is anything of another namespace shown.
    pub async fn may_get(
        &self,
        requester: &Requester,
        holder: Holder,
        (namespace, name): (&str, &str),
    ) -> bool {
        match self {
            Self::Cluster(cluster) => cluster.may_get(requester, holder, (namespace, name)).await,
            // Whoever gave the files has read them.
            Self::Files(_) => requester.is_person(),
        }
    }

    /// The objects that name a Secret, in its namespace and, as far as they may read it, in others.
    pub async fn readers(&self, namespace: &str, secret: &str) -> Sighting<Vec<Object>> {
        match self {
            Self::Cluster(cluster) => cluster.readers(namespace, secret).await,
            Self::Files(files) => Sighting::Found(files.readers(namespace, secret)),
        }
    }

    /// The namespaces of the pods with all the labels of `selector`; none where there is no such pod.
    pub async fn namespaces_of_pods(
        &self,
        selector: &BTreeMap<&str, &str>,
    ) -> Sighting<BTreeSet<String>> {
        if selector.is_empty() {
            return Sighting::Missing;
        }
        match self {
            Self::Cluster(cluster) => cluster.namespaces_of_pods(selector).await,
            Self::Files(files) => match files.cluster() {
                Some(cluster) => cluster.namespaces_of_pods(selector).await,
                None => Sighting::Found(files.namespaces_of_pods(selector)),
            },
        }
    }

    /// What makes the `secrets` of a namespace, by their names: a Certificate, an ExternalSecret and
    /// the like.
    pub async fn makers(
        &self,
        namespace: &str,
        secrets: &BTreeSet<&str>,
    ) -> Sighting<BTreeMap<String, ObjectRef>> {
        match self {
            Self::Cluster(cluster) => cluster.makers(namespace, secrets).await,
            Self::Files(files) => match files.beyond(namespace) {
                Some(cluster) => cluster.makers(namespace, secrets).await,
                None => files.makers(namespace, secrets),
            },
        }
    }

    /// The Secret whose name is nearest to one that is not there: of the same namespace, else one
    /// elsewhere that `requester` may see; the same name in another namespace first.
    pub async fn nearest_secret(
        &self,
        requester: &Requester,
        namespace: &str,
        name: &str,
    ) -> Option<Nearest> {
        if let Self::Files(files) = self
            && !files.may_compare()
        {
            return None;
        }
        let here = self.secret_names(namespace).await;
        if let Some(near) = makers::nearest(name, here.iter().map(String::as_str)) {
            let is_there = self.is_there(namespace, near).await;
            let nearest = Nearest { namespace: namespace.to_owned(), name: near.to_owned() };
            return is_there.then_some(nearest);
        }
        if !requester.is_person() {
            return None;
        }
        let elsewhere = self.secrets_elsewhere(namespace);
        let same = elsewhere.iter().find(|(_, other)| other == name);
        let near = || {
            let near = makers::nearest(name, elsewhere.iter().map(|(_, other)| other.as_str()))?;
            elsewhere.iter().find(|(_, other)| other == near)
        };
        let (namespace, name) = same.or_else(near)?;
        let nearest = Nearest { namespace: namespace.clone(), name: name.clone() };
        let is_shown = self.may_get(requester, Holder::Secret, (namespace, name)).await
            && self.is_there(namespace, name).await;
        is_shown.then_some(nearest)
    }

    /// Whether a Secret of which the name is known is still there.
    async fn is_there(&self, namespace: &str, name: &str) -> bool {
        match self {
            Self::Cluster(cluster) => cluster.secret(namespace, name).await.found().is_some(),
            Self::Files(_) => true,
        }
    }

    /// The object that has variables filled in before what is around it is applied; in a cluster that is over.
    pub fn substitutes(&self) -> Option<ObjectRef> {
        match self {
            Self::Cluster(_) => None,
            Self::Files(files) => files.substitutes(),
        }
    }

    /// A review shows the Secret `namespace/name`: "did you mean" may name it from now on.
    pub fn remember_secret(&self, namespace: &str, name: &str) {
        match self {
            Self::Cluster(cluster) => cluster.remember_secret(namespace, name),
            Self::Files(_) => {}
        }
    }

    /// The API server, where there is one.
    pub fn api_server(&self) -> Option<ApiServer> {
        match self {
            Self::Cluster(cluster) => Some(cluster.api_server()),
            Self::Files(_) => None,
        }
    }

    /// The same surroundings for one review: what a cluster is asked is counted and timed in `looks`.
    #[must_use]
    pub fn counting(&self, looks: &Arc<Looks>) -> Self {
        match self {
            Self::Cluster(cluster) => Self::Cluster(cluster.counting(looks)),
            Self::Files(files) => Self::Files(files.anew()),
        }
    }
}
