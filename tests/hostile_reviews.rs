//! Reviews that no API server would send: each field in turn gone, of another type or full of what
//! a terminal should not see. Every one gets a clear status, no answer holds a private key, and the
//! webhook goes on.

use std::net::SocketAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use lasthop_tests::pki::{Pki, SecretData};
use lasthop_tests::process::{Program, Running};
use lasthop_tests::review::Review;
use lasthop_tests::tls::TlsClient;
use serde_json::{Value, json};
use tempfile::TempDir;

/// A webhook that answers from files, and a connection to it that is kept.
struct Scene {
    running: Running,
    connection: TlsClient,
    /// A piece of the private key that no answer may hold, as it stands in the review and in PEM.
    key: [String; 2],
    objects: Vec<Value>,
    _home: TempDir,
}

impl Scene {
    fn new() -> Self {
        let home = TempDir::with_prefix("lasthop-reviews-").unwrap();
        let issued = Pki::new().authority("ca").leaf().dns("a.example").issue();
        let secret = secret(&issued.secret());
        let surroundings = home.path().join("surroundings.json");
        let service = json!({
            "apiVersion": "v1", "kind": "Service", "metadata": { "namespace": "shop", "name": "web" },
            "spec": { "selector": { "app": "web" }, "ports": [{ "port": 80, "targetPort": 8443 }] },
        });
        let around = [secret.clone(), service, workload(), pod()];
        let around = json!({ "apiVersion": "v1", "kind": "List", "items": around });
        std::fs::write(&surroundings, around.to_string()).unwrap();
        let ca = home.path().join("ca.crt");
        let mut running = Program::ours("lasthop")
            .args(["serve", "--listen", "127.0.0.1:0", "--tls-san", "localhost", "--surroundings"])
            .arg(&surroundings)
            .arg("--ca-file")
            .arg(&ca)
            .start();
        let address: SocketAddr = running.address("webhook");
        let root = std::fs::read_to_string(&ca).expect("the webhook wrote its CA");
        let connection = TlsClient::connect(address, "localhost", &root, None).unwrap();
        // Behind the part that is alike in all keys of a kind.
        let pem = issued.key_pem();
        let key = [STANDARD.encode(&pem)[140..170].to_owned(), pem[100..130].to_owned()];
        let mut objects = vec![secret, ingress(), workload(), pod()];
        objects.extend(gateways());
        Self { running, connection, key, objects, _home: home }
    }

    /// The status and the answer.
    fn ask(&mut self, path: &str, review: &Value) -> (u16, String) {
        let body = review.to_string();
        let length = body.len();
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
             Content-Length: {length}\r\n\r\n"
        );
        self.connection.send(head + &body).expect("the connection is kept");
        let head = self.connection.receive_until("\r\n\r\n").expect("the connection is kept");
        let head = head.to_ascii_lowercase();
        let status = head.split(' ').nth(1).and_then(|it| it.parse().ok()).expect("a status");
        let length = head.split("content-length: ").nth(1).and_then(|it| it.lines().next());
        let length = length.and_then(|it| it.parse().ok()).expect("a length");
        let body = self.connection.receive(length).expect("the connection is kept");
        (status, String::from_utf8(body).expect("an answer is UTF-8"))
    }
}

fn secret(data: &SecretData) -> Value {
    let data: serde_json::Map<String, Value> =
        data.iter().map(|(key, bytes)| (key.clone(), STANDARD.encode(bytes).into())).collect();
    json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": { "namespace": "shop", "name": "web-tls", "labels": { "a": "b" } },
        "type": "kubernetes.io/tls",
        "data": data,
    })
}

