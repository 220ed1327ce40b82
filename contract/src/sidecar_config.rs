//! The document that the webhook writes and the sidecar reads.
//!
//! It is JSON, in the container's environment (`LASTHOP_CONFIG`) or a file (`--config`), and names
//! no secret but by the path of its volume, relative to `--secrets-root`.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use serde::{Deserialize, Serialize};

use crate::client_policy::{ClientAuth, ClientEku, CrlExpired};

/// The version that this crate writes, and the newest that it reads.
pub const VERSION: u32 = 1;

/// Where kubelet mounts the Secrets of the sidecar, one directory a Secret.
pub const SECRETS_ROOT: &str = "/var/run/secrets/lasthop.dev";

/// The port of the status listener where nobody chose another.
pub const STATUS_PORT: u16 = 15443;

/// Everything that a sidecar is told.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SidecarConfig {
    /// The version of the document: [`VERSION`].
    pub version: u32,
    /// The listeners, at least one.
    pub listeners: Vec<Listener>,
    /// Where `/livez`, `/readyz` and `/metrics` are answered, in plain HTTP.
    #[serde(default = "default_status_listen")]
    pub status_listen: SocketAddr,
    /// What happens at SIGTERM.
    #[serde(default)]
    pub drain: Drain,
    /// How much is logged.
    #[serde(default)]
    pub log_level: LogLevel,
}

/// One listener.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", tag = "mode")]
pub enum Listener {
    /// Plain HTTP in, a redirect to https out.
    Redirect(Redirect),
    /// TLS in, plaintext to the application.
    Terminate(Terminate),
}

impl Listener {
    /// The address that it listens on.
    pub fn listen(&self) -> SocketAddr {
        match self {
            Self::Redirect(redirect) => redirect.listen,
            Self::Terminate(terminate) => terminate.listen,
        }
    }
}

/// A listener that ends TLS.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Terminate {
    /// The address that clients connect to.
    pub listen: SocketAddr,
    /// The port of the application on localhost.
    pub forward: Forward,
    /// What the application speaks there.
    #[serde(default)]
    pub protocol: Protocol,
    /// The Secrets with chain and key, chosen by SNI; the first also serves everybody else.
    pub tls_secrets: Vec<String>,
    /// Which clients may come in.
    #[serde(default)]
    pub clients: Clients,
    /// Whose forwarding headers are believed and extended; from all others they are stripped.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub trusted_proxies: Vec<String>,
    /// What the application is told of the client.
    #[serde(default = "default_identity_headers")]
    pub identity_headers: Vec<IdentityHeader>,
}

/// The application's address: a port on localhost, tried on 127.0.0.1 first and then on `::1`, or an
/// address written in full.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Forward {
    /// A port on localhost.
    Port(u16),
    /// An address, which must be a loopback address.
    Address(SocketAddr),
}

impl Forward {
    /// The addresses to try, in this order.
    pub fn addresses(self) -> Vec<SocketAddr> {
        match self {
            Self::Port(port) => vec![
                SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port),
                SocketAddr::new(IpAddr::V6(Ipv6Addr::LOCALHOST), port),
            ],
            Self::Address(address) => vec![address],
        }
    }
}

/// Which clients may come in.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Clients {
    /// Whether a certificate is asked for.
    pub auth: ClientAuth,
    /// The Secret (or `ConfigMap`) with the CAs to which a client's chain must lead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_secret: Option<String>,
    /// The identities that may come in.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allowed: Vec<String>,
    /// Which extended key usages are taken; absent: by the allowed clients.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eku: Option<ClientEku>,
    /// The Secret with revocation lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crl_secret: Option<String>,
    /// What a revocation list past its time does.
    #[serde(default)]
    pub crl_expired: CrlExpired,
}

/// A listener that answers plain HTTP with a redirect to https on the same host.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Redirect {
    /// The address that clients connect to.
    pub listen: SocketAddr,
    /// The port that clients reach https on; 443 is left out of the answer.
    #[serde(default = "default_https_port")]
    pub https_port: u16,
}

/// What the application speaks on localhost.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Protocol {
    /// HTTP/1.1.
    #[default]
    Http,
    /// HTTP/2 without TLS, by prior knowledge (RFC 9113, 3.3).
    H2c,
    /// Bytes.
    Tcp,
}

