//! A next tier with several addresses.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use lasthop_tests::at_end::SetAtEnd;
use lasthop_tests::curl::Curl;
use lasthop_tests::outward::Outward;
use lasthop_tests::pki::Pki;
use lasthop_tests::process::{Program, wait_until};
use lasthop_tests::sidecar::Sidecar;
use lasthop_tests::skip;

use super::scene::{Scene, TIER, numbered, served, tier_at_port};

/// Runs `test` with a name that leads to 127.0.0.1 and 127.0.0.2, and the file that says so.
fn with_two_addresses(test: impl FnOnce(&std::path::Path)) {
    if skip::lacks(&["curl", "unshare", "mount"]) {
        return;
    }
    let pki = Pki::new();
    let hosts = pki.write("hosts", "127.0.0.1 tier.test\n127.0.0.2 tier.test\n");
    let tried = Program::at("unshare").args(["--mount", "--map-root-user", "true"]).run();
    if !tried.status.success() {
        skip::this_test("this user may not have a mount namespace");
        return;
    }
    test(&hosts);
}

/// A next tier at `address` for `tier.test`.
fn tier_at(scene: &Scene, address: &str) -> Sidecar {
    let server = scene.servers.leaf().dns("tier.test").issue();
    scene.tier(&server).option("--bind", address).start()
}

#[test]
fn one_dead_address_of_two_costs_no_request_and_is_tried_again_when_it_lives() {
    with_two_addresses(|hosts| {
        let scene = Scene::new();
        let alive = tier_at(&scene, "127.0.0.1");
        let port = alive.tls.port();
        let mut outward = Outward::to(&format!("https://tier.test:{port}"))
            .trusting(&scene.servers)
            .start_with_hosts(hosts);
        for _ in 0..10 {
            outward.get(TIER, "/headers").run().expect(200);
        }
        let line = outward.expect_failure("LH561");
        assert_eq!(line["address"], format!("127.0.0.2:{port}"));
        let detail = outward.detail();
        let addresses = detail["listeners"][0]["upstreamAddresses"].as_array().unwrap();
        assert_eq!(addresses.len(), 2, "{detail}");
        // Left out after the first failures: far fewer than requests.
        assert!(outward.metric("lasthop_upstream_failures_total", &[]) <= 4.0);
        let second = tier_at_port(&scene, &format!("127.0.0.2:{port}"));
        wait_until("the second address serves", || {
            outward.get(TIER, "/headers").run().expect(200);
            served(&second.running) > 0
        });
        // And the other way round: the first one goes.
        drop(alive);
        for _ in 0..6 {
            outward.get(TIER, "/headers").run().expect(200);
        }
    });
}

#[test]
fn one_address_of_two_that_takes_its_leave_costs_no_request() {
    with_two_addresses(|hosts| {
        let scene = Scene::new();
        let stays = tier_at(&scene, "127.0.0.1");
        let port = stays.tls.port();
        let leaves = tier_at_port(&scene, &format!("127.0.0.2:{port}"));
        let outward = Outward::to(&format!("https://tier.test:{port}"))
            .trusting(&scene.servers)
            .start_with_hosts(hosts);
        let (stop, asked) = (AtomicBool::new(false), AtomicU32::new(0));
        let ask = |curl: fn(Curl) -> Curl| {
            while !stop.load(Ordering::Relaxed) {
                let body = numbered(10_000);
                let curl = curl(outward.get(TIER, "/anything")).body_bytes(body);
                assert_eq!(curl.run().expect(200).json()["body"]["length"], 10_000);
                asked.fetch_add(1, Ordering::Relaxed);
            }
        };
        std::thread::scope(|threads| {
            let _end = SetAtEnd(&stop);
            let ask = &ask;
            threads.spawn(move || ask(|curl| curl));
            threads.spawn(move || ask(Curl::h2c));
            wait_until("both serve", || served(&stays.process) > 0 && served(&leaves.running) > 0);
            leaves.running.terminate();
            let finished = leaves.running.finish();
            assert_eq!(finished.code(), 0, "{finished}");
            let now = asked.load(Ordering::Relaxed);
            wait_until("requests go on", || asked.load(Ordering::Relaxed) > now + 4);
        });
    });
}

#[test]
fn requests_are_spread_over_the_addresses_and_a_new_answer_of_the_resolver_is_followed() {
    with_two_addresses(|hosts| {
        let scene = Scene::new();
        let first = tier_at(&scene, "127.0.0.1");
        let port = first.tls.port();
        let at = |address: &str| tier_at_port(&scene, &format!("{address}:{port}"));
        let (second, third) = (at("127.0.0.2"), at("127.0.0.3"));
        let outward = Outward::to(&format!("https://tier.test:{port}"))
            .trusting(&scene.servers)
            .start_with_hosts(hosts);
        for _ in 0..10 {
            outward.get(TIER, "/headers").run().expect(200);
        }
        wait_until("every request is logged", || {
            served(&first.process) + served(&second.running) == 10
        });
        assert_eq!(served(&first.process), 5);
        std::fs::write(hosts, "127.0.0.3 tier.test\n").unwrap();
        wait_until("the new address is used", || {
            outward.get(TIER, "/headers").run().expect(200);
            served(&third.running) > 0
        });
    });
}
