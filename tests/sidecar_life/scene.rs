//! The certificates and the sidecar that these journeys share.

use lasthop_tests::app::App;
use lasthop_tests::pki::{Issued, Pki, SecretData};
use lasthop_tests::sidecar::{HOST, Setup, Sidecar};

pub(crate) struct Scene {
    pub(crate) pki: Pki,
    pub(crate) app: App,
}

impl Scene {
    pub(crate) fn new() -> Self {
        Self { pki: Pki::new(), app: App::start() }
    }

    pub(crate) fn server(&self) -> Issued {
        self.pki.server()
    }

    pub(crate) fn setup(&self) -> Setup {
        Sidecar::before(self.app.address())
    }

    pub(crate) fn sidecar(&self) -> Sidecar {
        self.setup().serving(&self.server()).start()
    }
}

pub(crate) fn with(mut data: SecretData, key: &str, value: &str) -> SecretData {
    data.insert(key.to_owned(), value.as_bytes().to_vec());
    data
}

/// The serial number of the certificate that is served now.
pub(crate) fn served(sidecar: &Sidecar) -> String {
    let output = sidecar.shake().request(HOST, "/status/200").run().output;
    let (_, rest) = output.split_once("-----BEGIN CERTIFICATE-----").expect("one is served");
    let (pem, _) = rest.split_once("-----END CERTIFICATE-----").expect("it ends");
    pem.chars().filter(|it| !it.is_whitespace()).collect()
}
