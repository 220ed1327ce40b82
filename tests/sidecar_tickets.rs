//! What a ticket of an earlier connection (RFC 8446, 2.2; RFC 5077) is good for: the same client comes in
//! again as who it was, as long as it still may, and as nobody else.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use lasthop_tests::openssl::{Handshake, SClient};
use lasthop_tests::pki::{Issued, SecretData, Validity};
use lasthop_tests::scene::{ALLOWED, Scene};
use lasthop_tests::sidecar::{HOST, Sidecar};
use lasthop_tests::skip;

/// The versions of TLS, whose tickets have little in common.
const VERSIONS: [&str; 2] = ["-tls1_3", "-tls1_2"];

fn alb(scene: &Scene) -> Issued {
    scene.clients.leaf().dns("alb.example").issue()
}

fn session_file(scene: &Scene) -> PathBuf {
    scene.pki.directory().join("session")
}

/// A connection that came with a ticket, or goes home with one.
fn shake(scene: &Scene, sidecar: &Sidecar, version: &str, option: &str) -> SClient {
    let session = session_file(scene).display().to_string();
    sidecar.shake().option(version, None).option(option, Some(&session))
}

/// Lets `client` in, which keeps its ticket.
fn remember(scene: &Scene, sidecar: &Sidecar, version: &str, client: &Issued) {
    let shake = shake(scene, sidecar, version, "-sess_out").client(&client.files());
    let first = shake.request(HOST, "/headers").run();
    assert!(!first.is_resumed() && is_answered(&first), "{version}: {first:?}");
}

/// Comes again with the ticket and, where there is one, with a certificate.
fn again(scene: &Scene, sidecar: &Sidecar, version: &str, client: Option<&Issued>) -> Handshake {
    let shake = shake(scene, sidecar, version, "-sess_in");
    let shake = match client {
        Some(client) => shake.client(&client.files()),
        None => shake,
    };
    shake.request(HOST, "/headers").run()
}

fn is_answered(handshake: &Handshake) -> bool {
    handshake.output.contains("HTTP/1.1 200")
}

#[test]
fn a_resumed_connection_is_who_it_was() {
    if skip::lacks(&["openssl", "curl"]) {
        return;
    }
    let scene = Scene::new();
    let sidecar = scene.guarded().start();
    let client = alb(&scene);
    for version in VERSIONS {
        remember(&scene, &sidecar, version, &client);
        let again = again(&scene, &sidecar, version, None);
        assert!(again.is_resumed() && is_answered(&again), "{version}: {again:?}");
        assert!(again.output.contains(&client.fingerprint()), "{version}: {again:?}");
    }
    assert!(sidecar.metric("lasthop_handshakes_total", &["resumed"]) > 1.5);
}

#[test]
fn a_ticket_does_not_outlive_the_certificate() {
    if skip::lacks(&["openssl"]) {
        return;
    }
    let scene = Scene::new();
    let mut sidecars = ["http", "tcp"].map(|protocol| {
        let setup = scene.guarded();
        setup.option("--protocol", protocol).start()
    });
    let start = Instant::now();
    let client = scene.clients.leaf().dns("alb.example").valid(Validity::for_seconds(10)).issue();
    let remember = |sidecar: &Sidecar| {
        VERSIONS.map(|version| {
            remember(&scene, sidecar, version, &client);
            std::fs::read(session_file(&scene)).unwrap()
        })
    };
    let sessions = sidecars.each_ref().map(remember);
    std::thread::sleep(Duration::from_secs(12).saturating_sub(start.elapsed()));
    for (sidecar, sessions) in sidecars.iter_mut().zip(sessions) {
        for (version, session) in VERSIONS.into_iter().zip(sessions) {
            std::fs::write(session_file(&scene), session).unwrap();
            let again = again(&scene, sidecar, version, None);
            assert!(again.is_resumed(), "the handshake itself goes through: {again:?}");
            assert!(!again.output.contains("HTTP/1.1"), "nothing is answered: {again:?}");
        }
        sidecar.expect_refusal("LH504");
    }
}

/// Changes `sidecar`'s policy and comes again with a ticket of before, which is nothing to it: whoever has
/// a certificate is judged by that.
fn comes_after(
    scene: &Scene,
    sidecar: &mut Sidecar,
    client: &Issued,
    change: impl FnOnce(&Sidecar),
) {
    let sessions = VERSIONS.map(|version| {
        remember(scene, sidecar, version, client);
        std::fs::read(session_file(scene)).unwrap()
    });
    change(sidecar);
    sidecar.expect_log("a changed Secret was taken into use");
    for (version, session) in VERSIONS.into_iter().zip(sessions) {
        std::fs::write(session_file(scene), session).unwrap();
        for client in [None, Some(client)] {
            let again = again(scene, sidecar, version, client);
            assert!(!again.is_resumed() && !is_answered(&again), "{version}: {again:?}");
        }
    }
}

