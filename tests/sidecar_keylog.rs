//! TLS secrets on demand: who gets them, who does not, and what is left of it.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use lasthop_tests::outward::Outward;
use lasthop_tests::process::{Program, Running, built};
use lasthop_tests::scene::Scene;
use lasthop_tests::secret_dir::SecretDir;
use lasthop_tests::sidecar::HOST;
use lasthop_tests::skip;

fn keylog(status: SocketAddr) -> Program {
    Program::ours("lasthop-sidecar")
        .args(["keylog", "--for", "1m", "--status-port"])
        .arg(status.port().to_string())
}

fn begun(program: Program) -> Running {
    let mut running = program.start();
    running.wait_for_line(|line| line.starts_with("# lasthop-sidecar"));
    running
}

fn secrets(lines: impl Iterator<Item = impl AsRef<str>>) -> BTreeSet<String> {
    let lines = lines.map(|line| line.as_ref().to_owned());
    lines.filter(|line| !line.starts_with('#')).collect()
}

#[test]
fn the_secrets_are_those_that_the_client_has() {
    if skip::lacks(&["openssl"]) {
        return;
    }
    let scene = Scene::new();
    let mut sidecar = scene.setup().flag("--allow-key-log").start();
    let mut reader = begun(keylog(sidecar.status));
    assert_eq!(sidecar.metric("lasthop_key_log", &[]).to_string(), "1");
    let theirs = scene.pki.directory().join("client-keys");
    let path = theirs.display().to_string();
    for version in ["-tls1_3", "-tls1_2"] {
        let shake = sidecar.shake().option("-keylogfile", Some(&path)).option(version, None);
        let shaken = shake.request(HOST, "/status/200").run();
        assert!(shaken.output.contains("HTTP/1.1 200"), "{shaken:?}");
    }
    let theirs = std::fs::read_to_string(theirs).unwrap();
    let theirs = secrets(theirs.lines());
    assert!(theirs.iter().any(|line| line.starts_with("CLIENT_RANDOM ")), "{theirs:?}");
    assert!(theirs.len() >= 5, "{theirs:?}");
    reader.wait_for_line(|line| line.starts_with("CLIENT_RANDOM "));
    let lines = reader.lines();
    assert_eq!(secrets(lines.iter()), theirs);

    let on = sidecar.expect_log("the TLS key log is on");
    assert_eq!((&on["level"], &on["seconds"]), (&"warn".into(), &60.into()), "{on}");
    reader.terminate();
    drop(reader.finish());
    let off = sidecar.expect_log("the TLS key log is off");
    assert_eq!(off["lines"], theirs.len(), "{off}");
    assert_eq!(sidecar.metric("lasthop_key_log", &[]).to_string(), "0");
    let written = sidecar.finish();
    for line in theirs {
        let secret = line.rsplit(' ').next().unwrap();
        assert!(!written.stdout.contains(secret) && !written.stderr.contains(secret));
    }
}

#[test]
fn without_the_permission_there_is_nobody_to_ask() {
    let scene = Scene::new();
    let sidecar = scene.setup().start();
    let refused = keylog(sidecar.status).run();
    assert_eq!((refused.code(), refused.stdout.as_str()), (69, ""), "{refused}");
    assert!(refused.stderr.contains("lasthop.dev/allow-key-log: true"), "{refused}");
}

#[test]
fn it_ends_in_time_and_one_reads_at_a_time() {
    let scene = Scene::new();
    let mut sidecar = scene.setup().flag("--allow-key-log").start();
    let reader = begun(keylog(sidecar.status));
    let second = keylog(sidecar.status).run();
    assert_eq!(second.code(), 69, "{second}");
    assert!(second.stderr.contains("somebody else reads"), "{second}");
    sidecar.expect_log("the TLS key log was asked for and refused");
    reader.terminate();
    drop(reader.finish());
    sidecar.expect_log("the TLS key log is off");

    let port = sidecar.status.port().to_string();
    let brief = Program::ours("lasthop-sidecar")
        .args(["keylog", "--for", "1s", "--status-port", &port])
        .run()
        .expect_success();
    assert_eq!(secrets(brief.stdout.lines()), BTreeSet::new());
}

