//! Several `lasthop serve` in front of one API server, with the rights of `manifests/base` and no
//! more: one CA for all, a `caBundle` that is always right, and a replacement that nobody notices.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use lasthop_tests::at_end::SetAtEnd;
use lasthop_tests::curl::Curl;
use lasthop_tests::kubernetes::{Cluster, exclusively, root, secret_manifest};
use lasthop_tests::pki::{Pki, Validity};
use lasthop_tests::process::{PATIENCE, Program, Running};
use lasthop_tests::webhook::configurations;
use serde_json::{Value, json};
use tempfile::TempDir;

const SYSTEM: &str = "lasthop-system";

/// Pods of one go.
const BATCH: usize = 50;

/// What the tests of this file start from: the rights of `manifests/base`, and a kubeconfig with the
/// token of its service account.
struct Installed {
    cluster: &'static Cluster,
    kubeconfig: PathBuf,
    _home: TempDir,
}

impl Installed {
    fn new(cluster: &'static Cluster) -> Self {
        let rendered = cluster.kubectl(&["kustomize"]).arg(root().join("manifests/base")).run();
        let objects: Vec<Value> =
            serde_saphyr::from_multiple(&rendered.expect_success().stdout).unwrap();
        let wanted = ["Namespace", "ServiceAccount", "ClusterRole", "ClusterRoleBinding", "Role"];
        let wanted = wanted.iter().chain(&["RoleBinding"]);
        for kind in wanted {
            for object in objects.iter().filter(|object| object["kind"] == **kind) {
                cluster.admitted(&object.to_string());
            }
        }
        let home = TempDir::with_prefix("lasthop-replicas-").unwrap();
        let kubeconfig = home.path().join("kubeconfig");
        cluster.kubeconfig_of(SYSTEM, "lasthop", &kubeconfig);
        Self { cluster, kubeconfig, _home: home }
    }

    /// One more replica.
    fn replica(&self, arguments: &[&str]) -> Replica {
        let mut running = Program::ours("lasthop")
            .args(["serve", "--listen", "127.0.0.1:0", "--kubeconfig"])
            .arg(&self.kubeconfig)
            .args(arguments)
            .start();
        let address = running.address("webhook");
        Replica { running, address }
    }

    /// Applies the webhook configurations of `manifests/base` for a webhook at `address`, without a
    /// `caBundle`, as they are in the manifests.
    fn configure(&self, address: SocketAddr) {
        let kubectl = |arguments: &[&str]| self.cluster.kubectl(arguments);
        for configuration in configurations(&kubectl, address, b"").unwrap() {
            self.cluster.admitted(&configuration.to_string());
        }
    }

    fn remove_configurations(&self) {
        let both = "mutatingwebhookconfiguration,validatingwebhookconfiguration";
        let gone = self.cluster.kubectl(&["delete", both, "lasthop", "--ignore-not-found"]).run();
        gone.expect_success();
    }

    /// The bundles in the two configurations, each once.
    fn bundles(&self) -> Vec<String> {
        let mut bundles = Vec::new();
        for kind in ["mutatingwebhookconfiguration", "validatingwebhookconfiguration"] {
            let configuration = self.cluster.get(&[kind, "lasthop"]);
            for webhook in configuration["webhooks"].as_array().unwrap() {
                let text = webhook["clientConfig"]["caBundle"].as_str().unwrap_or_default();
                bundles.push(String::from_utf8(STANDARD.decode(text).unwrap()).unwrap());
            }
        }
        bundles.sort();
        bundles.dedup();
        bundles
    }

    fn ca_secret(&self) -> Value {
        self.cluster.get(&["secret", "lasthop-ca", "-n", SYSTEM])
    }

    fn delete_ca_secret(&self) {
        let delete = ["delete", "secret", "lasthop-ca", "-n", SYSTEM, "--ignore-not-found"];
        self.cluster.kubectl(&delete).run().expect_success();
    }
}

struct Replica {
    running: Running,
    address: SocketAddr,
}

impl Replica {
    /// What `/readyz` says, asked as kubelet asks: with any certificate.
    fn ready(&self) -> Result<(), String> {
        let url = format!("https://{}/readyz", self.address);
        let answer = Curl::get(&url).insecure().run();
        if answer.status == 200 { Ok(()) } else { Err(answer.text()) }
    }

    #[track_caller]
    fn wait_until_ready(&self) {
        wait_for("readiness", || self.ready().is_ok());
    }

    /// How many pods it has patched.
    fn patched(&self) -> usize {
        self.running.log().iter().filter(|entry| entry["verdict"] == "patched").count()
    }

    /// Whether who trusts `bundle` can call.
    fn is_trusted_by(&self, bundle: &str) -> bool {
        let file = TempDir::new().unwrap();
        let path = file.path().join("ca.crt");
        std::fs::write(&path, bundle).unwrap();
        Curl::get(&format!("https://{}/livez", self.address)).trust(&path).run().status == 200
    }
}

