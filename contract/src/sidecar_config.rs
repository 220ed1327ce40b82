//! The document that the webhook writes and the sidecar reads.
//!
//! It is JSON, in the container's environment (`LASTHOP_CONFIG`) or a file (`--config`), and names
//! no secret but by the path of its volume, relative to `--secrets-root`.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::alpn::AlpnName;
use crate::client_policy::{ClientAuth, ClientEku, CrlDepth, CrlExpired, CrlUnknown, Revocation};
use crate::hsts::Hsts;

mod originate;
mod probe;

pub use originate::{Originate, Upstream, UpstreamError, UpstreamScheme};
pub use probe::{Probe, ProbeAction, ProbeScheme};

/// The version that this crate writes, and the newest that it reads.
pub const VERSION: u32 = 1;

/// The environment variable that holds the document.
pub const CONFIG_VARIABLE: &str = "LASTHOP_CONFIG";

/// The port of the one listener where nobody chose another.
pub const LISTEN_PORT: u16 = 8443;

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
    /// Probes of the application that the status listener performs; no others.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub probes: Vec<Probe>,
    /// Whether the pod may be ready while the application's ports answer beside the sidecar.
    #[serde(default, skip_serializing_if = "is_default")]
    pub plaintext_door: PlaintextDoor,
    /// Whether `lasthop-sidecar keylog` may be answered.
    #[serde(default, skip_serializing_if = "is_default")]
    pub key_log: KeyLog,
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
    /// Plaintext from localhost in, TLS to the next tier.
    Originate(Originate),
    /// TLS in, plaintext to the application.
    Terminate(Terminate),
}

impl Listener {
    /// The address that it listens on.
    pub fn listen(&self) -> SocketAddr {
        match self {
            Self::Redirect(redirect) => redirect.listen,
            Self::Originate(originate) => originate.listen,
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
    /// Where the application is: on localhost.
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
    /// What the PROXY protocol says, before TLS from the client and before bytes to the application.
    #[serde(default, skip_serializing_if = "is_default")]
    pub proxy_protocol: ProxyProtocol,
    /// What browsers are told where the application tells them nothing; not for `tcp`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hsts: Option<Hsts>,
    /// What is agreed on with clients by ALPN (RFC 7301), the preferred first; for `tcp` alone, where nobody
    /// else knows what the bytes are.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub alpn: Vec<AlpnName>,
}

/// The application's address: a port on localhost, tried on 127.0.0.1 first and then on `::1`, an
/// address written in full, or a Unix socket as `unix:/PATH`.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Forward {
    /// A port on localhost.
    Port(u16),
    /// An address, which must be a loopback address.
    Address(SocketAddr),
    /// A Unix socket.
    Socket(SocketPath),
}

impl Forward {
    /// The addresses to try, in this order; none where the application is on a Unix socket.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        match self {
            Self::Port(port) => vec![
                SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), *port),
                SocketAddr::new(IpAddr::V6(Ipv6Addr::LOCALHOST), *port),
            ],
            Self::Address(address) => vec![*address],
            Self::Socket(_) => Vec::new(),
        }
    }
}

/// The absolute path of a Unix socket, written `unix:/PATH`.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct SocketPath(PathBuf);

impl SocketPath {
    /// The longest path that fits into `sockaddr_un` with its closing NUL, in bytes (unix(7)).
    pub const MAX_BYTES: usize = 107;

    /// The socket at `path`; [`None`] where that is not absolute, has `..` in it, or is too long.
    pub fn new(path: &str) -> Option<Self> {
        let plain = path.len() <= Self::MAX_BYTES
            && path.len() > 1
            && path.starts_with('/')
            && !path.ends_with('/')
            && !path.contains('\0')
            && path.split('/').all(|part| part != "..");
        plain.then(|| Self(PathBuf::from(path)))
    }

    /// The path.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl TryFrom<String> for SocketPath {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let path = text.strip_prefix("unix:").unwrap_or_default();
        Self::new(path).ok_or("a socket is `unix:` and an absolute path of at most 107 bytes")
    }
}

impl From<SocketPath> for String {
    fn from(socket: SocketPath) -> Self {
        format!("unix:{}", socket.0.display())
    }
}

/// Who says with the PROXY protocol from where a connection comes.
///
/// <https://www.haproxy.org/download/3.2/doc/proxy-protocol.txt>
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ProxyProtocol {
    /// Whether trusted proxies send a header, which is then required of them.
    #[serde(default)]
    pub accept: ProxyAccept,
    /// The version of the header that the application is sent; absent: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub send: Option<ProxyVersion>,
}

/// Whether a PROXY header is taken.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum ProxyAccept {
    /// From nobody.
    #[default]
    Never,
    /// From trusted proxies, of either version.
    FromTrusted,
}

/// A version of the PROXY protocol.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum ProxyVersion {
    /// Text.
    V1,
    /// Binary, with TLVs on ALPN, authority and TLS.
    V2,
}