#[test]
fn a_time_that_is_none_is_refused() {
    for time in ["0", "0s", "61m", "2h", "a while", "", "-1s"] {
        let refused = Program::ours("lasthop-sidecar").args(["keylog", "--for", time]).run();
        assert_eq!(refused.code(), 64, "{time}: {refused}");
    }
}

#[test]
fn another_user_is_refused() {
    if skip::lacks_root() || skip::lacks(&["setpriv"]) {
        return;
    }
    let scene = Scene::new();
    let mut sidecar = scene.setup().flag("--allow-key-log").start();
    // Where the programs lie may be closed to other users.
    let copy = std::env::temp_dir().join(format!("lasthop-keylog-{}", std::process::id()));
    std::fs::copy(built("lasthop-sidecar"), &copy).unwrap();
    let refused = Program::at("setpriv")
        .args(["--reuid=65531", "--regid=65531", "--clear-groups"])
        .arg(&copy)
        .args(["keylog", "--for", "1m", "--status-port", &sidecar.status.port().to_string()])
        .run();
    std::fs::remove_file(&copy).unwrap();
    assert_eq!(refused.code(), 69, "{refused}");
    // It does not take a sidecar of another user for its own, whatever that would say.
    assert!(refused.stderr.contains("not a sidecar of this user"), "{refused}");

    // And one that would not mind is refused by the sidecar.
    let name = format!("lasthop-sidecar/keylog/{}", sidecar.status.port());
    let script = format!(
        "import os,socket\nos.setuid(65531)\ns=socket.socket(socket.AF_UNIX)\n\
         s.connect(b'\\0'+b'{name}')\ns.sendall(b'60\\n')\nprint(s.recv(200))"
    );
    if skip::lacks(&["python3"]) {
        return;
    }
    let asked = Program::at("python3").args(["-c", &script]).run().expect_success();
    assert!(asked.stdout.contains("by another user"), "{asked}");
    let line = sidecar.expect_log("the TLS key log was asked for and refused");
    assert_eq!(line["reason"], "it was asked for by another user");
}

#[test]
fn another_container_of_the_pod_is_refused() {
    if skip::lacks_root() || skip::lacks(&["unshare"]) {
        return;
    }
    let scene = Scene::new();
    let server = scene.pki.server();
    let secret = SecretDir::new(&server.secret());
    // What containers of a pod share is the network; each has processes of its own.
    let mut sidecar = Program::at("unshare")
        .args(["--pid", "--fork", "--kill-child"])
        .arg(built("lasthop-sidecar"))
        .args(["--listen", "127.0.0.1:0", "--status-listen", "127.0.0.1:0", "--allow-key-log"])
        .args(["--forward", &scene.app.address().to_string(), "--drain-delay", "0"])
        .arg("--tls-secret")
        .arg(secret.path())
        .start();
    let status = sidecar.address("status");
    let refused = keylog(status).run();
    assert_eq!((refused.code(), refused.stdout.as_str()), (69, ""), "{refused}");
    assert!(refused.stderr.contains("from another container"), "{refused}");
}

#[test]
fn the_secrets_of_connections_to_the_next_tier_are_told_too() {
    let scene = Scene::new();
    let ca = scene.pki.authority("server-ca");
    let tier = scene.setup().flag("--allow-key-log").start();
    let outward = Outward::to(&format!("https://{}", tier.tls))
        .trusting(&ca)
        .option("--upstream-sni", HOST)
        .option("--upstream-server-names", format!("dns:{HOST}"))
        .flag("--allow-key-log")
        .start();
    let mut theirs = begun(keylog(tier.status));
    let mut ours = begun(keylog(outward.status));
    outward.get(HOST, "/status/204").run().expect(204);
    let last = |line: &str| line.starts_with("SERVER_TRAFFIC_SECRET_0");
    theirs.wait_for_line(last);
    ours.wait_for_line(last);
    let told = [&theirs, &ours].map(|it| secrets(it.lines().iter()));
    let [theirs, ours] = &told;
    // The next tier also tells of what it keeps for tickets, later.
    assert!(ours.len() >= 4, "{ours:?}");
    assert!(ours.iter().all(|line| !line.contains("PRIVATE")), "{ours:?}");
    assert!(ours.is_subset(theirs) || theirs.is_subset(ours), "{theirs:?} {ours:?}");
    assert!((outward.metric("lasthop_key_log", &[]) - 1.0).abs() < 0.5);
}
