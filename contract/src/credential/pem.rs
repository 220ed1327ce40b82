//! Bytes to certificates, keys and lists: every way in which PEM goes wrong.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::sign::SigningKey;
use rustls_pki_types::pem::{Error as PemError, PemObject as _, SectionKind, SliceIter};
use rustls_pki_types::{CertificateRevocationListDer, PrivateKeyDer};
use x509_parser::prelude::*;

use super::certificate::{Certificate, in_words};
use super::layout::{CA_KEYS, CRL_KEYS, Form};
use super::revocation::UnusableList;
use super::{MOST_BYTES, MOST_CERTIFICATES, SecretData};
use crate::problem::{DerForm, Fault, Problem};

/// One value of a Secret, cut into its PEM blocks.
struct Blocks {
    certificates: Vec<Vec<u8>>,
    keys: Vec<PrivateKeyDer<'static>>,
    lists: Vec<Vec<u8>>,
    /// The labels of all blocks, as they stand in the text.
    labels: Vec<String>,
    broken: Option<String>,
}

fn blocks(bytes: &[u8]) -> Blocks {
    let (labels, glued) = labels(&String::from_utf8_lossy(bytes));
    let mut blocks = Blocks {
        certificates: Vec::new(),
        keys: Vec::new(),
        lists: Vec::new(),
        labels,
        broken: None,
    };
    for section in SliceIter::<(SectionKind, Vec<u8>)>::new(bytes) {
        match section {
            Ok((SectionKind::Certificate, der)) => blocks.certificates.push(der),
            Ok((SectionKind::Crl, der)) => blocks.lists.push(der),
            Ok((kind, der)) => blocks.keys.extend(PrivateKeyDer::from_pem(kind, der)),
            Err(error) => {
                blocks.broken = Some(broken(&error));
                break;
            }
        }
    }
    if glued {
        let reason = "text follows on the `-----BEGIN` line, the line breaks are missing";
        blocks.broken = Some(reason.to_owned());
    }
    blocks
}

/// The parser's errors hold raw lines of the input, which might be a key: only their kind is told.
fn broken(error: &PemError) -> String {
    match error {
        PemError::MissingSectionEnd { .. } => {
            "a `-----BEGIN` line has no `-----END` line".to_owned()
        }
        PemError::IllegalSectionStart { .. } => "a `-----BEGIN` line is damaged".to_owned(),
        PemError::Base64Decode(_) => "the text between its lines is not base64".to_owned(),
        _ => "it is damaged".to_owned(),
    }
}

/// The labels of the blocks, and whether one has its contents on the same line, as a shell makes it
/// of an unquoted variable. Such a line is no label: it might be a key, and labels are printed.
fn labels(text: &str) -> (Vec<String>, bool) {
    let mut labels = Vec::new();
    let mut glued = false;
    for line in text.lines().filter_map(|line| line.strip_prefix("-----BEGIN ")) {
        let Some((label, after)) = line.split_once("-----") else { continue };
        if !after.trim().is_empty() {
            glued = true;
        } else if labels.len() < MOST_CERTIFICATES {
            labels.push(label.to_owned());
        }
    }
    (labels, glued)
}

/// Whether it looks like PKCS#12: a sequence that begins with version 3 and a PKCS#7 content (RFC 7292, 4).
fn is_pkcs12(bytes: &[u8]) -> bool {
    const PKCS7: &[u8] = b"\x06\x09\x2A\x86\x48\x86\xF7\x0D\x01\x07";
    let begin = bytes.get(..40).unwrap_or_default();
    begin.starts_with(b"\x30")
        && begin.windows(3).any(|part| part == b"\x02\x01\x03")
        && begin.windows(PKCS7.len()).any(|part| part == PKCS7)
}

/// Why bytes without any PEM block are not PEM, where a known slip explains it.
/// How a Java keystore begins (`sun.security.provider.JavaKeyStore`).
const KEYSTORE: &[u8] = b"\xFE\xED\xFE\xED";

