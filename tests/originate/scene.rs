//! The application, the next tier and the sidecar between them.

use std::net::SocketAddr;

use lasthop_tests::app::App;
use lasthop_tests::outward::{Outward, OutwardSetup};
use lasthop_tests::pki::{Authority, Issued, Pki};
use lasthop_tests::sidecar::{Setup, Sidecar};

pub(crate) const TIER: &str = "db.example";

pub(crate) struct Scene {
    pub(crate) app: App,
    pub(crate) servers: Authority,
    pub(crate) clients: Authority,
    pub(crate) pki: Pki,
}

impl Scene {
    pub(crate) fn new() -> Self {
        let pki = Pki::new();
        let (servers, clients) = (pki.authority("tier-ca"), pki.authority("clients-ca"));
        Self { app: App::start(), servers, clients, pki }
    }

    /// A certificate for the next tier.
    pub(crate) fn server(&self) -> Issued {
        self.servers.leaf().dns(TIER).issue()
    }

    /// The certificate of the application's sidecar.
    pub(crate) fn web(&self) -> Issued {
        self.clients.leaf().dns("web.example").issue()
    }

    /// The next tier, which asks nobody for a certificate.
    pub(crate) fn tier(&self, server: &Issued) -> Setup {
        Sidecar::before(self.app.address()).serving(server)
    }

    /// The next tier, which lets `web.example` in.
    pub(crate) fn mutual_tier(&self) -> Sidecar {
        self.tier(&self.server()).clients(&self.clients, "dns:web.example").start()
    }

    /// A sidecar to `scheme` at `address`, which expects [`TIER`] there.
    pub(crate) fn outward(&self, scheme: &str, address: SocketAddr) -> OutwardSetup {
        Outward::to(&format!("{scheme}://{address}"))
            .trusting(&self.servers)
            .option("--upstream-server-names", format!("dns:{TIER}"))
            .option("--upstream-sni", TIER)
    }
}

/// The byte at each place is the place modulo 251, so that a gap or a swap is noticed.
pub(crate) fn numbered(count: usize) -> Vec<u8> {
    (0..count).map(|place| u8::try_from(place % 251).unwrap()).collect()
}
