//! Which clients may come in: trusted CAs, extended key usage, revocation, allowed clients.
//!
//! The chain is always verified in full (RFC 5280 path validation by webpki); what is ours is the
//! choice of extended key usage and the decision by name on top of it. The decision is taken inside
//! the TLS handshake, so that a stranger sees an alert and nothing else.

use std::cell::Cell;
use std::fmt;
use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, SignatureScheme};
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, TrustAnchor, UnixTime};
use webpki::{
    CertRevocationList, EndEntityCert, ExtendedKeyUsageValidator, KeyPurposeIdIter, KeyUsage,
    OwnedCertRevocationList, RequiredEkuNotFoundContext, RevocationOptions, VerifiedPath,
    anchor_from_trusted_cert,
};

use crate::credential::{Certificate, Purpose};
use crate::problem::Code;
use crate::tls::{algorithms, presented};

mod listed;
mod namesakes;
mod pattern;
pub(crate) mod public_ca;
mod refusal;
mod revocation;

pub use pattern::{AllowedClients, ClientPattern, PatternError};
pub use public_ca::is_public_ca;
pub(crate) use refusal::seconds;
pub use refusal::{Refusal, RefusalReason};
pub use revocation::{CrlDepth, CrlExpired, CrlUnknown, Revocation};

/// Whether a client must, may or need not present a certificate.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub enum ClientAuth {
    /// No certificate is asked for.
    #[default]
    None,
    /// A certificate is asked for; one that is presented must be good.
    Optional,
    /// No connection without a good certificate.
    Required,
}

/// Which extended key usages a client certificate may carry.
#[derive(Clone, Copy, Debug, Eq, PartialEq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub enum ClientEku {
    /// clientAuth, as every other TLS server wants it, or no extension at all.
    Client,
    /// serverAuth or no extension at all: a balancer with its public server certificate.
    Server,
    /// clientAuth, serverAuth, anyExtendedKeyUsage or no extension at all; nothing else.
    Either,
}

impl ClientEku {
    /// `either` where every allowed client is named, `client` where any client of the CA may come.
    pub fn default_for(allowed: &AllowedClients) -> Self {
        if allowed.has_any() { Self::Client } else { Self::Either }
    }

    fn allows(self, purpose: &Purpose) -> bool {
        match (self, purpose) {
            (Self::Client, Purpose::Client)
            | (Self::Server, Purpose::Server)
            | (Self::Either, Purpose::Client | Purpose::Server | Purpose::Any) => true,
            (Self::Client | Self::Server | Self::Either, _) => false,
        }
    }

    /// The word that users write.
    pub fn word(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Server => "server",
            Self::Either => "either",
        }
    }
}

/// A policy, ready to judge.
#[derive(Debug)]
pub struct ClientPolicy {
    auth: ClientAuth,
    anchors: Vec<TrustAnchor<'static>>,
    eku: ClientEku,
    allowed: AllowedClients,
    revocation_lists: Vec<CertRevocationList<'static>>,
    /// Whether several of the lists are of one name.
    has_namesakes: bool,
    revocation: Revocation,
}

/// A client that was let in.
#[derive(Clone, Debug)]
pub struct ClientIdentity {
    /// Its certificate.
    pub certificate: Arc<Certificate>,
    /// The entry of the allowed clients that it matched.
    pub matched: ClientPattern,
}

/// The parts that a policy is made of.
#[derive(Clone, Debug)]
pub struct ClientPolicyParts<'a> {
    /// Whether a certificate is asked for.
    pub auth: ClientAuth,
    /// The CAs to which a client's chain must lead.
    pub authorities: &'a [Certificate],
    /// The identities that may come in.
    pub allowed: AllowedClients,
    /// [`None`] takes [`ClientEku::default_for`] the allowed clients.
    pub eku: Option<ClientEku>,
    /// Revocation lists of the CAs.
    pub revocation_lists: &'a [CertificateRevocationListDer<'static>],
    /// How they are asked.
    pub revocation: Revocation,
}

/// Why a policy cannot be used as it stands.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum PolicyError {
    /// There is no CA to verify clients with.
    NoAuthority,
    /// A CA without allowed clients lets in anybody whom the CA ever gave a certificate.
    NoAllowedClients,
    /// With a public CA in the bundle, this entry lets in anybody.
    PublicCa { authority: String, pattern: ClientPattern },
    /// Certificates that no list is about are to be refused, and there is no list.
    NoRevocationList,
    /// A CA or list that webpki cannot use.
    Unusable { subject: String, reason: String },
}