#[track_caller]
fn wait_for(what: &str, mut is_so: impl FnMut() -> bool) {
    // A replica that drains takes 13 s by itself.
    let deadline = Instant::now() + 4 * PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "{what} did not come");
        std::thread::sleep(Duration::from_millis(200));
    }
}

#[test]
fn replicas_share_a_ca_and_keep_the_ca_bundle_right() {
    let Some(cluster) = Cluster::shared() else { return };
    let _turn = exclusively();
    let installed = Installed::new(cluster);
    installed.delete_ca_secret();
    installed.remove_configurations();

    // Two at once, of which one makes the CA; without configurations there is nothing to wait for.
    let (one, two) = std::thread::scope(|scope| {
        let one = scope.spawn(|| installed.replica(&[]));
        (one.join().unwrap(), installed.replica(&[]))
    });
    for replica in [&one, &two] {
        replica.wait_until_ready();
    }
    let none = cluster.kubectl(&["get", "validatingwebhookconfiguration", "lasthop"]).run();
    assert!(none.stderr.contains("not found"), "nothing may create it: {none}");
    let secret = installed.ca_secret();

    installed.configure(one.address);
    wait_for("the CA bundle", || installed.bundles().iter().all(|bundle| !bundle.is_empty()));
    let [bundle] = installed.bundles().try_into().unwrap();
    for replica in [&one, &two] {
        replica.wait_until_ready();
        assert!(replica.is_trusted_by(&bundle));
    }
    assert_eq!(installed.ca_secret(), secret, "who comes second changes nothing");
    let owners = cluster.kubectl(&[
        "get",
        "validatingwebhookconfiguration",
        "lasthop",
        "--show-managed-fields",
        "-o",
        "jsonpath={.metadata.managedFields[?(@.operation==\"Apply\")].manager}",
    ]);
    assert_eq!(owners.run().expect_success().stdout, "lasthop-ca-bundle");

    // Applied once more, as by whoever keeps manifests in a repository: nothing changes.
    installed.configure(one.address);
    assert_eq!(installed.bundles(), [bundle.as_str()]);
    // Deleted and made anew, or spoilt by hand: right again.
    installed.remove_configurations();
    installed.configure(one.address);
    wait_for("the CA bundle once more", || installed.bundles() == [bundle.as_str()]);
    let spoil = r#"[{"op":"remove","path":"/webhooks/0/clientConfig/caBundle"}]"#;
    let patch = ["patch", "mutatingwebhookconfiguration", "lasthop", "--type=json", "-p", spoil];
    cluster.kubectl(&patch).run().expect_success();
    wait_for("the CA bundle after it was spoilt", || installed.bundles() == [bundle.as_str()]);

    // A CA that somebody deleted is followed by another, and both are trusted meanwhile.
    installed.delete_ca_secret();
    wait_for("another CA", || installed.bundles().iter().all(|now| *now != bundle));
    let [both] = installed.bundles().try_into().unwrap();
    assert!(both.contains(bundle.trim()) && both.len() > bundle.len(), "{both}");
    for replica in [&one, &two] {
        wait_for("a certificate of the new CA", || replica.is_trusted_by(&both));
        replica.wait_until_ready();
    }
    let log = one.running.log();
    assert!(!log.iter().any(|entry| entry["level"] == "ERROR"), "{log:#?}");
    one.running.terminate();
    installed.remove_configurations();
}

#[test]
fn a_ca_that_comes_to_its_end_is_followed_by_one_that_is_trusted_before_it_signs() {
    let Some(cluster) = Cluster::shared() else { return };
    let _turn = exclusively();
    let installed = Installed::new(cluster);
    installed.delete_ca_secret();
    installed.remove_configurations();
    // 40 of its 100 days are left.
    let old = Pki::new().authority_for("lasthop webhook CA old", Validity::days(-60, 40));
    let data = [("ca.crt", old.pem()), ("tls.crt", old.pem()), ("tls.key", old.key_pem())];
    let data = data.map(|(key, text)| (key.to_owned(), text.into_bytes())).into();
    cluster.admitted(&secret_manifest(SYSTEM, "lasthop-ca", "Opaque", &data));
    let replica = installed.replica(&[]);
    installed.configure(replica.address);
    wait_for("the old CA", || installed.bundles().iter().all(|it| it.contains(old.pem().trim())));
    assert_eq!(installed.bundles().len(), 1);
    replica.wait_until_ready();
    assert!(installed.ca_secret()["data"].get("next.crt").is_none());

    // 30 are left: the next one is published, the old one goes on signing.
    installed.delete_ca_secret();
    let old = Pki::new().authority_for("lasthop webhook CA old", Validity::days(-70, 30));
    let data = [("ca.crt", old.pem()), ("tls.crt", old.pem()), ("tls.key", old.key_pem())];
    let data = data.map(|(key, text)| (key.to_owned(), text.into_bytes())).into();
    drop(replica);
    cluster.admitted(&secret_manifest(SYSTEM, "lasthop-ca", "Opaque", &data));
    let replica = installed.replica(&[]);
    installed.configure(replica.address);
    replica.wait_until_ready();
    let [both] = installed.bundles().try_into().unwrap();
    assert_eq!(both.matches("BEGIN CERTIFICATE").count(), 2);
    assert!(replica.is_trusted_by(&old.pem()), "the old one signs");
    let secret = installed.ca_secret();
    assert!(secret["data"].get("next.key").is_some());
    assert_eq!(secret["data"]["tls.crt"], json!(STANDARD.encode(old.pem())));
    installed.remove_configurations();
}

