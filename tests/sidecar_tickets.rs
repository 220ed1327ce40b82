//! What a ticket of an earlier connection (RFC 8446, 2.2; RFC 5077) is good for: the same client comes in
//! again as who it was, as long as it still may, and as nobody else.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use lasthop_tests::app::App;
use lasthop_tests::openssl::{Handshake, SClient};
use lasthop_tests::pki::{Authority, Issued, Pki, SecretData, Validity};
use lasthop_tests::sidecar::{HOST, Setup, Sidecar};
use lasthop_tests::skip;

/// The versions of TLS, whose tickets have little in common.
const VERSIONS: [&str; 2] = ["-tls1_3", "-tls1_2"];

/// The one name that comes in.
const ALLOWED: &str = "dns:alb.example";

struct Scene {
    pki: Pki,
    app: App,
    clients: Authority,
}

impl Scene {
    fn new() -> Self {
        let pki = Pki::new();
        let clients = pki.authority("clients-ca");
        Self { pki, app: App::start(), clients }
    }

    fn setup(&self) -> Setup {
        let server = self.pki.server();
        Sidecar::before(self.app.address()).serving(&server)
    }

    /// A sidecar that lets in the clients of [`ALLOWED`].
    fn sidecar(&self) -> Sidecar {
        self.setup().clients(&self.clients, ALLOWED).start()
    }

    fn alb(&self) -> Issued {
        self.clients.leaf().dns("alb.example").issue()
    }

    fn session(&self) -> PathBuf {
        self.pki.directory().join("session")
    }

    /// A connection that came with a ticket, or goes home with one.
    fn shake(&self, sidecar: &Sidecar, version: &str, option: &str) -> SClient {
        let session = self.session().display().to_string();
        sidecar.shake().option(version, None).option(option, Some(&session))
    }

    /// Lets `client` in, which keeps its ticket.
    fn remember(&self, sidecar: &Sidecar, version: &str, client: &Issued) {
        let shake = self.shake(sidecar, version, "-sess_out").client(&client.files());
        let first = shake.request(HOST, "/headers").run();
        assert!(!first.is_resumed() && is_answered(&first), "{version}: {first:?}");
    }

    /// Comes again with the ticket and, where there is one, with a certificate.
    fn again(&self, sidecar: &Sidecar, version: &str, client: Option<&Issued>) -> Handshake {
        let shake = self.shake(sidecar, version, "-sess_in");
        let shake = match client {
            Some(client) => shake.client(&client.files()),
            None => shake,
        };
        shake.request(HOST, "/headers").run()
    }
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
    let sidecar = scene.sidecar();
    let client = scene.alb();
    for version in VERSIONS {
        scene.remember(&sidecar, version, &client);
        let again = scene.again(&sidecar, version, None);
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
        let setup = scene.setup().clients(&scene.clients, ALLOWED);
        setup.option("--protocol", protocol).start()
    });
    let start = Instant::now();
    let client = scene.clients.leaf().dns("alb.example").valid(Validity::for_seconds(10)).issue();
    let remember = |sidecar: &Sidecar| {
        VERSIONS.map(|version| {
            scene.remember(sidecar, version, &client);
            std::fs::read(scene.session()).unwrap()
        })
    };
    let sessions = sidecars.each_ref().map(remember);
    std::thread::sleep(Duration::from_secs(12).saturating_sub(start.elapsed()));
    for (sidecar, sessions) in sidecars.iter_mut().zip(sessions) {
        for (version, session) in VERSIONS.into_iter().zip(sessions) {
            std::fs::write(scene.session(), session).unwrap();
            let again = scene.again(sidecar, version, None);
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
        scene.remember(sidecar, version, client);
        std::fs::read(scene.session()).unwrap()
    });
    change(sidecar);
    sidecar.expect_log("a changed Secret was taken into use");
    for (version, session) in VERSIONS.into_iter().zip(sessions) {
        std::fs::write(scene.session(), session).unwrap();
        for client in [None, Some(client)] {
            let again = scene.again(sidecar, version, client);
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
    let mut sidecar = scene.sidecar();
    let other = scene.pki.authority("new-clients-ca");
    comes_after(&scene, &mut sidecar, &scene.alb(), |sidecar| {
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
    let client = scene.alb();
    let list = |revoked: &[_]| scene.clients.revocation_list(revoked, Validity::days(-1, 30));
    let setup = scene.setup().clients(&scene.clients, ALLOWED);
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
    let (server, client) = (scene.pki.server(), scene.alb());
    let start = || {
        let setup = Sidecar::before(scene.app.address()).serving(&server);
        setup.clients(&scene.clients, ALLOWED).start()
    };
    let (one, mut other) = (start(), start());
    for version in VERSIONS {
        scene.remember(&one, version, &client);
        let without = scene.again(&other, version, None);
        assert!(!without.is_resumed() && !is_answered(&without), "{version}: {without:?}");
        let with = scene.again(&other, version, Some(&client));
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
    let mut sidecar = scene.sidecar();
    let version = VERSIONS[0];
    scene.remember(&sidecar, version, &scene.alb());
    let file =
        scene.pki.write("early", format!("GET /status/418 HTTP/1.1\r\nHost: {HOST}\r\n\r\n"));
    let early = || {
        let shake = scene.shake(&sidecar, version, "-sess_in");
        let shake = shake.option("-early_data", Some(&file.display().to_string()));
        shake.request(HOST, "/status/200").run()
    };
    // The ticket says that nothing may come early, and openssl heeds it.
    let ran = early();
    assert!(ran.output.contains("Early data was not sent"), "{ran:?}");
    let session = std::fs::read_to_string(scene.session()).unwrap();
    std::fs::write(scene.session(), with_early_data(&session)).unwrap();
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