impl fmt::Display for PolicyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoAuthority => {
                f.write_str("clients are to be verified, but there is no CA to verify them with")
            }
            Self::NoAllowedClients => f.write_str(
                "a CA without allowed clients lets in everybody who has a certificate of that CA",
            ),
            Self::NoRevocationList => f.write_str(
                "clients that no revocation list is about are refused, but there is no revocation list",
            ),
            Self::PublicCa { authority, pattern } => write!(
                f,
                "`{}` is a public CA, `{pattern}` does not tell its holders apart",
                crate::text::escape(authority)
            ),
            Self::Unusable { subject, reason } => {
                write!(f, "the CA `{}` cannot be used: {reason}", crate::text::escape(subject))
            }
        }
    }
}

impl std::error::Error for PolicyError {}

impl ClientPolicy {
    /// Makes the policy, if it is safe to use.
    ///
    /// # Errors
    /// All that is unsafe or unusable about the parts, at once.
    pub fn new(parts: ClientPolicyParts<'_>) -> Result<Self, Vec<PolicyError>> {
        let ClientPolicyParts { auth, authorities, allowed, eku, revocation_lists, revocation } =
            parts;
        let mut errors = Vec::new();
        if authorities.is_empty() {
            errors.push(PolicyError::NoAuthority);
        }
        if allowed.is_empty() {
            errors.push(PolicyError::NoAllowedClients);
        }
        errors.extend(Self::too_wide_for_public_ca(authorities, &allowed));
        let mut anchors = Vec::new();
        for authority in authorities {
            match anchor_from_trusted_cert(authority.der()) {
                Ok(anchor) => anchors.push(anchor.to_owned()),
                Err(error) => errors.push(PolicyError::Unusable {
                    subject: authority.subject.clone(),
                    reason: error.to_string(),
                }),
            }
        }
        if revocation.unknown == CrlUnknown::Refuse && revocation_lists.is_empty() {
            errors.push(PolicyError::NoRevocationList);
        }
        let mut lists = Vec::new();
        for list in revocation_lists {
            match OwnedCertRevocationList::from_der(list) {
                Ok(list) => lists.push(CertRevocationList::from(list)),
                Err(error) => errors.push(PolicyError::Unusable {
                    subject: "revocation list".to_owned(),
                    reason: error.to_string(),
                }),
            }
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        let eku = eku.unwrap_or_else(|| ClientEku::default_for(&allowed));
        let has_namesakes = namesakes::are_among(&lists);
        let revocation_lists = lists;
        Ok(Self { auth, anchors, eku, allowed, revocation_lists, has_namesakes, revocation })
    }

    /// The entries that do not tell the holders of a public CA's certificates apart.
    pub fn too_wide_for_public_ca(
        authorities: &[Certificate],
        allowed: &AllowedClients,
    ) -> Vec<PolicyError> {
        let Some(public) = authorities.iter().find(|authority| is_public_ca(authority)) else {
            return Vec::new();
        };
        let wide = |pattern: &&ClientPattern| {
            matches!(
                pattern,
                ClientPattern::Any | ClientPattern::CommonName(_) | ClientPattern::Email(_)
            )
        };
        let error = |pattern: &ClientPattern| PolicyError::PublicCa {
            authority: public.subject.clone(),
            pattern: pattern.clone(),
        };
        allowed.patterns().iter().filter(wide).map(error).collect()
    }

    /// Whether a certificate is asked for.
    pub fn auth(&self) -> ClientAuth {
        self.auth
    }

    /// Judges a client by the chain that it presented, at the time `now`.
    ///
    /// The same judgement serves the handshake, the resumed connection (whose certificates come
    /// out of the ticket) and the rehearsal.
    ///
    /// # Errors
    /// Why the client may not come in.
    pub fn judge(
        &self,
        presented: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientIdentity, Refusal> {
        let Some((leaf_der, intermediates)) = presented.split_first() else {
            return Err(Refusal { reason: RefusalReason::NoCertificate, certificate: None });
        };
        let certificate = match Certificate::from_der(leaf_der) {
            Ok(certificate) => Arc::new(certificate),
            Err(reason) => {
                let reason = RefusalReason::Unreadable { reason };
                return Err(Refusal { reason, certificate: None });
            }
        };
        let refuse = |reason| Refusal { reason, certificate: Some(Arc::clone(&certificate)) };
        self.verify_chain(leaf_der, intermediates, now)
            .map_err(|error| refuse(RefusalReason::of_chain(&error, &certificate, self.eku)))?;
        // webpki does not ask (RFC 8446, 4.4.2.3 does).
        if certificate.signs == Some(false) {
            return Err(refuse(RefusalReason::WrongKeyUsage));
        }
        match self.allowed.find(&certificate) {
            Some(pattern) => {
                let matched = pattern.clone();
                Ok(ClientIdentity { certificate, matched })
            }
            None => Err(refuse(RefusalReason::NotAllowed)),
        }
    }

    fn verify_chain(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), webpki::Error> {
        let lists: Vec<&CertRevocationList<'_>> = self.revocation_lists.iter().collect();
        let depth = self.revocation.depth;
        let is_not_listed = |path: &VerifiedPath<'_>| listed::check(path, (&lists, depth));
        let Some(namesakes) = self.namesakes() else {
            let asked = self.revocation.options(&lists);
            return self.verify_path((leaf, intermediates), now, (asked, &is_not_listed));
        };
        let left = Cell::new(namesakes::PATHS);
        let is_not_refused = |path: &VerifiedPath<'_>| {
            let others = left.get().checked_sub(1);
            left.set(others.ok_or(webpki::Error::MaximumPathBuildCallsExceeded)?);
            namesakes.check(path, now)
        };
        self.verify_path((leaf, intermediates), now, (None, &is_not_refused))
    }

    /// The lists, if webpki would take one for another's.
    fn namesakes(&self) -> Option<namesakes::Lists<'_>> {
        self.has_namesakes.then_some(namesakes::Lists {
            eku: self.eku,
            all: &self.revocation_lists,
            revocation: self.revocation,
        })
    }