/// Stands before the replicas as a Service does: new connections go to those that were ready when
/// kubelet last asked (the one with the fewest first, so that all have some), open ones stay where
/// they are.
struct Service {
    address: SocketAddr,
    members: Mutex<Vec<SocketAddr>>,
    ready: Mutex<Vec<SocketAddr>>,
    open: Mutex<BTreeMap<SocketAddr, usize>>,
    closed: AtomicBool,
}

impl Service {
    fn start() -> Arc<Self> {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let service = Arc::new(Self {
            address: socket.local_addr().unwrap(),
            members: Mutex::default(),
            ready: Mutex::default(),
            open: Mutex::default(),
            closed: AtomicBool::default(),
        });
        let prober = Arc::clone(&service);
        std::thread::spawn(move || prober.probe());
        let proxy = Arc::clone(&service);
        std::thread::spawn(move || {
            for client in socket.incoming().flatten() {
                let proxy = Arc::clone(&proxy);
                std::thread::spawn(move || proxy.forward(&client));
            }
        });
        service
    }

    fn add(&self, replica: &Replica) {
        self.members.lock().unwrap().push(replica.address);
        wait_for("an endpoint", || self.ready.lock().unwrap().contains(&replica.address));
    }

    /// As kubelet asks every second or so.
    fn probe(&self) {
        while !self.closed.load(Ordering::Relaxed) {
            let members = self.members.lock().unwrap().clone();
            let is_ready = |address: &SocketAddr| {
                Curl::get(&format!("https://{address}/readyz")).insecure().run().status == 200
            };
            let ready = members.into_iter().filter(is_ready).collect();
            *self.ready.lock().unwrap() = ready;
            std::thread::sleep(Duration::from_millis(500));
        }
    }

    fn forward(&self, client: &TcpStream) {
        let ready = self.ready.lock().unwrap().clone();
        let count = |address: &SocketAddr| {
            self.open.lock().unwrap().get(address).copied().unwrap_or_default()
        };
        let Some(address) = ready.into_iter().min_by_key(count) else { return };
        let Ok(server) = TcpStream::connect(address) else { return };
        *self.open.lock().unwrap().entry(address).or_default() += 1;
        let copy = |mut from: &TcpStream, mut to: &TcpStream| {
            drop(std::io::copy(&mut from, &mut to));
            drop(to.shutdown(std::net::Shutdown::Write));
        };
        std::thread::scope(|scope| {
            scope.spawn(|| copy(client, &server));
            copy(&server, client);
        });
        *self.open.lock().unwrap().entry(address).or_default() -= 1;
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        if self.running.is_running() {
            self.running.terminate();
        }
    }
}

/// Creates pods, several at a time, so that the API server needs several connections to the webhook.
struct Creator {
    home: TempDir,
    server: String,
}

