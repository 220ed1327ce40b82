//! Virtual hosts of other controllers: Ambassador's Host, AKO's HostRule, OpenShift's Route.

use serde_json::Value;

use super::{Holder, HostAt, Reference, Role, Weight};
use crate::object::Object;
use crate::path::FieldPath;

/// The references of a virtual host.
pub(super) fn of(object: &Object, namespace: &str) -> Vec<Reference> {
    match (object.api_version(), object.kind()) {
        ("getambassador.io/v2" | "getambassador.io/v3alpha1", "Host") => host(object, namespace),
        ("ako.vmware.com/v1alpha1" | "ako.vmware.com/v1beta1", "HostRule") => {
            host_rule(object, namespace)
        }
        ("route.openshift.io/v1", "Route") => route(object, namespace),
        _ => Vec::new(),
    }
}

fn reference(path: FieldPath, namespace: &str, secret: &str) -> Option<Reference> {
    (!secret.is_empty()).then(|| Reference {
        path,
        namespace: namespace.to_owned(),
        holder: Holder::Secret,
        secret: secret.to_owned(),
        hosts: Vec::new(),
        role: Role::ControllerServer,
        weight: Weight::Refuses,
    })
}

/// A host at a field, where there is one that a certificate can cover.
fn host_at(object: &Object, path: FieldPath) -> Vec<HostAt> {
    let host = path.find(&object.0).and_then(Value::as_str).unwrap_or_default();
    if host.is_empty() || host == "*" {
        return Vec::new();
    }
    vec![HostAt { host: host.to_owned(), path }]
}

/// `spec.tlsSecret` and `spec.tls.ca_secret`.
///
/// <https://www.getambassador.io/docs/edge-stack/latest/topics/running/host-crd>
fn host(object: &Object, namespace: &str) -> Vec<Reference> {
    let spec = FieldPath::of(["spec"]);
    let own = object.text("/spec/tlsSecret/name");
    let (of, elsewhere) = match object.text("/spec/tlsSecret/namespace") {
        "" => (namespace, false),
        other => (other, other != namespace),
    };
    // Ambassador may take what follows a dot for a namespace.
    let weight = if elsewhere || own.contains('.') { Weight::Warns } else { Weight::Refuses };
    let hosts = host_at(object, spec.key("hostname"));
    let served = reference(spec.key("tlsSecret").key("name"), of, own);
    let served = served.map(|it| Reference { hosts, weight, ..it });
    let authority = object.text("/spec/tls/ca_secret");
    let trusted = reference(spec.key("tls").key("ca_secret"), namespace, authority);
    let trusted = trusted.filter(|it| !it.secret.contains('.'));
    let trusted = trusted.map(|it| Reference { role: Role::HostClientCa, ..it });
    served.into_iter().chain(trusted).collect()
}

/// `spec.virtualhost.tls.sslKeyCertificate`, where it is a Secret and not a name in the controller.
///
/// <https://github.com/vmware/load-balancer-and-ingress-services-for-kubernetes/blob/master/docs/crds/hostrule.md>
fn host_rule(object: &Object, namespace: &str) -> Vec<Reference> {
    let virtual_host = FieldPath::of(["spec", "virtualhost"]);
    let certificate = virtual_host.key("tls").key("sslKeyCertificate");
    let is_exact = matches!(object.text("/spec/virtualhost/fqdnType"), "" | "Exact");
    let aliases = object.list("/spec/virtualhost/aliases").len();
    let aliases = (0..aliases).map(|at| virtual_host.key("aliases").index(at));
    let all = [virtual_host.key("fqdn")].into_iter().chain(aliases);
    let hosts: Vec<HostAt> = all.flat_map(|path| host_at(object, path)).collect();
    let hosts = if is_exact { hosts } else { Vec::new() };
    let both = [certificate.key("alternateCertificate"), certificate];
    let mut references: Vec<Reference> = both
        .into_iter()
        .filter_map(|path| {
            let value = path.find(&object.0)?;
            let text = |key: &str| value.get(key).and_then(Value::as_str).unwrap_or_default();
            let found = reference(path.key("name"), namespace, text("name"))?;
            (text("type") == "secret").then(|| Reference { hosts: hosts.clone(), ..found })
        })
        .collect();
    references.reverse();
    references
}

