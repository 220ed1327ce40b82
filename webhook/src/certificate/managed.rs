//! A certificate that lasthop looks after itself, with the other replicas.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use lasthop_contract::credential::{self, Credential, SecretData};
use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier as _;
use rustls_pki_types::UnixTime;
use serde_json::{Value, json};

use super::authority::{Authority, AuthorityError, LEAF_LIFE, ServedName};
use super::shared::Shared;
use super::{Keeper, bundle};
use crate::clock;
use crate::object::Object;
use crate::surroundings::{ApiError, ApiServer};

/// How often everything is looked at. Whoever deletes and creates a webhook configuration waits so
/// long for its `caBundle`.
const INTERVAL: Duration = Duration::from_secs(5);

/// How long after a failure, at first.
const RETRY: Duration = Duration::from_secs(1);

/// The part of readiness that this is.
const PART: &str = "certificate";

/// What is looked after.
#[derive(Clone, Debug)]
pub struct Managed {
    /// Where the Secret and the webhook configurations are.
    pub api: ApiServer,
    /// The namespace of the Secret.
    pub namespace: String,
    /// The name of the Secret that all replicas share.
    pub secret: String,
    /// The name of both webhook configurations.
    pub configuration: String,
    /// The names under which the webhook is called.
    pub names: Vec<ServedName>,
    /// Where the bundle is written as well.
    pub ca_file: Option<PathBuf>,
}

/// Why the certificate is not as it should be.
#[derive(Debug, thiserror::Error)]
enum ManagedError {
    #[error("Secret {namespace}/{secret}: {error}")]
    Secret { namespace: String, secret: String, error: ApiError },
    #[error("Secret {namespace}/{secret}: {error}; delete it, and lasthop makes a new one")]
    Content { namespace: String, secret: String, error: AuthorityError },
    #[error("the webhook configurations called {0}: {1}")]
    Bundle(String, ApiError),
    #[error("cannot write {0}: {1}")]
    File(String, std::io::Error),
    #[error("the webhook configurations called {0} do not trust this replica's certificate")]
    Untrusted(String),
}

/// The state between two looks.
struct Tending {
    managed: Managed,
    keeper: Keeper,
    shared: Option<Shared>,
    leaf: Option<Credential>,
    retry: Duration,
}

/// Looks after the certificate from now on. Not ready until API servers trust it.
///
/// # Errors
/// No certificate can be made.
pub(super) async fn start(managed: Managed, keeper: Keeper) -> Result<(), AuthorityError> {
    keeper.lifecycle.not_ready(PART, "there is none yet that API servers trust");
    // Until then kubelet, which trusts any, can ask whether this process lives.
    let now = clock::now();
    keeper.put(&Authority::generate(now)?.issue(&managed.names, now)?);
    let tasks = keeper.lifecycle.tasks.clone();
    let mut tending = Tending { managed, keeper, shared: None, leaf: None, retry: RETRY };
    let pause = tending.tend().await;
    tasks.spawn(tending.run(pause));
    Ok(())
}

impl Tending {
    async fn run(mut self, mut pause: Duration) {
        while self.keeper.sleep(pause).await.is_ok() {
            pause = self.tend().await;
        }
    }

    /// Looks once and tells how it went. Returns the time until the next look.
    async fn tend(&mut self) -> Duration {
        match self.look().await {
            Ok(()) => {
                self.keeper.lifecycle.ready(PART);
                self.keeper.metrics.ca_bundle_right(clock::now());
                self.retry = RETRY;
                INTERVAL
            }
            Err(error) => {
                self.keeper.metrics.ca_bundle_failed();
                tracing::error!(%error, "cannot look after the serving certificate");
                self.tell(&error);
                self.retry = (self.retry * 2).min(INTERVAL);
                self.retry
            }
        }
    }

    /// An API server that does not answer changes nothing for one that calls: whoever was trusted
    /// still is.
    fn tell(&self, error: &ManagedError) {
        let was_trusted = self.leaf.is_some();
        if !was_trusted || matches!(error, ManagedError::Untrusted(_)) {
            self.keeper.lifecycle.not_ready(PART, error.to_string());
        }
    }

    /// One look at everything: the Secret, the bundle, the serving certificate; in this order, so
    /// that nothing is served before it is trusted.
    async fn look(&mut self) -> Result<(), ManagedError> {
        let now = clock::now();
        let shared = self.shared(now).await?;
        let same_signer = self.shared.as_ref().is_some_and(|it| it.signer == shared.signer);
        let current = self.leaf.clone().filter(|leaf| same_signer && !is_due(leaf, now));
        let issue = || shared.signer.issue(&self.managed.names, now);
        let leaf = current.map_or_else(issue, Ok).map_err(|error| self.content(error))?;
        let bundle = shared.bundle();
        if self.shared.as_ref().is_none_or(|it| it.bundle() != bundle) {
            self.write(&bundle)?;
        }
        self.shared = Some(shared);
        let name = &self.managed.configuration;
        let live = bundle::publish(&self.managed.api, name, &bundle)
            .await
            .map_err(|error| ManagedError::Bundle(name.clone(), error))?;
        if !live.iter().all(|bundle| is_trusted(&leaf, &self.managed.names, bundle, now)) {
            return Err(ManagedError::Untrusted(name.clone()));
        }
        if self.leaf.as_ref().is_none_or(|it| it.leaf().serial != leaf.leaf().serial) {
            self.keeper.put(&leaf);
            self.leaf = Some(leaf);
        }
        Ok(())
    }

