//! Who names a Secret from another namespace. It only warns, so that what cannot be looked at is left out.

use std::collections::BTreeSet;

use super::super::{Collection, Listed, Sighting};
use super::{ApiError, Cluster};
use crate::object::Object;
use crate::reference::ingress_annotations::{namespace_and_name, nginx};
use crate::reference::{self, gateway_api};

/// No more namespaces are looked at for the Ingresses that an annotation has given away.
const MOST_NAMESPACES: usize = 8;

const GATEWAYS: Collection = Collection {
    group: gateway_api::GROUP,
    versions: &["v1", "v1beta1"],
    resource: "gateways",
    kind: "Gateway",
};

const HOSTS: Collection = Collection {
    group: "getambassador.io",
    versions: &["v3alpha1", "v2"],
    resource: "hosts",
    kind: "Host",
};

impl Cluster {
    /// The objects of other namespaces that name the Secret `namespace/secret` and may read it.
    pub(super) async fn readers_elsewhere(&self, namespace: &str, secret: &str) -> Vec<Object> {
        let (ingresses, gateways, hosts) = futures_util::join!(
            self.ingresses_elsewhere(namespace, secret),
            self.list_under(&GATEWAYS, ""),
            self.list_under(&HOSTS, ""),
        );
        let names = |object: &Object| {
            object.namespace() != namespace
                && reference::of(object, object.namespace())
                    .iter()
                    .any(|it| it.is_to_secret(namespace, secret))
        };
        let listed = |list: Result<Vec<Object>, ApiError>| {
            self.told(list).into_found().unwrap_or_default().into_iter()
        };
        let gateways: Vec<Object> = listed(gateways).filter(names).collect();
        let gateways = self.permitted(gateways, namespace, secret).await;
        let ingresses = ingresses.into_iter().filter(names);
        ingresses.chain(gateways).chain(listed(hosts).filter(names)).collect()
    }

    /// The Ingresses of the namespaces in which an annotation names the Secret. Of all the others nothing
    /// but the metadata is asked for.
    async fn ingresses_elsewhere(&self, namespace: &str, secret: &str) -> Vec<Object> {
        let found = self.api.metadata_of("/apis/networking.k8s.io/v1/ingresses").await;
        let found = self.told(found).into_found().unwrap_or_default();
        let named = ["proxy-ssl-secret", "auth-tls-secret"];
        let names = |it: &&Object| {
            let mut written = named.iter().filter_map(|annotation| nginx(it, annotation));
            written.any(|at| namespace_and_name(&at.value) == Some((namespace, secret)))
        };
        let others: BTreeSet<&str> = found.iter().filter(names).map(Object::namespace).collect();
        let others = others.into_iter().filter(|other| *other != namespace);
        let looking = others.take(MOST_NAMESPACES).map(|it| self.list(Listed::Ingresses, it));
        let lists = futures_util::future::join_all(looking).await;
        lists.into_iter().filter_map(Sighting::into_found).flatten().collect()
    }

    /// Those of `gateways` that a ReferenceGrant lets read the Secret.
    async fn permitted(
        &self,
        mut gateways: Vec<Object>,
        namespace: &str,
        secret: &str,
    ) -> Vec<Object> {
        if gateways.is_empty() {
            return gateways;
        }
        let grants = self.list(Listed::Grants, namespace).await.into_found().unwrap_or_default();
        gateways.retain(|gateway| {
            let from = gateway.namespace();
            let references = reference::of(gateway, from).into_iter();
            references
                .filter(|it| it.is_to_secret(namespace, secret))
                .any(|it| grants.iter().any(|grant| gateway_api::permits(grant, from, &it)))
        });
        gateways
    }
}
