//! How it starts, follows its Secrets and the next tier, and ends.

use std::io::Write as _;
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use lasthop_tests::at_end::SetAtEnd;
use lasthop_tests::curl::Curl;
use lasthop_tests::frames::{self, END_HEADERS, HEADERS};
use lasthop_tests::outward::{Outward, OutwardSetup};
use lasthop_tests::pki::Issued;
use lasthop_tests::process::{Program, wait_until};
use lasthop_tests::raw::nobody;
use lasthop_tests::secret_dir::SecretDir;
use lasthop_tests::skip;
use serde_json::Value;

use super::scene::{Scene, TIER};

#[test]
fn a_rotation_loses_no_request_and_old_connections_are_not_used_again() {
    if skip::lacks(&["curl"]) {
        return;
    }
    let scene = Scene::new();
    let mut tier = scene.mutual_tier();
    let first = scene.web();
    let outward = scene.outward("https", tier.tls).presenting(&first).start();
    let (stop, asked) = (AtomicBool::new(false), AtomicU32::new(0));
    let renewed = scene.web();
    let ask = |curl: fn(Curl) -> Curl| {
        while !stop.load(Ordering::Relaxed) {
            let answer = curl(outward.get(TIER, "/bytes/20000")).run().expect(200);
            assert_eq!(answer.body.len(), 20_000);
            asked.fetch_add(1, Ordering::Relaxed);
        }
    };
    std::thread::scope(|threads| {
        let _end = SetAtEnd(&stop);
        let ask = &ask;
        threads.spawn(move || ask(|curl| curl));
        threads.spawn(move || ask(Curl::h2c));
        wait_until("requests go", || asked.load(Ordering::Relaxed) > 4);
        outward.client.as_ref().unwrap().rotate(&renewed.secret());
        let taken = || outward.metric("lasthop_credential_reloads_total", &[]) >= 1.0;
        wait_until("the renewed certificate is taken", taken);
        let now = asked.load(Ordering::Relaxed);
        wait_until("requests go on", || asked.load(Ordering::Relaxed) > now + 4);
    });
    let uses = |of: &Issued| {
        let digest = of.fingerprint();
        move |entry: &Value| entry["message"] == "request" && entry["client_sha256"] == digest
    };
    tier.process.wait_for_log(uses(&first));
    tier.process.wait_for_log(uses(&renewed));
    let log = tier.process.log();
    let last = log.iter().rev().find(|entry| entry["message"] == "request").unwrap();
    assert_eq!(last["client_sha256"], renewed.fingerprint());
}

#[test]
fn a_broken_secret_keeps_the_last_good_and_a_changed_ca_is_believed_at_once() {
    if skip::lacks(&["curl"]) {
        return;
    }
    let scene = Scene::new();
    let tier = scene.mutual_tier();
    let mut outward = scene.outward("https", tier.tls).presenting(&scene.web()).start();
    outward.get(TIER, "/headers").run().expect(200);
    let broken = [("tls.crt".to_owned(), b"nonsense".to_vec())].into();
    outward.client.as_ref().unwrap().rotate(&broken);
    outward.expect_log("a changed Secret is broken, the last good state goes on serving");
    outward.get(TIER, "/headers").run().expect(200);
    assert_eq!(outward.detail()["listeners"][0]["failing"], true);
    assert!((outward.metric("lasthop_credential_failing", &[]) - 1.0).abs() < 0.5);
    // The pool holds a good connection; it must not outlive the trust that it was made with.
    let other = scene.pki.authority("other-ca");
    outward.authorities.as_ref().unwrap().rotate(&other.ca_secret());
    outward.expect_log("a changed Secret was taken into use");
    outward.get(TIER, "/headers").run().expect(502);
    outward.expect_failure("LH541");
    outward.authorities.as_ref().unwrap().rotate(&scene.servers.ca_secret());
    let back = || outward.get(TIER, "/headers").run().status == 200;
    wait_until("the first CA is believed again", back);
}

