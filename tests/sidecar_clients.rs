//! Who comes in through the sidecar's door and who does not: real handshakes, the alert that the
//! stranger sees, and the reason that only the log tells.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use lasthop_tests::pki::Validity;
use lasthop_tests::scene::Scene;
use lasthop_tests::sidecar::{HOST, Sidecar};
use lasthop_tests::skip;
use serde_json::Value;

fn refused(sidecar: &Sidecar, code: &str) -> f64 {
    sidecar.metric("lasthop_refused_connections_total", &[&format!("code=\"{code}\"")])
}

#[test]
fn a_client_without_a_certificate_is_refused() {
    if skip::lacks(&["curl", "openssl"]) {
        return;
    }
    let scene = Scene::new();
    let mut sidecar = scene.guarded().start();
    sidecar.get("/").run().expect_refused();
    sidecar.shake().request(HOST, "/").run().expect_alert(116);
    let line = sidecar.expect_refusal("LH501");
    assert_eq!(line["reason"], "no_certificate");
    assert_eq!(line["sni"], HOST);
    assert!((refused(&sidecar, "LH501") - 2.0).abs() < 0.5);
}

#[test]
fn tls_1_2_refuses_a_client_without_a_certificate_too() {
    if skip::lacks(&["openssl"]) {
        return;
    }
    let scene = Scene::new();
    let mut sidecar = scene.guarded().start();
    let handshake = sidecar.shake().option("-tls1_2", None).request(HOST, "/").run();
    assert!(handshake.alert().is_some(), "{handshake:?}");
    sidecar.expect_refusal("LH501");
}

#[test]
fn an_expired_client_is_refused() {
    if skip::lacks(&["openssl"]) {
        return;
    }
    let scene = Scene::new();
    let mut sidecar = scene.guarded().start();
    let client = scene.clients.leaf().dns("alb.example").expired().issue();
    sidecar.shake().client(&client.files()).request(HOST, "/").run().expect_alert(45);
    assert_eq!(sidecar.expect_refusal("LH504")["reason"], "expired");
}

#[test]
fn a_client_of_another_ca_is_refused() {
    if skip::lacks(&["openssl"]) {
        return;
    }
    let scene = Scene::new();
    let mut sidecar = scene.guarded().start();
    let client = scene.clients.impostor().leaf().dns("alb.example").issue();
    sidecar.shake().client(&client.files()).request(HOST, "/").run();
    let other = scene.pki.authority("other-ca").leaf().dns("alb.example").issue();
    sidecar.shake().client(&other.files()).request(HOST, "/").run().expect_alert(48);
    let line = sidecar.expect_refusal("LH503");
    assert!(line["detail"].as_str().unwrap().contains("no trusted CA"), "{line}");
}

#[test]
fn a_client_with_another_name_is_refused_and_the_log_says_who_it_was() {
    if skip::lacks(&["curl", "openssl"]) {
        return;
    }
    let scene = Scene::new();
    let mut sidecar = scene.guarded().start();
    let client = scene.clients.leaf().dns("evil.example").uri("spiffe://x/y").client_only().issue();
    sidecar.get("/").client(&client.files()).run().expect_refused();
    sidecar.shake().client(&client.files()).request(HOST, "/").run().expect_alert(49);
    let line = sidecar.expect_refusal("LH511");
    for (field, expected) in [
        ("peer", "127.0.0.1:"),
        ("sans", "dns:evil.example"),
        ("sans", "uri:spiffe://x/y"),
        ("issuer", "clients-ca"),
        ("eku", "clientAuth"),
        ("sha256", &client.fingerprint()),
        ("sni", HOST),
    ] {
        assert!(line[field].as_str().unwrap().contains(expected), "{field}: {line}");
    }
}

#[test]
fn a_balancer_with_a_public_server_certificate_comes_in_by_name_alone() {
    if skip::lacks(&["curl"]) {
        return;
    }
    let scene = Scene::new();
    let public = scene.pki.public_authority();
    let sidecar = scene.setup().clients(&public, "dns:*.appdomain.example").start();
    let alb = public.leaf().dns("*.appdomain.example").issue();
    let headers = sidecar.get("/headers").client(&alb.files()).run().expect(200).json();
    let told = headers["headers"]["x-forwarded-client-cert"].to_string();
    assert!(
        told.contains(&alb.fingerprint()) && told.contains("DNS=*.appdomain.example"),
        "{told}"
    );
    let stranger = public.leaf().dns("other.example").issue();
    sidecar.get("/headers").client(&stranger.files()).run().expect_refused();
}