fn ingress() -> Value {
    let backend = json!({ "service": { "name": "web", "port": { "number": 80 } } });
    let paths = json!([{ "path": "/", "pathType": "Prefix", "backend": backend }]);
    json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": {
            "namespace": "shop",
            "name": "web",
            "annotations": {
                "lasthop.dev/ignore": "LH208: served elsewhere",
                "lasthop.dev/missing-secret": "warn",
                "cert-manager.io/cluster-issuer": "letsencrypt",
                "nginx.ingress.kubernetes.io/backend-protocol": "HTTPS",
                "nginx.ingress.kubernetes.io/proxy-ssl-secret": "shop/web-tls",
                "nginx.ingress.kubernetes.io/proxy-ssl-verify": "on",
                "nginx.ingress.kubernetes.io/proxy-ssl-verify-depth": "2",
                "ingress.bluemix.net/ssl-services": "ssl-service=web ssl-secret=web-tls",
            },
        },
        "spec": {
            "tls": [{ "hosts": ["a.example"], "secretName": "web-tls" }],
            "rules": [{ "host": "a.example", "http": { "paths": paths } }],
        },
    })
}

/// The kinds of other projects that name a Secret, or make one.
fn gateways() -> Vec<Value> {
    let of = |api_version: &str, kind: &str, spec: Value| {
        json!({
            "apiVersion": api_version, "kind": kind,
            "metadata": { "namespace": "shop", "name": "edge" }, "spec": spec,
        })
    };
    let server = json!({
        "port": { "number": 443, "protocol": "HTTPS" }, "hosts": ["./a.example"],
        "tls": { "mode": "MUTUAL", "credentialName": "web-tls" },
    });
    let references = json!([{ "kind": "Secret", "name": "web-tls", "namespace": "edge" }]);
    let listener = json!({
        "name": "https", "hostname": "a.example", "port": 443, "protocol": "HTTPS",
        "tls": {
            "certificateRefs": references, "frontendValidation": { "caCertificateRefs": references },
        },
    });
    vec![
        of(
            "networking.istio.io/v1",
            "Gateway",
            json!({ "selector": { "app": "web" }, "servers": [server] }),
        ),
        of("gateway.networking.k8s.io/v1", "Gateway", json!({ "listeners": [listener] })),
        of(
            "getambassador.io/v3alpha1",
            "Host",
            json!({
                "hostname": "a.example", "tlsSecret": { "name": "web-tls" },
                "tls": { "ca_secret": "web-tls" },
            }),
        ),
        of(
            "cert-manager.io/v1",
            "Certificate",
            json!({ "secretName": "web-tls", "dnsNames": ["a.example"], "commonName": "a.example" }),
        ),
    ]
}

fn pod() -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "namespace": "shop",
            "generateName": "web-",
            "labels": { "app": "web" },
            "annotations": {
                "lasthop.dev/inject": "true",
                "lasthop.dev/tls-secret": "web-tls",
                "lasthop.dev/ports": "8443:8080",
                "lasthop.dev/client-ca-secret": "web-tls",
                "lasthop.dev/allowed-clients": "dns:alb.example",
                "lasthop.dev/sidecar-cpu-limit": "1",
                "lasthop.dev/redirect-port": "8081",
            },
        },
        "spec": {
            "securityContext": { "runAsUser": 1000, "fsGroup": 2000 },
            "initContainers": [{ "name": "init", "image": "init:1" }],
            "containers": [{
                "name": "app",
                "image": "app:1",
                "ports": [{ "containerPort": 8080, "name": "http" }],
                "readinessProbe": { "httpGet": { "path": "/", "port": "http" } },
                "resources": { "limits": { "cpu": "1", "memory": "64Mi" } },
                "volumeMounts": [{ "name": "scratch", "mountPath": "/scratch" }],
            }],
            "volumes": [{ "name": "scratch", "emptyDir": {} }],
        },
    })
}

fn workload() -> Value {
    let pod = pod();
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": { "namespace": "shop", "name": "web" },
        "spec": { "template": { "metadata": pod["metadata"], "spec": pod["spec"] } },
    })
}

/// What takes a field's place; the last stands for nothing at all.
fn replacements() -> Vec<Option<Value>> {
    let nested = (0..60).fold(json!([]), |inner, _| json!([inner]));
    let values = [
        Value::Null,
        json!(5),
        json!(-1.5e308),
        json!(true),
        json!(""),
        json!("x\n\u{1b}[2J\u{0}\u{202e}"),
        json!("9".repeat(400)),
        json!([]),
        json!({}),
        json!([null]),
        json!({ "\u{1b}": null }),
        json!(vec!["x"; 300]),
        nested,
    ];
    values.into_iter().map(Some).chain([None]).collect()
}