/// What it means that an application's port answers on the pod's own addresses: whoever reaches the
/// pod then passes the sidecar by.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum PlaintextDoor {
    /// It is logged and counted.
    #[default]
    Told,
    /// The pod is not ready as well.
    NotReady,
}

/// Whether TLS secrets may be streamed to who can execute a command in the container.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum KeyLog {
    /// Never.
    #[default]
    Refused,
    /// While somebody asks, for a time that is written down.
    OnDemand,
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
    /// What a certificate that no list is about does.
    #[serde(default, skip_serializing_if = "is_default")]
    pub crl_unknown: CrlUnknown,
    /// Which certificates of the path are looked for in the lists.
    #[serde(default, skip_serializing_if = "is_default")]
    pub crl_depth: CrlDepth,
    /// Raw paths that who has no certificate may GET: the handshake then asks for a
    /// certificate and does not insist.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exempt_paths: Vec<String>,
}

impl Clients {
    /// How revocation lists are asked.
    pub fn revocation(&self) -> Revocation {
        let Self { crl_expired, crl_unknown, crl_depth, .. } = *self;
        Revocation { expired: crl_expired, unknown: crl_unknown, depth: crl_depth }
    }
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
    /// How the answer says so.
    #[serde(default, skip_serializing_if = "is_default")]
    pub status: RedirectStatus,
}

/// The status of a redirect (RFC 9110, 15.4).
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(try_from = "u16", into = "u16")]
pub enum RedirectStatus {
    /// 301, for good; many clients make a GET of a POST.
    MovedPermanently,
    /// 302, for now; many clients make a GET of a POST.
    Found,
    /// 307, for now; method and body stay.
    Temporary,
    /// 308, for good; method and body stay.
    #[default]
    Permanent,
}

impl RedirectStatus {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 4] =
        [Self::MovedPermanently, Self::Found, Self::Temporary, Self::Permanent];

    /// The number.
    pub fn code(self) -> u16 {
        match self {
            Self::MovedPermanently => 301,
            Self::Found => 302,
            Self::Temporary => 307,
            Self::Permanent => 308,
        }
    }
}

impl TryFrom<u16> for RedirectStatus {
    type Error = &'static str;

    fn try_from(code: u16) -> Result<Self, &'static str> {
        let found = Self::ALL.into_iter().find(|it| it.code() == code);
        found.ok_or("a redirect has the status 301, 302, 307 or 308")
    }
}

impl From<RedirectStatus> for u16 {
    fn from(status: RedirectStatus) -> Self {
        status.code()
    }
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
    /// `Forwarded` (RFC 7239), also where no trusted proxy wrote one.
    Forwarded,
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

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
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
                    proxy_protocol: ProxyProtocol {
                        accept: ProxyAccept::FromTrusted,
                        send: Some(ProxyVersion::V2),
                    },
                    hsts: Some("max-age=60; includeSubDomains".parse().unwrap()),
                    alpn: vec!["mqtt".parse().unwrap()],
                }),
                Listener::Originate(Originate {
                    listen: "127.0.0.1:9001".parse().unwrap(),
                    upstream: "https://db.example.com:443".parse().unwrap(),
                    client_secret: Some("web-client".to_owned()),
                    ca_secret: None,
                    server_names: vec!["dns:db.internal.example.com".to_owned()],
                    sni: None,
                }),
                Listener::Redirect(Redirect {
                    listen: "[::]:8080".parse().unwrap(),
                    https_port: 443,
                    status: RedirectStatus::Found,
                }),
            ],
            status_listen: default_status_listen(),
            probes: vec![Probe {
                path: "/probes/web/livez".to_owned(),
                action: ProbeAction::HttpGet {
                    port: 8080,
                    path: "/healthz".to_owned(),
                    scheme: ProbeScheme::Http,
                    headers: vec![("Host".to_owned(), "web".to_owned())],
                },
                timeout_seconds: 1,
            }],
            plaintext_door: PlaintextDoor::NotReady,
            key_log: KeyLog::Refused,
            drain: Drain::default(),
            log_level: LogLevel::Info,
        };
        assert_eq!(SidecarConfig::parse(&config.to_json()), Ok(config));
    }

    #[test]
    fn a_socket_is_an_absolute_path_behind_its_scheme() {
        for (text, reads) in [
            ("\"unix:/run/app/app.sock\"", true),
            ("\"unix:run/app.sock\"", false),
            ("\"/run/app.sock\"", false),
            ("\"unix:/run/../etc/app.sock\"", false),
            ("\"unix:/\"", false),
            ("\"127.0.0.1:80\"", true),
            ("8080", true),
        ] {
            let forward: Result<Forward, _> = serde_json::from_str(text);
            assert_eq!(forward.is_ok(), reads, "{text}");
            if let Ok(forward) = forward {
                assert_eq!(serde_json::to_string(&forward).unwrap(), text);
            }
        }
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
