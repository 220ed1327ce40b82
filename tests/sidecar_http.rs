//! What the sidecar passes on: requests and answers whole, the truth about the client, and nothing
//! that could mean two things.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread::JoinHandle;

use lasthop_tests::app::App;
use lasthop_tests::curl::Curl;
use lasthop_tests::pki::{Authority, Files, Pki};
use lasthop_tests::sidecar::{HOST, Setup, Sidecar};
use lasthop_tests::skip;
use serde_json::Value;

struct Scene {
    pki: Pki,
    clients: Authority,
}

impl Scene {
    fn new() -> Self {
        let pki = Pki::new();
        let clients = pki.authority("clients-ca");
        Self { pki, clients }
    }

    /// A sidecar that asks nobody for a certificate.
    fn open(&self, application: SocketAddr) -> Setup {
        let server = self.pki.authority("server-ca").leaf().dns(HOST).issue();
        Sidecar::before(application).serving(&server)
    }

    fn mutual(&self, application: SocketAddr) -> Setup {
        self.open(application).clients(&self.clients, "dns:alb.example")
    }

    fn alb(&self) -> Files {
        self.clients.leaf().dns("alb.example").issue().files()
    }
}

/// An application that does exactly what a test needs: `serve` gets each connection in turn.
struct RawApp {
    address: SocketAddr,
    _thread: JoinHandle<()>,
}

impl RawApp {
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

/// Reads a request's head from `stream`.
fn read_head(stream: &TcpStream) -> String {
    let mut reader = BufReader::with_capacity(1, stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).unwrap_or(0) == 0 {
            break;
        }
    }
    head
}

fn header<'a>(answer: &'a Value, name: &str) -> Vec<&'a str> {
    let values = answer["headers"][name].as_array().into_iter().flatten();
    values.filter_map(Value::as_str).collect()
}

#[test]
fn both_versions_of_http_reach_the_application_with_the_truth_about_the_client() {
    if skip::lacks(&["curl"]) {
        return;
    }
    let app = App::start();
    let scene = Scene::new();
    let mut sidecar = scene.mutual(app.address()).start();
    let alb = scene.clients.leaf().dns("alb.example").issue();
    for (version, curl) in
        [("1.1", sidecar.get("/anything/a?b=c").http1()), ("2", sidecar.get("/anything/a?b=c"))]
    {
        let answer = curl.client(&alb.files()).run().expect(200);
        assert_eq!(answer.version, version);
        let told = answer.json();
        assert_eq!(told["target"], "/anything/a?b=c");
        assert_eq!(told["version"], "HTTP/1.1");
        assert_eq!(header(&told, "host"), [HOST]);
        assert_eq!(header(&told, "x-forwarded-for"), ["127.0.0.1"]);
        assert_eq!(header(&told, "x-forwarded-proto"), ["https"]);
        assert_eq!(header(&told, "x-forwarded-host"), [HOST]);
        assert_eq!(header(&told, "x-forwarded-port"), ["443"]);
        let expected =
            format!("Hash={};Subject=\"CN=alb.example\";DNS=alb.example", alb.fingerprint());
        assert_eq!(header(&told, "x-forwarded-client-cert"), [expected]);
    }
    let line = sidecar.expect_log("request");
    for (field, expected) in [
        ("method", "GET"),
        ("path", "/anything/a"),
        ("sni", HOST),
        ("tls", "TLSv1.3"),
        ("client_matched", "dns:alb.example"),
        ("client_san", "dns:alb.example"),
        ("client_sha256", &alb.fingerprint()),
    ] {
        assert_eq!(line[field], expected, "{line}");
    }
    assert_eq!(line["status"], 200);
    let log = sidecar.process.lines().join("\n");
    assert!(!log.contains("b=c"), "a query is nobody's business: {log}");
}

#[test]
fn what_a_client_writes_about_itself_does_not_reach_the_application() {
    if skip::lacks(&["curl"]) {
        return;
    }
    let app = App::start();
    let scene = Scene::new();
    let sidecar = scene.mutual(app.address()).start();
    let alb = scene.alb();
    let forged = [
        "X-Forwarded-For",
        "X-Forwarded-Proto",
        "X-Forwarded-Host",
        "X-Forwarded-Client-Cert",
        "Forwarded",
        "X-Real-IP",
        "X-Client-Cert",
        "X-SSL-Client-Cert",
        "Ssl-Client-Verify",
        "Client-Cert",
        "Client-Cert-Chain",
        "X-Amzn-Mtls-Clientcert-Leaf",
        "X-Remote-User",
        "Remote-User",
        "l5d-client-id",
        "X_Forwarded_For",
        "x_forwarded_client_cert",
        "REMOTE_USER",
    ];
    for http1 in [true, false] {
        let mut curl = sidecar.get("/headers").client(&alb);
        if http1 {
            curl = curl.http1();
        }
        for name in forged {
            curl = curl.header(&format!("{name}: forged")).header(&format!("{name}: forged-again"));
        }
        let text = curl.run().expect(200).text();
        assert!(!text.contains("forged"), "{text}");
        assert!(text.contains("alb.example"), "{text}");
    }
    assert!(sidecar.metric("lasthop_stripped_headers_total", &[]) > 30.0);
}

