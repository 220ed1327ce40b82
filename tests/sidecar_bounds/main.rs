//! What nobody can make of the sidecar: more connections to the application than there may be, more
//! memory or work than a connection should cost.

use std::net::SocketAddr;

use lasthop_tests::frames::{self, END_HEADERS, END_STREAM, HEADERS};
use lasthop_tests::pki::Pki;
use lasthop_tests::sidecar::{HOST, Setup, Sidecar};

mod application;
mod hostile;

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

fn made(sidecar: &Sidecar) -> f64 {
    sidecar.metric("lasthop_application_connections_total", &[])
}
