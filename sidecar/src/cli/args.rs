//! The flags, as clap reads them.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use lasthop_contract::alpn::AlpnName;
use lasthop_contract::client_policy::{ClientAuth, ClientEku, CrlDepth, CrlExpired, CrlUnknown};
use lasthop_contract::hsts::{Hsts, HstsError};
use lasthop_contract::sidecar_config::{
    Drain, Forward, LogLevel, Protocol, RedirectStatus, SECRETS_ROOT, SocketPath,
};

use super::help;
use super::upstream::UpstreamArgs;
use crate::confine::Confinement;
use crate::keylog::LONGEST;

mod limits;

pub(super) use limits::LimitArgs;

#[derive(Debug, Parser)]
#[command(
    name = "lasthop-sidecar",
    version,
    about = help::ABOUT,
    long_about = help::ABOUT,
    override_usage = help::USAGE,
    after_long_help = help::AFTER,
    after_help = help::AFTER_SHORT,
    args_conflicts_with_subcommands = true,
    disable_help_subcommand = true,
    max_term_width = 100
)]
pub(super) struct Cli {
    #[command(subcommand)]
    pub(super) command: Option<Command>,
    #[command(flatten)]
    pub(super) document: DocumentArgs,
    #[command(flatten)]
    pub(super) listener: ListenerArgs,
    #[command(flatten)]
    pub(super) clients: ClientArgs,
    #[command(flatten)]
    pub(super) upstream: UpstreamArgs,
    #[command(flatten)]
    pub(super) limits: LimitArgs,
    #[command(flatten)]
    pub(super) process: ProcessArgs,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Stream the TLS secrets of new handshakes, for Wireshark
    #[command(long_about = help::KEYLOG, after_long_help = help::KEYLOG_AFTER)]
    Keylog(KeylogArgs),
}

#[derive(Args, Clone, Copy, Debug)]
pub(super) struct KeylogArgs {
    /// For how long: 60s, 5m, at most 1h
    #[arg(long = "for", value_name = "TIME", value_parser = duration)]
    pub(super) time: Duration,

    /// The port of the running sidecar's status listener [default: that of `LASTHOP_CONFIG`, else 15443]
    #[arg(long, value_name = "PORT")]
    pub(super) status_port: Option<u16>,
}

#[derive(Args, Debug)]
#[command(next_help_heading = "Configuration document")]
pub(super) struct DocumentArgs {
    /// Read the configuration (JSON) from this file
    ///
    /// It is the document that the webhook writes. Without this option and without --listen, the
    /// environment variable `LASTHOP_CONFIG` holds the document itself.
    #[arg(long, value_name = "FILE", conflicts_with = "listen")]
    pub(super) config: Option<PathBuf>,

    /// Where the Secrets are that the document names
    #[arg(long, value_name = "DIR", default_value = SECRETS_ROOT)]
    pub(super) secrets_root: PathBuf,

    /// Listen on this address instead of the configured ones; the ports stay
    ///
    /// Listeners to the next tier stay on loopback, whatever is written here.
    #[arg(long, value_name = "ADDRESS")]
    pub(super) bind: Option<IpAddr>,
}

#[derive(Args, Debug)]
#[command(next_help_heading = "One listener by flags")]
pub(super) struct ListenerArgs {
    /// Take connections here; port 0 lets the system choose
    #[arg(long, value_name = "ADDR:PORT")]
    pub(super) listen: Option<SocketAddr>,

    /// The application, which must listen on loopback, or on a Unix socket
    #[arg(long, value_name = "ADDR:PORT|unix:/PATH", requires = "listen", value_parser = forward)]
    pub(super) forward: Option<Forward>,

    /// Directory with certificate chain and private key; several are chosen by SNI
    ///
    /// It is laid out as kubelet mounts a Secret: tls.crt and tls.key, or cert and key, or
    /// client.crt and client.key. The first one also serves clients without or with unknown server
    /// name. Changes are taken up within a second.
    #[arg(long, value_name = "DIR", requires = "listen", num_args = 1.., value_delimiter = ',')]
    pub(super) tls_secret: Vec<PathBuf>,

    /// What the application speaks
    #[arg(long, value_name = "PROTOCOL", requires = "listen", value_enum, default_value = "http")]
    pub(super) protocol: ProtocolArg,

    /// Whose X-Forwarded-* (the way, not users) and Forwarded headers are believed and extended
    ///
    /// Client patterns, address ranges (10.0.0.0/8), or the word allowed-clients, with commas
    /// between them. From everybody else these headers are taken out.
    #[arg(long, value_name = "WHO,…", requires = "listen", value_delimiter = ',')]
    pub(super) trusted_proxies: Vec<String>,

