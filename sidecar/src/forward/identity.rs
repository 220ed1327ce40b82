//! Who the client is, in the headers that applications know.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderName, HeaderValue};
use lasthop_contract::credential::{Certificate, Name};
use lasthop_contract::sidecar_config::IdentityHeader;
use lasthop_contract::text::{hex, rfc3339};
use rustls_pki_types::CertificateDer;

/// Applications bound their heads, many to 8 KiB: of a certificate with a thousand names, as many
/// are told as fit here.
const MOST_NAMES_BYTES: usize = 4096;

/// A chain longer than this is not told.
const MOST_CHAIN_BYTES: usize = 16 * 1024;

/// The headers of `kinds` for the client with `certificate` and the `chain` above it.
pub(super) fn headers(
    kinds: &[IdentityHeader],
    certificate: &Certificate,
    chain: &[CertificateDer<'_>],
) -> Vec<(HeaderName, HeaderValue)> {
    let mut headers = Vec::new();
    let mut add = |name: &'static str, value: String| {
        // Everything that goes in is ASCII; a value that is none would be told wrong.
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.push((HeaderName::from_static(name), value));
        }
    };
    for kind in kinds {
        match kind {
            IdentityHeader::Xfcc => add("x-forwarded-client-cert", xfcc(certificate)),
            IdentityHeader::Rfc9440 => {
                add("client-cert", byte_sequence(certificate.der()));
                if let Some(chain) = byte_sequences(chain) {
                    add("client-cert-chain", chain);
                }
            }
            IdentityHeader::Aws => {
                add("x-amzn-mtls-clientcert-serial-number", certificate.serial.to_uppercase());
                add("x-amzn-mtls-clientcert-issuer", certificate.issuer_rfc4514());
                add("x-amzn-mtls-clientcert-subject", certificate.subject_rfc4514());
                add("x-amzn-mtls-clientcert-validity", validity(certificate));
                add("x-amzn-mtls-clientcert-leaf", url_encoded_pem(certificate));
            }
            // It tells of the way, with or without a certificate; `headers` writes it.
            IdentityHeader::Forwarded => {}
        }
    }
    headers
}

/// Envoy's format: `Hash=…;Subject="…";URI=…;DNS=…`.
fn xfcc(certificate: &Certificate) -> String {
    let mut out = format!("Hash={}", hex(&certificate.fingerprint()));
    let _infallible = write!(out, ";Subject=\"{}\"", quoted(&certificate.subject_rfc4514()));
    let names = certificate.names();
    let mut left = MOST_NAMES_BYTES;
    let uris = names.iter().filter_map(|name| match name {
        Name::Uri(uri) => Some(("URI", uri)),
        _ => None,
    });
    let dns = names.iter().filter_map(|name| match name {
        Name::Dns(name) => Some(("DNS", name)),
        _ => None,
    });
    for (key, value) in uris.chain(dns) {
        let element = format!(";{key}={}", element_value(value));
        let Some(rest) = left.checked_sub(element.len()) else { break };
        left = rest;
        out.push_str(&element);
    }
    out
}

/// A value stands in quotes where it could be taken for more than a value.
fn element_value(value: &str) -> String {
    let plain =
        |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b',' | b';' | b'=' | b'"' | b'\\');
    if !value.is_empty() && value.bytes().all(plain) {
        return value.to_owned();
    }
    format!("\"{}\"", quoted(&percent_encoded(value)))
}

fn quoted(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"")
}

/// What is not printable ASCII, byte by byte.
fn percent_encoded(value: &str) -> String {
    value.bytes().fold(String::with_capacity(value.len()), |mut out, byte| {
        if byte.is_ascii_graphic() || byte == b' ' {
            out.push(char::from(byte));
        } else {
            let _infallible = write!(out, "%{byte:02X}");
        }
        out
    })
}

/// A byte sequence (RFC 8941, 3.3.5), as RFC 9440, 2.1 wants certificates.
fn byte_sequence(der: &[u8]) -> String {
    format!(":{}:", STANDARD.encode(der))
}

