//! How it ends.

use std::time::{Duration, Instant};

use lasthop_tests::sidecar::{HOST, Sidecar};
use lasthop_tests::skip;

use super::scene::Scene;

#[test]
fn what_is_under_way_is_finished_before_the_end() {
    if skip::lacks(&["curl"]) {
        return;
    }
    let scene = Scene::new();
    for http1 in [true, false] {
        let mut sidecar = scene.sidecar();
        let get = sidecar.get("/delay/2");
        let get = if http1 { get.http1() } else { get };
        let slow = std::thread::spawn(move || get.run());
        sidecar.wait_until("a connection", |it| it.metric("lasthop_connections_open", &[]) > 0.5);
        std::thread::sleep(Duration::from_millis(300));
        // `finish` is less patient than the drain timeout.
        let finished = sidecar.finish();
        assert_eq!(finished.code(), 0, "{finished}");
        assert_eq!(slow.join().unwrap().expect(200).text(), "late\n");
        assert!(finished.stdout.contains("\"message\":\"draining\""), "{finished}");
    }
}

#[test]
fn during_the_delay_it_is_unready_and_serves_as_before() {
    if skip::lacks(&["curl"]) {
        return;
    }
    let scene = Scene::new();
    let mut sidecar =
        Sidecar::with_delay(scene.app.address(), "6").serving(&scene.server()).start();
    sidecar.ask("/readyz").run().expect(200);
    sidecar.process.terminate();
    sidecar.expect_log("draining");
    sidecar.ask("/readyz").run().expect(503);
    sidecar.ask("/livez").run().expect(200);
    sidecar.get("/status/200").run().expect(200);
    let finished = sidecar.process.finish();
    assert_eq!(finished.code(), 0, "{finished}");
}

#[test]
fn connections_are_told_to_close_and_no_new_ones_are_taken() {
    if skip::lacks(&["curl"]) {
        return;
    }
    let scene = Scene::new();
    let mut sidecar = scene.sidecar();
    let mut client = sidecar.connect(None);
    client.send(format!("GET /delay/1 HTTP/1.1\r\nHost: {HOST}\r\n\r\n")).unwrap();
    sidecar.wait_until("a connection", |it| it.metric("lasthop_connections_open", &[]) > 0.5);
    std::thread::sleep(Duration::from_millis(300));
    sidecar.process.terminate();
    sidecar.expect_log("draining");
    std::thread::sleep(Duration::from_millis(200));
    let refused = sidecar.get("/status/200").run();
    assert_eq!(refused.exit, 7, "{refused:?}");
    let head = client.receive_until("\r\n\r\n").unwrap();
    assert!(head.to_lowercase().contains("connection: close"), "{head}");
}

#[test]
fn an_idle_connection_does_not_hold_up_the_end() {
    let scene = Scene::new();
    let sidecar = scene.sidecar();
    let mut used = sidecar.connect(None);
    used.send(format!("GET /status/200 HTTP/1.1\r\nHost: {HOST}\r\n\r\n")).unwrap();
    used.receive_until("\r\n\r\n").unwrap();
    let _fresh = sidecar.connect(None);
    // `finish` is less patient than the drain timeout.
    assert_eq!(sidecar.finish().code(), 0);
    assert_eq!(used.receive_all(), b"");
}

#[test]
fn the_deadline_cuts_what_is_still_open() {
    if skip::lacks(&["curl"]) {
        return;
    }
    let scene = Scene::new();
    let mut sidecar = scene.setup().serving(&scene.server()).option("--drain-timeout", "1").start();
    let get = sidecar.get("/delay/30");
    let slow = std::thread::spawn(move || get.run());
    sidecar.wait_until("a connection", |it| it.metric("lasthop_connections_open", &[]) > 0.5);
    let start = Instant::now();
    let finished = sidecar.finish();
    assert_eq!(finished.code(), 0, "{finished}");
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    assert!(finished.stdout.contains("the drain timeout is over"), "{finished}");
    assert!(finished.stdout.contains("cut at the end of the drain"), "{finished}");
    assert_ne!(slow.join().unwrap().exit, 0);
}

#[test]
fn a_second_signal_ends_at_once() {
    if skip::lacks(&["curl"]) {
        return;
    }
    let scene = Scene::new();
    let mut sidecar = scene.sidecar();
    let get = sidecar.get("/delay/30");
    let slow = std::thread::spawn(move || get.run());
    sidecar.wait_until("a connection", |it| it.metric("lasthop_connections_open", &[]) > 0.5);
    sidecar.process.terminate();
    sidecar.expect_log("draining");
    let start = Instant::now();
    let finished = sidecar.finish();
    assert_eq!(finished.code(), 0, "{finished}");
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
    drop(slow.join());
}
