//! `lasthop hops`: the way from a host to the application, as people read it.

use std::path::{Path, PathBuf};

use lasthop_tests::golden::{self, Varying};
use lasthop_tests::kubernetes::{Cluster, secret_manifest};
use lasthop_tests::pki::{Authority, Issued, Pki};
use lasthop_tests::process::{Finished, Program};
use serde_json::{Value, json};

/// Manifests of one shop, with whatever leads to it.
struct Shop {
    pki: Pki,
    public: Authority,
    web: Issued,
}

impl Shop {
    fn new() -> Self {
        let pki = Pki::new();
        let public = pki.authority("public");
        let web = public.leaf().dns("web.shop.svc").issue();
        Self { pki, public, web }
    }

    /// The Service, the Deployment that lets in `allowed`, the Secrets, and `leads`.
    fn manifests(&self, allowed: &str, leads: &[Value]) -> PathBuf {
        let alb = self.public.leaf().dns("*.alb.example").server_only().issue();
        let mut client = alb.secret();
        client.extend(self.public.ca_secret());
        let mut texts = vec![
            secret_manifest("shop", "web-tls", "kubernetes.io/tls", &self.web.secret()),
            secret_manifest("shop", "alb", "Opaque", &client),
            secret_manifest("shop", "alb-ca", "Opaque", &self.public.ca_secret()),
            deployment(allowed).to_string(),
            json!({
                "apiVersion": "v1", "kind": "Service",
                "metadata": {"name": "web", "namespace": "shop"},
                "spec": {"selector": {"app": "web"}, "ports": [
                    {"name": "https", "port": 443, "targetPort": "lasthop-8443"},
                    {"name": "http", "port": 80, "targetPort": 8080},
                ]},
            })
            .to_string(),
        ];
        texts.extend(leads.iter().map(ToString::to_string));
        self.pki.write("shop.yaml", texts.join("\n---\n"))
    }
}

fn deployment(allowed: &str) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "web", "namespace": "shop"},
        "spec": {
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}, "annotations": {
                    "lasthop.dev/inject": "true",
                    "lasthop.dev/tls-secret": "web-tls",
                    "lasthop.dev/client-ca-secret": "alb-ca",
                    "lasthop.dev/allowed-clients": allowed,
                }},
                "spec": {"containers": [
                    {"name": "web", "image": "web:1", "ports": [{"containerPort": 8080}]},
                ]},
            },
        },
    })
}

fn ingress(port: u16, annotations: &Value) -> Value {
    let backend = json!({"service": {"name": "web", "port": {"number": port}}});
    json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
        "metadata": {"name": "web", "namespace": "shop", "annotations": annotations},
        "spec": {
            "ingressClassName": "nginx",
            "tls": [{"hosts": ["shop.example.com"], "secretName": "edge-tls"}],
            "rules": [{"host": "shop.example.com", "http": {"paths": [
                {"path": "/", "pathType": "Prefix", "backend": backend},
            ]}}],
        },
    })
}

fn reencrypting() -> Value {
    json!({
        "nginx.ingress.kubernetes.io/backend-protocol": "HTTPS",
        "nginx.ingress.kubernetes.io/proxy-ssl-secret": "shop/alb",
        "nginx.ingress.kubernetes.io/proxy-ssl-verify": "on",
        "nginx.ingress.kubernetes.io/proxy-ssl-name": "web.shop.svc",
        "nginx.ingress.kubernetes.io/proxy-ssl-server-name": "on",
    })
}

fn hops(host: &str, manifests: &Path, more: &[&str]) -> Finished {
    Program::ours("lasthop").args(["hops", host, "-f"]).arg(manifests).args(more).run()
}

fn golden(name: &str, told: &Finished) {
    let text = format!("{}{}exit status {}\n", told.stdout, told.stderr, told.code());
    for line in text.lines().filter(|line| !line.contains('`')) {
        assert!(line.chars().count() <= 80, "{line}");
    }
    golden::check(format!("cases/hops/{name}.txt"), &text, &[Varying::Times]);
}

