//! A listener of a sidecar, as it is going to serve.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use lasthop_contract::client_policy::{
    AllowedClients, ClientAuth, ClientPolicy, ClientPolicyParts, PolicyError, Refusal,
    RefusalObserver, RefusalReason,
};
use lasthop_contract::credential::{self, Credential, Trust};
use lasthop_contract::problem::{Gravity, Problem};
use lasthop_contract::sidecar_config::{Clients, Terminate};
use lasthop_contract::text::escape;
use lasthop_contract::tls::{ServerTls, alpn};
use rustls_pki_types::{CertificateDer, UnixTime};

use super::{Entry, Outcome};
use crate::check::SeenSecret;
use crate::inject::Mount;
use crate::surroundings::Sighting;

/// What was found of the Secrets that a listener reads.
pub type Found = BTreeMap<Mount, Sighting<Arc<SeenSecret>>>;

/// A listener, made from the document that the injector writes.
#[derive(Clone, Debug)]
pub struct Listener {
    policy: Result<Option<Arc<ClientPolicy>>, Arc<[Unfit]>>,
    credentials: Result<Arc<[Credential]>, Arc<[Unfit]>>,
    alpn: Vec<Vec<u8>>,
}

/// Why a listener cannot serve, or nobody can say.
#[derive(Clone, Debug, PartialEq)]
pub enum Unfit {
    /// Nobody could look at a Secret that it reads.
    Unknown {
        /// Which one.
        mount: Mount,
        /// Why not.
        why: String,
    },
    /// A Secret that it reads is not there.
    Missing(Mount),
    /// A Secret that it reads is of no use to it.
    Broken {
        /// Which one.
        mount: Mount,
        /// What is wrong with it.
        problems: Vec<Problem>,
    },
    /// The sidecar refuses to start with these CAs and allowed clients.
    Unsafe(String),
}

impl Unfit {
    /// Whether it is the listener that is at fault, as opposed to the looking.
    pub fn is_certain(&self) -> bool {
        !matches!(self, Self::Unknown { .. })
    }
}

/// As a phrase: what keeps the sidecar from serving.
impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown { mount, why } => write!(f, "{}: {why}", Called(mount)),
            Self::Missing(mount) => write!(f, "{} does not exist", Called(mount)),
            Self::Broken { mount, problems } => {
                let fatal = problems.iter().find(|it| it.gravity() == Gravity::Fatal);
                match fatal.or_else(|| problems.first()) {
                    Some(problem) => write!(f, "{}: {}", Called(mount), problem.message()),
                    None => write!(f, "{} holds nothing that can be used", Called(mount)),
                }
            }
            Self::Unsafe(reason) => f.write_str(reason),
        }
    }
}

/// A mount as readers of manifests know it.
pub(super) struct Called<'a>(pub(super) &'a Mount);

impl fmt::Display for Called<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.0 {
            Mount::CaConfigMap(_) | Mount::UpstreamCaConfigMap(_) => "ConfigMap",
            Mount::Tls(_) | Mount::Ca(_) | Mount::Crl(_) | Mount::UpstreamCa(_) => "Secret",
        };
        write!(f, "{kind} `{}`", escape(self.0.name()))
    }
}

/// What the sidecar serves with.
#[derive(Debug)]
pub(super) struct Serving {
    credentials: Arc<[Credential]>,
    pub(super) policy: Option<Arc<ClientPolicy>>,
    alpn: Vec<Vec<u8>>,
}

impl Serving {
    pub(super) fn config(
        &self,
        observer: Arc<dyn RefusalObserver>,
    ) -> Result<rustls::ServerConfig, rustls::Error> {
        let clients = self.policy.clone().map(|policy| (policy, observer));
        ServerTls { credentials: &self.credentials, clients, alpn: &self.alpn }.config()
    }
}

impl Listener {
    /// The listener of `terminate`, with what was `found` of its Secrets.
    pub fn new(terminate: &Terminate, found: &Found) -> Self {
        Self {
            policy: policy(&terminate.clients, found),
            credentials: credentials(&terminate.tls_secrets, found),
            alpn: alpn(terminate.protocol, &terminate.alpn),
        }
    }

    /// The Secrets that the listener of `terminate` reads.
    pub fn mounts(terminate: &Terminate) -> Vec<Mount> {
        let Clients { ca_secret, crl_secret, .. } = &terminate.clients;
        let directories = terminate.tls_secrets.iter().chain(ca_secret).chain(crl_secret);
        directories.filter_map(|directory| Mount::of_directory(directory)).collect()
    }

    /// What it verifies clients with.
    ///
    /// # Errors
    /// Why there is no such policy, or nobody knows it.
    pub fn policy(&self) -> Result<Option<&Arc<ClientPolicy>>, Arc<[Unfit]>> {
        self.policy.as_ref().map(Option::as_ref).map_err(Arc::clone)
    }