#[test]
fn client_eku_client_keeps_server_certificates_out() {
    if skip::lacks(&["curl"]) {
        return;
    }
    let scene = Scene::new();
    let mut sidecar = scene.guarded().option("--client-eku", "client").start();
    let server = scene.clients.leaf().dns("alb.example").server_only().issue();
    sidecar.get("/").client(&server.files()).run().expect_refused();
    let line = sidecar.expect_refusal("LH506");
    assert!(line["detail"].as_str().unwrap().contains("serverAuth"), "{line}");
    let client = scene.clients.leaf().dns("alb.example").client_only().issue();
    sidecar.get("/status/200").client(&client.files()).run().expect(200);
}

#[test]
fn a_revoked_client_is_refused_as_soon_as_the_list_says_so() {
    if skip::lacks(&["curl"]) {
        return;
    }
    let scene = Scene::new();
    let client = scene.clients.leaf().dns("alb.example").issue();
    let list = |revoked: &[_]| scene.clients.revocation_list(revoked, Validity::days(-1, 30));
    let mut sidecar = scene.guarded().revoking(&list(&[])).start();
    sidecar.get("/status/200").client(&client.files()).run().expect(200);
    let revoked = [("ca.crl".to_owned(), list(&[&client]).into_bytes())].into_iter().collect();
    sidecar.lists.as_ref().unwrap().rotate(&revoked);
    sidecar.expect_log("a changed Secret was taken into use");
    sidecar.get("/status/200").client(&client.files()).run().expect_refused();
    sidecar.expect_refusal("LH508");
}

#[test]
fn optional_clients_come_in_without_a_certificate_but_not_with_a_bad_one() {
    if skip::lacks(&["curl"]) {
        return;
    }
    let scene = Scene::new();
    let mut sidecar = scene.guarded().option("--client-auth", "optional").start();
    let nobody = sidecar.get("/headers").run().expect(200).text();
    assert!(!nobody.contains("x-forwarded-client-cert"), "{nobody}");
    let known = scene.clients.leaf().dns("alb.example").issue();
    let somebody = sidecar.get("/headers").client(&known.files()).run().expect(200).text();
    assert!(somebody.contains("x-forwarded-client-cert"), "{somebody}");
    let expired = scene.clients.leaf().dns("alb.example").expired().issue();
    sidecar.get("/headers").client(&expired.files()).run().expect_refused();
    sidecar.expect_refusal("LH504");
}

#[test]
fn plain_http_on_the_tls_port_gets_nothing_but_a_close() {
    let scene = Scene::new();
    let mut sidecar = scene.guarded().start();
    let mut stream = TcpStream::connect(sidecar.tls).unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: shop.example\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    assert_eq!(answer, b"");
    let line = sidecar.expect_refusal("LH521");
    assert!(line["detail"].as_str().unwrap().contains("plain HTTP"), "{line}");
}

#[test]
fn what_is_not_tls_is_told_apart_in_the_log() {
    let scene = Scene::new();
    let mut sidecar = scene.guarded().start();
    for (bytes, code) in [
        (&b"SSH-2.0-OpenSSH_9.2\r\n"[..], "LH521"),
        (b"\x16\x03\x01\x00\x05hello", "LH528"),
        (b"\x16\x03\x01\xff\xff", "LH528"),
        (b"\x80\x2e\x01\x03\x01", "LH521"),
    ] {
        let mut stream = TcpStream::connect(sidecar.tls).unwrap();
        stream.write_all(bytes).unwrap();
        let _alert = stream.read_to_end(&mut Vec::new());
        sidecar.expect_refusal(code);
    }
}

#[test]
fn a_client_of_an_old_version_is_refused() {
    if skip::lacks(&["openssl"]) {
        return;
    }
    let scene = Scene::new();
    let mut sidecar = scene.guarded().start();
    let handshake = sidecar
        .shake()
        .option("-tls1_1", None)
        .option("-cipher", Some("DEFAULT:@SECLEVEL=0"))
        .run();
    assert!(matches!(handshake.alert(), Some(40 | 70)), "{handshake:?}");
    sidecar.expect_refusal("LH522");
}

