//! What is asked of the application a second time, and what is not; answers that come bit by bit.

use std::io::Write as _;
use std::net::TcpStream;
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex};

use lasthop_tests::raw::{RawApp, read_head};
use lasthop_tests::sidecar::HOST;

use super::scene::Scene;

/// Answers the first request of each connection, and closes it when it has read the second.
fn answer_once(mut stream: &TcpStream, seen: &Mutex<Vec<String>>) {
    for number in 0.. {
        let head = read_head(stream);
        let Some(line) = head.lines().next() else { return };
        let line = line.trim_end_matches(" HTTP/1.1").to_owned();
        seen.lock().unwrap().push(line);
        if number > 0 {
            return;
        }
        let _gone = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    }
}

#[test]
fn only_what_does_nothing_twice_is_asked_twice() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let app = RawApp::start({
        let seen = Arc::clone(&seen);
        move |stream| answer_once(&stream, &seen)
    });
    let scene = Scene::new();
    let sidecar = scene.open(app.address).start();
    let mut client = sidecar.connect(None);
    let mut ask = |line: &str, body: &str| {
        let length = body.len();
        let head = format!("{line} HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: {length}\r\n\r\n");
        client.send(format!("{head}{body}")).unwrap();
        let head = client.receive_until("\r\n\r\n").unwrap().to_lowercase();
        let length = head.split("content-length: ").nth(1).unwrap().lines().next().unwrap();
        client.receive(length.trim().parse().unwrap()).unwrap();
        head.split(' ').nth(1).unwrap().to_owned()
    };
    for (line, body, status) in [
        ("GET /1", "", "200"),
        // The application may have done it before it closed.
        ("POST /2", "", "502"),
        ("GET /3", "", "200"),
        ("GET /4", "", "200"),
        // What was sent of a body is gone.
        ("PUT /5", "body", "502"),
        ("PATCH /6", "", "200"),
        ("PATCH /7", "", "502"),
    ] {
        assert_eq!(ask(line, body), status, "{line}");
    }
    let expected =
        ["GET /1", "POST /2", "GET /3", "GET /4", "GET /4", "PUT /5", "PATCH /6", "PATCH /7"];
    assert_eq!(*seen.lock().unwrap(), expected);
}

#[test]
fn events_arrive_when_they_are_sent() {
    let (read, was_read) = sync_channel(1);
    let app = RawApp::start(move |mut stream| {
        read_head(&stream);
        let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n";
        let mut said = stream.write_all(head.as_bytes());
        for number in 0..3 {
            // In one piece: each that the sidecar reads is a chunk of its own to the client.
            let event = format!("data: {number}\n\n");
            said = said.and_then(|()| stream.write_all(event.as_bytes()));
            // The next event is not there before this one was read.
            if said.is_err() || was_read.recv().is_err() {
                return;
            }
        }
    });
    let scene = Scene::new();
    let sidecar = scene.open(app.address).start();
    let mut client = sidecar.connect(None);
    let request = format!("GET /events HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n");
    client.send(request).unwrap();
    for number in 0..3 {
        client.receive_until(&format!("data: {number}\n\n")).unwrap();
        read.send(()).unwrap();
    }
    assert!(String::from_utf8_lossy(&client.receive_all()).contains("0\r\n\r\n"));
}
