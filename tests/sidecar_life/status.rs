//! The status listener: health and metrics for who asks, and no hold on the sidecar.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use lasthop_tests::document::{self, terminate};
use lasthop_tests::skip;
use serde_json::json;

use super::scene::Scene;

#[test]
fn the_status_listener_answers_get_only_and_tells_no_client() {
    if skip::lacks(&["curl"]) {
        return;
    }
    let scene = Scene::new();
    let clients = scene.pki.authority("clients-ca");
    let sidecar = scene
        .setup()
        .serving(&scene.server())
        .clients(&clients, "dns:secretive-client.example")
        .start();
    let client = clients.leaf().dns("secretive-client.example").issue();
    sidecar.get("/headers").client(&client.files()).run().expect(200);
    for path in ["/livez", "/readyz", "/readyz?verbose", "/metrics"] {
        let text = sidecar.ask(path).run().expect(200).text();
        assert!(!text.contains("secretive"), "{path}: {text}");
        sidecar.ask(path).method("HEAD").run().expect(200);
        sidecar.ask(path).method("POST").run().expect(405);
    }
    sidecar.ask("/").run().expect(404);
    sidecar.ask("/../etc/passwd").flag("--path-as-is").run().expect(404);
    let detail = sidecar.detail();
    assert_eq!(detail["listeners"][0]["address"], sidecar.tls.to_string());
    let metrics = sidecar.ask("/metrics").run().expect(200).text();
    assert!(metrics.contains("lasthop_credential_not_after_timestamp_seconds"), "{metrics}");
    assert!(metrics.ends_with("# EOF\n"), "{metrics}");
}

/// A connection from `from`, which stands for another pod.
fn connect_from(from: [u8; 4], to: SocketAddr) -> std::io::Result<TcpStream> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let stream = runtime.block_on(async {
        let socket = tokio::net::TcpSocket::new_v4()?;
        socket.bind(SocketAddr::from((from, 0)))?;
        socket.connect(to).await
    })?;
    let stream = stream.into_std()?;
    stream.set_nonblocking(false)?;
    Ok(stream)
}

#[test]
fn who_holds_connections_to_the_status_listener_keeps_no_probe_out() {
    if skip::lacks(&["curl"]) {
        return;
    }
    let scene = Scene::new();
    let sidecar = scene.sidecar();
    let mut held = Vec::new();
    for number in 0..300 {
        let mut stream = connect_from([127, 0, 0, 2], sidecar.status).unwrap();
        if number % 2 == 0 {
            // One of them may have been closed before it asks.
            let _closed = stream.write_all(b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n");
        }
        held.push(stream);
        if number % 50 == 49 {
            sidecar.ask("/livez").option("--max-time", "1").run().expect(200);
        }
    }
    for _ in 0..10 {
        sidecar.ask("/readyz").option("--max-time", "1").run().expect(200);
    }
}

#[test]
fn probes_that_wait_for_the_application_keep_no_other_out() {
    if skip::lacks(&["curl"]) {
        return;
    }
    let scene = Scene::new();
    let slow = json!({
        "path": "/probes/web/slow",
        "action": { "httpGet": { "port": scene.app.port(), "path": "/delay/50" } },
        "timeoutSeconds": 55,
    });
    let listeners = json!([terminate(scene.app.port(), json!({}))]);
    let document = json!({ "listeners": listeners, "probes": [slow] });
    let sidecar = document::described(&document).serving(&scene.server()).start();
    let mut held = Vec::new();
    for number in 0..300_u16 {
        let from = [127, 0, 1, u8::try_from(number / 15).unwrap()];
        let mut stream = connect_from(from, sidecar.status).unwrap();
        stream.write_all(b"GET /probes/web/slow HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        held.push(stream);
    }
    for path in ["/livez", "/readyz", "/metrics"] {
        sidecar.ask(path).option("--max-time", "5").run().expect(200);
    }
}

#[test]
fn a_connection_to_the_status_listener_is_one_answer_and_no_long_life() {
    let scene = Scene::new();
    let sidecar = scene.sidecar();
    let read = |bytes: &[u8]| {
        let start = Instant::now();
        let mut stream = TcpStream::connect(sidecar.status).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(15))).unwrap();
        stream.write_all(bytes).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        (text.to_ascii_lowercase(), start.elapsed())
    };
    let (answer, _) = read(b"GET /livez HTTP/1.1\r\nHost: a\r\nConnection: keep-alive\r\n\r\n");
    assert!(answer.starts_with("http/1.1 200") && answer.contains("connection: close"), "{answer}");
    for slow in [&b""[..], b"GET /livez HTTP/1.1\r\nHost: a\r\n"] {
        let (answer, life) = read(slow);
        assert!(!answer.contains("200"), "{answer}");
        assert!(life < Duration::from_secs(8), "{life:?}");
    }
}
