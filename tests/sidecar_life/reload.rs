//! How it follows its Secrets.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use lasthop_tests::pki::{Pki, SecretData};
use lasthop_tests::sidecar::{HOST, Sidecar};
use lasthop_tests::skip;

use super::scene::{Scene, served, with};

#[test]
fn a_broken_update_keeps_the_last_good_certificate_serving_and_says_so() {
    if skip::lacks(&["curl", "openssl"]) {
        return;
    }
    let scene = Scene::new();
    let first = scene.server();
    let mut sidecar = scene.setup().serving(&first).start();
    let before = served(&sidecar);
    let second = scene.server();
    sidecar.certificates[0].rotate(&with(second.secret(), "tls.key", &first.key_pem()));
    sidecar.expect_log("a changed Secret is broken, the last good state goes on serving");
    let line = sidecar.process.wait_for_log(|line| line["code"] == "LH115");
    assert!(line["help"].as_str().is_some_and(|help| !help.is_empty()), "{line}");
    assert_eq!(served(&sidecar), before);
    assert!(sidecar.metric("lasthop_credential_reload_failures_total", &[]) > 0.5);
    assert!(sidecar.metric("lasthop_credential_failing", &[]) > 0.5);
    let detail = sidecar.detail();
    assert_eq!(detail["ready"], true);
    assert_eq!(detail["listeners"][0]["failing"], true);
    assert!(detail.to_string().contains("LH115"), "{detail}");
    sidecar.ask("/readyz").run().expect(200);

    sidecar.certificates[0].rotate(&second.secret());
    sidecar.expect_log("a changed Secret was taken into use");
    assert_ne!(served(&sidecar), before);
    assert!(sidecar.metric("lasthop_credential_failing", &[]) < 0.5);
    assert_eq!(sidecar.detail()["listeners"][0]["failing"], false);
}

#[test]
fn an_expired_certificate_does_not_replace_a_good_one() {
    if skip::lacks(&["curl", "openssl"]) {
        return;
    }
    let scene = Scene::new();
    let mut sidecar = scene.sidecar();
    let before = served(&sidecar);
    let expired = scene.pki.authority("server-ca").leaf().dns(HOST).expired().issue();
    sidecar.certificates[0].rotate(&expired.secret());
    sidecar.process.wait_for_log(|line| line["code"] == "LH123");
    assert_eq!(served(&sidecar), before);
}

#[test]
fn one_broken_secret_does_not_hold_back_another() {
    if skip::lacks(&["openssl"]) {
        return;
    }
    let scene = Scene::new();
    let other = scene.pki.authority("server-ca").leaf().dns("other.example").issue();
    let mut sidecar = scene.setup().serving(&scene.server()).serving(&other).start();
    let before = served(&sidecar);
    sidecar.certificates[1].rotate(&with(other.secret(), "tls.crt", "broken"));
    sidecar.expect_log("a changed Secret is broken, the last good state goes on serving");
    sidecar.certificates[0].rotate(&scene.server().secret());
    sidecar.expect_log("a changed Secret was taken into use");
    assert_ne!(served(&sidecar), before);
}

#[test]
fn an_unsafe_update_of_the_authorities_is_not_taken() {
    if skip::lacks(&["curl"]) {
        return;
    }
    let scene = Scene::new();
    let clients = scene.pki.authority("clients-ca");
    let mut sidecar = scene.setup().serving(&scene.server()).clients(&clients, "*").start();
    let public = webpki_root();
    sidecar.authorities.as_ref().unwrap().rotate(&with(SecretData::new(), "ca.crt", &public));
    let line = sidecar
        .process
        .wait_for_log(|line| line["reason"].as_str().is_some_and(|it| it.contains("public CA")));
    assert_eq!(line["level"], "error");
    let client = clients.leaf().dns("anybody.example").client_only().issue();
    sidecar.get("/status/200").client(&client.files()).run().expect(200);
}

/// A CA with the name of a public one, which is all that "public" is judged by here.
fn webpki_root() -> String {
    let pki = Pki::new();
    pki.authority("ISRG Root YR").root_pem()
}

#[derive(Clone, Copy, Eq, PartialEq)]
enum Connections {
    Kept,
    New,
}

fn ask_until(done: &AtomicBool, sidecar: &Sidecar, connections: Connections, answered: &AtomicU32) {
    let mut client = sidecar.connect(None);
    while !done.load(Ordering::Relaxed) {
        if connections == Connections::New {
            client = sidecar.connect(None);
        }
        client.send(format!("GET /status/200 HTTP/1.1\r\nHost: {HOST}\r\n\r\n")).unwrap();
        let head = client.receive_until("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        answered.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn no_request_fails_while_the_certificate_is_rotated() {
    if skip::lacks(&["curl", "openssl"]) {
        return;
    }
    let scene = Scene::new();
    let mut sidecar = scene.sidecar();
    let before = served(&sidecar);
    let done = AtomicBool::new(false);
    let answered = AtomicU32::new(0);
    std::thread::scope(|scope| {
        let (sidecar, done, answered) = (&sidecar, &done, &answered);
        for connections in [Connections::Kept, Connections::New] {
            scope.spawn(move || ask_until(done, sidecar, connections, answered));
        }
        for _ in 0..4 {
            std::thread::sleep(Duration::from_millis(1200));
            sidecar.certificates[0].rotate(&scene.server().secret());
        }
        std::thread::sleep(Duration::from_millis(1500));
        done.store(true, Ordering::Relaxed);
    });
    assert!(answered.load(Ordering::Relaxed) > 100);
    assert_ne!(served(&sidecar), before);
    assert!(sidecar.metric("lasthop_credential_reloads_total", &[]) > 2.5);
    assert!(sidecar.metric("lasthop_requests_total", &["5xx"]) < 0.5);
    sidecar.expect_log("a changed Secret was taken into use");
}

#[test]
fn sighup_makes_it_look_and_not_end() {
    if skip::lacks(&["curl", "openssl"]) {
        return;
    }
    let scene = Scene::new();
    let mut sidecar = scene.sidecar();
    let before = served(&sidecar);
    sidecar.certificates[0].rotate(&scene.server().secret());
    sidecar.process.hang_up();
    sidecar.expect_log("a changed Secret was taken into use");
    assert_ne!(served(&sidecar), before);
    assert!(sidecar.process.is_running());
}
