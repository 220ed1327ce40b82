//! Frames and requests that cost their sender nothing.

use std::io::Write as _;
use std::net::TcpStream;
use std::time::Duration;

use lasthop_tests::app::App;
use lasthop_tests::frames::{
    self, CONTINUATION, DATA, END_HEADERS, GOAWAY, HEADERS, RST_STREAM, frame,
};
use lasthop_tests::sidecar::{HOST, Sidecar};
use lasthop_tests::skip;
use lasthop_tests::tls::TlsClient;

use super::{Scene, answered, gets, made, memory, serves};

/// CANCEL (RFC 9113, 7).
const CANCEL: [u8; 4] = [0, 0, 0, 8];

fn resets(streams: impl Iterator<Item = u32>) -> Vec<u8> {
    streams.flat_map(|stream| frame(RST_STREAM, 0, stream, &CANCEL)).collect()
}

#[test]
fn requests_that_are_reset_at_once_end_their_connection() {
    if skip::lacks(&["curl"]) {
        return;
    }
    let app = App::start();
    let scene = Scene::new();
    let mut sidecar = scene.before(app.address()).start();
    let mut client = sidecar.connect_h2();
    let pairs = (1..20_000).step_by(2);
    let pairs = pairs.flat_map(|it| [gets([it].into_iter(), "/delay/9"), resets([it].into_iter())]);
    let flood: Vec<u8> = pairs.flatten().collect();
    // The other side may have closed before all is written.
    let _broken = client.send([frames::preface(), flood].concat());
    // What it says of that may be lost, for it ends with much of the flood unread.
    let open = |it: &Sidecar| it.metric("lasthop_connections_open", &[]);
    sidecar.wait_until("it is over, whoever still holds it", |it| open(it) < 0.5);
    serves(&sidecar);
    assert!(made(&sidecar) < 1_000.0, "few of them reached the application");
    drop(client);
}

#[test]
fn requests_that_are_reset_when_they_have_reached_the_application_do_so_too() {
    if skip::lacks(&["curl"]) {
        return;
    }
    let app = App::start();
    let scene = Scene::new();
    let mut sidecar = scene.before(app.address()).start();
    let mut client = sidecar.connect_h2();
    client.send(frames::preface()).unwrap();
    reset_until_closed(&mut sidecar, &mut client, (0.0, 1.0), |streams| {
        gets(streams.iter().copied(), "/delay/9")
    });
    serves(&sidecar);
    websockets_given_up(&mut sidecar);
    // Who gives up now and then is no flood.
    let mut client = sidecar.connect_h2();
    let streams = || (1..100).step_by(2);
    client.send([frames::preface(), gets(streams(), "/delay/9")].concat()).unwrap();
    let wanted = made(&sidecar);
    sidecar.wait_until("they reached it", |it| made(it) >= wanted.max(50.0));
    client.send(resets(streams())).unwrap();
    client.send(gets([101].into_iter(), "/status/202")).unwrap();
    sidecar.wait_until("the next one is answered", |it| answered(it, 202) == 1);
}

/// The same where the application agreed to a WebSocket before it was reset.
fn websockets_given_up(sidecar: &mut Sidecar) {
    let mut client = sidecar.connect_h2();
    client.send(frames::preface()).unwrap();
    let asked = frames::connect("websocket", HOST, "/ws");
    // The first may take a connection that was there before.
    let before = made(sidecar) - 2.0;
    reset_until_closed(sidecar, &mut client, (before, 2.0), |streams| {
        streams.iter().flat_map(|it| frame(HEADERS, END_HEADERS, *it, &asked)).collect()
    });
    serves(sidecar);
}

/// Resets what `ask` makes of streams, 50 at a time as soon as they have reached the application beside
/// those that did `before`, until so many `floods` are counted.
fn reset_until_closed(
    sidecar: &mut Sidecar,
    client: &mut TlsClient,
    (before, floods): (f64, f64),
    ask: impl Fn(&[u32]) -> Vec<u8>,
) {
    let closed = |it: &Sidecar| {
        it.metric("lasthop_closed_connections_total", &["reason=\"reset_flood\""]) > floods - 0.5
    };
    let mut streams = (1..).step_by(2);
    let mut reached = before;
    for _ in 0..40 {
        let batch: Vec<u32> = streams.by_ref().take(50).collect();
        if client.send(ask(&batch)).is_err() || closed(sidecar) {
            break;
        }
        reached += 50.0;
        sidecar.wait_until("they reached it", |it| made(it) >= reached || closed(it));
        let _broken = client.send(resets(batch.into_iter()));
    }
    sidecar.wait_until("counted", |it| closed(it));
}

