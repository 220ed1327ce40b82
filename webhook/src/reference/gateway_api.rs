//! Gateway API's Gateway: `spec.listeners[].tls`.
//!
//! <https://gateway-api.sigs.k8s.io/reference/spec/#listenertlsconfig>

use serde_json::Value;

use super::{HostAt, Reference, Role, Weight};
use crate::object::Object;
use crate::path::FieldPath;

/// The group of Gateway API.
pub const GROUP: &str = "gateway.networking.k8s.io";

/// Whether `object` is a Gateway of Gateway API in a version that is known here.
pub fn is_gateway(object: &Object) -> bool {
    object.is(GROUP, "Gateway")
        && matches!(object.api_version().split_once('/'), Some((_, "v1" | "v1beta1")))
}

/// The references of a Gateway.
pub(super) fn of(object: &Object, namespace: &str) -> Vec<Reference> {
    if !is_gateway(object) {
        return Vec::new();
    }
    let listeners = object.list("/spec/listeners").iter().enumerate();
    listeners
        .flat_map(|(at, listener)| {
            let path = FieldPath::of(["spec", "listeners"]).index(at);
            of_listener(listener, &path, namespace)
        })
        .collect()
}

fn of_listener(listener: &Value, path: &FieldPath, namespace: &str) -> Vec<Reference> {
    let text = |pointer: &str| listener.pointer(pointer).and_then(Value::as_str);
    // What is passed through is ended by somebody else.
    if !matches!(text("/protocol"), Some("HTTPS" | "TLS"))
        || !matches!(text("/tls/mode"), None | Some("" | "Terminate"))
    {
        return Vec::new();
    }
    let tls = path.key("tls");
    let certificates = secrets(listener, &tls, &["certificateRefs"], namespace);
    // Of several certificates each is for some of the hosts.
    let hosts: Vec<HostAt> = match (text("/hostname"), certificates.len()) {
        (Some(host), 1) if !host.is_empty() => {
            vec![HostAt { host: host.to_owned(), path: path.key("hostname") }]
        }
        _ => Vec::new(),
    };
    let validation = ["frontendValidation", "caCertificateRefs"];
    let authorities = secrets(listener, &tls, &validation, namespace);
    let certificates = certificates.into_iter().map(|it| Reference { hosts: hosts.clone(), ..it });
    let authorities =
        authorities.into_iter().map(|it| Reference { role: Role::ListenerClientCa, ..it });
    certificates.chain(authorities).collect()
}

/// The Secrets of a list of references under `tls`; other kinds are none of our business.
fn secrets(listener: &Value, tls: &FieldPath, keys: &[&str], namespace: &str) -> Vec<Reference> {
    let path = keys.iter().fold(tls.clone(), |path, key| path.key(key));
    let list = keys.iter().try_fold(listener.get("tls"), |value, key| Some(value?.get(key)));
    let list = list.flatten().and_then(Value::as_array).into_iter().flatten().enumerate();
    list.filter_map(|(at, reference)| {
        let text = |key: &str| reference.get(key).and_then(Value::as_str).unwrap_or_default();
        let is_secret = text("group").is_empty() && matches!(text("kind"), "" | "Secret");
        // Of CAs the default is not a Secret; the field is required there.
        let is_secret = is_secret && (keys.len() == 1 || text("kind") == "Secret");
        let path = path.index(at);
        let (of, path) = match text("namespace") {
            "" => (namespace, path.key("name")),
            other => (other, path.key("name")),
        };
        let weight = if of == namespace { Weight::Refuses } else { Weight::Warns };
        (is_secret && !text("name").is_empty()).then(|| Reference {
            path,
            namespace: of.to_owned(),
            secret: text("name").to_owned(),
            hosts: Vec::new(),
            role: Role::ListenerServer,
            weight,
        })
    })
    .collect()
}

/// Whether `grant`, a ReferenceGrant of the Secret's namespace, lets Gateways of `from` name
/// `secret`.
///
/// <https://gateway-api.sigs.k8s.io/api-types/referencegrant/>
pub fn permits(grant: &Object, from: &str, secret: &str) -> bool {
    let text = |value: &Value, key: &str| {
        value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    let is_from = grant.list("/spec/from").iter().any(|it| {
        text(it, "group") == GROUP && text(it, "kind") == "Gateway" && text(it, "namespace") == from
    });
    let is_to = grant.list("/spec/to").iter().any(|it| {
        let name = text(it, "name");
        let is_named = name.is_empty() || name == secret;
        text(it, "group").is_empty() && text(it, "kind") == "Secret" && is_named
    });
    is_from && is_to
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn gateway(version: &str, listener: &Value) -> Object {
        Object(json!({
            "apiVersion": format!("{GROUP}/{version}"), "kind": "Gateway",
            "spec": {"listeners": [listener]},
        }))
    }

    fn listener(tls: &Value) -> Value {
        json!({"name": "web", "protocol": "HTTPS", "hostname": "a.example.com", "tls": tls})
    }

    #[test]
    fn certificates_and_cas_are_references() {
        let tls = json!({
            "certificateRefs": [{"name": "web-tls"}],
            "frontendValidation": {"caCertificateRefs": [
                {"group": "", "kind": "ConfigMap", "name": "ca"},
                {"group": "", "kind": "Secret", "name": "ca", "namespace": "trust"},
            ]},
        });
        let found = of(&gateway("v1", &listener(&tls)), "edge");
        let [server, ca] = found.as_slice() else { panic!("{found:?}") };
        assert_eq!(server.path.to_string(), "spec.listeners[0].tls.certificateRefs[0].name");
        assert_eq!((server.role, server.weight), (Role::ListenerServer, Weight::Refuses));
        assert_eq!(server.hosts[0].host, "a.example.com");
        assert_eq!((ca.namespace.as_str(), ca.role), ("trust", Role::ListenerClientCa));
        assert_eq!(ca.weight, Weight::Warns);
    }

    #[test]
    fn what_is_not_ended_here_and_what_is_not_known_is_let_alone() {
        let one = json!({"certificateRefs": [{"name": "web-tls"}]});
        assert_eq!(of(&gateway("v2", &listener(&one)), "edge"), []);
        let passed = json!({"mode": "Passthrough", "certificateRefs": [{"name": "web-tls"}]});
        assert_eq!(of(&gateway("v1", &listener(&passed)), "edge"), []);
        let other = json!({"certificateRefs": [{"group": "x.example", "kind": "Y", "name": "z"}]});
        assert_eq!(of(&gateway("v1", &listener(&other)), "edge"), []);
        let odd = json!({"certificateRefs": "web-tls", "frontendValidation": []});
        assert_eq!(of(&gateway("v1", &listener(&odd)), "edge"), []);
    }

    #[test]
    fn a_grant_names_who_may_name_what() {
        let grant = |name: Option<&str>| {
            Object(json!({"spec": {
                "from": [{"group": GROUP, "kind": "Gateway", "namespace": "edge"}],
                "to": [{"group": "", "kind": "Secret", "name": name}],
            }}))
        };
        assert!(permits(&grant(None), "edge", "web-tls"));
        assert!(permits(&grant(Some("web-tls")), "edge", "web-tls"));
        assert!(!permits(&grant(Some("other")), "edge", "web-tls"));
        assert!(!permits(&grant(None), "shop", "web-tls"));
    }
}
