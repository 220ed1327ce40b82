//! `lasthop serve --surroundings` over HTTPS, asked as an API server asks, and as nobody should.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use lasthop_tests::curl::Curl;
use lasthop_tests::openssl::SClient;
use lasthop_tests::pki::Pki;
use lasthop_tests::process::{Program, Running};
use lasthop_tests::review::Review;
use lasthop_tests::secret_dir::SecretDir;
use lasthop_tests::skip;
use serde_json::{Value, json};
use tempfile::TempDir;

/// Longer than a client may take for its handshake or its first request, with some reserve.
const PATIENCE: Duration = Duration::from_secs(15);

const MIB: usize = 1024 * 1024;

/// A webhook that answers from files: the namespace `shop` with the Secret `web-tls`.
struct Webhook {
    running: Running,
    address: SocketAddr,
    ca: PathBuf,
    pki: Pki,
    _home: TempDir,
}

impl Webhook {
    fn start(arguments: &[&str]) -> Self {
        let home = TempDir::with_prefix("lasthop-admission-").unwrap();
        let pki = Pki::new();
        let leaf = pki.authority("web").leaf().dns("web.example.com").issue();
        let labels = json!({ "lasthop.dev/inject": "enabled" });
        let objects = [
            json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "shop", "labels": labels } }),
            secret("web-tls", &leaf.chain_pem(), &leaf.key_pem()),
        ];
        let surroundings = home.path().join("surroundings.json");
        let list = json!({ "apiVersion": "v1", "kind": "List", "items": objects });
        std::fs::write(&surroundings, list.to_string()).unwrap();
        let ca = home.path().join("ca.crt");
        let mut running = Program::ours("lasthop")
            .args(["serve", "--listen", "127.0.0.1:0", "--surroundings"])
            .arg(&surroundings)
            .arg("--ca-file")
            .arg(&ca)
            .args(arguments)
            .start();
        let address = running.address("webhook");
        Self { running, address, ca, pki, _home: home }
    }

    fn request(&self, path: &str) -> Curl {
        Curl::get(&format!("https://{}/{path}", self.address)).trust(&self.ca)
    }

    fn validate(&self) -> Curl {
        self.request("validate?timeout=5s")
    }

    /// That it judges as ever.
    #[track_caller]
    fn judges(&self) {
        Review::create(ingress("web-tls")).ask(self.validate()).expect_allowed();
        let refused = Review::create(ingress("no-such-secret")).ask(self.validate());
        assert!(refused.expect_refused().contains("no-such-secret"));
    }

    /// That nothing panicked.
    fn expect_no_panic(&self) {
        let lines = self.running.lines();
        assert!(!lines.iter().any(|line| line.contains("panick")), "{lines:#?}");
    }

    /// The most memory that the process has had.
    fn peak_memory(&self) -> usize {
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", self.running.pid())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 1024
    }
}

fn secret(name: &str, certificate: &str, key: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": { "namespace": "shop", "name": name },
        "type": "kubernetes.io/tls",
        "stringData": { "tls.crt": certificate, "tls.key": key },
    })
}

fn ingress(secret: &str) -> Value {
    let backend = json!({ "service": { "name": "web", "port": { "number": 80 } } });
    let paths = json!([{ "path": "/", "pathType": "Prefix", "backend": backend }]);
    json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": { "namespace": "shop", "name": "web" },
        "spec": {
            "tls": [{ "hosts": ["web.example.com"], "secretName": secret }],
            "rules": [{ "host": "web.example.com", "http": { "paths": paths } }],
        },
    })
}

fn pod() -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "namespace": "shop",
            "name": "web",
            "annotations": { "lasthop.dev/inject": "true", "lasthop.dev/tls-secret": "web-tls" },
        },
        "spec": {
            "containers": [{
                "name": "web",
                "image": "web:1",
                "ports": [{ "containerPort": 8080 }],
            }],
        },
    })
}

