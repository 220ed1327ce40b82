//! The sidecar's life: how it starts or says why not, follows its Secrets, and ends.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use lasthop_tests::app::App;
use lasthop_tests::openssl::SClient;
use lasthop_tests::pki::{Issued, Pki, SecretData, Validity};
use lasthop_tests::process::Program;
use lasthop_tests::secret_dir::SecretDir;
use lasthop_tests::sidecar::{HOST, Setup, Sidecar};
use lasthop_tests::skip;

struct Scene {
    pki: Pki,
    app: App,
}

impl Scene {
    fn new() -> Self {
        Self { pki: Pki::new(), app: App::start() }
    }

    fn server(&self) -> Issued {
        self.pki.authority("server-ca").leaf().dns(HOST).issue()
    }

    fn setup(&self) -> Setup {
        Sidecar::before(self.app.address())
    }

    fn sidecar(&self) -> Sidecar {
        self.setup().serving(&self.server()).start()
    }
}

fn with(mut data: SecretData, key: &str, value: &str) -> SecretData {
    data.insert(key.to_owned(), value.as_bytes().to_vec());
    data
}

/// The serial number of the certificate that is served now.
fn served(sidecar: &Sidecar) -> String {
    let output = sidecar.shake().request(HOST, "/status/200").run().output;
    let (_, rest) = output.split_once("-----BEGIN CERTIFICATE-----").expect("one is served");
    let (pem, _) = rest.split_once("-----END CERTIFICATE-----").expect("it ends");
    pem.chars().filter(|it| !it.is_whitespace()).collect()
}

#[test]
fn a_broken_secret_at_start_is_a_clear_end() {
    let scene = Scene::new();
    let good = scene.server().secret();
    let other = scene.server();
    for (data, code) in [
        (with(good.clone(), "tls.key", &other.key_pem()), "LH115"),
        (with(good.clone(), "tls.key", ""), "LH102"),
        (with(good, "tls.crt", "no certificate"), "LH107"),
        (SecretData::new(), "LH101"),
    ] {
        let finished = scene.setup().serving_data(&data).run();
        assert_eq!(finished.code(), 66, "{finished}");
        assert!(finished.stdout.contains(code), "{code}: {finished}");
        assert!(!finished.stdout.contains("\"ready\""), "{finished}");
    }
    let finished = scene.setup().option("--tls-secret", "/nonexistent/secret").run();
    assert_eq!(finished.code(), 66, "{finished}");
    assert!(finished.stdout.contains("there is no such directory"), "{finished}");
}

#[test]
fn what_is_unsafe_does_not_start() {
    let scene = Scene::new();
    let setup = || scene.setup().serving(&scene.server());
    let ca = scene.pki.authority("clients-ca").ca_secret();
    for (setup, expected) in [
        (setup().clients_data(&ca), "allowed clients"),
        (setup().option("--allowed-clients", "*").option("--client-auth", "required"), "no CA"),
        (setup().clients_data(&ca).option("--allowed-clients", "alb.example"), "dns:alb.example"),
        (
            setup()
                .clients_data(&ca)
                .option("--allowed-clients", "*")
                .option("--client-auth", "none"),
            "keep nobody out",
        ),
        (
            Sidecar::before("192.0.2.1:80".parse().unwrap()).serving(&scene.server()),
            "--unsafe-target",
        ),
    ] {
        let finished = setup.run();
        assert_eq!(finished.code(), 64, "{finished}");
        assert!(finished.stderr.contains(expected), "{expected}: {finished}");
    }
}

