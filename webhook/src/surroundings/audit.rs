//! Everything that a cluster holds, namespace by namespace, for who looks through all of it.

use futures_util::future::join_all;

use super::cluster::{ApiError, ApiServer, ISTIO_GATEWAYS, READERS};
use super::makers::MAKERS;
use super::{Collection, is_name};
use crate::object::Object;

const fn collection(group: &'static str, resource: &'static str, kind: &'static str) -> Collection {
    Collection { group, versions: &["v1"], resource, kind }
}

/// What is judged of every namespace, or bounds what is, beside the custom resources that name Secrets
/// and what makes Secrets.
static JUDGED: [Collection; 18] = [
    collection("", "configmaps", "ConfigMap"),
    collection("", "limitranges", "LimitRange"),
    collection("", "pods", "Pod"),
    collection("", "replicationcontrollers", "ReplicationController"),
    collection("", "resourcequotas", "ResourceQuota"),
    collection("", "secrets", "Secret"),
    collection("", "services", "Service"),
    collection("apps", "daemonsets", "DaemonSet"),
    collection("apps", "deployments", "Deployment"),
    collection("apps", "replicasets", "ReplicaSet"),
    collection("apps", "statefulsets", "StatefulSet"),
    collection("batch", "cronjobs", "CronJob"),
    collection("batch", "jobs", "Job"),
    Collection {
        group: "gateway.networking.k8s.io",
        versions: &["v1", "v1alpha3"],
        resource: "backendtlspolicies",
        kind: "BackendTLSPolicy",
    },
    Collection {
        group: "getambassador.io",
        versions: &["v3alpha1", "v2"],
        resource: "mappings",
        kind: "Mapping",
    },
    Collection {
        group: "networking.istio.io",
        versions: &["v1", "v1beta1", "v1alpha3"],
        resource: "destinationrules",
        kind: "DestinationRule",
    },
    collection("networking.k8s.io", "ingresses", "Ingress"),
    Collection {
        group: "traefik.io",
        versions: &["v1alpha1"],
        resource: "ingressroutes",
        kind: "IngressRoute",
    },
];

/// More objects of one kind in one namespace are not listed.
const MOST_OBJECTS: usize = 200_000;

/// What a namespace holds.
#[derive(Debug, Default)]
pub struct Listed {
    /// The objects, by kind and name.
    pub objects: Vec<Object>,
    /// The collections that could not be listed, and why.
    pub failures: Vec<(&'static str, ApiError)>,
    /// Why not everything that makes Secrets could be listed, where it could not.
    pub makers_withheld: Option<String>,
}

/// The namespaces by name, or `only` that one.
///
/// # Errors
/// They cannot be listed.
pub async fn namespaces(api: &ApiServer, only: Option<&str>) -> Result<Vec<Object>, ApiError> {
    if let Some(name) = only {
        if !is_name(name) {
            return Err(ApiError::Missing);
        }
        return Ok(vec![api.get(&format!("/api/v1/namespaces/{name}")).await?]);
    }
    let mut all = api.list_up_to("/api/v1/namespaces", ("v1", "Namespace"), MOST_OBJECTS).await?;
    all.sort_by(|a, b| a.name().cmp(b.name()));
    Ok(all)
}

/// Everything in `namespace` that is judged or explains a judgement.
pub async fn everything(api: &ApiServer, namespace: &str) -> Listed {
    let makers = || MAKERS.iter().map(|maker| &maker.collection);
    let mut collections: Vec<&Collection> = Vec::new();
    for collection in JUDGED.iter().chain(&READERS).chain([&ISTIO_GATEWAYS]).chain(makers()) {
        if !collections.iter().any(|it| it.is_same(collection)) {
            collections.push(collection);
        }
    }
    let lists =
        collections.into_iter().map(|it| async move { (it, list(api, it, namespace).await) });
    let mut listed = Listed::default();
    for (collection, list) in join_all(lists).await {
        match list {
            Ok(objects) => listed.objects.extend(objects),
            Err(error) => {
                if makers().any(|it| it.is_same(collection)) {
                    listed.makers_withheld.get_or_insert_with(|| error.to_string());
                }
                listed.failures.push((collection.resource, error));
            }
        }
    }
    listed
}

/// A custom resource that is not installed has no objects.
async fn list(
    api: &ApiServer,
    collection: &Collection,
    namespace: &str,
) -> Result<Vec<Object>, ApiError> {
    let Collection { group, versions, resource, kind } = collection;
    for version in *versions {
        let (root, version) = match *group {
            "" => ("api", (*version).to_owned()),
            group => ("apis", format!("{group}/{version}")),
        };
        let path = format!("/{root}/{version}/namespaces/{namespace}/{resource}");
        match api.list_up_to(&path, (&version, kind), MOST_OBJECTS).await {
            Err(ApiError::Missing) => {}
            Ok(mut objects) => {
                objects.retain(|object| !is_bulk(object));
                objects.sort_by(|a, b| a.name().cmp(b.name()));
                return Ok(objects);
            }
            error => return error,
        }
    }
    Ok(Vec::new())
}

/// Secrets that hold no credential whatever they hold, some of them of a megabyte; the webhook is not
/// sent them either.
fn is_bulk(object: &Object) -> bool {
    object.is("", "Secret")
        && matches!(
            object.text("/type"),
            "helm.sh/release.v1"
                | "kubernetes.io/service-account-token"
                | "kubernetes.io/dockercfg"
                | "kubernetes.io/dockerconfigjson"
                | "bootstrap.kubernetes.io/token"
        )
}
