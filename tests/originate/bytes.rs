//! Bytes of the application, whatever they say.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};

use lasthop_tests::raw::{RawApp, nobody};
use lasthop_tests::sidecar::Sidecar;

use super::scene::{Scene, TIER, numbered};

#[test]
fn bytes_pass_exactly_and_each_side_may_end_before_the_other() {
    const COUNT: usize = 8 * 1024 * 1024;
    let scene = Scene::new();
    // It reads everything to its end, and only then answers.
    let echo = RawApp::start(|mut stream| {
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            stream.read_to_end(&mut bytes).unwrap();
            bytes.reverse();
            stream.write_all(&bytes).unwrap();
        });
    });
    let tier = Sidecar::before(echo.address)
        .serving(&scene.server())
        .clients(&scene.clients, "dns:web.example")
        .option("--protocol", "tcp")
        .start();
    let mut outward = scene.outward("tls", tier.tls).presenting(&scene.web()).start();
    let sent = numbered(COUNT);
    let mut stream = TcpStream::connect(outward.listen).unwrap();
    let mut writer = stream.try_clone().unwrap();
    let bytes = sent.clone();
    let writing = std::thread::spawn(move || {
        writer.write_all(&bytes).unwrap();
        writer.shutdown(Shutdown::Write).unwrap();
    });
    let mut received = Vec::new();
    stream.read_to_end(&mut received).unwrap();
    writing.join().unwrap();
    received.reverse();
    assert!(received == sent, "{} bytes came back", received.len());
    let line = outward.expect_log("connection");
    assert_eq!(
        (line["received"].as_u64(), line["sent"].as_u64()),
        (Some(COUNT as u64), Some(COUNT as u64))
    );
}

#[test]
fn bytes_that_cannot_go_out_or_break_off_are_never_an_end() {
    let scene = Scene::new();
    let mutual = scene.tier(&scene.server()).clients(&scene.clients, "dns:web.example");
    let mutual = mutual.option("--protocol", "tcp").start();
    let other = scene.pki.authority("other-ca").leaf().dns(TIER).issue();
    let stranger = scene.tier(&other).option("--protocol", "tcp").start();
    for (address, code) in [(nobody(), "LH561"), (stranger.tls, "LH541"), (mutual.tls, "LH550")] {
        let mut outward = scene.outward("tls", address).start();
        let mut stream = TcpStream::connect(outward.listen).unwrap();
        let mut bytes = Vec::new();
        let result = stream.read_to_end(&mut bytes);
        assert!(result.is_err() && bytes.is_empty(), "{code}: {result:?} {bytes:?}");
        outward.expect_failure(code);
    }
}
