//! The certificate with which lasthop serves.
//!
//! API servers call nobody but by TLS, and trust nobody but the `caBundle` of the webhook
//! configuration. By default lasthop looks after both itself; `--tls-dir` leaves both to somebody
//! else, such as cert-manager with its CA injector.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use arc_swap::ArcSwapOption;
use lasthop_contract::credential::Credential;
use lasthop_contract::text::rfc3339;
use rustls::ServerConfig;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use crate::clock;
use crate::serve::Lifecycle;
use crate::telemetry::Metrics;

mod authority;
mod bundle;
mod directory;
mod managed;
mod shared;

pub use authority::{Authority, AuthorityError, ServedName};
pub use managed::Managed;

/// Two thirds of a serving certificate's life.
const RENEWAL: Duration =
    Duration::from_secs(authority::LEAF_LIFE.whole_seconds().unsigned_abs() / 3 * 2);

/// Where the serving certificate comes from.
#[derive(Debug)]
pub enum Source {
    /// A directory with `tls.crt` and `tls.key`, read again when they change.
    Directory(PathBuf),
    /// An authority that all replicas share, published in the webhook configurations.
    Managed(Managed),
    /// An authority of this process alone, its certificate written to a file for clients.
    OwnAuthority {
        /// The names under which the webhook is called.
        names: Vec<ServedName>,
        /// Where the authority's certificate is written.
        ca_file: Option<PathBuf>,
    },
}

/// This moment's serving certificate. Every handshake asks for it anew.
#[derive(Clone, Default)]
pub struct Identity(Arc<ArcSwapOption<CertifiedKey>>);

impl Identity {
    /// The first certificate, and a task that keeps it fresh.
    ///
    /// # Errors
    /// The directory holds no usable certificate, or the CA file cannot be written.
    pub async fn start(
        source: Source,
        lifecycle: &Arc<Lifecycle>,
        metrics: &Arc<Metrics>,
    ) -> anyhow::Result<Self> {
        let identity = Self::default();
        let keeper = Keeper {
            identity: identity.clone(),
            lifecycle: Arc::clone(lifecycle),
            metrics: Arc::clone(metrics),
        };
        match source {
            Source::Directory(path) => directory::start(path, keeper)?,
            Source::Managed(managed) => managed::start(managed, keeper).await?,
            Source::OwnAuthority { names, ca_file } => {
                let authority = Authority::generate(clock::now())?;
                if let Some(path) = ca_file {
                    write_new(&path, &authority.certificate)
                        .with_context(|| format!("cannot write {}", path.display()))?;
                }
                keeper.put(&authority.issue(&names, clock::now())?);
                let tasks = lifecycle.tasks.clone();
                tasks.spawn(renew(keeper, authority, names));
            }
        }
        Ok(identity)
    }

    /// TLS 1.2 and 1.3 with this certificate, for HTTP/2 and HTTP/1.1.
    ///
    /// # Errors
    /// The provider of cryptography knows no protocol version, which a build excludes.
    pub fn tls_config(&self) -> Result<ServerConfig, rustls::Error> {
        let provider = lasthop_contract::tls::provider();
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(self.clone()));
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(config)
    }
}

impl ResolvesServerCert for Identity {
    /// [`None`], which ends the handshake, only before the first certificate.
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.load_full()
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("present", &self.0.load().is_some()).finish()
    }
}

/// What a task needs that keeps the certificate fresh.
struct Keeper {
    identity: Identity,
    lifecycle: Arc<Lifecycle>,
    metrics: Arc<Metrics>,
}

impl Keeper {
    /// From now on handshakes are done with `credential`.
    fn put(&self, credential: &Credential) {
        self.identity.0.store(Some(Arc::clone(credential.certified_key())));
        let leaf = credential.leaf();
        self.metrics.certificate_in_use(leaf.not_after);
        tracing::info!(
            serial = leaf.serial,
            not_after = rfc3339(leaf.not_after),
            "serving with another certificate"
        );
    }

    /// Waits; [`Stopped`] where the server drains meanwhile.
    async fn sleep(&self, time: Duration) -> Result<(), Stopped> {
        tokio::select! {
            () = self.lifecycle.draining().cancelled() => Err(Stopped),
            () = tokio::time::sleep(time) => Ok(()),
        }
    }
}

/// The server drains: certificates are not kept fresh any more.
struct Stopped;

/// Issues another certificate whenever two thirds of the last one's life are over.
async fn renew(keeper: Keeper, authority: Authority, names: Vec<ServedName>) {
    while keeper.sleep(RENEWAL).await.is_ok() {
        match authority.issue(&names, clock::now()) {
            Ok(credential) => keeper.put(&credential),
            Err(error) => tracing::error!(%error, "cannot renew the serving certificate"),
        }
    }
}

/// Writes `text` to `path` in one step: whoever reads it sees all of it or what was there before.
fn write_new(path: &Path, text: &str) -> std::io::Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    std::fs::write(&name, text)?;
    std::fs::rename(&name, path)
}