#[test]
fn a_head_of_endless_frames_ends_its_connection() {
    if skip::lacks(&["curl"]) {
        return;
    }
    let app = App::start();
    let scene = Scene::new();
    let sidecar = scene.before(app.address()).start();
    let before = memory(&sidecar);
    let field = frames::block(&[("x-filler", &"x".repeat(100))]).repeat(100);
    for part in [&[][..], &[0x00], &field] {
        let mut client = sidecar.connect_h2();
        let begun = frame(HEADERS, 0, 1, &frames::get(HOST, "/status/200"));
        client.send([frames::preface(), begun].concat()).unwrap();
        let more = frame(CONTINUATION, 0, 1, part).repeat(1_000);
        let endless = (0..100).all(|_| client.send(&more).is_ok());
        let answer = frames::kinds(&client.receive_all());
        assert!(!endless || answer.contains(&GOAWAY), "{} bytes: {answer:?}", part.len());
    }
    assert!(memory(&sidecar) < before + 16 * 1024);
    serves(&sidecar);
}

#[test]
fn a_body_of_endless_frames_costs_no_memory() {
    if skip::lacks(&["curl"]) {
        return;
    }
    let app = App::start();
    let scene = Scene::new();
    let sidecar = scene.before(app.address()).start();
    serves(&sidecar);
    let before = memory(&sidecar);
    // To an application that reads, and to one that does not.
    for path in ["/anything", "/delay/20"] {
        for part in [&[][..], b"x"] {
            let mut client = sidecar.connect_h2();
            let post = frames::block(&[
                (":method", "POST"),
                (":scheme", "https"),
                (":authority", HOST),
                (":path", path),
            ]);
            let begun = frame(HEADERS, END_HEADERS, 1, &post);
            client.send([frames::preface(), begun].concat()).unwrap();
            let more = frame(DATA, 0, 1, part).repeat(2_000);
            // It may be ended over it; what it may not is grow.
            let _sent = (0..50).all(|_| client.send(&more).is_ok());
            let grown = memory(&sidecar).saturating_sub(before);
            assert!(grown < 16 * 1024, "{grown} KiB for {path}, {} bytes", part.len());
        }
    }
    serves(&sidecar);
}

#[test]
fn who_asks_for_what_takes_a_certificate_does_not_fill_the_log() {
    if skip::lacks(&["curl"]) {
        return;
    }
    let app = App::start();
    let scene = Scene::new();
    let clients = scene.pki.authority("clients-ca");
    let mut sidecar = scene
        .before(app.address())
        .clients(&clients, "dns:alb.example")
        .option("--client-auth-exempt-paths", "/status/204")
        .start();
    let mut client = sidecar.connect_h2();
    client.send([frames::preface(), gets((1..400).step_by(2), "/admin")].concat()).unwrap();
    let refused = "lasthop_refused_requests_total";
    sidecar.wait_until("all are counted", |it| it.metric(refused, &["LH513"]) > 199.5);
    client.send(gets([401].into_iter(), "/status/204")).unwrap();
    sidecar.wait_until("the next one is answered", |it| answered(it, 204) == 1);
    let written = answered(&sidecar, 403);
    assert!((20..100).contains(&written), "{written} lines");
}

#[test]
fn a_first_message_without_end_ends_its_connection() {
    if skip::lacks(&["curl"]) {
        return;
    }
    let app = App::start();
    let scene = Scene::new();
    let mut sidecar = scene.before(app.address()).start();
    // A ClientHello that says it has 16 MiB, in records as long as records are and as short.
    let hello = [&[1, 0xff, 0xff, 0xff, 3, 3][..], &[0; 16_000]].concat();
    for size in [16_000, 1] {
        let record = |part: &[u8]| {
            let length = u16::try_from(part.len()).unwrap().to_be_bytes();
            [&[22, 3, 1][..], &length, part].concat()
        };
        let records: Vec<u8> = hello.chunks(size).flat_map(record).collect();
        let mut stream = TcpStream::connect(sidecar.tls).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(15))).unwrap();
        let endless = (0..1_000).all(|_| stream.write_all(&records).is_ok());
        assert!(!endless, "16 MB of it were taken");
        sidecar.expect_refusal("LH528");
    }
    serves(&sidecar);
}
