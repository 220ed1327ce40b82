//! The `NetworkPolicy` that closes the plaintext port of an app with a sidecar.

use std::collections::BTreeSet;

use lasthop_contract::text::escape;
use serde_json::{Value, json};

use super::annotations::Request;
use super::pod::{self, ContainerAt};
use super::service;
use crate::object::{Object, texts};

/// The policy for the pods that `object` is or makes, which live in `namespace`; [`None`] where none of
/// them has a port of an app behind a sidecar.
///
/// A policy says what is let in: the sidecar's ports, and what the containers declare beside the app's
/// port. Policies add up, so one that lets in more stays as wide as it is.
/// <https://kubernetes.io/docs/concepts/services-networking/network-policies/>
///
/// # Errors
/// The pods cannot be selected; why.
pub fn of(object: &Object, namespace: &str) -> Option<Result<Value, String>> {
    let (pod, request) = service::request_of(object)?;
    let closed: BTreeSet<u16> = request.listeners.iter().filter_map(|it| it.app.port()).collect();
    if closed.is_empty() {
        return None;
    }
    let Some(selector) = selector(object, &pod) else {
        let name = object.reference(namespace);
        return Some(Err(format!("{name}: its pods have no labels to select them by")));
    };
    let name = match (object.name(), object.text("/metadata/generateName")) {
        ("", prefix) => prefix.trim_end_matches('-'),
        (name, _) => name,
    };
    Some(Ok(json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": { "name": format!("{}-lasthop", escape(name)), "namespace": namespace },
        "spec": {
            "podSelector": selector,
            "policyTypes": ["Ingress"],
            "ingress": [{ "ports": open(&pod, &request, &closed) }],
        },
    })))
}

/// What selects the pods: what the workload itself selects them by, else all their labels.
fn selector(object: &Object, pod: &Object) -> Option<Value> {
    let is_label_selector = |selector: &&Value| {
        selector.get("matchLabels").is_some() || selector.get("matchExpressions").is_some()
    };
    // A Job's selector is a label that the controller makes up for each Job.
    if object.group() == "apps"
        && let Some(selector) = object.0.pointer("/spec/selector").filter(is_label_selector)
    {
        return Some(selector.clone());
    }
    let plain = texts(object.0.pointer("/spec/selector"));
    let is_plain = object.is("", "ReplicationController") && !plain.is_empty();
    let labels = if is_plain { plain } else { pod.labels() };
    (!labels.is_empty()).then(|| json!({ "matchLabels": labels }))
}

/// The ports that stay open: number and protocol.
fn open(pod: &Object, request: &Request, closed: &BTreeSet<u16>) -> Value {
    let listening = request.listeners.iter().map(|it| it.listen);
    let own = listening.chain(request.redirect_port).chain([request.status_port]);
    let mut ports: Vec<(u64, String)> = own.map(|port| (port.into(), "TCP".to_owned())).collect();
    for container in pod::containers(pod) {
        for (port, protocol) in declared(container, closed) {
            if !ports.contains(&(port, protocol.clone())) {
                ports.push((port, protocol));
            }
        }
    }
    ports
        .into_iter()
        .map(|(port, protocol)| json!({ "port": port, "protocol": protocol }))
        .collect()
}

fn declared(container: ContainerAt<'_>, closed: &BTreeSet<u16>) -> Vec<(u64, String)> {
    let ports = container.value.get("ports").and_then(Value::as_array);
    let read = |port: &Value| {
        let number = port.get("containerPort")?.as_u64()?;
        let protocol = port.get("protocol").and_then(Value::as_str).unwrap_or("TCP");
        let is_closed =
            protocol == "TCP" && closed.iter().any(|closed| u64::from(*closed) == number);
        (!is_closed).then(|| (number, protocol.to_owned()))
    };
    ports.into_iter().flatten().filter_map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inject::pod_of;

    fn deployment(annotations: &Value, labels: &Value) -> Object {
        let container = json!({ "name": "app", "ports": [
            { "containerPort": 8080 }, { "containerPort": 9090, "name": "metrics" },
            { "containerPort": 8080, "protocol": "UDP" },
        ] });
        let metadata = json!({ "labels": labels, "annotations": annotations });
        Object(json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "web" },
            "spec": {
                "selector": { "matchLabels": { "app": "web" } },
                "template": { "metadata": metadata, "spec": { "containers": [container] } },
            },
        }))
    }

    #[test]
    fn all_that_is_declared_stays_open_but_the_port_of_the_app() {
        let annotations = json!({
            "lasthop.dev/inject": "true", "lasthop.dev/tls-secret": "web-tls",
            "lasthop.dev/ports": "8443:8080", "lasthop.dev/redirect-port": "8081",
        });
        let labels = json!({ "app": "web", "version": "2" });
        let policy = of(&deployment(&annotations, &labels), "shop").unwrap().unwrap();
        let tcp = |port: u16| json!({ "port": port, "protocol": "TCP" });
        assert_eq!(
            policy["spec"]["ingress"],
            json!([{ "ports": [
                tcp(8443), tcp(8081), tcp(15443), tcp(9090), { "port": 8080, "protocol": "UDP" },
            ] }])
        );
        assert_eq!(policy["spec"]["podSelector"], json!({ "matchLabels": { "app": "web" } }));
        assert_eq!(policy["metadata"], json!({ "name": "web-lasthop", "namespace": "shop" }));
    }

    #[test]
    fn where_there_is_no_plaintext_port_there_is_no_policy() {
        let asks = json!({ "lasthop.dev/inject": "true", "lasthop.dev/upstreams": "1=tls://a:1" });
        assert_eq!(of(&deployment(&asks, &json!({})), "shop"), None);
        assert_eq!(of(&deployment(&json!({}), &json!({})), "shop"), None);
    }

    #[test]
    fn pods_without_labels_cannot_be_selected() {
        let (_, mut pod) = pod_of(&deployment(
            &json!({
                "lasthop.dev/inject": "true", "lasthop.dev/tls-secret": "web-tls",
                "lasthop.dev/ports": "8443:8080",
            }),
            &json!({ "app": "web" }),
        ))
        .unwrap();
        let policy = of(&pod, "shop").unwrap().unwrap();
        assert_eq!(policy["spec"]["podSelector"], json!({ "matchLabels": { "app": "web" } }));
        pod.0["metadata"]["labels"] = json!({});
        assert!(of(&pod, "shop").unwrap().unwrap_err().contains("no labels"));
    }
}
