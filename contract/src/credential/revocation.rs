//! Revocation lists that are whole, and that webpki does not take all the same.

use std::fmt;

use webpki::{Error, OwnedCertRevocationList};
use x509_parser::prelude::*;

/// What a revocation list lacks of RFC 5280's profile, or has beyond what webpki knows. A sidecar
/// judges clients by webpki, so such a list would end it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum UnusableList {
    /// Version 1, which has no extensions: `openssl ca -gencrl` without `crlnumber` and
    /// `crl_extensions` (RFC 5280, 5.1.2.1).
    Version1,
    /// Version 2, and no extension all the same (RFC 5280, 5.2).
    NoExtensions,
    /// Without the time of the next one (RFC 5280, 5.1.2.5).
    NoNextUpdate,
    /// What changed since another list (RFC 5280, 5.2.4).
    Delta,
    /// Of certificates that other CAs issued (RFC 5280, 5.2.5).
    Indirect,
    /// A part of the reasons, or of the certificates, in a way that webpki does not know.
    Partial,
    /// Anything else, in webpki's own word.
    Other(String),
}

impl UnusableList {
    /// Whether webpki takes the list.
    pub(super) fn check(der: &[u8], list: &CertificateRevocationList<'_>) -> Result<(), Self> {
        let Err(error) = OwnedCertRevocationList::from_der(der) else { return Ok(()) };
        Err(match error {
            _ if list.version().is_none() => Self::Version1,
            _ if list.next_update().is_none() => Self::NoNextUpdate,
            _ if list.extensions().is_empty() => Self::NoExtensions,
            Error::UnsupportedDeltaCrl => Self::Delta,
            Error::UnsupportedIndirectCrl => Self::Indirect,
            Error::UnsupportedRevocationReasonsPartitioning
            | Error::UnsupportedCrlIssuingDistributionPoint => Self::Partial,
            other => Self::Other(other.to_string()),
        })
    }

    /// What to do about the list in `key`.
    pub(crate) fn help(&self, key: &str) -> String {
        match self {
            Self::Version1 | Self::NoExtensions => format!(
                "make it with extensions, which makes it version 2: `crl_extensions` in the CA's configuration, or \
                 `openssl ca -gencrl -crlexts SECTION -out {key}`"
            ),
            Self::NoNextUpdate => {
                format!("say until when it holds: `openssl ca -gencrl -crldays 30 -out {key}`")
            }
            Self::Delta | Self::Indirect | Self::Partial => {
                "take the CA's full list, of all reasons and of its own certificates".to_owned()
            }
            Self::Other(_) => format!("`openssl crl -in {key} -noout -text` shows what it holds"),
        }
    }
}

impl fmt::Display for UnusableList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Version1 => "it is of version 1, which has no extensions, version 2 is needed",
            Self::NoExtensions => "it has no extensions",
            Self::NoNextUpdate => "it has no `nextUpdate`",
            Self::Delta => "it is a delta list, which only holds what changed since another",
            Self::Indirect => "it is an indirect list, which is about certificates of other CAs",
            Self::Partial => "it is about some reasons or some certificates only",
            Self::Other(error) => return write!(f, "`{error}`"),
        })
    }
}
