//! From the application to the next tier: plaintext on localhost in, TLS or mutual TLS out, to the one
//! server that it should be and to no other.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use lasthop_tests::app::App;
use lasthop_tests::at_end::SetAtEnd;
use lasthop_tests::curl::Curl;
use lasthop_tests::outward::{Outward, OutwardSetup};
use lasthop_tests::pki::{Authority, Issued, Pki};
use lasthop_tests::process::{PATIENCE, Program, Running};
use lasthop_tests::secret_dir::SecretDir;
use lasthop_tests::sidecar::{Setup, Sidecar};
use lasthop_tests::skip;
use serde_json::Value;

const TIER: &str = "db.example";

struct Scene {
    app: App,
    servers: Authority,
    clients: Authority,
    pki: Pki,
}

impl Scene {
    fn new() -> Self {
        let pki = Pki::new();
        let (servers, clients) = (pki.authority("tier-ca"), pki.authority("clients-ca"));
        Self { app: App::start(), servers, clients, pki }
    }

    /// A certificate for the next tier.
    fn server(&self) -> Issued {
        self.servers.leaf().dns(TIER).issue()
    }

    /// The certificate of the application's sidecar.
    fn web(&self) -> Issued {
        self.clients.leaf().dns("web.example").issue()
    }

    /// The next tier, which asks nobody for a certificate.
    fn tier(&self, server: &Issued) -> Setup {
        Sidecar::before(self.app.address()).serving(server)
    }

    /// The next tier, which lets `web.example` in.
    fn mutual_tier(&self) -> Sidecar {
        self.tier(&self.server()).clients(&self.clients, "dns:web.example").start()
    }

    /// A sidecar to `scheme` at `address`, which expects [`TIER`] there.
    fn outward(&self, scheme: &str, address: SocketAddr) -> OutwardSetup {
        Outward::to(&format!("{scheme}://{address}"))
            .trusting(&self.servers)
            .option("--upstream-server-names", format!("dns:{TIER}"))
            .option("--upstream-sni", TIER)
    }
}

/// Something on a port that is no sidecar: `serve` gets each connection in turn.
struct Raw {
    address: SocketAddr,
    _thread: JoinHandle<()>,
}

impl Raw {
    fn start(mut serve: impl FnMut(TcpStream) + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let thread = std::thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                serve(stream);
            }
        });
        Self { address, _thread: thread }
    }
}

/// An address that nobody listens on.
fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

fn header<'a>(answer: &'a Value, name: &str) -> Vec<&'a str> {
    let values = answer["headers"][name].as_array().into_iter().flatten();
    values.filter_map(Value::as_str).collect()
}

/// The byte at each place is the place modulo 251, so that a gap or a swap is noticed.
fn numbered(count: usize) -> Vec<u8> {
    (0..count).map(|place| u8::try_from(place % 251).unwrap()).collect()
}

