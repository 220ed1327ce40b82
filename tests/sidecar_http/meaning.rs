//! Nothing is passed on that could mean two things.

use std::io::Write as _;

use lasthop_tests::app::App;
use lasthop_tests::raw::{RawApp, read_head};
use lasthop_tests::sidecar::HOST;

use super::scene::Scene;

#[test]
fn requests_that_could_mean_two_things_are_refused_or_mean_one() {
    let app = App::start();
    let scene = Scene::new();
    let sidecar = scene.open(app.address()).start();
    let host = format!("Host: {HOST}\r\n");
    for (request, status) in [
        ("GET / HTTP/1.1\r\n\r\n".to_owned(), 400),
        (format!("GET / HTTP/1.1\r\n{host}{host}\r\n"), 400),
        ("GET / HTTP/1.1\r\nHost: a b\r\n\r\n".to_owned(), 400),
        ("GET / HTTP/1.1\r\nHost: a@shop.example\r\n\r\n".to_owned(), 400),
        ("GET / HTTP/1.1\r\nHost: shop.example/x\r\n\r\n".to_owned(), 400),
        (format!("GET http://user@shop.example/ HTTP/1.1\r\n{host}\r\n"), 400),
        ("CONNECT shop.example:443 HTTP/1.1\r\nHost: shop.example\r\n\r\n".to_owned(), 501),
        (format!("POST / HTTP/1.1\r\n{host}Content-Length: 1\r\nContent-Length: 2\r\n\r\nab"), 400),
        (format!("POST / HTTP/1.1\r\n{host}Content-Length: +1\r\n\r\na"), 400),
        (format!("POST / HTTP/1.1\r\n{host}Content-Length: 1, 1\r\n\r\na"), 400),
        (
            format!(
                "POST / HTTP/1.1\r\n{host}Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n"
            ),
            400,
        ),
        (format!("POST / HTTP/1.0\r\n{host}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"), 400),
        (format!("GET / HTTP/1.1\r\n{host}X : y\r\n\r\n"), 400),
        (format!("GET / HTTP/1.1\r\n{host}X: y\r\n folded\r\n\r\n"), 400),
        (format!("GET / HTTP/1.1\r\n{host}X: a\0b\r\n\r\n"), 400),
        (format!("GET / HTTP/2.0\r\n{host}\r\n"), 400),
        (format!("GET / HTTP/1.1\r\n{host}X: {}\r\n\r\n", "y".repeat(100_000)), 431),
    ] {
        let mut client = sidecar.connect(None);
        let shown: String = request.chars().take(80).collect();
        let answer = client.ask(&request);
        let expected = format!("HTTP/1.1 {status} ");
        let first: String = answer.chars().take(300).collect();
        assert!(first.starts_with(&expected), "{shown:?}: {first}");
    }
}

#[test]
fn contradicting_lengths_reach_the_application_as_one() {
    let app = App::start();
    let scene = Scene::new();
    let sidecar = scene.open(app.address()).start();
    let answer = sidecar.connect(None).ask(format!(
        "POST /anything HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\nContent-Length: 44\r\n\
         Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"
    ));
    assert_eq!(answer.matches("HTTP/1.1 200").count(), 1, "{answer}");
    assert!(!answer.contains("\"content-length\""), "{answer}");
    assert!(answer.contains("\"length\": 5"), "{answer}");
}

#[test]
fn the_target_of_the_request_decides_about_its_host() {
    let app = App::start();
    let scene = Scene::new();
    let sidecar = scene.open(app.address()).start();
    let answer = sidecar.connect(None).ask(
        "GET http://real.example/anything/x HTTP/1.1\r\nHost: other.example\r\nConnection: close\r\n\r\n",
    );
    assert!(answer.contains("real.example") && !answer.contains("other.example"), "{answer}");
    assert!(answer.contains("\"target\": \"/anything/x\""), "{answer}");
}

#[test]
fn a_question_about_the_server_itself_is_passed_on() {
    let scene = Scene::new();
    let app = RawApp::start(|mut stream| {
        let head = read_head(&stream);
        let ok = head.starts_with("OPTIONS * HTTP/1.1\r\n");
        let status = if ok { "204 No Content" } else { "500 Internal Server Error" };
        let _gone = stream.write_all(format!("HTTP/1.1 {status}\r\n\r\n").as_bytes());
    });
    let sidecar = scene.open(app.address).start();
    let answer = sidecar
        .connect(None)
        .ask(format!("OPTIONS * HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n"));
    assert!(answer.starts_with("HTTP/1.1 204"), "{answer}");
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
