//! Requests and answers are passed on whole.

use std::io::{Read as _, Write as _};

use lasthop_tests::app::{App, header};
use lasthop_tests::curl::Curl;
use lasthop_tests::process::wait_until;
use lasthop_tests::raw::{RawApp, read_head};
use lasthop_tests::sidecar::HOST;
use lasthop_tests::skip;
use serde_json::Value;

use super::scene::Scene;

#[test]
fn bodies_arrive_byte_for_byte_both_ways() {
    if skip::lacks(&["curl"]) {
        return;
    }
    let app = App::start();
    let scene = Scene::new();
    let sidecar = scene.open(app.address()).start();
    let bytes: Vec<u8> = (0..3_000_000_u32).map(|place| (place % 251) as u8).collect();
    let file = scene.pki.write("body", &bytes);
    let digest = |answer: &Value| answer["body"]["sha256"].as_str().unwrap().to_owned();
    let direct =
        Curl::get(&format!("http://{}/anything", app.address())).body_file(&file).run().json();
    let upload = |curl: Curl| curl.body_file(&file).run().expect(200).json();
    for told in [
        upload(sidecar.get("/anything")),
        upload(sidecar.get("/anything").http1()),
        upload(sidecar.get("/anything").http1().header("Transfer-Encoding: chunked")),
    ] {
        assert_eq!(told["body"]["length"], 3_000_000);
        assert_eq!(digest(&told), digest(&direct));
    }
    for curl in [sidecar.get("/bytes/3000000"), sidecar.get("/bytes/3000000").http1()] {
        assert!(curl.run().expect(200).body == bytes, "the bytes are others");
    }
    let lines = sidecar.get("/stream/1000").run().expect(200).text();
    assert_eq!(lines.lines().count(), 1000);
}

#[test]
fn answers_without_a_body_are_answers() {
    if skip::lacks(&["curl"]) {
        return;
    }
    let app = App::start();
    let scene = Scene::new();
    let sidecar = scene.open(app.address()).start();
    for http1 in [true, false] {
        let get = |path: &str| {
            if http1 { sidecar.get(path).http1() } else { sidecar.get(path) }
        };
        let head = get("/bytes/12345").method("HEAD").run().expect(200);
        assert_eq!(head.header("content-length"), Some("12345"));
        for status in [204, 304, 404, 503] {
            get(&format!("/status/{status}")).run().expect(status);
        }
        let trailers = get("/trailers").header("TE: trailers").run().expect(200);
        assert_eq!(trailers.trailers, [("grpc-status".to_owned(), "0".to_owned())], "{trailers:?}");
    }
}

#[test]
fn an_answer_with_trailers_is_whole_and_its_connection_is_used_again() {
    if skip::lacks(&["curl"]) {
        return;
    }
    let app = App::start();
    let scene = Scene::new();
    let sidecar = scene.open(app.address()).start();
    for _ in 0..5 {
        sidecar.get("/trailers").header("TE: trailers").run().expect(200);
        sidecar.get("/trailers").header("TE: trailers").http1().run().expect(200);
    }
    let made = sidecar.metric("lasthop_application_connections_total", &[]);
    assert!(made <= 2.0, "{made} connections for 10 requests, one after the other");
    let requests = || sidecar.process.log().into_iter().filter(|line| line["message"] == "request");
    wait_until("ten lines", || requests().count() == 10);
    assert!(requests().all(|line| line.get("error").is_none()), "{:?}", sidecar.process.log());
}

#[test]
fn an_application_that_speaks_http2_gets_http2() {
    if skip::lacks(&["curl"]) {
        return;
    }
    let app = App::start();
    let scene = Scene::new();
    let sidecar = scene.mutual(app.address()).option("--protocol", "h2c").start();
    let alb = scene.alb();
    for curl in [sidecar.get("/anything/x?y"), sidecar.get("/anything/x?y").http1()] {
        let told = curl.client(&alb).body("hello").run().expect(200).json();
        assert_eq!(told["version"], "HTTP/2.0");
        assert_eq!(told["target"], format!("http://{HOST}/anything/x?y"));
        assert_eq!(told["body"]["length"], 5);
        assert_eq!(header(&told, "x-forwarded-for"), ["127.0.0.1"]);
    }
    let trailers = sidecar.get("/trailers").client(&alb).run().expect(200).trailers;
    assert_eq!(trailers, [("grpc-status".to_owned(), "0".to_owned())]);
}

