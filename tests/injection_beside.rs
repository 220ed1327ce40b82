//! Injection beside another injector, before and after it, in front of a real API server.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use lasthop_tests::at_end::SetAtEnd;
use lasthop_tests::kubernetes::{Cluster, exclusively, secret_manifest};
use lasthop_tests::pki::Pki;
use lasthop_tests::process::PATIENCE;
use lasthop_tests::webhook::{Elsewhere, Webhook};
use serde_json::{Value, json};

fn pod(namespace: &str, name: &str, annotations: &Value) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": { "namespace": namespace, "name": name, "annotations": annotations },
        "spec": {
            "initContainers": [{ "name": "migrate", "image": "web:1" }],
            "containers": [{ "name": "web", "image": "web:1", "ports": [{ "containerPort": 8080 }] }],
        },
    })
}

fn asks() -> Value {
    json!({ "lasthop.dev/inject": "true", "lasthop.dev/tls-secret": "web-tls" })
}

/// What a mesh's injector does to a pod, in the shapes of Istio's and Linkerd's: an init container and a
/// proxy before all others, a volume, a variable in every container that is there.
fn mesh(pod: &Value) -> Vec<Value> {
    let lists = ["initContainers", "containers"];
    let add = |path: String, value: Value| json!({ "op": "add", "path": path, "value": value });
    let has = |name: &str| {
        let all = lists.iter().filter_map(|list| pod["spec"][list].as_array()).flatten();
        all.into_iter().any(|container| container["name"] == name)
    };
    if has("istio-proxy") {
        return Vec::new();
    }
    let mut patch = Vec::new();
    for list in lists {
        for (index, container) in pod["spec"][list].as_array().into_iter().flatten().enumerate() {
            let variable = json!({ "name": "MESH", "value": "on" });
            patch.push(match container["env"] {
                Value::Null => add(format!("/spec/{list}/{index}/env"), json!([variable])),
                _ => add(format!("/spec/{list}/{index}/env/-"), variable),
            });
        }
    }
    let ready = json!({ "httpGet": { "path": "/ready", "port": 15021 }, "periodSeconds": 1 });
    let proxy = json!({
        "name": "istio-proxy", "image": "mesh:1", "ports": [{ "containerPort": 15090 }],
        "readinessProbe": ready, "volumeMounts": [{ "name": "mesh-certs", "mountPath": "/certs" }],
    });
    let init = json!({
        "name": "mesh-init", "image": "mesh:1",
        "securityContext": { "capabilities": { "add": ["NET_ADMIN"] } },
    });
    let volume = json!({ "name": "mesh-certs", "emptyDir": { "medium": "Memory" } });
    patch.push(add("/spec/containers/0".to_owned(), proxy));
    patch.push(add("/spec/initContainers/0".to_owned(), init));
    patch.push(match pod["spec"]["volumes"] {
        Value::Null => add("/spec/volumes".to_owned(), json!([volume])),
        _ => add("/spec/volumes/-".to_owned(), volume),
    });
    patch
}

/// Answers reviews with what `mesh` makes of them, until the flag is set.
fn serve_mesh(listener: &TcpListener, end: &AtomicBool) {
    listener.set_nonblocking(true).unwrap();
    while !end.load(Ordering::Relaxed) {
        match listener.accept() {
            Ok((stream, _)) => answer(stream),
            Err(_nobody) => std::thread::sleep(Duration::from_millis(5)),
        }
    }
}

fn answer(stream: TcpStream) {
    stream.set_nonblocking(false).unwrap();
    let mut reader = BufReader::new(stream);
    let mut length = 0;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap_or(0) <= 2 {
            break;
        }
        let header = line.to_ascii_lowercase();
        if let Some(value) = header.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
    }
    let mut body = vec![0; length];
    // A connection that was opened in advance and never used has no review.
    let Ok(()) = reader.read_exact(&mut body) else { return };
    let Ok(review) = serde_json::from_slice::<Value>(&body) else { return };
    let patch = Value::from(mesh(&review["request"]["object"]));
    let response = json!({
        "uid": review["request"]["uid"], "allowed": true, "patchType": "JSONPatch",
        "patch": STANDARD.encode(patch.to_string()),
    });
    let answer = json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response,
    });
    let answer = answer.to_string();
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close";
    let _gone =
        write!(reader.get_mut(), "{head}\r\ncontent-length: {}\r\n\r\n{answer}", answer.len());
}

