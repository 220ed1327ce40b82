//! What another namespace has to do with a change, and ports that lead to no next tier.

use super::hops::{Ca, Tiers, deployment, of_secret, service};
use super::*;

const AT: &str = "spec.template.metadata.annotations";

fn home(name: &str, label: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {
        "name": name, "labels": {"lasthop.dev/inject": label},
    }})
}

fn moved(object: &Value, namespace: &str) -> Value {
    with(object.clone(), "/metadata", "namespace", json!(namespace))
}

/// `orders` of `shop`, to which `web` of the namespace `front` connects.
struct Apart {
    tiers: Tiers,
    label: &'static str,
    web: Value,
}

impl Apart {
    fn new() -> Self {
        let web = deployment(
            "web",
            &[
                ("upstreams", "9001=https://orders.shop.svc:443"),
                ("upstream-client-secret", "web-client"),
                ("upstream-ca-secret", "web-client"),
            ],
        );
        Self { tiers: Tiers::new(), label: "enabled", web: moved(&web, "front") }
    }

    fn told(&self, asked: Asked, who: &str) -> Vec<String> {
        let subject = asked.subject.object.reference("shop");
        let mut asked = asked.by(who);
        let client = moved(&self.tiers.client, "front");
        let homes = [home("front", self.label), home("shop", "enabled")];
        let around = [&self.tiers.orders, &self.tiers.service, &self.tiers.server, &client];
        for other in around.into_iter().chain(&homes).chain([&self.web]) {
            let named = Object(other.clone()).reference("shop");
            if named != subject {
                asked.around.push(other.clone());
            }
        }
        asked.told().into_iter().filter(|line| line.contains(" LH6")).collect()
    }
}

#[test]
fn who_connects_from_another_namespace_is_told_of_to_who_may_know() {
    let apart = Apart::new();
    let strict = Tiers::orders("dns:cart.shop");
    let old = apart.tiers.orders.clone();
    let changed = || update(old.clone(), strict.clone());
    let told = [format!("warning LH604 {AT}[lasthop.dev/allowed-clients]")];
    assert_eq!(apart.told(changed(), "jane"), told);
    assert_eq!(apart.told(create(strict.clone()), "jane"), told);
    let robot = "system:serviceaccount:flux-system:kustomize-controller";
    assert_eq!(apart.told(changed(), robot), NOTHING);
    // What clients meet is as it was.
    let scaled = with(strict.clone(), "/spec", "replicas", json!(3));
    assert_eq!(apart.told(update(strict.clone(), scaled), "jane"), NOTHING);
    let unlabelled = Apart { label: "off", ..Apart::new() };
    assert_eq!(unlabelled.told(changed(), "jane"), NOTHING);
}

#[test]
fn a_secret_and_a_service_are_judged_by_callers_of_other_namespaces() {
    let apart = Apart::new();
    let anew = Ca::new("shop CA").secret("orders-tls", "orders.shop.svc");
    let old = apart.tiers.server.clone();
    let told = apart.told(update(old.clone(), anew.clone()), "jane");
    // Its CA is the one of the clients, too, and the first that does not fit is told.
    assert_eq!(told, ["warning LH605 stringData[tls.crt]"]);
    let robot = "system:serviceaccount:cert-manager:cert-manager";
    assert_eq!(apart.told(update(old, anew), robot), NOTHING);
    let told = apart.told(update(service(443, 8443), service(8443, 8443)), "jane");
    assert_eq!(told, ["warning LH606 spec.ports"]);
    assert_eq!(apart.told(update(service(443, 8080), service(443, 8443)), "jane"), NOTHING);
}

