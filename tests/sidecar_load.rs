//! The sidecar while much happens at once, or in an unfriendly way: no request is lost that could be
//! answered, and every byte is the right one.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use lasthop_contract::text::hex;
use lasthop_tests::app::App;
use lasthop_tests::at_end::SetAtEnd;
use lasthop_tests::curl::Curl;
use lasthop_tests::process::{Program, wait_until};
use lasthop_tests::raw::{RawApp, read_head};
use lasthop_tests::scene::Scene;
use lasthop_tests::sidecar::{HOST, Sidecar};
use lasthop_tests::skip;
use lasthop_tests::tls::TlsClient;

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: {HOST}\r\n\r\n")
}

/// Asks on a connection that is kept, and reads the whole answer.
fn ask(client: &mut TlsClient, path: &str) -> std::io::Result<(u16, Vec<u8>)> {
    client.send(get(path))?;
    let head = client.receive_until("\r\n\r\n")?.to_lowercase();
    let length = head.split_once("content-length: ").and_then(|it| it.1.lines().next());
    let length = length.and_then(|it| it.parse().ok()).unwrap_or_default();
    let status = head.get(9..12).and_then(|it| it.parse().ok()).expect("a status is a number");
    Ok((status, client.receive(length)?))
}

/// What `/bytes/N` answers from `place` on: a gap or a swap is noticed.
fn is_numbered(bytes: &[u8], place: usize) -> bool {
    bytes.iter().enumerate().all(|(offset, byte)| usize::from(*byte) == (place + offset) % 251)
}

#[test]
fn a_client_of_another_make_loses_no_stream_while_secrets_change() {
    if skip::lacks(&["curl", "h2load"]) {
        return;
    }
    let scene = Scene::new();
    let sidecar = scene.setup().start();
    let url = format!("https://{}/bytes/3000", sidecar.tls);
    let load = std::thread::spawn(move || {
        Program::at("h2load").args(["-n", "3000", "-c", "12", "-m", "8", &url]).run()
    });
    for round in 1..=2 {
        sidecar.certificates[0].rotate(&scene.pki.server().secret());
        sidecar.process.hang_up();
        let taken =
            || sidecar.metric("lasthop_credential_reloads_total", &[]) > f64::from(round) - 0.5;
        wait_until("the renewed certificate is taken", taken);
    }
    let load = load.join().unwrap().expect_success();
    assert!(load.stdout.contains("3000 succeeded, 0 failed, 0 errored"), "{load}");
    assert!(load.stdout.contains("Application protocol: h2"), "{load}");
    assert!((sidecar.metric("lasthop_requests_total", &["2xx"]) - 3000.0).abs() < 0.5);
}

#[test]
fn a_stream_through_narrow_windows_is_whole() {
    if skip::lacks(&["curl", "nghttp"]) {
        return;
    }
    let scene = Scene::new();
    let sidecar = scene.setup().start();
    // Windows of 1 KiB, which are full again and again.
    let url = format!("https://{}/stream/20000", sidecar.tls);
    let ran = Program::at("nghttp").args(["-w", "10", "-W", "10", &url]).run();
    let direct = sidecar.get("/stream/20000").run().expect(200).text();
    assert!(direct.lines().count() == 20_000 && ran.expect_success().stdout == direct);
}

#[test]
fn a_secret_that_changes_during_the_drain_disturbs_nobody() {
    if skip::lacks(&["curl"]) {
        return;
    }
    let scene = Scene::new();
    let mut sidecar = scene.setup().start();
    let get = sidecar.get("/delay/2");
    let slow = std::thread::spawn(move || get.run());
    sidecar.wait_until("a connection", |it| it.metric("lasthop_connections_open", &[]) > 0.5);
    sidecar.process.terminate();
    sidecar.expect_log("draining");
    let broken = [("tls.crt".to_owned(), b"nonsense".to_vec())].into();
    sidecar.certificates[0].rotate(&broken);
    sidecar.process.hang_up();
    sidecar.certificates[0].rotate(&scene.pki.server().secret());
    sidecar.process.hang_up();
    assert_eq!(slow.join().unwrap().expect(200).text(), "late\n");
    let finished = sidecar.process.finish();
    assert_eq!(finished.code(), 0, "{finished}");
}

