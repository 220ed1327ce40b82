//! An application of HTTP/2 that does not want a request now.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::{Arc, Mutex};

use lasthop_tests::frames::{
    END_HEADERS, END_STREAM, GOAWAY, HEADERS, RST_STREAM, SETTINGS, frame,
};
use lasthop_tests::raw::RawApp;
use lasthop_tests::sidecar::HOST;
use lasthop_tests::skip;

use super::scene::Scene;

/// What happens to a request.
#[derive(Clone, Copy, Debug)]
enum Fate {
    /// The stream is reset with this reason (RFC 9113, 7).
    Reset(u8),
    /// GOAWAY with this as the last stream.
    GoAway(u32),
    /// The connection ends.
    Close,
    /// 200.
    Answer,
}

/// Lets each request meet its fate, over all connections; what there was of them comes back.
fn app(fates: &[Fate]) -> (RawApp, Arc<Mutex<usize>>) {
    let seen = Arc::new(Mutex::new(0));
    let (count, fates) = (Arc::clone(&seen), fates.to_vec());
    let app = RawApp::start(move |stream| {
        // Broken off is over.
        let _broken = speak(stream, &count, &fates);
    });
    (app, seen)
}

fn speak(mut stream: TcpStream, seen: &Mutex<usize>, fates: &[Fate]) -> std::io::Result<()> {
    let mut preface = [0; 24];
    stream.read_exact(&mut preface)?;
    stream.write_all(&[frame(SETTINGS, 0, 0, &[]), frame(SETTINGS, 1, 0, &[])].concat())?;
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head)?;
        let [a, b, c, kind, _, id @ ..] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        stream.read_exact(&mut payload)?;
        if kind != HEADERS {
            continue;
        }
        let id = u32::from_be_bytes(id);
        let fate = {
            let mut seen = seen.lock().unwrap();
            *seen += 1;
            fates.get(*seen - 1).copied().unwrap_or(Fate::Answer)
        };
        match fate {
            Fate::Reset(reason) => {
                stream.write_all(&frame(RST_STREAM, 0, id, &[0, 0, 0, reason]))?;
            }
            Fate::GoAway(last) => {
                let said = [last.to_be_bytes(), [0; 4]].concat();
                stream.write_all(&frame(GOAWAY, 0, 0, &said))?;
            }
            Fate::Close => return Ok(()),
            // `:status: 200` of the static table (RFC 7541, A).
            Fate::Answer => {
                stream.write_all(&frame(HEADERS, END_HEADERS | END_STREAM, id, &[0x88]))?;
            }
        }
    }
}

#[test]
fn what_an_application_of_http2_did_not_do_is_asked_once_more() {
    /// What the numbers of RFC 9113, 7 mean.
    const REFUSED: Fate = Fate::Reset(7);
    const CANCEL: Fate = Fate::Reset(8);
    if skip::lacks(&["curl"]) {
        return;
    }
    let scene = Scene::new();
    for (method, fates, status, asked) in [
        ("GET", &[REFUSED][..], 200, 2),
        ("POST", &[REFUSED], 200, 2),
        ("POST", &[Fate::GoAway(0)], 200, 2),
        ("GET", &[Fate::Close], 200, 2),
        // It may have been done.
        ("POST", &[Fate::Close], 502, 1),
        ("GET", &[CANCEL], 502, 1),
        // Once more, and not for ever.
        ("GET", &[REFUSED, REFUSED], 502, 2),
        ("GET", &[Fate::Close, Fate::Close], 502, 2),
    ] {
        let (app, seen) = app(fates);
        let sidecar = scene.open(app.address).option("--protocol", "h2c").start();
        let answer = sidecar.get("/").method(method).run();
        assert_eq!(answer.status, status, "{method} {fates:?} for {HOST}: {answer:?}");
        assert_eq!(*seen.lock().unwrap(), asked, "{method} {fates:?}");
    }
}
