//! Answers that come before the end of the request, and answers that are a head alone.

use std::io::{Read as _, Write as _, copy, sink};

use lasthop_tests::curl::Curl;
use lasthop_tests::raw::{RawApp, nobody, read_head};
use lasthop_tests::sidecar::Sidecar;

use super::scene::Scene;

/// More than all buffers on the way hold.
const UPLOAD: usize = 16 << 20;

/// What the application reads of it.
const TAKEN: u64 = 256 << 10;

fn curl(sidecar: &Sidecar, version: &str) -> Curl {
    sidecar.get("/upload").flag(version)
}

#[test]
fn who_is_still_sending_when_the_answer_comes_gets_it() {
    let app = RawApp::start(|mut stream| {
        read_head(&stream);
        let head = "HTTP/1.1 413 Content Too Large\r\nContent-Length: 7\r\n\r\n";
        let said = stream.write_all(format!("{head}too big").as_bytes());
        // Go reads so much on before it closes; others read nothing.
        let _some = said.and_then(|()| copy(&mut (&stream).take(TAKEN), &mut sink()));
    });
    let scene = Scene::new();
    let sidecar = scene.open(app.address).start();
    for version in ["--http1.1", "--http2"] {
        for framing in ["X-Framing: length", "Transfer-Encoding: chunked"] {
            let upload = curl(&sidecar, version).header("Expect:").header(framing);
            let answer = upload.body_bytes(vec![b'x'; UPLOAD]).run();
            let got = (answer.exit, answer.status, answer.text());
            assert_eq!(
                got,
                (0, 413, "too big".to_owned()),
                "{version} {framing}: {}",
                answer.error
            );
        }
    }
}

#[test]
fn who_sends_to_an_application_that_is_down_is_told_so() {
    let scene = Scene::new();
    let sidecar = scene.open(nobody()).start();
    for version in ["--http1.1", "--http2"] {
        let upload = curl(&sidecar, version).header("Expect:");
        let answer = upload.body_bytes(vec![b'x'; UPLOAD]).run();
        assert_eq!((answer.exit, answer.status), (0, 502), "{version}: {}", answer.error);
    }
}

#[test]
fn head_is_answered_by_a_head_alone_whoever_answers() {
    let scene = Scene::new();
    let sidecar = scene.open(nobody()).start();
    for version in ["--http1.1", "--http2"] {
        let get = curl(&sidecar, version).run().expect(502);
        let head = curl(&sidecar, version).method("HEAD").run().expect(502);
        // curl writes the head down as the answer to HEAD.
        let ends_there = head.text().ends_with("\r\n\r\n");
        assert!(head.exit == 0 && ends_there, "{version}: {head:?}");
        let length = get.body.len().to_string();
        assert_eq!(head.header("content-length"), Some(length.as_str()), "{version}");
    }
}

#[test]
fn who_speaks_http_1_0_alone_is_served() {
    let app = RawApp::start(|mut stream| {
        read_head(&stream);
        let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        let _gone = stream.write_all(format!("{head}4\r\nbody\r\n0\r\n\r\n").as_bytes());
    });
    let scene = Scene::new();
    let sidecar = scene.open(app.address).start();
    let answer = curl(&sidecar, "--http1.0").run().expect(200);
    assert_eq!((answer.version.as_str(), answer.text().as_str()), ("1", "body"));
    assert_eq!(answer.header("transfer-encoding"), None);
}
