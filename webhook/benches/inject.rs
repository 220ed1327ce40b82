//! One injection: a pod with mutual TLS, an init container, probes that are taken over and volumes, from raw
//! JSON to the patch; and the same pod again, which has the sidecar already.
//!
//! `cargo bench -p lasthop --bench inject`

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use lasthop::inject::{Options, Outcome, inject};
use lasthop::object::Object;
use serde_json::{Value, json};

fn pod() -> Object {
    let annotations = json!({
        "lasthop.dev/inject": "true",
        "lasthop.dev/tls-secret": "web-tls",
        "lasthop.dev/client-ca-secret": "alb-ca",
        "lasthop.dev/allowed-clients": "dns:*.alb.example.com,uri:spiffe://example.com/alb",
        "lasthop.dev/ports": "8443:8080",
        "lasthop.dev/require-loopback": "true",
    });
    let probe = |path: &str| json!({"httpGet": {"path": path, "port": "http"}});
    let containers: Vec<Value> = (0..3)
        .map(|number| {
            let ports = json!([{"name": "http", "containerPort": 8080}]);
            json!({
                "name": format!("app-{number}"),
                "image": "registry.example.com/app:1",
                "ports": if number == 0 { ports } else { json!([]) },
                "readinessProbe": if number == 0 { probe("/ready") } else { Value::Null },
                "resources": {"requests": {"cpu": "100m"}, "limits": {"memory": "128Mi"}},
                "volumeMounts": [{"name": "data", "mountPath": "/data"}],
            })
        })
        .collect();
    Object(json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"generateName": "web-", "labels": {"app": "web"}, "annotations": annotations},
        "spec": {
            "initContainers": [{"name": "migrate", "image": "registry.example.com/app:1"}],
            "containers": containers,
            "volumes": [{"name": "data", "emptyDir": {}}],
        },
    }))
}

fn injection(criterion: &mut Criterion) {
    let (bare, options) = (pod(), Options::default());
    let outcome = inject(&bare, "shop", None, &options);
    let Outcome::Injected { patch, .. } = outcome else {
        unreachable!("the pod asks, and can be served")
    };
    let mut with = bare.clone();
    json_patch::patch(&mut with.0, &patch).expect("the patch fits the pod");
    criterion.bench_function("injection into a pod of four containers", |bencher| {
        bencher.iter(|| inject(black_box(&bare), "shop", None, &options));
    });
    criterion.bench_function("injection into a pod that has the sidecar", |bencher| {
        bencher.iter(|| inject(black_box(&with), "shop", None, &options));
    });
}

criterion_group!(benches, injection);
criterion_main!(benches);