/// `spec.tls.externalCertificate`.
///
/// <https://docs.redhat.com/en/documentation/openshift_container_platform/4.19/html/ingress_and_load_balancing/configuring-routes>
fn route(object: &Object, namespace: &str) -> Vec<Reference> {
    let spec = FieldPath::of(["spec"]);
    if object.text("/spec/tls/termination") == "passthrough" {
        return Vec::new();
    }
    let path = spec.key("tls").key("externalCertificate").key("name");
    let hosts = host_at(object, spec.key("host"));
    let found = reference(path, namespace, object.text("/spec/tls/externalCertificate/name"));
    found.map(|it| Reference { hosts, ..it }).into_iter().collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn found(version: &str, kind: &str, spec: &Value) -> Vec<(String, String, Role, Weight)> {
        let object = Object(json!({"apiVersion": version, "kind": kind, "spec": spec}));
        of(&object, "shop")
            .into_iter()
            .map(|it| {
                (it.path.to_string(), format!("{}/{}", it.namespace, it.secret), it.role, it.weight)
            })
            .collect()
    }

    #[test]
    fn a_host_serves_one_secret_and_trusts_another() {
        let spec = json!({
            "hostname": "a.example.com", "tlsSecret": {"name": "a-tls"}, "tls": {"ca_secret": "ca"},
        });
        let wanted = [
            (
                "spec.tlsSecret.name".to_owned(),
                "shop/a-tls".to_owned(),
                Role::ControllerServer,
                Weight::Refuses,
            ),
            (
                "spec.tls.ca_secret".to_owned(),
                "shop/ca".to_owned(),
                Role::HostClientCa,
                Weight::Refuses,
            ),
        ];
        assert_eq!(found("getambassador.io/v3alpha1", "Host", &spec), wanted);
        assert_eq!(found("getambassador.io/v9", "Host", &spec), []);
        let elsewhere = json!({"tlsSecret": {"name": "a-tls", "namespace": "certs"}});
        let [one] = &found("getambassador.io/v3alpha1", "Host", &elsewhere)[..] else { panic!() };
        assert_eq!((one.1.as_str(), one.3), ("certs/a-tls", Weight::Warns));
    }

    #[test]
    fn a_host_rule_may_mean_the_controllers_own() {
        let rule = |kind: &str| {
            json!({"virtualhost": {"fqdn": "a.example.com", "tls": {"sslKeyCertificate": {
                "name": "a-tls", "type": kind,
                "alternateCertificate": {"name": "a-tls-rsa", "type": "secret"},
            }}}})
        };
        let names = |spec: &Value| -> Vec<String> {
            found("ako.vmware.com/v1beta1", "HostRule", spec).into_iter().map(|it| it.1).collect()
        };
        assert_eq!(names(&rule("secret")), ["shop/a-tls", "shop/a-tls-rsa"]);
        assert_eq!(names(&rule("ref")), ["shop/a-tls-rsa"]);
        assert_eq!(names(&json!({"virtualhost": []})), [""; 0]);
        let mut with_aliases = rule("secret");
        with_aliases["virtualhost"]["aliases"] = json!(["b.example.com", 7]);
        let object = Object(json!({
            "apiVersion": "ako.vmware.com/v1beta1", "kind": "HostRule", "spec": with_aliases,
        }));
        let hosts: Vec<_> =
            of(&object, "shop")[0].hosts.iter().map(|at| at.path.to_string()).collect();
        assert_eq!(hosts, ["spec.virtualhost.fqdn", "spec.virtualhost.aliases[0]"]);
    }

    #[test]
    fn a_route_may_name_its_certificate() {
        let spec = |termination: &str| {
            json!({"host": "a.example.com", "tls": {
                "termination": termination, "externalCertificate": {"name": "a-tls"},
            }})
        };
        assert_eq!(found("route.openshift.io/v1", "Route", &spec("edge")).len(), 1);
        assert_eq!(found("route.openshift.io/v1", "Route", &spec("passthrough")), []);
    }
}
