//! Workloads that ask for the sidecar, and the namespace that they are applied in.

use serde_json::{Value, json};

use crate::kubernetes::{Cluster, secret_manifest};
use crate::pki::Pki;

/// The annotations of who asks for the sidecar, and for nothing else.
pub fn asks() -> Value {
    json!({ "lasthop.dev/inject": "true", "lasthop.dev/tls-secret": "web-tls" })
}

/// A namespace with injection, and the Secret that [`asks`] names.
pub fn namespace(cluster: &Cluster, name: &str) {
    cluster.namespace(name, &["lasthop.dev/inject=enabled"]);
    secret(cluster, name);
}

/// The Secret that [`asks`] names.
pub fn secret(cluster: &Cluster, namespace: &str) {
    let leaf = Pki::new().authority("web").leaf().dns("web.example.com").issue();
    cluster.admitted(&secret_manifest(namespace, "web-tls", "kubernetes.io/tls", &leaf.secret()));
}

/// The template of pods of an application on port 8080.
pub fn template(annotations: &Value) -> Value {
    json!({
        "metadata": { "labels": { "app": "web" }, "annotations": annotations },
        "spec": {
            "containers": [{ "name": "web", "image": "web:1", "ports": [{ "containerPort": 8080 }] }],
        },
    })
}

/// The Deployment `web` of such pods.
pub fn deployment(namespace: &str, annotations: &Value) -> Value {
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": { "namespace": namespace, "name": "web" },
        "spec": {
            "selector": { "matchLabels": { "app": "web" } },
            "template": template(annotations),
        },
    })
}

/// The same, whose container has requests and limits.
pub fn bounded_deployment(namespace: &str, annotations: &Value) -> Value {
    let mut deployment = deployment(namespace, annotations);
    deployment["spec"]["template"]["spec"]["containers"][0]["resources"] = json!({
        "requests": { "cpu": "200m", "memory": "64Mi" },
        "limits": { "cpu": "1", "memory": "64Mi" },
    });
    deployment
}