/// A way of telling the application who the client is.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum IdentityHeader {
    /// `X-Forwarded-Client-Cert`, as Envoy writes it.
    Xfcc,
    /// `Client-Cert` and `Client-Cert-Chain` (RFC 9440).
    Rfc9440,
    /// `X-Amzn-Mtls-Clientcert*`, as the load balancers of AWS write them.
    Aws,
}

/// What happens at SIGTERM: ready no more, `delay_seconds` of service as before, then no new
/// connections, and after `timeout_seconds` an end.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Drain {
    /// Seconds for which new connections are still taken.
    pub delay_seconds: u32,
    /// Seconds after the signal at which what is still open is cut. With the delay in it, as in
    /// kubelet's `terminationGracePeriodSeconds` (30 where a pod does not say), which must be longer.
    pub timeout_seconds: u32,
}

impl Default for Drain {
    fn default() -> Self {
        Self { delay_seconds: 5, timeout_seconds: 25 }
    }
}

/// How much is logged.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum LogLevel {
    /// Failures of the sidecar itself.
    Error,
    /// And what was refused or went wrong with others.
    Warn,
    /// And every request.
    #[default]
    Info,
    /// And what helps to find a bug.
    Debug,
}

fn default_status_listen() -> SocketAddr {
    SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), STATUS_PORT)
}

fn default_https_port() -> u16 {
    443
}

fn default_identity_headers() -> Vec<IdentityHeader> {
    vec![IdentityHeader::Xfcc]
}

/// Why a document is not a configuration.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ConfigError {
    /// Not JSON, or not of this shape; where and why.
    Malformed(String),
    /// Written by a newer webhook.
    Newer { found: u64 },
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(reason) => write!(f, "the configuration cannot be read: {reason}"),
            Self::Newer { found } => write!(
                f,
                "the configuration has version {found}, this sidecar reads up to version {VERSION}; \
                 use a sidecar image at least as new as the webhook"
            ),
        }
    }
}

impl std::error::Error for ConfigError {}

impl SidecarConfig {
    /// Reads a document.
    ///
    /// # Errors
    /// A newer version is told apart from a malformed document, before its unknown fields are met.
    pub fn parse(document: &str) -> Result<Self, ConfigError> {
        let malformed = |error: serde_json::Error| ConfigError::Malformed(error.to_string());
        let value: serde_json::Value = serde_json::from_str(document).map_err(malformed)?;
        match value.get("version").and_then(serde_json::Value::as_u64) {
            Some(found) if found > u64::from(VERSION) => return Err(ConfigError::Newer { found }),
            Some(1) => {}
            _ => return Err(ConfigError::Malformed(format!("`version` must be {VERSION}"))),
        }
        // Once more from the text: only then has an error its line and column.
        serde_json::from_str(document).map_err(malformed)
    }

    /// The document, on one line.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("a configuration has string keys only")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let config = SidecarConfig {
            version: VERSION,
            listeners: vec![
                Listener::Terminate(Terminate {
                    listen: "[::]:8443".parse().unwrap(),
                    forward: Forward::Port(8080),
                    protocol: Protocol::Http,
                    tls_secrets: vec!["web-tls".to_owned()],
                    clients: Clients {
                        auth: ClientAuth::Required,
                        ca_secret: Some("ca/alb-ca".to_owned()),
                        allowed: vec!["dns:*.example.com".to_owned()],
                        eku: Some(ClientEku::Either),
                        ..Clients::default()
                    },
                    trusted_proxies: Vec::new(),
                    identity_headers: vec![IdentityHeader::Xfcc],
                }),
                Listener::Redirect(Redirect {
                    listen: "[::]:8080".parse().unwrap(),
                    https_port: 443,
                }),
            ],
            status_listen: default_status_listen(),
            drain: Drain::default(),
            log_level: LogLevel::Info,
        };
        assert_eq!(SidecarConfig::parse(&config.to_json()), Ok(config));
    }

    #[test]
    fn a_newer_document_is_refused_in_words() {
        let error = SidecarConfig::parse(r#"{"version":2,"novelty":true}"#).unwrap_err();
        assert_eq!(error, ConfigError::Newer { found: 2 });
    }

    #[test]
    fn an_unknown_field_is_refused_with_its_place() {
        let document = r#"{"version":1,"listeners":[{"mode":"terminate","listen":"[::]:8443",
            "forward":8080,"tlsSecrets":["a"],"clientAuth":"none"}]}"#;
        let ConfigError::Malformed(reason) = SidecarConfig::parse(document).unwrap_err() else {
            panic!("not malformed")
        };
        assert!(reason.contains("clientAuth"), "{reason}");
    }
}
