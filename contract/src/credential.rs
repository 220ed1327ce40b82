//! What a Secret really holds: certificate chain, private key, trusted CAs, revocation lists.
//!
//! Reading never fails and never stops at the first problem: [`read`], [`read_authorities`] and
//! [`read_revocation_lists`] return what could be read together with everything that is wrong with
//! it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use rustls::sign::{CertifiedKey, SigningKey};
use rustls_pki_types::CertificateRevocationListDer;

mod certificate;
mod chain;
mod layout;
mod name;
mod pem;
mod revocation;

pub use certificate::{Certificate, KeyKind, Name, Purpose};
pub use layout::{CA_KEYS, CRL_KEYS, Form};
pub use pem::undecodable;
pub use revocation::UnusableList;

use crate::problem::{Fault, Gravity, Problem};

/// The decoded `data` of a Secret: key to bytes.
pub type SecretData = BTreeMap<String, Vec<u8>>;

/// No value longer than this is read (design: 256 KiB a key). The API server allows 1 MiB a Secret.
pub const MOST_BYTES: usize = 256 * 1024;

/// No more certificates than this are read from one value.
pub const MOST_CERTIFICATES: usize = 200;

/// A chain and the private key of its first certificate, fit to be served.
#[derive(Clone)]
pub struct Credential {
    /// Which keys of the Secret it was read from.
    pub form: Form,
    chain: Vec<Certificate>,
    certified: Arc<CertifiedKey>,
}

impl Credential {
    /// The server's (or client's) own certificate.
    pub fn leaf(&self) -> &Certificate {
        self.chain.first().expect("a credential is made with a leaf")
    }

    /// The certificates in the order in which they are sent.
    pub fn chain(&self) -> &[Certificate] {
        &self.chain
    }

    /// Chain and key in the form that rustls serves.
    pub fn certified_key(&self) -> &Arc<CertifiedKey> {
        &self.certified
    }

    /// What depends on the time: expired, not yet valid, soon to expire.
    ///
    /// "Soon" is the smaller of 14 days and a quarter of the lifetime, so that a certificate of
    /// six days which is renewed in time is no news.
    pub fn problems_at(&self, now: i64) -> Vec<Problem> {
        chain::validity(self.leaf(), self.form.chain_key(), now)
    }
}

/// Shows the names alone: a private key never gets into a log.
impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credential")
            .field("form", &self.form)
            .field("subject", &self.leaf().subject)
            .finish_non_exhaustive()
    }
}

/// What came out of reading a Secret as the credential of a TLS server or client.
#[derive(Clone, Debug, Default)]
pub struct Reading {
    /// The credential, where nothing fatal is wrong with its bytes.
    pub credential: Option<Credential>,
    /// The certificates that could be read, also where there is no credential.
    pub chain: Vec<Certificate>,
    /// Where in `chain` the certificate of the private key stands, first where none is.
    leaf: usize,
    /// The form that was recognised or is nearest.
    pub form: Option<Form>,
    /// Everything that is wrong, in the order of the data.
    pub problems: Vec<Problem>,
}

impl Reading {
    /// The server's (or client's) own certificate: the one of the private key, where there is such a
    /// one, else the first.
    pub fn leaf(&self) -> Option<&Certificate> {
        self.chain.get(self.leaf)
    }

    /// What depends on the time, also where chain and key do not make a credential.
    pub fn problems_at(&self, now: i64) -> Vec<Problem> {
        let key = self.form.unwrap_or(Form::Tls).chain_key();
        self.leaf().map(|leaf| chain::validity(leaf, key, now)).unwrap_or_default()
    }
}

/// Reads chain and key. The clock has no part in it: see [`Credential::problems_at`].
pub fn read(data: &SecretData) -> Reading {
    let form = Form::of(data);
    let mut problems = Vec::new();
    let chain = pem::certificates(data, form, &mut problems);
    let key = pem::private_key(data, form, &mut problems);
    let public = key.as_ref().and_then(|key| key.public_key());
    let leaf = public.and_then(|public| chain.iter().position(|it| it.spki() == public.as_ref()));
    let leaf = leaf.unwrap_or_default();
    chain::inspect(chain.get(leaf..).unwrap_or_default(), form.chain_key(), &mut problems);
    let credential = match (&chain[..], key) {
        ([], _) | (_, None) => None,
        (_, Some(key)) => join(form, &chain, key, &mut problems),
    };
    Reading { credential, chain, leaf, form: Some(form), problems }
}

/// Puts chain and key together where they belong together.
fn join(
    form: Form,
    chain: &[Certificate],
    key: Arc<dyn SigningKey>,
    problems: &mut Vec<Problem>,
) -> Option<Credential> {
    let leaf = chain.first()?;
    let public = key.public_key();
    if let Some(public) = &public
        && public.as_ref() != leaf.spki()
    {
        let fault = match chain.iter().position(|other| other.spki() == public.as_ref()) {
            Some(position) => Problem::new(form.chain_key(), Fault::LeafNotFirst { position }),
            None => Problem::new(
                form.private_key(),
                Fault::KeyMismatch {
                    certificate: leaf.key,
                    key: KeyKind::of_spki(public.as_ref()),
                },
            ),
        };
        problems.push(fault);
        return None;
    }
    let ders = chain.iter().map(|certificate| certificate.der().clone()).collect();
    let certified = Arc::new(CertifiedKey::new(ders, key));
    Some(Credential { form, chain: chain.to_vec(), certified })
}

/// Trusted CAs and revocation lists of a Secret or `ConfigMap`.
#[derive(Clone, Debug, Default)]
pub struct Trust {
    /// The CA certificates.
    pub authorities: Vec<Certificate>,
    /// The revocation lists that can be read, as DER; a sidecar's only if [`Self::is_usable`].
    pub revocation_lists: Vec<CertificateRevocationListDer<'static>>,
    /// Everything that is wrong, in the order of the data.
    pub problems: Vec<Problem>,
    /// The data key that the lists were read from.
    lists_found_in: &'static str,
}

impl Trust {
    /// Whether a sidecar works with it: something is there, and nothing that is there is fatal.
    pub fn is_usable(&self) -> bool {
        let is_empty = self.authorities.is_empty() && self.revocation_lists.is_empty();
        !is_empty && self.problems.iter().all(|problem| problem.gravity() != Gravity::Fatal)
    }

    /// What depends on the time: trust anchors that are over, lists that should have been replaced.
    pub fn problems_at(&self, now: i64) -> Vec<Problem> {
        let authorities = self.authorities.iter().filter(|ca| ca.not_after < now).map(|ca| {
            let fault = Fault::CaExpired { subject: ca.subject.clone(), not_after: ca.not_after };
            Problem::new(ca.found_in(), fault)
        });
        let lists = self.revocation_lists.iter().filter_map(|list| {
            let (issuer, next_update) = pem::crl_next_update(list)?;
            let fault = Fault::CrlExpired { issuer, next_update };
            (next_update < now).then(|| Problem::new(self.lists_found_in, fault))
        });
        authorities.chain(lists).collect()
    }
}

/// Reads the CAs from the first of the known CA keys, for who verifies a peer.
pub fn read_authorities(data: &SecretData) -> Trust {
    let mut trust = Trust::default();
    trust.authorities = pem::authorities(data, &mut trust.problems);
    trust
}

/// Reads the revocation lists from the known CRL keys.
pub fn read_revocation_lists(data: &SecretData) -> Trust {
    let mut trust = Trust::default();
    trust.lists_found_in = pem::revocation_key(data).unwrap_or("ca.crl");
    trust.revocation_lists = pem::revocation_lists(data, &mut trust.problems);
    trust
}
