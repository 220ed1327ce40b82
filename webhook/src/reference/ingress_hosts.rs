//! Which Ingresses bring certificates for which hosts: of several, a controller serves one.

use std::collections::{BTreeMap, BTreeSet};

use super::ingress::{Ingress, class, host_matches, of};
use super::{HostAt, Weight};
use crate::object::Object;

/// ingress-nginx takes nothing but weights and backends of such an Ingress.
/// <https://kubernetes.github.io/ingress-nginx/user-guide/nginx-configuration/annotations/#canary>
const CANARY: &str = "nginx.ingress.kubernetes.io/canary";

/// Classes whose controllers make a load balancer for each Ingress, which serves that one's certificates:
/// <https://cloud.google.com/kubernetes-engine/docs/concepts/ingress>,
/// <https://docs.cilium.io/en/stable/network/servicemesh/ingress/>,
/// <https://tailscale.com/kb/1439/kubernetes-operator-cluster-ingress>.
const OF_THEIR_OWN: [&str; 4] = ["gce", "gce-internal", "cilium", "tailscale"];

/// A host for which an Ingress brings a certificate, and the Secret that holds it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Brought {
    /// The host.
    pub at: HostAt,
    /// The Secret's name.
    pub secret: String,
}

/// The hosts for which `object` brings certificates that its controller serves, beside those of other
/// Ingresses: each host once, in small letters.
pub fn brought(object: &Object, namespace: &str) -> BTreeMap<String, Brought> {
    let Some(ingress) = Ingress::read(object) else { return BTreeMap::new() };
    let class = class(object);
    // As Go's `strconv.ParseBool` has it.
    let is_canary =
        matches!(object.annotation(CANARY), Some("1" | "t" | "T" | "true" | "TRUE" | "True"));
    if is_canary
        || object.is_being_deleted()
        || OF_THEIR_OWN.contains(&class.as_str())
        || !(class.is_empty() || is_plain(&class))
    {
        return BTreeMap::new();
    }
    let is_served = |host: &str| ingress.rules.iter().any(|rule| host_matches(host, &rule.host));
    let mut brought = BTreeMap::new();
    for reference in of(object, namespace) {
        if reference.weight != Weight::Refuses || !is_plain(&reference.secret) {
            continue;
        }
        for at in reference.hosts {
            if is_plain(&at.host) && is_served(&at.host) {
                let host = at.host.to_ascii_lowercase();
                let secret = reference.secret.clone();
                brought.entry(host).or_insert(Brought { at, secret });
            }
        }
    }
    brought
}

/// Whether `name` is one as it stands, and not one that somebody is going to fill in.
fn is_plain(name: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'*');
    !name.is_empty() && name.bytes().all(is_plain)
}

/// Namespace, class and host.
type Place = (String, String, String);

/// The Ingresses by the hosts for which they bring certificates.
#[derive(Debug, Default)]
pub struct Bringers {
    /// The names of Ingresses by the Secrets that they name.
    by_host: BTreeMap<Place, BTreeMap<String, BTreeSet<String>>>,
    /// Namespaces and names that stand for several documents. Variants, for one cluster each: which of
    /// them meets which other Ingress is not known.
    several: BTreeSet<(String, String)>,
}

impl Bringers {
    /// Of `objects`, each with its namespace filled in.
    pub fn of(objects: &[Object]) -> Self {
        let mut bringers = Self::default();
        let mut names = BTreeSet::new();
        for object in objects.iter().filter(|it| super::ingress::is_ingress(it)) {
            let name = named(object, object.namespace());
            if !names.insert(name.clone()) {
                bringers.several.insert(name);
            }
        }
        for object in objects {
            let (namespace, name) = named(object, object.namespace());
            if bringers.several.contains(&(namespace.clone(), name.clone())) {
                continue;
            }
            for (host, Brought { secret, .. }) in brought(object, &namespace) {
                let place = (namespace.clone(), class(object), host);
                let of_host = bringers.by_host.entry(place).or_default();
                of_host.entry(secret).or_default().insert(name.clone());
            }
        }
        bringers
    }