/// A `ClientHello` of which only the beginning comes.
const HALF_HELLO: &[u8] = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03";

/// Connects again and again, sends this, and holds 200 connections at once.
fn flood(address: SocketAddr, sent: &[u8], stop: &AtomicBool) {
    let mut held = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let Ok(mut stream) = TcpStream::connect(address) else { continue };
        let _closed = stream.write_all(sent);
        held.push(stream);
        if held.len() > 200 {
            held.clear();
        }
    }
}

#[test]
fn a_flood_of_handshakes_keeps_nobody_out() {
    let scene = Scene::new();
    let mut sidecar = scene.setup().start();
    let (stop, address) = (AtomicBool::new(false), sidecar.tls);
    std::thread::scope(|threads| {
        let _end = SetAtEnd(&stop);
        let stop = &stop;
        for sent in [HALF_HELLO, b"GET / HTTP/1.1\r\n\r\n", b"", b"\x16\x03\x01\xff\xff"] {
            threads.spawn(move || flood(address, sent, stop));
        }
        for round in 0..40 {
            let mut client = sidecar.connect(None);
            let (status, body) = ask(&mut client, "/bytes/5000").unwrap();
            assert!(status == 200 && is_numbered(&body, 0), "{round}: {status}");
        }
    });
    sidecar.wait_until("they are gone", |it| it.metric("lasthop_connections_open", &[]) < 0.5);
}

#[test]
fn clients_that_break_off_leave_nothing_behind() {
    let scene = Scene::new();
    let mut sidecar = scene.setup().start();
    for _ in 0..40 {
        let mut client = sidecar.connect(None);
        client.send(get("/bytes/20000000")).unwrap();
        // What is not read makes a reset of the end (RFC 9293, 3.10.7).
        let begun = client.receive(5000).unwrap();
        assert!(is_numbered(body_of(&begun), 0));
    }
    for _ in 0..40 {
        let mut client = sidecar.connect(None);
        let head =
            format!("POST /anything HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 9000\r\n\r\n");
        client.send(head + "only the beginning").unwrap();
    }
    sidecar.wait_until("they are gone", |it| it.metric("lasthop_connections_open", &[]) < 0.5);
    let mut client = sidecar.connect(None);
    let (status, body) = ask(&mut client, "/bytes/100000").unwrap();
    assert!(status == 200 && body.len() == 100_000 && is_numbered(&body, 0));
}

/// What stands behind the head.
fn body_of(answer: &[u8]) -> &[u8] {
    let end = answer.windows(4).position(|it| it == b"\r\n\r\n").expect("the head is short");
    &answer[end + 4..]
}

#[test]
fn a_request_in_records_of_one_byte_arrives_whole() {
    let scene = Scene::new();
    let sidecar = scene.setup().start();
    let body: Vec<u8> = (0..1500_u32).map(|place| (place % 251) as u8).collect();
    let head = format!(
        "POST /anything HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\nContent-Length: 1500\r\n\r\n"
    );
    let mut client = sidecar.connect(None);
    for byte in head.as_bytes().iter().chain(&body) {
        client.send([*byte]).unwrap();
    }
    let answer = client.ask("");
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &body);
    assert!(
        answer.starts_with("HTTP/1.1 200") && answer.contains(&hex(digest.as_ref())),
        "{answer}"
    );
}

