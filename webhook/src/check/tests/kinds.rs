//! Gateways, Hosts and annotations: where their Secrets are looked for, and who may know of it.

use super::*;

fn object(api_version: &str, kind: &str, spec: &Value) -> Value {
    json!({
        "apiVersion": api_version, "kind": kind,
        "metadata": {"name": "web", "namespace": "shop"}, "spec": spec,
    })
}

fn gateway(version: &str, mode: &str) -> Value {
    let version = format!("networking.istio.io/{version}");
    object(
        &version,
        "Gateway",
        &json!({"selector": {"istio": "edge"}, "servers": [{
            "port": {"number": 443, "protocol": "HTTPS"},
            "tls": {"mode": mode, "credentialName": "web-tls"},
            "hosts": ["a.example"],
        }]}),
    )
}

fn pod(namespace: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "edge", "namespace": namespace, "labels": {"istio": "edge"}},
    })
}

fn elsewhere(secret: Value) -> Value {
    with(secret, "/metadata", "namespace", json!("edge"))
}

fn with_client_secret(name: &str) -> Value {
    let annotation = "nginx.ingress.kubernetes.io/proxy-ssl-secret";
    let web = annotated(ingress(&json!([])), annotation, name);
    annotated(web, "nginx.ingress.kubernetes.io/backend-protocol", "HTTPS")
}

#[test]
fn an_istio_gateway_looks_where_its_pods_are() {
    let here = secret("web-tls", &["a.example"]);
    let there = elsewhere(here.clone());
    let at = "spec.servers[0].tls.credentialName";
    let missing = [format!("error LH201 {at}")];
    assert_eq!(create(gateway("v1", "SIMPLE")).among([&pod("edge"), &here]).told(), missing);
    assert_eq!(create(gateway("v1", "SIMPLE")).among([&pod("edge"), &there]).told(), NOTHING);
    let wrong = elsewhere(secret("web-tls", &["b.example"]));
    let told = create(gateway("v1beta1", "SIMPLE")).among([&pod("edge"), &wrong]).told();
    assert_eq!(told, ["error LH204 spec.servers[0].hosts[0]"]);
    // Nobody knows where they are; and of a version of tomorrow nothing is read.
    let nowhere = create(gateway("v1", "SIMPLE")).among([&there]).told();
    assert_eq!(nowhere, [format!("warning LH901 {at}")]);
    assert_eq!(create(gateway("v2", "SIMPLE")).among([&pod("edge")]).told(), NOTHING);
    let mutual = create(gateway("v1", "MUTUAL")).among([&pod("edge"), &there]).told();
    assert_eq!(mutual, [format!("error LH240 {at}")]);
}

#[test]
fn a_gateway_has_no_veto_over_the_secrets_of_another_namespace() {
    let old = elsewhere(secret("web-tls", &["a.example"]));
    let new = elsewhere(secret("web-tls", &["b.example"]));
    let mut asked = update(old, new).among([&pod("edge"), &gateway("v1", "SIMPLE")]);
    asked.subject.namespace = "edge".to_owned();
    let judgement = asked.judged();
    assert!(!judgement.refuses());
    assert_eq!(judgement.findings[0].code.to_string(), "LH204");
    assert!(judgement.findings[0].message.contains("Gateway shop/web"));
}

#[test]
fn a_host_is_a_reader_like_an_ingress() {
    let spec = json!({"hostname": "a.example", "tlsSecret": {"name": "web-tls"}});
    let host = object("getambassador.io/v3alpha1", "Host", &spec);
    let good = secret("web-tls", &["a.example"]);
    assert_eq!(create(host.clone()).told(), ["error LH201 spec.tlsSecret.name"]);
    assert_eq!(create(host.clone()).among([&good]).told(), NOTHING);
    let bad = secret("web-tls", &["b.example"]);
    let told = update(good, bad).among([&host]).told();
    assert_eq!(told, ["error LH204 stringData[tls.crt]"]);
}

