//! One X.509 certificate and the facts that rules, policies and logs ask for.

use std::fmt;
use std::net::IpAddr;

use rustls_pki_types::CertificateDer;
use x509_parser::prelude::*;
use x509_parser::public_key::PublicKey;

use crate::text::hex;

/// The kind of a key pair, as people name it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum KeyKind {
    /// RSA, with the length of the modulus in bits.
    Rsa(usize),
    /// Elliptic curve P-256.
    P256,
    /// Elliptic curve P-384.
    P384,
    /// Elliptic curve P-521.
    P521,
    /// Ed25519.
    Ed25519,
    /// Anything else.
    Other,
}

impl KeyKind {
    /// The kind of a DER-encoded `SubjectPublicKeyInfo` (RFC 5280, 4.1.2.7).
    pub fn of_spki(spki: &[u8]) -> Self {
        SubjectPublicKeyInfo::from_der(spki).map_or(Self::Other, |(_, info)| Self::of(&info))
    }

    fn of(info: &SubjectPublicKeyInfo<'_>) -> Self {
        let curve =
            || info.algorithm.parameters.as_ref()?.as_oid().ok().map(|oid| oid.to_id_string());
        match info.algorithm.algorithm.to_id_string().as_str() {
            "1.2.840.113549.1.1.1" => match info.parsed() {
                Ok(PublicKey::RSA(key)) => Self::Rsa(key.key_size()),
                _ => Self::Other,
            },
            "1.2.840.10045.2.1" => match curve().as_deref() {
                Some("1.2.840.10045.3.1.7") => Self::P256,
                Some("1.3.132.0.34") => Self::P384,
                Some("1.3.132.0.35") => Self::P521,
                _ => Self::Other,
            },
            "1.3.101.112" => Self::Ed25519,
            _ => Self::Other,
        }
    }

    /// Whether TLS libraries of today load and accept it.
    pub fn is_served(self) -> bool {
        match self {
            Self::Rsa(bits) => (2048..=8192).contains(&bits),
            Self::P256 | Self::P384 | Self::P521 | Self::Ed25519 => true,
            Self::Other => false,
        }
    }
}

impl fmt::Display for KeyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rsa(bits) => write!(f, "RSA {bits}"),
            Self::P256 => f.write_str("EC P-256"),
            Self::P384 => f.write_str("EC P-384"),
            Self::P521 => f.write_str("EC P-521"),
            Self::Ed25519 => f.write_str("Ed25519"),
            Self::Other => f.write_str("of an unknown kind"),
        }
    }
}

/// A subject alternative name (RFC 5280, 4.2.1.6).
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Name {
    /// A DNS name, in lower case, possibly with a wildcard.
    Dns(String),
    /// A URI, SPIFFE identities among them.
    Uri(String),
    /// An address.
    Ip(IpAddr),
    /// A mail address.
    Email(String),
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dns(name) => write!(f, "dns:{name}"),
            Self::Uri(uri) => write!(f, "uri:{uri}"),
            Self::Ip(address) => write!(f, "ip:{address}"),
            Self::Email(address) => write!(f, "email:{address}"),
        }
    }
}

/// An extended key usage (RFC 5280, 4.2.1.12).
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Purpose {
    /// serverAuth.
    Server,
    /// clientAuth.
    Client,
    /// anyExtendedKeyUsage.
    Any,
    /// Any other, by name or object identifier.
    Other(String),
}

impl Purpose {
    /// The purpose with this object identifier (RFC 5280, 4.2.1.12).
    pub(crate) fn of_oid(numbers: &[usize]) -> Self {
        match numbers {
            [1, 3, 6, 1, 5, 5, 7, 3, last] => match last {
                1 => Self::Server,
                2 => Self::Client,
                3 => Self::Other("codeSigning".to_owned()),
                4 => Self::Other("emailProtection".to_owned()),
                8 => Self::Other("timeStamping".to_owned()),
                9 => Self::Other("OCSPSigning".to_owned()),
                _ => Self::Other(dotted(numbers)),
            },
            [2, 5, 29, 37, 0] => Self::Any,
            _ => Self::Other(dotted(numbers)),
        }
    }
}

fn dotted(numbers: &[usize]) -> String {
    let numbers: Vec<String> = numbers.iter().map(ToString::to_string).collect();
    numbers.join(".")
}

impl fmt::Display for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Server => f.write_str("serverAuth"),
            Self::Client => f.write_str("clientAuth"),
            Self::Any => f.write_str("anyExtendedKeyUsage"),
            Self::Other(name) => f.write_str(name),
        }
    }
}

