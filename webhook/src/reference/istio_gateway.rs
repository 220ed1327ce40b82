//! Istio's Gateway: `spec.servers[].tls.credentialName`.
//!
//! <https://istio.io/latest/docs/reference/config/networking/gateway/#ServerTLSSettings>

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{Holder, HostAt, Reference, Role, Weight};
use crate::object::{Object, texts};
use crate::path::{FieldPath, Step};

/// What Istio puts behind the name of a Secret to look for the CAs of the clients.
pub const COMPANION: &str = "-cacert";

/// Whether `object` is a Gateway of Istio in a version that is known here.
pub fn is_gateway(object: &Object) -> bool {
    object.is("networking.istio.io", "Gateway")
        && matches!(object.api_version().split_once('/'), Some((_, "v1" | "v1beta1" | "v1alpha3")))
}

/// The labels of the pods that serve the Gateway: in their namespaces its Secrets are looked for.
pub fn selector(object: &Object) -> Option<BTreeMap<&str, &str>> {
    is_gateway(object).then(|| texts(object.0.pointer("/spec/selector")))
}

/// One of `spec.servers[]` with TLS.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Server {
    /// `spec.servers[i]`.
    pub path: FieldPath,
    /// `port.protocol`, in capital letters.
    pub protocol: String,
    /// `tls.mode`; `SIMPLE` where nobody wrote one.
    pub mode: String,
    /// `tls.credentialName` where it names a Secret, else `tls.credentialNames[]`.
    pub credentials: Vec<Credential>,
    /// Whether it names a certificate at all, be it in a file.
    pub names_certificate: bool,
    /// Whether it says itself where the CAs of the clients are: a Secret or a file of their own.
    pub names_ca: bool,
    /// The hosts that a certificate can cover, without the namespace of the services behind them.
    pub hosts: Vec<HostAt>,
}

/// A name of a Secret in a server.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Credential {
    /// The field.
    pub path: FieldPath,
    /// The name, maybe with its namespace.
    pub name: String,
}

impl Server {
    /// Whether clients are asked for a certificate, to be verified with CAs of the same or of the
    /// companion Secret.
    pub fn is_verified_by_secret(&self) -> bool {
        self.is_mutual() && !self.names_ca
    }

    /// Whether clients are asked for a certificate.
    pub fn is_mutual(&self) -> bool {
        matches!(self.mode.as_str(), "MUTUAL" | "OPTIONAL_MUTUAL")
    }

    /// Whether Istio reads the credential: for the protocols with TLS and the modes that end it.
    pub fn reads_credential(&self) -> bool {
        let ends = self.is_mutual() || self.mode == "SIMPLE";
        ends && matches!(self.protocol.as_str(), "HTTPS" | "TLS")
    }
}

/// The servers of a Gateway that have a `tls` part.
pub fn servers(object: &Object) -> Vec<Server> {
    if !is_gateway(object) {
        return Vec::new();
    }
    let all = object.list("/spec/servers").iter().enumerate();
    all.filter_map(|(at, server)| read(server, FieldPath::of(["spec", "servers"]).index(at)))
        .collect()
}

fn read(server: &Value, path: FieldPath) -> Option<Server> {
    let tls = server.get("tls").filter(|tls| tls.is_object())?;
    let text = |value: Option<&Value>| value.and_then(Value::as_str).unwrap_or_default().to_owned();
    let mode = match text(tls.get("mode")) {
        mode if mode.is_empty() => "SIMPLE".to_owned(),
        mode => mode,
    };
    let has = |key: &str| {
        tls.get(key).is_some_and(|it| match it {
            Value::String(text) => !text.is_empty(),
            Value::Array(list) => !list.is_empty(),
            _ => false,
        })
    };
    let hosts = server.get("hosts").and_then(Value::as_array).into_iter().flatten().enumerate();
    let hosts = hosts.filter_map(|(at, host)| {
        let host = host.as_str()?;
        let host = host.split_once('/').map_or(host, |(_namespace, host)| host).to_owned();
        Some(HostAt { host, path: path.key("hosts").index(at) })
    });
    Some(Server {
        protocol: text(server.pointer("/port/protocol")).to_ascii_uppercase(),
        mode,
        names_ca: ["caCertCredentialName", "caCertificates"].into_iter().any(has),
        names_certificate: [
            "credentialName",
            "credentialNames",
            "serverCertificate",
            "tlsCertificates",
        ]
        .into_iter()
        .any(has),
        credentials: credentials(tls, &path.key("tls")),
        hosts: hosts.filter(|at| at.host != "*").collect(),
        path,
    })
}

