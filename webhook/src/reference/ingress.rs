//! `networking.k8s.io` Ingress: `spec.tls[]` and the hosts of its rules.
//!
//! <https://kubernetes.io/docs/concepts/services-networking/ingress/#tls>

use std::collections::HashSet;

use serde_json::Value;

use super::ingress_annotations::passthrough;
use super::{Holder, HostAt, Reference, Role, Weight};
use crate::object::Object;
use crate::path::FieldPath;

/// What rules read of an Ingress, of whatever version and however badly written.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Ingress {
    /// `spec.tls[]`.
    pub tls: Vec<TlsItem>,
    /// The hosts of `spec.rules[]`.
    pub rules: Vec<HostAt>,
    /// Whether it also takes requests for hosts that no rule names: a rule without host, or a
    /// default backend.
    pub catches_all: bool,
    /// Fields that are not of the type they should have.
    pub mistyped: Vec<Mistyped>,
}

/// One item of `spec.tls[]`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TlsItem {
    /// `spec.tls[i]`.
    pub path: FieldPath,
    /// Its `hosts`.
    pub hosts: Vec<HostAt>,
    /// Its `secretName`, unless empty.
    pub secret: Option<String>,
}

/// A field of a wrong type.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Mistyped {
    /// The field.
    pub path: FieldPath,
    /// What should stand there.
    pub expected: &'static str,
    /// What does.
    pub found: &'static str,
}

/// Whether `object` is an Ingress in some version.
pub fn is_ingress(object: &Object) -> bool {
    object.kind() == "Ingress" && matches!(object.group(), "networking.k8s.io" | "extensions")
}

/// The class of an Ingress, in small letters; empty where nobody wrote one.
pub fn class(object: &Object) -> String {
    let class = match object.text("/spec/ingressClassName") {
        "" => object.annotation("kubernetes.io/ingress.class").unwrap_or_default(),
        class => class,
    };
    class.to_ascii_lowercase()
}

/// Whether the class is that of the AWS Load Balancer Controller, which takes certificates from AWS
/// alone and reads no Secret of `spec.tls`.
/// <https://kubernetes-sigs.github.io/aws-load-balancer-controller/latest/guide/ingress/cert_discovery/>
pub(super) fn is_of_aws(object: &Object) -> bool {
    let class = class(object);
    class.strip_prefix("alb").is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '-']))
}

/// Whether a host of `spec.tls` is meant for the host of a rule: they are the same, or one is a
/// wildcard that covers the other.
pub fn host_matches(tls: &str, rule: &str) -> bool {
    let (tls, rule) = (tls.to_ascii_lowercase(), rule.to_ascii_lowercase());
    let covers = |wildcard: &str, host: &str| {
        wildcard
            .strip_prefix("*.")
            .is_some_and(|parent| host.split_once('.').is_some_and(|(_label, rest)| rest == parent))
    };
    tls == rule || covers(&tls, &rule) || covers(&rule, &tls)
}

/// Many hosts, to be asked whether one [matches](host_matches) without looking at each: an Ingress may
/// have thousands on both sides.
#[derive(Debug, Default)]
pub struct Hosts {
    names: HashSet<String>,
    /// What follows the first label of each.
    parents: HashSet<String>,
}

impl Hosts {
    /// Whether any of them matches `host`, in the way of [`host_matches`].
    pub fn have(&self, host: &str) -> bool {
        let host = host.to_ascii_lowercase();
        let covered = |(_label, parent): (&str, &str)| self.names.contains(&format!("*.{parent}"));
        self.names.contains(&host)
            || host.split_once('.').is_some_and(covered)
            || host.strip_prefix("*.").is_some_and(|parent| self.parents.contains(parent))
    }
}

impl<'a> FromIterator<&'a HostAt> for Hosts {
    fn from_iter<I: IntoIterator<Item = &'a HostAt>>(hosts: I) -> Self {
        let names: HashSet<_> = hosts.into_iter().map(|at| at.host.to_ascii_lowercase()).collect();
        let parent = |name: &String| Some(name.split_once('.')?.1.to_owned());
        Self { parents: names.iter().filter_map(parent).collect(), names }
    }
}

impl Ingress {
    /// Reads `object`, if it is an Ingress.
    pub fn read(object: &Object) -> Option<Self> {
        if !is_ingress(object) {
            return None;
        }
        let mut reader = Reader { top: &object.0, mistyped: Vec::new() };
        reader.metadata();
        let spec = FieldPath::of(["spec"]);
        let tls = reader.items(&spec.key("tls"), "a list of items with `hosts` and `secretName`");
        let tls = tls.into_iter().map(|path| reader.tls_item(path)).collect();
        let mut rules = Vec::new();
        let mut catches_all = ["defaultBackend", "backend"]
            .iter()
            .any(|name| spec.key(name).find(&object.0).is_some_and(|it| !it.is_null()));
        for path in reader.items(&spec.key("rules"), "a list of rules") {
            let path = path.key("host");
            match reader.text(&path) {
                Some(host) if !host.is_empty() => rules.push(HostAt { host, path }),
                _ => catches_all = true,
            }
        }
        Some(Self { tls, rules, catches_all, mistyped: reader.mistyped })
    }
}

