//! `LimitRange`s and `ResourceQuota`s: what is said of them when a workload is applied is what a real API server then
//! does with its pods, and what is advised cures it.

use lasthop_tests::kubernetes::{Cluster, exclusively};
use lasthop_tests::webhook::Webhook;
use lasthop_tests::workloads::{bounded_deployment, namespace};
use serde_json::{Value, json};

/// A namespace with one thing that bounds its pods.
struct Room {
    name: &'static str,
    /// The `LimitRange` or the `ResourceQuota`, without its metadata.
    bounds: Value,
    told: Told,
}

/// What is said of the sidecar there.
enum Told {
    /// Nothing, and the pods are created.
    Nothing,
    /// This code, and in the advice this annotation with this value. Without it, the API server refuses
    /// the pods with these words.
    Code(&'static str, &'static str, &'static str, &'static str),
}

use Told::{Code, Nothing};

fn limits(of: &str, fields: &Value) -> Value {
    let mut limit = fields.clone();
    limit["type"] = of.into();
    json!({ "kind": "LimitRange", "spec": { "limits": [limit] } })
}

fn quota(hard: &Value, used: &Value) -> Value {
    json!({
        "kind": "ResourceQuota", "spec": { "hard": hard },
        "status": { "hard": hard, "used": used },
    })
}

fn in_scope(mut quota: Value, scope: &str) -> Value {
    quota["spec"]["scopes"] = json!([scope]);
    quota
}

/// The pod's own container requests 200m and 64Mi, and has limits of 1 and 64Mi; the sidecar requests 10m and
/// 32Mi, and has limits of 1 and 128Mi.
fn rooms() -> Vec<Room> {
    [of_each_container(), of_each_pod(), of_the_namespace()].into_iter().flatten().collect()
}

fn room(name: &'static str, bounds: Value, told: Told) -> Room {
    Room { name, bounds, told }
}

fn of_each_container() -> Vec<Room> {
    let container = |fields: Value| limits("Container", &fields);
    let defaults =
        json!({ "default": { "cpu": "5", "memory": "5Gi" }, "defaultRequest": { "cpu": "4" } });
    let wide = json!({ "min": { "cpu": "10m", "memory": "32Mi" }, "max": { "memory": "128Mi" } });
    vec![
        room("defaults", container(defaults), Nothing),
        room("wide", container(wide), Nothing),
        room(
            "least-cpu",
            container(json!({ "min": { "cpu": "100m" } })),
            Code("LH340", "sidecar-cpu-request", "100m", "minimum cpu usage per Container is 100m"),
        ),
        room(
            "least-memory",
            container(json!({ "min": { "memory": "48Mi" } })),
            Code(
                "LH340",
                "sidecar-memory-request",
                "48Mi",
                "minimum memory usage per Container is 48Mi",
            ),
        ),
        room(
            "most-memory",
            container(json!({ "max": { "memory": "96Mi" } })),
            Code(
                "LH340",
                "sidecar-memory-limit",
                "96Mi",
                "maximum memory usage per Container is 96Mi",
            ),
        ),
        room(
            "ratio",
            container(json!({ "maxLimitRequestRatio": { "cpu": "5" } })),
            Code(
                "LH340",
                "sidecar-cpu-request",
                "200m",
                "cpu max limit to request ratio per Container is 5",
            ),
        ),
    ]
}

fn of_each_pod() -> Vec<Room> {
    let pod = |fields: Value| limits("Pod", &fields);
    vec![
        room(
            "pod-most-cpu",
            pod(json!({ "max": { "cpu": "1500m" } })),
            Code("LH340", "sidecar-cpu-limit", "500m", "maximum cpu usage per Pod is 1500m"),
        ),
        room("pod-enough", pod(json!({ "max": { "cpu": "2", "memory": "192Mi" } })), Nothing),
        room("pod-least", pod(json!({ "min": { "cpu": "200m", "memory": "64Mi" } })), Nothing),
    ]
}

fn of_the_namespace() -> Vec<Room> {
    let of_500m = json!({ "requests.cpu": "500m" });
    let others = quota(&json!({ "requests.cpu": "1m" }), &json!({}));
    vec![
        room("quota-enough", quota(&of_500m, &json!({ "requests.cpu": "290m" })), Nothing),
        room(
            "quota-cpu",
            quota(&of_500m, &json!({ "requests.cpu": "295m" })),
            Code("LH341", "sidecar-cpu-request", "5m", "exceeded quota"),
        ),
        room(
            "quota-memory",
            quota(&json!({ "limits.memory": "160Mi" }), &json!({ "limits.memory": "0" })),
            Code("LH341", "sidecar-memory-limit", "96Mi", "exceeded quota"),
        ),
        room("quota-of-others", in_scope(others, "Terminating"), Nothing),
    ]
}

/// Makes the namespace, and what bounds its pods; the status of a quota is otherwise a controller's.
fn furnish(cluster: &Cluster, room: &Room) {
    namespace(cluster, room.name);
    let mut bounds = room.bounds.clone();
    bounds["apiVersion"] = "v1".into();
    bounds["metadata"] = json!({ "namespace": room.name, "name": "room" });
    cluster.admitted(&bounds.to_string());
    if let Some(status) = bounds.get("status") {
        let patch = json!({ "status": status }).to_string();
        let patch = [
            "patch",
            "resourcequota",
            "room",
            "-n",
            room.name,
            "--subresource=status",
            "--type=merge",
            "-p",
            &patch,
        ];
        cluster.kubectl(&patch).run().expect_success();
    }
}

/// What the person is told who applies the Deployment, and what comes of its pods.
fn tried(cluster: &Cluster, deployment: &Value) -> (String, Result<(), String>) {
    let told = cluster.admitted(&deployment.to_string()).stderr;
    let mut pod = deployment["spec"]["template"].clone();
    pod["apiVersion"] = "v1".into();
    pod["kind"] = "Pod".into();
    pod["metadata"]["name"] = "web".into();
    pod["metadata"]["namespace"] = deployment["metadata"]["namespace"].clone();
    let create = ["create", "--dry-run=server", "-f", "-"];
    let created = cluster.kubectl(&create).input(pod.to_string()).run();
    (told, if created.status.success() { Ok(()) } else { Err(created.stderr) })
}

#[test]
fn what_is_said_of_the_room_in_a_namespace_is_what_the_api_server_does() {
    let Some(cluster) = Cluster::shared() else { return };
    let _turn = exclusively();
    let webhook = Webhook::on(cluster, &[]);
    for room in rooms() {
        furnish(cluster, &room);
        let name = room.name;
        let mut asks = json!({ "lasthop.dev/inject": "true", "lasthop.dev/tls-secret": "web-tls" });
        let bare = tried(cluster, &bounded_deployment(name, &json!({})));
        assert_eq!(bare, (String::new(), Ok(())), "{name}: it is not for the sidecar's sake");
        let (told, created) = tried(cluster, &bounded_deployment(name, &asks));
        let Code(code, annotation, value, words) = room.told else {
            assert_eq!((told.as_str(), created), ("", Ok(())), "{name}");
            continue;
        };
        let cure = format!("lasthop.dev/{annotation}: {value}");
        assert!(told.contains(code) && told.contains(&cure), "{name}: {told}");
        let refused = created.expect_err(name);
        assert!(refused.contains(words), "{name}: {refused}");
        asks[format!("lasthop.dev/{annotation}")] = value.into();
        assert_eq!(
            tried(cluster, &bounded_deployment(name, &asks)),
            (String::new(), Ok(())),
            "{name}"
        );
    }
    webhook.stop();
}
