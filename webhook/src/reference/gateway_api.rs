//! Gateway API: a Gateway's `spec.listeners[].tls` and `spec.tls`, and the CAs of a `BackendTLSPolicy`.
//!
//! <https://gateway-api.sigs.k8s.io/reference/spec/#listenertlsconfig>,
//! <https://gateway-api.sigs.k8s.io/reference/spec/#backendtlspolicyvalidation>

use serde_json::Value;

use super::{Holder, HostAt, Reference, Role, Weight};
use crate::object::Object;
use crate::path::{FieldPath, Step};

/// The group of Gateway API.
pub const GROUP: &str = "gateway.networking.k8s.io";

/// Whether `object` is a Gateway of Gateway API in a version that is known here.
pub fn is_gateway(object: &Object) -> bool {
    object.is(GROUP, "Gateway")
        && matches!(object.api_version().split_once('/'), Some((_, "v1" | "v1beta1")))
}

/// Whether `object` is a `BackendTLSPolicy` in a version that is known here.
pub fn is_backend_policy(object: &Object) -> bool {
    object.is(GROUP, "BackendTLSPolicy")
        && matches!(object.api_version().split_once('/'), Some((_, "v1" | "v1alpha3")))
}

/// The references of a Gateway or a `BackendTLSPolicy`.
pub(super) fn of(object: &Object, namespace: &str) -> Vec<Reference> {
    if is_backend_policy(object) {
        return of_backend_policy(object, namespace);
    }
    if !is_gateway(object) {
        return Vec::new();
    }
    let listeners = object.list("/spec/listeners").iter().enumerate();
    let of_listeners = listeners.flat_map(|(at, listener)| {
        let path = FieldPath::of(["spec", "listeners"]).index(at);
        of_listener(listener, &path, namespace)
    });
    of_listeners.chain(of_whole(object, namespace)).collect()
}

/// The CAs with which Gateways verify a Service, in the namespace of the policy.
fn of_backend_policy(object: &Object, namespace: &str) -> Vec<Reference> {
    let path = FieldPath::of(["spec", "validation", "caCertificateRefs"]);
    let all = object.list("/spec/validation/caCertificateRefs").iter().enumerate();
    all.filter_map(|(at, it)| named(it, &path.index(at), Role::GatewayBackendCa, namespace))
        .collect()
}

/// What holds for all listeners: the CAs of clients, and what is presented to Services.
///
/// <https://gateway-api.sigs.k8s.io/reference/spec/#gatewaytlsconfig>
fn of_whole(object: &Object, namespace: &str) -> Vec<Reference> {
    let tls = FieldPath::of(["spec", "tls"]);
    let frontend = tls.key("frontend");
    let ports = object.list("/spec/tls/frontend/perPort").len();
    let per_port = (0..ports).map(|at| frontend.key("perPort").index(at).key("tls"));
    let validations = [frontend.key("default")].into_iter().chain(per_port);
    let authorities = validations.flat_map(|path| {
        let path = path.key("validation").key("caCertificateRefs");
        let count = path.find(&object.0).and_then(Value::as_array).map_or(0, Vec::len);
        (0..count).map(|at| (path.index(at), Role::ListenerClientCa)).collect::<Vec<_>>()
    });
    let presented = (tls.key("backend").key("clientCertificateRef"), Role::GatewayBackendClient);
    let all = authorities.chain([presented]);
    all.filter_map(|(path, role)| named(path.find(&object.0)?, &path, role, namespace)).collect()
}

