//! A live cluster as surroundings.
//!
//! Every look is a request, nothing is kept: admission of Ingresses and Secrets is rare, a stale
//! answer would be a false refusal, and `get` on Secrets is all the right that it takes.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use futures_util::future::{join_all, try_join_all};
use serde_json::json;

use super::makers::{self, MAKERS};
use super::{Collection, Listed, Sighting};
use crate::check::Requester;
use crate::object::{Object, ObjectRef, Secret};
use crate::reference::{self, Holder, istio_gateway};
use crate::telemetry::{LookupOutcome, Metrics};

mod api_server;
mod elsewhere;
mod looks;
mod routing;
mod seen;
mod version;

pub use api_server::{ApiError, ApiServer, is_name};
pub use looks::Looks;
pub use version::{Version, Versions};

use seen::Seen;

/// Where the names for "did you mean" come from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum NameSource {
    /// What reviews have shown; needs no right.
    Seen,
    /// And a list of the namespace's Secrets, of which only the names are asked for. The right to
    /// do so is the right to read them all.
    Listed,
}

/// Custom resources that name Secrets of their own namespace.
pub(super) static READERS: [Collection; 4] = [
    Collection {
        group: "ako.vmware.com",
        versions: &["v1beta1", "v1alpha1"],
        resource: "hostrules",
        kind: "HostRule",
    },
    Collection {
        group: "gateway.networking.k8s.io",
        versions: &["v1", "v1beta1"],
        resource: "gateways",
        kind: "Gateway",
    },
    Collection {
        group: "getambassador.io",
        versions: &["v3alpha1", "v2"],
        resource: "hosts",
        kind: "Host",
    },
    Collection {
        group: "route.openshift.io",
        versions: &["v1"],
        resource: "routes",
        kind: "Route",
    },
];

/// Istio's Gateways, which name Secrets of wherever their pods are.
pub(super) static ISTIO_GATEWAYS: Collection = Collection {
    group: "networking.istio.io",
    versions: &["v1", "v1beta1", "v1alpha3"],
    resource: "gateways",
    kind: "Gateway",
};

/// A live cluster, cheap to clone.
#[derive(Clone)]
pub struct Cluster {
    api: ApiServer,
    seen: Arc<Seen>,
    names: NameSource,
    metrics: Option<Arc<Metrics>>,
    looks: Arc<Looks>,
}

fn collections(kind: Listed) -> &'static [Collection] {
    const fn collection(
        group: &'static str,
        resource: &'static str,
        kind: &'static str,
    ) -> Collection {
        Collection { group, versions: &["v1"], resource, kind }
    }
    match kind {
        Listed::Ingresses => const { &[collection("networking.k8s.io", "ingresses", "Ingress")] },
        Listed::Limits => {
            const {
                &[
                    collection("", "limitranges", "LimitRange"),
                    collection("", "resourcequotas", "ResourceQuota"),
                ]
            }
        }
        Listed::Grants => {
            const {
                &[Collection {
                    group: "gateway.networking.k8s.io",
                    versions: &["v1", "v1beta1"],
                    resource: "referencegrants",
                    kind: "ReferenceGrant",
                }]
            }
        }
        Listed::IstioGateways => std::slice::from_ref(&ISTIO_GATEWAYS),
        Listed::TlsContexts => {
            const {
                &[Collection {
                    group: "getambassador.io",
                    versions: &["v3alpha1", "v2"],
                    resource: "tlscontexts",
                    kind: "TLSContext",
                }]
            }
        }
        Listed::Transports => {
            const {
                &[Collection {
                    group: "traefik.io",
                    versions: &["v1alpha1"],
                    resource: "serverstransports",
                    kind: "ServersTransport",
                }]
            }
        }
        Listed::Pods => const { &[collection("", "pods", "Pod")] },
        Listed::Services => const { &[collection("", "services", "Service")] },
        // No ReplicaSets and no Jobs: nearly all of them are made by what is listed here.
        Listed::Workloads => {
            const {
                &[
                    collection("apps", "daemonsets", "DaemonSet"),
                    collection("apps", "deployments", "Deployment"),
                    collection("apps", "statefulsets", "StatefulSet"),
                    collection("batch", "cronjobs", "CronJob"),
                ]
            }
        }
    }
}

