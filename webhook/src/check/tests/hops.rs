//! Re-encrypted hops, told from whichever end or middle is being changed.

use super::*;

/// A CA with what it issued.
pub(super) struct Ca {
    pub(super) pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Ca {
    pub(super) fn new(name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let pem = params.self_signed(&key).unwrap().pem();
        Self { pem, issuer: Issuer::new(params, key) }
    }

    pub(super) fn secret(&self, name: &str, dns: &str) -> Value {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![dns.to_owned()]).unwrap();
        let chain = params.signed_by(&key, &self.issuer).unwrap().pem();
        of_secret(
            name,
            &json!({"tls.crt": chain, "tls.key": key.serialize_pem(), "ca.crt": self.pem}),
        )
    }
}

pub(super) fn of_secret(name: &str, data: &Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Secret", "type": "Opaque",
        "metadata": {"name": name, "namespace": "shop"}, "stringData": data,
    })
}

pub(super) fn deployment(name: &str, annotations: &[(&str, &str)]) -> Value {
    let mut all = json!({"lasthop.dev/inject": "true"});
    for (key, value) in annotations {
        all[format!("lasthop.dev/{key}")] = json!(value);
    }
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": name, "namespace": "shop"},
        "spec": {"template": {
            "metadata": {"labels": {"app": name}, "annotations": all},
            "spec": {"containers": [{"name": "app", "ports": [{"containerPort": 8080}]}]},
        }},
    })
}

pub(super) fn service(port: u16, target: u16) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "orders", "namespace": "shop"},
        "spec": {"selector": {"app": "orders"}, "ports": [{"port": port, "targetPort": target}]},
    })
}

fn labelled() -> Value {
    namespace(&json!({"lasthop.dev/inject": "enabled"}))
}

/// `web`, whose sidecar connects to that of `orders`; nothing is wrong with them.
pub(super) struct Tiers {
    pub(super) ca: Ca,
    pub(super) web: Value,
    pub(super) orders: Value,
    pub(super) service: Value,
    pub(super) client: Value,
    pub(super) server: Value,
}

impl Tiers {
    pub(super) fn new() -> Self {
        let ca = Ca::new("shop CA");
        let client = ca.secret("web-client", "web.shop");
        let server = ca.secret("orders-tls", "orders.shop.svc");
        let web = deployment(
            "web",
            &[
                ("upstreams", "9001=https://orders.shop.svc:443"),
                ("upstream-client-secret", "web-client"),
                ("upstream-ca-secret", "web-client"),
            ],
        );
        let orders = Self::orders("dns:web.shop");
        Self { ca, web, orders, service: service(443, 8443), client, server }
    }

    pub(super) fn orders(allowed: &str) -> Value {
        let clients = [
            ("tls-secret", "orders-tls"),
            ("client-ca-secret", "orders-tls"),
            ("allowed-clients", allowed),
        ];
        deployment("orders", &clients)
    }

    /// What is told of `asked` with the others around it.
    pub(super) fn told(&self, asked: Asked) -> Vec<String> {
        let subject = asked.subject.object.reference("shop");
        let mut asked = asked;
        for other in [&self.web, &self.orders, &self.service, &self.client, &self.server] {
            if Object(other.clone()).reference("shop") != subject {
                asked.around.push(other.clone());
            }
        }
        asked.around.push(labelled());
        asked.told().into_iter().filter(|line| line.contains(" LH6")).collect()
    }
}

const AT_TEMPLATE: &str = "spec.template.metadata.annotations";

#[test]
fn a_hop_that_works_is_told_from_no_end() {
    let tiers = Tiers::new();
    let all = [&tiers.web, &tiers.orders, &tiers.service, &tiers.client, &tiers.server];
    for object in all {
        assert_eq!(tiers.told(create(object.clone())), NOTHING, "{object}");
    }
}