fn mesh_configuration(name: &str, namespace: &str, tls: &Elsewhere) -> Value {
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingWebhookConfiguration",
        "metadata": { "name": name },
        "webhooks": [{
            "name": "pods.mesh.example.com",
            "clientConfig": tls.client_config("/inject"),
            "rules": [{ "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"], "operations": ["CREATE"] }],
            "namespaceSelector": { "matchLabels": { "kubernetes.io/metadata.name": namespace } },
            "failurePolicy": "Fail", "sideEffects": "None", "admissionReviewVersions": ["v1"],
        }],
    })
}

fn names(pod: &Value, list: &str) -> Vec<String> {
    let all = pod["spec"][list].as_array().into_iter().flatten();
    all.map(|it| it["name"].as_str().unwrap().to_owned()).collect()
}

fn injections(webhook: &Webhook) -> u64 {
    let metrics = webhook.metrics();
    let mut lines = metrics.lines();
    let line = lines.find_map(|it| {
        it.strip_prefix("lasthop_injections_total{outcome=\"injected\",reason=\"asked\"} ")
    });
    line.map_or(0, |count| count.parse().unwrap())
}

/// The API server calls webhooks in the order of their configurations' names, and once more those that
/// want it where a later one changed something.
#[test]
fn another_injector_comes_before_or_after_and_both_have_their_way() {
    let Some(cluster) = Cluster::shared() else { return };
    let _turn = exclusively();
    let webhook = Webhook::on(cluster, &[]);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let end = AtomicBool::new(false);
    let mut pods = Vec::new();
    std::thread::scope(|scope| {
        let _end = SetAtEnd(&end);
        scope.spawn(|| serve_mesh(&listener, &end));
        let pki = Pki::new();
        let tls = Elsewhere::before(&pki, listener.local_addr().unwrap());
        for (configuration, calls) in [("a-mesh", 1), ("z-mesh", 2)] {
            let namespace = format!("beside-{configuration}");
            cluster.namespace(&namespace, &["lasthop.dev/inject=enabled"]);
            let leaf = pki.authority("web").leaf().dns("web.example.com").issue();
            let secret =
                secret_manifest(&namespace, "web-tls", "kubernetes.io/tls", &leaf.secret());
            cluster.admitted(&secret);
            cluster.admitted(&mesh_configuration(configuration, &namespace, &tls).to_string());
            wait_until(|| {
                let create = ["create", "--dry-run=server", "-o", "json", "-f", "-"];
                let plain = pod(&namespace, "probe", &json!({})).to_string();
                let made = cluster.kubectl(&create).input(plain).run();
                if made.stdout.contains("istio-proxy") { Ok(()) } else { Err(made.to_string()) }
            });
            let before = injections(&webhook);
            cluster.admitted(&pod(&namespace, "web", &asks()).to_string());
            assert_eq!(injections(&webhook) - before, calls, "{configuration}");
            pods.push(cluster.get(&["pod", "web", "-n", &namespace]));
            let gone = ["delete", "mutatingwebhookconfiguration", configuration];
            cluster.kubectl(&gone).run().expect_success();
        }
    });
    for pod in &pods {
        assert_eq!(names(pod, "containers"), ["istio-proxy", "web"], "{pod:#}");
        let mut init = names(pod, "initContainers");
        init.sort();
        assert_eq!(init, ["lasthop", "mesh-init", "migrate"], "{pod:#}");
        let mut volumes = names(pod, "volumes");
        volumes.sort();
        assert_eq!(volumes, ["lasthop-tls-web-tls", "mesh-certs"], "{pod:#}");
        let proxy = &pod["spec"]["containers"][0];
        assert_eq!(proxy["readinessProbe"]["httpGet"]["port"], 15021, "{proxy:#}");
        assert_eq!(proxy["volumeMounts"][0]["mountPath"], "/certs", "{proxy:#}");
        assert_eq!(pod["spec"]["containers"][1]["env"][0]["name"], "MESH", "{pod:#}");
    }
    // What the other put into the sidecar is the other's, too.
    let after = &pods[1]["spec"]["initContainers"];
    let sidecar = after.as_array().unwrap().iter().find(|it| it["name"] == "lasthop").unwrap();
    let variables: Vec<&Value> =
        sidecar["env"].as_array().unwrap().iter().map(|it| &it["name"]).collect();
    assert_eq!(variables, ["LASTHOP_CONFIG", "MESH"], "{sidecar:#}");
    webhook.stop();
}

/// Tries until it is so; what was in the way is told at the end.
#[track_caller]
fn wait_until(mut attempt: impl FnMut() -> Result<(), String>) {
    let deadline = Instant::now() + PATIENCE;
    while let Err(obstacle) = attempt() {
        assert!(Instant::now() < deadline, "{obstacle}");
        std::thread::sleep(Duration::from_millis(50));
    }
}
