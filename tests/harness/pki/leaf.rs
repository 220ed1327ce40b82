//! A certificate to be, in a sentence: `.leaf().dns("a.example").server_only().issue()`.

use std::net::IpAddr;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose, RsaKeySize, SanType, SerialNumber,
};

use super::{Authority, Habit, Issued, Validity};

/// The kind of a key pair to be made.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Key {
    Rsa2048,
    Rsa3072,
    Rsa4096,
    P256,
    P384,
    P521,
    Ed25519,
}

impl Key {
    pub(crate) fn generate(self) -> KeyPair {
        let pair = match self {
            Self::Rsa2048 => rsa(RsaKeySize::_2048),
            Self::Rsa3072 => rsa(RsaKeySize::_3072),
            Self::Rsa4096 => rsa(RsaKeySize::_4096),
            Self::P256 => KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256),
            Self::P384 => KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384),
            Self::P521 => KeyPair::generate_for(&rcgen::PKCS_ECDSA_P521_SHA512),
            Self::Ed25519 => KeyPair::generate_for(&rcgen::PKCS_ED25519),
        };
        pair.expect("a key of this kind can be made")
    }
}

fn rsa(size: RsaKeySize) -> Result<KeyPair, rcgen::Error> {
    KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, size)
}

/// Collects what the certificate shall be.
#[derive(Clone, Debug)]
pub struct LeafBuilder {
    authority: Authority,
    common_name: Option<String>,
    names: Vec<SanType>,
    purposes: Vec<ExtendedKeyUsagePurpose>,
    usages: Vec<KeyUsagePurpose>,
    validity: Validity,
    key: Key,
    pair: Option<Arc<KeyPair>>,
    extensions: Vec<CustomExtension>,
    is_ca: IsCa,
    signed_by_itself: bool,
}

impl LeafBuilder {
    pub(super) fn of(authority: Authority) -> Self {
        let purposes = match authority.habit {
            Habit::Both => {
                vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth]
            }
            Habit::ServerOnly => vec![ExtendedKeyUsagePurpose::ServerAuth],
        };
        Self {
            authority,
            common_name: None,
            names: Vec::new(),
            purposes,
            usages: vec![KeyUsagePurpose::DigitalSignature],
            validity: Validity::days(-1, 90),
            key: Key::P256,
            pair: None,
            extensions: Vec::new(),
            is_ca: IsCa::NoCa,
            signed_by_itself: false,
        }
    }

    /// One more DNS name, wildcards included.
    pub fn dns(self, name: &str) -> Self {
        self.name(SanType::DnsName(name.try_into().expect("a DNS name is ASCII")))
    }

    /// One more URI, such as a SPIFFE identity.
    pub fn uri(self, uri: &str) -> Self {
        self.name(SanType::URI(uri.try_into().expect("a URI is ASCII")))
    }

    /// One more address.
    pub fn ip(self, address: impl Into<IpAddr>) -> Self {
        self.name(SanType::IpAddress(address.into()))
    }

    /// One more mail address.
    pub fn email(self, address: &str) -> Self {
        self.name(SanType::Rfc822Name(address.try_into().expect("a mail address is ASCII")))
    }

    fn name(mut self, name: SanType) -> Self {
        self.names.push(name);
        self
    }

    /// The CN of the subject; else it is the first DNS name, or `leaf`.
    pub fn common_name(mut self, name: &str) -> Self {
        self.common_name = Some(name.to_owned());
        self
    }

    /// Extended key usage serverAuth alone: a balancer's public certificate.
    pub fn server_only(self) -> Self {
        self.purposes([ExtendedKeyUsagePurpose::ServerAuth])
    }

    /// Extended key usage clientAuth alone.
    pub fn client_only(self) -> Self {
        self.purposes([ExtendedKeyUsagePurpose::ClientAuth])
    }

    /// Exactly these extended key usages; none leaves the extension out.
    pub fn purposes(mut self, purposes: impl IntoIterator<Item = ExtendedKeyUsagePurpose>) -> Self {
        self.purposes = purposes.into_iter().collect();
        self
    }

    /// Key usage keyAgreement alone, which allows no signature.
    pub fn for_key_agreement(mut self) -> Self {
        self.usages = vec![KeyUsagePurpose::KeyAgreement];
        self
    }

    /// Without the extension key usage.
    pub fn without_key_usage(mut self) -> Self {
        self.usages = Vec::new();
        self
    }

    /// Valid until yesterday.
    pub fn expired(self) -> Self {
        self.valid(Validity::days(-90, -1))
    }

    /// Valid from tomorrow.
    pub fn not_yet_valid(self) -> Self {
        self.valid(Validity::days(1, 90))
    }

    /// Valid for this time; else from yesterday for 91 days.
    pub fn valid(mut self, validity: Validity) -> Self {
        self.validity = validity;
        self
    }

    /// The kind of the key; else EC P-256.
    pub fn key(mut self, key: Key) -> Self {
        self.key = key;
        self
    }

    /// With the key pair of `other`: a renewal that keeps its key.
    pub fn same_key_as(mut self, other: &Issued) -> Self {
        self.pair = Some(other.pair());
        self
    }

    /// With `CA:TRUE`, as somebody makes it who confuses the two.
    pub fn as_ca(mut self) -> Self {
        self.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        self
    }

    /// With a critical extension that nobody knows (RFC 5280, 4.2: it must be refused).
    pub fn with_unknown_critical_extension(mut self) -> Self {
        let mut extension =
            CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 99999, 1], vec![5, 0]);
        extension.set_criticality(true);
        self.extensions.push(extension);
        self
    }

    /// Signed with its own key, not by the authority.
    pub fn self_signed(mut self) -> Self {
        self.signed_by_itself = true;
        self
    }

    /// Issues it.
    pub fn issue(self) -> Issued {
        let Self { authority, names, key, pair, signed_by_itself, .. } = &self;
        let pair = pair.clone().unwrap_or_else(|| Arc::new(key.generate()));
        let first_dns = names.iter().find_map(|name| match name {
            SanType::DnsName(name) => Some(name.as_str().to_owned()),
            _ => None,
        });
        let subject = self.common_name.clone().or(first_dns).unwrap_or_else(|| "leaf".to_owned());
        let serial = unique_serial();
        let params = self.params(&subject, &serial);
        let certificate = if *signed_by_itself {
            params.self_signed(&*pair)
        } else {
            params.signed_by(&*pair, &authority.issuer)
        }
        .expect("the parameters are complete");
        let intermediates =
            if *signed_by_itself { Vec::new() } else { authority.intermediates.clone() };
        Issued::new(subject, serial, (certificate, pair), intermediates, authority)
    }

    fn params(&self, subject: &str, serial: &[u8]) -> CertificateParams {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, subject);
        params.subject_alt_names.clone_from(&self.names);
        params.extended_key_usages.clone_from(&self.purposes);
        params.key_usages.clone_from(&self.usages);
        params.not_before = self.validity.not_before;
        params.not_after = self.validity.not_after;
        params.serial_number = Some(SerialNumber::from_slice(serial));
        params.custom_extensions.clone_from(&self.extensions);
        params.is_ca = self.is_ca;
        params.use_authority_key_identifier_extension = !self.signed_by_itself;
        params
    }
}

/// Sixteen random bytes that make a positive number (RFC 5280, 4.1.2.2).
pub(super) fn unique_serial() -> Vec<u8> {
    let mut serial = vec![0_u8; 16];
    aws_lc_rs::rand::fill(&mut serial).expect("the system has randomness");
    serial[0] = serial[0] & 0x3f | 0x40;
    serial
}
