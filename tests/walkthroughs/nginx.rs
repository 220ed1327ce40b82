//! The tutorial's own mistakes, which an API server accepts: each is named at apply, with the nearest
//! name and the corrected YAML.

use lasthop_tests::kubernetes::{Cluster, exclusively};
use lasthop_tests::pki::Pki;
use lasthop_tests::webhook::Webhook;
use serde_json::json;

use super::support::{create_pod, example, request, run, store};

const HOST: &str = "web.example.com";

#[test]
fn every_mistake_of_the_tutorial_is_named_and_the_corrected_one_is_admitted() {
    let Some(cluster) = Cluster::shared() else { return };
    let _turn = exclusively();
    let _webhook = Webhook::on(cluster, &[]);
    let labels = ["lasthop.dev/inject=enabled", "lasthop.dev/validate=enforce"];
    cluster.namespace("application", &labels);
    let pki = Pki::new();
    let web = pki.authority("company-ca").leaf().dns(HOST).server_only().issue();
    // The document's Secret: type Opaque with the right keys, which is legal.
    store(cluster, ("application", "app-router-tls"), "Opaque", &web.secret());

    let old = cluster.refused(&example("nginx-tls-ingress/as-written-v1beta1.yaml"));
    assert!(old.contains("no matches for kind \"Ingress\""), "the API server's own refusal: {old}");

    let refused = cluster.refused(&example("nginx-tls-ingress/as-written.yaml"));
    for expected in ["spec.tls[0]", "spec.tls[1]", "router-tls", "app-router-tls", "secretName: "] {
        assert!(refused.contains(expected), "`{expected}` is not in: {refused}");
    }
    // The first line is kubectl's own.
    for line in refused.lines().skip(1) {
        assert!(line.chars().count() <= 80, "too long for a terminal: {line}");
    }
    cluster.admitted(&example("nginx-tls-ingress/corrected.yaml"));

    let pod = create_pod(cluster, web_deployment());
    let running = run(cluster, &pod);
    request(&running, HOST, &web).run().expect(200);
}

fn web_deployment() -> serde_json::Value {
    let annotations = json!({
        "lasthop.dev/inject": "true",
        "lasthop.dev/tls-secret": "app-router-tls",
    });
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": { "name": "web", "namespace": "application" },
        "spec": {
            "selector": { "matchLabels": { "app": "web" } },
            "template": {
                "metadata": { "labels": { "app": "web" }, "annotations": annotations },
                "spec": { "containers": [{
                    "name": "web", "image": "web:1", "ports": [{ "containerPort": 3000 }],
                }] },
            },
        },
    })
}
