//! Under systemd: sockets handed over, and word of beginning and end.

use std::net::TcpListener;
use std::os::unix::net::UnixDatagram;
use std::process::{Command, Stdio};
use std::time::Duration;

use lasthop_tests::app::App;
use lasthop_tests::curl::Curl;
use lasthop_tests::pki::Pki;
use lasthop_tests::process::{Program, built};
use lasthop_tests::secret_dir::SecretDir;
use lasthop_tests::sidecar::HOST;
use lasthop_tests::skip;

fn free() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

struct Scene {
    app: App,
    pki: Pki,
    secret: SecretDir,
}

impl Scene {
    fn new() -> Self {
        let pki = Pki::new();
        let server = pki.server();
        Self { app: App::start(), secret: SecretDir::new(&server.secret()), pki }
    }

    /// systemd's own program opens the sockets, and starts the sidecar at the first connection.
    fn activated(&self, sockets: &[&str], listen: &str) -> Program {
        let mut program = Program::at("systemd-socket-activate");
        for socket in sockets {
            program = program.args(["-l", socket]);
        }
        program
            .arg(built("lasthop-sidecar"))
            .args(["--listen", listen, "--status-listen", "127.0.0.1:0", "--drain-delay", "0"])
            .args(["--forward", &self.app.address().to_string(), "--tls-secret"])
            .arg(self.secret.path())
    }
}

#[test]
fn a_socket_that_systemd_opened_is_served() {
    if skip::lacks(&["systemd-socket-activate", "curl"]) {
        return;
    }
    let scene = Scene::new();
    let address = free();
    let mut systemd = scene.activated(&[&address], &address).start();
    systemd.wait_for_line(|line| line.contains("Listening on"));
    // It waits in the socket for a sidecar that is only started by it.
    Curl::get(&format!("https://{HOST}/status/200"))
        .at(address.parse().unwrap())
        .trust(scene.pki.authority("server-ca").root_file())
        .run()
        .expect(200);
    systemd.wait_for_log(|line| line["message"] == "ready");
}

#[test]
fn a_socket_that_no_listener_takes_is_an_error() {
    if skip::lacks(&["systemd-socket-activate"]) {
        return;
    }
    let scene = Scene::new();
    let (ours, other) = (free(), free());
    let mut systemd = scene.activated(&[&ours, &other], &ours).start();
    systemd.wait_for_line(|line| line.contains("Listening on") && line.contains(&other));
    let _wakes = std::net::TcpStream::connect(&ours).unwrap();
    let said = systemd.wait_for_log(|line| line["level"] == "error");
    assert_eq!(said["address"], other, "{said}");
    assert_eq!(systemd.finish().code(), 69);
}

#[test]
fn the_manager_is_told_of_beginning_and_end() {
    let scene = Scene::new();
    let home = tempfile::TempDir::with_prefix("lasthop-notify-").unwrap();
    let path = home.path().join("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    manager.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let hear = || {
        let mut text = [0; 256];
        let length = manager.recv(&mut text).unwrap();
        String::from_utf8_lossy(&text[..length]).into_owned()
    };
    let sidecar = Program::ours("lasthop-sidecar")
        .env("NOTIFY_SOCKET", &path)
        .args(["--listen", "127.0.0.1:0", "--status-listen", "127.0.0.1:0", "--drain-delay", "0"])
        .args(["--forward", &scene.app.address().to_string(), "--tls-secret"])
        .arg(scene.secret.path())
        .start();
    assert!(hear().starts_with("READY=1\n"));
    sidecar.terminate();
    assert!(hear().starts_with("STOPPING=1\n"));
    assert_eq!(sidecar.finish().code(), 0);
}

#[test]
fn a_manager_that_cannot_be_reached_is_an_error() {
    let scene = Scene::new();
    let ran = Command::new(built("lasthop-sidecar"))
        .env("NOTIFY_SOCKET", "/nowhere/notify")
        .args(["--listen", "127.0.0.1:0", "--status-listen", "127.0.0.1:0"])
        .args(["--forward", &scene.app.address().to_string(), "--tls-secret"])
        .arg(scene.secret.path())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert_eq!(ran.status.code(), Some(69));
    assert!(String::from_utf8_lossy(&ran.stderr).contains("systemd"), "{ran:?}");
}