#[test]
fn wrong_usage_and_help_have_their_exit_codes() {
    let run = |args: &[&str]| Program::ours("lasthop-sidecar").args(args).run();
    assert_eq!(run(&["--nonsense"]).code(), 64);
    assert_eq!(run(&[]).code(), 64);
    let help = run(&["--help"]);
    assert_eq!(help.code(), 0);
    assert!(help.stdout.contains("EXIT STATUS"), "{help}");
    let newer = Program::ours("lasthop-sidecar").env("LASTHOP_CONFIG", r#"{"version":9}"#).run();
    assert_eq!(newer.code(), 64);
    assert!(newer.stderr.contains("version 9"), "{newer}");
}

#[test]
fn an_address_in_use_is_told() {
    let scene = Scene::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let secret = SecretDir::new(&scene.server().secret());
    let finished = Program::ours("lasthop-sidecar")
        .args([
            "--listen",
            &address,
            "--forward",
            "1",
            "--status-listen",
            "127.0.0.1:0",
            "--tls-secret",
        ])
        .arg(secret.path())
        .run();
    assert_eq!(finished.code(), 69, "{finished}");
    assert!(finished.stdout.contains(&address), "{finished}");
}

#[test]
fn check_config_says_what_is_wrong_and_serves_nothing() {
    let scene = Scene::new();
    let good = scene.setup().serving(&scene.server()).option("--drain-timeout", "1");
    let finished = good.flag("--check-config").run();
    assert_eq!(finished.code(), 0, "{finished}");
    assert!(finished.stdout.starts_with("good"), "{finished}");
    let expired = scene.pki.authority("server-ca").leaf().dns(HOST).expired().issue();
    let finished = scene.setup().serving(&expired).flag("--check-config").run();
    assert!(finished.stdout.contains("[LH123]"), "{finished}");
    let broken = with(scene.server().secret(), "tls.key", "nothing");
    let finished = scene.setup().serving_data(&broken).flag("--check-config").run();
    assert_eq!(finished.code(), 66, "{finished}");
    assert!(finished.stdout.contains("error[LH107]"), "{finished}");
}

#[test]
fn a_broken_update_keeps_the_last_good_certificate_serving_and_says_so() {
    if skip::lacks(&["curl", "openssl"]) {
        return;
    }
    let scene = Scene::new();
    let first = scene.server();
    let mut sidecar = scene.setup().serving(&first).start();
    let before = served(&sidecar);
    let second = scene.server();
    sidecar.certificates[0].rotate(&with(second.secret(), "tls.key", &first.key_pem()));
    sidecar.expect_log("a changed Secret is broken, the last good state goes on serving");
    let line = sidecar.process.wait_for_log(|line| line["code"] == "LH115");
    assert!(line["help"].as_str().is_some_and(|help| !help.is_empty()), "{line}");
    assert_eq!(served(&sidecar), before);
    assert!(sidecar.metric("lasthop_credential_reload_failures_total", &[]) > 0.5);
    assert!(sidecar.metric("lasthop_credential_failing", &[]) > 0.5);
    let detail = sidecar.detail();
    assert_eq!(detail["ready"], true);
    assert_eq!(detail["listeners"][0]["failing"], true);
    assert!(detail.to_string().contains("LH115"), "{detail}");
    sidecar.ask("/readyz").run().expect(200);

    sidecar.certificates[0].rotate(&second.secret());
    sidecar.expect_log("a changed Secret was taken into use");
    assert_ne!(served(&sidecar), before);
    assert!(sidecar.metric("lasthop_credential_failing", &[]) < 0.5);
    assert_eq!(sidecar.detail()["listeners"][0]["failing"], false);
}

#[test]
fn an_expired_certificate_does_not_replace_a_good_one() {
    if skip::lacks(&["curl", "openssl"]) {
        return;
    }
    let scene = Scene::new();
    let mut sidecar = scene.sidecar();
    let before = served(&sidecar);
    let expired = scene.pki.authority("server-ca").leaf().dns(HOST).expired().issue();
    sidecar.certificates[0].rotate(&expired.secret());
    sidecar.process.wait_for_log(|line| line["code"] == "LH123");
    assert_eq!(served(&sidecar), before);
}

#[test]
fn one_broken_secret_does_not_hold_back_another() {
    if skip::lacks(&["openssl"]) {
        return;
    }
    let scene = Scene::new();
    let other = scene.pki.authority("server-ca").leaf().dns("other.example").issue();
    let mut sidecar = scene.setup().serving(&scene.server()).serving(&other).start();
    let before = served(&sidecar);
    sidecar.certificates[1].rotate(&with(other.secret(), "tls.crt", "broken"));
    sidecar.expect_log("a changed Secret is broken, the last good state goes on serving");
    sidecar.certificates[0].rotate(&scene.server().secret());
    sidecar.expect_log("a changed Secret was taken into use");
    assert_ne!(served(&sidecar), before);
}

#[test]
fn an_unsafe_update_of_the_authorities_is_not_taken() {
    if skip::lacks(&["curl"]) {
        return;
    }
    let scene = Scene::new();
    let clients = scene.pki.authority("clients-ca");
    let mut sidecar = scene.setup().serving(&scene.server()).clients(&clients, "*").start();
    let public = webpki_root();
    sidecar.authorities.as_ref().unwrap().rotate(&with(SecretData::new(), "ca.crt", &public));
    let line = sidecar
        .process
        .wait_for_log(|line| line["reason"].as_str().is_some_and(|it| it.contains("public CA")));
    assert_eq!(line["level"], "error");
    let client = clients.leaf().dns("anybody.example").client_only().issue();
    sidecar.get("/status/200").client(&client.files()).run().expect(200);
}

/// A CA with the name of a public one, which is all that "public" is judged by here.
fn webpki_root() -> String {
    let pki = Pki::new();
    pki.authority("ISRG Root YR").root_pem()
}

#[derive(Clone, Copy, Eq, PartialEq)]
enum Connections {
    Kept,
    New,
}

fn ask_until(done: &AtomicBool, sidecar: &Sidecar, connections: Connections, answered: &AtomicU32) {
    let mut client = sidecar.connect(None);
    while !done.load(Ordering::Relaxed) {
        if connections == Connections::New {
            client = sidecar.connect(None);
        }
        client.send(format!("GET /status/200 HTTP/1.1\r\nHost: {HOST}\r\n\r\n")).unwrap();
        let head = client.receive_until("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        answered.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn no_request_fails_while_the_certificate_is_rotated() {
    if skip::lacks(&["curl", "openssl"]) {
        return;
    }
    let scene = Scene::new();
    let mut sidecar = scene.sidecar();
    let before = served(&sidecar);
    let done = AtomicBool::new(false);
    let answered = AtomicU32::new(0);
    std::thread::scope(|scope| {
        let (sidecar, done, answered) = (&sidecar, &done, &answered);
        for connections in [Connections::Kept, Connections::New] {
            scope.spawn(move || ask_until(done, sidecar, connections, answered));
        }
        for _ in 0..4 {
            std::thread::sleep(Duration::from_millis(1200));
            sidecar.certificates[0].rotate(&scene.server().secret());
        }
        std::thread::sleep(Duration::from_millis(1500));
        done.store(true, Ordering::Relaxed);
    });
    assert!(answered.load(Ordering::Relaxed) > 100);
    assert_ne!(served(&sidecar), before);
    assert!(sidecar.metric("lasthop_credential_reloads_total", &[]) > 2.5);
    assert!(sidecar.metric("lasthop_requests_total", &["5xx"]) < 0.5);
    sidecar.expect_log("a changed Secret was taken into use");
}

#[test]
fn sighup_makes_it_look_and_not_end() {
    if skip::lacks(&["curl", "openssl"]) {
        return;
    }
    let scene = Scene::new();
    let mut sidecar = scene.sidecar();
    let before = served(&sidecar);
    sidecar.certificates[0].rotate(&scene.server().secret());
    sidecar.process.hang_up();
    sidecar.expect_log("a changed Secret was taken into use");
    assert_ne!(served(&sidecar), before);
    assert!(sidecar.process.is_running());
}

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

#[test]
fn more_connections_than_allowed_are_closed() {
    let scene = Scene::new();
    let mut sidecar =
        scene.setup().serving(&scene.server()).option("--max-connections", "2").start();
    let first = sidecar.connect(None);
    let _second = sidecar.connect(None);
    let root = scene.pki.authority("server-ca").root_pem();
    let third = lasthop_tests::tls::TlsClient::connect(sidecar.tls, HOST, &root, None);
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

#[test]
fn private_keys_are_nowhere_to_be_seen() {
    if skip::lacks(&["curl"]) {
        return;
    }
    let scene = Scene::new();
    let server = scene.server();
    let mut sidecar = scene.setup().serving(&server).option("--log-level", "debug").start();
    sidecar.get("/headers").run().expect(200);
    let next = scene.server();
    sidecar.certificates[0].rotate(&with(next.secret(), "tls.crt", &next.key_pem()));
    sidecar.expect_log("a changed Secret is broken, the last good state goes on serving");
    let mut seen = sidecar.ask("/metrics").run().text() + &sidecar.detail().to_string();
    let limits =
        std::fs::read_to_string(format!("/proc/{}/limits", sidecar.process.pid())).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().nth(4), Some("0"), "{core}");
    seen += &sidecar.finish().to_string();
    for key in [server.key_pem(), next.key_pem()] {
        let body: Vec<&str> = key.lines().filter(|line| !line.starts_with("-----")).collect();
        for line in body {
            assert!(!seen.contains(line.get(..24).unwrap_or(line)), "a part of a key was told");
        }
    }
}

#[test]
fn the_document_of_the_webhook_is_served_with_secrets_below_its_root() {
    if skip::lacks(&["curl"]) {
        return;
    }
    let scene = Scene::new();
    let home = tempfile::TempDir::with_prefix("lasthop-root-").unwrap();
    let server = scene.server();
    let _dir = SecretDir::at(home.path().join("web-tls"), &server.secret());
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let document = format!(
        r#"{{"version":1,"listeners":[{{"mode":"terminate","listen":"[::]:{port}","forward":{},
            "tlsSecrets":["web-tls"]}}],"statusListen":"[::]:0"}}"#,
        scene.app.port()
    );
    let mut process = Program::ours("lasthop-sidecar")
        .env("LASTHOP_CONFIG", &document)
        .arg("--secrets-root")
        .arg(home.path())
        .args(["--bind", "127.0.0.1"])
        .start();
    let address = process.address(&port.to_string());
    assert_eq!(address.to_string(), format!("127.0.0.1:{port}"));
    assert!(process.address("status").ip().is_loopback());
    let answer = lasthop_tests::curl::Curl::get(&format!("https://{HOST}/status/200"))
        .at(address)
        .trust(server.files().root)
        .run();
    answer.expect(200);
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

