//! Requests of the application, over HTTP/1.1 and HTTP/2.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use lasthop_tests::app::header;
use lasthop_tests::process::{Program, wait_until};
use lasthop_tests::raw::{RawApp, nobody};
use lasthop_tests::sidecar::Sidecar;
use lasthop_tests::skip;

use super::scene::{Scene, TIER, numbered};

#[test]
fn plaintext_on_localhost_becomes_mutual_tls_to_the_sidecar_of_the_next_tier() {
    if skip::lacks(&["curl"]) {
        return;
    }
    let scene = Scene::new();
    let mut tier = scene.mutual_tier();
    let web = scene.web();
    let mut outward = scene.outward("https", tier.tls).presenting(&web).start();
    for (spoken, curl) in [
        ("1.1", outward.get("shop.example:8080", "/anything/a?b=c")),
        ("2", outward.get("shop.example:8080", "/anything/a?b=c").h2c()),
    ] {
        let curl = curl.header("X-Forwarded-For: 192.0.2.9").header("Authorization: Bearer x");
        let answer = curl.body_bytes(numbered(300_000)).run().expect(200);
        assert_eq!(answer.version, spoken);
        let told = answer.json();
        assert_eq!(told["target"], "/anything/a?b=c");
        assert_eq!(told["method"], "POST");
        assert_eq!(told["body"]["length"], 300_000);
        assert_eq!(header(&told, "host"), ["shop.example:8080"]);
        assert_eq!(header(&told, "authorization"), ["Bearer x"]);
        let client = header(&told, "x-forwarded-client-cert").concat();
        assert!(client.contains("DNS=web.example"), "{client}");
    }
    let line = tier.expect_log("request");
    for (field, expected) in
        [("alpn", "h2"), ("tls", "TLSv1.3"), ("sni", TIER), ("client_san", "dns:web.example")]
    {
        assert_eq!(line[field], expected, "{line}");
    }
    let line = outward.expect_log("request");
    assert_eq!(line["status"], 200);
    assert_eq!(line["upstream"], format!("https://{}", tier.tls));
    assert!(outward.metric("lasthop_requests_total", &["status=\"2xx\""]) >= 2.0);
    assert!(outward.metric("lasthop_handshakes_total", &["reason=\"full\""]) >= 1.0);
    let detail = outward.detail();
    assert_eq!(detail["listeners"][0]["mode"], "originate");
    assert_eq!(detail["listeners"][0]["upstreamAddresses"][0]["avoided"], false);
    let log = outward.process.lines().join("\n");
    assert!(!log.contains("PRIVATE") && !log.contains("Bearer"), "{log}");
}

#[test]
fn what_the_application_wrote_is_passed_on_and_nothing_is_added() {
    if skip::lacks(&["curl"]) {
        return;
    }
    let scene = Scene::new();
    // An application that speaks TLS itself would see what a sidecar takes out.
    let (keys, port) = (scene.server().files(), nobody().port());
    let server = Program::at("openssl")
        .args(["s_server", "-accept", &format!("127.0.0.1:{port}"), "-rev", "-quiet"])
        .args(["-cert", &keys.chain.display().to_string()])
        .args(["-key", &keys.key.display().to_string()])
        .start();
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    wait_until("openssl listens", || TcpStream::connect(address).is_ok());
    let outward = scene.outward("tls", address).start();
    let mut stream = TcpStream::connect(outward.listen).unwrap();
    stream.write_all(b"plain in\n").unwrap();
    let mut answer = [0; 9];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"ni nialp\n");
    drop(server);
    let headers = RawApp::start(|mut stream| {
        let mut head = [0; 4096];
        let count = stream.read(&mut head).unwrap_or(0);
        let text = String::from_utf8_lossy(&head[..count]).into_owned();
        let length = text.len();
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{text}");
        drop(stream.write_all(answer.as_bytes()));
    });
    let tier = Sidecar::before(headers.address)
        .serving(&scene.server())
        .option("--protocol", "tcp")
        .start();
    let outward = scene.outward("https", tier.tls).start();
    let request = "GET /a HTTP/1.1\r\nHost: Shop.example\r\nX-Forwarded-For: 192.0.2.9\r\nX-Real-IP: 192.0.2.8\r\n\
                   Connection: close, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: 5\r\n\r\n";
    let mut stream = TcpStream::connect(outward.listen).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (_, head) = answer.split_once("\r\n\r\n").unwrap();
    let mut lines: Vec<&str> = head.trim_end().lines().collect();
    lines.sort_unstable();
    let expected = [
        "GET /a HTTP/1.1",
        "host: Shop.example",
        "x-forwarded-for: 192.0.2.9",
        "x-real-ip: 192.0.2.8",
    ];
    assert_eq!(lines, expected);
}

