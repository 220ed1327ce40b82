//! The PROXY protocol: who is believed, who is not, and what the application is told.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread;

use lasthop_tests::app::App;
use lasthop_tests::pki::Pki;
use lasthop_tests::sidecar::{HOST, Setup, Sidecar};
use lasthop_tests::skip;
use lasthop_tests::tls::TlsClient;

struct Scene {
    pki: Pki,
    app: App,
}

impl Scene {
    fn new() -> Self {
        Self { pki: Pki::new(), app: App::start() }
    }

    fn before(&self, application: SocketAddr) -> Setup {
        let server = self.pki.server();
        Sidecar::before(application).serving(&server)
    }

    /// A sidecar that takes PROXY headers from these addresses.
    fn behind(&self, trusted: &str) -> Sidecar {
        self.before(self.app.address())
            .option("--proxy-protocol", "accept")
            .option("--trusted-proxies", trusted)
            .start()
    }
}

/// A header of version 2 for a client at 203.0.113.9:50000.
fn v2() -> Vec<u8> {
    let addresses = [203, 0, 113, 9, 192, 0, 2, 1, 0xc3, 0x50, 0x01, 0xbb];
    [&b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c"[..], &addresses].concat()
}

fn ask(sidecar: &Sidecar, header: &[u8]) -> std::io::Result<String> {
    let request = format!("GET /headers HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n");
    Ok(sidecar.connect_behind(header, None)?.ask(request))
}

#[test]
fn the_address_of_a_trusted_proxy_s_header_is_the_client_s() {
    let scene = Scene::new();
    let mut sidecar = scene.behind("127.0.0.0/8");
    let told = ask(&sidecar, b"PROXY TCP4 203.0.113.7 192.0.2.1 4711 443\r\n").unwrap();
    assert!(told.contains("\"203.0.113.7\""), "{told}");
    let line = sidecar.expect_log("request");
    assert!(line["peer"].as_str().unwrap().starts_with("203.0.113.7:"), "{line}");
    assert!(line["proxy"].as_str().unwrap().starts_with("127.0.0.1:"), "{line}");
    let told = ask(&sidecar, &v2()).unwrap();
    assert!(told.contains("203.0.113.9"), "{told}");
    for own in [&b"PROXY UNKNOWN\r\n"[..], b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0"] {
        let told = ask(&sidecar, own).unwrap();
        assert!(told.contains("\"127.0.0.1\""), "{told}");
    }
}

#[test]
fn what_a_client_writes_is_not_believed_because_its_proxy_is_trusted() {
    let scene = Scene::new();
    let sidecar = scene.behind("127.0.0.0/8");
    let request = format!(
        "GET /headers HTTP/1.1\r\nHost: {HOST}\r\nX-Forwarded-For: 10.6.6.6\r\nConnection: close\r\n\r\n"
    );
    let told = sidecar.connect_behind(&v2(), None).unwrap().ask(request);
    assert!(told.contains("203.0.113.9") && !told.contains("10.6.6.6"), "{told}");
}

#[test]
fn who_is_not_named_by_its_proxy_is_not_believed() {
    let scene = Scene::new();
    let sidecar = scene.behind("127.0.0.0/8");
    let request = format!(
        "GET /headers HTTP/1.1\r\nHost: {HOST}\r\nX-Forwarded-For: 10.6.6.6\r\nConnection: close\r\n\r\n"
    );
    let unnamed = [&b"PROXY UNKNOWN\r\n"[..], b"\r\n\r\n\0\r\nQUIT\n\x21\0\0\0"];
    for header in unnamed {
        let told = sidecar.connect_behind(header, None).unwrap().ask(request.clone());
        assert!(told.contains("\"127.0.0.1\"") && !told.contains("10.6.6.6"), "{told}");
    }
    // A health check of the proxy's own is the proxy's word.
    let local = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";
    let told = sidecar.connect_behind(local, None).unwrap().ask(request);
    assert!(told.contains("10.6.6.6"), "{told}");
}

#[test]
fn a_connection_past_the_proxy_is_refused() {
    if skip::lacks(&["curl"]) {
        return;
    }
    let scene = Scene::new();
    let mut sidecar = scene.behind("192.0.2.0/24");
    assert!(ask(&sidecar, &v2()).is_err());
    assert_eq!(sidecar.get("/").run().status, 0);
    let line = sidecar.expect_refusal("LH530");
    assert_eq!(line["reason"], "untrusted_proxy");
    assert!(line["peer"].as_str().unwrap().starts_with("127.0.0.1:"), "{line}");
    assert!(sidecar.metric("lasthop_application_connections_total", &[]) < 0.5);
}

#[test]
fn who_connects_past_the_proxy_takes_no_place_of_those_who_do_not() {
    let scene = Scene::new();
    let mut sidecar = scene
        .before(scene.app.address())
        .option("--proxy-protocol", "accept")
        .option("--trusted-proxies", "192.0.2.0/24")
        .option("--max-connections", "1")
        .start();
    let strangers = [(); 20].map(|()| {
        let mut stranger = TcpStream::connect(sidecar.tls).unwrap();
        stranger.write_all(&v2()).unwrap();
        stranger
    });
    let refused = "lasthop_refused_connections_total";
    sidecar.wait_until("all are told", |it| it.metric(refused, &["LH530"]) > 19.5);
    assert!(sidecar.metric(refused, &["LH529"]) < 0.5, "none of them asked for the only place");
    drop(strangers);
}

#[test]
fn a_trusted_proxy_without_a_header_is_refused() {
    if skip::lacks(&["curl"]) {
        return;
    }
    let scene = Scene::new();
    let mut sidecar = scene.behind("127.0.0.1");
    assert_eq!(sidecar.get("/").run().status, 0);
    assert_eq!(sidecar.expect_refusal("LH531")["reason"], "no_proxy_header");
    for header in [
        &b"PROXY TCP4 203.0.113.9 192.0.2.1 1\r\n"[..],
        b"PROXY TCP4 203.0.113.9 192.0.2.1 1 2\n",
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff",
        b"\r\n\r\n\0\r\nQUIT\n\x11\x11\0\x0c",
    ] {
        assert!(ask(&sidecar, header).is_err(), "{header:?}");
    }
    // Two headers: the second one is where TLS should be.
    assert!(ask(&sidecar, &[v2(), v2()].concat()).is_err());
    sidecar.expect_refusal("LH521");
    assert!((sidecar.metric("lasthop_refused_connections_total", &["LH531"]) - 5.0).abs() < 0.5);
}

#[test]
fn a_tcp_health_check_is_no_refusal() {
    if skip::lacks(&["curl"]) {
        return;
    }
    let scene = Scene::new();
    for trusted in ["127.0.0.1", "192.0.2.1"] {
        let mut sidecar = scene.behind(trusted);
        let check = TcpStream::connect(sidecar.tls).unwrap();
        check.shutdown(Shutdown::Both).unwrap();
        sidecar.wait_until("taken and closed", |it| {
            it.metric("lasthop_connections_total", &[]) > 0.5
                && it.metric("lasthop_connections_open", &[]) < 0.5
        });
        assert!(sidecar.metric("lasthop_refused_connections_total", &[]) < 0.5);
    }
}

/// Takes one connection and everything that comes on it.
fn everything(listener: TcpListener) -> Vec<u8> {
    let (mut stream, _) = listener.accept().expect("somebody connects");
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).expect("it comes to an end");
    bytes
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|it| it == part)
}