/// The listeners that end TLS and name no certificate for it, unless the controller may take it from
/// elsewhere: out of `options`, of an annotation of Google's, of parameters, or from AWS.
pub fn without_certificate(object: &Object) -> Vec<FieldPath> {
    let class = object.text("/spec/gatewayClassName").to_ascii_lowercase();
    let is_of_cloud = ["gke", "aws", "amazon", "azure"].iter().any(|it| class.starts_with(it));
    let has_parameters = object.0.pointer("/spec/infrastructure/parametersRef").is_some();
    if !is_gateway(object)
        || is_of_cloud
        || has_parameters
        || object.annotation("networking.gke.io/certmap").is_some()
    {
        return Vec::new();
    }
    let names_none = |listener: &Value| {
        let text = |pointer: &str| listener.pointer(pointer).and_then(Value::as_str);
        let is_empty = |pointer: &str| {
            listener.pointer(pointer).is_none_or(|it| match it {
                Value::Array(list) => list.is_empty(),
                Value::Object(members) => members.is_empty(),
                other => other.is_null(),
            })
        };
        let ends = match text("/protocol") {
            Some("HTTPS") => matches!(text("/tls/mode"), None | Some("" | "Terminate")),
            // Without a mode it may be there for TLSRoutes that a controller passes through.
            Some("TLS") => text("/tls/mode") == Some("Terminate"),
            _ => false,
        };
        ends && is_empty("/tls/certificateRefs") && is_empty("/tls/options")
    };
    let listeners = object.list("/spec/listeners").iter().enumerate();
    let wrong = listeners.filter(|(_, listener)| names_none(listener));
    wrong.map(|(at, _)| FieldPath::of(["spec", "listeners"]).index(at)).collect()
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
    let certificates = all(listener, &tls, &["certificateRefs"], (Role::ListenerServer, namespace));
    // Of several certificates each is for some of the hosts.
    let hosts: Vec<HostAt> = match (text("/hostname"), certificates.len()) {
        (Some(host), 1) if !host.is_empty() => {
            vec![HostAt { host: host.to_owned(), path: path.key("hostname") }]
        }
        _ => Vec::new(),
    };
    let validation = ["frontendValidation", "caCertificateRefs"];
    let authorities = all(listener, &tls, &validation, (Role::ListenerClientCa, namespace));
    let certificates = certificates.into_iter().map(|it| Reference { hosts: hosts.clone(), ..it });
    certificates.chain(authorities).collect()
}

/// Whether cert-manager, asked by an annotation of the Gateway `object`, makes the Secret of `reference`: it
/// skips listeners without a hostname, and Secrets of other namespaces.
/// <https://cert-manager.io/docs/usage/gateway/>
pub(super) fn is_of_cert_manager(object: &Object, reference: &Reference) -> bool {
    let Some(Step::Index(at)) = reference.path.steps().get(2) else { return false };
    let hostname = FieldPath::of(["spec", "listeners"]).index(*at).key("hostname");
    let hostname = hostname.find(&object.0).and_then(Value::as_str).unwrap_or_default();
    // It is in the Gateway's own namespace that a missing Secret refuses.
    !hostname.is_empty() && reference.weight == Weight::Refuses
}

/// What a list of references under `tls` names; other kinds are none of our business.
fn all(
    listener: &Value,
    tls: &FieldPath,
    keys: &[&str],
    (role, namespace): (Role, &str),
) -> Vec<Reference> {
    let path = keys.iter().fold(tls.clone(), |path, key| path.key(key));
    let list = keys.iter().try_fold(listener.get("tls"), |value, key| Some(value?.get(key)));
    let list = list.flatten().and_then(Value::as_array).into_iter().flatten().enumerate();
    list.filter_map(|(at, reference)| named(reference, &path.index(at), role, namespace)).collect()
}

