//! An application that can be reached past the sidecar is no longer told in silence.

use std::net::SocketAddr;

use lasthop_tests::app::App;
use lasthop_tests::pki::Pki;
use lasthop_tests::process::{Program, built};
use lasthop_tests::secret_dir::SecretDir;
use lasthop_tests::sidecar::{Setup, Sidecar};
use lasthop_tests::skip;

fn everywhere() -> App {
    App::start_at(SocketAddr::from(([0, 0, 0, 0], 0)))
}

fn local(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

struct Scene {
    pki: Pki,
}

impl Scene {
    fn before(&self, application: SocketAddr) -> Setup {
        let server = self.pki.server();
        Sidecar::before(application).serving(&server)
    }
}

#[test]
fn a_pod_is_not_ready_while_its_application_answers_everywhere() {
    if skip::lacks(&["curl"]) {
        return;
    }
    let scene = Scene { pki: Pki::new() };
    let app = everywhere();
    let port = app.port();
    let setup = scene.before(local(port)).option("--require-loopback", "true");
    let mut sidecar = setup.start();
    let answer = sidecar.ask("/readyz").run().expect(503).text();
    let reason = format!("port {port} can be reached past the sidecar, at 0.0.0.0:{port}");
    assert!(answer.contains(&reason), "{answer}");
    let detail = sidecar.detail();
    assert_eq!(detail["ready"], false);
    assert!(detail["reason"].as_str().unwrap().contains(&reason), "{detail}");
    assert_eq!(detail["plaintextDoor"][0]["port"], port);
    assert_eq!(detail["plaintextDoor"][0]["state"], "open");
    assert!(
        (sidecar.metric("lasthop_plaintext_door", &[&format!("\"{port}\"")]) - 1.0).abs() < 0.5
    );
    assert!(sidecar.metric("lasthop_ready", &[]) < 0.5);
    // Whoever comes all the same is served.
    sidecar.get("/status/204").run().expect(204);
    sidecar.expect_log("the application can be reached past the sidecar");
    drop(app);
    let _mended = App::start_at(local(port));
    sidecar.wait_until("ready", |it| it.ask("/readyz").run().status == 200);
    sidecar.wait_until("seen", |it| it.detail()["plaintextDoor"][0]["state"] == "closed");
    sidecar.expect_log("the application can be reached past the sidecar no more");
    assert!(sidecar.metric("lasthop_plaintext_door", &[]) < 0.5);
    let told = |entry: &serde_json::Value| {
        entry["message"] == "the application can be reached past the sidecar"
    };
    assert_eq!(sidecar.process.log().iter().filter(|it| told(it)).count(), 1);
}

#[test]
fn an_open_door_is_told_where_it_may_be_open() {
    if skip::lacks(&["curl"]) {
        return;
    }
    let scene = Scene { pki: Pki::new() };
    let app = everywhere();
    let mut sidecar = scene.before(local(app.port())).start();
    sidecar.ask("/readyz").run().expect(200);
    assert!((sidecar.metric("lasthop_plaintext_door", &[]) - 1.0).abs() < 0.5);
    let line = sidecar.expect_log("the application can be reached past the sidecar");
    assert_eq!(line["port"], app.port());
}

#[test]
fn with_client_certificates_the_door_must_be_closed_unless_somebody_says_otherwise() {
    if skip::lacks(&["curl"]) {
        return;
    }
    let scene = Scene { pki: Pki::new() };
    let app = everywhere();
    let clients = scene.pki.authority("clients-ca");
    let mutual = || scene.before(local(app.port())).clients(&clients, "dns:alb.example");
    mutual().start().ask("/readyz").run().expect(503);
    mutual().option("--require-loopback", "false").start().ask("/readyz").run().expect(200);
}

#[test]
fn the_door_is_looked_at_as_soon_as_the_application_comes() {
    if skip::lacks(&["curl"]) {
        return;
    }
    let scene = Scene { pki: Pki::new() };
    let address = everywhere().stop();
    let setup = scene.before(local(address.port())).option("--require-loopback", "true");
    let mut sidecar = setup.start();
    sidecar.ask("/readyz").run().expect(200);
    assert_eq!(sidecar.detail()["plaintextDoor"][0]["state"], "absent");
    let _app = App::start_at(address);
    sidecar.wait_until("unready", |it| it.ask("/readyz").run().status == 503);
}

/// In a network namespace with two addresses like a pod's: an application on 127.0.0.1, the sidecar on
/// the same port of one address, and then another application on that port of the other.
const IN_A_POD: &str = r#"
set -eu
ip link set lo up
ip address add 192.0.2.1/32 dev lo
ip address add 192.0.2.2/32 dev lo
ask() { curl --disable --silent --max-time 5 "$@"; }
until_answers() { until ask --output /dev/null "$1"; do sleep 0.1; done; }
sidecar() {
    "$SIDECAR" --listen "$2" --forward 127.0.0.1:8080 --tls-secret "$SECRET" \
        --require-loopback --status-listen "$1" --drain-delay 0 >&2 & running="$running $!"
    until_answers "http://$1/livez"
}
running=
trap 'kill $running' EXIT
"$APP" --listen 127.0.0.1:8080 & running=$!
until_answers http://127.0.0.1:8080/
sidecar 192.0.2.1:15443 192.0.2.1:8080
echo "beside the sidecar: $(ask http://192.0.2.1:15443/readyz)"
"$APP" --listen 192.0.2.2:8080 & running="$running $!"
until_answers http://192.0.2.2:8080/
sidecar 192.0.2.1:15444 192.0.2.1:8443
echo "past the sidecar: $(ask http://192.0.2.1:15444/readyz)"
"#;

#[test]
fn the_sidecar_s_own_listener_is_no_door_and_another_address_of_the_pod_is() {
    if skip::lacks_root() || skip::lacks(&["unshare", "ip", "curl", "timeout"]) {
        return;
    }
    let pki = Pki::new();
    let secret = SecretDir::new(&pki.server().secret());
    let finished = Program::at("timeout")
        .args(["60", "unshare", "--net", "sh", "-c", IN_A_POD])
        .env("APP", built("lasthop-testapp"))
        .env("SIDECAR", built("lasthop-sidecar"))
        .env("SECRET", secret.path())
        .run();
    assert_eq!(finished.code(), 0, "{finished}");
    assert!(finished.stdout.contains("beside the sidecar: ok\n"), "{finished}");
    let (_, told) =
        finished.stdout.split_once("past the sidecar: ").expect("the script came so far");
    assert!(told.starts_with("the application's port 8080 can be reached"), "{told}");
    assert!(told.contains("192.0.2.2:8080"), "{told}");
}
