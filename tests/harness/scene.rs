//! What most journeys of the sidecar begin with: an application, and a sidecar before it that knows whose clients
//! come in.

use crate::app::App;
use crate::pki::{Authority, Pki};
use crate::sidecar::{Setup, Sidecar};

/// The one name that comes in.
pub const ALLOWED: &str = "dns:alb.example";

/// An application, a CA of its clients, and what else certificates are made of.
#[derive(Debug)]
pub struct Scene {
    /// Where certificates come from.
    pub pki: Pki,
    /// The application.
    pub app: App,
    /// The CA of the clients.
    pub clients: Authority,
}

impl Scene {
    /// Starts the application.
    pub fn new() -> Self {
        let pki = Pki::new();
        let clients = pki.authority("clients-ca");
        Self { pki, app: App::start(), clients }
    }

    /// A sidecar before the application that asks nobody who it is.
    pub fn setup(&self) -> Setup {
        Sidecar::before(self.app.address()).serving(&self.pki.server())
    }

    /// A sidecar that lets in the clients of [`ALLOWED`].
    pub fn guarded(&self) -> Setup {
        self.setup().clients(&self.clients, ALLOWED)
    }
}

impl Default for Scene {
    fn default() -> Self {
        Self::new()
    }
}
