//! Answers of an application that could mean two things: to a client of HTTP/1.1 and to one of HTTP/2
//! they mean one, or are told as what they are.

use std::io::Write as _;
use std::sync::{Arc, Mutex, PoisonError};

use lasthop_tests::pki::Pki;
use lasthop_tests::raw::{RawApp, read_head};
use lasthop_tests::sidecar::HOST;
use lasthop_tests::skip;

use super::witness::before;
use Answer::{BadGateway, Breaks, Means};

/// What a client gets.
#[derive(Clone, Copy, Debug)]
enum Answer {
    /// This status and this body, to its end.
    Means(u16, &'static str),
    /// 502, and nothing of what the application said.
    BadGateway,
    /// An answer that visibly breaks off.
    Breaks,
}

const CASES: &[(&str, Answer)] = &[
    ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", Means(200, "ok")),
    ("HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok", Means(200, "ok")),
    ("HTTP/1.0 200 OK\r\n\r\nok", Means(200, "ok")), // until the end of the connection
    ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok and more", Means(200, "ok")),
    ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok", Means(200, "ok")),
    (
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;x\r\nok\r\n0\r\n\r\n",
        Means(200, "ok"),
    ),
    // RFC 9112, 6.3: chunked counts, and the length is gone.
    (
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        Means(200, "ok"),
    ),
    (
        "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        Means(200, "ok"),
    ),
    ("HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\nok", Means(204, "")),
    ("HTTP/1.1 304 Not Modified\r\nContent-Length: 2\r\n\r\nok", Means(304, "")),
    (
        "HTTP/1.1 200 OK\r\nConnection: x-hop\r\nX-Hop: 1\r\nKeep-Alive: 5\r\nContent-Length: 2\r\n\r\nok",
        Means(200, "ok"),
    ),
    ("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nok", BadGateway),
    ("HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nok", Means(200, "ok")),
    ("HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\nok", BadGateway),
    ("HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok", BadGateway),
    ("HTTP/1.1 200 OK\r\nContent-Length: 0x2\r\n\r\nok", BadGateway),
    ("HTTP/1.1 200 OK\r\nContent-Length : 2\r\n\r\nok", BadGateway),
    ("HTTP/1.1 200 OK\r\nX: a\r\n folded\r\nContent-Length: 2\r\n\r\nok", BadGateway),
    ("HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 2\r\n\r\nok", BadGateway),
    ("HTTP/1.1 200 OK\r\nX: a\rY: b\r\nContent-Length: 2\r\n\r\nok", BadGateway),
    ("HTTP/1.1 099 No\r\nContent-Length: 2\r\n\r\nok", BadGateway),
    ("HTTP/1.1 2000 OK\r\nContent-Length: 2\r\n\r\nok", BadGateway),
    ("HTTP/2.0 200 OK\r\nContent-Length: 2\r\n\r\nok", BadGateway),
    ("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", BadGateway),
    // Another coding than `chunked` would be taken off the head and stay in the body.
    ("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", BadGateway),
    ("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nok", BadGateway),
    // What HTTP/2 has no place for is taken out of trailers.
    (
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: x-t\r\n\r\n2\r\nok\r\n0\r\n\
         Connection: close\r\nTE: gzip\r\nContent-Length: 9\r\nX-T: 1\r\n\r\n",
        Means(200, "ok"),
    ),
    ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok", Breaks),
    ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n", Breaks),
    ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok0\r\n\r\n", Breaks),
    ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0x2\r\nok\r\n0\r\n\r\n", Breaks),
    (
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFFF\r\nok\r\n0\r\n\r\n",
        Breaks,
    ),
];

#[test]
fn an_answer_means_one_thing_to_clients_of_either_version() {
    if skip::lacks(&["curl"]) {
        return;
    }
    let says = Arc::<Mutex<&'static str>>::default();
    let said = Arc::clone(&says);
    let app = RawApp::start(move |mut stream| {
        read_head(&stream);
        let answer = *said.lock().unwrap_or_else(PoisonError::into_inner);
        let _gone = stream.write_all(answer.as_bytes());
    });
    let pki = Pki::new();
    let sidecar = before(&app, &pki);
    let mut wrong = Vec::new();
    for (answer, expected) in CASES {
        *says.lock().unwrap_or_else(PoisonError::into_inner) = answer;
        for curl in [sidecar.get("/").http1(), sidecar.get("/")] {
            let got = curl.run();
            let is_right = match *expected {
                Means(status, body) => {
                    (got.exit, got.status, got.text()) == (0, status, body.to_owned())
                }
                BadGateway => {
                    got.exit == 0 && got.status == 502 && got.text().contains("application")
                }
                Breaks => got.exit != 0,
            };
            let hops = ["x-hop", "keep-alive", "transfer-encoding"];
            let leaks = hops.iter().any(|name| got.version == "2" && got.header(name).is_some());
            if !is_right || leaks || got.header("x-hop").is_some() {
                wrong.push(format!("{answer:?}: {expected:?} was to come: {got:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What comes before it was asked for is nobody's answer.
#[test]
fn an_answer_too_many_is_nobodys() {
    let app = RawApp::start(|mut stream| {
        loop {
            let head = read_head(&stream);
            let Some(path) = head.split(' ').nth(1) else { return };
            let body = if head.starts_with("HEAD") { "evil" } else { path };
            let length = body.len();
            let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{body}");
            let evil = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil";
            let more = if path.contains("twice") { evil } else { "" };
            if stream.write_all(format!("{answer}{more}").as_bytes()).is_err() {
                return;
            }
        }
    });
    let pki = Pki::new();
    let sidecar = before(&app, &pki);
    let mut client = sidecar.connect(None);
    for (method, path) in [
        ("GET", "/1"),
        ("GET", "/twice"),
        ("GET", "/3"),
        ("HEAD", "/4"),
        ("GET", "/5"),
        ("GET", "/6"),
    ] {
        client.send(format!("{method} {path} HTTP/1.1\r\nHost: {HOST}\r\n\r\n")).unwrap();
        let head = client.receive_until("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200"), "{path}: {head}");
        if method == "GET" {
            assert_eq!(String::from_utf8(client.receive(path.len()).unwrap()).unwrap(), path);
        }
    }
}
