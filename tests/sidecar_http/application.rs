//! Applications that are down, break off, or close what is idle.

use std::io::Write as _;

use lasthop_tests::app::App;
use lasthop_tests::raw::{RawApp, read_head};
use lasthop_tests::sidecar::{HOST, Sidecar};
use lasthop_tests::skip;

use super::scene::Scene;

#[test]
fn an_application_that_is_down_is_a_502_that_says_so() {
    if skip::lacks(&["curl"]) {
        return;
    }
    let app = App::start();
    let scene = Scene::new();
    let mut sidecar = scene.open(app.address()).start();
    sidecar.get("/status/200").run().expect(200);
    let address = app.stop();
    for path in ["/", "/other"] {
        let answer = sidecar.get(path).run().expect(502);
        let text = answer.text();
        assert!(text.contains("the application does not accept connections"), "{text}");
        assert!(!text.contains(&address.port().to_string()), "{text}");
    }
    let failures = |sidecar: &Sidecar| {
        sidecar.metric("lasthop_application_failures_total", &["connection_refused"])
    };
    assert!((failures(&sidecar) - 2.0).abs() < 0.5);
    let line = sidecar.expect_log("the application did not answer");
    assert_eq!(line["reason"], "connection_refused");
    let _back = App::start_at(address);
    sidecar.get("/status/200").run().expect(200);
}

#[test]
fn an_application_that_breaks_is_told_apart() {
    if skip::lacks(&["curl"]) {
        return;
    }
    let scene = Scene::new();
    for (answer, reason) in [
        ("", "broken"),
        ("SSH-2.0-OpenSSH_9.2\r\n", "protocol"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", "protocol"),
        (
            "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n",
            "protocol",
        ),
    ] {
        let app = RawApp::start(move |mut stream| {
            read_head(&stream);
            let _gone = stream.write_all(answer.as_bytes());
        });
        let sidecar = scene.open(app.address).start();
        let text = sidecar.get("/").run().expect(502).text();
        assert!(text.contains("application"), "{text}");
        let count = sidecar.metric("lasthop_application_failures_total", &[reason]);
        assert!((count - 1.0).abs() < 0.5, "{answer:?}: {reason}");
    }
}

#[test]
fn an_application_that_closes_idle_connections_loses_no_request() {
    if skip::lacks(&["curl"]) {
        return;
    }
    let scene = Scene::new();
    // It says keep-alive and then closes, as a server does whose idle time is over.
    let app = RawApp::start(|mut stream| {
        let head = read_head(&stream);
        let body = head.lines().next().unwrap_or_default().to_owned();
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        let _gone = stream.write_all(answer.as_bytes());
    });
    let sidecar = scene.open(app.address).start();
    let mut client = sidecar.connect(None);
    for number in 0..200 {
        client.send(format!("GET /{number} HTTP/1.1\r\nHost: {HOST}\r\n\r\n")).unwrap();
        let head = client.receive_until("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200"), "{number}: {head}");
        let expected = format!("GET /{number} HTTP/1.1");
        let body = client.receive(expected.len()).unwrap();
        assert_eq!(String::from_utf8(body).unwrap(), expected);
    }
}

#[test]
fn connections_to_the_application_are_used_again() {
    let app = App::start();
    let scene = Scene::new();
    let sidecar = scene.open(app.address()).start();
    let mut client = sidecar.connect(None);
    for _ in 0..50 {
        client.send(format!("GET /status/200 HTTP/1.1\r\nHost: {HOST}\r\n\r\n")).unwrap();
        client.receive_until("\r\n\r\n").unwrap();
    }
    let made = sidecar.metric("lasthop_application_connections_total", &[]);
    assert!(made < 5.5, "{made}");
}
