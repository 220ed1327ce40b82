//! What a client may hold, and for how long.

use std::process::Command;
use std::time::{Duration, Instant};

use lasthop_tests::sidecar::HOST;
use lasthop_tests::skip;
use lasthop_tests::tls::TlsClient;

use super::scene::Scene;

#[test]
fn more_connections_than_allowed_are_closed() {
    let scene = Scene::new();
    let mut sidecar =
        scene.setup().serving(&scene.server()).option("--max-connections", "2").start();
    let first = sidecar.connect(None);
    let _second = sidecar.connect(None);
    let root = scene.pki.authority("server-ca").root_pem();
    let third = TlsClient::connect(sidecar.tls, HOST, &root, None);
    assert!(third.is_err());
    sidecar.expect_refusal("LH529");
    drop(first);
    sidecar.wait_until("room again", |it| it.metric("lasthop_connections_open", &[]) < 1.5);
    drop(sidecar.connect(None));
}

#[test]
fn a_head_that_takes_too_long_is_let_go() {
    let scene = Scene::new();
    let sidecar = scene.sidecar();
    let mut slow = sidecar.connect(None);
    slow.send(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\nX: ")).unwrap();
    let idle = sidecar.connect(None);
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(25) && slow.send("y").is_ok() {
        std::thread::sleep(Duration::from_millis(500));
    }
    assert!(start.elapsed() < Duration::from_secs(23), "{:?}", start.elapsed());
    // One that waits between two requests is something else.
    let mut idle = idle;
    let answer =
        idle.ask(format!("GET /status/200 HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n"));
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[test]
fn a_head_of_http2_that_takes_too_long_is_let_go() {
    let scene = Scene::new();
    let sidecar = scene.sidecar();
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    let mut idle = sidecar.connect_h2();
    idle.send(preface).unwrap();
    let mut slow = sidecar.connect_h2();
    slow.send(preface).unwrap();
    // HEADERS without END_HEADERS, and then nothing.
    slow.send(b"\0\0\x01\x01\x01\0\0\0\x01\x82").unwrap();
    let start = Instant::now();
    let closed = loop {
        // A reader loses patience after 15 s with an error of its own.
        match slow.receive(1) {
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                if start.elapsed() > Duration::from_secs(25) {
                    break false;
                }
            }
            Err(_) => break true,
        }
    };
    assert!(closed && start.elapsed() < Duration::from_secs(25), "{:?}", start.elapsed());
    // One that has asked for nothing yet is something else: it still gets the answer to its ping.
    idle.send(b"\0\0\x08\x06\0\0\0\0\0sidecars").unwrap();
    idle.receive_until("sidecars").unwrap();
}

#[test]
fn file_descriptors_return_to_where_they_were() {
    let scene = Scene::new();
    let mut sidecar = scene.sidecar();
    let count = |pid: u32| {
        let listed = Command::new("ls").arg(format!("/proc/{pid}/fd")).output().unwrap();
        String::from_utf8_lossy(&listed.stdout).lines().count()
    };
    let pid = sidecar.process.pid();
    if count(pid) == 0 {
        return skip::this_test("the process is not dumpable and this user is not root");
    }
    sidecar
        .connect(None)
        .ask(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n"));
    let before = count(pid);
    for _ in 0..100 {
        let mut client = sidecar.connect(None);
        client.ask(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n"));
    }
    sidecar.wait_until("descriptors closed", |_| count(pid) <= before);
}

#[test]
fn an_idle_connection_costs_little_memory() {
    const CONNECTIONS: usize = 400;
    let scene = Scene::new();
    let mut sidecar = scene.sidecar();
    let pid = sidecar.process.pid();
    let resident = || {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap().to_owned();
        line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap()
    };
    let connect = || {
        let mut client = sidecar.connect(None);
        client.send(format!("GET /status/200 HTTP/1.1\r\nHost: {HOST}\r\n\r\n")).unwrap();
        client.receive_until("\r\n\r\n").unwrap();
        client
    };
    let warm: Vec<_> = (0..20).map(|_| connect()).collect();
    let before = resident();
    let idle: Vec<_> = (0..CONNECTIONS).map(|_| connect()).collect();
    let each = resident().saturating_sub(before) / CONNECTIONS;
    assert!(each < 40, "{each} KiB a connection");
    drop((warm, idle));
    sidecar.wait_until("the connections closed", |sidecar| {
        sidecar.metric("lasthop_connections_open", &[]) < 0.5
    });
}