#[test]
fn a_ticket_does_not_outlive_the_trust_in_the_ca() {
    if skip::lacks(&["openssl"]) {
        return;
    }
    let scene = Scene::new();
    let mut sidecar = scene.guarded().start();
    let other = scene.pki.authority("new-clients-ca");
    comes_after(&scene, &mut sidecar, &alb(&scene), |sidecar| {
        sidecar.authorities.as_ref().unwrap().rotate(&other.ca_secret());
    });
    sidecar.expect_refusal("LH501");
    sidecar.expect_refusal("LH503");
}

#[test]
fn a_ticket_does_not_outlive_a_revocation() {
    if skip::lacks(&["openssl"]) {
        return;
    }
    let scene = Scene::new();
    let client = alb(&scene);
    let list = |revoked: &[_]| scene.clients.revocation_list(revoked, Validity::days(-1, 30));
    let setup = scene.guarded();
    let mut sidecar = setup.revoking(&list(&[])).start();
    let revoked = SecretData::from([("ca.crl".to_owned(), list(&[&client]).into_bytes())]);
    comes_after(&scene, &mut sidecar, &client, |sidecar| {
        sidecar.lists.as_ref().unwrap().rotate(&revoked);
    });
    sidecar.expect_refusal("LH501");
    sidecar.expect_refusal("LH508");
}

#[test]
fn a_ticket_is_nothing_to_another_process_with_the_same_secrets() {
    if skip::lacks(&["openssl"]) {
        return;
    }
    let scene = Scene::new();
    let (server, client) = (scene.pki.server(), alb(&scene));
    let start = || {
        let setup = Sidecar::before(scene.app.address()).serving(&server);
        setup.clients(&scene.clients, ALLOWED).start()
    };
    let (one, mut other) = (start(), start());
    for version in VERSIONS {
        remember(&scene, &one, version, &client);
        let without = again(&scene, &other, version, None);
        assert!(!without.is_resumed() && !is_answered(&without), "{version}: {without:?}");
        let with = again(&scene, &other, version, Some(&client));
        assert!(!with.is_resumed() && is_answered(&with), "{version}: {with:?}");
    }
    other.expect_refusal("LH501");
}

#[test]
fn what_comes_before_the_end_of_the_handshake_is_not_taken() {
    if skip::lacks(&["openssl"]) {
        return;
    }
    let scene = Scene::new();
    let mut sidecar = scene.guarded().start();
    let version = VERSIONS[0];
    remember(&scene, &sidecar, version, &alb(&scene));
    let file =
        scene.pki.write("early", format!("GET /status/418 HTTP/1.1\r\nHost: {HOST}\r\n\r\n"));
    let early = || {
        let shake = shake(&scene, &sidecar, version, "-sess_in");
        let shake = shake.option("-early_data", Some(&file.display().to_string()));
        shake.request(HOST, "/status/200").run()
    };
    // The ticket says that nothing may come early, and openssl heeds it.
    let ran = early();
    assert!(ran.output.contains("Early data was not sent"), "{ran:?}");
    let session = std::fs::read_to_string(session_file(&scene)).unwrap();
    std::fs::write(session_file(&scene), with_early_data(&session)).unwrap();
    let ran = early();
    assert!(ran.is_resumed() && is_answered(&ran), "{ran:?}");
    assert!(ran.output.contains("Early data was rejected"), "{ran:?}");
    sidecar.wait_until("all of them are logged", |it| paths(it).len() == 3);
    assert_eq!(paths(&sidecar), ["/headers", "/status/200", "/status/200"]);
}

/// What was asked of the application.
fn paths(sidecar: &Sidecar) -> Vec<String> {
    let log = sidecar.process.log();
    let requests = log.iter().filter(|line| line["message"] == "request");
    requests.map(|line| line["path"].as_str().unwrap_or_default().to_owned()).collect()
}

/// The session, as openssl writes it down, of a server that takes 16 KiB of early data: field 15 of
/// `SSL_SESSION_ASN1` in OpenSSL's `ssl/ssl_asn1.c`.
fn with_early_data(session: &str) -> String {
    const EARLY: [u8; 6] = [0xa0 | 15, 4, 2, 2, 0x40, 0];
    let body: String = session.lines().filter(|line| !line.starts_with("-----")).collect();
    let der = BASE64.decode(body).expect("a session is PEM");
    // A sequence that is longer than 255 bytes, and its fields in the order of their numbers.
    assert_eq!(der[..2], [0x30, 0x82]);
    let fields = &der[4..];
    let mut place = 0;
    while place < fields.len() && fields[place] < EARLY[0] {
        let (head, length) = match fields[place + 1] {
            length @ ..=0x7f => (2, usize::from(length)),
            0x81 => (3, usize::from(fields[place + 2])),
            _ => (4, usize::from(fields[place + 2]) << 8 | usize::from(fields[place + 3])),
        };
        place += head + length;
    }
    let fields = [&fields[..place], &EARLY, &fields[place..]].concat();
    let length = u16::try_from(fields.len()).expect("a session is short").to_be_bytes();
    lasthop_tests::pki::to_pem(
        "SSL SESSION PARAMETERS",
        &[&[0x30, 0x82], &length[..], &fields].concat(),
    )
}
