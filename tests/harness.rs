//! The harness itself: what the journeys rely on is as it says.

use std::net::SocketAddr;
use std::path::Path;

use lasthop_tests::app::App;
use lasthop_tests::curl::Curl;
use lasthop_tests::golden::{self, Varying};
use lasthop_tests::kubernetes::Cluster;
use lasthop_tests::openssl::{self, SClient};
use lasthop_tests::pki::{Key, Pki, Validity};
use lasthop_tests::process::{Program, Running};
use lasthop_tests::secret_dir::SecretDir;
use lasthop_tests::skip;

/// openssl's own opinion of a chain, for a purpose such as `sslserver`.
fn verify(root: &Path, chain: &Path, purpose: &str) -> Result<(), String> {
    let [root, chain] = [root, chain].map(|path| path.display().to_string());
    let finished = Program::at("openssl")
        .args(["verify", "-purpose", purpose, "-no-CApath", "-CAfile", &root])
        .args(["-untrusted", &chain, &chain])
        .run();
    if finished.status.success() { Ok(()) } else { Err(finished.stderr) }
}

#[test]
fn a_public_leaf_is_for_servers_only() {
    if skip::lacks(&["openssl"]) {
        return;
    }
    let pki = Pki::new();
    let files = pki.public_authority().leaf().dns("*.c.example").issue().files();
    assert_eq!(verify(&files.root, &files.chain, "sslserver"), Ok(()));
    let error = verify(&files.root, &files.chain, "sslclient").unwrap_err();
    assert!(error.contains("unsuitable certificate purpose"), "{error}");
}

#[test]
fn openssl_agrees_with_every_kind_of_key_and_every_flaw() {
    if skip::lacks(&["openssl"]) {
        return;
    }
    let pki = Pki::new();
    let ca = pki.authority("alb-ca");
    for key in [Key::Rsa2048, Key::Rsa3072, Key::P256, Key::P384, Key::P521, Key::Ed25519] {
        let files = ca.intermediate("below").leaf().dns("a.example").key(key).issue().files();
        assert_eq!(verify(&files.root, &files.chain, "sslclient"), Ok(()), "{key:?}");
    }
    for (issued, flaw) in [
        (ca.leaf().expired().issue(), "has expired"),
        (ca.leaf().not_yet_valid().issue(), "not yet valid"),
        (ca.leaf().self_signed().issue(), "self-signed"),
        (ca.impostor().leaf().issue(), "unable to get local issuer"),
        (ca.leaf().client_only().issue(), "unsuitable certificate purpose"),
        (ca.leaf().with_unknown_critical_extension().issue(), "unhandled critical extension"),
    ] {
        let error = verify(&ca.root_file(), &issued.files().chain, "sslserver").unwrap_err();
        assert!(error.contains(flaw), "{flaw}: {error}");
    }
}

#[test]
fn openssl_reads_the_revocation_list() {
    if skip::lacks(&["openssl"]) {
        return;
    }
    let pki = Pki::new();
    let ca = pki.authority("alb-ca");
    let revoked = ca.leaf().issue();
    let list = ca.revocation_list(&[&revoked], Validity::days(-1, 7));
    let text = openssl::run(&["crl", "-noout", "-text"], list);
    let serial = lasthop_contract::text::hex(revoked.serial()).to_uppercase();
    assert!(text.contains(&serial), "{text}");
}

#[test]
fn a_secret_is_swapped_at_once_and_its_keys_come_and_go() {
    let pki = Pki::new();
    let ca = pki.authority("ca");
    let first = ca.leaf().dns("a.example").issue();
    let dir = SecretDir::new(&first.secret());
    assert_eq!(std::fs::read(dir.path().join("tls.crt")).unwrap(), first.chain_pem().as_bytes());
    let generation = std::fs::read_link(dir.path().join("..data")).unwrap();

    let second = ca.leaf().dns("b.example").issue();
    dir.rotate(&second.generic_secret(&ca));
    assert_eq!(std::fs::read(dir.path().join("cert")).unwrap(), second.chain_pem().as_bytes());
    assert!(dir.path().join("tls.crt").symlink_metadata().is_err(), "a key that is gone");
    assert_ne!(std::fs::read_link(dir.path().join("..data")).unwrap(), generation);
    assert!(!dir.path().join(generation).exists(), "the old data");
}

