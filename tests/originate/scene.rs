//! The application, the next tier and the sidecar between them.

use std::net::SocketAddr;

use lasthop_tests::app::App;
use lasthop_tests::outward::{Outward, OutwardSetup};
use lasthop_tests::pki::{Authority, Issued, Pki};
use lasthop_tests::process::{Program, Running};
use lasthop_tests::secret_dir::SecretDir;
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

/// A next tier with its Secret.
pub(crate) struct Tier {
    pub(crate) running: Running,
    _secret: SecretDir,
}

/// A next tier at `address`, port and all, for `tier.test`.
pub(crate) fn tier_at_port(scene: &Scene, address: &str) -> Tier {
    let secret = SecretDir::new(&scene.servers.leaf().dns("tier.test").issue().secret());
    let mut running = Program::ours("lasthop-sidecar")
        .args(["--listen", address, "--status-listen", "127.0.0.1:0", "--drain-delay", "0"])
        .args(["--forward", &scene.app.address().to_string()])
        .arg("--tls-secret")
        .arg(secret.path())
        .start();
    running.wait_for_log(|entry| entry["message"] == "ready");
    Tier { running, _secret: secret }
}

/// How many requests a next tier has answered.
pub(crate) fn served(tier: &Running) -> usize {
    tier.log().iter().filter(|line| line["message"] == "request").count()
}
