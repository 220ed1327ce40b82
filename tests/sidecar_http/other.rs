//! What is not HTTP over TLS for one host: the redirect, several names, and bytes.

use std::io::{Read as _, Write as _};

use lasthop_tests::app::App;
use lasthop_tests::curl::Curl;
use lasthop_tests::openssl::SClient;
use lasthop_tests::pki::Key;
use lasthop_tests::raw::{RawApp, nobody};
use lasthop_tests::sidecar::Sidecar;
use lasthop_tests::skip;

use super::scene::Scene;

#[test]
fn plain_http_is_redirected_to_the_same_host() {
    if skip::lacks(&["curl"]) {
        return;
    }
    let app = App::start();
    let scene = Scene::new();
    let sidecar = scene.open(app.address()).redirecting().start();
    let redirect = sidecar.redirect.unwrap();
    let ask = |host: &str| {
        Curl::get(&format!("http://{redirect}/a?b=c"))
            .header(&format!("Host: {host}"))
            .method("POST")
            .run()
    };
    let answer = ask("shop.example:8080").expect(308);
    assert_eq!(answer.header("location"), Some("https://shop.example/a?b=c"));
    assert_eq!(answer.header("connection"), Some("close"));
    for bad in ["a b", "shop.example/evil", "evil@shop.example", ""] {
        let answer = ask(bad).expect(400);
        assert_eq!(answer.header("location"), None, "{bad}");
    }
}

#[test]
fn the_certificate_is_chosen_by_server_name() {
    if skip::lacks(&["openssl"]) {
        return;
    }
    let app = App::start();
    let scene = Scene::new();
    let ca = scene.pki.authority("server-ca");
    let first = ca.leaf().dns("first.example").issue();
    let exact = ca.leaf().dns("a.wild.example").issue();
    let wild = ca.leaf().dns("*.wild.example").issue();
    let sidecar =
        Sidecar::before(app.address()).serving(&first).serving(&exact).serving(&wild).start();
    let subject = |sni: Option<&str>| {
        let shake = SClient::to(sidecar.tls);
        let shake = match sni {
            Some(name) => shake.sni(name),
            None => shake,
        };
        shake.request("x", "/").run().subject().unwrap_or_default().to_owned()
    };
    for (sni, expected) in [
        (Some("first.example"), "CN = first.example"),
        (Some("a.wild.example"), "CN = a.wild.example"),
        (Some("A.WILD.example"), "CN = a.wild.example"),
        (Some("b.wild.example"), "CN = *.wild.example"),
        (Some("x.b.wild.example"), "CN = first.example"),
        (Some("unknown.example"), "CN = first.example"),
        (None, "CN = first.example"),
    ] {
        assert_eq!(subject(sni), expected, "{sni:?}");
    }
    assert!((sidecar.metric("lasthop_sni_default_total", &[]) - 3.0).abs() < 0.5);
}

#[test]
fn one_name_has_a_certificate_for_clients_of_either_kind_of_key() {
    if skip::lacks(&["openssl"]) {
        return;
    }
    let app = App::start();
    let scene = Scene::new();
    let ca = scene.pki.authority("server-ca");
    let leaf = |kind: &str, key| ca.leaf().dns("one.example").common_name(kind).key(key).issue();
    let (ecdsa, rsa) = (leaf("ecdsa", Key::P256), leaf("rsa", Key::Rsa2048));
    for (first, second) in [(&ecdsa, &rsa), (&rsa, &ecdsa)] {
        let sidecar = Sidecar::before(app.address()).serving(first).serving(second).start();
        for sni in [Some("one.example"), None] {
            for (version, option, value, expected) in [
                ("-tls1_3", "-sigalgs", "ECDSA+SHA256", "CN = ecdsa"),
                ("-tls1_3", "-sigalgs", "RSA-PSS+SHA256", "CN = rsa"),
                ("-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-GCM-SHA256", "CN = ecdsa"),
                ("-tls1_2", "-cipher", "ECDHE-RSA-AES128-GCM-SHA256", "CN = rsa"),
            ] {
                let shake = SClient::to(sidecar.tls);
                let shake = match sni {
                    Some(name) => shake.sni(name),
                    None => shake,
                };
                let shake = shake.option(version, None).option(option, Some(value));
                let ran = shake.request("one.example", "/").run();
                assert_eq!(ran.subject(), Some(expected), "{sni:?} {value}");
            }
        }
    }
}

#[test]
fn bytes_go_through_byte_for_byte_and_each_side_closes_for_itself() {
    let scene = Scene::new();
    // It answers only when it has seen the end of what it is sent.
    let app = RawApp::start(|mut stream| {
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).unwrap();
        bytes.reverse();
        stream.write_all(&bytes).unwrap();
    });
    let mut sidecar = scene.mutual(app.address).option("--protocol", "tcp").start();
    let mut client = sidecar.connect(Some(&scene.alb()));
    let mut bytes: Vec<u8> = (0..500_000_u32).map(|place| (place % 253) as u8).collect();
    client.send(&bytes).unwrap();
    client.finish_sending().unwrap();
    bytes.reverse();
    assert!(client.receive_all() == bytes, "the bytes are others");
    let line = sidecar.expect_log("connection");
    assert_eq!((line["received"].as_u64(), line["sent"].as_u64()), (Some(500_000), Some(500_000)));
    assert_eq!(line["client_matched"], "dns:alb.example");
}

#[test]
fn bytes_for_an_application_that_is_down_are_not_taken() {
    let scene = Scene::new();
    let mut sidecar = scene.open(nobody()).option("--protocol", "tcp").start();
    assert_eq!(sidecar.connect(None).ask("hello"), "");
    let line = sidecar.expect_log("the application did not answer");
    assert_eq!(line["reason"], "connection_refused");
    assert!(sidecar.metric("lasthop_application_failures_total", &[]) > 0.5);
}
