//! Why a client may not come in: for the log, the metric and the rehearsal, never for the client.

use std::fmt;
use std::sync::Arc;

use rustls_pki_types::UnixTime;

use super::{CertificateError, ClientEku, Code};
use crate::credential::{Certificate, Purpose};
use crate::text::{escape, list, rfc3339};

/// A client that was refused, and why.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// Why.
    pub reason: RefusalReason,
    /// Its certificate, if it presented one that could be read.
    pub certificate: Option<Arc<Certificate>>,
}

/// Why a client was refused, in the order in which it is looked at.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum RefusalReason {
    /// None was presented.
    NoCertificate,
    /// It could not be parsed, or is of X.509 version 1.
    Unreadable { reason: String },
    /// Its chain does not lead to a trusted CA.
    UnknownIssuer { issuer: String },
    /// A certificate of the path is after its time.
    Expired { not_after: i64 },
    /// A certificate of the path is before its time.
    NotYetValid { not_before: i64 },
    /// A certificate of the path, often the client's own, carries extended key usages that the
    /// policy does not take; `presented` are those of that certificate.
    WrongPurpose { accepted: ClientEku, presented: Vec<String> },
    /// A CA certificate presented by a client.
    CaAsClient,
    /// Its CA took it back.
    Revoked,
    /// No current revocation list says anything about it.
    RevocationUnknown,
    /// The chain fails in another way.
    BadChain { reason: String },
    /// The key usages of its certificate do not include digitalSignature.
    WrongKeyUsage,
    /// The chain is good, but nobody allowed this identity.
    NotAllowed,
}

impl RefusalReason {
    /// The stable code.
    pub fn code(&self) -> Code {
        Code(match self {
            Self::NoCertificate => 501,
            Self::Unreadable { .. } => 502,
            Self::UnknownIssuer { .. } => 503,
            Self::Expired { .. } => 504,
            Self::NotYetValid { .. } => 505,
            Self::WrongPurpose { .. } => 506,
            Self::CaAsClient => 507,
            Self::Revoked => 508,
            Self::RevocationUnknown => 509,
            Self::BadChain { .. } => 510,
            Self::NotAllowed => 511,
            Self::WrongKeyUsage => 512,
        })
    }

    /// A short stable word for metrics.
    pub fn word(&self) -> &'static str {
        match self {
            Self::NoCertificate => "no_certificate",
            Self::Unreadable { .. } => "unreadable",
            Self::UnknownIssuer { .. } => "unknown_issuer",
            Self::Expired { .. } => "expired",
            Self::NotYetValid { .. } => "not_yet_valid",
            Self::WrongPurpose { .. } => "wrong_purpose",
            Self::CaAsClient => "ca_as_client",
            Self::Revoked => "revoked",
            Self::RevocationUnknown => "revocation_unknown",
            Self::BadChain { .. } => "bad_chain",
            Self::NotAllowed => "not_allowed",
            Self::WrongKeyUsage => "wrong_key_usage",
        }
    }

    pub(super) fn of_chain(error: &webpki::Error, leaf: &Certificate, eku: ClientEku) -> Self {
        use webpki::Error;
        match error {
            // Of whichever certificate of the path it is.
            Error::CertExpired { not_after, .. } => {
                Self::Expired { not_after: seconds(*not_after) }
            }
            Error::CertNotValidYet { not_before, .. } => {
                Self::NotYetValid { not_before: seconds(*not_before) }
            }
            Error::UnknownIssuer => Self::UnknownIssuer { issuer: leaf.issuer.clone() },
            Error::RequiredEkuNotFoundContext(context) => Self::WrongPurpose {
                accepted: eku,
                presented: context
                    .present
                    .iter()
                    .map(|oid| Purpose::of_oid(oid).to_string())
                    .collect(),
            },
            Error::EmptyEkuExtension => Self::WrongPurpose { accepted: eku, presented: Vec::new() },
            Error::CaUsedAsEndEntity => Self::CaAsClient,
            Error::CertRevoked => Self::Revoked,
            Error::UnknownRevocationStatus | Error::CrlExpired { .. } => Self::RevocationUnknown,
            Error::UnsupportedCertVersion => {
                Self::Unreadable { reason: "it is X.509 version 1, version 3 is needed".to_owned() }
            }
            other => Self::BadChain { reason: other.to_string() },
        }
    }

    /// The error that makes rustls send the alert which fits: the stranger learns no more from it
    /// than that (RFC 8446, 6.2).
    pub(super) fn certificate_error(&self) -> CertificateError {
        match self {
            Self::Unreadable { .. } | Self::BadChain { .. } => CertificateError::BadEncoding,
            Self::UnknownIssuer { .. } => CertificateError::UnknownIssuer,
            Self::Expired { .. } => CertificateError::Expired,
            Self::NotYetValid { .. } => CertificateError::NotValidYet,
            Self::WrongPurpose { .. } | Self::CaAsClient | Self::WrongKeyUsage => {
                CertificateError::InvalidPurpose
            }
            Self::Revoked => CertificateError::Revoked,
            Self::RevocationUnknown => CertificateError::UnknownRevocationStatus,
            Self::NoCertificate | Self::NotAllowed => {
                CertificateError::ApplicationVerificationFailure
            }
        }
    }
}

/// Unix time in seconds.
pub(crate) fn seconds(time: UnixTime) -> i64 {
    i64::try_from(time.as_secs()).unwrap_or(i64::MAX)
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.reason {
            RefusalReason::NoCertificate => f.write_str("no client certificate was presented"),
            RefusalReason::Unreadable { reason } => {
                write!(f, "the client certificate cannot be read: {}", escape(reason))
            }
            RefusalReason::UnknownIssuer { issuer } => {
                write!(
                    f,
                    "no trusted CA vouches for the client, its issuer is `{}`",
                    escape(issuer)
                )
            }
            RefusalReason::Expired { not_after } => {
                write!(
                    f,
                    "a certificate of the client's chain expired, it was valid until {}",
                    rfc3339(*not_after)
                )
            }
            RefusalReason::NotYetValid { not_before } => {
                write!(
                    f,
                    "a certificate of the client's chain is not valid yet, it is from {}",
                    rfc3339(*not_before)
                )
            }
            RefusalReason::WrongPurpose { accepted, presented } => write!(
                f,
                "a certificate of the client's chain is for {} only, client-eku is `{}`",
                list(presented, 4),
                accepted.word()
            ),
            RefusalReason::WrongKeyUsage => f.write_str(
                "the key usage of the client's certificate lacks digitalSignature, which TLS needs",
            ),
            RefusalReason::CaAsClient => f.write_str("the client presented a CA certificate"),
            RefusalReason::Revoked => f.write_str("the client's certificate was revoked by its CA"),
            RefusalReason::RevocationUnknown => {
                f.write_str("no current revocation list covers the client's certificate")
            }
            RefusalReason::BadChain { reason } => {
                write!(f, "the client's chain is not valid: {}", escape(reason))
            }
            RefusalReason::NotAllowed => {
                let names: Vec<String> = self
                    .certificate
                    .iter()
                    .flat_map(|it| it.names())
                    .map(ToString::to_string)
                    .collect();
                write!(
                    f,
                    "the client's chain is good, but none of its names ({}) is in allowed-clients",
                    list(&names, 8)
                )
            }
        }
    }
}