#[test]
fn of_another_namespace_a_program_learns_nothing_and_a_person_is_only_warned() {
    let there = elsewhere(secret("client", &["client"]));
    let told = |name: &str, who: &str| {
        let asked = create(with_client_secret(name)).among([&there]).by(who);
        let findings = asked.judged().findings.into_iter();
        findings
            .map(|it| (it.severity, format!("{} {}: {}", it.code, it.path, it.message)))
            .collect::<Vec<_>>()
    };
    let program = "system:serviceaccount:flux-system:kustomize-controller";
    let of_program =
        |name: &str| format!("{:?}", told(&format!("edge/{name}"), program)).replace(name, "NAME");
    assert_eq!(of_program("client"), of_program("nobody"));
    let person = told("edge/nobody", "jane");
    assert!(person.iter().all(|(severity, _)| *severity == Severity::Warning), "{person:?}");
    assert!(person.iter().any(|(_, line)| line.contains("LH201")), "{person:?}");
    assert!(told("edge/client", "jane").iter().all(|(_, line)| line.contains("LH230")));
}

#[test]
fn an_annotation_of_a_class_that_does_not_read_it_is_nothing() {
    let of_class = |class: &str| {
        with(with_client_secret("shop/nobody"), "/spec", "ingressClassName", json!(class))
    };
    let at = "metadata.annotations[nginx.ingress.kubernetes.io/proxy-ssl-secret]";
    assert_eq!(create(of_class("nginx")).told(), [format!("error LH201 {at}")]);
    for class in ["traefik", "alb", "haproxy"] {
        assert_eq!(create(of_class(class)).told(), NOTHING, "{class}");
    }
}

#[test]
fn a_certificate_asks_for_what_is_served_with_it() {
    let certificate = |names: &Value| {
        object(
            "cert-manager.io/v1",
            "Certificate",
            &json!({"secretName": "web-tls", "dnsNames": names}),
        )
    };
    let reader = ingress(&one_item());
    let told = create(certificate(&json!(["b.example"]))).among([&reader]).told();
    assert_eq!(told, ["warning LH243 spec.dnsNames"]);
    assert_eq!(create(certificate(&json!(["a.example"]))).among([&reader]).told(), NOTHING);
    assert_eq!(create(certificate(&json!(["*.example"]))).among([&reader]).told(), NOTHING);
}

/// A CA below `issuer`, or one that issued itself.
fn authority(
    name: &str,
    issuer: Option<&Issuer<'_, KeyPair>>,
) -> (String, Issuer<'static, KeyPair>) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, name);
    let pem = match issuer {
        Some(issuer) => params.signed_by(&key, issuer).unwrap().pem(),
        None => params.self_signed(&key).unwrap().pem(),
    };
    (pem, Issuer::new(params, key))
}

#[test]
fn clients_of_the_lowest_ca_are_to_be_within_the_depth() {
    let (root, of_root) = authority("root", None);
    let (middle, of_middle) = authority("middle", Some(&of_root));
    let (low, _) = authority("low", Some(&of_middle));
    let told = |class: &str, bundle: String, depth: Option<&str>| {
        let mut web = annotated(
            ingress(&json!([])),
            "nginx.ingress.kubernetes.io/auth-tls-secret",
            "shop/clients",
        );
        web["spec"]["ingressClassName"] = json!(class);
        let name = "nginx.ingress.kubernetes.io/auth-tls-verify-depth";
        let web = match depth {
            Some(depth) => annotated(web, name, depth),
            None => web,
        };
        let clients = json!({
            "apiVersion": "v1", "kind": "Secret",
            "metadata": {"name": "clients", "namespace": "shop"}, "stringData": {"ca.crt": bundle},
        });
        create(web).among([&clients]).told()
    };
    let all = || format!("{root}{middle}{low}");
    let at = |name: &str| {
        format!("warning LH223 metadata.annotations[nginx.ingress.kubernetes.io/{name}]")
    };
    assert_eq!(told("nginx", all(), None), [at("auth-tls-secret")]);
    assert_eq!(told("nginx", all(), Some("1")), [at("auth-tls-verify-depth")]);
    assert_eq!(told("nginx", all(), Some("2")), NOTHING);
    assert_eq!(told("nginx", format!("{root}{middle}"), None), NOTHING);
    assert_eq!(told("public-iks-traefik", all(), None), NOTHING, "Traefik knows no bound");
}

