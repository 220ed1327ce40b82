//! Records of TLS with nothing in them, and pieces of messages that never become one (RFC 8446, 5.1).

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use lasthop_tests::app::App;
use lasthop_tests::frames::{self, END_HEADERS, frame};
use lasthop_tests::records::RecordClient;
use lasthop_tests::sidecar::{HOST, Sidecar};
use lasthop_tests::skip;
use rustls::ContentType::{Alert, ApplicationData, ChangeCipherSpec, Handshake};
use rustls::ProtocolVersion::{TLSv1_2, TLSv1_3};
use rustls::{ContentType, ProtocolVersion};

use super::{Scene, answered, memory, serves};

/// Who takes nothing for so long takes nothing more.
const PATIENCE: Duration = Duration::from_secs(5);

/// Between records that do not come at once; few enough of them come before the bound is reached.
const MOMENT: Duration = Duration::from_millis(50);

/// Records of a flood.
const FLOOD: usize = 20_000;

/// MiB by which the sidecar may grow meanwhile.
const GROWTH: u64 = 16;

/// Both versions of TLS with either version of HTTP.
const KINDS: [(ProtocolVersion, &str); 4] =
    [(TLSv1_3, "http/1.1"), (TLSv1_3, "h2"), (TLSv1_2, "http/1.1"), (TLSv1_2, "h2")];

/// Sends a request of which the last byte does not come.
fn begin(client: &mut RecordClient, alpn: &str) {
    let bytes = match alpn {
        "h2" => {
            let post = frames::block(&[
                (":method", "POST"),
                (":scheme", "https"),
                (":authority", HOST),
                (":path", "/anything"),
                ("content-length", "1"),
            ]);
            [frames::preface(), frame(frames::HEADERS, END_HEADERS, 1, &post)].concat()
        }
        _ => format!("POST /anything HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 1\r\n\r\n").into(),
    };
    assert!(client.press(1, (ApplicationData, &bytes), PATIENCE));
}

#[test]
fn empty_records_end_their_connection_where_nothing_else_comes() {
    if skip::lacks(&["curl"]) {
        return;
    }
    let app = App::start();
    let scene = Scene::new();
    for protocol in ["http", "tcp"] {
        let sidecar = scene.before(app.address()).option("--protocol", protocol).start();
        serves(&sidecar);
        let before = memory(&sidecar);
        for (version, alpn) in KINDS {
            let mut client = sidecar.connect_for_records(version, alpn);
            begin(&mut client, alpn);
            let _broken = client.press(FLOOD, (ApplicationData, b""), PATIENCE);
            assert!(client.is_closed(PATIENCE), "{protocol} {version:?} {alpn}");
            serves(&sidecar);
        }
        assert!(memory(&sidecar) < before + GROWTH * 1024);
    }
}

#[test]
fn empty_records_among_others_are_nothing() {
    if skip::lacks(&["curl"]) {
        return;
    }
    let app = App::start();
    let scene = Scene::new();
    let mut sidecar = scene.before(app.address()).start();
    let request = format!("GET /status/204 HTTP/1.1\r\nHost: {HOST}\r\n\r\n");
    for (number, version) in [TLSv1_3, TLSv1_2].into_iter().enumerate() {
        let mut client = sidecar.connect_for_records(version, "http/1.1");
        for byte in request.as_bytes() {
            assert!(client.press(10, (ApplicationData, b""), PATIENCE));
            assert!(client.press(1, (ApplicationData, &[*byte]), PATIENCE));
        }
        sidecar.wait_until("it is answered", |it| answered(it, 204) == number + 1);
    }
}

#[test]
fn empty_records_keep_no_connection_open() {
    if skip::lacks(&["curl"]) {
        return;
    }
    let app = App::start();
    let scene = Scene::new();
    std::thread::scope(|threads| {
        for (bound, protocol, reason) in [
            ("--idle-timeout", "http", "idle"),
            ("--idle-timeout", "tcp", "idle"),
            ("--stall-timeout", "http", "stalled"),
        ] {
            let setup = scene.before(app.address()).option("--protocol", protocol);
            let sidecar = setup.option(bound, "1").start();
            threads.spawn(move || closes_in_time(sidecar, reason));
        }
    });
}