impl Cluster {
    /// The cluster behind `api`.
    pub fn new(api: ApiServer, names: NameSource, metrics: Option<Arc<Metrics>>) -> Self {
        Self { api, seen: Arc::default(), names, metrics, looks: Arc::default() }
    }

    /// The same cluster for one review: what it is asked is counted and timed in `looks`.
    #[must_use]
    pub fn counting(&self, looks: &Arc<Looks>) -> Self {
        Self { api: self.api.timing(looks), looks: Arc::clone(looks), ..self.clone() }
    }

    /// The API server behind it.
    pub(super) fn api_server(&self) -> ApiServer {
        self.api.clone()
    }

    /// The Secret `namespace/name`.
    pub(super) async fn secret(&self, namespace: &str, name: &str) -> Sighting<Secret> {
        let sighting = self.get(namespace, "secrets", name).await;
        match &sighting {
            Sighting::Found(_) => self.seen.remember(namespace, name),
            Sighting::Missing => self.seen.forget(namespace, name),
            Sighting::Unknown(_) => {}
        }
        sighting.map(Secret::read)
    }

    /// Everything of all namespaces that can lie on the way of a request. A custom resource that is
    /// not installed has none.
    ///
    /// # Errors
    /// What the API server says of the first list that it does not give.
    pub(crate) async fn routing(&self) -> Result<Vec<Object>, ApiError> {
        let mut all = Vec::new();
        for collection in &routing::COLLECTIONS {
            all.extend(self.list_under(collection, "").await?);
        }
        Ok(all)
    }

    /// The data of the `ConfigMap` `namespace/name`.
    pub(super) async fn config_map(&self, namespace: &str, name: &str) -> Sighting<Secret> {
        self.get(namespace, "configmaps", name).await.map(Secret::of_config_map)
    }

    /// The namespace itself.
    pub(super) async fn namespace(&self, name: &str) -> Sighting<Object> {
        if !is_name(name) {
            return Sighting::Missing;
        }
        self.told(self.api.get(&format!("/api/v1/namespaces/{name}")).await)
    }

    /// All objects of a kind in a namespace.
    pub(super) async fn list(&self, kind: Listed, namespace: &str) -> Sighting<Vec<Object>> {
        if !is_name(namespace) {
            return Sighting::Found(Vec::new());
        }
        let lists = collections(kind).iter().map(|it| self.list_one(it, namespace));
        self.told(try_join_all(lists).await.map(|lists| lists.concat()))
    }

    /// The objects of a kind in all namespaces that `keep` wants.
    pub(super) async fn everywhere(
        &self,
        kind: Listed,
        keep: impl Fn(&Object) -> bool,
    ) -> Sighting<Vec<Object>> {
        let lists = collections(kind).iter().map(|it| self.list_kept(it, "", &keep));
        self.told(try_join_all(lists).await.map(|lists| lists.concat()))
    }

