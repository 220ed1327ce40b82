//! WebSocket over HTTP/1.1 (RFC 6455) and HTTP/2 (RFC 8441), with clients and servers of other makes.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc;
use std::time::Duration;

use lasthop_tests::app::App;
use lasthop_tests::frames::{self, END_HEADERS, END_STREAM, HEADERS, RST_STREAM};
use lasthop_tests::outward::Outward;
use lasthop_tests::pki::Pki;
use lasthop_tests::process::{Program, Running, wait_until};
use lasthop_tests::raw::{RawApp, read_head};
use lasthop_tests::sidecar::{HOST, Setup, Sidecar};
use lasthop_tests::{skip, suite};

struct Scene {
    pki: Pki,
}

impl Scene {
    fn new() -> Self {
        Self { pki: Pki::new() }
    }

    fn before(&self, application: SocketAddr) -> Setup {
        let server = self.pki.server();
        Sidecar::before(application).serving(&server)
    }

    /// What a client of HTTP/2 prints that asks for `protocol` at `path` and says `texts`.
    fn ask(&self, sidecar: &Sidecar, protocol: &str, path: &str, texts: &[&str]) -> String {
        let url = format!("https://{HOST}{path}");
        self.said("h2websocket", sidecar, &[&["-protocol", protocol, &url], texts].concat())
    }

    /// What a client of HTTP/1.1 prints that asks for a WebSocket at `path` and says `texts`.
    fn upgrade(&self, sidecar: &Sidecar, path: &str, texts: &[&str]) -> String {
        let url = format!("wss://{HOST}{path}");
        self.said("websocket", sidecar, &[&["-compress", &url], texts].concat())
    }

    fn said(&self, program: &str, sidecar: &Sidecar, arguments: &[&str]) -> String {
        let program = suite::program(program).expect("it was there a moment ago");
        let ran = Program::at(program)
            .args(["-at", &sidecar.tls.to_string(), "-ca"])
            .arg(self.pki.authority("server-ca").root_file())
            .args(arguments)
            .run();
        assert!(ran.status.success(), "{ran}");
        ran.stdout
    }
}

/// An application of another make that takes a WebSocket.
fn go_app(program: &str) -> Option<(SocketAddr, Running)> {
    let program = suite::program(program)?;
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let running = Program::at(program)
        .args(["-serve", &address.to_string()])
        .env("GODEBUG", "http2xconnect=1")
        .start();
    wait_until("the application listens", || TcpStream::connect(address).is_ok());
    Some((address, running))
}

#[test]
fn a_websocket_over_http2_reaches_an_application_of_http1() {
    if suite::program("h2websocket").is_none() {
        return;
    }
    let app = App::start();
    let scene = Scene::new();
    let mut sidecar = scene.before(app.address()).start();
    // More than a stream's window, both ways.
    let long = "x".repeat(100_000);
    let texts = [&["hello"][..], &[long.as_str(); 8], &["again"]].concat();
    let said = scene.ask(&sidecar, "websocket", "/ws", &texts);
    let echoes: Vec<String> = texts.iter().map(|text| format!("0x81 {text}\n")).collect();
    let echoes = echoes.concat();
    assert_eq!(said, format!("status 200\n{echoes}0x88, then 0 bytes, <nil>\n"));
    let line = sidecar.process.wait_for_log(|line| line["path"] == "/ws");
    assert_eq!((&line["method"], &line["http"]), (&"CONNECT".into(), &"2".into()), "{line}");
    assert_eq!((&line["status"], &line["error"]), (&200.into(), &serde_json::Value::Null));
    assert!(line["received"].as_u64().unwrap() > 800_000, "{line}");
    assert!(line["sent"].as_u64().unwrap() > 800_000, "{line}");
}

#[test]
fn a_websocket_over_http2_reaches_an_application_of_http2_that_offers_it() {
    let Some((address, _app)) = go_app("h2websocket") else { return };
    let scene = Scene::new();
    let sidecar = scene.before(address).option("--protocol", "h2c").start();
    for _ in 0..2 {
        let said = scene.ask(&sidecar, "websocket", "/", &["hello", "again"]);
        let expected = "status 200\n0x81 hello\n0x81 again\n0x88, then 0 bytes, <nil>\n";
        assert_eq!(said, expected);
    }
}

#[test]
fn a_websocket_over_http1_reaches_an_application_of_http1_with_all_that_they_agree_on() {
    let Some((address, _app)) = go_app("websocket") else { return };
    let scene = Scene::new();
    let sidecar = scene.before(address).start();
    let long = "x".repeat(100_000);
    let said = scene.upgrade(&sidecar, "/chat", &["hello", &long, "again"]);
    let agreed = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";
    let expected = format!(
        "status 101, \"chat\", \"{agreed}\"\n1 hello\n1 {long}\n1 again\npong ping\n\
         websocket: close 1000 (normal)\n"
    );
    assert_eq!(said, expected);
}

