//! Frames that ask for no request, and heads that are larger than their bytes.

use std::time::Duration;

use lasthop_tests::app::App;
use lasthop_tests::frames::{
    self, END_HEADERS, END_STREAM, HEADERS, PING, PRIORITY, SETTINGS, WINDOW_UPDATE, frame,
};
use lasthop_tests::process::Program;
use lasthop_tests::sidecar::{HOST, Sidecar};
use lasthop_tests::skip;
use lasthop_tests::tls::TlsClient;

use super::{Scene, answered, gets, memory, serves};

/// Who takes nothing for so long waits for its client to read what it answered.
const PATIENCE: Duration = Duration::from_millis(500);

/// MiB by which the sidecar may grow while it is flooded.
const GROWTH: u64 = 16;

/// Writes `part` again and again, until the sidecar takes no more.
fn flood(sidecar: &Sidecar, client: &mut TlsClient, part: &[u8]) {
    let before = memory(sidecar);
    let many = part.repeat(2_000);
    let _taken = (0..50).all(|_| client.press(&many, PATIENCE));
    let grown = memory(sidecar).saturating_sub(before);
    assert!(grown < GROWTH * 1024, "{grown} KiB for {part:?}");
}

#[test]
fn frames_that_ask_for_nothing_cost_nothing() {
    if skip::lacks(&["curl"]) {
        return;
    }
    let app = App::start();
    let scene = Scene::new();
    let sidecar = scene.before(app.address()).start();
    serves(&sidecar);
    // Header table size, and back: each has to be acknowledged (RFC 9113, 6.5.3).
    let settings = [[0, 1, 0, 0, 0, 0], [0, 1, 0, 0, 16, 0]].concat();
    let one = 1_u32.to_be_bytes();
    for (what, part) in [
        ("pings", frame(PING, 0, 0, &[7; 8])),
        ("answers to pings that nobody sent", frame(PING, 1, 0, &[7; 8])),
        ("settings", frame(SETTINGS, 0, 0, &settings)),
        ("settings that say nothing", frame(SETTINGS, 0, 0, &[])),
        ("priorities of streams that there are not", frame(PRIORITY, 0, 9, &[0, 0, 0, 3, 7])),
        ("windows", frame(WINDOW_UPDATE, 0, 0, &one)),
        ("frames of a kind that there is not", frame(0xbe, 0, 0, &[7; 100])),
    ] {
        let mut client = sidecar.connect_h2();
        client.send([frames::preface(), gets([1].into_iter(), "/status/204")].concat()).unwrap();
        flood(&sidecar, &mut client, &part);
        // Others are served while that one still presses.
        serves(&sidecar);
        drop(client);
        assert!(answered_all(&sidecar), "{what}");
    }
}

fn answered_all(sidecar: &Sidecar) -> bool {
    sidecar.metric("lasthop_requests_total", &["5xx"]) < 0.5
}

#[test]
fn heads_without_a_request_end_their_connection() {
    if skip::lacks(&["curl"]) {
        return;
    }
    let app = App::start();
    let scene = Scene::new();
    let mut sidecar = scene.before(app.address()).start();
    let whole = END_HEADERS | END_STREAM;
    for block in
        [Vec::new(), frames::block(&[(":method", "GET")]), frames::block(&[("Upper", "x")])]
    {
        let mut client = sidecar.connect_h2();
        client.send(frames::preface()).unwrap();
        let streams = (1..20_001_u32).step_by(2);
        let many: Vec<u8> = streams.flat_map(|it| frame(HEADERS, whole, it, &block)).collect();
        let _broken = client.press(&many, PATIENCE);
        let open = |it: &Sidecar| it.metric("lasthop_connections_open", &[]);
        sidecar.wait_until("it is over, whoever still holds it", |it| open(it) < 0.5);
        drop(client);
    }
    serves(&sidecar);
    assert_eq!(answered(&sidecar, 200), 0, "none of them was a request");
}

#[test]
fn a_head_that_unfolds_to_more_than_its_bytes_is_bounded() {
    if skip::lacks(&["curl"]) {
        return;
    }
    let app = App::start();
    let scene = Scene::new();
    let mut sidecar = scene.before(app.address()).start();
    let before = memory(&sidecar);
    let mut client = sidecar.connect_h2();
    // A field of 3,900 bytes that the table keeps (RFC 7541, 6.2.1), and then a byte each time it is
    // meant again: 16 kB would be 60 MB.
    let kept = [&[0x40, 1, b'a', 0x7f, 0xbd, 0x1d][..], &[b'x'; 3_900]].concat();
    let once = [frames::get(HOST, "/status/202"), kept].concat();
    let bomb = [frames::get(HOST, "/status/200"), vec![0xbe; 16_000]].concat();
    let whole = END_HEADERS | END_STREAM;
    client.send([frames::preface(), frame(HEADERS, whole, 1, &once)].concat()).unwrap();
    sidecar.wait_until("one is as good as any", |it| answered(it, 202) == 1);
    for stream in (3..201).step_by(2) {
        if !client.press(frame(HEADERS, whole, stream, &bomb), PATIENCE) {
            break;
        }
    }
    serves(&sidecar);
    assert!(memory(&sidecar) < before + GROWTH * 1024);
    assert_eq!(answered(&sidecar, 200), 0, "none of them reached the application");
}

#[test]
fn new_keys_without_end_cost_nothing() {
    if skip::lacks(&["curl"]) {
        return;
    }
    let app = App::start();
    let scene = Scene::new();
    let sidecar = scene.before(app.address()).start();
    serves(&sidecar);
    let before = memory(&sidecar);
    let mut client = sidecar.connect(None);
    let _taken = (0..20_000).all(|_| client.update_keys().is_ok());
    serves(&sidecar);
    assert!(memory(&sidecar) < before + GROWTH * 1024);
}

#[test]
fn nobody_begins_a_handshake_again() {
    if skip::lacks(&["curl", "openssl"]) {
        return;
    }
    let app = App::start();
    let scene = Scene::new();
    let sidecar = scene.before(app.address()).start();
    // `R` on a line of its own makes openssl ask for it, which TLS 1.3 has not (RFC 8446, 4.1.2).
    let ran = Program::at("openssl")
        .args(["s_client", "-tls1_2", "-servername", HOST, "-connect", &sidecar.tls.to_string()])
        .input("R\n")
        .run();
    assert!(ran.stderr.contains("RENEGOTIATING"), "{ran}");
    assert!(ran.stderr.contains("no renegotiation"), "{ran}");
    let full = "lasthop_handshakes_total";
    assert!((sidecar.metric(full, &["reason=\"full\""]) - 1.0).abs() < 0.5);
    serves(&sidecar);
}