#[test]
fn an_application_is_told_by_version_2_who_the_client_is() {
    let scene = Scene::new();
    let clients = scene.pki.authority("clients-ca");
    let client = clients.leaf().dns("db-client.example").common_name("db-client").issue();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let sidecar = scene
        .before(listener.local_addr().unwrap())
        .clients(&clients, "dns:db-client.example")
        .option("--protocol", "tcp")
        .option("--proxy-protocol", "accept,send")
        .option("--trusted-proxies", "127.0.0.1")
        .start();
    let application = thread::spawn(move || everything(listener));
    let mut connection = sidecar.connect_behind(&v2(), Some(&client.files())).unwrap();
    connection.send("hello").unwrap();
    connection.finish_sending().unwrap();
    let told = application.join().unwrap();
    let addresses = &v2()[16..];
    assert!(told.starts_with(b"\r\n\r\n\0\r\nQUIT\n\x21\x11"), "{told:?}");
    assert_eq!(&told[16..28], addresses);
    let authority = [&[2, 0, u8::try_from(HOST.len()).unwrap()], HOST.as_bytes()].concat();
    let ssl = [7, 0, 0, 0, 0];
    let common_name = [&[0x22, 0, 9][..], b"db-client"].concat();
    for part in [&authority[..], &ssl, b"\x21\0\x07TLSv1.3", &common_name, b"TLS_AES_"] {
        assert!(contains(&told, part), "{part:?} is not in {told:?}");
    }
    assert!(told.ends_with(b"hello"), "{told:?}");
}

