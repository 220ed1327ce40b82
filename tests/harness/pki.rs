//! Certificates made in the run: authorities, what they issue, and all that can be wrong with it.
//!
//! ```text
//! let pki = Pki::new();
//! let alb = pki.authority("alb-ca").leaf().dns("*.c.example").server_only().issue();
//! let stranger = pki.public_authority().leaf().dns("other.example").issue();
//! ```

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, RevocationReason,
    RevokedCertParams, SerialNumber,
};
use tempfile::TempDir;
use time::{Duration, OffsetDateTime};

use crate::sidecar::HOST;

mod issued;
mod leaf;

pub use issued::{Files, Issued, SecretData, to_pem};
pub use leaf::{Key, LeafBuilder};

/// Authorities by name, and a directory for the files that curl and openssl want to read.
#[derive(Debug)]
pub struct Pki {
    authorities: Mutex<BTreeMap<String, Authority>>,
    files: Arc<TempDir>,
}

impl Default for Pki {
    fn default() -> Self {
        Self::new()
    }
}

impl Pki {
    /// No authority yet.
    pub fn new() -> Self {
        let files =
            TempDir::with_prefix("lasthop-pki-").expect("a temporary directory can be made");
        Self { authorities: Mutex::default(), files: Arc::new(files) }
    }

    /// The root CA of that name, made at the first call.
    pub fn authority(&self, name: &str) -> Authority {
        self.remembered(name, |files| Authority::root(name, Validity::long(), files))
    }

    /// What a sidecar serves in most tests: for [`HOST`], of the CA that clients believe.
    pub fn server(&self) -> Issued {
        self.authority("server-ca").leaf().dns(HOST).issue()
    }

    /// A new root CA that is valid for some time only.
    pub fn authority_for(&self, name: &str, validity: Validity) -> Authority {
        self.remembered(name, |files| Authority::root(name, validity, files))
    }

    /// A CA like Let's Encrypt: a root, an intermediate that issues, and leaves for serverAuth only
    /// with one of their DNS names as CN.
    pub fn public_authority(&self) -> Authority {
        let root = self.authority("Publicly Trusted Root X1");
        self.remembered("Publicly Trusted R12", |_files| {
            let both = [ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
            let mut authority = root.intermediate_for("Publicly Trusted R12", &both);
            authority.habit = Habit::ServerOnly;
            authority
        })
    }

    /// A root CA whose own time is over.
    pub fn expired_authority(&self, name: &str) -> Authority {
        self.remembered(name, |files| Authority::root(name, Validity::days(-800, -1), files))
    }

    /// Where the files of this PKI are written; gone when the last handle of it is.
    pub fn directory(&self) -> &Path {
        self.files.path()
    }

    /// Writes `bytes` to a file of this name in [`Self::directory`].
    pub fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.directory().join(name);
        std::fs::write(&path, bytes).expect("a temporary file can be written");
        path
    }

    fn remembered(&self, name: &str, make: impl FnOnce(Arc<TempDir>) -> Authority) -> Authority {
        let find = |authorities: &BTreeMap<String, Authority>| authorities.get(name).cloned();
        let lock = || self.authorities.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = find(&lock()) {
            return known;
        }
        let made = make(Arc::clone(&self.files));
        lock().entry(name.to_owned()).or_insert(made).clone()
    }
}

/// From when until when a certificate is valid.
#[derive(Clone, Copy, Debug)]
pub struct Validity {
    pub(crate) not_before: OffsetDateTime,
    pub(crate) not_after: OffsetDateTime,
}

impl Validity {
    /// From `from` days after now until `until` days after now; negative days are past.
    pub fn days(from: i64, until: i64) -> Self {
        let now = OffsetDateTime::now_utc();
        Self { not_before: now + Duration::days(from), not_after: now + Duration::days(until) }
    }

    /// From an hour ago until in `seconds` seconds.
    pub fn for_seconds(seconds: i64) -> Self {
        let now = OffsetDateTime::now_utc();
        Self { not_before: now - Duration::HOUR, not_after: now + Duration::seconds(seconds) }
    }

    fn long() -> Self {
        Self::days(-30, 3650)
    }
}

/// What an authority puts into a leaf where the test says nothing.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Habit {
    /// serverAuth and clientAuth, as a private CA does.
    Both,
    /// serverAuth, as the public CAs do since 2026.
    ServerOnly,
}

/// A certificate authority, root or intermediate.
#[derive(Clone, Debug)]
pub struct Authority {
    name: String,
    serial: Vec<u8>,
    issuer: Arc<Issuer<'static, KeyPair>>,
    certificate: rcgen::Certificate,
    key: Arc<KeyPair>,
    /// The certificates from this authority's own up to the one below the root; empty for a root.
    intermediates: Vec<rcgen::Certificate>,
    root: rcgen::Certificate,
    habit: Habit,
    files: Arc<TempDir>,
}

impl Authority {
    fn root(name: &str, validity: Validity, files: Arc<TempDir>) -> Self {
        let params = authority_params(name, validity);
        let key = KeyPair::generate().expect("an EC key can be made");
        let certificate = params.self_signed(&key).expect("the parameters are complete");
        let intermediates = Vec::new();
        Self::assemble(
            name,
            params,
            (certificate.clone(), key),
            (intermediates, certificate),
            files,
        )
    }

