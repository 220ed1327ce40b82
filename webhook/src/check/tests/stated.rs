//! Hops that other objects than Ingresses state: told among files, at the field that decides.

use super::hops::{Ca, Tiers, of_secret};
use super::*;
use crate::finding::Finding;

const HOST: &str = "orders.shop.svc";

fn object(kind: (&str, &str), name: &str, spec: &Value) -> Value {
    let (api_version, kind) = kind;
    json!({
        "apiVersion": api_version, "kind": kind,
        "metadata": {"name": name, "namespace": "shop"}, "spec": spec,
    })
}

/// `object` beside the workloads, as `lasthop check` sees it: what is told of its hops.
fn told(tiers: &Tiers, object: &Value, beside: &[&Value]) -> Vec<Finding> {
    let around = [&tiers.orders, &tiers.service, &tiers.client, &tiers.server];
    let named = |it: &Value| Object(it.clone()).reference("shop");
    let mut asked = create(object.clone());
    asked.mode.setting = Setting::Files;
    let others = around.into_iter().filter(|it| named(it) != named(object));
    // Among files an object stands beside itself.
    asked.around.extend(others.chain(beside.iter().copied()).chain([object]).cloned());
    let judgement = asked.among([&labelled()]).judged();
    judgement.findings.into_iter().filter(|it| (601..=606).contains(&it.code.0)).collect()
}

fn labelled() -> Value {
    namespace(&json!({"lasthop.dev/inject": "enabled"}))
}

fn lines(findings: &[Finding]) -> Vec<String> {
    let line = |it: &Finding| format!("{:?} {} {}", it.severity, it.code, it.path).to_lowercase();
    findings.iter().map(line).collect()
}

fn rule(tls: &Value) -> Value {
    let spec = json!({"host": HOST, "trafficPolicy": {"tls": tls}});
    object(("networking.istio.io/v1", "DestinationRule"), "orders", &spec)
}

#[test]
fn a_destination_rule_is_rehearsed_with_the_sidecar_behind_its_host() {
    let tiers = Tiers::new();
    let tls = |more: Value| {
        let mut tls = json!({"mode": "MUTUAL", "credentialName": "web-client"});
        tls.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        tls
    };
    let told = |tls: &Value, beside: &[&Value]| lines(&told(&tiers, &rule(tls), beside));
    assert_eq!(told(&tls(json!({})), &[]), NOTHING);
    // One of several names is enough.
    let names = json!({"sni": HOST, "subjectAltNames": ["spiffe://shop/orders", HOST]});
    assert_eq!(told(&tls(names), &[]), NOTHING);
    let at = "spec.trafficpolicy.tls";
    let wrong = json!({"subjectAltNames": ["cart.shop.svc", "spiffe://shop/orders"]});
    assert_eq!(told(&tls(wrong), &[]), [format!("warning lh602 {at}.subjectaltnames")]);
    let skips = json!({"subjectAltNames": ["cart.shop.svc"], "insecureSkipVerify": true});
    assert_eq!(told(&tls(skips), &[]), NOTHING);
    let simple = json!({"mode": "SIMPLE"});
    assert_eq!(told(&simple, &[]), [format!("warning lh601 {at}.mode")]);
    assert_eq!(told(&json!({"mode": "ISTIO_MUTUAL"}), &[]), NOTHING);
    let stranger = Ca::new("another").secret("web-client", "web.shop");
    let other = told(
        &tls(json!({"credentialName": "stranger"})),
        &[&with(stranger, "/metadata", "name", json!("stranger"))],
    );
    assert_eq!(other, [format!("warning lh602 {at}.credentialname")]);
}

#[test]
fn the_secret_of_a_destination_rule_is_the_gateways() {
    let tiers = Tiers::new();
    let tls =
        json!({"mode": "MUTUAL", "credentialName": "web-client", "subjectAltNames": ["no.shop"]});
    let gateway = object(
        ("networking.istio.io/v1", "Gateway"),
        "edge",
        &json!({"selector": {"istio": "edge"}, "servers": []}),
    );
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "edge", "namespace": "istio-system", "labels": {"istio": "edge"}},
    });
    assert_eq!(told(&tiers, &rule(&tls), &[&gateway, &pod]), []);
    let theirs = with(tiers.client.clone(), "/metadata", "namespace", json!("istio-system"));
    assert_eq!(told(&tiers, &rule(&tls), &[&gateway, &pod, &theirs]).len(), 1);
}

