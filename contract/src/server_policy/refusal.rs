//! Why a server is not the next tier: for the log, the metric and the rehearsal.

use std::fmt;
use std::sync::Arc;

use rustls::CertificateError;

use crate::client_policy::seconds;
use crate::credential::{Certificate, Purpose};
use crate::problem::Code;
use crate::text::{escape, list, rfc3339};

/// A server that was refused, and why.
#[derive(Clone, Debug)]
pub struct ServerRefusal {
    /// Why.
    pub reason: ServerRefusalReason,
    /// Its certificate, if it could be read.
    pub certificate: Option<Arc<Certificate>>,
}

/// Why a server was refused, in the order in which it is looked at.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ServerRefusalReason {
    /// Its certificate could not be parsed, or is of X.509 version 1.
    Unreadable { reason: String },
    /// Its chain does not lead to a trusted CA.
    UnknownIssuer { issuer: String },
    /// A certificate of the path is after its time.
    Expired { not_after: i64 },
    /// A certificate of the path is before its time.
    NotYetValid { not_before: i64 },
    /// A certificate of the path carries extended key usages without serverAuth; `presented` are
    /// those of that certificate.
    WrongPurpose { presented: Vec<String> },
    /// A CA certificate served as a server's.
    CaAsServer,
    /// The chain fails in another way.
    BadChain { reason: String },
    /// The chain is good, but the certificate has none of the names that are expected.
    WrongName { expected: Vec<String> },
}

impl ServerRefusalReason {
    /// The stable code.
    pub fn code(&self) -> Code {
        Code(match self {
            Self::Unreadable { .. } => 540,
            Self::UnknownIssuer { .. } => 541,
            Self::Expired { .. } => 542,
            Self::NotYetValid { .. } => 543,
            Self::WrongPurpose { .. } => 544,
            Self::CaAsServer => 545,
            Self::BadChain { .. } => 546,
            Self::WrongName { .. } => 547,
        })
    }

    /// A short stable word for metrics.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Unreadable { .. } => "unreadable",
            Self::UnknownIssuer { .. } => "unknown_issuer",
            Self::Expired { .. } => "expired",
            Self::NotYetValid { .. } => "not_yet_valid",
            Self::WrongPurpose { .. } => "wrong_purpose",
            Self::CaAsServer => "ca_as_server",
            Self::BadChain { .. } => "bad_chain",
            Self::WrongName { .. } => "wrong_name",
        }
    }

    pub(super) fn of_chain(error: &webpki::Error, leaf: &Certificate) -> Self {
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
                presented: context
                    .present
                    .iter()
                    .map(|oid| Purpose::of_oid(oid).to_string())
                    .collect(),
            },
            Error::EmptyEkuExtension => Self::WrongPurpose { presented: Vec::new() },
            Error::CaUsedAsEndEntity => Self::CaAsServer,
            Error::UnsupportedCertVersion => {
                Self::Unreadable { reason: "it is X.509 version 1, version 3 is needed".to_owned() }
            }
            other => Self::BadChain { reason: other.to_string() },
        }
    }

    /// The error that makes rustls send the alert which fits (RFC 8446, 6.2).
    pub(super) fn certificate_error(&self) -> CertificateError {
        match self {
            Self::Unreadable { .. } | Self::BadChain { .. } => CertificateError::BadEncoding,
            Self::UnknownIssuer { .. } => CertificateError::UnknownIssuer,
            Self::Expired { .. } => CertificateError::Expired,
            Self::NotYetValid { .. } => CertificateError::NotValidYet,
            Self::WrongPurpose { .. } | Self::CaAsServer => CertificateError::InvalidPurpose,
            Self::WrongName { .. } => CertificateError::NotValidForName,
        }
    }
}

impl fmt::Display for ServerRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.reason {
            ServerRefusalReason::Unreadable { reason } => {
                write!(f, "the certificate of the next tier cannot be read: {}", escape(reason))
            }
            ServerRefusalReason::UnknownIssuer { issuer } => write!(
                f,
                "no trusted CA vouches for the next tier, its issuer is `{}`",
                escape(issuer)
            ),
            ServerRefusalReason::Expired { not_after } => write!(
                f,
                "a certificate of the next tier's chain expired, it was valid until {}",
                rfc3339(*not_after)
            ),
            ServerRefusalReason::NotYetValid { not_before } => write!(
                f,
                "a certificate of the next tier's chain is not valid yet, it is from {}",
                rfc3339(*not_before)
            ),
            ServerRefusalReason::WrongPurpose { presented } => write!(
                f,
                "a certificate of the next tier's chain is for {} only, not for servers",
                list(presented, 4)
            ),
            ServerRefusalReason::CaAsServer => {
                f.write_str("the next tier presented a CA certificate")
            }
            ServerRefusalReason::BadChain { reason } => {
                write!(f, "the next tier's chain is not valid: {}", escape(reason))
            }
            ServerRefusalReason::WrongName { expected } => {
                let names: Vec<String> = self
                    .certificate
                    .iter()
                    .flat_map(|it| it.names())
                    .map(ToString::to_string)
                    .collect();
                write!(
                    f,
                    "the next tier's chain is good, but its certificate is not for {}; its names are {}",
                    list(expected, 8),
                    list(&names, 8)
                )
            }
        }
    }
}
