//! Probes of an application on localhost, which kubelet asks the status listener for.

use std::io::{Read as _, Write as _};
use std::net::{Ipv6Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread;

use lasthop_tests::app::App;
use lasthop_tests::document::{self, Described, terminate};
use lasthop_tests::pki::{Issued, Pki};
use lasthop_tests::process::Program;
use lasthop_tests::sidecar::HOST;
use lasthop_tests::skip;
use serde_json::{Value, json};

fn server() -> Issued {
    Pki::new().server()
}

/// A sidecar before `port` with these probes.
fn probing(port: u16, probes: Value) -> Described {
    let document = json!({ "listeners": [terminate(port, json!({}))], "probes": probes });
    document::described(&document).serving(&server())
}

fn http_get(path: &str, port: u16, of_app: &str) -> Value {
    json!({ "path": path, "action": { "httpGet": { "port": port, "path": of_app } } })
}

/// Answers one connection with `answer`; what was asked comes back.
fn once(listener: &TcpListener, answer: &[u8]) -> String {
    let (mut stream, _) = listener.accept().expect("somebody connects");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).expect("a head comes");
        head.extend(byte);
    }
    stream.write_all(answer).expect("the answer is taken");
    String::from_utf8(head).expect("the head is text")
}

#[test]
fn an_application_on_localhost_is_probed_through_the_status_port() {
    if skip::lacks(&["curl"]) {
        return;
    }
    let app = App::start();
    let port = app.port();
    let probes = json!([
        http_get("/probes/web/livez", port, "/status/204"),
        http_get("/probes/web/readyz", port, "status/503?why=busy"),
        http_get("/probes/web/startupz", port, "/redirect/status/200"),
        http_get("/probes/web/lost", port, "/redirect/status/404"),
        { "path": "/probes/db/livez", "action": { "tcpSocket": { "port": port } } },
        { "path": "/probes/grpc/livez", "action": { "grpc": { "port": port } } },
        { "path": "/probes/grpc/named", "action": { "grpc": { "port": port, "service": "shop" } } },
        { "path": "/probes/grpc/down", "action": { "grpc": { "port": port, "service": "down" } } },
    ]);
    let mut sidecar = probing(port, probes).start();
    for (path, status) in [
        ("/probes/web/livez", 204),
        ("/probes/web/readyz", 503),
        ("/probes/web/startupz", 200),
        ("/probes/web/lost", 404),
        ("/probes/db/livez", 200),
        ("/probes/grpc/livez", 200),
        ("/probes/grpc/named", 200),
        ("/probes/grpc/down", 503),
        ("/probes/other/livez", 404),
        ("/probes/web", 404),
    ] {
        sidecar.ask(path).run().expect(status);
    }
    let line = sidecar.process.wait_for_log(|entry| entry["probe"] == "/probes/web/readyz");
    assert_eq!(line["status"], 503);
    let probes = |labels: &[&str]| sidecar.metric("lasthop_probes_total", labels);
    assert!((probes(&["result=\"success\""]) - 5.0).abs() < 0.5);
    assert!((probes(&["result=\"failure\""]) - 3.0).abs() < 0.5);
    drop(app);
    for path in ["/probes/web/livez", "/probes/db/livez", "/probes/grpc/livez"] {
        sidecar.ask(path).run().expect(503);
    }
    let line = sidecar.process.wait_for_log(|entry| entry["reason"] == "connection_refused");
    assert_eq!(line["message"], "a probe of the application fails");
}

#[test]
fn a_probe_sends_what_is_written_and_tells_the_status_alone() {
    if skip::lacks(&["curl"]) {
        return;
    }
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let probes = json!([{
        "path": "/probes/web/readyz",
        "action": { "httpGet": {
            "port": port,
            "path": "/health?full=yes",
            "headers": [["Host", "shop.example"], ["X-Check", "1"]],
        } },
    }]);
    let sidecar = probing(port, probes).start();
    let answer = b"HTTP/1.1 418 Teapot\r\nX-Secret: inside\r\nContent-Length: 6\r\n\r\ninside";
    let application = thread::spawn(move || once(&listener, answer));
    let ask =
        sidecar.ask("/probes/web/readyz?path=/admin").header("X-Evil: 1").header("Host: evil");
    let answer = ask.run().expect(418);
    assert_eq!(answer.text(), "");
    assert!(answer.header("x-secret").is_none(), "{answer:?}");
    let asked = application.join().unwrap();
    assert!(asked.starts_with("GET /health?full=yes HTTP/1.1\r\n"), "{asked}");
    let asked = asked.to_lowercase();
    for line in ["host: shop.example\r\n", "x-check: 1\r\n", "connection: close\r\n"] {
        assert!(asked.contains(line), "{asked}");
    }
    assert!(asked.contains("user-agent: kube-probe/") && !asked.contains("evil"), "{asked}");
}