#[test]
fn a_client_that_speaks_another_protocol_is_refused() {
    if skip::lacks(&["openssl"]) {
        return;
    }
    let scene = Scene::new();
    let mut sidecar = scene.setup().start();
    sidecar.shake().alpn("imap").run().expect_alert(120);
    sidecar.expect_refusal("LH524");
}

#[test]
fn a_client_that_does_not_trust_us_is_told_of_with_its_alert() {
    if skip::lacks(&["curl"]) {
        return;
    }
    let scene = Scene::new();
    let mut sidecar = scene.setup().start();
    let other = scene.pki.authority("other-ca").root_file();
    let answer = sidecar.get("/").trust(other).run();
    assert_eq!(answer.exit, 60, "{answer:?}");
    let line = sidecar.expect_refusal("LH525");
    assert!(line["detail"].as_str().unwrap().contains("unknown_ca"), "{line}");
}

#[test]
fn a_client_that_says_nothing_is_let_go() {
    let scene = Scene::new();
    let mut sidecar = scene.guarded().start();
    let mut silent = TcpStream::connect(sidecar.tls).unwrap();
    let mut slow = TcpStream::connect(sidecar.tls).unwrap();
    slow.write_all(b"\x16\x03\x01").unwrap();
    for stream in [&mut silent, &mut slow] {
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let mut answer = Vec::new();
        let timed_out = stream.read_to_end(&mut answer).is_err_and(|error| {
            matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut)
        });
        assert!(!timed_out, "it is let go");
        assert_eq!(answer, b"");
    }
    sidecar.expect_refusal("LH520");
}

#[test]
fn a_health_check_that_only_connects_is_no_news() {
    let scene = Scene::new();
    let mut sidecar = scene.guarded().start();
    for _ in 0..5 {
        drop(TcpStream::connect(sidecar.tls).unwrap());
    }
    sidecar.wait_until("five connections", |sidecar| {
        sidecar.metric("lasthop_connections_total", &[]) > 4.5
            && sidecar.metric("lasthop_connections_open", &[]) < 0.5
    });
    assert!(!sidecar.process.log().iter().any(|line| line["message"] == "refused"));
    assert!(sidecar.metric("lasthop_refused_connections_total", &[]) < 0.5);
}

#[test]
fn a_flood_of_refusals_is_counted_and_not_written_line_by_line() {
    let scene = Scene::new();
    let mut sidecar = scene.guarded().start();
    for _ in 0..200 {
        let mut stream = TcpStream::connect(sidecar.tls).unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
        let _closed = stream.read_to_end(&mut Vec::new());
    }
    sidecar.wait_until("200 refusals", |sidecar| refused(sidecar, "LH521") > 199.5);
    let is_refusal = |line: &Value| line["message"] == "refused";
    let written = sidecar.process.log().iter().filter(|line| is_refusal(line)).count();
    assert!(written < 150, "{written} lines");
    sidecar.process.wait_for_log(|line| line["suppressed"].as_u64().is_some_and(|it| it > 0));
}

#[test]
fn a_hostile_certificate_does_not_write_the_log() {
    if skip::lacks(&["curl"]) {
        return;
    }
    let scene = Scene::new();
    let mut sidecar = scene.guarded().start();
    let name = "a\"},{\"message\":\"forged\"}\u{1b}[2J\n{\"message\":\"forged\"}";
    let client = scene.clients.leaf().common_name(name).uri("x:\u{7}y").issue();
    sidecar.get("/").client(&client.files()).run().expect_refused();
    let line = sidecar.expect_refusal("LH511");
    assert!(line["subject"].as_str().unwrap().contains("\\u{1b}"), "{line}");
    assert!(!sidecar.process.log().iter().any(|line| line["message"] == "forged"));
}

#[test]
fn no_names_of_trusted_cas_are_sent() {
    if skip::lacks(&["openssl"]) {
        return;
    }
    let scene = Scene::new();
    let sidecar = scene.guarded().start();
    let handshake = sidecar.shake().request(HOST, "/").run();
    // With both lines, a certificate was asked for and no CA named.
    assert!(handshake.output.contains("No client certificate CA names sent"), "{handshake:?}");
    assert!(handshake.output.contains("Requested Signature Algorithms"), "{handshake:?}");
}