#[test]
fn the_application_tells_what_it_was_asked() {
    if skip::lacks(&["curl"]) {
        return;
    }
    let app = App::start();
    let url = |path: &str| format!("http://{}{path}", app.address());

    let answer = Curl::get(&url("/headers")).header("X-Twice: 1").header("X-Twice: 2").run();
    assert_eq!(answer.expect(200).json()["headers"]["x-twice"], serde_json::json!(["1", "2"]));

    let answer = Curl::get(&url("/anything/at?all=1")).method("PUT").body("hello").h2c().run();
    let told = answer.clone().expect(200).json();
    assert_eq!(answer.version, "2");
    assert_eq!((&told["method"], &told["version"]), (&"PUT".into(), &"HTTP/2.0".into()));
    assert!(told["target"].as_str().unwrap().ends_with("/anything/at?all=1"), "{told}");
    assert_eq!(told["body"]["length"], 5);
    let digest = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
    assert_eq!(told["body"]["sha256"], digest);

    assert_eq!(Curl::get(&url("/status/418")).run().status, 418);
    assert_eq!(Curl::get(&url("/status/100")).run().status, 400);
    assert_eq!(Curl::get(&url("/status/x")).run().status, 404);
    let bytes = Curl::get(&url("/bytes/200000")).run().expect(200).body;
    assert_eq!(bytes.len(), 200_000);
    assert!(bytes.iter().enumerate().all(|(place, byte)| usize::from(*byte) == place % 251));
    assert_eq!(Curl::get(&url("/stream/3")).run().expect(200).text(), "0\n1\n2\n");
    assert_eq!(Curl::get(&url("/delay/0.01")).run().expect(200).text(), "late\n");
    assert_eq!(Curl::get(&url("/ws")).http1().run().status, 426);
    let answer = Curl::get(&url("/trailers")).h2c().run().expect(200);
    assert_eq!(answer.header("grpc-status"), None, "{answer:?}");
    assert_eq!(answer.trailers, [("grpc-status".to_owned(), "0".to_owned())]);
}

#[test]
fn the_application_echoes_a_websocket() {
    use std::io::{Read as _, Write as _};
    let app = App::start();
    let mut stream = std::net::TcpStream::connect(app.address()).unwrap();
    let request = "GET /ws HTTP/1.1\r\nHost: app\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                   Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    stream.write_all(request.as_bytes()).unwrap();
    // A text frame and a close frame, both masked with zeros.
    stream.write_all(b"\x81\x85\0\0\0\0hello\x88\x80\0\0\0\0").unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let text = String::from_utf8_lossy(&answer).to_lowercase();
    // The key and its answer are the example of RFC 6455, 1.3.
    assert!(text.contains("sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo="), "{text}");
    assert!(answer.ends_with(b"\r\n\r\n\x81\x05hello\x88\x00"), "{text:?}");
}

/// `openssl s_server` that wants a client certificate of `ca`, and its address.
fn tls_server(pki: &Pki) -> (Running, SocketAddr) {
    let ca = pki.authority("server-ca");
    let server = ca.leaf().dns("shop.example").issue().files();
    let mut running = Program::at("openssl")
        .args(["s_server", "-accept", "127.0.0.1:0", "-www", "-Verify", "3"])
        .args(["-verify_return_error", "-CAfile"])
        .arg(pki.authority("client-ca").root_file())
        .arg("-cert")
        .arg(&server.chain)
        .arg("-key")
        .arg(&server.key)
        .start();
    let line = running.wait_for_line(|line| line.starts_with("ACCEPT"));
    let address = line.trim_start_matches("ACCEPT ").parse().unwrap();
    (running, address)
}

#[test]
fn curl_and_openssl_see_the_handshake() {
    if skip::lacks(&["curl", "openssl"]) {
        return;
    }
    let pki = Pki::new();
    let (_server, address) = tls_server(&pki);
    let root = pki.authority("server-ca").root_file();
    let friend = pki.authority("client-ca").leaf().dns("friend.example").issue().files();
    let stranger = pki.authority("other-ca").leaf().dns("stranger.example").issue().files();

    let curl = || Curl::get("https://shop.example/").at(address).trust(&root);
    assert!(curl().client(&friend).run().expect(200).text().contains("s_server"));
    curl().run().expect_refused();
    curl().client(&stranger).run().expect_refused();
    assert_eq!(Curl::get("https://shop.example/").at(address).client(&friend).run().exit, 60);

    let client = || SClient::to(address).sni("shop.example").trust(&root);
    let good = client().client(&friend).request("shop.example", "/").run();
    assert_eq!(good.alert(), None, "{good:?}");
    assert_eq!((good.protocol(), good.verify_code()), (Some("TLSv1.3"), Some(0)), "{good:?}");
    assert_eq!(good.subject(), Some("CN = shop.example"));
    let old = client().client(&friend).option("-tls1_2", None).request("x", "/").run();
    assert_eq!(old.protocol(), Some("TLSv1.2"), "{old:?}");
    client().request("shop.example", "/").run().expect_alert(116);
    client().client(&stranger).request("shop.example", "/").run().expect_alert(48);
}