    /// Who else brings a certificate for `host`, for which `object` brings that of `secret`: another Secret
    /// and an Ingress that names it, the first by name.
    pub fn rival(
        &self,
        (object, namespace): (&Object, &str),
        (host, secret): (&str, &str),
    ) -> Option<(&str, &str)> {
        let own = named(object, namespace);
        if self.several.contains(&own) {
            return None;
        }
        let all = self.by_host.get(&(own.0, class(object), host.to_owned()))?;
        let others = all.iter().filter(|(other, _)| *other != secret);
        // The same name is the same object, as it was before.
        let mut others = others.filter_map(|(other, names)| {
            Some((other.as_str(), names.iter().find(|name| **name != own.1)?.as_str()))
        });
        others.next()
    }
}

/// The namespace and name of an Ingress, which may be one that is still to be generated.
fn named(object: &Object, namespace: &str) -> (String, String) {
    (namespace.to_owned(), object.reference(namespace).name)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn ingress(name: &str, class: &str, tls: &[(&str, &str)]) -> Object {
        let item = |(host, secret): &(&str, &str)| json!({"hosts": [host], "secretName": secret});
        let tls_items: Vec<_> = tls.iter().map(item).collect();
        let rules: Vec<_> = tls.iter().map(|(host, _)| json!({"host": host})).collect();
        Object(json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
            "metadata": {"name": name, "namespace": "shop"},
            "spec": {"ingressClassName": class, "tls": tls_items, "rules": rules},
        }))
    }

    /// What is told of the first of them.
    fn rivals(objects: &[Object]) -> Vec<String> {
        let bringers = Bringers::of(objects);
        let own = objects.first().unwrap();
        let hosts = brought(own, "shop").into_iter();
        let told = hosts.filter_map(|(host, brought)| {
            let (secret, other) = bringers.rival((own, "shop"), (&host, &brought.secret))?;
            Some(format!("{host} {secret} {other}"))
        });
        told.collect()
    }

    #[test]
    fn one_host_with_two_secrets_has_a_rival() {
        let own = ingress("web", "nginx", &[("A.example.com", "a"), ("b.example.com", "b")]);
        let same = ingress("same", "nginx", &[("a.example.com", "a")]);
        let other = ingress("other", "nginx", &[("a.example.com", "x")]);
        let another = ingress("another", "NGINX", &[("a.example.com", "x")]);
        assert!(rivals(&[own.clone(), same.clone()]).is_empty());
        let told = ["a.example.com x another"];
        assert_eq!(rivals(&[own.clone(), same, other.clone(), another.clone()]), told);
        assert_eq!(rivals(&[own, another, other]), told);
        // One that stands behind another of the same Secret.
        let both = ingress("b", "nginx", &[("a.example.com", "s1"), ("a.example.com", "s2")]);
        let behind = ingress("c", "nginx", &[("a.example.com", "s2")]);
        assert_eq!(rivals(&[both, behind]), ["a.example.com s2 c"]);
    }

    #[test]
    fn who_does_not_meet_is_no_rival() {
        let a = "a.example.com";
        let own = ingress("web", "nginx", &[(a, "a")]);
        let other = ingress("other", "nginx", &[(a, "x")]);
        let changed = |pointer: &str, value: serde_json::Value| {
            let mut other = other.clone();
            let (parent, field) = pointer.rsplit_once('/').unwrap();
            other.0.pointer_mut(parent).unwrap()[field] = value;
            other
        };
        for other in [
            ingress("other", "traefik", &[(a, "x")]),
            ingress("other", "nginx", &[(a, "${SECRET}")]),
            changed("/metadata/namespace", json!("tea")),
            changed("/metadata/annotations", json!({CANARY: "True"})),
            changed("/metadata/deletionTimestamp", json!("2026-01-01T00:00:00Z")),
            changed("/spec/rules", json!([{"host": "b.example.com"}])),
        ] {
            assert!(rivals(&[own.clone(), other.clone()]).is_empty(), "{other:?}");
        }
        // Variants of one object, its own or the other.
        assert!(rivals(&[own.clone(), other.clone(), other.clone()]).is_empty());
        assert!(rivals(&[own.clone(), own, other]).is_empty());
        for (class, host) in
            [("gce", a), ("cilium", a), ("${CLASS}", a), ("nginx", "{{ .host }}"), ("nginx", "")]
        {
            let [one, other] = ["one", "other"].map(|it| ingress(it, class, &[(host, it)]));
            assert!(rivals(&[one, other]).is_empty(), "{class} {host}");
        }
        let mut generated = ingress("", "nginx", &[(a, "x"), (a, "y")]);
        generated.0["metadata"] = json!({"generateName": "web-", "namespace": "shop"});
        assert!(rivals(&[generated]).is_empty());
    }
}
