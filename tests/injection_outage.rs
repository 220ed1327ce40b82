//! A webhook that is down, does not answer in time, or not in words that the API server understands: the pods that
//! ask for the sidecar wait, who looks reads why, and nothing else is held up. Afterwards they come by
//! themselves.

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use lasthop_tests::app::App;
use lasthop_tests::golden::{self, Varying};
use lasthop_tests::kubernetes::Cluster;
use lasthop_tests::pki::Pki;
use lasthop_tests::raw::{RawApp, nobody, read_head};
use lasthop_tests::webhook::{Elsewhere, Webhook, configurations};
use lasthop_tests::workloads::{asks, secret, template};
use serde_json::{Value, json};

/// Longer than a controller waits between two attempts by then.
const PATIENCE: Duration = Duration::from_secs(90);

const ASKING: &str = "outage";
const REQUIRED: &str = "outage-required";
const SILENT: &str = "outage-silent";

/// The workloads that are there when lasthop is back.
const LAST: [&str; 2] = ["failing", "down"];

fn pod(namespace: &str, name: &str, annotations: &Value) -> String {
    let mut pod = template(annotations);
    pod["apiVersion"] = "v1".into();
    pod["kind"] = "Pod".into();
    pod["metadata"]["namespace"] = namespace.into();
    pod["metadata"]["name"] = name.into();
    pod.to_string()
}

fn deployment(namespace: &str, name: &str, annotations: &Value) -> String {
    let mut template = template(annotations);
    template["metadata"]["labels"]["app"] = name.into();
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": { "namespace": namespace, "name": name },
        "spec": {
            "replicas": 2,
            "selector": { "matchLabels": { "app": name } },
            "template": template,
        },
    })
    .to_string()
}

