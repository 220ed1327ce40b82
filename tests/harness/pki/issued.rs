//! A certificate that was issued, its key, and the forms in which they are handed on.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{KeyPair, PublicKeyData as _};
use tempfile::TempDir;

use super::Authority;

/// The decoded `data` of a Secret.
pub type SecretData = BTreeMap<String, Vec<u8>>;

/// A certificate with its key and the intermediates above it.
#[derive(Clone, Debug)]
pub struct Issued {
    subject: String,
    serial: Vec<u8>,
    certificate: rcgen::Certificate,
    pair: Arc<KeyPair>,
    intermediates: Vec<rcgen::Certificate>,
    root_pem: String,
    directory: Arc<TempDir>,
}

/// The files of a certificate, for programs that read files.
#[derive(Clone, Debug)]
pub struct Files {
    /// The certificate and its intermediates.
    pub chain: PathBuf,
    /// The private key.
    pub key: PathBuf,
    /// The root above.
    pub root: PathBuf,
}

impl Issued {
    pub(super) fn new(
        subject: String,
        serial: Vec<u8>,
        (certificate, pair): (rcgen::Certificate, Arc<KeyPair>),
        intermediates: Vec<rcgen::Certificate>,
        authority: &Authority,
    ) -> Self {
        let root_pem = authority.root_pem();
        let directory = Arc::clone(&authority.files);
        Self { subject, serial, certificate, pair, intermediates, root_pem, directory }
    }

    pub(super) fn pair(&self) -> Arc<KeyPair> {
        Arc::clone(&self.pair)
    }

    /// The CN of its subject.
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// Its serial number, big-endian.
    pub fn serial(&self) -> &[u8] {
        &self.serial
    }

    /// The certificate alone.
    pub fn der(&self) -> &[u8] {
        self.certificate.der()
    }

    /// The certificate and its intermediates, in the order in which they are sent.
    pub fn chain_der(&self) -> Vec<Vec<u8>> {
        let chain = std::iter::once(&self.certificate).chain(&self.intermediates);
        chain.map(|certificate| certificate.der().to_vec()).collect()
    }

    /// The certificate alone.
    pub fn certificate_pem(&self) -> String {
        to_pem("CERTIFICATE", self.certificate.der())
    }

    /// The certificate and its intermediates, without the root.
    pub fn chain_pem(&self) -> String {
        self.chain_der().iter().map(|der| to_pem("CERTIFICATE", der)).collect()
    }

    /// The private key, as PKCS #8.
    pub fn key_pem(&self) -> String {
        to_pem("PRIVATE KEY", self.pair.serialized_der())
    }

    /// The private key, as PKCS #8.
    pub fn key_der(&self) -> &[u8] {
        self.pair.serialized_der()
    }

    /// The SHA-256 digest of the certificate, in lower-case hexadecimal digits.
    pub fn fingerprint(&self) -> String {
        hex(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, self.der()).as_ref())
    }

    /// The SHA-256 digest of its public key (`SubjectPublicKeyInfo`), in lower-case hexadecimal digits.
    pub fn key_fingerprint(&self) -> String {
        let key = self.pair.subject_public_key_info();
        hex(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &key).as_ref())
    }

    /// Its data as `kubernetes.io/tls`: `tls.crt` and `tls.key`.
    pub fn secret(&self) -> SecretData {
        data([("tls.crt", self.chain_pem()), ("tls.key", self.key_pem())])
    }

    /// Its data as Istio's generic Secret, with the root of `clients` as `cacert`.
    pub fn generic_secret(&self, clients: &Authority) -> SecretData {
        let cas = clients.root_pem();
        data([("cert", self.chain_pem()), ("key", self.key_pem()), ("cacert", cas)])
    }

    /// Its data as IBM's `alb-certs`, with the root of `trusted` as `trusted.crt`.
    pub fn alb_secret(&self, trusted: &Authority) -> SecretData {
        let cas = trusted.root_pem();
        data([
            ("client.crt", self.chain_pem()),
            ("client.key", self.key_pem()),
            ("trusted.crt", cas),
        ])
    }

    /// The same as files, in the directory of the PKI.
    pub fn files(&self) -> Files {
        let name = format!("{}-{}", file_name(&self.subject), hex(&self.serial[..4]));
        let write = |end: &str, text: String| write(self.directory.path(), &name, end, &text);
        Files {
            chain: write("crt", self.chain_pem()),
            key: write("key", self.key_pem()),
            root: write("root.crt", self.root_pem.clone()),
        }
    }
}

fn data<const N: usize>(entries: [(&str, String); N]) -> SecretData {
    entries.into_iter().map(|(key, text)| (key.to_owned(), text.into_bytes())).collect()
}

fn write(directory: &Path, name: &str, end: &str, text: &str) -> PathBuf {
    let path = directory.join(format!("{name}.{end}"));
    std::fs::write(&path, text).expect("a temporary file can be written");
    path
}

/// DER as PEM with this label (RFC 7468).
pub fn to_pem(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let lines: Vec<&str> = text
        .as_bytes()
        .chunks(64)
        .map(|line| std::str::from_utf8(line).expect("base64 is ASCII"))
        .collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

pub(super) fn file_name(name: &str) -> String {
    let plain = |character: char| if character.is_ascii_alphanumeric() { character } else { '_' };
    name.chars().map(plain).collect()
}

fn hex(bytes: &[u8]) -> String {
    lasthop_contract::text::hex(bytes)
}