    /// The namespaces of the pods with all the labels of `selector`. Of the pods nothing else is asked
    /// for than their metadata.
    pub(super) async fn namespaces_of_pods(
        &self,
        selector: &BTreeMap<&str, &str>,
    ) -> Sighting<BTreeSet<String>> {
        // What no label can be is no label of a pod, and no part of a path.
        let is_plain = |text: &&str| {
            text.bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b'/'))
        };
        if !selector.iter().all(|(key, value)| is_plain(key) && is_plain(value)) {
            return Sighting::Missing;
        }
        let terms: Vec<String> = selector
            .iter()
            .map(|(key, value)| format!("{}%3D{value}", key.replace('/', "%2F")))
            .collect();
        let found = self.api.namespaces("/api/v1/pods", &terms.join("%2C")).await;
        self.told(found).map(|found| found.into_iter().collect())
    }

    /// The objects of a collection in a namespace. A custom resource that is not installed has none.
    async fn list_one(
        &self,
        collection: &Collection,
        namespace: &str,
    ) -> Result<Vec<Object>, ApiError> {
        self.list_under(collection, &format!("namespaces/{namespace}/")).await
    }

    /// The same under `place`: a namespace with a slash behind it, or nothing for all of them.
    async fn list_under(
        &self,
        collection: &Collection,
        place: &str,
    ) -> Result<Vec<Object>, ApiError> {
        self.list_kept(collection, place, |_| true).await
    }

    async fn list_kept(
        &self,
        collection: &Collection,
        place: &str,
        keep: impl Fn(&Object) -> bool,
    ) -> Result<Vec<Object>, ApiError> {
        let Collection { group, versions, resource, kind } = collection;
        for version in *versions {
            let (root, version) = match *group {
                "" => ("api", (*version).to_owned()),
                group => ("apis", format!("{group}/{version}")),
            };
            let path = format!("/{root}/{version}/{place}{resource}");
            match self.api.list_where(&path, (&version, kind), &keep).await {
                Err(ApiError::Missing) => {}
                answer => return answer,
            }
        }
        Ok(Vec::new())
    }

    /// The names of Secrets that reviews have shown or, with the right to it, of all in a
    /// namespace.
    pub(super) async fn secret_names(&self, namespace: &str) -> Vec<String> {
        if self.names == NameSource::Seen || !is_name(namespace) {
            return self.seen.of(namespace);
        }
        let listed = self.api.names(&format!("/api/v1/namespaces/{namespace}/secrets")).await;
        match self.told(listed) {
            Sighting::Found(names) => names,
            Sighting::Missing | Sighting::Unknown(_) => self.seen.of(namespace),
        }
    }

    /// Secrets of other namespaces that reviews have shown.
    pub(super) fn secrets_elsewhere(&self, namespace: &str) -> Vec<(String, String)> {
        self.seen.elsewhere(namespace)
    }

    /// Whether `requester` is a person who may `get` the Secret `namespace/name`.
    ///
    /// <https://kubernetes.io/docs/reference/kubernetes-api/authorization-resources/subject-access-review-v1/>
    pub(super) async fn may_get(
        &self,
        requester: &Requester,
        holder: Holder,
        (namespace, name): (&str, &str),
    ) -> bool {
        if !requester.is_person() || requester.name.is_empty() {
            return false;
        }
        let review = json!({
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SubjectAccessReview",
            "spec": {
                "user": requester.name,
                "uid": requester.uid,
                "groups": requester.groups,
                "extra": requester.extra,
                "resourceAttributes": {
                    "verb": "get", "version": "v1", "resource": holder.resource(),
                    "namespace": namespace, "name": name,
                },
            },
        });
        let path = "/apis/authorization.k8s.io/v1/subjectaccessreviews";
        let answered = self.told(self.api.create(path, &review).await);
        answered.found().is_some_and(|it| it.0.pointer("/status/allowed") == Some(&json!(true)))
    }

    /// The objects that name a Secret: those of its namespace, Istio Gateways wherever they are, and what
    /// of other namespaces may read it.
    pub(super) async fn readers(&self, namespace: &str, secret: &str) -> Sighting<Vec<Object>> {
        if !is_name(namespace) {
            return Sighting::Found(Vec::new());
        }
        let mut readers = Vec::new();
        let customs = READERS.iter().map(|it| self.list_one(it, namespace));
        let (ingresses, workloads, customs, gateways, elsewhere) = futures_util::join!(
            self.list(Listed::Ingresses, namespace),
            self.list(Listed::Workloads, namespace),
            try_join_all(customs),
            self.list_under(&ISTIO_GATEWAYS, ""),
            Box::pin(self.readers_elsewhere(namespace, secret)),
        );
        let customs = self.told(customs.map(|lists| lists.concat()));
        for sighting in [ingresses, workloads, customs, self.told(gateways)] {
            match sighting {
                Sighting::Found(objects) => readers.extend(objects),
                Sighting::Missing => {}
                Sighting::Unknown(why) => return Sighting::Unknown(why),
            }
        }
        readers.retain(|reader| {
            let references = reference::of(reader, namespace);
            let is_placed_by_pods = istio_gateway::selector(reader).is_some();
            references.iter().any(|it| {
                it.is_to_secret(namespace, secret) || (is_placed_by_pods && it.secret == secret)
            })
        });
        readers.extend(elsewhere);
        Sighting::Found(readers)
    }

    /// What makes the `secrets` of a namespace. Unknown only where one of them was not found and
    /// not everything could be looked through.
    pub(super) async fn makers(
        &self,
        namespace: &str,
        secrets: &BTreeSet<&str>,
    ) -> Sighting<BTreeMap<String, ObjectRef>> {
        if !is_name(namespace) {
            return Sighting::Found(BTreeMap::new());
        }
        let lists = MAKERS.iter().map(|maker| self.list_one(&maker.collection, namespace));
        let lists = join_all(lists).await;
        let mut found = BTreeMap::new();
        let mut unknown = None;
        for sighting in lists.into_iter().map(|list| self.told(list)) {
            let objects = match sighting {
                Sighting::Found(objects) => objects,
                Sighting::Missing => continue,
                Sighting::Unknown(why) => {
                    unknown = Some(why);
                    continue;
                }
            };
            for object in objects {
                let made = makers::makes(&object).into_iter().filter(|it| secrets.contains(it));
                made.for_each(|secret| {
                    let maker = || object.reference(namespace);
                    found.entry(secret.to_owned()).or_insert_with(maker);
                });
            }
        }
        match unknown {
            Some(why) if found.len() < secrets.len() => Sighting::Unknown(why),
            _ => Sighting::Found(found),
        }
    }

    /// The Secret `namespace/name` is in a review: it is there, or about to be.
    pub(super) fn remember_secret(&self, namespace: &str, name: &str) {
        self.seen.remember(namespace, name);
    }

    async fn get(&self, namespace: &str, resource: &str, name: &str) -> Sighting<Object> {
        if !is_name(namespace) || !is_name(name) {
            return Sighting::Missing;
        }
        let path = format!("/api/v1/namespaces/{namespace}/{resource}/{name}");
        self.told(self.api.get(&path).await)
    }

    /// An answer of the API server as a sighting; counts it.
    fn told<T>(&self, answer: Result<T, ApiError>) -> Sighting<T> {
        self.looks.add_one();
        let (outcome, sighting) = match answer {
            Ok(it) => (LookupOutcome::Found, Sighting::Found(it)),
            Err(ApiError::Missing) => (LookupOutcome::Missing, Sighting::Missing),
            Err(error) => {
                tracing::warn!(%error, "a look at the cluster failed");
                (LookupOutcome::Unknown, Sighting::Unknown(words(&error)))
            }
        };
        if let Some(metrics) = &self.metrics {
            metrics.looked(outcome);
        }
        sighting
    }
}

/// What the user is told; the log has the rest, which can name what is not the user's business.
fn words(error: &ApiError) -> String {
    match error {
        ApiError::Forbidden(_) => "lasthop has no right to look at it".to_owned(),
        ApiError::Refused { code, .. } => format!("the API server answered {code}"),
        ApiError::Missing | ApiError::Conflict | ApiError::Unreachable(_) => error.to_string(),
    }
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster").field("names", &self.names).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