/// A certificate: its bytes, and what was read from them.
#[derive(Clone, Debug)]
pub struct Certificate {
    der: CertificateDer<'static>,
    spki: Vec<u8>,
    subject_der: Vec<u8>,
    issuer_der: Vec<u8>,
    found_in: String,
    /// The subject as text (`CN=web, O=Example`).
    pub subject: String,
    /// The issuer as text.
    pub issuer: String,
    /// The first common name of the subject.
    pub common_name: Option<String>,
    /// How many common names the subject has.
    pub common_names: usize,
    /// Whether the key may sign, as TLS makes it do (RFC 5280, 4.2.1.3); [`None`] without the
    /// extension, which forbids nothing.
    pub signs: Option<bool>,
    /// The serial number as hexadecimal digits.
    pub serial: String,
    /// The subject alternative names; [`None`] where the extension is absent.
    pub names: Option<Vec<Name>>,
    /// Unix time in seconds from which it is valid.
    pub not_before: i64,
    /// Unix time in seconds until which it is valid.
    pub not_after: i64,
    /// The X.509 version: 1 or 3.
    pub version: u32,
    /// Whether the basic constraints say CA.
    pub is_ca: bool,
    /// The extended key usages; [`None`] where the extension is absent.
    pub purposes: Option<Vec<Purpose>>,
    /// The kind of its public key.
    pub key: KeyKind,
    /// The algorithm it is signed with, where TLS libraries refuse it.
    pub weak_signature: Option<&'static str>,
}

impl Certificate {
    /// Reads a DER-encoded certificate.
    ///
    /// # Errors
    /// What the parser could not make sense of, in words.
    pub fn from_der(der: &[u8]) -> Result<Self, String> {
        let (rest, parsed) = X509Certificate::from_der(der).map_err(|error| in_words(&error))?;
        if !rest.is_empty() {
            return Err(format!("{} bytes follow its end", rest.len()));
        }
        let names = match parsed.subject_alternative_name() {
            Ok(extension) => extension.map(|extension| names(&extension.value.general_names)),
            Err(error) => return Err(format!("subject alternative name: {error}")),
        };
        let purposes = match parsed.extended_key_usage() {
            Ok(extension) => extension.map(|extension| purposes(extension.value)),
            Err(error) => return Err(format!("extended key usage: {error}")),
        };
        let signs = match parsed.key_usage() {
            Ok(extension) => extension.map(|extension| extension.value.digital_signature()),
            Err(error) => return Err(format!("key usage: {error}")),
        };
        let common_name = parsed
            .subject()
            .iter_common_name()
            .next()
            .and_then(|name| name.as_str().ok())
            .map(ToOwned::to_owned);
        Ok(Self {
            spki: parsed.public_key().raw.to_vec(),
            subject_der: parsed.subject().as_raw().to_vec(),
            issuer_der: parsed.issuer().as_raw().to_vec(),
            found_in: String::new(),
            subject: parsed.subject().to_string(),
            issuer: parsed.issuer().to_string(),
            common_name,
            common_names: parsed.subject().iter_common_name().count(),
            signs,
            serial: hex(parsed.raw_serial()),
            names,
            not_before: parsed.validity().not_before.timestamp(),
            not_after: parsed.validity().not_after.timestamp(),
            version: parsed.version().0 + 1,
            is_ca: parsed.is_ca(),
            purposes,
            key: KeyKind::of(parsed.public_key()),
            weak_signature: weak_signature(&parsed.signature_algorithm.algorithm.to_id_string()),
            der: CertificateDer::from(der.to_vec()),
        })
    }

    /// The same, found under `key` of a Secret.
    #[must_use]
    pub(super) fn found_under(mut self, key: &str) -> Self {
        key.clone_into(&mut self.found_in);
        self
    }

    /// The Secret's data key that it was read from.
    pub fn found_in(&self) -> &str {
        &self.found_in
    }

    /// The DER encoding.
    pub fn der(&self) -> &CertificateDer<'static> {
        &self.der
    }

    /// The DER-encoded `SubjectPublicKeyInfo`.
    pub fn spki(&self) -> &[u8] {
        &self.spki
    }

    /// Whether subject and issuer are the same name.
    pub fn is_self_issued(&self) -> bool {
        self.subject_der == self.issuer_der
    }

    /// Whether `self` names `issuer` as its issuer.
    pub fn names_issuer(&self, issuer: &Self) -> bool {
        self.issuer_der == issuer.subject_der
    }

    /// The DER-encoded subject, as trust anchors keep it.
    pub fn subject_der(&self) -> &[u8] {
        &self.subject_der
    }

    /// The DER-encoded issuer name.
    pub fn issuer_der(&self) -> &[u8] {
        &self.issuer_der
    }

    /// The subject as RFC 4514 writes it, in ASCII.
    pub fn subject_rfc4514(&self) -> String {
        super::name::rfc4514(&self.subject_der).unwrap_or_default()
    }

    /// The issuer as RFC 4514 writes it, in ASCII.
    pub fn issuer_rfc4514(&self) -> String {
        super::name::rfc4514(&self.issuer_der).unwrap_or_default()
    }

    /// The SHA-256 fingerprint of the certificate.
    pub fn fingerprint(&self) -> [u8; 32] {
        sha256(&self.der)
    }

    /// The SHA-256 digest of the public key.
    pub fn key_fingerprint(&self) -> [u8; 32] {
        sha256(&self.spki)
    }

    /// The subject alternative names, none where the extension is absent.
    pub fn names(&self) -> &[Name] {
        self.names.as_deref().unwrap_or_default()
    }

    /// The DNS names, as they stand in the certificate.
    pub fn dns_names(&self) -> impl Iterator<Item = &str> {
        self.names().iter().filter_map(|name| match name {
            Name::Dns(name) => Some(name.as_str()),
            _ => None,
        })
    }

    /// Whether a client that asks for `host` accepts the certificate (RFC 9525, 6.3): the same
    /// name, or a wildcard for exactly the leftmost label. A `host` which is itself a wildcard is
    /// covered by that very wildcard only.
    pub fn covers(&self, host: &str) -> bool {
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        if let Ok(address) = host.parse::<IpAddr>() {
            return self.names().contains(&Name::Ip(address));
        }
        self.dns_names().any(|name| dns_covers(name, &host))
    }
}

