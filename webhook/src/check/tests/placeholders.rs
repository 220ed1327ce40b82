//! Text that something should have replaced: in every kind that names hosts and Secrets, and where Flux is
//! going to.

use super::*;

fn object(api_version: &str, kind: &str, spec: &Value) -> Value {
    json!({
        "apiVersion": api_version, "kind": kind,
        "metadata": {"name": "web", "namespace": "shop", "annotations": {}}, "spec": spec,
    })
}

/// An object of each kind, with the fields in which it has a placeholder.
fn objects() -> Vec<(Value, Vec<&'static str>)> {
    let istio = json!({"servers": [{
        "port": {"number": 443, "protocol": "HTTPS"}, "hosts": ["${HOST}"],
        "tls": {"mode": "SIMPLE", "credentialName": "${SECRET}"},
    }]});
    let gateway = json!({"listeners": [{
        "name": "web", "protocol": "HTTPS", "hostname": "{{ .host }}",
        "tls": {"certificateRefs": [{"name": "<your-secret>"}]},
    }]});
    let host = json!({"hostname": "$(HOST)", "tlsSecret": {"name": "${SECRET}"}});
    let rule = json!({"virtualhost": {"fqdn": "${HOST}", "tls": {"sslKeyCertificate": {
        "type": "secret", "name": "${SECRET}",
    }}}});
    let route = json!({"host": "${HOST}", "tls": {
        "termination": "edge", "externalCertificate": {"name": "${SECRET}"},
    }});
    let certificate =
        json!({"secretName": "${SECRET}", "commonName": "a.example", "dnsNames": ["${HOST}"]});
    vec![
        (
            object("networking.istio.io/v1", "Gateway", &istio),
            vec!["spec.servers[0].hosts[0]", "spec.servers[0].tls.credentialName"],
        ),
        (
            object("gateway.networking.k8s.io/v1", "Gateway", &gateway),
            vec!["spec.listeners[0].hostname", "spec.listeners[0].tls.certificateRefs[0].name"],
        ),
        (
            object("getambassador.io/v3alpha1", "Host", &host),
            vec!["spec.hostname", "spec.tlsSecret.name"],
        ),
        (
            object("ako.vmware.com/v1beta1", "HostRule", &rule),
            vec!["spec.virtualhost.fqdn", "spec.virtualhost.tls.sslKeyCertificate.name"],
        ),
        (
            object("route.openshift.io/v1", "Route", &route),
            vec!["spec.host", "spec.tls.externalCertificate.name"],
        ),
        (
            object("cert-manager.io/v1", "Certificate", &certificate),
            vec!["spec.dnsNames[0]", "spec.secretName"],
        ),
        (
            ingress(&json!([{"hosts": ["${HOST}"], "secretName": "${SECRET}"}])),
            vec!["spec.tls[0].hosts[0]", "spec.tls[0].secretName"],
        ),
    ]
}

fn of_placeholders(told: Vec<String>) -> Vec<String> {
    let mut told: Vec<String> = told.into_iter().filter(|line| line.contains(" LH210 ")).collect();
    told.sort();
    told
}

#[test]
fn every_kind_is_told_of_what_nothing_has_replaced() {
    for (object, paths) in objects() {
        let wanted: Vec<String> = paths.iter().map(|path| format!("error LH210 {path}")).collect();
        assert_eq!(of_placeholders(create(object.clone()).told()), wanted, "{object}");
    }
}

/// A Kustomization of Flux with this `postBuild`.
fn kustomization(post_build: &Value) -> Value {
    json!({
        "apiVersion": "kustomize.toolkit.fluxcd.io/v1", "kind": "Kustomization",
        "metadata": {"name": "apps", "namespace": "flux-system"}, "spec": {"postBuild": post_build},
    })
}

#[test]
fn what_flux_is_going_to_replace_is_only_warned_of() {
    let flux = kustomization(&json!({"substitute": {"HOST": "a.example"}}));
    let (istio, _) = objects().remove(0);
    let told = |object: &Value, beside: &Value| {
        of_placeholders(create(object.clone()).among([beside]).told())
    };
    let warned = |line: &String| line.starts_with("warning ");
    assert!(told(&istio, &flux).iter().all(warned), "{:?}", told(&istio, &flux));
    let judgement = create(istio.clone()).among([&flux]).judged();
    let finding = judgement.findings.iter().find(|it| it.code.0 == 210).unwrap();
    assert_eq!(
        finding.message,
        "`${HOST}` is not known before Kustomization flux-system/apps fills it in"
    );

    let idle = kustomization(&json!(null));
    assert!(!told(&istio, &idle).iter().any(warned), "it replaces nothing");
    let (helm, _) = objects().remove(1);
    assert!(!told(&helm, &flux).iter().any(warned), "it does not know braces of another kind");
    let kept = annotated(istio, "kustomize.toolkit.fluxcd.io/substitute", "disabled");
    assert!(!told(&kept, &flux).iter().any(warned), "it is to leave this one alone");
}

#[test]
fn so_is_a_secret_that_flux_is_going_to_fill() {
    let flux = kustomization(&json!({"substituteFrom": [{"kind": "Secret", "name": "vars"}]}));
    let web = ingress(&one_item());
    let values = json!({"tls.crt": "${CERT}", "tls.key": "${KEY}"});
    let secret = with(secret("web-tls", &["a.example"]), "", "stringData", values);
    let at =
        |word: &str| ["tls.crt", "tls.key"].map(|key| format!("{word} LH103 stringData[{key}]"));
    assert_eq!(create(secret.clone()).among([&web]).told(), at("error"));
    assert_eq!(create(secret).among([&web, &flux]).told(), at("warning"));
}