/// It closes connections whose clients send a record of nothing each moment.
fn closes_in_time(mut sidecar: Sidecar, reason: &str) {
    let mut clients = KINDS.map(|(version, alpn)| {
        let mut client = sidecar.connect_for_records(version, alpn);
        if reason == "stalled" {
            begin(&mut client, alpn);
        }
        Some(client)
    });
    while clients.iter().any(Option::is_some) {
        for place in &mut clients {
            let Some(client) = place else { continue };
            let _closed = client.press(1, (ApplicationData, b""), PATIENCE);
            if client.is_closed(MOMENT) {
                *place = None;
            }
        }
    }
    let counted = format!("reason=\"{reason}\"");
    let closed = |it: &Sidecar| it.metric("lasthop_closed_connections_total", &[&counted]);
    sidecar.wait_until(&counted, |it| closed(it) > 3.5);
}

#[test]
fn pieces_of_messages_that_never_become_one_end_their_connection() {
    if skip::lacks(&["curl"]) {
        return;
    }
    let app = App::start();
    let scene = Scene::new();
    let sidecar = scene.before(app.address()).start();
    serves(&sidecar);
    let before = memory(&sidecar);
    // A message of 16 MiB, whose rest never comes.
    let huge = [&[24, 0xff, 0xff, 0xff][..], &[0; 12_000]].concat();
    let user_canceled = [1, 90];
    for (what, version, kind, bytes) in [
        ("empty handshake", TLSv1_3, Handshake, &[][..]),
        ("empty handshake", TLSv1_2, Handshake, &[]),
        ("huge handshake", TLSv1_3, Handshake, &huge),
        ("huge handshake", TLSv1_2, Handshake, &huge),
        ("empty alerts", TLSv1_3, Alert, &[]),
        ("empty alerts", TLSv1_2, Alert, &[]),
        ("alerts", TLSv1_3, Alert, &user_canceled),
        ("alerts", TLSv1_2, Alert, &user_canceled),
        ("empty change of cipher", TLSv1_3, ChangeCipherSpec, &[]),
        ("change of cipher", TLSv1_2, ChangeCipherSpec, &[1]),
        ("heartbeats", TLSv1_3, ContentType::Heartbeat, &[1, 0, 1, 7]),
        ("heartbeats", TLSv1_2, ContentType::Heartbeat, &[1, 0, 1, 7]),
        ("records of no kind", TLSv1_3, ContentType::Unknown(99), &[]),
    ] {
        let mut client = sidecar.connect_for_records(version, "h2");
        begin(&mut client, "h2");
        let _broken = client.press(FLOOD, (kind, bytes), PATIENCE);
        assert!(client.is_closed(PATIENCE), "{what} of {version:?}");
    }
    assert!(memory(&sidecar) < before + GROWTH * 1024);
    serves(&sidecar);
}

/// What is sent of TLS before there are any keys, 20,000 times: an end comes of all of it.
#[test]
fn pieces_before_the_handshake_end_their_connection() {
    if skip::lacks(&["curl"]) {
        return;
    }
    let app = App::start();
    let scene = Scene::new();
    let mut sidecar = scene.before(app.address()).start();
    for piece in [
        &b"\x16\x03\x01\x00\x00"[..],            // nothing of a handshake
        b"\x16\x03\x01\x00\x01\x01",             // each byte of it the first of a ClientHello
        b"\x16\x03\x01\x00\x04\x00\x00\x00\x00", // HelloRequest, which a server sends
    ] {
        let mut stream = TcpStream::connect(sidecar.tls).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(15))).unwrap();
        let _broken = stream.write_all(&piece.repeat(FLOOD));
        let mut answer = Vec::new();
        let _reset = stream.read_to_end(&mut answer);
        assert!(answer.len() < 100, "an alert at most: {answer:?}");
        sidecar.expect_refusal("LH528");
    }
    let early = [&b"\x14\x03\x03\x00\x01\x01"[..], &b"\x15\x03\x03\x00\x02\x01\x5a"[..]];
    for piece in early {
        let mut stream = TcpStream::connect(sidecar.tls).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(15))).unwrap();
        let _broken = stream.write_all(&piece.repeat(FLOOD));
        let _reset = stream.read_to_end(&mut Vec::new());
        sidecar.expect_refusal("LH521");
    }
    serves(&sidecar);
}