    fn verify_path(
        &self,
        (leaf, intermediates): (&CertificateDer<'_>, &[CertificateDer<'_>]),
        now: UnixTime,
        (revocation, check): (Option<RevocationOptions<'_>>, &PathCheck<'_>),
    ) -> Result<(), webpki::Error> {
        EndEntityCert::try_from(leaf)?
            .verify_for_usage(
                algorithms().all,
                &self.anchors,
                intermediates,
                now,
                EkuPolicy(self.eku),
                revocation,
                Some(check),
            )
            .map(|_path| ())
    }
}

/// What is asked of a path whose signatures are good.
type PathCheck<'a> = dyn Fn(&VerifiedPath<'_>) -> Result<(), webpki::Error> + 'a;

/// The extended key usages that a client's leaf and intermediates may carry. webpki asks for every
/// certificate of the path but the anchor (RFC 5280, 4.2.1.12, as browsers and CAs practise it).
struct EkuPolicy(ClientEku);

impl ExtendedKeyUsageValidator for EkuPolicy {
    fn validate(&self, iter: KeyPurposeIdIter<'_, '_>) -> Result<(), webpki::Error> {
        let mut present = Vec::new();
        for id in iter {
            let id = id?;
            let numbers = id.to_decoded_oid();
            if self.0.allows(&Purpose::of_oid(&numbers)) {
                return Ok(());
            }
            present.push(numbers);
        }
        if present.is_empty() {
            return Ok(());
        }
        let required = match self.0 {
            ClientEku::Server => KeyUsage::server_auth(),
            ClientEku::Client | ClientEku::Either => KeyUsage::client_auth(),
        };
        Err(webpki::Error::RequiredEkuNotFoundContext(RequiredEkuNotFoundContext {
            required,
            present,
        }))
    }
}

/// Hears of every client that the verifier refused, with the reason that the client is not told.
pub trait RefusalObserver: fmt::Debug + Send + Sync {
    /// Called inside the handshake, on the thread that drives it.
    fn refused(&self, refusal: Refusal);

    /// Called likewise with a client that the verifier took; the handshake may still fail, for the
    /// client has yet to prove that it holds the key.
    fn admitted(&self, identity: ClientIdentity) {
        drop(identity);
    }
}

/// The policy as rustls asks for it.
#[derive(Debug)]
pub struct ClientVerifier {
    policy: Arc<ClientPolicy>,
    observer: Arc<dyn RefusalObserver>,
}

impl ClientVerifier {
    /// A verifier that lets `observer` know of refusals.
    pub fn new(policy: Arc<ClientPolicy>, observer: Arc<dyn RefusalObserver>) -> Self {
        Self { policy, observer }
    }
}

impl ClientCertVerifier for ClientVerifier {
    fn offer_client_auth(&self) -> bool {
        self.policy.auth != ClientAuth::None
    }

    fn client_auth_mandatory(&self) -> bool {
        self.policy.auth == ClientAuth::Required
    }

    /// None are sent: Go clients withhold their certificate where its issuer is not in the list.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        match self.policy.judge(&presented(end_entity, intermediates), now) {
            Ok(identity) => {
                self.observer.admitted(identity);
                Ok(ClientCertVerified::assertion())
            }
            Err(refusal) => {
                let error = refusal.reason.certificate_error();
                self.observer.refused(refusal);
                Err(rustls::Error::InvalidCertificate(error))
            }
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, cert, dss, &algorithms())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, cert, dss, &algorithms())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        algorithms().supported_schemes()
    }
}