#[test]
fn an_application_is_told_on_which_protocol_its_client_agreed() {
    let scene = Scene::new();
    let root = scene.pki.authority("server-ca").root_pem();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut sidecar = scene
        .before(listener.local_addr().unwrap())
        .option("--protocol", "tcp")
        .option("--proxy-protocol", "send")
        .option("--alpn", "h2,mqtt")
        .start();
    let offering = |sidecar: &Sidecar, protocols: &[&str]| {
        TlsClient::connect_offering(protocols, (sidecar.tls, HOST, &root), None)
    };
    let authority = [2, 0, u8::try_from(HOST.len()).unwrap()];
    for (offered, told) in [
        (&["mqtt", "x"][..], &b"\x01\0\x04mqtt"[..]),
        (&["mqtt", "h2"], b"\x01\0\x02h2"),
        (&[], b""),
    ] {
        let mut connection = offering(&sidecar, offered).unwrap();
        connection.finish_sending().unwrap();
        let header = everything(listener.try_clone().unwrap());
        // Behind the signature, the fixed part and two addresses of IPv4.
        assert!(header[28..].starts_with(&[told, &authority].concat()), "{header:?}");
    }
    let line = sidecar.process.wait_for_log(|line| line["alpn"] == "mqtt");
    assert!(line["cipher"].is_string(), "{line}");
    assert!(offering(&sidecar, &["imap"]).is_err());
    sidecar.expect_refusal("LH524");
}

#[test]
fn an_application_is_told_by_version_1_who_connected() {
    let scene = Scene::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let sidecar = scene
        .before(listener.local_addr().unwrap())
        .option("--protocol", "tcp")
        .option("--proxy-protocol", "send-v1")
        .start();
    let application = thread::spawn(move || everything(listener));
    let mut connection = sidecar.connect(None);
    connection.send("hello").unwrap();
    connection.finish_sending().unwrap();
    let told = String::from_utf8(application.join().unwrap()).unwrap();
    let (line, rest) = told.split_once("\r\n").unwrap();
    assert!(line.starts_with("PROXY TCP4 127.0.0.1 127.0.0.1 "), "{line}");
    assert!(line.ends_with(&format!(" {}", sidecar.tls.port())), "{line}");
    assert_eq!(rest, "hello");
}

#[test]
fn accepting_without_address_ranges_does_not_start() {
    let scene = Scene::new();
    let clients = scene.pki.authority("clients-ca");
    let setup = || scene.before(scene.app.address()).option("--proxy-protocol", "accept");
    let by_name =
        setup().clients(&clients, "dns:alb.example").option("--trusted-proxies", "allowed-clients");
    for setup in [setup(), by_name] {
        let finished = setup.run();
        assert_eq!(finished.code(), 64, "{finished}");
        assert!(finished.stderr.contains("the header comes before TLS"), "{finished}");
    }
}