/// What one reference names. A certificate is in a Secret, where no kind is written; CAs have to say
/// in what they are, and that may be a `ConfigMap`.
fn named(value: &Value, path: &FieldPath, role: Role, namespace: &str) -> Option<Reference> {
    let text = |key: &str| value.get(key).and_then(Value::as_str).unwrap_or_default();
    let is_authority = matches!(role, Role::ListenerClientCa | Role::GatewayBackendCa);
    let holder = match text("kind") {
        "Secret" => Holder::Secret,
        "" if !is_authority => Holder::Secret,
        "ConfigMap" if is_authority => Holder::ConfigMap,
        _ => return None,
    };
    let of = match text("namespace") {
        // A policy names what is beside it.
        other if !other.is_empty() && role != Role::GatewayBackendCa => other,
        _ => namespace,
    };
    let weight = if of == namespace { Weight::Refuses } else { Weight::Warns };
    (text("group").is_empty() && !text("name").is_empty()).then(|| Reference {
        path: path.key("name"),
        namespace: of.to_owned(),
        holder,
        secret: text("name").to_owned(),
        hosts: Vec::new(),
        role,
        weight,
    })
}

/// Whether `grant`, a ReferenceGrant of the namespace that `reference` leads to, lets Gateways of `from`
/// name it.
///
/// <https://gateway-api.sigs.k8s.io/api-types/referencegrant/>
pub fn permits(grant: &Object, from: &str, reference: &Reference) -> bool {
    let text = |value: &Value, key: &str| {
        value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    let is_from = grant.list("/spec/from").iter().any(|it| {
        text(it, "group") == GROUP && text(it, "kind") == "Gateway" && text(it, "namespace") == from
    });
    let is_to = grant.list("/spec/to").iter().any(|it| {
        let name = text(it, "name");
        let is_named = name.is_empty() || name == reference.secret;
        let kind = reference.holder.kind();
        text(it, "group").is_empty() && text(it, "kind") == kind && is_named
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
        let [server, ours, ca] = found.as_slice() else { panic!("{found:?}") };
        assert_eq!(server.path.to_string(), "spec.listeners[0].tls.certificateRefs[0].name");
        assert_eq!((server.role, server.weight), (Role::ListenerServer, Weight::Refuses));
        assert_eq!(server.hosts[0].host, "a.example.com");
        assert_eq!((ours.holder, ours.namespace.as_str()), (Holder::ConfigMap, "edge"));
        assert_eq!((ours.role, ours.weight), (Role::ListenerClientCa, Weight::Refuses));
        assert_eq!((ca.holder, ca.namespace.as_str()), (Holder::Secret, "trust"));
        assert_eq!(ca.role, Role::ListenerClientCa);
        assert_eq!(ca.weight, Weight::Warns);
    }

    #[test]
    fn a_policy_names_the_cas_of_a_service() {
        let policy = |version: &str| {
            Object(json!({
                "apiVersion": format!("{GROUP}/{version}"), "kind": "BackendTLSPolicy",
                "spec": {"validation": {"hostname": "a.example.com", "caCertificateRefs": [
                    {"group": "", "kind": "ConfigMap", "name": "ca"},
                    {"group": "", "kind": "Secret", "name": "ca"},
                    {"group": "x.example", "kind": "Secret", "name": "ca"},
                ]}},
            }))
        };
        let found = of(&policy("v1"), "shop");
        let holders: Vec<Holder> = found.iter().map(|it| it.holder).collect();
        assert_eq!(holders, [Holder::ConfigMap, Holder::Secret]);
        let path = "spec.validation.caCertificateRefs[0].name";
        assert_eq!(
            (found[0].path.to_string().as_str(), found[0].role),
            (path, Role::GatewayBackendCa)
        );
        assert_eq!(of(&policy("v1alpha2"), "shop"), []);
    }

    #[test]
    fn cert_manager_makes_nothing_without_a_hostname_nor_elsewhere() {
        let makes = |certificate: &Value, hostname: Value| {
            let mut object = gateway("v1", &listener(&json!({"certificateRefs": [certificate]})));
            object.0["metadata"]["annotations"] = json!({"cert-manager.io/issuer": "le"});
            object.0["spec"]["listeners"][0]["hostname"] = hostname;
            is_of_cert_manager(&object, &of(&object, "edge")[0])
        };
        let (own, other) = (json!({"name": "a"}), json!({"name": "a", "namespace": "other"}));
        assert!(makes(&own, json!("a.example.com")));
        assert!(!makes(&own, json!(null)));
        assert!(!makes(&own, json!("")));
        assert!(!makes(&other, json!("a.example.com")));
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
    fn a_gateway_names_secrets_for_all_its_listeners() {
        let object = Object(json!({
            "apiVersion": format!("{GROUP}/v1"), "kind": "Gateway",
            "spec": {"tls": {
                "backend": {"clientCertificateRef": {"name": "presented"}},
                "frontend": {
                    "default": {"validation": {"caCertificateRefs": [
                        {"group": "", "kind": "Secret", "name": "clients"},
                        {"group": "", "kind": "ConfigMap", "name": "others"},
                    ]}},
                    "perPort": [{"port": 8443, "tls": {"validation": {"caCertificateRefs": [
                        {"group": "", "kind": "Secret", "name": "partners", "namespace": "trust"},
                    ]}}}],
                },
            }},
        }));
        let found: Vec<_> = of(&object, "edge")
            .into_iter()
            .map(|it| (it.path.to_string(), it.secret, it.role))
            .collect();
        let wanted = |path: &str, secret: &str, role| {
            (format!("spec.tls.{path}.name"), secret.to_owned(), role)
        };
        assert_eq!(
            found,
            [
                wanted(
                    "frontend.default.validation.caCertificateRefs[0]",
                    "clients",
                    Role::ListenerClientCa
                ),
                wanted(
                    "frontend.default.validation.caCertificateRefs[1]",
                    "others",
                    Role::ListenerClientCa
                ),
                wanted(
                    "frontend.perPort[0].tls.validation.caCertificateRefs[0]",
                    "partners",
                    Role::ListenerClientCa
                ),
                wanted("backend.clientCertificateRef", "presented", Role::GatewayBackendClient),
            ]
        );
    }

    #[test]
    fn a_listener_without_certificate_is_told_only_where_nothing_else_can_bring_one() {
        let told = |class: &str, listener: &Value| {
            let mut object = gateway("v1", listener);
            object.0["spec"]["gatewayClassName"] = json!(class);
            !without_certificate(&object).is_empty()
        };
        assert!(told("envoy", &json!({"protocol": "HTTPS"})));
        assert!(told("envoy", &listener(&json!({"certificateRefs": []}))));
        assert!(told("envoy", &json!({"protocol": "TLS", "tls": {"mode": "Terminate"}})));
        assert!(!told("envoy", &json!({"protocol": "TLS"})));
        assert!(!told("envoy", &listener(&json!({"mode": "Passthrough"}))));
        assert!(!told("envoy", &listener(&json!({"options": {"example.com/cert": "web"}}))));
        assert!(!told("envoy", &listener(&json!({"certificateRefs": [{"name": "web-tls"}]}))));
        assert!(!told("gke-l7-global-external-managed", &json!({"protocol": "HTTPS"})));
        assert!(!told("envoy", &json!({"protocol": "HTTP"})));
    }

    #[test]
    fn a_grant_names_who_may_name_what() {
        let grant = |name: Option<&str>| {
            Object(json!({"spec": {
                "from": [{"group": GROUP, "kind": "Gateway", "namespace": "edge"}],
                "to": [{"group": "", "kind": "Secret", "name": name}],
            }}))
        };
        let tls = json!({"certificateRefs": [{"name": "web-tls", "namespace": "shop"}]});
        let named = of(&gateway("v1", &listener(&tls)), "edge").remove(0);
        assert!(permits(&grant(None), "edge", &named));
        assert!(permits(&grant(Some("web-tls")), "edge", &named));
        assert!(!permits(&grant(Some("other")), "edge", &named));
        assert!(!permits(&grant(None), "shop", &named));
        let in_config_map = Reference { holder: Holder::ConfigMap, ..named };
        assert!(!permits(&grant(None), "edge", &in_config_map));
    }
}
