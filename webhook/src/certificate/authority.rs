//! A certificate authority, and the serving certificates that it issues.

use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use lasthop_contract::credential::{self, Credential, SecretData};
use lasthop_contract::problem::Problem;
use lasthop_contract::text::hex;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SanType,
};
use rustls_pki_types::ServerName;
use time::{Duration, OffsetDateTime};

/// How long an authority is valid. What is signed by it lives by days; only the overlap of two
/// authorities needs the last third of this.
const AUTHORITY_LIFE: Duration = Duration::days(3 * 365);

/// How long a serving certificate is valid.
pub(super) const LEAF_LIFE: Duration = Duration::days(7);

/// Clocks of API servers may be behind by this much.
const BACKDATED: Duration = Duration::hours(1);

/// Why a certificate could not be made or read.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// The library of certificates refused.
    #[error("cannot make a certificate: {0}")]
    Make(#[from] rcgen::Error),
    /// What is stored is no authority.
    #[error("the stored certificate authority cannot be used: {0}")]
    Stored(String),
}

/// A certificate authority with its key.
#[derive(Clone, Eq, PartialEq)]
pub struct Authority {
    /// The certificate, as PEM.
    pub certificate: String,
    key: String,
    name: String,
    /// The beginning of its time, as Unix time in seconds.
    pub not_before: i64,
    /// The end of its time, as Unix time in seconds.
    pub not_after: i64,
}

impl Authority {
    /// A new authority, valid from `now` (Unix time in seconds).
    pub fn generate(now: i64) -> Result<Self, AuthorityError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        // Several authorities may be trusted at a time; each has a name of its own, so that nobody
        // tries the wrong one.
        let id = key.public_key_raw().get(1..5).map(hex).unwrap_or_default();
        let name = format!("lasthop webhook CA {id}");
        let mut params = params(&name);
        (params.not_before, params.not_after) = validity(now, AUTHORITY_LIFE);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&key)?;
        Ok(Self {
            certificate: pem(certificate.der()),
            key: key.serialize_pem(),
            name,
            not_before: params.not_before.unix_timestamp(),
            not_after: params.not_after.unix_timestamp(),
        })
    }

    /// The authority of which `certificate` and `key` are the PEM.
    pub fn read(certificate: &str, key: &str) -> Result<Self, AuthorityError> {
        let reading = credential::read(&secret_data(certificate, key));
        let Some(credential) = reading.credential else {
            let problems: Vec<_> = reading.problems.iter().map(Problem::message).collect();
            return Err(AuthorityError::Stored(problems.join("; ")));
        };
        let leaf = credential.leaf();
        let name = leaf.common_name.clone().unwrap_or_default();
        if leaf.subject != format!("CN={name}") {
            let reason = format!("its subject is `{}`, made by something else", leaf.subject);
            return Err(AuthorityError::Stored(reason));
        }
        Ok(Self {
            certificate: pem(leaf.der()),
            key: key.to_owned(),
            name,
            not_before: leaf.not_before,
            not_after: leaf.not_after,
        })
    }

    /// When it was made, as Unix time in seconds.
    pub(super) fn made_at(&self) -> i64 {
        self.not_before + BACKDATED.whole_seconds()
    }

    /// The private key as PEM, for the Secret and for nothing else.
    pub(super) fn key_pem(&self) -> &str {
        &self.key
    }

    /// A serving certificate for `names`, valid from `now` (Unix time in seconds), with a key of
    /// its own.
    pub fn issue(&self, names: &[ServedName], now: i64) -> Result<Credential, AuthorityError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut leaf = params("lasthop webhook");
        (leaf.not_before, leaf.not_after) = validity(now, LEAF_LIFE);
        leaf.use_authority_key_identifier_extension = true;
        leaf.is_ca = IsCa::ExplicitNoCa;
        leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        for name in names {
            leaf.subject_alt_names.push(name.to_san()?);
        }
        let issuer = Issuer::new(params(&self.name), KeyPair::from_pem(&self.key)?);
        let certificate = leaf.signed_by(&key, &issuer)?;
        let reading = credential::read(&secret_data(&certificate.pem(), &key.serialize_pem()));
        let problems: Vec<_> = reading.problems.iter().map(Problem::message).collect();
        reading.credential.ok_or_else(|| AuthorityError::Stored(problems.join("; ")))
    }
}

/// Names the authority; its key stays unprinted.
impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority").field("name", &self.name).finish_non_exhaustive()
    }
}

/// A name under which the webhook is called.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ServedName {
    /// A DNS name.
    Dns(String),
    /// An address.
    Ip(IpAddr),
}

impl ServedName {
    /// An address where `word` is one, else a DNS name.
    pub fn parse(word: &str) -> Self {
        word.parse().map_or_else(|_| Self::Dns(word.to_owned()), Self::Ip)
    }

    /// The name as a client verifies it.
    pub(super) fn to_server_name(&self) -> Option<ServerName<'_>> {
        match self {
            Self::Dns(name) => ServerName::try_from(name.as_str()).ok(),
            Self::Ip(address) => Some(ServerName::IpAddress((*address).into())),
        }
    }

    fn to_san(&self) -> Result<SanType, rcgen::Error> {
        Ok(match self {
            Self::Dns(name) => SanType::DnsName(name.as_str().try_into()?),
            Self::Ip(address) => SanType::IpAddress(*address),
        })
    }
}

/// A certificate as PEM (RFC 7468), in exactly one way.
pub(super) fn pem(der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let mut pem = "-----BEGIN CERTIFICATE-----\n".to_owned();
    for line in text.as_bytes().chunks(64) {
        pem.extend(line.iter().copied().map(char::from));
        pem.push('\n');
    }
    pem.push_str("-----END CERTIFICATE-----\n");
    pem
}

fn params(common_name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params
}

fn validity(now: i64, life: Duration) -> (OffsetDateTime, OffsetDateTime) {
    let now = OffsetDateTime::from_unix_timestamp(now).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    (now - BACKDATED, now + life)
}

fn secret_data(certificate: &str, key: &str) -> SecretData {
    [("tls.crt", certificate), ("tls.key", key)]
        .map(|(name, value)| (name.to_owned(), value.as_bytes().to_vec()))
        .into()
}