#[test]
fn many_requests_share_one_connection_of_http_2() {
    if skip::lacks(&["curl", "h2load"]) {
        return;
    }
    let scene = Scene::new();
    let tier = scene.mutual_tier();
    let outward = scene.outward("https", tier.tls).presenting(&scene.web()).start();
    let url = format!("http://{}/bytes/10000", outward.listen);
    let load = Program::at("h2load").args(["-n", "300", "-c", "3", "-m", "20", &url]).run();
    let load = load.expect_success();
    assert!(load.stdout.contains("300 succeeded, 0 failed, 0 errored"), "{load}");
    assert!(tier.metric("lasthop_connections_total", &[]) <= 2.0);
    // One more than a hundred at once, and there is a second one.
    let url = format!("http://{}/delay/1", outward.listen);
    let load = Program::at("h2load").args(["-n", "150", "-c", "1", "-m", "150", &url]).run();
    let load = load.expect_success();
    assert!(load.stdout.contains("150 succeeded, 0 failed, 0 errored"), "{load}");
}

#[test]
fn http_1_connections_are_kept_and_used_again() {
    if skip::lacks(&["curl"]) {
        return;
    }
    let scene = Scene::new();
    // Bytes behind TLS: no ALPN, so HTTP/1.1.
    let tier = scene.tier(&scene.server()).option("--protocol", "tcp").start();
    let outward = scene.outward("https", tier.tls).start();
    for _ in 0..5 {
        outward.get(TIER, "/headers").run().expect(200);
        outward.get(TIER, "/headers").h2c().run().expect(200);
    }
    assert!(tier.metric("lasthop_connections_total", &[]) <= 2.0);
    assert!(outward.metric("lasthop_upstream_connections_total", &[]) <= 2.0);
}

#[test]
fn trailers_streams_and_heads_pass_as_grpc_needs_them() {
    if skip::lacks(&["curl"]) {
        return;
    }
    let scene = Scene::new();
    let tier = scene.tier(&scene.server()).option("--protocol", "h2c").start();
    let outward = scene.outward("https", tier.tls).start();
    let answer = outward.get(TIER, "/trailers").h2c().header("TE: trailers").run().expect(200);
    assert_eq!(answer.trailers, [("grpc-status".to_owned(), "0".to_owned())]);
    let answer = outward.get(TIER, "/anything").h2c().header("TE: trailers");
    let told = answer.header("Content-Type: application/grpc").body("x").run().expect(200).json();
    assert_eq!(header(&told, "te"), ["trailers"]);
    assert_eq!(told["version"], "HTTP/2.0");
    for curl in [outward.get(TIER, "/stream/1000"), outward.get(TIER, "/stream/1000").h2c()] {
        assert_eq!(curl.run().expect(200).text().lines().count(), 1000);
    }
    outward.get(TIER, "/anything").method("HEAD").run().expect(200);
}

#[test]
fn the_body_waits_for_the_next_tier_to_ask_for_it() {
    if skip::lacks(&["curl"]) {
        return;
    }
    let scene = Scene::new();
    for protocol in ["http", "tcp"] {
        let tier = scene.tier(&scene.server()).option("--protocol", protocol).start();
        let outward = scene.outward("https", tier.tls).start();
        let curl = outward.get(TIER, "/anything").http1().header("Expect: 100-continue");
        let told = curl.body_bytes(numbered(2_000_000)).run().expect(200).json();
        assert_eq!(told["body"]["length"], 2_000_000, "{protocol}");
    }
}

#[test]
fn a_websocket_goes_through_also_where_http_2_was_chosen_before() {
    if skip::lacks(&["curl"]) {
        return;
    }
    let scene = Scene::new();
    let mut tier = scene.mutual_tier();
    let outward = scene.outward("https", tier.tls).presenting(&scene.web()).start();
    outward.get(TIER, "/headers").run().expect(200);
    assert_eq!(tier.expect_log("request")["alpn"], "h2");
    let mut stream = TcpStream::connect(outward.listen).unwrap();
    let request = format!(
        "GET /ws HTTP/1.1\r\nHost: {TIER}\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.extend(byte);
    }
    let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
    assert!(head.starts_with("http/1.1 101 "), "{head}");
    // RFC 6455, 1.3: what the key above is answered with.
    assert!(head.contains("sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo="), "{head}");
    // A masked frame of text, `hi`, and the same unmasked back.
    stream.write_all(&[0x81, 0x82, 1, 2, 3, 4, b'h' ^ 1, b'i' ^ 2]).unwrap();
    let mut frame = [0; 4];
    stream.read_exact(&mut frame).unwrap();
    assert_eq!(frame, [0x81, 2, b'h', b'i']);
}