/// The Secrets that `tls` names. Of several names the one without an s holds.
fn credentials(tls: &Value, path: &FieldPath) -> Vec<Credential> {
    let one = ("credentialName", tls.get("credentialName"));
    let one = one.1.and_then(Value::as_str).map(|name| (path.key(one.0), name));
    let several = tls.get("credentialNames").and_then(Value::as_array).into_iter().flatten();
    let several = several
        .enumerate()
        .filter_map(|(at, name)| Some((path.key("credentialNames").index(at), name.as_str()?)));
    let all: Vec<_> = match one.filter(|(_, name)| !name.is_empty()) {
        Some(one) => vec![one],
        None => several.collect(),
    };
    all.into_iter()
        .filter_map(|(path, name)| {
            // Other schemes lead to other places than Secrets.
            let name = match name.split_once("://") {
                Some(("kubernetes", name)) => name,
                Some(_) => "",
                None => name,
            };
            (!name.is_empty()).then(|| Credential { path, name: name.to_owned() })
        })
        .collect()
}

/// The references of a Gateway, as if its pods were in its own namespace. Where they are is found
/// out by looking; see [`selector`].
pub(super) fn of(object: &Object, namespace: &str) -> Vec<Reference> {
    let mut references = Vec::new();
    for server in servers(object).into_iter().filter(Server::reads_credential) {
        let is_mutual = server.is_verified_by_secret();
        // Of several certificates each is for some of the hosts, or for some of the clients.
        let hosts = if server.credentials.len() == 1 { server.hosts } else { Vec::new() };
        for Credential { path, name } in server.credentials {
            let (namespace, secret) = match name.split_once('/') {
                Some((written, secret)) => (written, secret.to_owned()),
                None => (namespace, name),
            };
            let reference = |secret: String, hosts, role| Reference {
                path: path.clone(),
                namespace: namespace.to_owned(),
                holder: Holder::Secret,
                secret,
                hosts,
                role,
                weight: Weight::Refuses,
            };
            // Which of several is asked for the CA, nobody but Istio knows.
            let is_plural = path.steps().last() != Some(&Step::Key("credentialName".to_owned()));
            if !is_mutual || is_plural {
                references.push(reference(secret, hosts.clone(), Role::GatewayServer));
                continue;
            }
            let companion = format!("{secret}{COMPANION}");
            references.push(reference(secret, hosts.clone(), Role::MutualGatewayServer));
            references.push(reference(companion, Vec::new(), Role::GatewayClientCa));
        }
    }
    references
}

/// The references of `object` where its pods are: in each of `namespaces`, or nowhere, which is the
/// namespace without a name. A credential that is written with its namespace stays where it is.
///
/// Labels are free, so of several namespaces any may be a stranger's, who must not have a veto: what is
/// wrong in one of them only warns.
pub fn placed(
    object: &Object,
    references: Vec<Reference>,
    namespaces: &BTreeSet<String>,
) -> Vec<Reference> {
    let nowhere = BTreeSet::from([String::new()]);
    let namespaces = if namespaces.is_empty() { &nowhere } else { namespaces };
    let several = namespaces.len() > 1;
    let at = |reference: Reference| {
        if names_namespace(object, &reference) {
            return vec![reference];
        }
        let weight = if several { Weight::Warns } else { reference.weight };
        let places = namespaces.iter().take(MOST_NAMESPACES);
        places
            .map(|namespace| {
                let namespace = namespace.clone();
                Reference { namespace, weight, ..reference.clone() }
            })
            .collect()
    };
    references.into_iter().flat_map(at).collect()
}

/// Whether the credential is written as `NAMESPACE/NAME`.
fn names_namespace(object: &Object, reference: &Reference) -> bool {
    let written = reference.path.find(&object.0).and_then(Value::as_str).unwrap_or_default();
    let name = written.split_once("://").map_or(written, |(_scheme, name)| name);
    name.contains('/')
}