fn byte_sequences(chain: &[CertificateDer<'_>]) -> Option<String> {
    let text = chain.iter().map(|der| byte_sequence(der)).collect::<Vec<_>>().join(", ");
    (!text.is_empty() && text.len() <= MOST_CHAIN_BYTES).then_some(text)
}

fn validity(certificate: &Certificate) -> String {
    format!(
        "NotBefore={};NotAfter={}",
        rfc3339(certificate.not_before),
        rfc3339(certificate.not_after)
    )
}

/// PEM, URL-encoded but for `+`, `=` and `/`, as AWS writes it.
fn url_encoded_pem(certificate: &Certificate) -> String {
    let body = STANDARD.encode(certificate.der());
    let mut out = String::from("-----BEGIN%20CERTIFICATE-----%0A");
    for (position, character) in body.chars().enumerate() {
        if position > 0 && position % 64 == 0 {
            out.push_str("%0A");
        }
        out.push(character);
    }
    out.push_str("%0A-----END%20CERTIFICATE-----%0A");
    out
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair, SanType};

    use super::*;

    fn certificate(common_name: &str, names: Vec<SanType>) -> Certificate {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, common_name);
        params.subject_alt_names = names;
        let signed = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        Certificate::from_der(signed.der()).unwrap()
    }

    fn dns(name: &str) -> SanType {
        SanType::DnsName(name.try_into().unwrap())
    }

    fn uri(uri: &str) -> SanType {
        SanType::URI(uri.try_into().unwrap())
    }

    #[test]
    fn xfcc_is_envoys() {
        let certificate = certificate(
            "alb",
            vec![dns("alb.example.com"), uri("spiffe://x/y"), dns("b.example.com")],
        );
        let expected = format!(
            "Hash={};Subject=\"CN=alb\";URI=spiffe://x/y;DNS=alb.example.com;DNS=b.example.com",
            hex(&certificate.fingerprint())
        );
        assert_eq!(xfcc(&certificate), expected);
    }

    #[test]
    fn nothing_in_a_certificate_adds_an_element() {
        let hostile = certificate("a\";Hash=00,Hash=11", vec![uri("x;DNS=evil,Hash=22")]);
        let text = xfcc(&hostile);
        let mut in_quotes = false;
        let mut escaped = false;
        let outside: String = text
            .chars()
            .filter(|character| {
                let quote = *character == '"' && !escaped;
                escaped = *character == '\\' && !escaped;
                in_quotes ^= quote;
                !in_quotes
            })
            .collect();
        assert_eq!(outside.matches("Hash=").count(), 1, "{text}");
        assert_eq!(outside.matches(',').count(), 0, "{text}");
        assert!(!outside.contains("evil"), "{text}");
    }

    #[test]
    fn a_thousand_names_do_not_burst_the_head() {
        let names = (0..1000).map(|number| dns(&format!("host-{number}.example.com"))).collect();
        let text = xfcc(&certificate("many", names));
        assert!(text.len() < MOST_NAMES_BYTES + 200, "{}", text.len());
        assert!(text.contains("DNS=host-0.example.com"));
    }

    #[test]
    fn rfc9440_is_a_byte_sequence() {
        let certificate = certificate("alb", vec![dns("alb.example.com")]);
        let chain = [certificate.der().clone(), certificate.der().clone()];
        let headers = headers(&[IdentityHeader::Rfc9440], &certificate, &chain);
        let (name, value) = &headers[0];
        assert_eq!(name.as_str(), "client-cert");
        let inner = value.to_str().unwrap().strip_prefix(':').unwrap().strip_suffix(':').unwrap();
        assert_eq!(STANDARD.decode(inner).unwrap(), certificate.der().as_ref());
        assert_eq!(headers[1].1.to_str().unwrap().matches(", ").count(), 1);
    }

    #[test]
    fn aws_names_are_all_there() {
        let certificate = certificate("alb", vec![dns("alb.example.com")]);
        let headers = headers(&[IdentityHeader::Aws], &certificate, &[]);
        assert_eq!(headers.len(), 5);
        assert!(headers[4].1.to_str().unwrap().starts_with("-----BEGIN%20CERTIFICATE-----%0AMII"));
    }
}