/// The pointers (RFC 6901) to everything in `value`.
fn pointers(value: &Value) -> Vec<String> {
    let inner = |step: String, value: &Value| -> Vec<String> {
        let below = pointers(value).into_iter().map(|rest| format!("/{step}{rest}"));
        below.collect()
    };
    let mut all = vec![String::new()];
    match value {
        Value::Object(fields) => all.extend(
            fields
                .iter()
                .flat_map(|(key, value)| inner(key.replace('~', "~0").replace('/', "~1"), value)),
        ),
        Value::Array(items) => {
            all.extend(items.iter().enumerate().flat_map(|(at, it)| inner(at.to_string(), it)));
        }
        _ => {}
    }
    all
}

/// `review` with something else at `pointer`.
fn replaced(review: &Value, pointer: &str, by: Option<Value>) -> Value {
    let mut review = review.clone();
    let (parent, key) = pointer.rsplit_once('/').unwrap_or(("", ""));
    match (by, review.pointer_mut(parent)) {
        (Some(by), _) => *review.pointer_mut(pointer).expect("the pointer is its own") = by,
        (None, Some(Value::Object(fields))) => {
            fields.remove(&key.replace("~1", "/").replace("~0", "~"));
        }
        (None, Some(Value::Array(items))) => drop(items.pop()),
        (None, _) => review = Value::Null,
    }
    review
}

/// What must hold of every answer.
fn assert_sound(what: &str, status: u16, answer: &str, key: &[String]) {
    assert!(!key.iter().any(|key| answer.contains(key)), "a key is in the answer: {what}");
    assert!(matches!(status, 200 | 400), "{what}: {status}: {answer}");
    if status == 400 {
        return;
    }
    let review: Value = serde_json::from_str(answer).unwrap_or_else(|_| panic!("{what}: {answer}"));
    let response = &review["response"];
    assert!(response["uid"].is_string() && response["allowed"].is_boolean(), "{what}: {answer}");
    let texts = response["warnings"].as_array().into_iter().flatten().filter_map(Value::as_str);
    for text in texts {
        let is_plain = !text.chars().any(|it| it.is_control() || it == '\u{202e}');
        assert!(is_plain && text.len() <= 240, "{what}: {text}");
    }
    let message = response["status"]["message"].as_str().unwrap_or_default();
    let steers = |it: char| (it.is_control() && it != '\n') || it == '\u{202e}';
    assert!(!message.contains(steers), "{what}: {message}");
}

#[test]
fn every_field_may_be_anything() {
    let mut scene = Scene::new();
    let mut asked = 0;
    for object in scene.objects.clone() {
        let paths: &[&str] =
            if object["kind"] == "Pod" { &["/mutate", "/validate"] } else { &["/validate"] };
        let review = Review::create(object).body();
        for pointer in pointers(&review) {
            for by in replacements() {
                let what = format!("{pointer} is {by:?}");
                let review = replaced(&review, &pointer, by);
                for path in paths {
                    let (status, answer) = scene.ask(path, &review);
                    assert_sound(&what, status, &answer, &scene.key);
                    asked += 1;
                }
            }
        }
    }
    assert!(asked > 2000, "{asked}");
    let lines = scene.running.lines();
    let holds = |line: &String| {
        line.contains("panick") || scene.key.iter().any(|key| line.contains(key.as_str()))
    };
    assert!(!lines.iter().any(holds), "{lines:#?}");
    assert!(scene.running.is_running());
}

#[test]
fn both_halves_of_an_update_may_be_anything() {
    let mut scene = Scene::new();
    for object in scene.objects.clone() {
        let review = Review::update(object.clone(), object).body();
        for (at, pointer) in pointers(&review["request"]["oldObject"]).iter().enumerate() {
            let pointer = format!("/request/oldObject{pointer}");
            // Each replacement comes by turns; all of them everywhere is the other test's part.
            let mut by = replacements();
            let by = by.swap_remove(at % by.len());
            let what = format!("{pointer} is {by:?}");
            let (status, answer) = scene.ask("/validate", &replaced(&review, &pointer, by));
            assert_sound(&what, status, &answer, &scene.key);
        }
    }
    assert!(scene.running.is_running());
}
