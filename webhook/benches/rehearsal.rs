//! What a rehearsal adds to a review: an Ingress that speaks TLS to a workload with a sidecar, verifies it and
//! presents a certificate to it. Without the annotation that asks for the sidecar, the same review knows
//! one end of the hop only, and rehearses nothing.
//!
//! `cargo bench -p lasthop --bench rehearsal`

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use lasthop::check::{Judgement, Mode, Subject, check};
use lasthop::object::Object;
use lasthop::surroundings::{Completeness, Files, Surroundings};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

/// As of this time, in seconds: within the validity that rcgen gives by default, and fixed.
const NOW: i64 = 1_796_000_000;

/// A CA with what it issued.
struct Ca {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Ca {
    fn new() -> Self {
        let key = KeyPair::generate().expect("keys can be made");
        let mut params = CertificateParams::new(Vec::new()).expect("no names are names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "shop CA");
        let pem = params.self_signed(&key).expect("it can be issued").pem();
        Self { pem, issuer: Issuer::new(params, key) }
    }

    fn secret(&self, name: &str, dns: &str) -> Value {
        let key = KeyPair::generate().expect("keys can be made");
        let params = CertificateParams::new(vec![dns.to_owned()]).expect("it is a name");
        let leaf = params.signed_by(&key, &self.issuer).expect("it can be issued").pem();
        json!({
            "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls",
            "metadata": {"name": name, "namespace": "shop"},
            "stringData": {"tls.crt": leaf, "tls.key": key.serialize_pem(), "ca.crt": self.pem},
        })
    }
}

fn ingress() -> Object {
    let of = |key: &str| format!("nginx.ingress.kubernetes.io/{key}");
    Object(json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
        "metadata": {"name": "web", "namespace": "shop", "annotations": {
            of("backend-protocol"): "HTTPS",
            of("proxy-ssl-secret"): "shop/balancer-tls",
            of("proxy-ssl-verify"): "on",
            of("proxy-ssl-name"): "web.shop.svc",
            of("proxy-ssl-server-name"): "on",
        }},
        "spec": {
            "ingressClassName": "nginx",
            "tls": [{"hosts": ["shop.example.com"], "secretName": "shop-tls"}],
            "rules": [{"host": "shop.example.com", "http": {"paths": [{
                "path": "/", "pathType": "Prefix",
                "backend": {"service": {"name": "web", "port": {"number": 443}}},
            }]}}],
        },
    }))
}

fn workload(inject: &str, allowed: &str) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "web", "namespace": "shop"},
        "spec": {"template": {
            "metadata": {"labels": {"app": "web"}, "annotations": {
                "lasthop.dev/inject": inject,
                "lasthop.dev/tls-secret": "web-tls",
                "lasthop.dev/client-ca-secret": "web-tls",
                "lasthop.dev/allowed-clients": allowed,
            }},
            "spec": {"containers": [{"name": "app", "ports": [{"containerPort": 8080}]}]},
        }},
    })
}

/// What is around the Ingress: every Secret that is named, the Service, and `workload` behind it.
fn around(secrets: &[Value], workload: Value) -> Surroundings {
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "namespace": "shop"},
        "spec": {"selector": {"app": "web"}, "ports": [{"port": 443, "targetPort": 8443}]},
    });
    let namespace = json!({
        "apiVersion": "v1", "kind": "Namespace",
        "metadata": {"name": "shop", "labels": {"lasthop.dev/inject": "enabled"}},
    });
    let all = secrets.iter().cloned().chain([service, namespace, workload]).map(Object).collect();
    Surroundings::Files(Files::new(all, Completeness::Whole))
}

fn judge(runtime: &Runtime, subject: &Subject, surroundings: &Surroundings) -> Judgement {
    runtime.block_on(check(subject, surroundings, &Mode::review(), NOW))
}

fn codes(judgement: &Judgement) -> Vec<u16> {
    judgement.findings.iter().map(|it| it.code.0).collect()
}

fn rehearsal(criterion: &mut Criterion) {
    let ca = Ca::new();
    let secrets = [
        ca.secret("shop-tls", "shop.example.com"),
        ca.secret("balancer-tls", "balancer.example.com"),
        ca.secret("web-tls", "web.shop.svc"),
    ];
    let with = around(&secrets, workload("true", "dns:balancer.example.com"));
    let without = around(&secrets, workload("false", "dns:balancer.example.com"));
    let refusing = around(&secrets, workload("true", "dns:other.example.com"));
    let subject = Subject::created(ingress(), "shop");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    let runtime = runtime.expect("a runtime can be made");
    let told = |surroundings| codes(&judge(&runtime, &subject, surroundings));
    assert!(!told(&with).contains(&601), "the hop works: {:?}", told(&with));
    assert!(told(&refusing).contains(&601), "the hop is rehearsed: {:?}", told(&refusing));
    criterion.bench_function("review of an Ingress that speaks TLS, hop rehearsed", |bencher| {
        bencher.iter(|| judge(&runtime, black_box(&subject), black_box(&with)));
    });
    criterion.bench_function("review of an Ingress that speaks TLS, no hop known", |bencher| {
        bencher.iter(|| judge(&runtime, black_box(&subject), black_box(&without)));
    });
}

criterion_group!(benches, rehearsal);
criterion_main!(benches);
