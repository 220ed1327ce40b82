//! What nobody can make of the sidecar: more connections to the application than there may be, more
//! memory or work than a connection should cost.

use std::fs;
use std::net::SocketAddr;

use lasthop_tests::frames::{self, END_HEADERS, END_STREAM, HEADERS};
use lasthop_tests::pki::Pki;
use lasthop_tests::sidecar::{HOST, Setup, Sidecar};

mod application;
mod floods;
mod hostile;
mod records;

struct Scene {
    pki: Pki,
}

impl Scene {
    fn new() -> Self {
        Self { pki: Pki::new() }
    }

    fn before(&self, application: SocketAddr) -> Setup {
        let server = self.pki.server();
        Sidecar::before(application).serving(&server)
    }
}

/// Requests on streams of their own, in one piece.
fn gets(streams: impl Iterator<Item = u32>, path: &str) -> Vec<u8> {
    let whole = END_HEADERS | END_STREAM;
    let get = |stream| frames::frame(HEADERS, whole, stream, &frames::get(HOST, path));
    streams.flat_map(get).collect()
}

/// How many lines of the log tell of a request that was answered with this status.
fn answered(sidecar: &Sidecar, status: u16) -> usize {
    let status = format!("\"status\":{status},");
    let is_it = |line: &&String| line.contains("\"request\"") && line.contains(&status);
    sidecar.process.lines().iter().filter(is_it).count()
}

/// KiB of memory that the sidecar has.
fn memory(sidecar: &Sidecar) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", sidecar.process.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_ascii_whitespace().nth(1).unwrap().parse().unwrap()
}

fn serves(sidecar: &Sidecar) {
    sidecar.get("/status/204").run().expect(204);
}

fn made(sidecar: &Sidecar) -> f64 {
    sidecar.metric("lasthop_application_connections_total", &[])
}