#[test]
fn a_cookie_that_http2_sends_in_crumbs_arrives_as_one_line() {
    if skip::lacks(&["curl"]) {
        return;
    }
    let app = App::start();
    let scene = Scene::new();
    let sidecar = scene.open(app.address()).start();
    let answer = sidecar
        .get("/headers")
        .header("Cookie: session=1")
        .header("Cookie: theme=dark; lang=en")
        .run()
        .expect(200);
    assert_eq!(answer.version, "2");
    assert_eq!(header(&answer.json(), "cookie"), ["session=1; theme=dark; lang=en"]);
}

#[test]
fn connection_cannot_name_what_the_sidecar_writes() {
    let app = App::start();
    let scene = Scene::new();
    let sidecar = scene.mutual(app.address()).start();
    let mut client = sidecar.connect(Some(&scene.alb()));
    let answer = client.ask(format!(
        "GET /headers HTTP/1.1\r\nHost: {HOST}\r\nX-Secret-Of-This-Hop: private\r\n\
         Connection: close, X-Forwarded-For, x-forwarded-client-cert, host, X-Secret-Of-This-Hop\r\n\r\n"
    ));
    assert!(answer.contains("\"x-forwarded-for\"") && answer.contains("127.0.0.1"), "{answer}");
    assert!(answer.contains("x-forwarded-client-cert") && answer.contains(HOST), "{answer}");
    assert!(!answer.contains("private"), "{answer}");
}

#[test]
fn trailers_are_passed_on_without_forged_identity() {
    let app = App::start();
    let scene = Scene::new();
    let sidecar = scene.open(app.address()).start();
    let mut client = sidecar.connect(None);
    let answer = client.ask(format!(
        "POST /anything HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\
         Trailer: x-checksum, x-forwarded-for, x_remote_user\r\n\r\n\
         5\r\nhello\r\n0\r\nx-checksum: good\r\nx-forwarded-for: forged\r\nx_remote_user: forged\r\n\r\n"
    ));
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.contains("x-checksum") && answer.contains("good"), "{answer}");
    assert!(!answer.contains("forged"), "{answer}");
}

#[test]
fn a_trusted_balancer_is_believed_and_extended() {
    if skip::lacks(&["curl"]) {
        return;
    }
    let app = App::start();
    let scene = Scene::new();
    let sidecar =
        scene.mutual(app.address()).option("--trusted-proxies", "allowed-clients").start();
    let told = sidecar
        .get("/headers")
        .client(&scene.alb())
        .header("X-Forwarded-For: 203.0.113.9")
        .header("X-Forwarded-Proto: http")
        .header("Forwarded: for=203.0.113.9")
        .header("X-Forwarded-Client-Cert: Hash=forged")
        .run()
        .expect(200)
        .json();
    assert_eq!(header(&told, "x-forwarded-for"), ["203.0.113.9, 127.0.0.1"]);
    assert_eq!(header(&told, "x-forwarded-proto"), ["http"]);
    assert_eq!(
        header(&told, "forwarded"),
        [format!("for=203.0.113.9, for=127.0.0.1;proto=https;host=\"{HOST}\"")]
    );
    assert!(!told.to_string().contains("forged"), "{told}");
}

#[test]
fn identity_comes_in_the_form_that_was_chosen() {
    if skip::lacks(&["curl"]) {
        return;
    }
    let app = App::start();
    let scene = Scene::new();
    for (kinds, present, absent) in [
        ("none", &[][..], &["x-forwarded-client-cert", "client-cert"][..]),
        ("rfc9440", &["client-cert", "client-cert-chain"], &["x-forwarded-client-cert"]),
        (
            "aws,xfcc",
            &["x-amzn-mtls-clientcert-subject", "x-forwarded-client-cert"],
            &["client-cert"],
        ),
    ] {
        let sidecar = scene.mutual(app.address()).option("--identity-headers", kinds).start();
        let below = scene.clients.intermediate("clients-sub-ca");
        let alb = below.leaf().dns("alb.example").issue().files();
        let told = sidecar.get("/headers").client(&alb).run().expect(200).json();
        for name in present {
            assert_eq!(header(&told, name).len(), 1, "{kinds}: {name}: {told}");
        }
        for name in absent {
            assert!(header(&told, name).is_empty(), "{kinds}: {name}: {told}");
        }
    }
}

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
        let shake = lasthop_tests::openssl::SClient::to(sidecar.tls);
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
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut sidecar = scene.open(nobody).option("--protocol", "tcp").start();
    assert_eq!(sidecar.connect(None).ask("hello"), "");
    let line = sidecar.expect_log("the application did not answer");
    assert_eq!(line["reason"], "connection_refused");
    assert!(sidecar.metric("lasthop_application_failures_total", &[]) > 0.5);
}