#[test]
fn a_port_of_a_destination_rule_has_its_own_settings() {
    let tiers = Tiers::new();
    let of_port = |number: u16, settings: &Value| {
        let spec = json!({"host": "orders", "trafficPolicy": {
            "tls": {"mode": "SIMPLE"},
            "portLevelSettings": [{"port": {"number": number}, "tls": settings}],
        }});
        let rule = object(("networking.istio.io/v1", "DestinationRule"), "orders", &spec);
        lines(&told(&tiers, &rule, &[]))
    };
    let good = json!({"mode": "MUTUAL", "credentialName": "web-client"});
    assert_eq!(of_port(443, &good), NOTHING);
    assert_eq!(of_port(443, &Value::Null), NOTHING);
    let at = "spec.trafficpolicy.tls.mode";
    assert_eq!(of_port(9000, &good), [format!("warning lh601 {at}")]);
    let own = "spec.trafficpolicy.portlevelsettings[0].tls.mode";
    assert_eq!(of_port(443, &json!({"mode": "SIMPLE"})), [format!("warning lh601 {own}")]);
}

#[test]
fn a_mapping_is_rehearsed_with_its_context() {
    let tiers = Tiers::new();
    let mapping = |service: &str, tls: Value| {
        let spec = json!({"hostname": "*", "prefix": "/", "service": service, "tls": tls});
        object(("getambassador.io/v3alpha1", "Mapping"), "orders", &spec)
    };
    let context = |spec: &Value| object(("getambassador.io/v3alpha1", "TLSContext"), "up", spec);
    let service = "https://orders.shop:443";
    let with_context =
        |spec: &Value| told(&tiers, &mapping(service, json!("up")), &[&context(spec)]);
    assert_eq!(with_context(&json!({"secret": "web-client"})), []);
    // Ambassador looks for the CA under another key.
    let authority = of_secret("shop-ca", &json!({"tls.crt": tiers.ca.pem}));
    let other = of_secret("shop-ca", &json!({"tls.crt": Ca::new("another").pem}));
    let spec = json!({"secret": "web-client", "ca_secret": "shop-ca"});
    let with_ca = |ca: &Value| told(&tiers, &mapping(service, json!("up")), &[&context(&spec), ca]);
    assert_eq!(with_ca(&authority), []);
    let found = with_ca(&other);
    assert_eq!(lines(&found), ["error lh602 spec.tls"]);
    let message = &found[0].message;
    assert!(message.contains("Mapping shop/orders with TLSContext shop/up"), "{message}");
    assert_eq!(
        lines(&told(&tiers, &mapping(service, json!(null)), &[])),
        ["warning lh601 spec.service"]
    );
    assert_eq!(told(&tiers, &mapping(service, json!("nowhere")), &[]), []);
    assert_eq!(told(&tiers, &mapping("orders.shop:443", json!(null)), &[]), []);
    assert_eq!(told(&tiers, &mapping("https://orders.shop:444", json!(null)), &[]), []);
}

fn transport(spec: &Value) -> Value {
    object(("traefik.io/v1alpha1", "ServersTransport"), "up", spec)
}

/// A transport that works, with `changed` fields.
fn transport_with(changed: &Value) -> Value {
    let mut spec = json!({
        "serverName": HOST, "certificatesSecrets": ["web-client"], "rootCAsSecrets": ["web-client"],
    });
    spec.as_object_mut().unwrap().extend(changed.as_object().unwrap().clone());
    transport(&spec)
}