#[test]
fn an_ingress_of_another_namespace_that_presents_the_secret_is_rehearsed() {
    let tiers = Tiers::new();
    let mut web = ingress(&json!([]));
    web["spec"] = json!({"ingressClassName": "nginx", "rules": [{"host": "a.example", "http": {"paths": [
        {"path": "/", "backend": {"service": {"name": "orders", "port": {"number": 443}}}},
    ]}}]});
    let prefix = "nginx.ingress.kubernetes.io";
    let web = annotated(web, &format!("{prefix}/backend-protocol"), "HTTPS");
    let web = annotated(web, &format!("{prefix}/proxy-ssl-secret"), "shop/alb");
    let behind = ["orders", "service", "server"];
    let all = [&tiers.orders, &tiers.service, &tiers.server].map(|it| moved(it, "back"));
    assert_eq!(all.len(), behind.len());
    let told = |dns: &str| {
        let old = tiers.ca.secret("alb", "web.shop");
        let mut asked = update(old, tiers.ca.secret("alb", dns)).by("jane");
        asked.around.extend(all.iter().cloned());
        asked.around.extend([moved(&web, "back"), home("back", "enabled"), home("shop", "off")]);
        let told = asked.told().into_iter();
        told.filter(|line| line.contains(" LH6")).collect::<Vec<_>>()
    };
    assert_eq!(told("web.shop"), NOTHING);
    assert_eq!(told("cart.shop"), ["warning LH601 stringData[tls.crt]"]);
}

/// `web` with an upstream at `host` and port, beside one Service.
fn ported(upstream: &str, service: &Value, setting: Setting) -> Vec<String> {
    let web = deployment("web", &[("upstreams", &format!("9001=https://{upstream}"))]);
    let mut asked = create(web).among([service, &home("shop", "enabled")]);
    asked.mode.setting = setting;
    asked.told().into_iter().filter(|line| line.contains(" LH6")).collect()
}

#[test]
fn a_port_that_the_service_of_an_upstream_lacks_is_told() {
    let at = format!("{AT}[lasthop.dev/upstreams]");
    let plain = service(443, 8443);
    let told = |upstream: &str| ported(upstream, &plain, Setting::Files);
    assert_eq!(told("orders.shop.svc:8443"), [format!("error LH606 {at}")]);
    assert_eq!(told("orders:8443"), [format!("error LH606 {at}")]);
    assert_eq!(told("orders:443"), NOTHING);
    assert_eq!(told("others:8443"), NOTHING);
    assert_eq!(told("orders.example.com:8443"), NOTHING);
    let live = ported("orders:8443", &plain, Setting::Review);
    assert_eq!(live, [format!("warning LH606 {at}")]);
    for (field, value) in [
        ("clusterIP", json!("None")),
        ("type", json!("ExternalName")),
        ("ports", json!([])),
        ("ports", json!([{"port": 443}, {"port": 8443, "protocol": "TCP"}])),
    ] {
        let other = with(plain.clone(), "/spec", field, value);
        assert_eq!(ported("orders:8443", &other, Setting::Files), NOTHING, "{other}");
    }
    let datagrams = json!([{"port": 443}, {"port": 8443, "protocol": "UDP"}]);
    let other = with(plain.clone(), "/spec", "ports", datagrams);
    assert_eq!(ported("orders:8443", &other, Setting::Files), [format!("error LH606 {at}")]);
    let away = moved(&plain, "data");
    let told = ported("orders.data:8443", &away, Setting::Files);
    assert_eq!(told, [format!("warning LH606 {at}")]);
}

#[test]
fn who_connects_to_a_port_that_goes_is_told_at_the_service() {
    let tiers = Tiers::new();
    let told = |old: Value, new: Value| tiers.told(update(old, new));
    assert_eq!(told(service(443, 8443), service(8443, 8443)), ["warning LH606 spec.ports"]);
    assert_eq!(told(service(8443, 8443), service(443, 8443)), NOTHING);
    let judgement =
        create(service(8443, 8443)).among([&tiers.web, &home("shop", "enabled")]).judged();
    let finding = judgement.findings.iter().find(|it| it.code.0 == 606).unwrap();
    assert!(finding.message.contains("Deployment shop/web connects to port 443"), "{finding:?}");
    let unread = of_secret("unread", &json!({}));
    assert_eq!(tiers.told(create(unread)), NOTHING);
}
