//! Which server is the next tier: trusted CAs, and the names of which its certificate must have one.
//!
//! The chain is verified in full, for server authentication, as every TLS client does. What is ours is
//! the decision by listed names, and that every refusal has a reason and a code. The decision is taken
//! inside the TLS handshake, before the first byte of the application goes out.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::{DigitallySignedStruct, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, TrustAnchor, UnixTime};
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert};

use crate::client_policy::{ClientPattern, PatternError};
use crate::credential::Certificate;
use crate::sidecar_config::Upstream;
use crate::text::escape;
use crate::tls::{algorithms, presented};

mod refusal;

pub use refusal::{ServerRefusal, ServerRefusalReason};

/// The names of which the next tier's certificate must have one.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ServerNames {
    /// The host of the upstream, as every TLS client compares it (RFC 9525, 6): a wildcard in the
    /// certificate stands for exactly the leftmost label, an address is a SAN of its own kind, the
    /// subject's CN is not looked at.
    Host(ServerName<'static>),
    /// Entries in the words of the allowed clients, with their meaning: text is compared with text, so
    /// that a wildcard in the *certificate* never satisfies an exact entry, `dns:*.x` takes one
    /// label and the SAN `*.x` itself. Who lists names wants to say which server it is, and a
    /// holder of `*.x` is any of them.
    Listed(Vec<ClientPattern>),
}

impl ServerNames {
    /// The names for `upstream`: the entries, or its host where there are none.
    ///
    /// # Errors
    /// What is wrong with each entry, all at once.
    pub fn new<'a, I>(upstream: &Upstream, entries: I) -> Result<Self, Vec<PatternError>>
    where
        I: IntoIterator<Item = &'a str>,
    {
        let mut patterns = Vec::new();
        let mut errors = Vec::new();
        for entry in entries.into_iter().map(str::trim).filter(|entry| !entry.is_empty()) {
            match entry.parse().and_then(|pattern| of_server(entry, pattern)) {
                Ok(pattern) => patterns.push(pattern),
                Err(error) => errors.push(error),
            }
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        if !patterns.is_empty() {
            return Ok(Self::Listed(patterns));
        }
        host_name(upstream.host()).map(Self::Host).map_err(|error| vec![error])
    }

    fn matches(&self, leaf: &EndEntityCert<'_>, certificate: &Certificate) -> bool {
        match self {
            Self::Host(host) => leaf.verify_is_valid_for_subject_name(host).is_ok(),
            Self::Listed(patterns) => patterns.iter().any(|pattern| pattern.matches(certificate)),
        }
    }

    /// The names as a person reads them.
    pub fn words(&self) -> Vec<String> {
        match self {
            Self::Host(host) => vec![escape(&host.to_str())],
            Self::Listed(patterns) => patterns.iter().map(ToString::to_string).collect(),
        }
    }
}

/// The pattern, where a server can be known by it.
fn of_server(entry: &str, pattern: ClientPattern) -> Result<ClientPattern, PatternError> {
    let reason = match &pattern {
        ClientPattern::Any => {
            "any server of the CA would be taken for the next tier; name it, as in `dns:db.example.com`"
        }
        ClientPattern::CommonName(_) => {
            "a server is known by its subject alternative names, not by its CN (RFC 9525, 2); write `dns:` or `uri:`"
        }
        ClientPattern::Email(_) => "no server is known by a mail address; write `dns:` or `uri:`",
        ClientPattern::Dns(_)
        | ClientPattern::Uri(_)
        | ClientPattern::Ip(_)
        | ClientPattern::Certificate(_)
        | ClientPattern::Key(_) => return Ok(pattern),
    };
    Err(PatternError { entry: entry.to_owned(), reason: reason.to_owned() })
}

fn host_name(host: &str) -> Result<ServerName<'static>, PatternError> {
    let name = host.strip_suffix('.').unwrap_or(host);
    ServerName::try_from(name.to_owned()).map_err(|_syntax| PatternError {
        entry: host.to_owned(),
        reason: "this is neither a DNS name nor an IP address".to_owned(),
    })
}

/// What the `ClientHello` asks for (RFC 6066, 3): `sni` where it is given, else the host of
/// `upstream`. An address is never sent.
///
/// # Errors
/// An override that is no DNS name.
pub fn asked_name(
    upstream: &Upstream,
    sni: Option<&str>,
) -> Result<ServerName<'static>, PatternError> {
    let Some(sni) = sni else { return host_name(upstream.host()) };
    let wrong = |reason: &str| PatternError { entry: sni.to_owned(), reason: reason.to_owned() };
    if sni.parse::<IpAddr>().is_ok() {
        return Err(wrong("an address cannot be asked for (RFC 6066, 3); write a DNS name"));
    }
    match host_name(sni) {
        Ok(name @ ServerName::DnsName(_)) => Ok(name),
        _ => Err(wrong("this is not a DNS name")),
    }
}