#[test]
fn what_is_no_review_gets_a_clear_status_while_reviews_are_answered() {
    if skip::lacks(&["curl"]) {
        return;
    }
    let webhook = Webhook::start(&[]);
    let review = |change: &dyn Fn(&mut Value)| {
        let mut body = Review::create(ingress("web-tls")).body();
        change(&mut body);
        body.to_string().into_bytes()
    };
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        ("nothing", Vec::new(), "not JSON"),
        ("no JSON", b"apiVersion: v1".to_vec(), "not JSON: expected value at line 1 column 1"),
        ("half a review", review(&|_| ()).split_off(20), "not JSON"),
        ("bytes that are no text", vec![b'"', 0xff, 0xfe, b'"'], "not JSON"),
        ("JSON too deep for anybody", vec![b'['; 100_000], "not JSON: recursion limit"),
        ("null", b"null".to_vec(), "not an AdmissionReview but null"),
        ("a list", b"[]".to_vec(), "not an AdmissionReview but an array"),
        ("an empty object", b"{}".to_vec(), "an object without `kind`"),
        (
            "another kind",
            ingress("web-tls").to_string().into(),
            "`Ingress` of `networking.k8s.io/v1`",
        ),
        ("v1beta1", review(&|it| it["apiVersion"] = json!("admission.k8s.io/v1beta1")), "v1beta1"),
        ("no request", review(&|it| it["request"] = Value::Null), "`request` is missing"),
        ("no uid", review(&|it| it["request"]["uid"] = Value::Null), "`request.uid` is missing"),
        (
            "no operation",
            review(&|it| it["request"]["operation"] = json!(7)),
            "`request.operation`",
        ),
        ("no object", review(&|it| it["request"]["object"] = Value::Null), "`request.object`"),
        ("a text as object", review(&|it| it["request"]["object"] = json!("x")), "is a string"),
        (
            "no metadata",
            review(&|it| drop(it["request"]["object"].as_object_mut().unwrap().remove("metadata"))),
            "`request.object.metadata` is missing",
        ),
        (
            "metadata of another type",
            review(&|it| it["request"]["object"]["metadata"] = json!([])),
            "`request.object.metadata` is missing",
        ),
    ];
    for (what, body, expected) in cases {
        for path in ["validate", "mutate"] {
            let answer = webhook.request(path).body_bytes(body.clone()).run();
            assert_eq!(answer.status, 400, "{what}: {answer:?}");
            assert!(answer.text().contains(expected), "{what}: {}", answer.text());
            assert!(answer.text().len() < 300, "{what}: {}", answer.text());
        }
        webhook.judges();
    }
    webhook.request("validate").run().expect(405);
    webhook.request("").run().expect(404);
    webhook.judges();
    webhook.expect_no_panic();
}

#[test]
fn objects_of_the_wrong_shape_are_judged_without_a_panic() {
    if skip::lacks(&["curl"]) {
        return;
    }
    let webhook = Webhook::start(&[]);
    let wrong = [json!(null), json!(7), json!([[]]), json!({ "tls": { "a": [null] } })];
    let objects = [
        (ingress("web-tls"), ["spec", "metadata"].as_slice()),
        (secret("web-tls", "", ""), &["type", "data", "stringData", "metadata"]),
        (pod(), &["spec", "metadata"]),
    ];
    for (object, fields) in objects {
        for field in fields.iter().copied() {
            for value in &wrong {
                let mut object = object.clone();
                if field == "metadata" {
                    object[field]["annotations"] = value.clone();
                    object[field]["ownerReferences"] = value.clone();
                } else {
                    object[field] = value.clone();
                }
                for path in ["validate", "mutate"] {
                    // Allowed or refused: any answer will do.
                    let asked = Review::create(object.clone()).ask(webhook.request(path));
                    assert!(asked.0["allowed"].is_boolean());
                }
            }
        }
    }
    webhook.judges();
    webhook.expect_no_panic();
}