/// Whether the certificate's `name` covers `host`; both in lower case.
pub(crate) fn dns_covers(name: &str, host: &str) -> bool {
    name == host
        || match (name.strip_prefix("*."), host.split_once('.')) {
            (Some(parent), Some((label, rest))) => {
                !label.is_empty() && label != "*" && parent == rest
            }
            _ => false,
        }
}

/// The parser's own words are for programmers where it stumbled over the encoding.
pub(super) fn in_words(error: &nom::Err<X509Error>) -> String {
    use nom::Err;
    use nom::error::ErrorKind;
    match error {
        Err::Incomplete(_)
        | Err::Error(X509Error::NomError(ErrorKind::Eof))
        | Err::Failure(X509Error::NomError(ErrorKind::Eof)) => "its DER ends too early".to_owned(),
        Err::Error(X509Error::NomError(_) | X509Error::Der(_))
        | Err::Failure(X509Error::NomError(_) | X509Error::Der(_)) => {
            "its DER is damaged or of something else".to_owned()
        }
        Err::Error(error) | Err::Failure(error) => error.to_string(),
    }
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes);
    digest.as_ref().try_into().expect("SHA-256 has 32 bytes")
}

fn names(general: &[GeneralName<'_>]) -> Vec<Name> {
    general
        .iter()
        .filter_map(|name| match name {
            GeneralName::DNSName(name) => Some(Name::Dns(name.to_ascii_lowercase())),
            GeneralName::URI(uri) => Some(Name::Uri((*uri).to_owned())),
            GeneralName::RFC822Name(address) => Some(Name::Email((*address).to_owned())),
            GeneralName::IPAddress(bytes) => address(bytes).map(Name::Ip),
            _ => None,
        })
        .collect()
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    if let Ok(four) = <[u8; 4]>::try_from(bytes) {
        return Some(IpAddr::from(four));
    }
    <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from)
}

fn purposes(usage: &ExtendedKeyUsage<'_>) -> Vec<Purpose> {
    let named = [
        (usage.server_auth, Purpose::Server),
        (usage.client_auth, Purpose::Client),
        (usage.any, Purpose::Any),
        (usage.code_signing, Purpose::Other("codeSigning".to_owned())),
        (usage.email_protection, Purpose::Other("emailProtection".to_owned())),
        (usage.time_stamping, Purpose::Other("timeStamping".to_owned())),
        (usage.ocsp_signing, Purpose::Other("OCSPSigning".to_owned())),
    ];
    let others = usage.other.iter().map(|oid| Purpose::Other(oid.to_id_string()));
    named.into_iter().filter(|(is, _)| *is).map(|(_, purpose)| purpose).chain(others).collect()
}

fn weak_signature(oid: &str) -> Option<&'static str> {
    Some(match oid {
        "1.2.840.113549.1.1.4" => "MD5 with RSA",
        "1.2.840.113549.1.1.5" => "SHA-1 with RSA",
        "1.2.840.10045.4.1" => "SHA-1 with ECDSA",
        "1.2.840.10040.4.3" => "SHA-1 with DSA",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::dns_covers;

    #[test]
    fn a_wildcard_stands_for_exactly_one_label() {
        assert!(dns_covers("a.example.com", "a.example.com"));
        assert!(dns_covers("*.example.com", "a.example.com"));
        assert!(dns_covers("*.example.com", "*.example.com"));
        assert!(!dns_covers("*.example.com", "example.com"));
        assert!(!dns_covers("*.example.com", "a.b.example.com"));
        assert!(!dns_covers("a.example.com", "*.example.com"));
        assert!(!dns_covers("*.com", "*.example.com"));
        assert!(!dns_covers("*.example.com", ".example.com"));
    }
}