    fn write(&self, bundle: &str) -> Result<(), ManagedError> {
        let Some(path) = &self.managed.ca_file else { return Ok(()) };
        super::write_new(path, bundle)
            .map_err(|error| ManagedError::File(path.display().to_string(), error))
    }

    /// What the Secret holds, created or advanced where that is due.
    async fn shared(&self, now: i64) -> Result<Shared, ManagedError> {
        let Managed { api, namespace, secret, .. } = &self.managed;
        let collection = format!("/api/v1/namespaces/{namespace}/secrets");
        let path = format!("{collection}/{secret}");
        let object = match api.get(&path).await {
            Ok(object) => object,
            Err(ApiError::Missing) => {
                let first = match &self.shared {
                    Some(former) => Shared::replacing(former, now),
                    None => Shared::first(now),
                };
                let first = first.map_err(|error| self.content(error))?;
                match api.create(&collection, &self.object(&first, None)).await {
                    Ok(object) => {
                        tracing::info!(namespace, secret, "made a certificate authority");
                        object
                    }
                    // Another replica was faster; its authority is everybody's.
                    Err(ApiError::Conflict) => {
                        api.get(&path).await.map_err(|error| self.secret(error))?
                    }
                    Err(error) => return Err(self.secret(error)),
                }
            }
            Err(error) => return Err(self.secret(error)),
        };
        let shared = Shared::read(&object).map_err(|error| self.content(error))?;
        let Some(advanced) = shared.advanced(now).map_err(|error| self.content(error))? else {
            return Ok(shared);
        };
        match api.replace(&path, &self.object(&advanced, Some(&object))).await {
            Ok(_) => {
                tracing::info!(namespace, secret, "advanced the change of authority");
                Ok(advanced)
            }
            // Another replica was faster; what it wrote is read at the next look.
            Err(ApiError::Conflict) => Ok(shared),
            Err(error) => Err(self.secret(error)),
        }
    }

    /// The Secret as it is to be, over `former` where there is one.
    fn object(&self, shared: &Shared, former: Option<&Object>) -> Value {
        let mut object = former.map_or_else(
            || {
                json!({
                    "apiVersion": "v1",
                    "kind": "Secret",
                    "metadata": {
                        "name": self.managed.secret,
                        "namespace": self.managed.namespace,
                        "labels": { "app.kubernetes.io/managed-by": "lasthop" },
                    },
                    "type": "Opaque",
                })
            },
            |former| former.0.clone(),
        );
        if let Some(members) = object.as_object_mut() {
            members.insert("data".to_owned(), shared.to_data());
        }
        object
    }

    fn secret(&self, error: ApiError) -> ManagedError {
        let Managed { namespace, secret, .. } = &self.managed;
        ManagedError::Secret { namespace: namespace.clone(), secret: secret.clone(), error }
    }

    fn content(&self, error: AuthorityError) -> ManagedError {
        let Managed { namespace, secret, .. } = &self.managed;
        ManagedError::Content { namespace: namespace.clone(), secret: secret.clone(), error }
    }
}

/// Whether two thirds of its life are over.
fn is_due(leaf: &Credential, now: i64) -> bool {
    now >= leaf.leaf().not_after - LEAF_LIFE.whole_seconds() / 3
}

/// Whether who trusts `bundle` accepts the serving certificate for each of `names`.
fn is_trusted(leaf: &Credential, names: &[ServedName], bundle: &str, now: i64) -> bool {
    let data: SecretData = [("ca.crt".to_owned(), bundle.as_bytes().to_vec())].into();
    let mut roots = RootCertStore::empty();
    let authorities = credential::read_authorities(&data).authorities;
    roots.add_parsable_certificates(authorities.iter().map(|it| it.der().clone()));
    let provider = lasthop_contract::tls::provider();
    let builder = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider);
    let (Ok(verifier), Some((own, chain))) =
        (builder.build(), leaf.certified_key().cert.split_first())
    else {
        return false;
    };
    let at = UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(now).unwrap_or(0)));
    names.iter().all(|name| {
        name.to_server_name()
            .is_some_and(|name| verifier.verify_server_cert(own, chain, &name, &[], at).is_ok())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bundle_trusts_what_its_authorities_signed() {
        let now = clock::now();
        let names = ["lasthop.lasthop-system.svc", "127.0.0.1"].map(ServedName::parse);
        let (one, other) = (Authority::generate(now).unwrap(), Authority::generate(now).unwrap());
        let leaf = one.issue(&names, now).unwrap();
        let both = format!("{}{}", other.certificate, one.certificate);
        assert!(is_trusted(&leaf, &names, &one.certificate, now));
        assert!(is_trusted(&leaf, &names, &both, now));
        assert!(!is_trusted(&leaf, &names, &other.certificate, now));
        assert!(!is_trusted(&leaf, &names, "", now));
        assert!(!is_trusted(&leaf, &[ServedName::parse("elsewhere")], &one.certificate, now));
        assert!(!is_trusted(&leaf, &names, &one.certificate, now + LEAF_LIFE.whole_seconds() + 1));
        assert!(!is_due(&leaf, now + LEAF_LIFE.whole_seconds() / 2));
        assert!(is_due(&leaf, now + LEAF_LIFE.whole_seconds() / 4 * 3));
    }
}