#[test]
fn what_nobody_here_knows_is_let_through_with_a_word() {
    if skip::lacks(&["curl"]) {
        return;
    }
    let webhook = Webhook::start(&[]);
    let widget = json!({
        "apiVersion": "example.com/v1", "kind": "Widget", "metadata": { "name": "w" },
    });
    let answer = Review::create(widget.clone()).ask(webhook.validate()).expect_allowed();
    assert!(answer.warnings()[0].contains("no rules for Widget (example.com/v1)"));
    let answer = Review::create(widget).ask(webhook.request("mutate")).expect_allowed();
    assert!(answer.0.get("patch").is_none());

    // PodExecOptions has no metadata, and nothing to judge.
    let exec = json!({ "apiVersion": "v1", "kind": "PodExecOptions", "command": ["sh"] });
    let exec = Review::create(exec).with("operation", json!("CONNECT"));
    let exec = exec.with("subResource", json!("exec")).ask(webhook.validate()).expect_allowed();
    assert_eq!(exec.warnings(), Vec::<&str>::new());

    // A subresource carries the whole object, and is not what anybody types.
    let status = Review::update(ingress("no-such-secret"), ingress("no-such-secret-2"));
    status.with("subResource", json!("status")).ask(webhook.validate()).expect_allowed();
    webhook.expect_no_panic();
}

#[test]
fn a_refusal_and_a_patch_have_the_shape_that_the_api_server_reads() {
    if skip::lacks(&["curl"]) {
        return;
    }
    let webhook = Webhook::start(&[]);
    let refused = Review::create(ingress("web-tsl")).ask(webhook.validate());
    let text = refused.expect_refused();
    assert!(text.starts_with('\n'), "{text}");
    assert!(text.contains("web-tsl") && text.contains("web-tls"), "{text}");

    let injected = Review::create(pod()).ask(webhook.request("mutate?timeout=10s"));
    let patched = injected.expect_allowed().patched(&pod());
    let added = patched["spec"]["initContainers"].as_array().unwrap();
    assert_eq!(added.len(), 1, "{patched:#}");
    assert_eq!(added[0]["restartPolicy"], "Always");
    let again = Review::create(patched.clone()).ask(webhook.request("mutate"));
    assert_eq!(again.expect_allowed().patched(&patched), patched);
    // A pod is changed when it is made and at no other time.
    let update = Review::update(pod(), pod()).ask(webhook.request("mutate")).expect_allowed();
    assert!(update.0.get("patch").is_none());
}

#[test]
fn a_body_of_16_mib_is_read_and_a_longer_one_is_not_even_kept() {
    if skip::lacks(&["curl"]) {
        return;
    }
    let webhook = Webhook::start(&[]);
    webhook.judges();
    let before = webhook.peak_memory();
    let too_long = vec![b' '; 20 * MIB];
    let sent = || webhook.validate().body_bytes(too_long.clone());
    // As curl does it: asking first. Then without, as a Go client does; over both versions of HTTP.
    for request in
        [sent(), sent().http1(), sent().header("Expect:"), sent().http1().header("Expect:")]
    {
        let answer = request.run().expect(413);
        assert!(answer.text().contains("longer than 16777216 bytes"), "{}", answer.text());
    }
    let kept = webhook.peak_memory() - before;
    assert!(kept < 10 * MIB, "{kept} bytes were kept");
    // Of a body without a length one learns how long it is by reading it.
    let chunked = sent().http1().header("Expect:").header("Transfer-Encoding: chunked");
    chunked.run().expect(413);

    let mut large = ingress("web-tls");
    large["metadata"]["annotations"]["example.com/note"] = json!("x".repeat(7 * MIB));
    Review::update(large.clone(), large).ask(webhook.validate()).expect_allowed();
    // As small to send as it would be large to keep.
    let crowded = webhook.validate().body_bytes(format!("[{}0]", "0,".repeat(8_000_000))).run();
    assert!(crowded.expect(413).text().contains("more than 500000 JSON values"));
    webhook.judges();
    webhook.expect_no_panic();
}