#[test]
fn a_rule_is_for_a_name_and_no_address() {
    let mut web = ingress(&json!([]));
    web["spec"] = json!({"rules": [{"host": "10.0.0.1"}, {"host": "a.example"}]});
    let judgement = create(web.clone()).judged();
    let told: Vec<String> = judgement.findings.iter().map(|it| it.path.to_string()).collect();
    assert_eq!(told, ["spec.rules[0].host"]);
    assert!(judgement.findings[0].help.starts_with("leave `host` out"), "{judgement:?}");
    web["spec"]["rules"][0]["host"] = json!("B\u{fc}cher.example");
    let judgement = create(web).judged();
    assert!(judgement.findings[0].help.contains("`xn--bcher-kva.example`"), "{judgement:?}");
}

#[test]
fn a_key_that_envoy_does_not_load_is_told_where_envoy_is_the_controller() {
    let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
    let chain = CertificateParams::new(vec!["a.example".to_owned()]).unwrap();
    let chain = chain.self_signed(&key).unwrap().pem();
    let values = json!({"tls.crt": chain, "tls.key": key.serialize_pem()});
    let web = with(secret("web-tls", &["a.example"]), "", "stringData", values);
    let told = |reader: Value| {
        let told = create(reader).among([&web]).told();
        told.into_iter().any(|line| line.starts_with("info LH245 "))
    };
    let of_class =
        |class: &str| with(ingress(&one_item()), "/spec", "ingressClassName", json!(class));
    let gateway = |class: &str| {
        let listener = json!({
            "name": "web", "protocol": "HTTPS", "hostname": "a.example",
            "tls": {"certificateRefs": [{"name": "web-tls"}]},
        });
        let spec = json!({"gatewayClassName": class, "listeners": [listener]});
        object("gateway.networking.k8s.io/v1", "Gateway", &spec)
    };
    let host = json!({"hostname": "a.example", "tlsSecret": {"name": "web-tls"}});
    assert!(told(of_class("cilium")) && told(of_class("contour-internal")));
    assert!(told(gateway("eg")) && told(gateway("istio")));
    assert!(told(object("getambassador.io/v3alpha1", "Host", &host)));
    assert!(!told(of_class("nginx")) && !told(of_class("")) && !told(gateway("example")));
}

#[test]
fn a_key_that_google_does_not_serve_is_told_where_google_is_the_controller() {
    let told = |class: &str, algorithm| {
        let key = KeyPair::generate_for(algorithm).unwrap();
        let chain = CertificateParams::new(vec!["a.example".to_owned()]).unwrap();
        let chain = chain.self_signed(&key).unwrap().pem();
        let values = json!({"tls.crt": chain, "tls.key": key.serialize_pem()});
        let web = with(secret("web-tls", &["a.example"]), "", "stringData", values);
        let reader = with(ingress(&one_item()), "/spec", "ingressClassName", json!(class));
        let told = create(reader).among([&web]).told();
        told.into_iter().any(|line| line.starts_with("warning LH245 "))
    };
    assert!(told("gce", &rcgen::PKCS_ECDSA_P384_SHA384));
    assert!(!told("gce", &rcgen::PKCS_ECDSA_P256_SHA256));
    // The regional ones take more.
    assert!(!told("gce-internal", &rcgen::PKCS_ECDSA_P384_SHA384));
}
