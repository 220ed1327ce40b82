//! CAs in a `ConfigMap`: judged like those in Secrets, but that their absence never refuses.

use super::*;

fn config_map(data: &Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "ca", "namespace": "shop"}, "data": data,
    })
}

fn authority() -> String {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.self_signed(&key).unwrap().pem()
}

/// Each with the path at which it names the `ConfigMap` called `ca`.
fn readers() -> [(Value, &'static str); 3] {
    let object = |kind: &str, spec: &Value| {
        json!({
            "apiVersion": "gateway.networking.k8s.io/v1", "kind": kind,
            "metadata": {"name": "web", "namespace": "shop"}, "spec": spec,
        })
    };
    let named = json!({"caCertificateRefs": [{"group": "", "kind": "ConfigMap", "name": "ca"}]});
    let listener = json!({
        "name": "web", "protocol": "HTTPS",
        "tls": {"options": {"a": "b"}, "frontendValidation": named},
    });
    let frontend = json!({"tls": {"frontend": {"default": {"validation": named}}}});
    [
        (
            object("Gateway", &json!({"listeners": [listener]})),
            "spec.listeners[0].tls.frontendValidation.caCertificateRefs[0].name",
        ),
        (
            object("Gateway", &frontend),
            "spec.tls.frontend.default.validation.caCertificateRefs[0].name",
        ),
        (
            object("BackendTLSPolicy", &json!({"validation": named})),
            "spec.validation.caCertificateRefs[0].name",
        ),
    ]
}

#[test]
fn what_gateways_trust_is_read_under_the_one_key_that_they_know() {
    let (leaf, _key) = pair(&["a.example"]);
    for (reader, path) in readers() {
        let told = |data: &Value| create(reader.clone()).among([&config_map(data)]).told();
        assert_eq!(told(&json!({"ca.crt": authority()})), NOTHING, "{path}");
        assert_eq!(told(&json!({"ca.crt": "hello"})), [format!("error LH129 {path}")]);
        assert_eq!(told(&json!({"ca.crt": leaf})), [format!("warning LH129 {path}")]);
        assert_eq!(told(&json!({"ca-bundle.crt": authority()})), [format!("error LH101 {path}")]);
        // Something may put one into every namespace in a moment.
        assert_eq!(create(reader.clone()).told(), [format!("warning LH201 {path}")]);
    }
}

#[test]
fn the_words_and_the_cure_are_those_of_a_config_map() {
    let (reader, _path) = &readers()[0];
    let empty = config_map(&json!({"other": "x"}));
    let judgement = create(reader.clone()).among([&empty]).judged();
    let finding = &judgement.findings[0];
    assert_eq!(finding.message, "ConfigMap `ca`: `ca.crt` is missing, it holds `other`");
    assert!(finding.help.contains("kubectl create configmap ca -n shop --from-file=ca.crt=FILE"));
    assert!(finding.help.contains("kubectl patch configmap ca -n shop"), "{}", finding.help);
    let absent = &create(reader.clone()).judged().findings[0];
    assert_eq!(absent.message, "ConfigMap `ca` does not exist in namespace `shop`");
    assert!(absent.help.contains("kubectl create configmap ca -n shop"), "{}", absent.help);
}

#[test]
fn what_a_program_distributes_is_only_warned_of() {
    let (reader, path) = &readers()[0];
    let labelled = json!({"config.openshift.io/inject-trusted-cabundle": "true"});
    let empty = with(config_map(&json!({})), "/metadata", "labels", labelled);
    let told = create(reader.clone()).among([&empty]).told();
    assert_eq!(told, [format!("warning LH101 {path}")]);
}

#[test]
fn a_secret_of_the_same_name_is_something_else() {
    let (reader, _path) = &readers()[0];
    let right = config_map(&json!({"ca.crt": authority()}));
    let broken = with(secret("ca", &["a.example"]), "", "stringData", json!({"ca.crt": "x"}));
    assert_eq!(create(reader.clone()).among([&right, &broken]).told(), NOTHING);
    assert_eq!(create(broken).among([reader]).told().len(), 2, "nobody reads it");
}

#[test]
fn a_config_map_of_another_namespace_wants_a_grant_and_is_shown_to_who_may_read_it() {
    let (mut reader, path) = readers()[1].clone();
    let refs = "/spec/tls/frontend/default/validation/caCertificateRefs/0/namespace";
    reader.pointer_mut(refs.trim_end_matches("/namespace")).unwrap()["namespace"] = json!("trust");
    let broken =
        with(config_map(&json!({"ca.crt": "x"})), "/metadata", "namespace", json!("trust"));
    let grant = |kind: &str| {
        json!({
            "apiVersion": "gateway.networking.k8s.io/v1beta1", "kind": "ReferenceGrant",
            "metadata": {"name": "edge", "namespace": "trust"},
            "spec": {
                "from": [{"group": "gateway.networking.k8s.io", "kind": "Gateway", "namespace": "shop"}],
                "to": [{"group": "", "kind": kind}],
            },
        })
    };
    let asked = |kind: &str| create(reader.clone()).among([&broken, &grant(kind)]).by("jane");
    assert_eq!(asked("ConfigMap").told(), [format!("warning LH129 {path}")]);
    let both = [format!("warning LH129 {path}"), format!("warning LH242 {path}")];
    assert_eq!(asked("Secret").told(), both);
    let program = asked("ConfigMap").by("system:serviceaccount:argocd:argocd");
    let told = program.told();
    assert_eq!(told, [format!("warning LH901 {path}")], "a program learns nothing");
}

#[test]
fn the_sidecars_cas_may_be_in_one_as_well() {
    let home = namespace(&json!({"lasthop.dev/inject": "enabled"}));
    let web = secret("web-tls", &["a.example"]);
    let ca = json!({
        "lasthop.dev/client-ca-secret": "configmap/ca", "lasthop.dev/allowed-clients": "dns:alb.example",
    });
    let (leaf, _key) = pair(&["a.example"]);
    let at = "spec.template.metadata.annotations[lasthop.dev/client-ca-secret]";
    let told =
        |beside: &Value| create(workload("Deployment", &ca)).among([&home, &web, beside]).told();
    assert_eq!(told(&config_map(&json!({"ca.crt": authority()}))), NOTHING);
    assert_eq!(told(&config_map(&json!({"ca.crt": leaf}))), [format!("error LH129 {at}")]);
    assert_eq!(told(&home), [format!("warning LH201 {at}")]);
}