#[test]
fn who_sends_nothing_or_half_of_something_is_closed_and_holds_up_nobody() {
    if skip::lacks(&["curl", "openssl"]) {
        return;
    }
    let webhook = Webhook::start(&[]);
    let connect = || {
        let stream = TcpStream::connect(webhook.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    };
    let silent: Vec<TcpStream> = std::iter::repeat_with(connect).take(200).collect();
    let mut plain = connect();
    plain.write_all(b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    let mut noise = connect();
    noise.write_all(&[0x16, 0x03, 0x01, 0xff, 0xff, 0, 1, 2, 3]).unwrap();
    std::thread::scope(|scope| {
        // A client that shakes hands and then has nothing, half a request, half a body to say.
        for text in [
            "",
            "POST /validate HTTP/1.1\r\nHost: a\r\n",
            "POST /validate HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n{",
        ] {
            let address = webhook.address;
            scope.spawn(move || {
                let began = Instant::now();
                SClient::to(address).option("-ign_eof", None).send(text).run();
                assert!(began.elapsed() < PATIENCE, "{text:?} took {:?}", began.elapsed());
            });
        }
        for _ in 0..5 {
            webhook.judges();
        }
    });
    for mut stream in silent.into_iter().chain([plain, noise]) {
        // What is written last may be an alert; then it is over, one way or the other.
        let mut rest = Vec::new();
        match stream.read_to_end(&mut rest) {
            Ok(read) => assert!(read < 100, "{rest:?}"),
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset),
        }
    }
    webhook.judges();
    webhook.expect_no_panic();
}

#[test]
fn http_1_and_http_2_are_spoken_over_tls_1_2_and_1_3() {
    if skip::lacks(&["curl", "openssl"]) {
        return;
    }
    let webhook = Webhook::start(&["--tls-san", "webhook.example.com,10.1.2.3"]);
    assert_eq!(webhook.request("livez").run().expect(200).version, "2");
    assert_eq!(webhook.request("livez").http1().run().expect(200).version, "1.1");
    assert_eq!(webhook.request("readyz").run().expect(200).text(), "ok\n");
    for name in ["webhook.example.com", "lasthop.lasthop-system.svc", "localhost", "10.1.2.3"] {
        let by_name = Curl::get(&format!("https://{name}/livez")).at(webhook.address);
        by_name.trust(&webhook.ca).run().expect(200);
    }
    let elsewhere = Curl::get("https://elsewhere.example.com/livez").at(webhook.address);
    assert_eq!(elsewhere.trust(&webhook.ca).run().exit, 60);
    let old = SClient::to(webhook.address).option("-tls1_2", None).run();
    assert_eq!(old.protocol(), Some("TLSv1.2"));
    let older = SClient::to(webhook.address).option("-tls1_1", None);
    let older = older.option("-cipher", Some("DEFAULT@SECLEVEL=0")).run();
    assert!(older.alert().is_some(), "TLS 1.1 was to be refused: {older:?}");
}

#[test]
fn metrics_and_log_say_what_was_judged_and_nothing_of_what_it_held() {
    if skip::lacks(&["curl"]) {
        return;
    }
    let mut webhook = Webhook::start(&[]);
    webhook.judges();
    let other = webhook.pki.authority("other").leaf().dns("web.example.com").issue();
    let own = webhook.pki.authority("own").leaf().dns("web.example.com").issue();
    let mismatch = secret("web-tls", &own.chain_pem(), &other.key_pem());
    let refused = Review::create(mismatch).ask(webhook.validate());
    let text = refused.0.to_string();
    webhook.request("mutate").body("{").run().expect(400);

    let metrics = webhook.request("metrics").run().expect(200);
    let kind = metrics.header("content-type").unwrap();
    assert!(kind.starts_with("application/openmetrics-text"), "{kind}");
    for line in [
        "lasthop_reviews_total{entry=\"validate\",verdict=\"allowed\"} 1",
        "lasthop_reviews_total{entry=\"mutate\",verdict=\"malformed\"} 1",
        "lasthop_reviews_total{entry=\"mutate\",verdict=\"failed\"} 0",
        "lasthop_review_duration_seconds_count{entry=\"mutate\"} 1",
        "lasthop_findings_total{code=\"LH201\",severity=\"error\"} 1",
        "# EOF",
    ] {
        assert!(metrics.text().lines().any(|it| it == line), "{line}\n{}", metrics.text());
    }
    let entry =
        webhook.running.wait_for_log(|it| it["message"] == "review" && it["kind"] == "Secret");
    assert_eq!(entry["namespace"], "shop");
    assert_eq!(entry["name"], "web-tls");
    assert_eq!(entry["operation"], "create");
    assert_eq!(entry["requester"], "person");
    assert!(entry["seconds"].is_number() && entry["uid"].is_string());

    let log = webhook.running.lines().join("\n");
    let key = other.key_pem();
    let piece = key.lines().nth(1).unwrap();
    for place in [&log, &text, &metrics.text()] {
        assert!(!place.contains(piece) && !place.contains("PRIVATE KEY"), "{place}");
    }
}

#[test]
fn a_stop_finishes_what_is_under_way_and_sends_others_elsewhere() {
    if skip::lacks(&["curl"]) {
        return;
    }
    let mut webhook = Webhook::start(&["--drain-delay", "2", "--drain-timeout", "5"]);
    webhook.judges();
    // A body that comes slowly: this review is under way when the signal comes.
    let mut large = ingress("web-tls");
    large["metadata"]["annotations"]["example.com/note"] = json!("x".repeat(500_000));
    let body = Review::create(large).body().to_string();
    let slow = webhook.validate().body_bytes(body).option("--limit-rate", "200K");
    std::thread::scope(|scope| {
        let slow = scope.spawn(move || slow.http1().run());
        std::thread::sleep(Duration::from_millis(300));
        webhook.running.terminate();
        webhook.running.wait_for_log(|it| it["message"] == "shutting down");
        let ready = webhook.request("readyz").http1().run();
        assert!(ready.clone().expect(503).text().contains("shutting down"));
        assert_eq!(ready.header("connection"), Some("close"));
        webhook.judges();
        slow.join().unwrap().expect(200);
    });
    let ended = webhook.running.finish().expect_success();
    assert!(ended.stdout.contains("\"stopped\""), "{ended}");
}

#[test]
fn a_stop_does_not_wait_for_ever() {
    let mut webhook = Webhook::start(&["--drain-delay", "0", "--drain-timeout", "1"]);
    let mut idle = TcpStream::connect(webhook.address).unwrap();
    webhook.running.terminate();
    webhook.running.wait_for_log(|it| it["message"] == "shutting down");
    // `finish` has a deadline of its own.
    webhook.running.finish().expect_success();
    assert_eq!(idle.read(&mut [0]).unwrap_or(0), 0);
}

#[test]
fn a_certificate_in_a_directory_is_read_again_and_a_broken_one_changes_nothing() {
    if skip::lacks(&["curl", "openssl"]) {
        return;
    }
    let pki = Pki::new();
    let authority = pki.authority("webhook");
    let issue = || authority.leaf().dns("webhook.example.com").issue();
    let (first, second) = (issue(), issue());
    let directory = SecretDir::new(&first.secret());
    let files = TempDir::new().unwrap();
    let mut running = Program::ours("lasthop")
        .args(["serve", "--listen", "127.0.0.1:0", "--surroundings"])
        .arg(files.path())
        .arg("--tls-dir")
        .arg(directory.path())
        .start();
    let address = running.address("webhook");
    let reach = || {
        let curl = Curl::get("https://webhook.example.com/livez").at(address);
        curl.trust(authority.root_file()).run().expect(200)
    };
    reach();
    let mut broken = second.secret();
    broken.insert("tls.key".to_owned(), first.key_pem().into_bytes());
    directory.rotate(&broken);
    let told = running.wait_for_log(|it| it["level"] == "ERROR");
    assert!(told["error"].as_str().unwrap().contains("`tls.key`"), "{told}");
    reach();
    directory.rotate(&second.secret());
    let serial = lasthop_contract::text::hex(second.serial());
    running.wait_for_log(|it| it["serial"].as_str().is_some_and(|it| serial.ends_with(it)));
    reach();

    directory.rotate(&broken);
    let refused = Program::ours("lasthop")
        .args(["serve", "--listen", "127.0.0.1:0", "--surroundings"])
        .arg(files.path())
        .arg("--tls-dir")
        .arg(directory.path())
        .run();
    assert_eq!(refused.code(), 1);
    assert!(refused.stdout.contains("`tls.key`"), "{refused}");
}

#[test]
fn a_wrong_start_ends_at_once_with_the_reason() {
    let files = TempDir::new().unwrap();
    let bad = files.path().join("bad.yaml");
    std::fs::write(&bad, "kind: [").unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let config = files.path().join("config");
    std::fs::write(&config, "users:\n- user: {token: s3cret, client-key-data: s3cret\n").unwrap();
    let config = config.to_str().unwrap();
    let empty = TempDir::new().unwrap();
    let (bad, empty) = (bad.to_str().unwrap(), empty.path().to_str().unwrap());
    for (arguments, code, expected) in [
        (vec!["--surroundings", bad], 1, "bad.yaml"),
        (vec!["--surroundings", "/no/such/path"], 1, "/no/such/path"),
        (vec!["--surroundings", empty, "--tls-dir", empty], 1, "tls.crt"),
        (vec!["--surroundings", empty, "--ca-file", "/no/such/dir/ca"], 1, "/no/such/dir/ca"),
        (vec!["--kubeconfig", "/no/such/config"], 1, "/no/such/config"),
        (vec!["--kubeconfig", config], 1, "the kubeconfig is not YAML of the kind Config, line "),
        (vec!["--surroundings", empty, "--default-validate", "deny"], 2, "enforce"),
        (vec!["--surroundings", empty, "--cluster-version", "new"], 2, "1.33"),
        (vec!["--surroundings", empty, "--kubeconfig", "x"], 2, "cannot be used with"),
        (vec!["--surroundings", empty, "--listen", "8443"], 2, "--listen"),
    ] {
        let ended = Program::ours("lasthop").arg("serve").args(&arguments).run();
        assert_eq!(ended.code(), code, "{arguments:?}: {ended}");
        assert!(ended.to_string().contains(expected), "{arguments:?}: {ended}");
        assert!(!ended.to_string().contains("s3cret"), "{arguments:?}: {ended}");
    }
    let busy =
        Program::ours("lasthop").args(["serve", "--surroundings", empty, "--listen", &taken]);
    let busy = busy.run();
    assert!(busy.code() == 0 || busy.stdout.contains(&taken), "{busy}");
}

#[test]
fn an_api_server_that_does_not_answer_costs_a_warning_and_two_seconds() {
    if skip::lacks(&["curl"]) {
        return;
    }
    let pki = Pki::new();
    let leaf = pki.authority("webhook").leaf().dns("localhost").ip([127, 0, 0, 1]).issue();
    let directory = SecretDir::new(&leaf.secret());
    // One takes connections and says nothing, one does not even take them.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for server in [silent.local_addr().unwrap(), closed] {
        let home = TempDir::new().unwrap();
        let kubeconfig = home.path().join("config");
        let config = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "test",
            "contexts": [{ "name": "test", "context": { "cluster": "test", "user": "test" } }],
            "clusters": [{ "name": "test", "cluster": { "server": format!("https://{server}") } }],
            "users": [{ "name": "test", "user": { "token": "none" } }],
        });
        std::fs::write(&kubeconfig, config.to_string()).unwrap();
        let mut running = Program::ours("lasthop")
            .args(["serve", "--listen", "127.0.0.1:0", "--kubeconfig"])
            .arg(&kubeconfig)
            .arg("--tls-dir")
            .arg(directory.path())
            .start();
        let address = running.address("webhook");
        let root = leaf.files().root;
        let request = |path: &str| Curl::get(&format!("https://{address}/{path}")).trust(&root);
        request("livez").run().expect(200);
        for path in ["validate?timeout=30s", "validate?timeout=2s"] {
            // curl is patient for 15 s, a server that never answers for ever.
            let answer = Review::create(ingress("web-tls")).ask(request(path)).expect_allowed();
            assert!(answer.warnings().iter().any(|it| it.contains("web-tls")), "{answer:?}");
        }
        // A pod that asks gets the sidecar all the same: nothing of it has to be looked up.
        let answer = Review::create(pod()).ask(request("mutate?timeout=10s")).expect_allowed();
        assert!(answer.0.get("patch").is_some());
    }
}