fn not_pem(bytes: &[u8]) -> Option<Fault> {
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Some(Fault::KeyEmpty);
    }
    if bytes.starts_with(b"\xFF\xFE") || bytes.starts_with(b"\xFE\xFF") {
        let reason = "it is UTF-16, which PowerShell writes by default; save it as UTF-8";
        return Some(Fault::BrokenPem { reason: reason.to_owned() });
    }
    if X509Certificate::from_der(bytes).is_ok() {
        return Some(Fault::DerNotPem { form: DerForm::Certificate });
    }
    if bytes.starts_with(KEYSTORE) {
        return Some(Fault::DerNotPem { form: DerForm::Keystore });
    }
    if is_pkcs12(bytes) {
        return Some(Fault::DerNotPem { form: DerForm::Pkcs12 });
    }
    if PrivateKeyDer::try_from(bytes).is_ok() {
        return Some(Fault::DerNotPem { form: DerForm::Key });
    }
    let text = std::str::from_utf8(bytes).ok()?;
    if text.lines().any(|line| line.trim_start().starts_with("-----BEGIN ")) {
        let reason = "its lines are indented, `-----BEGIN` must stand at the start of a line";
        return Some(Fault::BrokenPem { reason: reason.to_owned() });
    }
    let compact: String = text.split_whitespace().collect();
    if STANDARD.decode(compact).is_ok_and(|inner| {
        inner.starts_with(b"-----BEGIN ") || inner.windows(12).any(|part| part == b"\n-----BEGIN ")
    }) {
        return Some(Fault::EncodedTwice);
    }
    placeholder(text).map(|text| Fault::Placeholder { text })
}

/// What is wrong with a value under `data` that is not base64. The API server refuses such; among
/// files it is usual.
pub fn undecodable(text: &str) -> Fault {
    match placeholder(text) {
        Some(text) => Fault::Placeholder { text },
        None => Fault::NotBase64 { is_pem: text.contains("-----BEGIN ") },
    }
}

/// `${NAME}`, `{{ .Values.x }}`, `<your certificate>`, or the words of the usual samples.
fn placeholder(text: &str) -> Option<String> {
    let text = text.trim();
    let marked = [("${", "}"), ("{{", "}}"), ("<", ">")]
        .iter()
        .any(|(open, close)| text.starts_with(open) && text.ends_with(close));
    let sample = ["GOES HERE", "base64 encoded", "base64-encoded", "changeme", "REPLACE"]
        .iter()
        .any(|words| {
            text.len() < 200 && text.to_ascii_lowercase().contains(&words.to_ascii_lowercase())
        });
    if !marked && !sample {
        return None;
    }
    // Somebody may have put the brackets around the real thing.
    let is_data = |word: &str| word.len() >= 32;
    if text.split(|character: char| !is_base64(character)).any(is_data) {
        return Some("…".to_owned());
    }
    Some(text.chars().take(80).collect())
}

fn is_base64(character: char) -> bool {
    character.is_ascii_alphanumeric() || matches!(character, '+' | '/' | '=')
}

/// The value under `key`, if it is there and not too long to be read.
fn value<'a>(data: &'a SecretData, key: &str, problems: &mut Vec<Problem>) -> Option<&'a [u8]> {
    let bytes = data.get(key)?;
    if bytes.len() > MOST_BYTES {
        let reason = format!(
            "it has {} KiB, more than {} are not read",
            bytes.len() / 1024,
            MOST_BYTES / 1024
        );
        problems.push(Problem::new(key, Fault::BrokenPem { reason }));
        return None;
    }
    // The mark hides the first `-----BEGIN` from every reader of PEM, whatever follows.
    if bytes.starts_with(b"\xEF\xBB\xBF") {
        problems.push(Problem::new(key, Fault::ByteOrderMark));
        return None;
    }
    Some(bytes)
}

fn missing(data: &SecretData, form: Form, key: &str) -> Problem {
    let found = data.keys().cloned().collect();
    Problem::new(key, Fault::KeyMissing { form, found })
}

