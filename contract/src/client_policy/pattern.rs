//! The identities that may come in, as users write them.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use crate::credential::{Certificate, Name};
use crate::text::{escape, hex};

/// One entry of the allowed clients.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum ClientPattern {
    /// `*`: any client of the CA, in writing.
    Any,
    /// `dns:NAME`: the same SAN, in any case. `dns:*.x`: exactly one label before `.x`, and the SAN
    /// `*.x` itself. A wildcard in the *certificate* never satisfies an exact entry.
    Dns(String),
    /// `uri:URI`: exactly this SAN.
    Uri(String),
    /// `ip:ADDRESS`: exactly this SAN.
    Ip(IpAddr),
    /// `email:ADDRESS`: exactly this SAN.
    Email(String),
    /// `cn:NAME`: the subject's one CN, only where the certificate has no SAN. Of two, the application
    /// might take the other one.
    CommonName(String),
    /// `sha256:HEX`: exactly this certificate.
    Certificate([u8; 32]),
    /// `spki:HEX`: any certificate for this key.
    Key([u8; 32]),
}

/// What is wrong with an entry, in words.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PatternError {
    /// The entry as it was written.
    pub entry: String,
    /// What is wrong with it and what to write instead.
    pub reason: String,
}

impl fmt::Display for PatternError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`: {}", escape(&self.entry), self.reason)
    }
}

impl std::error::Error for PatternError {}

impl FromStr for ClientPattern {
    type Err = PatternError;

    fn from_str(entry: &str) -> Result<Self, PatternError> {
        let wrong =
            |reason: &str| PatternError { entry: entry.to_owned(), reason: reason.to_owned() };
        if entry == "*" {
            return Ok(Self::Any);
        }
        let Some((kind, value)) = entry.split_once(':') else {
            let reason = format!(
                "an entry begins with its kind; for a DNS name write `dns:{}`",
                escape(entry)
            );
            return Err(PatternError { entry: entry.to_owned(), reason });
        };
        if value.is_empty() {
            return Err(wrong("nothing follows the colon"));
        }
        // It would be compared as it stands, and nobody sees it.
        if value.chars().any(char::is_control) {
            return Err(wrong("a control character stands in it"));
        }
        match kind {
            "dns" => dns_pattern(value).map(Self::Dns).map_err(|reason| wrong(&reason)),
            "uri" => Ok(Self::Uri(value.to_owned())),
            "email" => Ok(Self::Email(value.to_owned())),
            "cn" => Ok(Self::CommonName(value.to_owned())),
            "ip" => value.parse().map(Self::Ip).map_err(|_syntax| wrong("this is not an IP address")),
            "sha256" => digest(value)
                .map(Self::Certificate)
                .ok_or_else(|| wrong("64 hexadecimal digits are needed: `openssl x509 -in FILE -noout -fingerprint -sha256`")),
            "spki" => digest(value).map(Self::Key).ok_or_else(|| {
                wrong("64 hexadecimal digits are needed: `openssl x509 -in FILE -noout -pubkey | openssl pkey -pubin -outform DER | sha256sum`")
            }),
            other => {
                let known = ["dns", "uri", "ip", "email", "cn", "sha256", "spki"];
                let reason = match crate::near::nearest(other, known) {
                    Some(near) => format!("the kind `{}` is unknown, did you mean `{near}:`?", escape(other)),
                    None => format!("the kind `{}` is unknown; the kinds are {}", escape(other), known.join(", ")),
                };
                Err(PatternError { entry: entry.to_owned(), reason })
            }
        }
    }
}

fn dns_pattern(value: &str) -> Result<String, String> {
    let name = value.trim_end_matches('.').to_ascii_lowercase();
    let exact = name.strip_prefix("*.").unwrap_or(&name);
    if exact.contains('*') {
        return Err("a wildcard stands for the whole first label: `dns:*.example.com`".to_owned());
    }
    if exact.is_empty() || !exact.split('.').all(is_label) {
        return Err("this is not a DNS name (names beyond ASCII are written as `xn--…`)".to_owned());
    }
    if name.starts_with("*.") && !exact.contains('.') {
        return Err(
            "a wildcard directly below a top-level domain takes in nearly everybody".to_owned()
        );
    }
    Ok(name)
}

fn is_label(label: &str) -> bool {
    !label.is_empty()
        && label.len() <= 63
        && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
}

/// 32 bytes in hexadecimal digits, with or without colons between them.
fn digest(value: &str) -> Option<[u8; 32]> {
    let digits: Vec<u8> = value.bytes().filter(|byte| *byte != b':').collect();
    let nibble =
        |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let bytes: Option<Vec<u8>> = digits
        .chunks(2)
        .map(|pair| match pair {
            [high, low] => Some(nibble(*high)? << 4 | nibble(*low)?),
            _ => None,
        })
        .collect();
    bytes?.try_into().ok()
}

impl fmt::Display for ClientPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Dns(name) => write!(f, "dns:{}", escape(name)),
            Self::Uri(uri) => write!(f, "uri:{}", escape(uri)),
            Self::Ip(address) => write!(f, "ip:{address}"),
            Self::Email(address) => write!(f, "email:{}", escape(address)),
            Self::CommonName(name) => write!(f, "cn:{}", escape(name)),
            Self::Certificate(digest) => write!(f, "sha256:{}", hex(digest)),
            Self::Key(digest) => write!(f, "spki:{}", hex(digest)),
        }
    }
}

impl ClientPattern {
    /// Whether `certificate` bears this identity. The chain is not looked at here.
    pub fn matches(&self, certificate: &Certificate) -> bool {
        match self {
            Self::Any => true,
            Self::Dns(pattern) => certificate.dns_names().any(|name| dns_matches(pattern, name)),
            Self::Uri(uri) => certificate
                .names()
                .iter()
                .any(|name| matches!(name, Name::Uri(other) if other == uri)),
            Self::Ip(address) => certificate.names().contains(&Name::Ip(*address)),
            Self::Email(address) => certificate
                .names()
                .iter()
                .any(|name| matches!(name, Name::Email(other) if other == address)),
            Self::CommonName(name) => {
                certificate.names.is_none()
                    && certificate.common_names == 1
                    && certificate.common_name.as_ref() == Some(name)
            }
            Self::Certificate(digest) => certificate.fingerprint() == *digest,
            Self::Key(digest) => certificate.key_fingerprint() == *digest,
        }
    }
}

/// Text against text: `*.x` in the pattern takes one label or the SAN `*.x` itself, and nothing in
/// the SAN is ever expanded.
fn dns_matches(pattern: &str, san: &str) -> bool {
    let san = san.trim_end_matches('.').to_ascii_lowercase();
    match (pattern.strip_prefix("*."), san.split_once('.')) {
        (Some(parent), Some((label, rest))) => rest == parent && (label == "*" || is_label(label)),
        (Some(_), None) => false,
        (None, _) => pattern == san,
    }
}

/// The allowed clients of a listener.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct AllowedClients(Vec<ClientPattern>);

impl AllowedClients {
    /// Reads entries with commas or line breaks between them.
    ///
    /// # Errors
    /// What is wrong with each entry, all at once.
    pub fn parse(text: &str) -> Result<Self, Vec<PatternError>> {
        Self::from_entries(text.split([',', '\n']))
    }

    /// Reads entries one by one; empty ones are passed over.
    ///
    /// # Errors
    /// What is wrong with each entry, all at once.
    pub fn from_entries<'a, I>(entries: I) -> Result<Self, Vec<PatternError>>
    where
        I: IntoIterator<Item = &'a str>,
    {
        let mut patterns = Vec::new();
        let mut errors = Vec::new();
        for entry in entries.into_iter().map(str::trim).filter(|entry| !entry.is_empty()) {
            match entry.parse() {
                Ok(pattern) => patterns.push(pattern),
                Err(error) => errors.push(error),
            }
        }
        if errors.is_empty() { Ok(Self(patterns)) } else { Err(errors) }
    }

    /// The entries in the order in which they were written.
    pub fn patterns(&self) -> &[ClientPattern] {
        &self.0
    }

    /// Whether nobody is allowed.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether `*` is among the entries.
    pub fn has_any(&self) -> bool {
        self.0.contains(&ClientPattern::Any)
    }

    /// The first entry that `certificate` satisfies.
    pub fn find(&self, certificate: &Certificate) -> Option<&ClientPattern> {
        self.0.iter().find(|pattern| pattern.matches(certificate))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dns_pattern_takes_one_label_and_never_expands_the_certificate() {
        assert!(dns_matches("alb.example.com", "ALB.example.com"));
        assert!(dns_matches("*.example.com", "alb.example.com"));
        assert!(dns_matches("*.example.com", "*.example.com"));
        assert!(!dns_matches("alb.example.com", "*.example.com"));
        assert!(!dns_matches("*.example.com", "a.b.example.com"));
        assert!(!dns_matches("*.example.com", "example.com"));
        assert!(!dns_matches("*.example.com", ".example.com"));
        for label in ["a b", "a/b", "a\0", "caf\u{e9}", "w*", "**"] {
            assert!(!dns_matches("*.example.com", &format!("{label}.example.com")), "{label:?}");
        }
    }

    #[test]
    fn a_common_name_that_is_one_of_two_is_nobody_s() {
        let certificate = |names: &[&str]| {
            let mut params = rcgen::CertificateParams::default();
            for (number, name) in names.iter().enumerate() {
                let kind = match number {
                    0 => rcgen::DnType::CommonName,
                    // rcgen writes a kind once; this is the same one.
                    _ => rcgen::DnType::CustomDnType(vec![2, 5, 4, 3]),
                };
                params.distinguished_name.push(kind, *name);
            }
            let key = rcgen::KeyPair::generate().unwrap();
            Certificate::from_der(params.self_signed(&key).unwrap().der()).unwrap()
        };
        let alb = ClientPattern::CommonName("alb".to_owned());
        assert!(alb.matches(&certificate(&["alb"])));
        assert!(!alb.matches(&certificate(&["alb", "other"])));
        assert!(!alb.matches(&certificate(&["other", "alb"])));
    }

    #[test]
    fn entries_are_separated_by_commas_and_lines() {
        let allowed =
            AllowedClients::parse("dns:a.example.com, uri:spiffe://x/y\n ip:::1,,").unwrap();
        let texts: Vec<String> = allowed.patterns().iter().map(ToString::to_string).collect();
        assert_eq!(texts, ["dns:a.example.com", "uri:spiffe://x/y", "ip:::1"]);
    }

    #[test]
    fn every_wrong_entry_is_reported_with_what_to_write() {
        let errors = AllowedClients::parse(
            "alb.example.com,dsn:x,ip:300.1.1.1,dns:*,sha256:ab,dns:*.com,uri:spiffe://a\u{7f}",
        )
        .unwrap_err();
        let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
        assert_eq!(texts.len(), 7, "{texts:?}");
        assert!(texts[0].contains("write `dns:alb.example.com`"), "{}", texts[0]);
        assert!(texts[1].contains("did you mean `dns:`"), "{}", texts[1]);
        assert!(texts[6].contains("a control character"), "{}", texts[6]);
    }

    #[test]
    fn fingerprints_are_read_with_and_without_colons() {
        let plain = "ab".repeat(32);
        let colons = ["ab"; 32].join(":");
        let read = |text: &str| format!("sha256:{text}").parse::<ClientPattern>().unwrap();
        assert_eq!(read(&plain), read(&colons));
    }
}
