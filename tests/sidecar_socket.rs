//! An application on a Unix socket.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::thread;

use lasthop_tests::app::App;
use lasthop_tests::document::{self, terminate};
use lasthop_tests::pki::Pki;
use lasthop_tests::process::Program;
use lasthop_tests::sidecar::Sidecar;
use lasthop_tests::skip;
use serde_json::json;

struct Scene {
    pki: Pki,
    socket: PathBuf,
}

impl Scene {
    fn new() -> Self {
        let pki = Pki::new();
        let socket = pki.directory().join("app.sock");
        Self { pki, socket }
    }

    fn sidecar(&self, protocol: &str) -> Sidecar {
        let server = self.pki.server();
        let forward = format!("unix:{}", self.socket.display());
        let listener = terminate(forward, json!({ "protocol": protocol }));
        document::described(&json!({ "listeners": [listener] })).serving(&server).start()
    }
}

#[test]
fn http_reaches_an_application_on_a_socket() {
    if skip::lacks(&["curl"]) {
        return;
    }
    let scene = Scene::new();
    let _app = App::start_on(&scene.socket);
    for (protocol, version) in [("http", "HTTP/1.1"), ("h2c", "HTTP/2.0")] {
        let sidecar = scene.sidecar(protocol);
        let answer = sidecar.get("/anything").body("hello").run().expect(200).json();
        assert_eq!(answer["version"], version);
        assert_eq!(answer["body"]["length"], 5);
        assert_eq!(sidecar.get("/bytes/1000000").run().expect(200).body.len(), 1_000_000);
        assert_eq!(sidecar.detail()["plaintextDoor"], json!([]));
    }
}

#[test]
fn bytes_reach_an_application_on_a_socket_and_one_half_may_end_first() {
    let scene = Scene::new();
    let listener = UnixListener::bind(&scene.socket).unwrap();
    let sidecar = scene.sidecar("tcp");
    let application = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut asked = String::new();
        stream.read_to_string(&mut asked).unwrap();
        stream.write_all(&vec![7; 3_000_000]).unwrap();
        asked
    });
    let mut client = sidecar.connect(None);
    client.send("all of it").unwrap();
    client.finish_sending().unwrap();
    let answer = client.receive_all();
    assert_eq!(application.join().unwrap(), "all of it");
    assert!(answer.len() == 3_000_000 && answer.iter().all(|it| *it == 7), "{}", answer.len());
}

#[test]
fn a_socket_that_is_not_there_yet_is_an_application_that_does_not_run_yet() {
    if skip::lacks(&["curl"]) {
        return;
    }
    let scene = Scene::new();
    let sidecar = scene.sidecar("http");
    sidecar.ask("/readyz").run().expect(200);
    sidecar.get("/").run().expect(502);
    let refused = &["reason=\"connection_refused\""];
    assert!((sidecar.metric("lasthop_application_failures_total", refused) - 1.0).abs() < 0.5);
    let app = App::start_on(&scene.socket);
    sidecar.get("/status/204").run().expect(204);
    drop(app);
    sidecar.get("/").run().expect(502);
}

#[test]
fn the_flag_says_the_same_and_a_wrong_path_is_told() {
    if skip::lacks(&["curl"]) {
        return;
    }
    let scene = Scene::new();
    let _app = App::start_on(&scene.socket);
    let run = |forward: &str| {
        Program::ours("lasthop-sidecar")
            .args(["--check-config", "--listen", "127.0.0.1:0", "--forward", forward])
            .args(["--tls-secret", "/nonexistent"])
            .run()
    };
    for wrong in ["unix:", "unix:app.sock", "unix:/", "unix:/run/../app.sock"] {
        let finished = run(wrong);
        assert_eq!(finished.code(), 64, "{finished}");
        assert!(finished.stderr.contains("absolute path"), "{finished}");
    }
    let right = format!("unix:{}", scene.socket.display());
    assert_eq!(run(&right).code(), 66, "only the Secret is wrong");
}
