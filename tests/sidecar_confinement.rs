//! What a sidecar gives up before it serves, as the kernel tells it.

use std::fs;

use lasthop_tests::app::App;
use lasthop_tests::pki::Pki;
use lasthop_tests::process::Program;
use lasthop_tests::sidecar::Sidecar;

fn status_of(pid: u32, field: &str) -> String {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap();
    line.trim_start_matches(':').trim().to_owned()
}

#[test]
fn a_sidecar_confines_itself_and_serves() {
    let app = App::start();
    let pki = Pki::new();
    let server = pki.server();
    let mut sidecar = Sidecar::before(app.address()).serving(&server).start();
    sidecar.get("/status/200").run().expect(200);
    let said = sidecar.process.wait_for_log(|line| line["message"] == "confined");
    assert_eq!(said["seccomp"], "full", "{said}");
    let pid = sidecar.process.pid();
    assert_eq!(status_of(pid, "Seccomp"), "2", "a filter");
    assert_eq!(status_of(pid, "NoNewPrivs"), "1");
}

#[test]
fn confinement_can_be_left_out_in_writing() {
    let app = App::start();
    let pki = Pki::new();
    let server = pki.server();
    let setup = Sidecar::before(app.address()).serving(&server).option("--confinement", "off");
    let sidecar = setup.start();
    sidecar.get("/status/200").run().expect(200);
    let before = status_of(std::process::id(), "Seccomp_filters");
    assert_eq!(status_of(sidecar.process.pid(), "Seccomp_filters"), before);
}

#[test]
fn an_unknown_confinement_is_refused_with_the_known_ones() {
    let refused = Program::ours("lasthop-sidecar").args(["--confinement", "some"]).run();
    assert_eq!(refused.code(), 64, "{refused}");
    assert!(refused.stderr.contains("best-effort, required, off"), "{refused}");
}
