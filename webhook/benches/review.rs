//! One review: an Ingress with three items of TLS, each with a Secret that holds a chain of three
//! certificates.
//!
//! `cargo bench -p lasthop --bench review`

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use lasthop::check::{Mode, Subject, check};
use lasthop::object::Object;
use lasthop::surroundings::{Completeness, Files, Surroundings};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
};
use serde_json::{Value, json};

const HOSTS: [&str; 3] = ["a.example.com", "b.example.com", "c.example.com"];

/// As of this time, in seconds: within the validity that rcgen gives by default, and fixed.
const NOW: i64 = 1_796_000_000;

struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

fn params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::new([name.to_owned()]).expect("it is a name");
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

fn authority(name: &str, parent: Option<&Authority>) -> Authority {
    let key = KeyPair::generate().expect("keys can be made");
    let mut params = params(name);
    params.subject_alt_names.clear();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let certificate = match parent {
        Some(parent) => params.signed_by(&key, &parent.issuer),
        None => params.self_signed(&key),
    };
    let pem = certificate.expect("it can be issued").pem();
    Authority { pem, issuer: Issuer::new(params, key) }
}

fn secret(name: &str, host: &str, issuing: &Authority, intermediate: &Authority) -> Value {
    let key = KeyPair::generate().expect("keys can be made");
    let mut params = params(host);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let leaf = params.signed_by(&key, &issuing.issuer).expect("it can be issued");
    json!({
        "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls",
        "metadata": {"name": name, "namespace": "shop"},
        "stringData": {
            "tls.crt": format!("{}{}{}", leaf.pem(), issuing.pem, intermediate.pem),
            "tls.key": key.serialize_pem(),
        },
    })
}

fn ingress() -> Object {
    let tls = HOSTS.map(|host| json!({"hosts": [host], "secretName": host}));
    let backend = json!({"service": {"name": "web", "port": {"number": 80}}});
    let paths = json!([{"path": "/", "pathType": "Prefix", "backend": backend}]);
    let rules = HOSTS.map(|host| json!({"host": host, "http": {"paths": paths}}));
    Object(json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
        "metadata": {"name": "web", "namespace": "shop"},
        "spec": {"tls": tls, "rules": rules},
    }))
}

fn review(criterion: &mut Criterion) {
    let root = authority("root", None);
    let intermediate = authority("intermediate", Some(&root));
    let issuing = authority("issuing", Some(&intermediate));
    let secrets = HOSTS.map(|host| Object(secret(host, host, &issuing, &intermediate)));
    let surroundings = Surroundings::Files(Files::new(secrets.to_vec(), Completeness::Whole));
    let subject = Subject::created(ingress(), "shop");
    let mode = Mode::review();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    let runtime = runtime.expect("a runtime can be made");
    let judged = runtime.block_on(check(&subject, &surroundings, &mode, NOW));
    assert!(!judged.refuses(), "the Ingress is right: {:?}", judged.findings);
    criterion.bench_function("review of an Ingress with three Secrets", |bencher| {
        bencher.iter(|| {
            runtime.block_on(check(black_box(&subject), black_box(&surroundings), &mode, NOW))
        });
    });
}

criterion_group!(benches, review);
criterion_main!(benches);
