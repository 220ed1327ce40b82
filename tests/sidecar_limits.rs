//! What one client may cost: connections, time, and patience.

use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};

use lasthop_tests::app::App;
use lasthop_tests::frames::{self, END_HEADERS, END_STREAM, GOAWAY, HEADERS};
use lasthop_tests::pki::{Authority, Pki, Validity};
use lasthop_tests::sidecar::{HOST, Setup, Sidecar};
use lasthop_tests::skip;
use lasthop_tests::tls::TlsClient;

struct Scene {
    pki: Pki,
    app: App,
}

impl Scene {
    fn new() -> Self {
        Self { pki: Pki::new(), app: App::start() }
    }

    fn before(&self, application: SocketAddr) -> Setup {
        let server = self.pki.server();
        Sidecar::before(application).serving(&server)
    }

    fn with(&self, flag: &str, value: &str) -> Sidecar {
        self.before(self.app.address()).option(flag, value).start()
    }
}

fn closed(sidecar: &Sidecar, reason: &str) -> f64 {
    let reason = format!("reason=\"{reason}\"");
    sidecar.metric("lasthop_closed_connections_total", &[&reason])
}

fn open(sidecar: &Sidecar) -> f64 {
    sidecar.metric("lasthop_connections_open", &[])
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: {HOST}\r\n\r\n")
}

/// A connection that was answered once.
fn answered(sidecar: &Sidecar) -> TlsClient {
    let mut client = sidecar.connect(None);
    client.send(get("/status/204")).unwrap();
    client.receive_until("\r\n\r\n").unwrap();
    client
}

#[test]
fn a_client_address_has_so_many_connections_and_another_has_its_own() {
    if skip::lacks(&["curl"]) {
        return;
    }
    let scene = Scene::new();
    let mut sidecar = scene
        .before(scene.app.address())
        .option("--max-connections-per-client", "2")
        .option("--proxy-protocol", "accept")
        .option("--trusted-proxies", "127.0.0.1")
        .start();
    let header = |ip: &str| format!("PROXY TCP4 {ip} 192.0.2.1 1 443\r\n").into_bytes();
    let connect = |sidecar: &Sidecar, ip: &str| sidecar.connect_behind(&header(ip), None);
    let held = [(); 2].map(|()| connect(&sidecar, "203.0.113.1").unwrap());
    assert!(connect(&sidecar, "203.0.113.1").is_err());
    let line = sidecar.expect_refusal("LH532");
    assert_eq!(line["reason"], "too_many_of_client");
    assert!(line["peer"].as_str().unwrap().starts_with("203.0.113.1:"), "{line}");
    connect(&sidecar, "203.0.113.2").unwrap();
    drop(held);
    sidecar.wait_until("given back", |it| open(it) < 0.5);
    connect(&sidecar, "203.0.113.1").unwrap();
}

