//! Distinguished names as text (RFC 4514), the way in which proxies pass them on.

use std::fmt::Write as _;

use x509_parser::prelude::*;

/// The name in the order and spelling of RFC 4514 (most specific part first, as OpenSSL's
/// `-nameopt RFC2253` prints it), in ASCII; [`None`] where it cannot be parsed.
pub(super) fn rfc4514(der: &[u8]) -> Option<String> {
    let (_, name) = X509Name::from_der(der).ok()?;
    let parts: Vec<&RelativeDistinguishedName<'_>> = name.iter_rdn().collect();
    let mut out = String::new();
    for part in parts.iter().rev() {
        if !out.is_empty() {
            out.push(',');
        }
        for (position, attribute) in part.iter().enumerate() {
            if position > 0 {
                out.push('+');
            }
            push_attribute(&mut out, attribute);
        }
    }
    Some(out)
}

fn push_attribute(out: &mut String, attribute: &AttributeTypeAndValue<'_>) {
    let oid = attribute.attr_type().to_id_string();
    match (short_name(&oid), attribute.as_str()) {
        (Some(short), Ok(value)) => {
            out.push_str(short);
            out.push('=');
            push_value(out, value);
        }
        (_, Ok(value)) => {
            out.push_str(&oid);
            out.push('=');
            push_value(out, value);
        }
        (short, Err(_not_text)) => {
            out.push_str(short.unwrap_or(&oid));
            out.push_str("=#");
            out.push_str(&crate::text::hex(attribute.attr_value().data));
        }
    }
}

/// RFC 4514, 3, and the names that OpenSSL prints besides.
fn short_name(oid: &str) -> Option<&'static str> {
    Some(match oid {
        "2.5.4.3" => "CN",
        "2.5.4.4" => "SN",
        "2.5.4.5" => "serialNumber",
        "2.5.4.6" => "C",
        "2.5.4.7" => "L",
        "2.5.4.8" => "ST",
        "2.5.4.9" => "street",
        "2.5.4.10" => "O",
        "2.5.4.11" => "OU",
        "2.5.4.12" => "title",
        "2.5.4.42" => "GN",
        "0.9.2342.19200300.100.1.1" => "UID",
        "0.9.2342.19200300.100.1.25" => "DC",
        "1.2.840.113549.1.9.1" => "emailAddress",
        _ => return None,
    })
}

/// RFC 4514, 2.4; what is not printable ASCII is escaped byte by byte.
fn push_value(out: &mut String, value: &str) {
    let last = value.len().saturating_sub(1);
    for (position, byte) in value.bytes().enumerate() {
        let special = matches!(byte, b'"' | b'+' | b',' | b';' | b'<' | b'>' | b'\\' | b'=');
        let edge =
            (position == 0 && matches!(byte, b' ' | b'#')) || (position == last && byte == b' ');
        if special || edge {
            out.push('\\');
            out.push(char::from(byte));
        } else if (0x20..0x7f).contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _infallible = write!(out, "\\{byte:02X}");
        }
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};

    use crate::credential::Certificate;

    fn subject(parts: &[(DnType, &str)]) -> String {
        let mut name = DistinguishedName::new();
        for (kind, value) in parts {
            name.push(kind.clone(), *value);
        }
        let mut params = CertificateParams::default();
        params.distinguished_name = name;
        let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        Certificate::from_der(certificate.der()).unwrap().subject_rfc4514()
    }

    #[test]
    fn the_most_specific_part_comes_first() {
        let parts = [
            (DnType::CountryName, "DE"),
            (DnType::OrganizationName, "Example"),
            (DnType::CommonName, "web"),
        ];
        assert_eq!(subject(&parts), "CN=web,O=Example,C=DE");
    }

    #[test]
    fn nothing_in_a_value_looks_like_the_end_of_it() {
        assert_eq!(subject(&[(DnType::CommonName, "a,b=c;\"d\"+\\")]), r#"CN=a\,b\=c\;\"d\"\+\\"#);
        assert_eq!(subject(&[(DnType::CommonName, " #x ")]), "CN=\\ #x\\ ");
        assert_eq!(subject(&[(DnType::CommonName, "é\n")]), "CN=\\C3\\A9\\0A");
    }
}