    /// What the application is told of the client: none, or some of xfcc, rfc9440, aws and forwarded
    #[arg(
        long,
        value_name = "KIND,…",
        requires = "listen",
        value_delimiter = ',',
        default_value = "xfcc"
    )]
    pub(super) identity_headers: Vec<IdentityArg>,

    /// Whether a PROXY header is taken from clients or sent to the application: accept, send, send-v1
    ///
    /// accept wants one, of either version, before TLS from everybody, and only from the address
    /// ranges of --trusted-proxies. send (version 2) and send-v1 go with --protocol tcp.
    #[arg(long, value_name = "WHAT,…", requires = "listen", value_delimiter = ',')]
    pub(super) proxy_protocol: Vec<ProxyArg>,

    /// Answer plain HTTP on this port with a redirect to https on the same host
    #[arg(long, value_name = "PORT", requires = "listen")]
    pub(super) redirect_port: Option<u16>,

    /// The port that the redirect leads to [default: the port of --listen]
    #[arg(long, value_name = "PORT", requires = "redirect_port")]
    pub(super) redirect_https_port: Option<u16>,

    /// The status of the redirect: 301, 302, 307 or 308 [default: 308]
    ///
    /// With 307 and 308 method and body stay as they are; 301 and 308 are for good, and kept.
    #[arg(long, value_name = "STATUS", requires = "redirect_port", value_parser = redirect_status)]
    pub(super) redirect_status: Option<RedirectStatus>,

    /// Tell browsers, where the application does not, to come over https: "max-age=31536000", with
    /// "; includeSubDomains" and "; preload" behind it where they hold (RFC 6797)
    #[arg(long, value_name = "VALUE", requires = "listen", value_parser = hsts)]
    pub(super) hsts: Option<Hsts>,

    /// With --protocol tcp: what is agreed on with clients by ALPN, the preferred first, such as h2,http/1.1
    ///
    /// Who offers none of it is refused, and who offers nothing comes in. --proxy-protocol send tells the
    /// application. HTTP listeners speak h2 and http/1.1.
    #[arg(long, value_name = "NAME,…", requires = "listen", value_delimiter = ',')]
    pub(super) alpn: Vec<AlpnName>,

    /// Whether to be unready while the application also answers on other addresses than loopback
    /// [default: true with client certificates, else false]
    ///
    /// Whoever reaches its port there passes the sidecar by; it is logged and counted in any case.
    #[arg(
        long,
        value_name = "true|false",
        requires = "listen",
        num_args = 0..=1,
        default_missing_value = "true"
    )]
    pub(super) require_loopback: Option<bool>,

    /// Forward to an application that is not on loopback, over a network, unencrypted
    #[arg(long)]
    pub(super) unsafe_target: bool,
}

#[derive(Args, Debug)]
#[command(next_help_heading = "Client certificates")]
pub(super) struct ClientArgs {
    /// Whether clients present a certificate [default: required with a CA, else none]
    #[arg(long, value_name = "WHETHER", requires = "listen", value_enum)]
    pub(super) client_auth: Option<ClientAuthArg>,

    /// Directory with the CAs that client certificates must chain to (ca.crt, cacert, trusted.crt)
    #[arg(long, value_name = "DIR", requires = "listen")]
    pub(super) client_ca_secret: Option<PathBuf>,

    /// Directory with revocation lists (ca.crl, crl, crl.pem)
    #[arg(long, value_name = "DIR", requires = "client_ca_secret")]
    pub(super) client_crl_secret: Option<PathBuf>,

    /// What a revocation list past its time does
    #[arg(long, value_name = "WHAT", requires = "client_crl_secret", value_enum)]
    pub(super) client_crl_expired: Option<CrlExpiredArg>,

    /// What a certificate does whose CA has no list among them
    #[arg(long, value_name = "WHAT", requires = "client_crl_secret", value_enum)]
    pub(super) client_crl_unknown: Option<CrlUnknownArg>,

    /// Which certificates are looked for in the lists [default: chain]
    #[arg(long, value_name = "WHICH", requires = "client_crl_secret", value_enum)]
    pub(super) client_crl_depth: Option<CrlDepthArg>,

    /// Extended key usages that are taken [default: either; client where * is allowed]
    #[arg(long, value_name = "USAGE", requires = "listen", value_enum)]
    pub(super) client_eku: Option<ClientEkuArg>,

    /// Paths that need no certificate, for health checkers: a plain GET or HEAD of one of these
    ///
    /// They are compared as they are, without the query. Whoever presents a certificate is held to it
    /// here too, and whoever has none gets 403 for everything else.
    #[arg(long, value_name = "PATH,…", requires = "client_ca_secret", value_delimiter = ',')]
    pub(super) client_auth_exempt_paths: Vec<String>,

    /// Which holders of a good certificate may come in; required with a CA
    ///
    /// dns:NAME, dns:*.NAME (one label), uri:URI, ip:ADDRESS, email:ADDRESS, cn:NAME (only where
    /// there is no SAN), sha256:HEX of the certificate, spki:HEX of its key, with commas between
    /// them; * alone takes every client of the CA.
    #[arg(long, value_name = "PATTERN,…", requires = "listen", value_delimiter = ',')]
    pub(super) allowed_clients: Vec<String>,
}

