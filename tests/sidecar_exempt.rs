//! Paths that need no client certificate, and everybody who would like more than these.

use lasthop_tests::frames::{self, DATA, END_HEADERS, END_STREAM, HEADERS, block, frame};
use lasthop_tests::scene::Scene;
use lasthop_tests::sidecar::{HOST, Sidecar};
use lasthop_tests::skip;

/// A sidecar that asks everybody for a certificate, but for these two paths and a WebSocket.
fn exempting(scene: &Scene) -> Sidecar {
    scene.guarded().option("--client-auth-exempt-paths", "/headers,/status/204,/ws").start()
}

fn passed_on(sidecar: &Sidecar) -> f64 {
    sidecar.metric("lasthop_application_connections_total", &[])
}

fn refused(sidecar: &Sidecar) -> f64 {
    sidecar.metric("lasthop_refused_requests_total", &["code=\"LH513\"", "reason=\"not_exempt\""])
}

#[test]
fn a_health_checker_without_a_certificate_reaches_exempt_paths_and_no_other() {
    if skip::lacks(&["curl"]) {
        return;
    }
    let scene = Scene::new();
    let mut sidecar = exempting(&scene);
    for (request, status) in [
        (sidecar.get("/status/200"), 403),
        (sidecar.get("/status/200").http1(), 403),
        (sidecar.get("/headers/"), 403),
        (sidecar.get("/headers").method("POST").body("x"), 403),
        (sidecar.get("/headers").method("DELETE").http1(), 403),
    ] {
        request.run().expect(status);
    }
    assert!(passed_on(&sidecar) < 0.5, "nothing of it was passed on");
    assert!((refused(&sidecar) - 5.0).abs() < 0.5);
    let line = sidecar.expect_refusal("LH513");
    assert_eq!((&line["reason"], &line["path"]), (&"not_exempt".into(), &"/status/200".into()));
    for request in [sidecar.get("/status/204"), sidecar.get("/status/204?deep=1").http1()] {
        request.run().expect(204);
    }
    sidecar.get("/headers").flag("--head").run().expect(200);
    let forged = "X-Forwarded-Client-Cert: Hash=00;Subject=\"CN=admin\"";
    let told = sidecar.get("/headers").header(forged).run().expect(200).text();
    assert!(!told.contains("client-cert") && !told.contains("admin"), "{told}");
    // What a health checker need not say, it does not say to the application.
    let told = sidecar.get("/headers").header("X-Tenant: admin").header("Cookie: a=admin").run();
    let told = told.expect(200).text();
    assert!(!told.contains("admin") && told.contains("user-agent"), "{told}");
    let moved = sidecar.get("/headers").header("SCRIPT_NAME: /headers").run();
    moved.expect(403);
}

#[test]
fn a_certificate_opens_the_rest_and_a_bad_one_not_even_exempt_paths() {
    if skip::lacks(&["curl"]) {
        return;
    }
    let scene = Scene::new();
    let mut sidecar = exempting(&scene);
    let known = scene.clients.leaf().dns("alb.example").issue();
    for path in ["/status/200", "/headers"] {
        sidecar.get(path).client(&known.files()).run().expect(200);
    }
    let expired = scene.clients.leaf().dns("alb.example").expired().issue();
    sidecar.get("/headers").client(&expired.files()).run().expect_refused();
    sidecar.expect_refusal("LH504");
    let other = scene.clients.leaf().dns("other.example").issue();
    sidecar.get("/headers").client(&other.files()).run().expect_refused();
    sidecar.expect_refusal("LH511");
}