pub(super) fn certificates(
    data: &SecretData,
    form: Form,
    problems: &mut Vec<Problem>,
) -> Vec<Certificate> {
    let key = form.chain_key();
    if !data.contains_key(key) {
        problems.push(missing(data, form, key));
        return Vec::new();
    }
    let Some(bytes) = value(data, key, problems) else { return Vec::new() };
    let blocks = blocks(bytes);
    if let Some(reason) = blocks.broken {
        problems.push(Problem::new(key, Fault::BrokenPem { reason }));
    } else if blocks.certificates.is_empty() {
        let swapped = blocks.labels.iter().any(|label| label.ends_with("PRIVATE KEY"));
        problems.push(Problem::new(
            key,
            match not_pem(bytes) {
                Some(fault) if blocks.labels.is_empty() => fault,
                _ if swapped => Fault::Swapped { holds: "private key" },
                _ => Fault::NoPemBlock { wanted: "CERTIFICATE", found: blocks.labels },
            },
        ));
    }
    parse(&blocks.certificates, key, problems)
}

fn parse(ders: &[Vec<u8>], key: &str, problems: &mut Vec<Problem>) -> Vec<Certificate> {
    if ders.len() > MOST_CERTIFICATES {
        let fault = Fault::TooManyCertificates { count: ders.len(), most: MOST_CERTIFICATES };
        problems.push(Problem::new(key, fault));
    }
    let mut certificates = Vec::new();
    for (position, der) in ders.iter().take(MOST_CERTIFICATES).enumerate() {
        match Certificate::from_der(der) {
            Ok(certificate) => certificates.push(certificate.found_under(key)),
            Err(reason) => {
                problems.push(Problem::new(key, Fault::BrokenCertificate { position, reason }));
            }
        }
    }
    // With a hole in it, it is not the chain that its owner meant.
    if certificates.len() == ders.len().min(MOST_CERTIFICATES) { certificates } else { Vec::new() }
}

pub(super) fn private_key(
    data: &SecretData,
    form: Form,
    problems: &mut Vec<Problem>,
) -> Option<Arc<dyn SigningKey>> {
    let key = form.private_key();
    if !data.contains_key(key) {
        problems.push(missing(data, form, key));
        return None;
    }
    let bytes = value(data, key, problems)?;
    let mut report = |fault| problems.push(Problem::new(key, fault));
    if is_encrypted(bytes) {
        report(Fault::EncryptedKey);
        return None;
    }
    let mut blocks = blocks(bytes);
    if let Some(reason) = blocks.broken {
        report(Fault::BrokenPem { reason });
        return None;
    }
    if blocks.keys.len() > 1 {
        report(Fault::SeveralKeys { count: blocks.keys.len() });
        return None;
    }
    let Some(der) = blocks.keys.pop() else {
        report(match not_pem(bytes) {
            Some(fault) if blocks.labels.is_empty() => fault,
            _ if !blocks.certificates.is_empty() => Fault::Swapped { holds: "certificate" },
            _ => Fault::NoPemBlock { wanted: "PRIVATE KEY", found: blocks.labels },
        });
        return None;
    };
    match rustls::crypto::aws_lc_rs::sign::any_supported_type(&der) {
        Ok(key) => Some(key),
        Err(_kind_only) => {
            report(Fault::BrokenKey { reason: unloadable(&der).to_owned() });
            None
        }
    }
}