#[derive(Args, Debug)]
#[command(next_help_heading = "Process")]
pub(super) struct ProcessArgs {
    /// Answer /livez, /readyz and /metrics here, in plain HTTP [default: port 15443 of every address]
    #[arg(long, value_name = "ADDR:PORT", requires = "listen")]
    pub(super) status_listen: Option<SocketAddr>,

    /// How much is logged, as JSON on standard output
    #[arg(long, value_name = "LEVEL", requires = "listen", value_enum, default_value = "info")]
    pub(super) log_level: LogLevelArg,

    /// Seconds after SIGTERM for which new connections are still taken
    #[arg(long, value_name = "SECONDS", requires = "listen", default_value_t = Drain::default().delay_seconds)]
    pub(super) drain_delay: u32,

    /// Seconds after SIGTERM, that delay included, at which what is still open is cut
    #[arg(long, value_name = "SECONDS", requires = "listen", default_value_t = Drain::default().timeout_seconds)]
    pub(super) drain_timeout: u32,

    /// Whether the process gives up writing files, running programs and connecting elsewhere
    ///
    /// With Landlock and seccomp, before the first connection; it needs no right. Where the kernel or
    /// the container runtime lacks one of them, best-effort goes on and says so in the log, and
    /// required does not start.
    #[arg(long, value_name = "HOW", value_enum, default_value = "best-effort")]
    pub(super) confinement: ConfinementArg,

    /// Let `lasthop-sidecar keylog` have the TLS secrets of handshakes while it runs
    #[arg(long, requires = "listen")]
    pub(super) allow_key_log: bool,

    /// Read everything, say what is wrong, serve nothing
    #[arg(long)]
    pub(super) check_config: bool,
}

macro_rules! mirrored {
    ($name:ident => $target:ident { $($variant:ident),+ }) => {
        #[derive(Clone, Copy, Debug, ValueEnum)]
        pub(super) enum $name { $($variant),+ }
        impl From<$name> for $target {
            fn from(value: $name) -> Self {
                match value { $($name::$variant => Self::$variant),+ }
            }
        }
    };
}

mirrored!(ProtocolArg => Protocol { Http, H2c, Tcp });
mirrored!(ClientAuthArg => ClientAuth { None, Optional, Required });
mirrored!(ClientEkuArg => ClientEku { Client, Server, Either });
mirrored!(CrlExpiredArg => CrlExpired { Accept, Refuse });
mirrored!(CrlUnknownArg => CrlUnknown { Accept, Refuse });
mirrored!(CrlDepthArg => CrlDepth { Chain, Leaf });
mirrored!(ConfinementArg => Confinement { BestEffort, Required, Off });
mirrored!(LogLevelArg => LogLevel { Error, Warn, Info, Debug });

#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(super) enum IdentityArg {
    None,
    Xfcc,
    Rfc9440,
    Aws,
    /// Forwarded (RFC 7239), also where no trusted proxy wrote one
    Forwarded,
}

/// Seconds, minutes or an hour.
fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || "not a time; write `60s` or `5m`".to_owned();
    let (number, unit) = match text.char_indices().next_back() {
        Some((end, 's')) => (text.get(..end), 1),
        Some((end, 'm')) => (text.get(..end), 60),
        Some((end, 'h')) => (text.get(..end), 3600),
        _ => (Some(text), 1),
    };
    let number: u64 = number.and_then(|it| it.parse().ok()).ok_or_else(wrong)?;
    let time = Duration::from_secs(number.saturating_mul(unit));
    if time.is_zero() || time > LONGEST {
        return Err("it takes from one second to one hour".to_owned());
    }
    Ok(time)
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(super) enum ProxyArg {
    Off,
    Accept,
    Send,
    SendV1,
}

fn redirect_status(text: &str) -> Result<RedirectStatus, String> {
    let code: u16 = text.parse().unwrap_or_default();
    RedirectStatus::try_from(code).map_err(str::to_owned)
}

fn hsts(text: &str) -> Result<Hsts, String> {
    text.parse().map_err(|error: HstsError| error.to_string())
}

/// A port on localhost, an address in full, or a socket.
fn forward(text: &str) -> Result<Forward, String> {
    if let Ok(port) = text.parse() {
        return Ok(Forward::Port(port));
    }
    if text.starts_with("unix:") {
        let socket = SocketPath::try_from(text.to_owned());
        return socket.map(Forward::Socket).map_err(ToOwned::to_owned);
    }
    text.parse().map(Forward::Address).map_err(|_syntax| {
        "neither `PORT` nor `ADDRESS:PORT` nor `unix:/PATH`; for an application on port 8080 write \
         `127.0.0.1:8080`"
            .to_owned()
    })
}