#[test]
fn annotations_of_a_service_are_rehearsed_with_their_transport() {
    let tiers = Tiers::new();
    let annotated = |pairs: &[(&str, &str)]| {
        let mut service = tiers.service.clone();
        service["metadata"]["annotations"] = json!({});
        for (key, value) in pairs {
            let key = format!("traefik.ingress.kubernetes.io/service.{key}");
            service["metadata"]["annotations"][key] = json!(value);
        }
        service
    };
    let https = ("serversscheme", "https");
    let named = annotated(&[https, ("serverstransport", "shop-up@kubernetescrd")]);
    let told = |service: &Value, beside: &[&Value]| lines(&told(&tiers, service, beside));
    assert_eq!(told(&named, &[&transport_with(&json!({}))]), NOTHING);
    let at = "metadata.annotations[traefik.ingress.kubernetes.io/service.serverstransport]";
    let wrong = transport_with(&json!({"serverName": "cart.shop.svc"}));
    assert_eq!(told(&named, &[&wrong]), [format!("error lh602 {at}")]);
    let trusting =
        transport_with(&json!({"serverName": "cart.shop.svc", "insecureSkipVerify": true}));
    assert_eq!(told(&named, &[&trusting]), NOTHING);
    let nameless = transport_with(&json!({"certificatesSecrets": []}));
    assert_eq!(told(&named, &[&nameless]), [format!("warning lh601 {at}")]);
    let several = transport_with(&json!({"certificatesSecrets": ["web-client", "another"]}));
    assert_eq!(told(&named, &[&several]), NOTHING);
    let roots = transport_with(&json!({"rootCAsSecrets": ["another", "web-client"]}));
    assert_eq!(told(&named, &[&roots]), NOTHING);
    assert_eq!(told(&named, &[]), NOTHING, "nobody knows what an absent transport says");
    let at = "metadata.annotations[traefik.ingress.kubernetes.io/service.serversscheme]";
    assert_eq!(told(&annotated(&[https]), &[]), [format!("warning lh601 {at}")]);
    assert_eq!(told(&annotated(&[("serversscheme", "http")]), &[]), NOTHING);
}

#[test]
fn an_ingress_route_is_rehearsed_with_its_transport() {
    let tiers = Tiers::new();
    let route = |service: Value| {
        let spec = json!({"routes": [{"match": "Host(`a.example`)", "kind": "Rule", "services": [service]}]});
        object(("traefik.io/v1alpha1", "IngressRoute"), "orders", &spec)
    };
    let service = |named: &str, port: Value| json!({"name": "orders", "port": port, "scheme": "https", "serversTransport": named});
    let told = |service: Value, beside: &[&Value]| lines(&told(&tiers, &route(service), beside));
    let good = transport_with(&json!({}));
    let wrong = transport_with(&json!({"serverName": "cart.shop.svc"}));
    let at = "spec.routes[0].services[0].serverstransport";
    for named in ["up", "shop-up@kubernetescrd"] {
        assert_eq!(told(service(named, json!(443)), &[&good]), NOTHING);
        assert_eq!(told(service(named, json!(443)), &[&wrong]), [format!("error lh602 {at}")]);
    }
    assert_eq!(told(service("up", json!(80)), &[&wrong]), NOTHING);
    let plain = json!({"name": "orders", "port": 443});
    assert_eq!(told(plain, &[&wrong]), NOTHING);
}

#[test]
fn a_policy_takes_one_of_its_alternative_names() {
    let tiers = Tiers::new();
    let authority = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "ca", "namespace": "shop"}, "data": {"ca.crt": tiers.ca.pem},
    });
    let policy = |names: Value| {
        let spec = json!({
            "targetRefs": [{"group": "", "kind": "Service", "name": "orders"}],
            "validation": {
                "hostname": "ask.example",
                "subjectAltNames": names,
                "caCertificateRefs": [{"group": "", "kind": "ConfigMap", "name": "ca"}],
            },
        });
        object(("gateway.networking.k8s.io/v1", "BackendTLSPolicy"), "orders", &spec)
    };
    let told = |names: Value| lines(&told(&tiers, &policy(names), &[&authority]));
    let other = json!({"type": "URI", "uri": "spiffe://shop/cart"});
    let own = json!({"type": "Hostname", "hostname": HOST});
    assert_eq!(told(json!([other, own])), NOTHING);
    let at = "warning lh602 spec.validation.hostname";
    assert_eq!(told(json!([other])), [at]);
    assert_eq!(told(json!([])), [at]);
}