/// The library's own words could quote the input, so the cause is told by what can be seen outside.
fn unloadable(key: &PrivateKeyDer<'_>) -> &'static str {
    match key {
        PrivateKeyDer::Pkcs1(_) => "an RSA key must be whole and of 2048 to 8192 bits",
        PrivateKeyDer::Sec1(_) => "an EC key must be whole and on the curve P-256, P-384 or P-521",
        _ => "it must be whole, and RSA of 2048 to 8192 bits, EC P-256, P-384 or P-521, or Ed25519",
    }
}

fn is_encrypted(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    text.contains("-----BEGIN ENCRYPTED PRIVATE KEY-----")
        || text.lines().any(|line| line.starts_with("Proc-Type:") && line.contains("ENCRYPTED"))
}

pub(super) fn authorities(data: &SecretData, problems: &mut Vec<Problem>) -> Vec<Certificate> {
    let Some(key) = CA_KEYS.into_iter().find(|key| data.contains_key(*key)) else {
        problems.push(Problem::new(
            "ca.crt",
            Fault::KeyMissing { form: Form::Tls, found: data.keys().cloned().collect() },
        ));
        return Vec::new();
    };
    let Some(bytes) = value(data, key, problems) else { return Vec::new() };
    let blocks = blocks(bytes);
    if let Some(reason) = blocks.broken {
        problems.push(Problem::new(key, Fault::BrokenPem { reason }));
    }
    if blocks.labels.iter().any(|label| label.ends_with("PRIVATE KEY")) {
        problems.push(Problem::new(key, Fault::KeyInCaBundle));
    }
    if blocks.certificates.is_empty() {
        if let Some(fault) = not_pem(bytes).filter(|_| blocks.labels.is_empty()) {
            problems.push(Problem::new(key, fault));
        } else {
            problems.push(Problem::new(key, Fault::NoCaInBundle));
        }
        return Vec::new();
    }
    let mut authorities = Vec::new();
    let all = parse(&blocks.certificates, key, problems);
    let none = !all.is_empty() && all.iter().all(|certificate| !is_anchor(certificate));
    if none {
        problems.push(Problem::new(key, Fault::NoCaInBundle));
    }
    for (position, certificate) in all.into_iter().enumerate() {
        if is_anchor(&certificate) {
            authorities.push(certificate);
        } else if !none {
            let subject = certificate.subject.clone();
            problems.push(Problem::new(key, Fault::NotACa { position, subject }));
        }
    }
    authorities
}

/// Roots of X.509 version 1 have no basic constraints and are trusted all the same.
fn is_anchor(certificate: &Certificate) -> bool {
    certificate.is_ca || (certificate.version < 3 && certificate.is_self_issued())
}

pub(super) fn revocation_lists(
    data: &SecretData,
    problems: &mut Vec<Problem>,
) -> Vec<CertificateRevocationListDer<'static>> {
    let Some(key) = revocation_key(data) else {
        let found = data.keys().cloned().collect();
        problems.push(Problem::new("ca.crl", Fault::KeyMissing { form: Form::Tls, found }));
        return Vec::new();
    };
    let Some(bytes) = value(data, key, problems) else { return Vec::new() };
    let mut lists = Vec::new();
    let found = blocks(bytes);
    if let Some(reason) = found.broken {
        problems.push(Problem::new(key, Fault::BrokenCrl { reason }));
    } else if found.lists.is_empty() {
        let fault = Fault::NoPemBlock { wanted: "X509 CRL", found: found.labels };
        problems.push(Problem::new(key, fault));
    }
    for der in found.lists {
        match CertificateRevocationList::from_der(&der) {
            Ok((_, list)) => {
                if let Err(list) = UnusableList::check(&der, &list) {
                    problems.push(Problem::new(key, Fault::UnusableCrl { list }));
                }
                lists.push(CertificateRevocationListDer::from(der));
            }
            Err(error) => {
                let reason = in_words(&error);
                problems.push(Problem::new(key, Fault::BrokenCrl { reason }));
            }
        }
    }
    lists
}

/// The key under which `data` keeps its revocation lists.
pub(super) fn revocation_key(data: &SecretData) -> Option<&'static str> {
    CRL_KEYS.into_iter().find(|key| data.contains_key(*key))
}

/// Issuer and `nextUpdate` (RFC 5280, 5.1.2.5) of a list.
pub(super) fn crl_next_update(list: &CertificateRevocationListDer<'_>) -> Option<(String, i64)> {
    let (_, parsed) = CertificateRevocationList::from_der(list).ok()?;
    Some((parsed.issuer().to_string(), parsed.next_update()?.timestamp()))
}
