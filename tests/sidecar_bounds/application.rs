//! Connections to the application.

use lasthop_tests::app::App;
use lasthop_tests::frames::{self, END_HEADERS, HEADERS};
use lasthop_tests::sidecar::HOST;

use super::{Scene, answered, gets, made};

#[test]
fn a_request_waits_for_a_connection_to_the_application_and_not_for_long() {
    let app = App::start();
    let scene = Scene::new();
    for protocol in ["http", "h2c"] {
        let mut sidecar = scene
            .before(app.address())
            .option("--max-connections", "2")
            .option("--protocol", protocol)
            .start();
        let mut client = sidecar.connect_h2();
        client.send([frames::preface(), gets((1..8).step_by(2), "/delay/0.5")].concat()).unwrap();
        sidecar.wait_until("all had their turn", |it| answered(it, 200) == 4);
        assert_eq!(answered(&sidecar, 503), 0);
        assert!(made(&sidecar) < 2.5, "no more than there may be");
        if protocol == "h2c" {
            continue;
        }
        client.send(gets((9..14).step_by(2), "/delay/5")).unwrap();
        let line = sidecar.process.wait_for_log(|line| line["status"] == 503);
        assert!(line["error"].as_str().unwrap().contains("as there may be"), "{line}");
        let failures = "lasthop_application_failures_total";
        assert!(sidecar.metric(failures, &["too_many_connections"]) > 0.5);
        sidecar.wait_until("the others are served", |it| answered(it, 200) == 6);
    }
}

#[test]
fn an_application_of_http2_gets_as_many_connections_as_its_streams_call_for() {
    let app = App::start();
    let scene = Scene::new();
    let mut sidecar = scene.before(app.address()).option("--protocol", "h2c").start();
    let mut client = sidecar.connect_h2();
    client.send([frames::preface(), gets((1..20).step_by(2), "/delay/0.1")].concat()).unwrap();
    sidecar.wait_until("few share one", |it| answered(it, 200) == 10);
    assert!((made(&sidecar) - 1.0).abs() < 0.5);
    client.send(gets((21..421).step_by(2), "/delay/1")).unwrap();
    sidecar.wait_until("many are all answered", |it| answered(it, 200) == 210);
    assert!((made(&sidecar) - 2.0).abs() < 0.5, "{}", made(&sidecar));
    client.send(gets((421..441).step_by(2), "/delay/0.1")).unwrap();
    sidecar.wait_until("few share one again", |it| answered(it, 200) == 220);
    assert!((made(&sidecar) - 2.0).abs() < 0.5, "{}", made(&sidecar));
}

#[test]
fn one_client_of_http2_has_its_share_of_the_application_and_no_more() {
    let app = App::start();
    let scene = Scene::new();
    let mut sidecar =
        scene.before(app.address()).option("--max-connections-per-client", "3").start();
    let mut client = sidecar.connect_h2();
    client.send(frames::preface()).unwrap();
    let asked = frames::connect("websocket", HOST, "/ws");
    for stream in [1, 3, 5] {
        client.send(frames::frame(HEADERS, END_HEADERS, stream, &asked)).unwrap();
    }
    // With the connection itself, the third is the fourth.
    let line = sidecar.process.wait_for_log(|line| line["code"] == "LH532");
    assert_eq!((&line["reason"], &line["path"]), (&"too_many_of_client".into(), &"/ws".into()));
    sidecar.wait_until("the third has none", |it| answered(it, 503) == 1);
    drop(client);
    sidecar.wait_until("the others ended", |it| answered(it, 200) == 2);
    // As many requests as one connection may have, on however many they come.
    let mut clients = [(); 2].map(|()| sidecar.connect_h2());
    let made_before = made(&sidecar);
    for client in &mut clients {
        client.send([frames::preface(), gets((1..251).step_by(2), "/delay/4")].concat()).unwrap();
    }
    sidecar.wait_until("all reached it", |it| made(it) > made_before + 249.5);
    clients[0].send(gets((251..261).step_by(2), "/bytes/1")).unwrap();
    sidecar.wait_until("there are no more", |it| answered(it, 503) == 6);
    let refused = "lasthop_refused_requests_total";
    assert!((sidecar.metric(refused, &["LH532"]) - 6.0).abs() < 0.5);
    sidecar.wait_until("those are answered", |it| answered(it, 200) == 252);
    clients[1].send(gets([251].into_iter(), "/status/202")).unwrap();
    sidecar.wait_until("there is room again", |it| answered(it, 202) == 1);
}

#[test]
fn a_websocket_has_its_connection_to_the_application_until_it_ends() {
    let app = App::start();
    let scene = Scene::new();
    let mut sidecar = scene.before(app.address()).option("--max-connections", "2").start();
    let mut client = sidecar.connect_h2();
    client.send(frames::preface()).unwrap();
    let asked = frames::connect("websocket", HOST, "/ws");
    for stream in [1, 3, 5] {
        client.send(frames::frame(HEADERS, END_HEADERS, stream, &asked)).unwrap();
    }
    sidecar.wait_until("the third has none", |it| answered(it, 503) == 1);
    drop(client);
    sidecar.wait_until("the others ended", |it| answered(it, 200) == 2);
    let mut client = sidecar.connect_h2();
    client.send([frames::preface(), gets((1..5).step_by(2), "/delay/0.5")].concat()).unwrap();
    sidecar.wait_until("there is room again", |it| answered(it, 200) == 4);
}
