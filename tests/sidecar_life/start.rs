//! How it starts, or says why not.

use std::net::TcpListener;

use lasthop_tests::curl::Curl;
use lasthop_tests::pki::{SecretData, Validity};
use lasthop_tests::process::{Program, built};
use lasthop_tests::raw::nobody;
use lasthop_tests::secret_dir::SecretDir;
use lasthop_tests::sidecar::{HOST, Sidecar};
use lasthop_tests::skip;

use super::scene::{Scene, with};

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
    for (delay, timeout, is_told) in [("2", "2", true), ("3", "2", true), ("0", "0", false)] {
        let setup = Sidecar::with_delay(scene.app.address(), delay).serving(&scene.server());
        let finished = setup.option("--drain-timeout", timeout).flag("--check-config").run();
        assert_eq!(finished.code(), 0, "{finished}");
        assert_eq!(finished.stdout.contains("leaves nothing"), is_told, "{finished}");
    }
    let expired = scene.pki.authority("server-ca").leaf().dns(HOST).expired().issue();
    let finished = scene.setup().serving(&expired).flag("--check-config").run();
    assert!(finished.stdout.contains("[LH123]"), "{finished}");
    let broken = with(scene.server().secret(), "tls.key", "nothing");
    let finished = scene.setup().serving_data(&broken).flag("--check-config").run();
    assert_eq!(finished.code(), 66, "{finished}");
    assert!(finished.stdout.contains("error[LH107]"), "{finished}");
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
    let port = nobody().port();
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
    let answer = Curl::get(&format!("https://{HOST}/status/200"))
        .at(address)
        .trust(server.files().root)
        .run();
    answer.expect(200);
}

/// `OpenShift` chooses a user for each namespace and the group 0; whoever that is reads the Secrets as
/// kubelet mounts them, and has no home, no name and no rights.
#[test]
fn a_user_that_the_platform_chooses_serves_as_well() {
    if skip::lacks_root() || skip::lacks(&["curl", "setpriv"]) {
        return;
    }
    let scene = Scene::new();
    let home = tempfile::TempDir::with_prefix("lasthop-user-").unwrap();
    let server = scene.server();
    let _dir = SecretDir::at(home.path().join("web-tls"), &server.secret());
    // Where the programs lie may be closed to other users.
    let program = home.path().join("lasthop-sidecar");
    std::fs::copy(built("lasthop-sidecar"), &program).unwrap();
    let chmod = ["-R", "u=rwX,go=rX"];
    Program::at("chmod").args(chmod).arg(home.path()).run().expect_success();
    let mut process = Program::at("setpriv")
        .args(["--reuid=1000650000", "--regid=0", "--clear-groups", "--no-new-privs"])
        .args(["--bounding-set=-all", "--inh-caps=-all"])
        .arg(&program)
        .args(["--listen", "127.0.0.1:0", "--status-listen", "127.0.0.1:0"])
        .args(["--forward", &scene.app.address().to_string(), "--confinement", "required"])
        .arg("--tls-secret")
        .arg(home.path().join("web-tls"))
        .start();
    let listening = process.wait_for_log(|line| line["mode"] == "terminate");
    let address = listening["address"].as_str().unwrap().parse().unwrap();
    let answer = Curl::get(&format!("https://{HOST}/status/200"))
        .at(address)
        .trust(server.files().root)
        .run();
    answer.expect(200);
    let status = format!("/proc/{}/status", process.pid());
    let status = std::fs::read_to_string(status).unwrap();
    assert!(status.contains("\nUid:\t1000650000\t1000650000"), "{status}");
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