/// Contour looks for the Secrets of an Ingress with this annotation in the namespace that it names,
/// where a `TLSCertificateDelegation` allows it.
///
/// <https://projectcontour.io/docs/main/config/annotations/>
const ELSEWHERE: &str = "projectcontour.io/tls-cert-namespace";

/// The references of an Ingress, unless they lead into another namespace, where nobody here looks, or
/// its controller reads no Secret. Where the certificate comes from the cloud, or TLS is handed on to
/// the application, the Secret is at most a spare one.
pub(super) fn of(object: &Object, namespace: &str) -> Vec<Reference> {
    let Some(ingress) = Ingress::read(object) else { return Vec::new() };
    if object.annotation(ELSEWHERE).is_some_and(|other| !other.is_empty() && other != namespace) {
        return Vec::new();
    }
    if is_of_aws(object) {
        return Vec::new();
    }
    let is_spare = super::of_cloud(object).is_some() || passthrough(object).is_some();
    let weight = if is_spare { Weight::Warns } else { Weight::Refuses };
    ingress
        .tls
        .into_iter()
        .filter_map(|item| {
            Some(Reference {
                path: item.path.key("secretName"),
                namespace: namespace.to_owned(),
                holder: Holder::Secret,
                secret: item.secret?,
                hosts: item.hosts,
                role: Role::IngressServer,
                weight,
            })
        })
        .collect()
}

/// Reads fields and collects those of a wrong type; an absent field and `null` are the same.
struct Reader<'a> {
    top: &'a Value,
    mistyped: Vec<Mistyped>,
}

impl Reader<'_> {
    /// What YAML reads as a number or a boolean where nobody put it in quotes: `proxy-ssl-verify: on`.
    fn metadata(&mut self) {
        let metadata = FieldPath::of(["metadata"]);
        for name in ["name", "namespace"] {
            self.text(&metadata.key(name));
        }
        let annotations = metadata.key("annotations").find(self.top).and_then(Value::as_object);
        for name in annotations.into_iter().flat_map(serde_json::Map::keys) {
            self.text(&FieldPath::annotation(name));
        }
    }

    fn tls_item(&mut self, path: FieldPath) -> TlsItem {
        let item = path.find(self.top).unwrap_or(&Value::Null);
        if !item.is_object() {
            self.wrong(&path, "a mapping with `hosts` and `secretName`", item);
        }
        let hosts = self.items(&path.key("hosts"), "a list of hosts");
        let hosts = hosts
            .into_iter()
            .filter_map(|path| Some(HostAt { host: self.text(&path)?, path }))
            .collect();
        let secret = self.text(&path.key("secretName")).filter(|name| !name.is_empty());
        TlsItem { path, hosts, secret }
    }

    fn items(&mut self, path: &FieldPath, expected: &'static str) -> Vec<FieldPath> {
        match path.find(self.top) {
            None | Some(Value::Null) => Vec::new(),
            Some(Value::Array(items)) => (0..items.len()).map(|at| path.index(at)).collect(),
            Some(other) => {
                self.wrong(path, expected, other);
                Vec::new()
            }
        }
    }

    fn text(&mut self, path: &FieldPath) -> Option<String> {
        match path.find(self.top)? {
            Value::Null => None,
            Value::String(text) => Some(text.clone()),
            other => {
                self.wrong(path, "a text", other);
                None
            }
        }
    }

    fn wrong(&mut self, path: &FieldPath, expected: &'static str, found: &Value) {
        let found = match found {
            Value::Null => "nothing",
            Value::Bool(_) => "a boolean",
            Value::Number(_) => "a number",
            Value::String(_) => "a text",
            Value::Array(_) => "a list",
            Value::Object(_) => "a mapping",
        };
        self.mistyped.push(Mistyped { path: path.clone(), expected, found });
    }
}

#[cfg(test)]
mod tests {
    use super::{Hosts, host_matches};
    use crate::path::FieldPath;
    use crate::reference::HostAt;

    #[test]
    fn many_hosts_say_what_each_alone_would() {
        let names = ["a.b.c", "*.b.c", "b.c", "c", "*.c", "A.B.C", "x.b.c", "*.*.c", "", "*.", "."];
        for one in names {
            for other in names {
                let at = HostAt { host: one.to_owned(), path: FieldPath::default() };
                let hosts: Hosts = [&at].into_iter().collect();
                assert_eq!(hosts.have(other), host_matches(other, one), "{one:?}, {other:?}");
            }
        }
    }
}