#[test]
fn every_state_of_a_hop_is_drawn_as_a_person_approved_it() {
    let shop = Shop::new();
    let host = "shop.example.com";
    let draw = |allowed: &str, leads: &[Value]| hops(host, &shop.manifests(allowed, leads), &[]);
    let good = "dns:*.alb.example";
    golden("mutual", &draw(good, &[ingress(443, &reencrypting())]));
    golden("refused", &draw("dns:alb.example.com", &[ingress(443, &reencrypting())]));
    let mut wrong_name = reencrypting();
    wrong_name["nginx.ingress.kubernetes.io/proxy-ssl-name"] = json!("blog.shop.svc");
    golden("distrusted", &draw(good, &[ingress(443, &wrong_name)]));
    let http = json!({});
    golden("plaintext-into-tls", &draw(good, &[ingress(443, &http)]));
    golden("plaintext", &draw(good, &[ingress(80, &http)]));
    let mut unseen = reencrypting();
    unseen["nginx.ingress.kubernetes.io/proxy-ssl-secret"] = json!("elsewhere/alb");
    golden("unknown", &draw(good, &[ingress(443, &unseen)]));
    let both = [ingress(443, &reencrypting())];
    let told = hops(host, &shop.manifests(good, &both), &["-o", "json"]);
    let told: Value = serde_json::from_str(&told.stdout).unwrap();
    let states: Vec<&Value> =
        told["ways"][0]["hops"].as_array().unwrap().iter().map(|hop| &hop["state"]).collect();
    assert_eq!(states, ["tls", "mutualTls", "plaintext"]);
}

/// The other kinds that connect a host with the same Service, each to its port 443.
fn others() -> Vec<(&'static str, Vec<Value>)> {
    let gateway_api = vec![
        json!({
            "apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway",
            "metadata": {"name": "edge", "namespace": "infra"},
            "spec": {"listeners": [{
                "name": "https", "port": 443, "protocol": "HTTPS", "hostname": "*.example.com",
                "tls": {"mode": "Terminate", "certificateRefs": [{"name": "edge-tls"}]},
            }]},
        }),
        json!({
            "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute",
            "metadata": {"name": "web", "namespace": "shop"},
            "spec": {
                "hostnames": ["shop.example.com"],
                "parentRefs": [{"name": "edge", "namespace": "infra"}],
                "rules": [{
                    "matches": [{"path": {"type": "PathPrefix", "value": "/api"}}],
                    "backendRefs": [{"name": "web", "port": 443}],
                }],
            },
        }),
        json!({
            "apiVersion": "gateway.networking.k8s.io/v1", "kind": "BackendTLSPolicy",
            "metadata": {"name": "web", "namespace": "shop"},
            "spec": {
                "targetRefs": [{"group": "", "kind": "Service", "name": "web"}],
                "validation": {
                    "hostname": "web.shop.svc",
                    "caCertificateRefs": [{"group": "", "kind": "Secret", "name": "alb-ca"}],
                },
            },
        }),
    ];
    let istio = vec![
        json!({
            "apiVersion": "networking.istio.io/v1", "kind": "Gateway",
            "metadata": {"name": "edge", "namespace": "infra"},
            "spec": {"servers": [{
                "hosts": ["shop/*.example.com"], "port": {"number": 443, "protocol": "HTTPS"},
                "tls": {"mode": "MUTUAL", "credentialName": "edge-tls"},
            }]},
        }),
        json!({
            "apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
            "metadata": {"name": "web", "namespace": "shop"},
            "spec": {
                "hosts": ["shop.example.com"], "gateways": ["infra/edge"],
                "http": [{"route": [{"destination": {
                    "host": "web.shop.svc.cluster.local", "port": {"number": 443},
                }}]}],
            },
        }),
        json!({
            "apiVersion": "networking.istio.io/v1", "kind": "DestinationRule",
            "metadata": {"name": "web", "namespace": "shop"},
            "spec": {
                "host": "web.shop.svc.cluster.local",
                "trafficPolicy": {"tls": {
                    "mode": "MUTUAL", "credentialName": "alb", "sni": "web.shop.svc",
                }},
            },
        }),
    ];
    let ambassador = vec![
        json!({
            "apiVersion": "getambassador.io/v3alpha1", "kind": "Host",
            "metadata": {"name": "shop", "namespace": "shop"},
            "spec": {"hostname": "shop.example.com", "tlsSecret": {"name": "edge-tls"}},
        }),
        json!({
            "apiVersion": "getambassador.io/v3alpha1", "kind": "Mapping",
            "metadata": {"name": "web", "namespace": "shop"},
            "spec": {
                "hostname": "shop.example.com", "prefix": "/api/",
                "service": "https://web.shop:443", "tls": "to-web",
            },
        }),
        json!({
            "apiVersion": "getambassador.io/v3alpha1", "kind": "TLSContext",
            "metadata": {"name": "to-web", "namespace": "shop"},
            "spec": {"secret": "alb", "ca_secret": "alb-ca"},
        }),
    ];
    vec![("gateway-api", gateway_api), ("istio", istio), ("ambassador", ambassador)]
}