#[test]
fn a_probe_is_asked_for_by_get_alone() {
    if skip::lacks(&["curl"]) {
        return;
    }
    let app = App::start();
    let sidecar =
        probing(app.port(), json!([http_get("/probe", app.port(), "/status/200")])).start();
    for method in ["POST", "PUT", "DELETE", "OPTIONS"] {
        let answer = sidecar.ask("/probe").method(method).run().expect(405);
        assert_eq!(answer.header("allow"), Some("GET"));
    }
    sidecar.ask("/probe").flag("--head").run().expect(405);
    assert!(sidecar.metric("lasthop_probes_total", &[]) < 0.5);
}

#[test]
fn a_silent_application_fails_its_probe_in_time_and_many_who_ask_cost_one_run() {
    if skip::lacks(&["curl"]) {
        return;
    }
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut probe = http_get("/probe", port, "/");
    // Longer than the two seconds of other questions to the status port.
    probe["timeoutSeconds"] = json!(4);
    let sidecar = Arc::new(probing(port, json!([probe])).start());
    thread::scope(|scope| {
        let asking: Vec<_> =
            (0..4).map(|_| scope.spawn(|| sidecar.ask("/probe").run().status)).collect();
        let (_held, _) = listener.accept().unwrap();
        for asked in asking {
            assert_eq!(asked.join().unwrap(), 504);
        }
    });
    listener.set_nonblocking(true).unwrap();
    assert!(listener.accept().is_err(), "a second run");
    assert!((sidecar.metric("lasthop_probes_total", &[]) - 1.0).abs() < 0.5);
}

#[test]
fn an_application_with_tls_of_its_own_is_probed_unverified() {
    if skip::lacks(&["curl", "openssl"]) {
        return;
    }
    let pki = Pki::new();
    let files = pki.authority("inner-ca").leaf().dns(HOST).issue().files();
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut application = Program::at("openssl")
        .args(["s_server", "-www", "-accept", &free.to_string(), "-cert"])
        .arg(&files.chain)
        .arg("-key")
        .arg(&files.key)
        .start();
    application.wait_for_line(|line| line.contains("ACCEPT"));
    let mut probe = http_get("/probe", free.port(), "/");
    probe["action"]["httpGet"]["scheme"] = json!("HTTPS");
    let plain = http_get("/plain", free.port(), "/");
    let sidecar = probing(free.port(), json!([probe, plain])).start();
    sidecar.ask("/probe").run().expect(200);
    sidecar.ask("/plain").run().expect(503);
}

#[test]
fn an_application_on_ipv6_is_found() {
    let Ok(listener) = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)) else {
        return skip::this_test("there is no IPv6 here");
    };
    if skip::lacks(&["curl"]) {
        return;
    }
    let address: SocketAddr = listener.local_addr().unwrap();
    let sidecar = probing(address.port(), json!([http_get("/probe", address.port(), "/")])).start();
    let application =
        thread::spawn(move || once(&listener, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"));
    sidecar.ask("/probe").run().expect(200);
    application.join().unwrap();
}

#[test]
fn a_wrong_probe_does_not_start() {
    let probe = |path: &str, port: u16| http_get(path, port, "/");
    let probes = json!([probe("/readyz", 8080), probe("/a", 0), probe("/a", 8080)]);
    let finished = probing(8080, probes).run();
    assert_eq!(finished.code(), 64, "{finished}");
    for expected in ["`/readyz`", "must not be 0", "another one at this path"] {
        assert!(finished.stderr.contains(expected), "{expected}: {finished}");
    }
}