    /// What it serves.
    ///
    /// # Errors
    /// Why it can serve nothing, or nobody knows what.
    pub fn credentials(&self) -> Result<&[Credential], Arc<[Unfit]>> {
        self.credentials.as_deref().map_err(Arc::clone)
    }

    /// Both ends of its configuration.
    pub(super) fn tls(&self) -> Result<Serving, Arc<[Unfit]>> {
        match (&self.credentials, &self.policy) {
            (Ok(credentials), Ok(policy)) => Ok(Serving {
                credentials: Arc::clone(credentials),
                policy: policy.clone(),
                alpn: self.alpn.clone(),
            }),
            (credentials, policy) => {
                let of_credentials = credentials.as_ref().err().into_iter();
                let all = of_credentials.chain(policy.as_ref().err());
                Err(all.flat_map(|unfit| unfit.iter().cloned()).collect())
            }
        }
    }

    /// Judges a client by its certificates alone, as the verifier of the sidecar does within the
    /// handshake: for who has no key to run one with.
    ///
    /// # Errors
    /// Why nobody can say.
    pub fn judge(&self, chain: &[CertificateDer<'_>], now: i64) -> Result<Outcome, Arc<[Unfit]>> {
        let Some(policy) = self.policy()? else { return Ok(Outcome::LetIn(Entry::Unasked)) };
        if chain.is_empty() {
            return Ok(match policy.auth() {
                ClientAuth::Required => {
                    let reason = RefusalReason::NoCertificate;
                    Outcome::Refused(Box::new(Refusal { reason, certificate: None }))
                }
                ClientAuth::None | ClientAuth::Optional => Outcome::LetIn(Entry::Unnamed),
            });
        }
        let seconds = u64::try_from(now).unwrap_or_default();
        let now = UnixTime::since_unix_epoch(Duration::from_secs(seconds));
        Ok(Outcome::from(policy.judge(chain, now)))
    }
}

fn credentials(directories: &[String], found: &Found) -> Result<Arc<[Credential]>, Arc<[Unfit]>> {
    let mut credentials = Vec::new();
    let mut unfit = Vec::new();
    for mount in directories.iter().filter_map(|directory| Mount::of_directory(directory)) {
        match see(&mount, found) {
            Ok(seen) => {
                let reading = seen.reading();
                credentials.extend(reading.credential.clone());
                if reading.credential.is_none() {
                    unfit.push(Unfit::Broken { mount, problems: reading.problems.clone() });
                }
            }
            Err(why) => unfit.push(why),
        }
    }
    if unfit.is_empty() { Ok(credentials.into()) } else { Err(unfit.into()) }
}

pub(super) fn see<'a>(mount: &Mount, found: &'a Found) -> Result<&'a SeenSecret, Unfit> {
    match found.get(mount) {
        Some(Sighting::Found(seen)) => Ok(seen),
        Some(Sighting::Missing) => Err(Unfit::Missing(mount.clone())),
        Some(Sighting::Unknown(why)) => {
            Err(Unfit::Unknown { mount: mount.clone(), why: why.clone() })
        }
        None => Err(Unfit::Unknown { mount: mount.clone(), why: "nobody looked at it".to_owned() }),
    }
}

fn policy(clients: &Clients, found: &Found) -> Result<Option<Arc<ClientPolicy>>, Arc<[Unfit]>> {
    let Clients { auth, ca_secret, allowed, eku, crl_secret, .. } = clients;
    if *auth == ClientAuth::None {
        return Ok(None);
    }
    let mut unfit = Vec::new();
    let mut trust = |directory: Option<&String>, read: fn(&credential::SecretData) -> Trust| {
        let mount = Mount::of_directory(directory?)?;
        let trust = match see(&mount, found) {
            Ok(seen) => read(&seen.secret.data),
            Err(why) => {
                unfit.push(why);
                return None;
            }
        };
        if trust.is_usable() {
            return Some(trust);
        }
        unfit.push(Unfit::Broken { mount, problems: trust.problems });
        None
    };
    let authorities = trust(ca_secret.as_ref(), credential::read_authorities);
    let lists = trust(crl_secret.as_ref(), credential::read_revocation_lists);
    let allowed = AllowedClients::from_entries(allowed.iter().map(String::as_str));
    let allowed = allowed.map_err(|errors| {
        unfit.extend(errors.iter().map(|error| Unfit::Unsafe(error.to_string())));
    });
    let (Some(authorities), Ok(allowed), true) = (authorities, allowed, unfit.is_empty()) else {
        return Err(unfit.into());
    };
    let parts = ClientPolicyParts {
        auth: *auth,
        authorities: &authorities.authorities,
        allowed,
        eku: *eku,
        revocation_lists: lists.as_ref().map_or(&[], |trust| &trust.revocation_lists),
        revocation: clients.revocation(),
    };
    let reason = |error: &PolicyError| Unfit::Unsafe(error.to_string());
    let policy = ClientPolicy::new(parts);
    policy
        .map(|policy| Some(Arc::new(policy)))
        .map_err(|errors| errors.iter().map(reason).collect())
}