/// In no more namespaces than this the Secrets of one Gateway are looked for.
pub const MOST_NAMESPACES: usize = 4;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn gateway(version: &str, server: &Value) -> Object {
        Object(json!({
            "apiVersion": format!("networking.istio.io/{version}"), "kind": "Gateway",
            "spec": {"selector": {"istio": "ingressgateway"}, "servers": [server]},
        }))
    }

    fn server(mode: &str) -> Value {
        json!({
            "port": {"number": 443, "protocol": "HTTPS"},
            "tls": {"mode": mode, "credentialName": "web-tls"},
            "hosts": ["./a.example.com", "*", "*.b.example.com"],
        })
    }

    #[test]
    fn a_mutual_server_needs_its_companion_too() {
        for version in ["v1", "v1beta1", "v1alpha3"] {
            let found = of(&gateway(version, &server("MUTUAL")), "edge");
            let names: Vec<_> = found.iter().map(|it| (it.secret.as_str(), it.role)).collect();
            let wanted =
                [("web-tls", Role::MutualGatewayServer), ("web-tls-cacert", Role::GatewayClientCa)];
            assert_eq!(names, wanted);
            let hosts: Vec<_> = found[0].hosts.iter().map(|at| at.host.as_str()).collect();
            assert_eq!(hosts, ["a.example.com", "*.b.example.com"]);
            assert_eq!(found[0].path.to_string(), "spec.servers[0].tls.credentialName");
        }
    }

    #[test]
    fn several_certificates_are_several_references() {
        let mut several = server("SIMPLE");
        several["tls"] = json!({"mode": "SIMPLE", "credentialNames": ["rsa", 7, "ec"]});
        let object = gateway("v1", &several);
        let found: Vec<_> =
            of(&object, "edge").into_iter().map(|it| (it.path.to_string(), it.secret)).collect();
        let at = |at: usize| format!("spec.servers[0].tls.credentialNames[{at}]");
        assert_eq!(found, [(at(0), "rsa".to_owned()), (at(2), "ec".to_owned())]);
        assert!(servers(&object)[0].names_certificate);
        several["tls"] = json!({"mode": "MUTUAL"});
        assert!(!servers(&gateway("v1", &several))[0].names_certificate);
        several["tls"] = json!({"mode": "SIMPLE", "serverCertificate": "/etc/certs/tls.crt"});
        assert!(servers(&gateway("v1", &several))[0].names_certificate);
    }

    #[test]
    fn a_credential_is_looked_for_where_it_says_or_where_the_pods_are() {
        let with = |credential: &str| {
            let mut server = server("SIMPLE");
            server["tls"]["credentialName"] = json!(credential);
            gateway("v1", &server)
        };
        let placed = |credential: &str, namespaces: &[&str]| {
            let object = with(credential);
            let namespaces = namespaces.iter().map(|name| (*name).to_owned()).collect();
            let found = placed(&object, of(&object, "shop"), &namespaces);
            let found = found.into_iter().map(|it| (it.namespace, it.secret, it.weight));
            found.collect::<Vec<_>>()
        };
        let one = |namespace: &str, weight| (namespace.to_owned(), "web-tls".to_owned(), weight);
        for credential in ["edge/web-tls", "kubernetes://edge/web-tls"] {
            assert_eq!(placed(credential, &["pods", "more"]), [one("edge", Weight::Refuses)]);
        }
        assert_eq!(placed("web-tls", &["pods"]), [one("pods", Weight::Refuses)]);
        let both = [one("more", Weight::Warns), one("pods", Weight::Warns)];
        assert_eq!(placed("kubernetes://web-tls", &["pods", "more"]), both);
    }

    #[test]
    fn what_ends_no_tls_reads_no_secret() {
        for mode in ["PASSTHROUGH", "AUTO_PASSTHROUGH", "ISTIO_MUTUAL", "OF_TOMORROW"] {
            assert_eq!(of(&gateway("v1", &server(mode)), "edge"), [], "{mode}");
        }
        assert_eq!(of(&gateway("v2", &server("SIMPLE")), "edge"), []);
        let mut other = server("SIMPLE");
        other["tls"]["credentialName"] = json!("sds://somewhere");
        assert_eq!(of(&gateway("v1", &other), "edge"), []);
        assert_eq!(of(&gateway("v1", &json!({"tls": [], "hosts": 3})), "edge"), []);
    }
}