#[test]
fn a_next_tier_that_refuses_is_told_from_both_ends_and_never_refuses() {
    let mut tiers = Tiers::new();
    let strict = Tiers::orders("dns:cart.shop");
    let at_server = format!("warning LH604 {AT_TEMPLATE}[lasthop.dev/allowed-clients]");
    assert_eq!(tiers.told(create(strict.clone())), std::slice::from_ref(&at_server));
    assert_eq!(tiers.told(update(tiers.orders.clone(), strict.clone())), [at_server]);
    tiers.orders = strict;
    let at_client = format!("warning LH604 {AT_TEMPLATE}[lasthop.dev/upstream-client-secret]");
    assert_eq!(tiers.told(create(tiers.web.clone())), [at_client]);
}

#[test]
fn a_next_tier_is_verified_as_its_annotations_say() {
    let mut tiers = Tiers::new();
    tiers.server = tiers.ca.secret("orders-tls", "orders.example.com");
    let told = tiers.told(create(tiers.web.clone()));
    assert_eq!(told, [format!("warning LH605 {AT_TEMPLATE}[lasthop.dev/upstreams]")]);
    let named = [
        ("upstreams", "9001=tls://orders:443"),
        ("upstream-client-secret", "web-client"),
        ("upstream-ca-secret", "web-client"),
        ("upstream-server-names.9001", "orders.example.com"),
    ];
    assert_eq!(tiers.told(create(deployment("web", &named))), NOTHING);
    // Without CAs of its own it has those of Mozilla.
    let public = [
        ("upstreams", "9001=https://orders.shop:443"),
        ("upstream-client-secret", "web-client"),
        ("upstream-server-names", "orders.example.com"),
    ];
    let told = tiers.told(create(deployment("web", &public)));
    assert_eq!(told, [format!("warning LH605 {AT_TEMPLATE}[lasthop.dev/upstreams]")]);
}

#[test]
fn who_presents_nothing_is_told_what_to_name() {
    let tiers = Tiers::new();
    let nameless = deployment(
        "web",
        &[("upstreams", "9001=https://orders.shop.svc:443"), ("upstream-ca-secret", "web-client")],
    );
    let around = [&tiers.orders, &tiers.service, &tiers.client, &tiers.server, &labelled()];
    let judgement = create(nameless).among(around).judged();
    let finding = judgement.findings.iter().find(|it| it.code.0 == 604).unwrap();
    assert!(finding.message.contains("presents no certificate"), "{}", finding.message);
    assert!(finding.help.contains("`lasthop.dev/upstream-client-secret`"), "{}", finding.help);
}

#[test]
fn a_secret_that_breaks_a_hop_is_told_and_not_refused() {
    let tiers = Tiers::new();
    let other = Ca::new("shop CA");
    let anew = other.secret("orders-tls", "orders.shop.svc");
    let told = tiers.told(update(tiers.server.clone(), anew));
    assert_eq!(told, ["warning LH605 stringData[tls.crt]"]);
    let stranger = other.secret("web-client", "web.shop");
    let mixed =
        with(stranger, "/stringData", "ca.crt", tiers.client["stringData"]["ca.crt"].clone());
    let told = tiers.told(update(tiers.client.clone(), mixed));
    assert_eq!(told, ["warning LH604 stringData[tls.crt]"]);
    let renamed = tiers.ca.secret("orders-tls", "orders.example.com");
    let told = tiers.told(update(tiers.server.clone(), renamed));
    assert_eq!(told, ["warning LH605 stringData[tls.crt]"]);
    let labelled = with(tiers.server.clone(), "/metadata", "labels", json!({"team": "shop"}));
    assert_eq!(tiers.told(update(tiers.server.clone(), labelled)), NOTHING);
    let unrelated = other.secret("unrelated", "orders.shop.svc");
    assert_eq!(tiers.told(create(unrelated)), NOTHING);
}