#[test]
fn an_application_that_switches_for_anybody_gets_no_tunnel_past_the_headers() {
    let (heard, hears) = mpsc::channel();
    // A server of HTTP that takes the status of its answer from the path, and goes on with HTTP.
    let app = RawApp::start(move |mut stream| {
        let asked = read_head(&stream);
        let _gone = stream.write_all(
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        );
        heard.send((asked, read_head(&stream))).unwrap();
    });
    let scene = Scene::new();
    let sidecar = scene.before(app.address).start();
    let mut client = sidecar.connect(None);
    let upgrade = format!(
        "GET /status/101 HTTP/1.1\r\nHost: {HOST}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    client.send(upgrade).unwrap();
    let head = client.receive_until("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 502"), "{head}");
    let (asked, then) = hears.recv_timeout(Duration::from_secs(20)).unwrap();
    assert!(asked.contains("upgrade: websocket\r\n"), "{asked}");
    assert_eq!(then, "");
    // Without a key nobody could tell, and nobody is asked.
    let keyless = format!(
        "GET /status/101 HTTP/1.1\r\nHost: {HOST}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    );
    let mut client = sidecar.connect(None);
    client.send(keyless).unwrap();
    let head = client.receive_until("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 502"), "{head}");
    let (asked, then) = hears.recv_timeout(Duration::from_secs(20)).unwrap();
    assert!(!asked.contains("upgrade"), "{asked}");
    assert_eq!(then, "");
}

#[test]
fn a_websocket_over_http1_reaches_an_application_of_http2_that_offers_it() {
    if skip::lacks(&["curl"]) {
        return;
    }
    let Some((address, _app)) = go_app("h2websocket") else { return };
    let scene = Scene::new();
    let mut sidecar = scene.before(address).option("--protocol", "h2c").start();
    let long = "x".repeat(100_000);
    let said = scene.upgrade(&sidecar, "/chat", &["hello", &long]);
    let expected =
        format!("status 101, \"\", \"\"\n1 hello\n1 {long}\nwebsocket: close 1000 (normal): bye\n");
    assert_eq!(said, expected);
    let line = sidecar.process.wait_for_log(|line| line["path"] == "/chat");
    assert_eq!((&line["method"], &line["http"]), (&"GET".into(), &"1.1".into()), "{line}");
    assert_eq!(line["status"], 101, "{line}");
    // A request that no server would agree to does not get as far.
    for (key, version, status) in [
        ("dGhlIHNhbXBsZSBub25jZQ==", "8", 426),
        ("c2hvcnQ=", "13", 400),
        ("no base64 at all", "13", 400),
    ] {
        let curl = sidecar.get("/chat").http1().header("Connection: Upgrade");
        let curl = curl.header("Upgrade: websocket");
        let curl = curl.header(&format!("Sec-WebSocket-Key: {key}"));
        curl.header(&format!("Sec-WebSocket-Version: {version}")).run().expect(status);
    }
}

#[test]
fn an_application_of_http2_is_asked_by_nobody_where_it_does_not_offer_it() {
    if suite::program("websocket").is_none() {
        return;
    }
    let app = App::start();
    let scene = Scene::new();
    let sidecar = scene.before(app.address()).option("--protocol", "h2c").start();
    let said = scene.upgrade(&sidecar, "/ws", &[]);
    assert!(
        said.starts_with("status 501\n") && said.contains("no WebSocket over HTTP/2"),
        "{said}"
    );
}

#[test]
fn an_application_asks_the_next_tier_for_a_websocket_over_http2() {
    let Some(program) = suite::program("h2websocket") else { return };
    let app = App::start();
    let scene = Scene::new();
    let tier = scene.before(app.address()).start();
    let mut outward = Outward::to(&format!("https://{}", tier.tls))
        .trusting(&scene.pki.authority("server-ca"))
        .option("--upstream-server-names", format!("dns:{HOST}"))
        .option("--upstream-sni", HOST)
        .start();
    let ask = |path: &str, texts: &[&str]| {
        let url = format!("http://{HOST}{path}");
        let ran = Program::at(&program).args(["-at", &outward.listen.to_string(), &url]);
        let ran = ran.args(texts).run();
        assert!(ran.status.success(), "{ran}");
        ran.stdout
    };
    let said = ask("/ws", &["hello", "again"]);
    assert_eq!(said, "status 200\n0x81 hello\n0x81 again\n0x88, then 0 bytes, <nil>\n");
    assert_eq!(ask("/status/403", &[]), "status 403\n");
    assert!(ask("/status/200", &[]).starts_with("status 502\n"));
    let line = outward.process.wait_for_log(|line| line["path"] == "/ws");
    assert_eq!((&line["method"], &line["status"]), (&"CONNECT".into(), &200.into()), "{line}");
}

