//! The certificates and the sidecar that these journeys share.

use std::net::SocketAddr;

use lasthop_tests::pki::{Authority, Files, Pki};
use lasthop_tests::sidecar::{Setup, Sidecar};

pub(crate) struct Scene {
    pub(crate) pki: Pki,
    pub(crate) clients: Authority,
}

impl Scene {
    pub(crate) fn new() -> Self {
        let pki = Pki::new();
        let clients = pki.authority("clients-ca");
        Self { pki, clients }
    }

    /// A sidecar that asks nobody for a certificate.
    pub(crate) fn open(&self, application: SocketAddr) -> Setup {
        let server = self.pki.server();
        Sidecar::before(application).serving(&server)
    }

    pub(crate) fn mutual(&self, application: SocketAddr) -> Setup {
        self.open(application).clients(&self.clients, "dns:alb.example")
    }

    pub(crate) fn alb(&self) -> Files {
        self.clients.leaf().dns("alb.example").issue().files()
    }
}
