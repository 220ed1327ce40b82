//! Judges of other makes: what they say of a sidecar before a real application.

use std::fs;
use std::net::TcpListener;
use std::process::Command;

use lasthop_tests::app::App;
use lasthop_tests::pki::Pki;
use lasthop_tests::process::Program;
use lasthop_tests::sidecar::{HOST, Setup, Sidecar};
use lasthop_tests::{skip, suite};
use serde_json::Value;

struct Scene {
    pki: Pki,
}

impl Scene {
    fn new() -> Self {
        Self { pki: Pki::new() }
    }

    fn before(&self, application: std::net::SocketAddr) -> Setup {
        let server = self.pki.server();
        Sidecar::before(application).serving(&server)
    }
}

/// RFC 9113 and RFC 7541, clause by clause. <https://github.com/summerwind/h2spec>
#[test]
fn h2spec_finds_nothing() {
    let Some(h2spec) = suite::program("h2spec") else { return };
    let app = App::start();
    let sidecar = Scene::new().before(app.address()).start();
    // The path is one that the application answers when it has the whole body: an answer that comes
    // before the client's mistake is none to the mistake.
    let said = suite::run(
        Command::new(h2spec)
            .args(["-h", "127.0.0.1", "-t", "-k", "-P", "/anything", "-o", "10", "-p"])
            .arg(sidecar.tls.port().to_string()),
    );
    assert!(said.contains("145 tests, 145 passed, 0 skipped, 0 failed"), "{said}");
}

/// Every kind of call, metadata, status and cancellation, with gRPC's own client and server.
/// <https://github.com/grpc/grpc/blob/master/doc/interop-test-descriptions.md>
#[test]
fn grpc_works_end_to_end() {
    const CASES: [&str; 14] = [
        "empty_unary",
        "large_unary",
        "client_streaming",
        "server_streaming",
        "ping_pong",
        "empty_stream",
        "timeout_on_sleeping_server",
        "cancel_after_begin",
        "cancel_after_first_response",
        "custom_metadata",
        "status_code_and_message",
        "special_status_message",
        "unimplemented_method",
        "unimplemented_service",
    ];
    let Some(client) = suite::program("client") else { return };
    let Some(server) = suite::program("server") else { return };
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let port = free.port().to_string();
    let _server = Program::at(server).args(["-port", &port]).start();
    let scene = Scene::new();
    let sidecar = scene.before(free).option("--protocol", "h2c").start();
    for case in CASES {
        let ran = Program::at(&client)
            .args(["-use_tls", "-use_test_ca", "-server_host", "127.0.0.1", "-ca_file"])
            .arg(scene.pki.authority("server-ca").root_file())
            .args(["-server_host_override", HOST, "-test_case", case, "-server_port"])
            .arg(sidecar.tls.port().to_string())
            .run();
        assert!(ran.status.success(), "{case}: {ran}");
    }
}

#[test]
fn sslscan_finds_two_protocols_and_no_weakness() {
    if skip::lacks(&["sslscan"]) {
        return;
    }
    let app = App::start();
    let sidecar = Scene::new().before(app.address()).start();
    let target = sidecar.tls.to_string();
    let said =
        suite::run(Command::new("sslscan").args(["--no-colour", "--sni-name", HOST, &target]));
    let enabled: Vec<&str> = said.lines().filter(|line| line.ends_with(" enabled")).collect();
    assert_eq!(enabled, ["TLSv1.2   enabled", "TLSv1.3   enabled"], "{said}");
    let ciphers: Vec<&str> = said
        .lines()
        .filter(|it| it.starts_with("Preferred") || it.starts_with("Accepted"))
        .collect();
    assert!(ciphers.len() >= 6, "{said}");
    for cipher in ciphers {
        assert!(cipher.contains("GCM") || cipher.contains("POLY1305"), "{cipher}");
    }
    for line in said.lines().filter(|line| line.contains("heartbleed")) {
        assert!(line.contains("not vulnerable"), "{line}");
    }
    assert!(said.contains("Session renegotiation not supported"), "{said}");
}

/// <https://testssl.sh>
#[test]
fn testssl_finds_nothing_above_informational() {
    /// What is said of the test's certificate and name, and not of the sidecar.
    const NOT_OURS: [&str; 2] = [
        "cert_revocation", // no CRL or OCSP address in the certificate
        "DNS_CAArecord",   // localhost has none
    ];
    if skip::lacks(&["testssl", "hexdump", "dig"]) {
        return;
    }
    let app = App::start();
    let scene = Scene::new();
    let server = scene.pki.authority("server-ca").leaf().dns("localhost").issue();
    let sidecar = Sidecar::before(app.address()).serving(&server).start();
    let folder = scene.pki.directory();
    let report = folder.join("testssl.json");
    let said = suite::run(
        Command::new("testssl")
            // Protocols, ciphers, server defaults and known attacks; not its list of clients of the
            // last twenty years, which takes a minute and judges nothing.
            .args(["--protocols", "--std", "--fs", "--server-preference", "--server-defaults"])
            .args(["--vulnerable", "--quiet", "--warnings", "off", "--color", "0"])
            .args(["--ip", "one", "--add-ca"])
            .arg(scene.pki.authority("server-ca").root_file())
            .arg("--jsonfile")
            .arg(&report)
            .arg(format!("localhost:{}", sidecar.tls.port())),
    );
    let report: Value = serde_json::from_str(&fs::read_to_string(&report).unwrap()).unwrap();
    let report = report.as_array().unwrap();
    let good = report.iter().filter(|entry| entry["severity"] == "OK").count();
    assert!(good > 20, "{said}");
    // `WARN` is what it could not try, on a busy machine for instance.
    let informational = |entry: &Value| {
        ["OK", "INFO", "WARN", "DEBUG"].iter().any(|word| entry["severity"] == *word)
    };
    let found: Vec<&Value> = report
        .iter()
        .filter(|entry| !informational(entry))
        .filter(|entry| !NOT_OURS.iter().any(|id| entry["id"] == *id))
        .collect();
    assert!(found.is_empty(), "{found:#?}");
}