#[track_caller]
fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "{what}: this did not come");
        std::thread::sleep(Duration::from_millis(20));
    }
}

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
    let headers = Raw::start(|mut stream| {
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

/// A next tier that is not as it should be, and what is said of it.
struct Wrong {
    outward: OutwardSetup,
    status: u16,
    code: &'static str,
    reason: &'static str,
    detail: &'static str,
}

#[test]
fn a_next_tier_that_is_not_the_right_one_is_a_502_with_its_reason() {
    if skip::lacks(&["curl"]) {
        return;
    }
    let scene = Scene::new();
    let tier = |issued: Issued| scene.tier(&issued).start();
    let other = scene.pki.authority("other-ca");
    let right = tier(scene.server());
    let wildcard = tier(scene.servers.leaf().dns("*.example").issue());
    let stranger = tier(other.leaf().dns(TIER).issue());
    let expired = tier(scene.servers.leaf().dns(TIER).expired().issue());
    let early = tier(scene.servers.leaf().dns(TIER).not_yet_valid().issue());
    let client = tier(scene.servers.leaf().dns(TIER).client_only().issue());
    let named = tier(scene.servers.leaf().dns("evil.example").uri("spiffe://x/\u{7f}").issue());
    let mutual = scene.mutual_tier();
    let plain = scene.app.address();
    let https = |address| scene.outward("https", address);
    let stranger_client = scene.pki.authority("strangers").leaf().dns("web.example").issue();
    let wrong =
        |outward, status, code, reason, detail| Wrong { outward, status, code, reason, detail };
    let cases = [
        wrong(https(stranger.tls), 502, "LH541", "unknown_issuer", "CN=other-ca"),
        wrong(https(expired.tls), 502, "LH542", "expired", "valid until"),
        wrong(https(early.tls), 502, "LH543", "not_yet_valid", "not valid yet"),
        wrong(https(client.tls), 502, "LH544", "wrong_purpose", "`clientAuth` only"),
        wrong(https(named.tls), 502, "LH547", "wrong_name", "`dns:evil.example`"),
        // A listed name is compared as text; the host of an upstream is not the certificate's either.
        wrong(https(wildcard.tls), 502, "LH547", "wrong_name", "`dns:*.example`"),
        wrong(
            Outward::to(&format!("https://{}", right.tls)).trusting(&scene.servers),
            502,
            "LH547",
            "wrong_name",
            "is not for `127.0.0.1`",
        ),
        wrong(
            Outward::to(&format!("https://{}", right.tls)),
            502,
            "LH541",
            "unknown_issuer",
            "tier-ca",
        ),
        wrong(https(mutual.tls), 502, "LH550", "upstream_alert", "`certificate_required`"),
        wrong(
            https(mutual.tls).presenting(&stranger_client),
            502,
            "LH550",
            "upstream_alert",
            "`unknown_ca`",
        ),
        wrong(https(plain), 502, "LH551", "not_tls", "does not speak TLS"),
        wrong(https(nobody()), 502, "LH561", "connection_refused", "does not accept connections"),
        wrong(
            Outward::to("https://lasthop.invalid:443"),
            503,
            "LH560",
            "unresolved",
            "leads to no address",
        ),
    ];
    for wrong in cases {
        expect_failure(wrong);
    }
}

/// Asks as an application does, and looks at what it is told, what is logged and what is counted.
#[track_caller]
fn expect_failure(Wrong { outward, status, code, reason, detail }: Wrong) {
    let mut outward = outward.start();
    for curl in [outward.get(TIER, "/headers"), outward.get(TIER, "/headers").h2c()] {
        let answer = curl.run().expect(status);
        let text = answer.text();
        assert!(text.contains(code), "{code}: {text}");
        assert!(!text.contains("example") && !text.contains("CN="), "{text}");
    }
    let line = outward.expect_failure(code);
    assert_eq!(line["reason"], reason, "{line}");
    assert!(line["detail"].as_str().unwrap().contains(detail), "{detail}: {line}");
    if code == "LH547" {
        assert_eq!(line["issuer"], "CN=tier-ca", "{line}");
        assert!(!line.to_string().contains('\u{7f}'), "{line}");
    }
    let label = format!("code=\"{code}\"");
    assert!(outward.metric("lasthop_upstream_failures_total", &[&label]) >= 1.0, "{code}");
    let status = format!("status=\"{}xx\"", status / 100);
    assert!(outward.metric("lasthop_requests_total", &[&status]) >= 2.0);
}

#[test]
fn the_name_that_is_asked_for_and_the_name_that_is_expected_are_two_things() {
    if skip::lacks(&["curl"]) {
        return;
    }
    let scene = Scene::new();
    let spiffe = scene.servers.leaf().uri("spiffe://example.com/db").issue();
    let mut tier = scene.tier(&spiffe).start();
    let address = tier.tls;
    let setup = |name: &str| {
        Outward::to(&format!("https://{address}"))
            .trusting(&scene.servers)
            .option("--upstream-sni", "front.example")
            .option("--upstream-server-names", name)
    };
    let outward = setup("dns:other.example,uri:spiffe://example.com/db").start();
    outward.get(TIER, "/headers").run().expect(200);
    assert_eq!(tier.expect_log("request")["sni"], "front.example");
    let mut other = setup("uri:spiffe://example.com/db2").start();
    other.get(TIER, "/headers").run().expect(502);
    let line = other.expect_failure("LH547");
    assert_eq!(line["sans"], "`uri:spiffe://example.com/db`");
}

#[test]
fn by_default_the_host_is_asked_for_and_expected() {
    if skip::lacks(&["curl"]) {
        return;
    }
    let scene = Scene::new();
    for (issued, status) in [
        (scene.servers.leaf().dns("localhost").issue(), 200),
        (scene.servers.leaf().dns("*.localhost").issue(), 502),
        // Not a name at all: the CN says `localhost`.
        (scene.servers.leaf().common_name("localhost").uri("spiffe://x/y").issue(), 502),
    ] {
        let mut tier = scene.tier(&issued).start();
        let upstream = format!("https://localhost:{}", tier.tls.port());
        let outward = Outward::to(&upstream).trusting(&scene.servers).start();
        outward.get(TIER, "/headers").run().expect(status);
        if status == 200 {
            assert_eq!(tier.expect_log("request")["sni"], "localhost");
        }
    }
    let address = scene.servers.leaf().ip([127, 0, 0, 1]).issue();
    let mut tier = scene.tier(&address).start();
    let outward = Outward::to(&format!("https://{}", tier.tls)).trusting(&scene.servers).start();
    outward.get(TIER, "/headers").run().expect(200);
    assert_eq!(tier.expect_log("request").get("sni"), None);
}

#[test]
fn a_bundle_of_the_system_stands_in_for_mozillas_roots() {
    if skip::lacks(&["curl"]) {
        return;
    }
    let scene = Scene::new();
    let tier = scene.tier(&scene.servers.leaf().ip([127, 0, 0, 1]).issue()).start();
    let upstream = format!("https://{}", tier.tls);
    let root = scene.servers.root_file();
    let outward = Outward::to(&upstream).env("SSL_CERT_FILE", &root).start();
    outward.get(TIER, "/headers").run().expect(200);
    let missing = Outward::to(&upstream).option("--ca-file", "/nonexistent/ca.pem").run();
    assert_eq!(missing.code(), 66, "{missing}");
    assert!(missing.stdout.contains("/nonexistent/ca.pem"), "{missing}");
}

#[test]
fn a_certificate_of_ours_is_presented_only_to_who_asks() {
    if skip::lacks(&["curl"]) {
        return;
    }
    let scene = Scene::new();
    let mut tier = scene.tier(&scene.server()).start();
    let outward = scene.outward("https", tier.tls).presenting(&scene.web()).start();
    outward.get(TIER, "/headers").run().expect(200);
    assert_eq!(tier.expect_log("request").get("client_san"), None);
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

#[test]
fn bytes_pass_exactly_and_each_side_may_end_before_the_other() {
    const COUNT: usize = 8 * 1024 * 1024;
    let scene = Scene::new();
    // It reads everything to its end, and only then answers.
    let echo = Raw::start(|mut stream| {
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            stream.read_to_end(&mut bytes).unwrap();
            bytes.reverse();
            stream.write_all(&bytes).unwrap();
        });
    });
    let tier = Sidecar::before(echo.address)
        .serving(&scene.server())
        .clients(&scene.clients, "dns:web.example")
        .option("--protocol", "tcp")
        .start();
    let mut outward = scene.outward("tls", tier.tls).presenting(&scene.web()).start();
    let sent = numbered(COUNT);
    let mut stream = TcpStream::connect(outward.listen).unwrap();
    let mut writer = stream.try_clone().unwrap();
    let bytes = sent.clone();
    let writing = std::thread::spawn(move || {
        writer.write_all(&bytes).unwrap();
        writer.shutdown(Shutdown::Write).unwrap();
    });
    let mut received = Vec::new();
    stream.read_to_end(&mut received).unwrap();
    writing.join().unwrap();
    received.reverse();
    assert!(received == sent, "{} bytes came back", received.len());
    let line = outward.expect_log("connection");
    assert_eq!(
        (line["received"].as_u64(), line["sent"].as_u64()),
        (Some(COUNT as u64), Some(COUNT as u64))
    );
}

#[test]
fn bytes_that_cannot_go_out_or_break_off_are_never_an_end() {
    let scene = Scene::new();
    let mutual = scene.tier(&scene.server()).clients(&scene.clients, "dns:web.example");
    let mutual = mutual.option("--protocol", "tcp").start();
    let other = scene.pki.authority("other-ca").leaf().dns(TIER).issue();
    let stranger = scene.tier(&other).option("--protocol", "tcp").start();
    for (address, code) in [(nobody(), "LH561"), (stranger.tls, "LH541"), (mutual.tls, "LH550")] {
        let mut outward = scene.outward("tls", address).start();
        let mut stream = TcpStream::connect(outward.listen).unwrap();
        let mut bytes = Vec::new();
        let result = stream.read_to_end(&mut bytes);
        assert!(result.is_err() && bytes.is_empty(), "{code}: {result:?} {bytes:?}");
        outward.expect_failure(code);
    }
}

#[test]
fn a_rotation_loses_no_request_and_old_connections_are_not_used_again() {
    if skip::lacks(&["curl"]) {
        return;
    }
    let scene = Scene::new();
    let mut tier = scene.mutual_tier();
    let first = scene.web();
    let outward = scene.outward("https", tier.tls).presenting(&first).start();
    let (stop, asked) = (AtomicBool::new(false), AtomicU32::new(0));
    let renewed = scene.web();
    let ask = |curl: fn(Curl) -> Curl| {
        while !stop.load(Ordering::Relaxed) {
            let answer = curl(outward.get(TIER, "/bytes/20000")).run().expect(200);
            assert_eq!(answer.body.len(), 20_000);
            asked.fetch_add(1, Ordering::Relaxed);
        }
    };
    std::thread::scope(|threads| {
        let _end = SetAtEnd(&stop);
        let ask = &ask;
        threads.spawn(move || ask(|curl| curl));
        threads.spawn(move || ask(Curl::h2c));
        wait_until("requests go", || asked.load(Ordering::Relaxed) > 4);
        outward.client.as_ref().unwrap().rotate(&renewed.secret());
        let taken = || outward.metric("lasthop_credential_reloads_total", &[]) >= 1.0;
        wait_until("the renewed certificate is taken", taken);
        let now = asked.load(Ordering::Relaxed);
        wait_until("requests go on", || asked.load(Ordering::Relaxed) > now + 4);
    });
    let uses = |of: &Issued| {
        let digest = of.fingerprint();
        move |entry: &Value| entry["message"] == "request" && entry["client_sha256"] == digest
    };
    tier.process.wait_for_log(uses(&first));
    tier.process.wait_for_log(uses(&renewed));
    let log = tier.process.log();
    let last = log.iter().rev().find(|entry| entry["message"] == "request").unwrap();
    assert_eq!(last["client_sha256"], renewed.fingerprint());
}

#[test]
fn a_broken_secret_keeps_the_last_good_and_a_changed_ca_is_believed_at_once() {
    if skip::lacks(&["curl"]) {
        return;
    }
    let scene = Scene::new();
    let tier = scene.mutual_tier();
    let mut outward = scene.outward("https", tier.tls).presenting(&scene.web()).start();
    outward.get(TIER, "/headers").run().expect(200);
    let broken = [("tls.crt".to_owned(), b"nonsense".to_vec())].into();
    outward.client.as_ref().unwrap().rotate(&broken);
    outward.expect_log("a changed Secret is broken, the last good state goes on serving");
    outward.get(TIER, "/headers").run().expect(200);
    assert_eq!(outward.detail()["listeners"][0]["failing"], true);
    assert!((outward.metric("lasthop_credential_failing", &[]) - 1.0).abs() < 0.5);
    // The pool holds a good connection; it must not outlive the trust that it was made with.
    let other = scene.pki.authority("other-ca");
    outward.authorities.as_ref().unwrap().rotate(&other.ca_secret());
    outward.expect_log("a changed Secret was taken into use");
    outward.get(TIER, "/headers").run().expect(502);
    outward.expect_failure("LH541");
    outward.authorities.as_ref().unwrap().rotate(&scene.servers.ca_secret());
    let back = || outward.get(TIER, "/headers").run().status == 200;
    wait_until("the first CA is believed again", back);
}

/// Runs `test` with a name that leads to 127.0.0.1 and 127.0.0.2, and the file that says so.
fn with_two_addresses(test: impl FnOnce(&std::path::Path)) {
    if skip::lacks(&["curl", "unshare", "mount"]) {
        return;
    }
    let pki = Pki::new();
    let hosts = pki.write("hosts", "127.0.0.1 tier.test\n127.0.0.2 tier.test\n");
    let tried = Program::at("unshare").args(["--mount", "--map-root-user", "true"]).run();
    if !tried.status.success() {
        skip::this_test("this user may not have a mount namespace");
        return;
    }
    test(&hosts);
}

/// A next tier at `address` for `tier.test`.
fn tier_at(scene: &Scene, address: &str) -> Sidecar {
    let server = scene.servers.leaf().dns("tier.test").issue();
    scene.tier(&server).option("--bind", address).start()
}

/// A next tier with its Secret.
struct Tier {
    running: Running,
    _secret: SecretDir,
}

/// A next tier at `address`, port and all, for `tier.test`.
fn tier_at_port(scene: &Scene, address: &str) -> Tier {
    let secret = SecretDir::new(&scene.servers.leaf().dns("tier.test").issue().secret());
    let mut running = Program::ours("lasthop-sidecar")
        .args(["--listen", address, "--status-listen", "127.0.0.1:0", "--drain-delay", "0"])
        .args(["--forward", &scene.app.address().to_string()])
        .arg("--tls-secret")
        .arg(secret.path())
        .start();
    running.wait_for_log(|entry| entry["message"] == "ready");
    Tier { running, _secret: secret }
}

#[test]
fn one_dead_address_of_two_costs_no_request_and_is_tried_again_when_it_lives() {
    with_two_addresses(|hosts| {
        let scene = Scene::new();
        let alive = tier_at(&scene, "127.0.0.1");
        let port = alive.tls.port();
        let mut outward = Outward::to(&format!("https://tier.test:{port}"))
            .trusting(&scene.servers)
            .start_with_hosts(hosts);
        for _ in 0..10 {
            outward.get(TIER, "/headers").run().expect(200);
        }
        let line = outward.expect_failure("LH561");
        assert_eq!(line["address"], format!("127.0.0.2:{port}"));
        let detail = outward.detail();
        let addresses = detail["listeners"][0]["upstreamAddresses"].as_array().unwrap();
        assert_eq!(addresses.len(), 2, "{detail}");
        // Left out after the first failures: far fewer than requests.
        assert!(outward.metric("lasthop_upstream_failures_total", &[]) <= 4.0);
        let second = tier_at_port(&scene, &format!("127.0.0.2:{port}"));
        let serves = |second: &Running| second.log().iter().any(|it| it["message"] == "request");
        wait_until("the second address serves", || {
            outward.get(TIER, "/headers").run().expect(200);
            serves(&second.running)
        });
        // And the other way round: the first one goes.
        drop(alive);
        for _ in 0..6 {
            outward.get(TIER, "/headers").run().expect(200);
        }
    });
}

#[test]
fn one_address_of_two_that_takes_its_leave_costs_no_request() {
    with_two_addresses(|hosts| {
        let scene = Scene::new();
        let stays = tier_at(&scene, "127.0.0.1");
        let port = stays.tls.port();
        let leaves = tier_at_port(&scene, &format!("127.0.0.2:{port}"));
        let outward = Outward::to(&format!("https://tier.test:{port}"))
            .trusting(&scene.servers)
            .start_with_hosts(hosts);
        let (stop, asked) = (AtomicBool::new(false), AtomicU32::new(0));
        let ask = |curl: fn(Curl) -> Curl| {
            while !stop.load(Ordering::Relaxed) {
                let body = numbered(10_000);
                let curl = curl(outward.get(TIER, "/anything")).body_bytes(body);
                assert_eq!(curl.run().expect(200).json()["body"]["length"], 10_000);
                asked.fetch_add(1, Ordering::Relaxed);
            }
        };
        std::thread::scope(|threads| {
            let _end = SetAtEnd(&stop);
            let ask = &ask;
            threads.spawn(move || ask(|curl| curl));
            threads.spawn(move || ask(Curl::h2c));
            wait_until("both serve", || {
                [&stays.process, &leaves.running]
                    .iter()
                    .all(|it| it.log().iter().any(|line| line["message"] == "request"))
            });
            leaves.running.terminate();
            let finished = leaves.running.finish();
            assert_eq!(finished.code(), 0, "{finished}");
            let now = asked.load(Ordering::Relaxed);
            wait_until("requests go on", || asked.load(Ordering::Relaxed) > now + 4);
        });
    });
}

#[test]
fn requests_are_spread_over_the_addresses_and_a_new_answer_of_the_resolver_is_followed() {
    with_two_addresses(|hosts| {
        let scene = Scene::new();
        let first = tier_at(&scene, "127.0.0.1");
        let port = first.tls.port();
        let at = |address: &str| tier_at_port(&scene, &format!("{address}:{port}"));
        let (second, third) = (at("127.0.0.2"), at("127.0.0.3"));
        let outward = Outward::to(&format!("https://tier.test:{port}"))
            .trusting(&scene.servers)
            .start_with_hosts(hosts);
        for _ in 0..10 {
            outward.get(TIER, "/headers").run().expect(200);
        }
        let served = |log: Vec<Value>| log.iter().filter(|it| it["message"] == "request").count();
        wait_until("every request is logged", || {
            served(first.process.log()) + served(second.running.log()) == 10
        });
        assert_eq!(served(first.process.log()), 5);
        std::fs::write(hosts, "127.0.0.3 tier.test\n").unwrap();
        wait_until("the new address is used", || {
            outward.get(TIER, "/headers").run().expect(200);
            served(third.running.log()) > 0
        });
    });
}

#[test]
fn a_next_tier_that_is_started_again_loses_no_request_that_can_be_repeated() {
    if skip::lacks(&["curl"]) {
        return;
    }
    let scene = Scene::new();
    let tier = scene.mutual_tier();
    let address = tier.tls;
    let outward = scene.outward("https", address).presenting(&scene.web()).start();
    outward.get(TIER, "/headers").run().expect(200);
    drop(tier);
    let server = SecretDir::new(&scene.server().secret());
    let clients = SecretDir::new(&scene.clients.ca_secret());
    let mut again = Program::ours("lasthop-sidecar")
        .args(["--listen", &address.to_string(), "--status-listen", "127.0.0.1:0"])
        .args(["--forward", &scene.app.address().to_string(), "--drain-delay", "0"])
        .args(["--allowed-clients", "dns:web.example"])
        .arg("--tls-secret")
        .arg(server.path())
        .arg("--client-ca-secret")
        .arg(clients.path())
        .start();
    again.wait_for_log(|entry| entry["message"] == "ready");
    // The pool may still hold the connection of the one that was killed.
    outward.get(TIER, "/headers").run().expect(200);
    outward.get(TIER, "/headers").h2c().run().expect(200);
}

#[test]
fn what_is_under_way_is_finished_at_the_end() {
    if skip::lacks(&["curl"]) {
        return;
    }
    let scene = Scene::new();
    let tier = scene.mutual_tier();
    let mut outward = scene.outward("https", tier.tls).presenting(&scene.web()).start();
    let curl = outward.get(TIER, "/delay/2");
    let asking = std::thread::spawn(|| curl.run());
    let is_open = |outward: &Outward| outward.metric("lasthop_connections_open", &[]) > 0.5;
    wait_until("the request is on its way", || is_open(&outward));
    outward.process.terminate();
    outward.expect_log("draining");
    asking.join().unwrap().expect(200);
    assert_eq!(outward.process.finish().code(), 0);
}

#[test]
fn it_listens_on_loopback_whatever_is_asked_of_it() {
    let scene = Scene::new();
    let open = Outward::to("https://db.example:443").option("--bind", "0.0.0.0");
    let open = open.trusting(&scene.servers).start();
    assert!(open.listen.ip().is_loopback(), "{}", open.listen);
    drop(open);
    let wide = Program::ours("lasthop-sidecar")
        .args(["--listen", "0.0.0.0:9001", "--upstream", "https://db.example:443"])
        .run();
    assert_eq!(wide.code(), 64, "{wide}");
    assert!(wide.stderr.contains("loopback only; write `127.0.0.1:9001`"), "{wide}");
}

#[test]
fn the_configuration_is_checked_without_being_served() {
    let scene = Scene::new();
    let check =
        |setup: OutwardSetup| setup.option("--log-level", "info").flag("--check-config").run();
    let good = check(scene.outward("https", nobody()).presenting(&scene.web()));
    assert_eq!(good.code(), 0, "{good}");
    assert!(good.stdout.contains("good: 1 TLS listener"), "{good}");
    let missing =
        check(Outward::to("https://db.example:443").option("--upstream-ca-secret", "/nonexistent"));
    assert_eq!(missing.code(), 66, "{missing}");
    assert!(missing.stdout.contains("`/nonexistent`: it cannot be read"), "{missing}");
    let empty = check(
        Outward::to("tls://db.example:443")
            .trusting_data(&[("ca.crt".to_owned(), Vec::new())].into()),
    );
    assert_eq!(empty.code(), 66, "{empty}");
    assert!(empty.stdout.contains("LH102"), "{empty}");
    let names = check(Outward::to("https://db.example:443").option("--upstream-server-names", "*"));
    assert_eq!(names.code(), 64, "{names}");
    assert!(names.stderr.contains("any server of the CA"), "{names}");
}