#[test]
fn an_upgrade_of_http_1_0_is_none() {
    let app = App::start();
    let scene = Scene::new();
    let tier = scene.before(app.address()).start();
    let request = |connection: &str| {
        format!(
            "GET /ws HTTP/1.0\r\nHost: {HOST}\r\nConnection: {connection}\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
    };
    // RFC 9110, 7.8: whoever asks by HTTP/1.0 cannot know of it.
    for connection in ["Upgrade", "keep-alive, Upgrade"] {
        let said = tier.connect(None).ask(request(connection).replace("keep-alive", "close"));
        assert!(said.starts_with("HTTP/1.0 426 "), "{said}");
    }
    let outward = Outward::to(&format!("https://{}", tier.tls))
        .trusting(&scene.pki.authority("server-ca"))
        .option("--upstream-server-names", format!("dns:{HOST}"))
        .option("--upstream-sni", HOST)
        .start();
    let mut stream = TcpStream::connect(outward.listen).unwrap();
    stream.write_all(request("Upgrade").as_bytes()).unwrap();
    let mut said = String::new();
    stream.read_to_string(&mut said).unwrap();
    assert!(said.starts_with("HTTP/1.0 426 "), "{said}");
}

#[test]
fn an_application_of_http2_that_does_not_offer_it_is_not_asked() {
    if suite::program("h2websocket").is_none() {
        return;
    }
    let app = App::start();
    let scene = Scene::new();
    let sidecar = scene.before(app.address()).option("--protocol", "h2c").start();
    let said = scene.ask(&sidecar, "websocket", "/ws", &[]);
    assert!(
        said.starts_with("status 501\n") && said.contains("no WebSocket over HTTP/2"),
        "{said}"
    );
    assert!(sidecar.metric("lasthop_application_failures_total", &["no_websocket"]) > 0.5);
}

#[test]
fn what_is_no_websocket_is_no_tunnel() {
    if suite::program("h2websocket").is_none() {
        return;
    }
    let app = App::start();
    let scene = Scene::new();
    let mut sidecar = scene.before(app.address()).start();
    // Other protocols would be tunnels in which nobody takes headers out.
    for protocol in ["connect-udp", "connect-ip", "WebSocket", "h2c"] {
        let said = scene.ask(&sidecar, protocol, "/ws", &[]);
        assert!(said.starts_with("status 501\n"), "{protocol}: {said}");
    }
    assert_eq!(scene.ask(&sidecar, "websocket", "/status/403", &[]), "status 403\n");
    // Success would be a tunnel to the client, and is none here.
    for path in ["/status/200", "/status/204", "/bytes/100"] {
        let said = scene.ask(&sidecar, "websocket", path, &[]);
        assert!(said.starts_with("status 502\n"), "{path}: {said}");
    }
    let line = sidecar.process.wait_for_log(|line| line["path"] == "/bytes/100");
    assert_eq!(line["status"], 502, "{line}");
}

#[test]
fn a_websocket_over_http2_needs_the_certificate_that_every_request_needs() {
    if suite::program("h2websocket").is_none() {
        return;
    }
    let app = App::start();
    let scene = Scene::new();
    let clients = scene.pki.authority("clients-ca");
    let sidecar = scene
        .before(app.address())
        .clients(&clients, "dns:alb.example")
        .option("--client-auth-exempt-paths", "/ws")
        .start();
    let said = scene.ask(&sidecar, "websocket", "/ws", &["hello"]);
    assert!(said.starts_with("status 403\n"), "{said}");
}

#[test]
fn streams_that_are_reset_leave_no_connection_behind() {
    let app = App::start();
    let scene = Scene::new();
    let mut sidecar = scene.before(app.address()).start();
    let mut client = sidecar.connect_h2();
    client.send(frames::preface()).unwrap();
    let streams = || (1..200_u32).step_by(2);
    for stream in streams() {
        let asked =
            frames::frame(HEADERS, END_HEADERS, stream, &frames::connect("websocket", HOST, "/ws"));
        client.send(asked).unwrap();
    }
    let made = |it: &Sidecar| it.metric("lasthop_application_connections_total", &[]);
    sidecar.wait_until("all have one", |it| made(it) > 99.5);
    // CANCEL
    for stream in streams() {
        client.send(frames::frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes())).unwrap();
    }
    let ended = |it: &Sidecar| it.process.lines().iter().filter(|it| it.contains("/ws")).count();
    sidecar.wait_until("all are over", |it| ended(it) == 100);
    // The connection that they were on is as good as before.
    client
        .send(frames::frame(HEADERS, END_HEADERS | END_STREAM, 201, &frames::get(HOST, "/bytes/7")))
        .unwrap();
    sidecar.process.wait_for_log(|line| line["path"] == "/bytes/7" && line["status"] == 200);
}
