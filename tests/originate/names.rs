//! A next tier whose name leads elsewhere from time to time.

use lasthop_tests::names::{self, NameServer};
use lasthop_tests::outward::Outward;
use lasthop_tests::process::wait_until;
use lasthop_tests::skip;

use super::scene::{Scene, TIER, Tier, served, tier_at_port};

/// The port of the next tier, in a network where nobody else has it.
const PORT: u16 = 8443;

/// The addresses that there are in time.
const FIRST: &str = "127.0.0.1";
const SECOND: &str = "127.0.0.2";
const THIRD: &str = "127.0.0.3";

#[test]
fn a_name_is_asked_for_again_and_what_it_led_to_serves_until_it_leads_elsewhere() {
    if skip::lacks(&["curl"]) {
        return;
    }
    names::alone(|| {
        let scene = Scene::new();
        let server = NameServer::start();
        let [first, second, third] =
            [FIRST, SECOND, THIRD].map(|it| tier_at_port(&scene, &format!("{it}:{PORT}")));
        let mut outward =
            Outward::to(&format!("https://tier.test:{PORT}")).trusting(&scene.servers).start();
        // There is no such name yet.
        outward.get(TIER, "/headers").run().expect(503);
        outward.expect_failure("LH560");
        server.answers(&[FIRST, SECOND]);
        they_share(&outward, &first, &second);
        // Nobody waits for a name server that does not answer.
        server.falls_silent();
        let told = || outward.metric("lasthop_upstream_failures_total", &["unresolved"]) > 1.5;
        wait_until("the next question has no answer", || {
            outward.get(TIER, "/headers").run().expect(200);
            told()
        });
        server.answers(&[THIRD]);
        wait_until("the new address is used", || {
            outward.get(TIER, "/headers").run().expect(200);
            served(&third.running) > 0
        });
        let before = served(&first.running) + served(&second.running);
        for _ in 0..4 {
            outward.get(TIER, "/headers").run().expect(200);
        }
        assert_eq!(served(&first.running) + served(&second.running), before);
        // Where all that is known fails, it does not wait until the answer is old.
        server.answers(&[FIRST]);
        drop(third);
        let status = || outward.get(TIER, "/headers").run().status;
        wait_until("the first address is used again", || status() == 200);
    });
}

/// Who has something to do is given less.
fn they_share(outward: &Outward, first: &Tier, second: &Tier) {
    for _ in 0..8 {
        outward.get(TIER, "/headers").run().expect(200);
    }
    let both = || [served(&first.running), served(&second.running)];
    wait_until("every request is logged", || both().iter().sum::<usize>() == 8);
    assert_eq!(both(), [4, 4]);
    let slow = outward.get(TIER, "/delay/3");
    let slow = std::thread::spawn(move || slow.run());
    let active = || {
        let detail = outward.detail();
        let addresses = detail["listeners"][0]["upstreamAddresses"].as_array().cloned();
        addresses.unwrap_or_default().iter().filter(|it| it["active"] == 1).count()
    };
    wait_until("one is busy", || active() == 1);
    for _ in 0..6 {
        outward.get(TIER, "/headers").run().expect(200);
    }
    slow.join().expect("the client does not panic").expect(200);
    wait_until("every request is logged", || both().iter().sum::<usize>() == 15);
    let mut shares = both();
    shares.sort_unstable();
    assert_eq!(shares, [5, 10]);
}