#[test]
fn a_next_tier_that_is_started_again_loses_no_request_that_can_be_repeated() {
    if skip::lacks(&["curl"]) {
        return;
    }
    let scene = Scene::new();
    let tier = scene.mutual_tier();
    let address = tier.tls;
    let outward = scene.outward("https", address).presenting(&scene.web()).start();
    outward.get(TIER, "/headers").run().expect(200);
    drop(tier);
    let server = SecretDir::new(&scene.server().secret());
    let clients = SecretDir::new(&scene.clients.ca_secret());
    let mut again = Program::ours("lasthop-sidecar")
        .args(["--listen", &address.to_string(), "--status-listen", "127.0.0.1:0"])
        .args(["--forward", &scene.app.address().to_string(), "--drain-delay", "0"])
        .args(["--allowed-clients", "dns:web.example"])
        .arg("--tls-secret")
        .arg(server.path())
        .arg("--client-ca-secret")
        .arg(clients.path())
        .start();
    again.wait_for_log(|entry| entry["message"] == "ready");
    // The pool may still hold the connection of the one that was killed.
    outward.get(TIER, "/headers").run().expect(200);
    outward.get(TIER, "/headers").h2c().run().expect(200);
}

#[test]
fn what_is_under_way_is_finished_at_the_end() {
    if skip::lacks(&["curl"]) {
        return;
    }
    let scene = Scene::new();
    let tier = scene.mutual_tier();
    let mut outward = scene.outward("https", tier.tls).presenting(&scene.web()).start();
    let curl = outward.get(TIER, "/delay/2");
    let asking = std::thread::spawn(|| curl.run());
    let is_open = |outward: &Outward| outward.metric("lasthop_connections_open", &[]) > 0.5;
    wait_until("the request is on its way", || is_open(&outward));
    outward.process.terminate();
    outward.expect_log("draining");
    asking.join().unwrap().expect(200);
    assert_eq!(outward.process.finish().code(), 0);
}

#[test]
fn it_listens_on_loopback_whatever_is_asked_of_it() {
    let scene = Scene::new();
    let open = Outward::to("https://db.example:443").option("--bind", "0.0.0.0");
    let open = open.trusting(&scene.servers).start();
    assert!(open.listen.ip().is_loopback(), "{}", open.listen);
    drop(open);
    let wide = Program::ours("lasthop-sidecar")
        .args(["--listen", "0.0.0.0:9001", "--upstream", "https://db.example:443"])
        .run();
    assert_eq!(wide.code(), 64, "{wide}");
    assert!(wide.stderr.contains("loopback only; write `127.0.0.1:9001`"), "{wide}");
}

#[test]
fn connections_to_the_next_tier_are_bounded() {
    if skip::lacks(&["curl"]) {
        return;
    }
    let scene = Scene::new();
    let tier = scene.tier(&scene.server()).start();
    let mut outward = scene.outward("https", tier.tls).option("--max-connections", "2").start();
    // One of an earlier request lies idle, and makes room.
    outward.get(TIER, "/headers").http1().run().expect(200);
    let mut stream = TcpStream::connect(outward.listen).unwrap();
    let asked = frames::connect("websocket", TIER, "/ws");
    let ask = |stream| frames::frame(HEADERS, END_HEADERS, stream, &asked);
    stream.write_all(&[frames::preface(), ask(1), ask(3), ask(5)].concat()).unwrap();
    let line = outward.expect_failure("LH567");
    assert_eq!(line["reason"], "too_many_connections", "{line}");
    let answered =
        |status: u16| move |line: &Value| line["path"] == "/ws" && line["status"] == status;
    outward.process.wait_for_log(answered(503));
    drop(stream);
    let ended = |it: &Outward| it.process.log().iter().filter(|it| answered(200)(it)).count();
    wait_until("the others ended", || ended(&outward) == 2);
    outward.get(TIER, "/headers").run().expect(200);
}

#[test]
fn the_configuration_is_checked_without_being_served() {
    let scene = Scene::new();
    let check =
        |setup: OutwardSetup| setup.option("--log-level", "info").flag("--check-config").run();
    let good = check(scene.outward("https", nobody()).presenting(&scene.web()));
    assert_eq!(good.code(), 0, "{good}");
    assert!(good.stdout.contains("good: 1 TLS listener"), "{good}");
    let missing =
        check(Outward::to("https://db.example:443").option("--upstream-ca-secret", "/nonexistent"));
    assert_eq!(missing.code(), 66, "{missing}");
    assert!(missing.stdout.contains("`/nonexistent`: it cannot be read"), "{missing}");
    let empty = check(
        Outward::to("tls://db.example:443")
            .trusting_data(&[("ca.crt".to_owned(), Vec::new())].into()),
    );
    assert_eq!(empty.code(), 66, "{empty}");
    assert!(empty.stdout.contains("LH102"), "{empty}");
    let names = check(Outward::to("https://db.example:443").option("--upstream-server-names", "*"));
    assert_eq!(names.code(), 64, "{names}");
    assert!(names.stderr.contains("any server of the CA"), "{names}");
}