#[test]
fn who_reads_slowly_gets_every_byte_and_holds_up_nobody() {
    const COUNT: usize = 12_000_000;
    let scene = Scene::new();
    let sidecar = scene.setup().start();
    let mut slow = sidecar.connect(None);
    slow.send(get(&format!("/bytes/{COUNT}"))).unwrap();
    slow.receive_until("\r\n\r\n").unwrap();
    let mut other = sidecar.connect(None);
    let (mut place, mut turn) = (0, 0);
    while place < COUNT {
        let bytes = slow.receive((COUNT - place).min(48_000)).unwrap();
        assert!(is_numbered(&bytes, place), "at {place}");
        place += bytes.len();
        turn += 1;
        if turn % 10 == 0 {
            std::thread::sleep(Duration::from_millis(30));
            let (status, body) = ask(&mut other, "/bytes/1000").unwrap();
            assert!(status == 200 && is_numbered(&body, 0), "{status}");
        }
    }
}

/// What came of the requests while an application came and went.
#[derive(Default)]
struct Outage {
    stop: AtomicBool,
    is_down: AtomicBool,
    answered: AtomicU32,
    refused: AtomicU32,
}

impl Outage {
    /// Asks until it is over: who asks while the application is up is answered.
    fn ask(&self, sidecar: &Sidecar) {
        let mut client = sidecar.connect(None);
        while !self.stop.load(Ordering::SeqCst) {
            let was_down = self.is_down.load(Ordering::SeqCst);
            let (status, body) = ask(&mut client, "/bytes/2000").unwrap();
            if status == 200 {
                assert!(body.len() == 2000 && is_numbered(&body, 0));
                self.answered.fetch_add(1, Ordering::SeqCst);
            } else {
                let is_down = self.is_down.load(Ordering::SeqCst);
                assert!(status == 502 && (was_down || is_down), "{status}");
                self.refused.fetch_add(1, Ordering::SeqCst);
            }
        }
    }
}

fn wait_for_more(counter: &AtomicU32) {
    let now = counter.load(Ordering::SeqCst);
    wait_until("requests go on", || counter.load(Ordering::SeqCst) > now + 20);
}

#[test]
fn an_application_that_is_started_again_costs_only_what_came_meanwhile() {
    let scene = Scene::new();
    let sidecar = scene.setup().start();
    let outage = Outage::default();
    let again = std::thread::scope(|threads| {
        let _end = SetAtEnd(&outage.stop);
        let askers = [(); 4].map(|()| threads.spawn(|| outage.ask(&sidecar)));
        wait_for_more(&outage.answered);
        outage.is_down.store(true, Ordering::SeqCst);
        let address = scene.app.stop();
        wait_for_more(&outage.refused);
        let again = App::start_at(address);
        outage.is_down.store(false, Ordering::SeqCst);
        wait_for_more(&outage.answered);
        outage.stop.store(true, Ordering::SeqCst);
        // The application outlives those who ask it.
        for asker in askers {
            asker.join().unwrap();
        }
        again
    });
    drop(again);
}

#[test]
fn an_answer_that_comes_before_the_end_of_the_request_is_delivered() {
    if skip::lacks(&["curl"]) {
        return;
    }
    let scene = Scene::new();
    let app = RawApp::start(|mut stream| {
        read_head(&stream);
        let answer = b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 8\r\nConnection: close\r\n\r\ntoo much";
        let _gone = stream.write_all(answer).and_then(|()| stream.shutdown(Shutdown::Write));
        // It reads on for a while, as a server does that wants its answer to be read.
        let mut rest = vec![0; 1 << 20];
        let _some = stream.read(&mut rest);
    });
    let mut sidecar = Sidecar::before(app.address).serving(&scene.pki.server()).start();
    let upload = |curl: Curl| curl.body_bytes(vec![7; 6_000_000]).run();
    let answer = upload(sidecar.get("/").http1());
    assert_eq!((answer.status, answer.text().as_str()), (413, "too much"), "{answer:?}");
    // Some versions of curl take the reset behind such an answer (RFC 9113, 8.1) for its failure.
    let _answer_or_reset = upload(sidecar.get("/"));
    sidecar.process.wait_for_log(|line| line["alpn"] == "h2" && line["status"] == 413);
    assert!(sidecar.metric("lasthop_application_failures_total", &[]) < 0.5);
}