#[test]
fn a_service_that_leads_to_who_refuses_is_told() {
    let mut tiers = Tiers::new();
    tiers.orders = Tiers::orders("dns:cart.shop");
    let old = service(443, 8080);
    assert_eq!(
        tiers.told(update(old.clone(), service(443, 8443))),
        ["warning LH604 spec.ports[0]"]
    );
    assert_eq!(tiers.told(update(service(443, 8443), service(443, 8443))), NOTHING);
    assert_eq!(tiers.told(create(old)), NOTHING);
    assert_eq!(tiers.told(delete(service(443, 8443))), NOTHING);
}

#[test]
fn a_balancer_without_certificate_is_told_at_the_door_that_asks_for_one() {
    let tiers = Tiers::new();
    let mut web = ingress(&json!([]));
    web["spec"] = json!({"ingressClassName": "nginx", "rules": [{"host": "a.example", "http": {"paths": [
        {"path": "/", "backend": {"service": {"name": "orders", "port": {"number": 443}}}},
    ]}}]});
    let web = annotated(web, "nginx.ingress.kubernetes.io/backend-protocol", "HTTPS");
    let at = "metadata.annotations[nginx.ingress.kubernetes.io/backend-protocol]";
    assert_eq!(tiers.told(create(web)), [format!("warning LH601 {at}")]);
}

#[test]
fn a_next_tier_of_another_namespace_is_looked_at_for_who_may() {
    let tiers = Tiers::new();
    let elsewhere = |object: &Value| with(object.clone(), "/metadata", "namespace", json!("data"));
    let away = deployment(
        "web",
        &[
            ("upstreams", "9001=https://orders.data.svc:443"),
            ("upstream-client-secret", "web-client"),
            ("upstream-ca-secret", "web-client"),
            ("upstream-server-names", "orders.shop.svc"),
        ],
    );
    let strict = elsewhere(&Tiers::orders("dns:cart.shop"));
    let home = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {
        "name": "data", "labels": {"lasthop.dev/inject": "enabled"},
    }});
    let (service, server) = (elsewhere(&tiers.service), elsewhere(&tiers.server));
    let told = |who: &str| {
        let around = [&strict, &service, &server, &tiers.client, &labelled(), &home];
        let told = create(away.clone()).among(around).by(who).told();
        told.into_iter().filter(|line| line.contains(" LH6")).collect::<Vec<_>>()
    };
    let at_client = format!("warning LH604 {AT_TEMPLATE}[lasthop.dev/upstream-client-secret]");
    assert_eq!(told("jane"), [at_client]);
    assert_eq!(told("system:serviceaccount:flux-system:kustomize-controller"), NOTHING);
}

#[test]
fn a_policy_is_rehearsed_with_the_sidecar_behind_its_service() {
    let tiers = Tiers::new();
    let authority = |pem: &str| {
        json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": "ca", "namespace": "shop"}, "data": {"ca.crt": pem},
        })
    };
    let policy = |hostname: &str, section: Option<&str>| {
        json!({
            "apiVersion": "gateway.networking.k8s.io/v1", "kind": "BackendTLSPolicy",
            "metadata": {"name": "orders", "namespace": "shop"},
            "spec": {
                "targetRefs": [
                    {"group": "", "kind": "Service", "name": "orders", "sectionName": section},
                ],
                "validation": {
                    "hostname": hostname,
                    "caCertificateRefs": [{"group": "", "kind": "ConfigMap", "name": "ca"}],
                },
            },
        })
    };
    let told = |policy: Value, pem: &str| tiers.told(create(policy).among([&authority(pem)]));
    let at = ["warning LH602 spec.validation.hostname"];
    // The sidecar asks for a certificate of which the policy says nothing: that is not told.
    assert_eq!(told(policy("orders.shop.svc", None), &tiers.ca.pem), NOTHING);
    assert_eq!(told(policy("shop.example", None), &tiers.ca.pem), at);
    assert_eq!(told(policy("orders.shop.svc", None), &Ca::new("another").pem), at);
    assert_eq!(told(policy("shop.example", Some("metrics")), &tiers.ca.pem), NOTHING);
}
