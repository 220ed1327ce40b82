//! How a connection of HTTP/2 ends: announced, with every answer that was asked for.

use lasthop_tests::frames::{self, END_HEADERS, END_STREAM, GOAWAY, HEADERS};
use lasthop_tests::sidecar::HOST;

use super::scene::Scene;

#[test]
fn streams_are_finished_behind_a_goaway() {
    let scene = Scene::new();
    let mut sidecar = scene.sidecar();
    let mut client = sidecar.connect_h2();
    let whole = END_HEADERS | END_STREAM;
    let get = |stream, path| frames::frame(HEADERS, whole, stream, &frames::get(HOST, path));
    // The connection is known to be there when the first is answered.
    client.send([frames::preface(), get(1, "/status/204"), get(3, "/delay/1.5")].concat()).unwrap();
    sidecar.process.wait_for_log(|line| line["path"] == "/status/204");
    sidecar.process.terminate();
    sidecar.expect_log("draining");
    let kinds = frames::kinds(&client.receive_all());
    let goaway = kinds.iter().position(|kind| *kind == GOAWAY).expect("it is announced");
    let answer = kinds.iter().rposition(|kind| *kind == HEADERS).expect("it is answered");
    assert!(goaway < answer, "{kinds:?}");
    let finished = sidecar.process.finish();
    assert_eq!(finished.code(), 0, "{finished}");
    let is_whole = |line: &str| line.contains("/delay/1.5") && line.contains("\"status\":200,");
    assert!(finished.stdout.lines().any(is_whole), "{finished}");
}