#[test]
fn what_varies_is_replaced_and_what_differs_is_shown() {
    let varying = [Varying::path("/tmp/x", "<dir>"), Varying::Ports, Varying::Times];
    let text = "/tmp/x/a 127.0.0.1:4711 [::1]:8 2026-11-21T13:00:00.123Z until 2026-12-01 ü\n";
    let same = golden::normalise(text, &varying);
    assert_eq!(same, "<dir>/a 127.0.0.1:PORT [::1]:PORT TIME until DAY ü\n");
    let diff = golden::diff("a\nb\nc\n", "a\nB\nc\n");
    assert_eq!(diff, "...\n a\n-b\n+B\n c\n");
}

#[test]
fn a_process_is_listened_to_and_asked_to_end() {
    let script = r#"echo '{"message":"listening","listener":"status","address":"127.0.0.1:15443"}'
                    trap 'echo bye; exit 3' TERM; echo plain >&2; while :; do sleep 0.05; done"#;
    let mut running = Program::at("/bin/sh").args(["-c", script]).start();
    assert_eq!(running.address("status").port(), 15443);
    running.wait_for_line(|line| line == "plain");
    assert!(running.is_running());
    running.terminate();
    let finished = running.finish();
    assert_eq!((finished.code(), finished.stdout.ends_with("bye\n")), (3, true), "{finished}");
}

#[test]
fn the_api_server_admits_and_refuses() {
    let Some(cluster) = Cluster::shared() else { return };
    cluster.namespace("harness", &["lasthop.dev/validate=enforce"]);
    let namespace = cluster.get(&["namespace", "harness"]);
    assert_eq!(namespace["metadata"]["labels"]["lasthop.dev/validate"], "enforce");

    let pki = Pki::new();
    let data = pki.authority("ca").leaf().dns("a.example").issue().secret();
    let manifest = |kind| lasthop_tests::kubernetes::secret_manifest("harness", "web", kind, &data);
    cluster.admitted(&manifest("kubernetes.io/tls"));
    let said = cluster.refused(&manifest("Opaque"));
    assert!(said.contains("field is immutable"), "{said}");
}

#[test]
fn a_cluster_of_the_users_own_is_used_and_left_alone() {
    let Some(cluster) = Cluster::shared() else { return };
    let own = cluster.kubeconfig().parent().unwrap();
    let kubeconfig = std::env::temp_dir().join(format!("{}-kubeconfig", Cluster::name()));
    std::fs::copy(cluster.kubeconfig(), &kubeconfig).unwrap();
    let script = |arguments: &[&str]| {
        let path = format!("{}:{}", own.join("bin").display(), std::env::var("PATH").unwrap());
        let program = Program::at(lasthop_tests::kubernetes::root().join("scripts/cluster"));
        program.args(arguments).env("PATH", path).env("KUBECONFIG", &kubeconfig).run()
    };

    let up = script(&["up"]).expect_success();
    assert_eq!(up.stdout.trim_end(), kubeconfig.to_str().unwrap());
    assert!(up.stderr.contains("nothing is started"), "{up}");
    let node = script(&["up", "node"]);
    assert!(node.stderr.contains("no node that is Ready"), "{node}");
    let down = script(&["down"]).expect_success();
    assert!(down.stderr.contains("stays up"), "{down}");
    cluster.get(&["namespace", "default"]);

    std::fs::write(&kubeconfig, "{}").unwrap();
    let nobody = script(&["up"]);
    assert_eq!(nobody.code(), 1, "{nobody}");
    assert!(nobody.stderr.contains("does not answer"), "{nobody}");
    std::fs::remove_file(&kubeconfig).unwrap();
}
