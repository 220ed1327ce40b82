//! What must stay where it is: private keys, and the tickets of a listener.

use lasthop_tests::openssl::SClient;
use lasthop_tests::process::Program;
use lasthop_tests::raw::nobody;
use lasthop_tests::secret_dir::SecretDir;
use lasthop_tests::sidecar::HOST;
use lasthop_tests::skip;

use super::scene::{Scene, with};

#[test]
fn private_keys_are_nowhere_to_be_seen() {
    if skip::lacks(&["curl"]) {
        return;
    }
    let scene = Scene::new();
    let server = scene.server();
    let mut sidecar = scene.setup().serving(&server).option("--log-level", "debug").start();
    sidecar.get("/headers").run().expect(200);
    let next = scene.server();
    sidecar.certificates[0].rotate(&with(next.secret(), "tls.crt", &next.key_pem()));
    sidecar.expect_log("a changed Secret is broken, the last good state goes on serving");
    let mut seen = sidecar.ask("/metrics").run().text() + &sidecar.detail().to_string();
    let limits =
        std::fs::read_to_string(format!("/proc/{}/limits", sidecar.process.pid())).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().nth(4), Some("0"), "{core}");
    seen += &sidecar.finish().to_string();
    for key in [server.key_pem(), next.key_pem()] {
        let body: Vec<&str> = key.lines().filter(|line| !line.starts_with("-----")).collect();
        for line in body {
            assert!(!seen.contains(line.get(..24).unwrap_or(line)), "a part of a key was told");
        }
    }
}

#[test]
fn a_ticket_of_one_listener_is_nothing_to_another() {
    if skip::lacks(&["openssl"]) {
        return;
    }
    let scene = Scene::new();
    let home = tempfile::TempDir::with_prefix("lasthop-root-").unwrap();
    let server = scene.server();
    let _dir = SecretDir::at(home.path().join("web-tls"), &server.secret());
    let app = scene.app.port();
    let listener = |port: u16| {
        format!(
            r#"{{"mode":"terminate","listen":"127.0.0.1:{port}","forward":{app},"tlsSecrets":["web-tls"]}}"#
        )
    };
    let (first, second) = (nobody(), nobody());
    let document = format!(
        r#"{{"version":1,"listeners":[{},{}],"statusListen":"127.0.0.1:0"}}"#,
        listener(first.port()),
        listener(second.port())
    );
    let mut process = Program::ours("lasthop-sidecar")
        .env("LASTHOP_CONFIG", &document)
        .arg("--secrets-root")
        .arg(home.path())
        .start();
    process.wait_for_log(|line| line["message"] == "ready");
    let session = scene.pki.directory().join("session").display().to_string();
    let shake = |address, option| {
        SClient::to(address)
            .sni(HOST)
            .option(option, Some(&session))
            .request(HOST, "/status/200")
            .run()
    };
    assert!(!shake(first, "-sess_out").is_resumed());
    assert!(shake(first, "-sess_in").is_resumed());
    let other = shake(second, "-sess_in");
    assert!(!other.is_resumed() && other.output.contains("HTTP/1.1 200"), "{other:?}");
}
