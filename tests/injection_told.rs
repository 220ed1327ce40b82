//! What people learn of pods that go without the sidecar, or that a namespace has no room for: warnings,
//! Events and metrics, in front of a real API server.

use std::time::{Duration, Instant};

use lasthop_tests::kubernetes::{Cluster, exclusively};
use lasthop_tests::process::PATIENCE;
use lasthop_tests::webhook::Webhook;
use lasthop_tests::workloads::{asks, bounded_deployment, secret};
use serde_json::{Value, json};

/// The pod that the controller `owner` makes of `deployment`; there is none here.
fn pod_of(deployment: &Value, name: &str, owner: Option<&Value>) -> Value {
    let template = &deployment["spec"]["template"];
    let mut pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": template["metadata"], "spec": template["spec"],
    });
    pod["metadata"]["name"] = name.into();
    pod["metadata"]["namespace"] = deployment["metadata"]["namespace"].clone();
    if let Some(owner) = owner {
        pod["metadata"]["ownerReferences"] = json!([{
            "apiVersion": owner["apiVersion"], "kind": owner["kind"], "controller": true,
            "name": owner["metadata"]["name"], "uid": owner["metadata"]["uid"],
        }]);
    }
    pod
}

/// The Events of a namespace, as soon as there is one of this reason.
fn events(cluster: &Cluster, namespace: &str, reason: &str) -> Vec<Value> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let events = cluster.get(&["events", "-n", namespace]);
        let events = events["items"].as_array().unwrap().clone();
        if events.iter().any(|event| event["reason"] == reason) {
            return events;
        }
        assert!(Instant::now() < deadline, "no {reason} among {events:#?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_workload_whose_pods_go_without_the_sidecar_says_so_from_then_on() {
    let Some(cluster) = Cluster::shared() else { return };
    let _turn = exclusively();
    let webhook = Webhook::on(cluster, &[]);
    cluster.namespace("told-silent", &[]);
    secret(cluster, "told-silent");
    let unlabelled = bounded_deployment("told-silent", &asks());
    let dry = ["apply", "-f", "-", "--dry-run=server"];
    let dry = cluster.kubectl(&dry).input(unlabelled.to_string()).run().expect_success();
    assert!(dry.stderr.contains("LH310"), "{dry}");
    let told = cluster.admitted(&unlabelled.to_string()).stderr;
    assert!(told.contains("LH310"), "{told}");
    let events = events(cluster, "told-silent", "SidecarNotInjected");
    let [event] = &events[..] else { panic!("the dry-run has left one, too: {events:#?}") };
    let stored = cluster.get(&["deployment", "web", "-n", "told-silent"]);
    assert_eq!(event["involvedObject"]["uid"], stored["metadata"]["uid"]);
    assert!(event["message"].as_str().unwrap().contains("kubectl label namespace told-silent"));
    let described = ["describe", "deployment", "web", "-n", "told-silent"];
    let described = cluster.kubectl(&described).run().expect_success().stdout;
    assert!(described.contains("SidecarNotInjected"), "{described}");

    cluster.namespace("told-out", &["lasthop.dev/inject=enabled"]);
    let out = bounded_deployment("told-out", &json!({ "lasthop.dev/inject": "false" }));
    let told = cluster.admitted(&out.to_string()).stderr;
    assert!(told.contains("LH338"), "{told}");
    webhook.stop();
}

#[test]
fn what_a_controller_is_warned_of_stands_on_the_controller_once_for_all_its_pods() {
    let Some(cluster) = Cluster::shared() else { return };
    let _turn = exclusively();
    let webhook = Webhook::on(cluster, &[]);
    cluster.namespace("told-owner", &["lasthop.dev/inject=enabled"]);
    secret(cluster, "told-owner");
    let mut annotations = asks();
    annotations["lasthop.dev/ports"] = "443:8080".into();
    let owner = bounded_deployment("told-owner", &annotations);
    cluster.admitted(&owner.to_string());
    let owner = cluster.get(&["deployment", "web", "-n", "told-owner"]);
    for name in ["one", "two", "three"] {
        cluster.admitted(&pod_of(&owner, name, Some(&owner)).to_string());
    }
    let events = events(cluster, "told-owner", "SidecarWarning");
    let warned: Vec<&Value> =
        events.iter().filter(|event| event["reason"] == "SidecarWarning").collect();
    assert_eq!(warned.len(), 1, "{events:#?}");
    assert!(warned[0]["message"].as_str().unwrap().starts_with("LH331"), "{events:#?}");
    webhook.stop();
}

#[test]
fn a_namespace_without_room_for_the_sidecar_is_told_before_its_pods_are_refused() {
    let Some(cluster) = Cluster::shared() else { return };
    let _turn = exclusively();
    let webhook = Webhook::on(cluster, &[]);
    let namespace = "told-room";
    cluster.namespace(namespace, &["lasthop.dev/inject=enabled"]);
    secret(cluster, namespace);
    let range = json!({
        "apiVersion": "v1", "kind": "LimitRange",
        "metadata": { "namespace": namespace, "name": "least" },
        "spec": { "limits": [{ "type": "Container", "min": { "cpu": "100m" } }] },
    });
    cluster.admitted(&range.to_string());
    let small = bounded_deployment(namespace, &asks());
    let told = cluster.admitted(&small.to_string()).stderr;
    let cure = "lasthop.dev/sidecar-cpu-request: 100m";
    assert!(told.contains("LH340") && told.contains(cure), "{told}");
    let refused = cluster.refused(&pod_of(&small, "small", None).to_string());
    assert!(refused.contains("minimum cpu usage per Container is 100m"), "{refused}");

    let mut annotations = asks();
    annotations["lasthop.dev/sidecar-cpu-request"] = "100m".into();
    let cured = bounded_deployment(namespace, &annotations);
    assert_eq!(cluster.admitted(&cured.to_string()).stderr, "");
    cluster.admitted(&pod_of(&cured, "cured", None).to_string());
    let metrics = webhook.metrics();
    let counted = |labels: &str| {
        let line = format!("lasthop_injections_total{{{labels}}}");
        metrics.lines().any(|it| it.starts_with(&line))
    };
    assert!(counted("outcome=\"injected\",reason=\"asked\""), "{metrics}");
    webhook.stop();
}
