//! Which Ingresses bring certificates for which hosts: of several, a controller serves one.

use std::collections::BTreeMap;

use super::ingress::{class, of};
use super::{HostAt, Weight};
use crate::object::{Object, ObjectRef};

/// ingress-nginx takes nothing but weights and backends of such an Ingress.
/// <https://kubernetes.github.io/ingress-nginx/user-guide/nginx-configuration/annotations/#canary>
const CANARY: &str = "nginx.ingress.kubernetes.io/canary";

/// A host for which an Ingress brings a certificate, and the Secret that holds it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Brought {
    /// The host.
    pub at: HostAt,
    /// The Secret's name.
    pub secret: String,
}

/// The hosts for which `object` brings certificates that its controller serves.
pub fn brought(object: &Object, namespace: &str) -> Vec<Brought> {
    if object.annotation(CANARY) == Some("true") {
        return Vec::new();
    }
    let served = of(object, namespace).into_iter().filter(|it| it.weight == Weight::Refuses);
    let brought = served.flat_map(|reference| {
        let of_host = move |at| Brought { at, secret: reference.secret.clone() };
        reference.hosts.into_iter().map(of_host)
    });
    brought.collect()
}

/// Namespace, class and host.
type Place = (String, String, String);

/// The Ingresses by the hosts for which they bring certificates.
#[derive(Debug, Default)]
pub struct Bringers(BTreeMap<Place, BTreeMap<String, ObjectRef>>);

impl Bringers {
    /// Of `objects`, each with its namespace filled in.
    pub fn of(objects: &[Object]) -> Self {
        let mut bringers: BTreeMap<Place, BTreeMap<String, ObjectRef>> = BTreeMap::new();
        for object in objects {
            let namespace = object.namespace();
            for Brought { at, secret } in brought(object, namespace) {
                let place = (namespace.to_owned(), class(object), at.host.to_ascii_lowercase());
                let name = object.reference(namespace);
                // The first by name, whatever order they come in.
                let first = bringers.entry(place).or_default().entry(secret);
                first.and_modify(|it| *it = name.clone().min(it.clone())).or_insert(name);
            }
        }
        Self(bringers)
    }

    /// Who else brings a certificate for a host that `object` brings one for: another Secret's name, and
    /// the first Ingress that names it.
    pub fn rival(
        &self,
        (object, namespace): (&Object, &str),
        brought: &Brought,
    ) -> Option<(&str, &ObjectRef)> {
        let host = brought.at.host.to_ascii_lowercase();
        let all = self.0.get(&(namespace.to_owned(), class(object), host))?;
        // The same name is the same object, as it was before.
        let others = all
            .iter()
            .filter(|(secret, other)| **secret != brought.secret && other.name != object.name());
        others.map(|(secret, other)| (secret.as_str(), other)).next()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn ingress(name: &str, class: &str, tls: &[(&str, &str)]) -> Object {
        let item = |(host, secret): &(&str, &str)| json!({"hosts": [host], "secretName": secret});
        let tls: Vec<_> = tls.iter().map(item).collect();
        Object(json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
            "metadata": {"name": name, "namespace": "shop"},
            "spec": {"ingressClassName": class, "tls": tls},
        }))
    }

    fn rivals(objects: &[Object]) -> Vec<String> {
        let bringers = Bringers::of(objects);
        let own = objects.first().unwrap();
        let hosts = brought(own, "shop").into_iter();
        let told = hosts.filter_map(|it| {
            let (secret, other) = bringers.rival((own, "shop"), &it)?;
            Some(format!("{} {secret} {}", it.at.host, other.name))
        });
        told.collect()
    }

    #[test]
    fn one_host_with_two_secrets_has_a_rival() {
        let own = ingress("web", "nginx", &[("A.example.com", "a"), ("b.example.com", "b")]);
        let same = ingress("same", "nginx", &[("a.example.com", "a")]);
        let other = ingress("other", "nginx", &[("a.example.com", "x")]);
        let another = ingress("another", "NGINX", &[("a.example.com", "x")]);
        assert_eq!(rivals(&[own.clone(), same.clone()]), <[String; 0]>::default());
        assert_eq!(
            rivals(&[own.clone(), same, other.clone(), another.clone()]),
            ["A.example.com x another"]
        );
        assert_eq!(rivals(&[own.clone(), another, other]), ["A.example.com x another"]);
        // Of another controller, of the same name, in another namespace, a canary.
        let foreign = ingress("foreign", "traefik", &[("a.example.com", "x")]);
        let before = ingress("web", "nginx", &[("a.example.com", "x")]);
        let mut elsewhere = ingress("elsewhere", "nginx", &[("a.example.com", "x")]);
        elsewhere.0["metadata"]["namespace"] = json!("tea");
        let mut canary = ingress("canary", "nginx", &[("a.example.com", "x")]);
        canary.0["metadata"]["annotations"] = json!({CANARY: "true"});
        assert!(rivals(&[own, foreign, before, elsewhere, canary]).is_empty());
    }
}