    fn assemble(
        name: &str,
        params: CertificateParams,
        (certificate, key): (rcgen::Certificate, KeyPair),
        (intermediates, root): (Vec<rcgen::Certificate>, rcgen::Certificate),
        files: Arc<TempDir>,
    ) -> Self {
        let copy = KeyPair::from_pem(&key.serialize_pem()).expect("what was written is read");
        let serial = params.serial_number.as_ref().map(SerialNumber::to_bytes).unwrap_or_default();
        Self {
            name: name.to_owned(),
            serial,
            issuer: Arc::new(Issuer::new(params, key)),
            certificate,
            key: Arc::new(copy),
            intermediates,
            root,
            habit: Habit::Both,
            files,
        }
    }

    /// A new intermediate CA below this one.
    pub fn intermediate(&self, name: &str) -> Self {
        self.intermediate_for(name, &[])
    }

    /// A new intermediate CA that may issue for these extended key usages only.
    pub fn intermediate_for(&self, name: &str, purposes: &[ExtendedKeyUsagePurpose]) -> Self {
        let purposes = purposes.to_vec();
        self.below(name, Validity::long(), |params| params.extended_key_usages = purposes)
    }

    /// A new intermediate CA that may issue leaves and no CA.
    pub fn last_intermediate(&self, name: &str) -> Self {
        let last = IsCa::Ca(BasicConstraints::Constrained(0));
        self.below(name, Validity::long(), |params| params.is_ca = last)
    }

    /// Who issues, and is no CA.
    pub fn no_authority(&self, name: &str) -> Self {
        self.below(name, Validity::long(), |params| params.is_ca = IsCa::ExplicitNoCa)
    }

    /// A new intermediate CA whose own time is over.
    pub fn expired_intermediate(&self, name: &str) -> Self {
        self.below(name, Validity::days(-800, -1), |_params| ())
    }

    fn below(
        &self,
        name: &str,
        validity: Validity,
        change: impl FnOnce(&mut CertificateParams),
    ) -> Self {
        let mut params = authority_params(name, validity);
        change(&mut params);
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate().expect("an EC key can be made");
        let certificate =
            params.signed_by(&key, &self.issuer).expect("the parameters are complete");
        let mut intermediates = vec![certificate.clone()];
        intermediates.extend(self.intermediates.iter().cloned());
        let above = (intermediates, self.root.clone());
        let made = Self::assemble(name, params, (certificate, key), above, Arc::clone(&self.files));
        Self { habit: self.habit, ..made }
    }

    /// An authority with the same name and another key: what a forger would make.
    pub fn impostor(&self) -> Self {
        let forged = Self::root(&self.name, Validity::long(), Arc::clone(&self.files));
        Self { habit: self.habit, ..forged }
    }

    /// A certificate to be issued by this authority.
    pub fn leaf(&self) -> LeafBuilder {
        LeafBuilder::of(self.clone())
    }

    /// Its name, which is the CN of its subject.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The serial number of its certificate, big-endian.
    pub fn serial(&self) -> &[u8] {
        &self.serial
    }

    /// The authority's own certificate.
    pub fn pem(&self) -> String {
        to_pem("CERTIFICATE", self.certificate.der())
    }

    /// The authority's own certificate.
    pub fn der(&self) -> &[u8] {
        self.certificate.der()
    }

    /// The root above it, which is itself for a root.
    pub fn root_pem(&self) -> String {
        to_pem("CERTIFICATE", self.root.der())
    }

    /// The authority's private key.
    pub fn key_pem(&self) -> String {
        self.key.serialize_pem()
    }

    /// A file with the root, for `--cacert`.
    pub fn root_file(&self) -> PathBuf {
        let path = self.files.path().join(format!("{}.root.pem", issued::file_name(&self.name)));
        std::fs::write(&path, self.root_pem()).expect("a temporary file can be written");
        path
    }

    /// The data of a Secret that holds the root as `ca.crt` and nothing else.
    pub fn ca_secret(&self) -> SecretData {
        SecretData::from([("ca.crt".to_owned(), self.root_pem().into_bytes())])
    }

    /// A revocation list over `revoked`, which is to be replaced at the end of `validity`.
    pub fn revocation_list(&self, revoked: &[&Issued], validity: Validity) -> String {
        let serials: Vec<&[u8]> = revoked.iter().map(|issued| issued.serial()).collect();
        self.revocation_list_of(&serials, validity)
    }

    /// The same over these serial numbers, of whatever was issued.
    pub fn revocation_list_of(&self, serials: &[&[u8]], validity: Validity) -> String {
        let revoked_certs = serials
            .iter()
            .map(|serial| RevokedCertParams {
                serial_number: SerialNumber::from_slice(serial),
                revocation_time: validity.not_before,
                reason_code: Some(RevocationReason::KeyCompromise),
                invalidity_date: None,
            })
            .collect();
        let params = CertificateRevocationListParams {
            this_update: validity.not_before,
            next_update: validity.not_after,
            crl_number: SerialNumber::from(1_u64),
            issuing_distribution_point: None,
            revoked_certs,
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let list = params.signed_by(&self.issuer).expect("the parameters are complete");
        to_pem("X509 CRL", list.der())
    }
}

fn authority_params(name: &str, validity: Validity) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![
        KeyUsagePurpose::KeyCertSign,
        KeyUsagePurpose::CrlSign,
        KeyUsagePurpose::DigitalSignature,
    ];
    params.not_before = validity.not_before;
    params.not_after = validity.not_after;
    params.serial_number = Some(SerialNumber::from_slice(&leaf::unique_serial()));
    params
}