#[test]
fn nobody_gets_further_by_writing_an_exempt_path_in_another_way() {
    let scene = Scene::new();
    let sidecar = exempting(&scene);
    let host = format!("Host: {HOST}\r\n");
    for target in [
        "/headers/../anything",
        "/headers/..%2fanything",
        "/headers%2f",
        "/header%73",
        "/headers%00",
        "/headers;/anything",
        "/headers/.",
        "//headers",
        "/./headers",
        "/HEADERS",
        "/headers\\",
        &format!("https://{HOST}/headers"),
        &format!("http://{HOST}/anything"),
        "*",
    ] {
        let request = format!("GET {target} HTTP/1.1\r\n{host}Connection: close\r\n\r\n");
        let answer = sidecar.connect(None).ask(request);
        let status = answer.split(' ').nth(1).unwrap_or_default();
        assert!(["403", "400"].contains(&status), "{target}: {answer}");
    }
    for (request, what) in [
        (format!("GET /headers HTTP/1.1\r\n{host}Content-Length: 5\r\n\r\nhello"), "a body"),
        (
            format!("GET /headers HTTP/1.1\r\n{host}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
            "an empty body in chunks",
        ),
        (
            format!(
                "GET /headers HTTP/1.1\r\n{host}Content-Length: 35\r\n\r\n\
                 GET /anything HTTP/1.1\r\nHost: a\r\n\r\n"
            ),
            "a request as body",
        ),
        (
            format!(
                "GET /headers HTTP/1.1\r\n{host}Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n\
                 0\r\n\r\nGET /anything HTTP/1.1\r\n{host}\r\n"
            ),
            "two lengths",
        ),
        (
            format!(
                "GET /ws HTTP/1.1\r\n{host}Connection: Upgrade\r\nUpgrade: websocket\r\n\
                 Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
            ),
            "a tunnel",
        ),
        (
            format!(
                "GET /headers HTTP/1.1\r\n{host}Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n"
            ),
            "another protocol",
        ),
        (
            format!("GET /headers HTTP/1.1\r\n{host}X-HTTP-Method-Override: DELETE\r\n\r\n"),
            "a method",
        ),
        (format!("GET /headers HTTP/1.1\r\n{host}X-Original-URL: /anything\r\n\r\n"), "a path"),
        (format!("CONNECT {HOST}:443 HTTP/1.1\r\n{host}\r\n"), "CONNECT"),
    ] {
        let answer = sidecar.connect(None).ask(request);
        let status = answer.split(' ').nth(1).unwrap_or_default();
        assert!(["403", "400"].contains(&status), "{what}: {answer}");
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{what}: {answer}");
    }
    assert!(passed_on(&sidecar) < 0.5, "nothing of it was passed on");
}

#[test]
fn a_request_behind_an_exempt_one_is_judged_for_itself() {
    let scene = Scene::new();
    let sidecar = exempting(&scene);
    let exempt = format!("GET /headers HTTP/1.1\r\nHost: {HOST}\r\n\r\n");
    let other = format!("GET /anything HTTP/1.1\r\nHost: {HOST}\r\n\r\n");
    let answer = sidecar.connect(None).ask(format!("{exempt}{exempt}{other}{exempt}"));
    let statuses: Vec<&str> =
        answer.split("HTTP/1.1 ").skip(1).filter_map(|it| it.split(' ').next()).collect();
    assert_eq!(statuses, ["200", "200", "403"], "{answer}");
    assert!(answer.to_lowercase().contains("connection: close"), "{answer}");
}

#[test]
fn with_http_2_each_stream_is_judged_for_itself() {
    let scene = Scene::new();
    let mut sidecar = exempting(&scene);
    let get = |path| frames::get(HOST, path);
    let connect = block(&[(":method", "CONNECT"), (":authority", HOST)]);
    let override_path = [get("/headers"), block(&[("x-original-url", "/anything")])].concat();
    let whole = END_STREAM | END_HEADERS;
    let mut client = sidecar.connect_h2();
    let frames = [
        frames::preface(),
        frame(HEADERS, whole, 1, &get("/anything")),
        frame(HEADERS, whole, 3, &get("/headers/../anything")),
        frame(HEADERS, END_HEADERS, 5, &connect),
        // It says that a body follows, and then has none.
        frame(HEADERS, END_HEADERS, 7, &get("/headers")),
        frame(DATA, END_STREAM, 7, &[]),
        frame(HEADERS, whole, 9, &override_path),
    ];
    client.send(frames.concat()).unwrap();
    sidecar.wait_until("all refused", |it| (refused(it) - 5.0).abs() < 0.5);
    assert!(passed_on(&sidecar) < 0.5, "nothing of it was passed on");
    client.send(frame(HEADERS, whole, 11, &get("/status/204"))).unwrap();
    sidecar.wait_until("answered", |it| it.metric("lasthop_requests_total", &["2xx"]) > 0.5);
    let expected = sidecar.process.wait_for_log(|it| it["path"] == "/status/204");
    assert_eq!(expected["status"], 204);
}

#[test]
fn a_resumed_connection_without_a_certificate_gets_no_further() {
    if skip::lacks(&["openssl"]) {
        return;
    }
    let scene = Scene::new();
    let sidecar = exempting(&scene);
    let session = scene.pki.directory().join("session").display().to_string();
    for version in ["-tls1_3", "-tls1_2"] {
        let shake = || sidecar.shake().option(version, None);
        let first = shake().option("-sess_out", Some(&session)).request(HOST, "/status/204").run();
        assert!(first.output.contains("HTTP/1.1 204"), "{first:?}");
        let again = shake().option("-sess_in", Some(&session)).request(HOST, "/status/200").run();
        assert!(again.is_resumed() && again.output.contains("HTTP/1.1 403"), "{again:?}");
        let client = scene.clients.leaf().dns("alb.example").issue().files();
        let known = shake().client(&client).option("-sess_out", Some(&session));
        assert!(known.request(HOST, "/status/200").run().output.contains("HTTP/1.1 200"));
        let again = shake().option("-sess_in", Some(&session)).request(HOST, "/status/200").run();
        assert!(again.is_resumed() && again.output.contains("HTTP/1.1 200"), "{again:?}");
    }
}
