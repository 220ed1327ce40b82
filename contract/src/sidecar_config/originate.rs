//! The other door: plaintext from localhost, TLS to the next tier.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A listener that takes plaintext from localhost, and originates TLS.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Originate {
    /// The address that the application connects to, on loopback.
    pub listen: SocketAddr,
    /// The next tier.
    pub upstream: Upstream,
    /// The Secret with chain and key that the sidecar presents; absent: none is presented.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_secret: Option<String>,
    /// The Secret (or `ConfigMap`) with the CAs to which the next tier's chain must lead; absent: the
    /// compiled Mozilla roots, or those of `SSL_CERT_FILE`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_secret: Option<String>,
    /// The identities of which the next tier's certificate must have one, as patterns of
    /// [`crate::client_policy`]; none: the host of the upstream.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub server_names: Vec<String>,
    /// The server name of the `ClientHello` (RFC 6066, 3); absent: the host of the upstream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sni: Option<String>,
}

/// Where the next tier is, as `https://host:port` or `tls://host:port`.
#[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct Upstream {
    scheme: UpstreamScheme,
    host: String,
    port: u16,
}

/// What is spoken inside of the TLS to the next tier.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum UpstreamScheme {
    /// HTTP, `https://`.
    Https,
    /// Bytes, `tls://`.
    Tls,
}

impl Upstream {
    /// What is spoken inside of the TLS.
    pub fn scheme(&self) -> UpstreamScheme {
        self.scheme
    }

    /// The DNS name in lower case, or the IP address without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Host and port, an IPv6 address in brackets; port 443 is left out, as clients leave it out.
    pub fn authority(&self) -> String {
        match (self.host.contains(':'), self.port) {
            (true, 443) => format!("[{}]", self.host),
            (true, port) => format!("[{}]:{port}", self.host),
            (false, 443) => self.host.clone(),
            (false, port) => format!("{}:{port}", self.host),
        }
    }

    /// The TCP port.
    pub fn port(&self) -> u16 {
        self.port
    }
}

/// Why a text is no [`Upstream`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum UpstreamError {
    /// Neither `https://` nor `tls://` stands at its beginning.
    Scheme,
    /// No host, or not the name or address of one.
    Host,
    /// No port, or not one from 1 to 65535.
    Port,
    /// Something stands behind the port.
    Path,
}

impl fmt::Display for UpstreamError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Scheme => "must begin with `https://` (HTTP) or `tls://` (bytes)",
            Self::Host => "needs the name or the address of a host",
            Self::Port => "needs a port from 1 to 65535, as in `https://db.example.com:443`",
            Self::Path => "ends with its port: a path or query is the application's to send",
        })
    }
}

impl std::error::Error for UpstreamError {}

impl FromStr for Upstream {
    type Err = UpstreamError;

    fn from_str(text: &str) -> Result<Self, UpstreamError> {
        let (scheme, rest) = match text.split_once("://") {
            Some(("https", rest)) => (UpstreamScheme::Https, rest),
            Some(("tls", rest)) => (UpstreamScheme::Tls, rest),
            _ => return Err(UpstreamError::Scheme),
        };
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        if authority.contains(['/', '?', '#']) {
            return Err(UpstreamError::Path);
        }
        let (host, port) = if let Some(rest) = authority.strip_prefix('[') {
            let (address, port) = rest.split_once("]:").ok_or(UpstreamError::Port)?;
            let address: Ipv6Addr =
                address.parse().map_err(|_not_an_address| UpstreamError::Host)?;
            (address.to_string(), port)
        } else {
            let (host, port) = authority.rsplit_once(':').ok_or(UpstreamError::Port)?;
            if !is_host(host) {
                return Err(UpstreamError::Host);
            }
            (host.to_ascii_lowercase(), port)
        };
        let digits = port.bytes().all(|byte| byte.is_ascii_digit());
        match port.parse() {
            Ok(port) if digits && port != 0 => Ok(Self { scheme, host, port }),
            _ => Err(UpstreamError::Port),
        }
    }
}

/// A DNS name (RFC 1123, 2.1; underscores as resolvers take them), or an IPv4 address.
fn is_host(host: &str) -> bool {
    let is_label = |label: &str| {
        let inner = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        (1..=63).contains(&label.len())
            && label.bytes().all(inner)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let name = host.strip_suffix('.').unwrap_or(host);
    let numeric =
        name.rsplit('.').next().is_some_and(|last| last.bytes().all(|it| it.is_ascii_digit()));
    if numeric {
        return name.parse::<Ipv4Addr>().is_ok();
    }
    name.len() <= 253 && name.split('.').all(is_label)
}

impl fmt::Display for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.scheme {
            UpstreamScheme::Https => "https",
            UpstreamScheme::Tls => "tls",
        };
        if self.host.contains(':') {
            write!(f, "{scheme}://[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{scheme}://{}:{}", self.host, self.port)
        }
    }
}

impl TryFrom<String> for Upstream {
    type Error = UpstreamError;

    fn try_from(text: String) -> Result<Self, UpstreamError> {
        text.parse()
    }
}

impl From<Upstream> for String {
    fn from(upstream: Upstream) -> Self {
        upstream.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upstream_is_read_and_written() {
        for (text, written) in [
            ("https://db.example.com:443", "https://db.example.com:443"),
            ("https://DB.example.com:443/", "https://db.example.com:443"),
            ("tls://10.0.0.1:5432", "tls://10.0.0.1:5432"),
            ("tls://[2001:DB8::1]:5432", "tls://[2001:db8::1]:5432"),
            ("https://web:8443", "https://web:8443"),
            (
                "https://web.shop.svc.cluster.local.:8443",
                "https://web.shop.svc.cluster.local.:8443",
            ),
        ] {
            let upstream: Upstream = text.parse().unwrap();
            assert_eq!(upstream.to_string(), written);
            assert_eq!(written.parse::<Upstream>().unwrap(), upstream);
        }
    }

    #[test]
    fn what_is_no_upstream_is_told_by_its_part() {
        for (text, error) in [
            ("db.example.com:443", UpstreamError::Scheme),
            ("http://db.example.com:80", UpstreamError::Scheme),
            ("https://db.example.com", UpstreamError::Port),
            ("https://db.example.com:0", UpstreamError::Port),
            ("https://db.example.com:+443", UpstreamError::Port),
            ("https://db.example.com:70000", UpstreamError::Port),
            ("https://[::1]", UpstreamError::Port),
            ("https://:443", UpstreamError::Host),
            ("https://a b:443", UpstreamError::Host),
            ("https://user@db:443", UpstreamError::Host),
            ("https://*.example.com:443", UpstreamError::Host),
            ("https://1.2.3:443", UpstreamError::Host),
            ("https://db.example.com:443/path", UpstreamError::Path),
        ] {
            assert_eq!(text.parse::<Upstream>(), Err(error), "{text}");
        }
    }
}