#[test]
fn every_kind_that_connects_a_host_with_a_service_is_read() {
    let shop = Shop::new();
    for (name, leads) in others() {
        let manifests = shop.manifests("dns:*.alb.example", &leads);
        golden(name, &hops("shop.example.com", &manifests, &[]));
    }
}

#[test]
fn a_live_cluster_says_what_the_files_say() {
    let Some(cluster) = Cluster::shared() else { return };
    cluster.admitted(include_str!("cases/custom-resources.yaml"));
    let wait = ["wait", "crd", "--all", "--for=condition=established", "--timeout=60s"];
    cluster.kubectl(&wait).run().expect_success();
    cluster.namespace("shop", &["lasthop.dev/inject=enabled"]);
    cluster.namespace("infra", &[]);
    let shop = Shop::new();
    let mut kinds = others();
    kinds.push(("ingress", vec![ingress(443, &reencrypting())]));
    for (name, leads) in kinds {
        let manifests = shop.manifests("dns:*.alb.example", &leads);
        cluster.kubectl(&["apply", "-f"]).arg(&manifests).run().expect_success();
        let live = Program::ours("lasthop")
            .args(["hops", "shop.example.com", "--cluster"])
            .env("KUBECONFIG", cluster.kubeconfig())
            .run();
        assert_eq!(live.code(), 0, "{name}: {live}");
        assert_eq!(live.stdout, hops("shop.example.com", &manifests, &[]).stdout, "{name}");
        for lead in &leads {
            let gone = cluster.kubectl(&["delete", "-f", "-"]).input(lead.to_string()).run();
            gone.expect_success();
        }
    }
}

#[test]
fn a_host_is_taken_as_it_is_at_hand() {
    let shop = Shop::new();
    let manifests = shop.manifests("dns:*.alb.example", &[ingress(443, &reencrypting())]);
    let told = hops("shop.example.com", &manifests, &[]);
    for host in ["SHOP.example.com.", "https://shop.example.com:8443/cart"] {
        assert_eq!(hops(host, &manifests, &[]).stdout, told.stdout, "{host}");
    }
    let nothing = hops("https://", &manifests, &[]);
    assert_eq!(nothing.code(), 2);
    assert!(nothing.stderr.contains("there is no host in it"), "{nothing}");
}

#[test]
fn a_host_that_nothing_takes_in_is_told_with_the_nearest() {
    let shop = Shop::new();
    let manifests = shop.manifests("*", &[ingress(443, &json!({}))]);
    let told = hops("shpo.example.com", &manifests, &[]);
    assert_eq!(told.code(), 2);
    assert!(told.stderr.contains("did you mean `shop.example.com`?"), "{}", told.stderr);
    let nothing = hops("a\u{1b}[31mb", &shop.manifests("*", &[]), &[]);
    assert_eq!(nothing.code(), 2);
    assert!(!nothing.stderr.contains('\u{1b}'), "{:?}", nothing.stderr);
}

#[test]
fn nothing_of_a_private_key_is_drawn() {
    let shop = Shop::new();
    let manifests = shop.manifests("dns:*.alb.example", &[ingress(443, &reencrypting())]);
    for output in ["text", "json"] {
        let told = hops("shop.example.com", &manifests, &["-o", output]);
        for line in shop.web.key_pem().lines().filter(|line| line.len() > 30) {
            assert!(!told.stdout.contains(line));
        }
    }
}