/// Tries until it is so; what was in the way is told at the end.
#[track_caller]
fn wait_until<T>(mut attempt: impl FnMut() -> Result<T, String>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match attempt() {
            Ok(done) => return done,
            Err(obstacle) => assert!(Instant::now() < deadline, "{obstacle}"),
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// The answer of a webhook to a question that nobody asked.
fn answer_another_question(mut stream: TcpStream) {
    let head = read_head(&stream).to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    let mut body = vec![0; length.map_or(0, |it| it.parse().unwrap())];
    let _whole = stream.read_exact(&mut body);
    let answer = json!({
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "response": { "uid": "another", "allowed": true },
    });
    let answer = answer.to_string();
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close";
    let _gone = write!(stream, "{head}\r\ncontent-length: {}\r\n\r\n{answer}", answer.len());
}

/// Leads the API server to `client` instead of lasthop, and waits until it goes there.
fn lead_to(cluster: &Cluster, client: &Value, why: &str) -> String {
    let kubectl = |arguments: &[&str]| cluster.kubectl(arguments);
    for mut configuration in configurations(&kubectl, nobody(), b"").unwrap() {
        for webhook in configuration["webhooks"].as_array_mut().unwrap() {
            webhook["clientConfig"] = client.clone();
            webhook["timeoutSeconds"] = 1.into();
        }
        cluster.admitted(&configuration.to_string());
    }
    let asking = pod(ASKING, "asks", &asks());
    wait_until(|| {
        let create = ["create", "--dry-run=server", "-f", "-"];
        let refused = cluster.kubectl(&create).input(asking.as_str()).run().stderr;
        if refused.contains(why) { Ok(refused) } else { Err(refused) }
    })
}

/// Everything that is none of lasthop's business, or only checked by it, goes on.
fn all_else_goes_on(cluster: &Cluster, name: &str) {
    let never = json!({ "lasthop.dev/inject": "false" });
    cluster.admitted(&pod(ASKING, name, &json!({})));
    cluster.admitted(&pod(ASKING, &format!("{name}-never"), &never));
    cluster.admitted(&pod(SILENT, name, &asks()));
    cluster.admitted(&deployment(ASKING, &format!("plain-{name}"), &json!({})));
    secret(cluster, ASKING);
    wait_until(|| pods_of(cluster, &format!("plain-{name}"), 2));
    let run = ["run", "debug", "--image=web:1", "--restart=Never", "-n", ASKING];
    cluster.kubectl(&run).run().expect_success();
    let gone = ["delete", "pod", "debug", "-n", ASKING, "--grace-period=0", "--force"];
    cluster.kubectl(&gone).run().expect_success();
}

fn pods_of(cluster: &Cluster, app: &str, wanted: usize) -> Result<Vec<Value>, String> {
    let pods = cluster.get(&["pods", "-n", ASKING, "-l", &format!("app={app}")]);
    let pods = pods["items"].as_array().unwrap();
    if pods.len() == wanted { Ok(pods.clone()) } else { Err(format!("{app}: {pods:#?}")) }
}

/// What `kubectl describe` shows of the Events of a Deployment's `ReplicaSet`, and what the Deployment
/// itself says in its conditions.
fn told(cluster: &Cluster, name: &str) -> String {
    let describe = ["describe", "replicaset", "-n", ASKING, "-l", &format!("app={name}")];
    let event = wait_until(|| {
        let described = cluster.kubectl(&describe).run().expect_success().stdout;
        let line = described.lines().find_map(|line| line.split_once("  replicaset-controller  "));
        let message = line.filter(|(head, _)| head.contains("Warning  FailedCreate"));
        message.map(|(_, message)| message.trim().to_owned()).ok_or(described)
    });
    let condition = wait_until(|| {
        let deployment = cluster.get(&["deployment", name, "-n", ASKING]);
        let conditions = deployment["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let failure = conditions.iter().find(|it| it["type"] == "ReplicaFailure");
        failure
            .map(|it| it["message"].as_str().unwrap().to_owned())
            .ok_or_else(|| deployment.to_string())
    });
    let (event, condition) = (without_uid(&event), without_uid(&condition));
    assert!(event.contains(&condition), "{event}\n{condition}");
    event
}

/// The API server's question has an id that is another each time.
fn without_uid(text: &str) -> String {
    const BEFORE: &str = "expected response.uid=\"";
    match text.split_once(BEFORE).and_then(|(head, tail)| Some((head, tail.split_once('"')?.1))) {
        Some((head, tail)) => format!("{head}{BEFORE}UID\"{tail}"),
        None => text.to_owned(),
    }
}

#[test]
fn a_webhook_that_is_down_slow_or_answers_garbage_stops_only_the_pods_that_ask_and_they_come_later()
{
    let Some(cluster) = Cluster::shared() else { return };
    let Some(_controllers) = cluster.controllers() else { return };
    let (app, pki) = (App::start(), Pki::new());
    let (tls, confused) = (
        Elsewhere::before(&pki, app.address()),
        Elsewhere::before(&pki, RawApp::start(answer_another_question).address),
    );
    cluster.namespace(ASKING, &["lasthop.dev/inject=enabled"]);
    cluster.namespace(REQUIRED, &["lasthop.dev/inject=required"]);
    cluster.namespace(SILENT, &[]);
    let down = json!({ "url": format!("https://127.0.0.1:{}/mutate", nobody().port()) });
    let cases = [
        ("slow", tls.client_config("/delay/60"), "context deadline exceeded"),
        ("no-review", tls.client_config("/anything"), "webhook response was absent"),
        ("no-json", tls.client_config("/bytes/2000"), "control characters are not allowed"),
        ("of-another", confused.client_config("/mutate"), "expected response.uid"),
        ("failing", tls.client_config("/status/500"), "an error on the server"),
        ("down", down, "connection refused"),
    ];
    let mut shown = String::new();
    for (name, client, why) in &cases {
        let refused = lead_to(cluster, client, why);
        assert!(refused.contains("\"pods.inject.lasthop.dev\""), "{name}: {refused}");
        let all = cluster.refused(&pod(REQUIRED, name, &json!({})));
        assert!(all.contains("all-pods.inject.lasthop.dev"), "{name}: {all}");
        // The Deployment itself is let in, without a word: nobody was there to say one.
        assert_eq!(cluster.admitted(&deployment(ASKING, name, &asks())).stderr, "", "{name}");
        all_else_goes_on(cluster, name);
        let event = told(cluster, name);
        assert!(event.contains(why), "{name}: {event}");
        pods_of(cluster, name, 0).unwrap();
        writeln!(shown, "{name}:\n  {event}").unwrap();
        // A controller that has failed for long tries seldom; the last ones are to be waited for.
        if !LAST.contains(name) {
            let gone = ["delete", "deployment", name, "-n", ASKING, "--wait=false"];
            cluster.kubectl(&gone).run().expect_success();
        }
    }
    golden::check("cases/outage.txt", &shown, &[Varying::Ports]);

    let webhook = Webhook::on(cluster, &[]);
    for name in LAST {
        for pod in wait_until(|| pods_of(cluster, name, 2)) {
            assert_eq!(pod["spec"]["initContainers"][0]["name"], "lasthop", "{name}: {pod:#}");
        }
    }
    webhook.stop();
}