impl Creator {
    fn new(cluster: &Cluster) -> Self {
        let home = TempDir::with_prefix("lasthop-creator-").unwrap();
        let view = ["config", "view", "--raw", "--minify", "-o", "json"];
        let view = cluster.kubectl(&view).run().expect_success();
        let config: Value = serde_json::from_str(&view.stdout).unwrap();
        let (cluster, user) = (&config["clusters"][0]["cluster"], &config["users"][0]["user"]);
        for (file, data) in [
            ("ca.crt", &cluster["certificate-authority-data"]),
            ("tls.crt", &user["client-certificate-data"]),
            ("tls.key", &user["client-key-data"]),
        ] {
            let bytes = STANDARD.decode(data.as_str().unwrap()).unwrap();
            std::fs::write(home.path().join(file), bytes).unwrap();
        }
        let pod = json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "generateName": "web-",
                "annotations": { "lasthop.dev/inject": "true", "lasthop.dev/tls-secret": "web-tls" },
            },
            "spec": {
                "containers": [{
                    "name": "web",
                    "image": "web:1",
                    "ports": [{ "containerPort": 8080 }],
                }],
            },
        });
        std::fs::write(home.path().join("pod.json"), pod.to_string()).unwrap();
        let server = cluster["server"].as_str().unwrap().to_owned();
        Self { home, server }
    }

    /// Creates so many pods; what the API server said to those that it refused.
    fn create(&self, count: usize, more: &str) -> Vec<String> {
        let path = |file: &str| self.home.path().join(file);
        let file = |file: &str| path(file).display().to_string();
        let server = &self.server;
        let url =
            format!("{server}/api/v1/namespaces/rollout/pods?fieldManager=m[1-{count}]{more}");
        let answers = TempDir::with_prefix("lasthop-answers-").unwrap();
        Program::at("curl")
            .args(["--disable", "--silent", "--parallel", "--parallel-immediate"])
            .args([
                "--parallel-max",
                "12",
                "--http1.1",
                "--header",
                "Content-Type: application/json",
            ])
            .args([
                "--cacert",
                &file("ca.crt"),
                "--cert",
                &file("tls.crt"),
                "--key",
                &file("tls.key"),
            ])
            .args(["--data-binary", &format!("@{}", file("pod.json")), "--output"])
            .arg(answers.path().join("#1.json"))
            .arg(url)
            .run()
            .expect_success();
        let mut refused = Vec::new();
        for number in 1..=count {
            let answer = std::fs::read_to_string(answers.path().join(format!("{number}.json")));
            let answer = answer.unwrap_or_default();
            let pod: Value = serde_json::from_str(&answer).unwrap_or_default();
            let sidecar = pod["spec"]["initContainers"].to_string().contains("LASTHOP_CONFIG");
            if pod["kind"] != "Pod" || !sidecar {
                refused.push(answer);
            }
        }
        refused
    }
}

#[test]
fn two_replicas_are_replaced_one_after_the_other_and_no_pod_is_refused() {
    let Some(cluster) = Cluster::shared() else { return };
    let _turn = exclusively();
    let installed = Installed::new(cluster);
    installed.remove_configurations();
    cluster.namespace("rollout", &["lasthop.dev/inject=enabled"]);
    let secret = Pki::new().authority("web").leaf().dns("web.example.com").issue().secret();
    cluster.admitted(&secret_manifest("rollout", "web-tls", "kubernetes.io/tls", &secret));

    let service = Service::start();
    let replica = || installed.replica(&["--drain-delay", "3", "--drain-timeout", "10"]);
    let mut first = [replica(), replica()];
    installed.configure(service.address);
    wait_for("the CA bundle", || installed.bundles().iter().all(|bundle| !bundle.is_empty()));
    for replica in &first {
        service.add(replica);
    }
    let creator = Creator::new(cluster);
    wait_for("injection", || creator.create(5, "&dryRun=All").is_empty());

    let over = AtomicBool::new(false);
    let created = AtomicUsize::new(0);
    let (second, refused) = std::thread::scope(|scope| {
        let _over = SetAtEnd(&over);
        let creating = scope.spawn(|| {
            let mut refused = Vec::new();
            while !over.load(Ordering::Relaxed) && refused.is_empty() {
                refused = creator.create(BATCH, "");
                created.fetch_add(BATCH, Ordering::Relaxed);
            }
            refused
        });
        let second = first.each_mut().map(|old| {
            let new = replica();
            service.add(&new);
            // Whichever of them it asks: the API server may be content with its connections to one.
            let before = created.load(Ordering::Relaxed);
            let goes_on = || created.load(Ordering::Relaxed) > before || creating.is_finished();
            wait_for("the next pods", goes_on);
            old.running.terminate();
            wait_for("the end of a replica", || !old.running.is_running());
            new
        });
        let asked = || second.iter().any(|new| new.patched() > 0) || creating.is_finished();
        wait_for("a review for a new replica", asked);
        over.store(true, Ordering::Relaxed);
        (second, creating.join().unwrap())
    });
    service.closed.store(true, Ordering::Relaxed);
    assert_eq!(refused, Vec::<String>::new());

    let created = created.load(Ordering::Relaxed);
    let stored = cluster.kubectl(&["get", "pods", "-n", "rollout", "-o", "name"]).run();
    assert_eq!(stored.expect_success().stdout.lines().count(), created);
    let patched: Vec<usize> = first.iter().chain(&second).map(Replica::patched).collect();
    assert!(patched.iter().sum::<usize>() >= created, "{patched:?} of {created}");
    for replica in &first {
        let log = replica.running.log();
        assert!(log.iter().any(|entry| entry["message"] == "stopped"), "{log:#?}");
        assert!(!log.iter().any(|entry| entry["level"] == "WARN"), "{log:#?}");
    }
    installed.remove_configurations();
}