#[test]
fn an_application_that_does_not_want_the_body_does_not_get_it() {
    let scene = Scene::new();
    let app = RawApp::start(|mut stream| {
        let head = read_head(&stream);
        assert!(head.to_lowercase().contains("expect: 100-continue"), "{head}");
        let refusal = "HTTP/1.1 417 Expectation Failed\r\nContent-Length: 2\r\n\r\nno";
        stream.write_all(refusal.as_bytes()).unwrap();
        let mut rest = Vec::new();
        let _end = stream.read_to_end(&mut rest);
        assert!(rest.is_empty(), "{rest:?}");
    });
    let sidecar = scene.open(app.address).start();
    let mut client = sidecar.connect(None);
    let head = format!(
        "POST / HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 5\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n"
    );
    let answer = client.ask(head);
    assert!(answer.starts_with("HTTP/1.1 417") && answer.ends_with("no"), "{answer}");
}

#[test]
fn an_application_that_wants_the_body_gets_it() {
    let scene = Scene::new();
    let app = RawApp::start(|mut stream| {
        read_head(&stream);
        stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").unwrap();
        let mut body = [0; 5];
        stream.read_exact(&mut body).unwrap();
        let answer = [&b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"[..], &body].concat();
        stream.write_all(&answer).unwrap();
    });
    let sidecar = scene.open(app.address).start();
    let mut client = sidecar.connect(None);
    let head = format!(
        "POST / HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 5\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n"
    );
    client.send(head).unwrap();
    let interim = client.receive_until("\r\n\r\n").unwrap();
    assert!(interim.starts_with("HTTP/1.1 100"), "{interim}");
    let answer = client.ask("hello");
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("hello"), "{answer}");
}

#[test]
fn a_websocket_goes_through() {
    let app = App::start();
    let scene = Scene::new();
    let mut sidecar = scene.mutual(app.address()).start();
    let mut client = sidecar.connect(Some(&scene.alb()));
    client
        .send(format!(
            "GET /ws HTTP/1.1\r\nHost: {HOST}\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        ))
        .unwrap();
    let head = client.receive_until("\r\n\r\n").unwrap().to_lowercase();
    assert!(head.starts_with("http/1.1 101"), "{head}");
    assert!(head.contains("upgrade: websocket") && head.contains("connection: upgrade"), "{head}");
    assert!(head.contains("sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo="), "{head}");
    // A masked text frame (RFC 6455, 5.2); a mask of zeros leaves the text as it is.
    for text in ["hello", "again"] {
        let frame = [&[0x81, 0x80 | 5, 0, 0, 0, 0][..], text.as_bytes()].concat();
        client.send(&frame).unwrap();
        let echo = client.receive(7).unwrap();
        assert_eq!(echo, [&[0x81, 5][..], text.as_bytes()].concat());
    }
    drop(client);
    let line = sidecar.process.wait_for_log(|line| line["path"] == "/ws");
    assert_eq!(line["status"], 101);
}

#[test]
fn an_upgrade_to_anything_else_is_no_tunnel() {
    let app = App::start();
    let scene = Scene::new();
    let sidecar = scene.open(app.address()).start();
    let answer = sidecar.connect(None).ask(format!(
        "GET /headers HTTP/1.1\r\nHost: {HOST}\r\nConnection: close, Upgrade, HTTP2-Settings\r\n\
         Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n"
    ));
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let lower = answer.to_lowercase();
    assert!(!lower.contains("h2c") && !lower.contains("http2-settings"), "{answer}");
}

#[test]
fn many_clients_at_once_each_get_their_own_answer() {
    let app = App::start();
    let scene = Scene::new();
    let sidecar = scene.open(app.address()).start();
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let mut client = sidecar.connect(None);
            scope.spawn(move || {
                for number in 0..40 {
                    let path = format!("/anything/{thread}-{number}");
                    client.send(format!("GET {path} HTTP/1.1\r\nHost: {HOST}\r\n\r\n")).unwrap();
                    let head = client.receive_until("\r\n\r\n").unwrap().to_lowercase();
                    let (_, length) = head.split_once("content-length: ").unwrap();
                    let length = length.lines().next().unwrap().parse().unwrap();
                    let body = String::from_utf8(client.receive(length).unwrap()).unwrap();
                    assert!(body.contains(&format!("\"{path}\"")), "{path}: {body}");
                }
            });
        }
    });
    assert!((sidecar.metric("lasthop_requests_total", &["2xx"]) - 320.0).abs() < 0.5);
}

#[test]
fn an_old_client_without_a_host_is_served() {
    let app = App::start();
    let scene = Scene::new();
    let sidecar = scene.open(app.address()).start();
    let answer = sidecar.connect(None).ask("GET /headers HTTP/1.0\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.0 200"), "{answer}");
    assert!(answer.contains(HOST), "{answer}");
}