#[test]
fn a_ticket_of_one_listener_is_nothing_to_another() {
    if skip::lacks(&["openssl"]) {
        return;
    }
    let scene = Scene::new();
    let home = tempfile::TempDir::with_prefix("lasthop-root-").unwrap();
    let server = scene.server();
    let _dir = SecretDir::at(home.path().join("web-tls"), &server.secret());
    let app = scene.app.port();
    let listener = |port: u16| {
        format!(
            r#"{{"mode":"terminate","listen":"127.0.0.1:{port}","forward":{app},"tlsSecrets":["web-tls"]}}"#
        )
    };
    let free = || TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (first, second) = (free(), free());
    let document = format!(
        r#"{{"version":1,"listeners":[{},{}],"statusListen":"127.0.0.1:0"}}"#,
        listener(first.port()),
        listener(second.port())
    );
    let mut process = Program::ours("lasthop-sidecar")
        .env("LASTHOP_CONFIG", &document)
        .arg("--secrets-root")
        .arg(home.path())
        .start();
    process.wait_for_log(|line| line["message"] == "ready");
    let session = scene.pki.directory().join("session").display().to_string();
    let shake = |address, option| {
        SClient::to(address)
            .sni(HOST)
            .option(option, Some(&session))
            .request(HOST, "/status/200")
            .run()
    };
    assert!(!shake(first, "-sess_out").is_resumed());
    assert!(shake(first, "-sess_in").is_resumed());
    let other = shake(second, "-sess_in");
    assert!(!other.is_resumed() && other.output.contains("HTTP/1.1 200"), "{other:?}");
}

#[test]
fn a_certificate_that_expires_soon_is_told_and_served() {
    if skip::lacks(&["curl"]) {
        return;
    }
    let scene = Scene::new();
    let leaf = scene.pki.authority("server-ca").leaf().dns(HOST).valid(Validity::days(-80, 3));
    let mut sidecar = scene.setup().serving(&leaf.issue()).start();
    let line = sidecar.process.wait_for_log(|line| line["code"] == "LH125");
    assert_eq!(line["level"], "warn");
    sidecar.get("/status/200").run().expect(200);
}
