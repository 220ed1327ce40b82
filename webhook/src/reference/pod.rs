//! The Secrets that a pod's sidecar is to read: `tls-secret`, `client-ca-secret`, `client-crl-secret`,
//! `upstream-client-secret` and `upstream-ca-secret`, on Pods and on the templates of workloads.
//!
//! A host is none of their business: the Host of a re-encrypted request is the edge's, and often not
//! in the sidecar's certificate.

use lasthop_contract::annotation as name;

use super::{Holder, Reference, Role, Weight};
use crate::inject::annotations::{self, values};
use crate::inject::{self, Wish};
use crate::object::Object;
use crate::path::FieldPath;

/// The references of a pod that asks for a sidecar. A name that cannot be one is no reference, but a finding
/// of the annotation itself.
pub(super) fn of(object: &Object, namespace: &str) -> Vec<Reference> {
    let Some((prefix, pod)) = inject::pod_of(object) else { return Vec::new() };
    if annotations::wish(&pod) != Some(Wish::Inject) {
        return Vec::new();
    }
    let mut references = Vec::new();
    for (key, value) in annotations::entries(&pod) {
        let (base, _port) = annotations::split_port(key);
        let Some(value) = value.as_str() else { continue };
        let role = match base {
            name::TLS_SECRET => Role::SidecarServer,
            name::CLIENT_CA_SECRET => Role::SidecarClientCa,
            name::CLIENT_CRL_SECRET => Role::SidecarClientCrl,
            name::UPSTREAM_CLIENT_SECRET => Role::SidecarUpstreamClient,
            name::UPSTREAM_CA_SECRET => Role::SidecarUpstreamCa,
            _ => continue,
        };
        let path = prefix.join(&FieldPath::annotation(key));
        let names = values::entries(value).take(values::MOST_SECRETS);
        let names = names.map(|name| match (role, name.strip_prefix(values::CONFIG_MAP)) {
            (Role::SidecarClientCa | Role::SidecarUpstreamCa, Some(name)) => {
                (Holder::ConfigMap, name)
            }
            _ => (Holder::Secret, name),
        });
        let names = names.filter(|(_, name)| values::is_object_name(name));
        references.extend(names.map(|(holder, name)| Reference {
            path: path.clone(),
            namespace: namespace.to_owned(),
            holder,
            secret: name.to_owned(),
            hosts: Vec::new(),
            role,
            weight: Weight::Refuses,
        }));
    }
    references
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn references(annotations: &serde_json::Value) -> Vec<(String, String, Role)> {
        let template = json!({"metadata": {"annotations": annotations}, "spec": {}});
        let deployment = Object(json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "spec": {"template": template},
        }));
        of(&deployment, "shop")
            .into_iter()
            .map(|it| {
                let kind = if it.holder == Holder::ConfigMap { "configmap/" } else { "" };
                (it.path.to_string(), format!("{kind}{}/{}", it.namespace, it.secret), it.role)
            })
            .collect()
    }

    #[test]
    fn every_secret_of_every_listener_is_a_reference() {
        let found = references(&json!({
            "lasthop.dev/inject": "true",
            "lasthop.dev/tls-secret": "a,b",
            "lasthop.dev/tls-secret.9443": "c",
            "lasthop.dev/client-ca-secret": "ca",
            "lasthop.dev/client-ca-secret.9443": "configmap/roots",
            "lasthop.dev/client-crl-secret": "crl",
            "lasthop.dev/upstream-client-secret.9001": "identity",
            "lasthop.dev/upstream-ca-secret": "configmap/roots",
            "lasthop.dev/upstream-ca-secret.9001": "db-ca",
        }));
        let at = |key: &str| format!("spec.template.metadata.annotations[lasthop.dev/{key}]");
        assert_eq!(
            found,
            [
                (at("tls-secret"), "shop/a".to_owned(), Role::SidecarServer),
                (at("tls-secret"), "shop/b".to_owned(), Role::SidecarServer),
                (at("tls-secret.9443"), "shop/c".to_owned(), Role::SidecarServer),
                (at("client-ca-secret"), "shop/ca".to_owned(), Role::SidecarClientCa),
                (
                    at("client-ca-secret.9443"),
                    "configmap/shop/roots".to_owned(),
                    Role::SidecarClientCa
                ),
                (at("client-crl-secret"), "shop/crl".to_owned(), Role::SidecarClientCrl),
                (
                    at("upstream-client-secret.9001"),
                    "shop/identity".to_owned(),
                    Role::SidecarUpstreamClient
                ),
                (
                    at("upstream-ca-secret"),
                    "configmap/shop/roots".to_owned(),
                    Role::SidecarUpstreamCa
                ),
                (at("upstream-ca-secret.9001"), "shop/db-ca".to_owned(), Role::SidecarUpstreamCa),
            ]
        );
    }

    #[test]
    fn who_does_not_ask_refers_to_nothing() {
        assert!(references(&json!({"lasthop.dev/tls-secret": "a"})).is_empty());
        let never = json!({"lasthop.dev/inject": "false", "lasthop.dev/tls-secret": "a"});
        assert!(references(&never).is_empty());
        let odd = json!({"lasthop.dev/inject": "true", "lasthop.dev/tls-secret": "ns/a, B_"});
        assert!(references(&odd).is_empty());
    }
}