#[test]
fn a_websocket_is_a_connection_until_it_ends() {
    if skip::lacks(&["curl"]) {
        return;
    }
    let scene = Scene::new();
    let mut sidecar = scene.with("--max-connections-per-client", "1");
    let mut client = sidecar.connect(None);
    let upgrade = format!(
        "GET /ws HTTP/1.1\r\nHost: {HOST}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    client.send(upgrade).unwrap();
    assert!(client.receive_until("\r\n\r\n").unwrap().contains(" 101 "));
    assert_eq!(sidecar.get("/status/204").run().status, 0);
    sidecar.expect_refusal("LH532");
    drop(client);
    sidecar.wait_until("given back", |it| open(it) < 0.5);
    sidecar.get("/status/204").run().expect(204);
}

/// The first 60,000 bytes of a `ClientHello` of 65,520, in records (RFC 8446, 4 and 5.1).
fn beginning_of_a_hello() -> Vec<u8> {
    let mut hello = vec![1, 0, 0xff, 0xf0, 3, 3];
    hello.resize(60_000, 0);
    let record = |part: &[u8]| {
        let length = u16::try_from(part.len()).unwrap().to_be_bytes();
        [&[0x16, 3, 1], &length[..], part].concat()
    };
    hello.chunks(15_000).flat_map(record).collect()
}

#[test]
fn beginnings_of_large_handshakes_have_one_room_and_usual_ones_their_own() {
    if skip::lacks(&["curl"]) {
        return;
    }
    let scene = Scene::new();
    let mut sidecar = scene.before(scene.app.address()).start();
    let hello = beginning_of_a_hello();
    let begin = || {
        let mut stream = TcpStream::connect(sidecar.tls).unwrap();
        // Who is refused may be so before the last byte.
        let _refused = stream.write_all(&hello);
        stream
    };
    let held: Vec<TcpStream> = (0..250).map(|_| begin()).collect();
    let line = sidecar.expect_refusal("LH533");
    assert_eq!(line["reason"], "too_large");
    sidecar.get("/status/204").run().expect(204);
    drop(held);
}

#[test]
fn an_idle_connection_is_closed_and_one_that_waits_for_the_application_is_not() {
    if skip::lacks(&["curl"]) {
        return;
    }
    let scene = Scene::new();
    let mut sidecar = scene.with("--idle-timeout", "1");
    sidecar.get("/delay/4").run().expect(200);
    let mut idle = answered(&sidecar);
    assert_eq!(idle.receive_all(), b"");
    let mut idle = sidecar.connect_h2();
    idle.send(frames::preface()).unwrap();
    assert!(frames::kinds(&idle.receive_all()).contains(&GOAWAY));
    sidecar.wait_until("both counted", |it| closed(it, "idle") > 1.5);
}

#[test]
fn an_idle_relay_of_bytes_is_closed_where_somebody_says_so() {
    if skip::lacks(&["curl"]) {
        return;
    }
    let scene = Scene::new();
    let setup = scene.before(scene.app.address()).option("--protocol", "tcp");
    let mut sidecar = setup.option("--idle-timeout", "1").start();
    let mut idle = answered(&sidecar);
    assert_eq!(idle.receive_all(), b"");
    sidecar.wait_until("counted", |it| closed(it, "idle") > 0.5);
    let line = sidecar.expect_log("connection");
    assert_eq!(line["reason"], "idle");
    assert!(line["received"].as_u64().unwrap() > 0, "{line}");
}

#[test]
fn an_old_relay_of_bytes_is_closed_where_somebody_says_so() {
    if skip::lacks(&["curl"]) {
        return;
    }
    let scene = Scene::new();
    let setup = scene.before(scene.app.address()).option("--protocol", "tcp");
    let mut sidecar = setup.option("--max-connection-age", "1").start();
    let mut client = answered(&sidecar);
    // It is not idle.
    while client.send(get("/status/204")).is_ok() {
        if client.receive_until("\r\n\r\n").is_err() {
            break;
        }
    }
    sidecar.wait_until("counted", |it| closed(it, "age") > 0.5);
    assert_eq!(sidecar.expect_log("connection")["reason"], "age");
}

#[test]
fn an_old_connection_is_told_to_end_with_its_next_answer() {
    if skip::lacks(&["curl"]) {
        return;
    }
    let scene = Scene::new();
    let mut sidecar = scene.with("--max-connection-age", "1");
    let mut client = sidecar.connect(None);
    let mut heads = Vec::new();
    let last = loop {
        client.send(get("/delay/0.2")).unwrap();
        let head = client.receive_until("\r\n\r\n").unwrap().to_lowercase();
        client.receive_until("late\n").unwrap();
        if head.contains("connection: close") {
            break head;
        }
        heads.push(head);
        assert!(heads.len() < 50, "it gets older and older");
    };
    assert!(last.starts_with("http/1.1 200"), "{last}");
    assert_eq!(client.receive_all(), b"");
    assert!(!heads.is_empty());
    let mut client = sidecar.connect_h2();
    client.send(frames::preface()).unwrap();
    assert!(frames::kinds(&client.receive_all()).contains(&GOAWAY));
    sidecar.wait_until("both counted", |it| closed(it, "age") > 1.5);
}

#[test]
fn a_body_that_was_announced_and_does_not_come_ends_the_connection() {
    if skip::lacks(&["curl"]) {
        return;
    }
    let scene = Scene::new();
    let mut sidecar = scene.with("--stall-timeout", "1");
    // An application takes its time all the same.
    sidecar.get("/delay/4").run().expect(200);
    let mut client = sidecar.connect(None);
    client
        .send(format!("POST /anything HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 10\r\n\r\nhello"))
        .unwrap();
    assert_eq!(client.receive_all(), b"");
    sidecar.wait_until("counted", |it| (closed(it, "stalled") - 1.0).abs() < 0.5);
}

#[test]
fn an_answer_that_nobody_reads_ends_the_connection() {
    if skip::lacks(&["curl"]) {
        return;
    }
    let scene = Scene::new();
    let mut sidecar = scene.with("--stall-timeout", "1");
    let mut client = sidecar.connect(None);
    client.send(get("/bytes/1000000000")).unwrap();
    sidecar.wait_until("counted", |it| (closed(it, "stalled") - 1.0).abs() < 0.5);
    // HTTP/2, where the socket takes everything and the stream's window does not.
    let mut streams = sidecar.connect_h2();
    let asked = frames::get(HOST, "/bytes/1000000000");
    streams
        .send(
            [frames::preface(), frames::frame(HEADERS, END_HEADERS | END_STREAM, 1, &asked)]
                .concat(),
        )
        .unwrap();
    sidecar.wait_until("counted", |it| (closed(it, "stalled") - 2.0).abs() < 0.5);
    sidecar.wait_until("gone", |it| open(it) < 0.5);
    drop((client, streams));
}

#[test]
fn one_stream_that_stalls_does_not_end_another_that_waits_for_the_application() {
    if skip::lacks(&["curl"]) {
        return;
    }
    let scene = Scene::new();
    let mut sidecar = scene.with("--stall-timeout", "1");
    let mut client = sidecar.connect_h2();
    let whole = END_HEADERS | END_STREAM;
    let stalled = frames::frame(HEADERS, whole, 1, &frames::get(HOST, "/bytes/1000000000"));
    let slow = frames::frame(HEADERS, whole, 3, &frames::get(HOST, "/delay/4"));
    client.send([frames::preface(), stalled, slow].concat()).unwrap();
    let line = sidecar.process.wait_for_log(|it| it["path"] == "/delay/4");
    assert_eq!(
        (&line["status"], &line["error"]),
        (&200.into(), &serde_json::Value::Null),
        "{line}"
    );
    sidecar.wait_until("now it holds the connection", |it| closed(it, "stalled") > 0.5);
}

#[test]
fn a_header_block_that_does_not_end_is_not_kept_open_by_another_stream() {
    if skip::lacks(&["curl"]) {
        return;
    }
    let scene = Scene::new();
    let mut sidecar = scene.with("--head-timeout", "1");
    let mut client = sidecar.connect_h2();
    let slow = frames::get(HOST, "/delay/30");
    let begun = frames::frame(HEADERS, END_STREAM, 3, &frames::get(HOST, "/status/204"));
    client
        .send(
            [frames::preface(), frames::frame(HEADERS, END_HEADERS | END_STREAM, 1, &slow), begun]
                .concat(),
        )
        .unwrap();
    client.receive_all();
    sidecar.wait_until("counted", |it| (closed(it, "slow_head") - 1.0).abs() < 0.5);
    let mut client = sidecar.connect(None);
    client.send("GET / HTTP/1.1\r\nHost: ").unwrap();
    assert_eq!(client.receive_all(), b"");
    sidecar.wait_until("counted", |it| (closed(it, "slow_head") - 2.0).abs() < 0.5);
}

/// A sidecar for clients of `clients` that closes those who may not stay.
fn strict(scene: &Scene, clients: &Authority, protocol: &str) -> Sidecar {
    scene
        .before(scene.app.address())
        .clients(clients, "dns:alb.example")
        .revoking(&clients.revocation_list(&[], Validity::days(-1, 30)))
        .option("--protocol", protocol)
        .flag("--close-refused-clients")
        .start()
}

#[test]
fn a_client_that_is_revoked_loses_its_open_connections_where_somebody_says_so() {
    if skip::lacks(&["curl"]) {
        return;
    }
    let scene = Scene::new();
    let clients = scene.pki.authority("clients-ca");
    let client = clients.leaf().dns("alb.example").issue();
    let other = clients.leaf().dns("alb.example").issue();
    for protocol in ["http", "tcp"] {
        let mut sidecar = strict(&scene, &clients, protocol);
        let mut held = [&client, &other].map(|it| sidecar.connect(Some(&it.files())));
        for connection in &mut held {
            connection.send(get("/status/204")).unwrap();
            connection.receive_until("\r\n\r\n").unwrap();
        }
        let list = clients.revocation_list(&[&client], Validity::days(-1, 30));
        let list = [("ca.crl".to_owned(), list.into_bytes())].into_iter().collect();
        sidecar.lists.as_ref().unwrap().rotate(&list);
        let [lost, kept] = &mut held;
        assert_eq!(lost.receive_all(), b"", "{protocol}");
        let line = sidecar.expect_log("a client that was let in may not stay");
        assert_eq!(
            (&line["code"], &line["reason"]),
            (&"LH508".into(), &"revoked".into()),
            "{line}"
        );
        sidecar.wait_until("counted", |it| (closed(it, "refused_client") - 1.0).abs() < 0.5);
        kept.send(get("/status/204")).unwrap();
        assert!(kept.receive_until("\r\n\r\n").unwrap().contains(" 204 "), "{protocol}");
    }
}

#[test]
fn open_connections_of_a_client_that_is_revoked_go_on_otherwise() {
    if skip::lacks(&["curl"]) {
        return;
    }
    let scene = Scene::new();
    let clients = scene.pki.authority("clients-ca");
    let client = clients.leaf().dns("alb.example").issue();
    let list = |revoked: &[_]| clients.revocation_list(revoked, Validity::days(-1, 30));
    let setup = scene.before(scene.app.address()).clients(&clients, "dns:alb.example");
    let mut sidecar = setup.revoking(&list(&[])).start();
    let mut connection = sidecar.connect(Some(&client.files()));
    let revoked = [("ca.crl".to_owned(), list(&[&client]).into_bytes())].into_iter().collect();
    sidecar.lists.as_ref().unwrap().rotate(&revoked);
    sidecar.expect_log("a changed Secret was taken into use");
    connection.send(get("/status/204")).unwrap();
    assert!(connection.receive_until("\r\n\r\n").unwrap().contains(" 204 "));
    sidecar.get("/status/204").client(&client.files()).run().expect_refused();
}

#[test]
fn a_client_whose_key_is_not_for_signing_is_refused() {
    if skip::lacks(&["curl", "openssl"]) {
        return;
    }
    let scene = Scene::new();
    let clients = scene.pki.authority("clients-ca");
    let setup = scene.before(scene.app.address()).clients(&clients, "dns:alb.example");
    let mut sidecar = setup.start();
    let wrong = clients.leaf().dns("alb.example").for_key_agreement().issue();
    // unsupported_certificate
    sidecar.shake().client(&wrong.files()).request(HOST, "/").run().expect_alert(43);
    assert_eq!(sidecar.expect_refusal("LH512")["reason"], "wrong_key_usage");
    let silent = clients.leaf().dns("alb.example").without_key_usage().issue();
    sidecar.get("/status/204").client(&silent.files()).run().expect(204);
}