/// The CAs to which the next tier's chain must lead.
#[derive(Clone, Copy, Debug)]
pub enum Authorities<'a> {
    /// The roots of Mozilla that were compiled in.
    Mozilla,
    /// These, every one.
    These(&'a [Certificate]),
    /// A bundle of the system's, as far as it can be used.
    Bundle(&'a [Certificate]),
}

/// A policy, ready to judge.
#[derive(Debug)]
pub struct ServerPolicy {
    anchors: Vec<TrustAnchor<'static>>,
    names: ServerNames,
}

/// Why a policy cannot be used as it stands.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ServerPolicyError {
    /// There is no CA to verify the next tier with.
    NoAuthority,
    /// A CA that webpki cannot use.
    Unusable { subject: String, reason: String },
}

impl fmt::Display for ServerPolicyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoAuthority => f.write_str("there is no CA to verify the next tier with"),
            Self::Unusable { subject, reason } => {
                write!(f, "the CA `{}` cannot be used: {reason}", escape(subject))
            }
        }
    }
}

impl std::error::Error for ServerPolicyError {}

impl ServerPolicy {
    /// Makes the policy.
    ///
    /// # Errors
    /// All that is unusable about the authorities, at once.
    pub fn new(
        authorities: Authorities<'_>,
        names: ServerNames,
    ) -> Result<Self, Vec<ServerPolicyError>> {
        let mut errors = Vec::new();
        let mut anchors = Vec::new();
        let certificates = match authorities {
            Authorities::Mozilla => {
                let anchors = webpki_roots::TLS_SERVER_ROOTS.to_vec();
                return Ok(Self { anchors, names });
            }
            Authorities::These(certificates) | Authorities::Bundle(certificates) => certificates,
        };
        for authority in certificates {
            match anchor_from_trusted_cert(authority.der()) {
                Ok(anchor) => anchors.push(anchor.to_owned()),
                Err(_unusable) if matches!(authorities, Authorities::Bundle(_)) => {}
                Err(error) => errors.push(ServerPolicyError::Unusable {
                    subject: authority.subject.clone(),
                    reason: error.to_string(),
                }),
            }
        }
        if anchors.is_empty() && errors.is_empty() {
            errors.push(ServerPolicyError::NoAuthority);
        }
        if errors.is_empty() { Ok(Self { anchors, names }) } else { Err(errors) }
    }

    /// The names of which the certificate must have one.
    pub fn names(&self) -> &ServerNames {
        &self.names
    }

    /// Judges a server by the chain that it presented, at the time `now`.
    ///
    /// The same judgement serves the handshake, the resumed connection and the rehearsal.
    ///
    /// # Errors
    /// Why the server is not the next tier.
    pub fn judge(
        &self,
        presented: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<Arc<Certificate>, ServerRefusal> {
        let Some((leaf_der, intermediates)) = presented.split_first() else {
            let reason = "it presented none".to_owned();
            let reason = ServerRefusalReason::Unreadable { reason };
            return Err(ServerRefusal { reason, certificate: None });
        };
        let certificate = match Certificate::from_der(leaf_der) {
            Ok(certificate) => Arc::new(certificate),
            Err(reason) => {
                let reason = ServerRefusalReason::Unreadable { reason };
                return Err(ServerRefusal { reason, certificate: None });
            }
        };
        let refuse = |reason| ServerRefusal { reason, certificate: Some(Arc::clone(&certificate)) };
        let of_chain = |error| refuse(ServerRefusalReason::of_chain(&error, &certificate));
        let leaf = EndEntityCert::try_from(leaf_der).map_err(of_chain)?;
        leaf.verify_for_usage(
            algorithms().all,
            &self.anchors,
            intermediates,
            now,
            KeyUsage::server_auth(),
            None,
            None,
        )
        .map_err(of_chain)?;
        if self.names.matches(&leaf, &certificate) {
            Ok(certificate)
        } else {
            Err(refuse(ServerRefusalReason::WrongName { expected: self.names.words() }))
        }
    }
}

/// Hears of every server that the verifier refused.
pub trait ServerObserver: fmt::Debug + Send + Sync {
    /// Called inside the handshake, on the thread that drives it.
    fn refused(&self, refusal: ServerRefusal);
}

/// The policy as rustls asks for it.
#[derive(Debug)]
pub struct ServerVerifier {
    policy: Arc<ServerPolicy>,
    observer: Arc<dyn ServerObserver>,
}

impl ServerVerifier {
    /// A verifier that lets `observer` know of refusals.
    pub fn new(policy: Arc<ServerPolicy>, observer: Arc<dyn ServerObserver>) -> Self {
        Self { policy, observer }
    }
}

impl ServerCertVerifier for ServerVerifier {
    /// The name that rustls brings is the one that was asked for, not the one that is expected.
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _asked: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        match self.policy.judge(&presented(end_entity, intermediates), now) {
            Ok(_certificate) => Ok(ServerCertVerified::assertion()),
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

#[cfg(test)]
mod tests;
