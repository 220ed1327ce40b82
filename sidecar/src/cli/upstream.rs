//! The flags of a listener that originates TLS.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;
use lasthop_contract::sidecar_config::{Listener, Originate, Upstream};

use super::{Refused, path_text, words};

/// Flags of a listener that ends TLS, which have no meaning beside `--upstream`.
const OF_TERMINATE: [&str; 21] = [
    "forward",
    "tls_secret",
    "protocol",
    "trusted_proxies",
    "identity_headers",
    "redirect_port",
    "redirect_https_port",
    "hsts",
    "proxy_protocol",
    "alpn",
    "require_loopback",
    "unsafe_target",
    "client_auth",
    "client_ca_secret",
    "client_crl_secret",
    "client_crl_expired",
    "client_crl_unknown",
    "client_crl_depth",
    "client_eku",
    "client_auth_exempt_paths",
    "allowed_clients",
];

#[derive(Args, Debug)]
#[command(next_help_heading = "One listener the other way round, by flags")]
pub(super) struct UpstreamArgs {
    /// The next tier: take plaintext at --listen, on loopback, and speak TLS to it
    ///
    /// https://HOST:PORT for HTTP/1.1 and HTTP/2, tls://HOST:PORT for bytes. The name is looked up again
    /// and again; of several addresses the least busy is taken, and one that fails is left out for
    /// a while.
    #[arg(long, value_name = "URL", requires = "listen", conflicts_with_all = OF_TERMINATE)]
    pub(super) upstream: Option<Upstream>,

    /// Directory with the certificate chain and private key that are presented to the next tier
    #[arg(long, value_name = "DIR", requires = "upstream")]
    pub(super) upstream_client_secret: Option<PathBuf>,

    /// Directory with the CAs that the next tier must chain to [default: those of Mozilla]
    #[arg(long, value_name = "DIR", requires = "upstream")]
    pub(super) upstream_ca_secret: Option<PathBuf>,

    /// Names of which the next tier's certificate must have one [default: its host]
    ///
    /// dns:NAME, dns:*.NAME (one label, and the wildcard itself), uri:URI, ip:ADDRESS, sha256:HEX of the
    /// certificate, spki:HEX of its key, with commas between them. Text is compared with text: a
    /// certificate for *.example.com has the name dns:*.example.com and no other.
    #[arg(long, value_name = "PATTERN,…", requires = "upstream", value_delimiter = ',')]
    pub(super) upstream_server_names: Vec<String>,

    /// The server name that the next tier is asked for (SNI) [default: its host]
    #[arg(long, value_name = "NAME", requires = "upstream")]
    pub(super) upstream_sni: Option<String>,

    /// CAs for next tiers that have no CA of their own, as PEM, instead of those of Mozilla
    #[arg(long, value_name = "FILE", env = "SSL_CERT_FILE")]
    pub(super) ca_file: Option<OsString>,
}

impl UpstreamArgs {
    /// The bundle of CAs, where one is named: a variable that holds nothing names none.
    pub(super) fn ca_file(&self) -> Option<PathBuf> {
        self.ca_file.as_ref().filter(|file| !file.is_empty()).map(PathBuf::from)
    }

    /// The listener at `listen`, where these flags describe one.
    pub(super) fn listener(self, listen: SocketAddr) -> Result<Option<Listener>, Refused> {
        let Self {
            upstream,
            upstream_client_secret,
            upstream_ca_secret,
            upstream_server_names,
            upstream_sni,
            ca_file: _,
        } = self;
        let Some(upstream) = upstream else { return Ok(None) };
        Ok(Some(Listener::Originate(Originate {
            listen,
            upstream,
            client_secret: upstream_client_secret.map(path_text).transpose()?,
            ca_secret: upstream_ca_secret.map(path_text).transpose()?,
            server_names: words(&upstream_server_names),
            sni: upstream_sni,
        })))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::Settings;
    use super::*;

    fn parse(args: &[&str], document: Option<&str>) -> Result<Settings, String> {
        let args = std::iter::once("lasthop-sidecar").chain(args.iter().copied());
        Settings::parse(args, document).map_err(|refused| match refused {
            Refused::Wrong(text) | Refused::Answered(text) => text,
        })
    }

    const PLAIN: [&str; 4] =
        ["--listen", "127.0.0.1:9001", "--upstream", "https://db.example.com:443"];

    #[test]
    fn flags_and_document_say_the_same() {
        let flags = [
            &PLAIN[..],
            &["--upstream-client-secret", "web", "--upstream-ca-secret", "ca"],
            &["--upstream-server-names", "dns:db.internal, uri:spiffe://x/db"],
            &["--upstream-sni", "db.internal", "--status-listen", "127.0.0.1:9000"],
        ]
        .concat();
        let document = r#"{"version":1,"listeners":[{"mode":"originate","listen":"127.0.0.1:9001",
            "upstream":"https://db.example.com:443","clientSecret":"web","caSecret":"ca",
            "serverNames":["dns:db.internal","uri:spiffe://x/db"],"sni":"db.internal"}],
            "statusListen":"127.0.0.1:9000"}"#;
        let flags = parse(&flags, None).unwrap().config;
        assert_eq!(flags, parse(&[], Some(document)).unwrap().config);
        let document = r#"{"version":1,"listeners":[{"mode":"originate","listen":"127.0.0.1:9001",
            "upstream":"https://db.example.com:443"}]}"#;
        let flags = parse(&PLAIN, None).unwrap().config;
        assert_eq!(flags, parse(&[], Some(document)).unwrap().config);
    }

    #[test]
    fn a_bundle_may_be_named_beside_a_document() {
        let document = r#"{"version":1,"listeners":[]}"#;
        let settings = parse(&["--ca-file", "/etc/ca.pem"], Some(document)).unwrap();
        assert_eq!(settings.ca_file.as_deref(), Some(Path::new("/etc/ca.pem")));
        assert_eq!(parse(&["--ca-file", ""], Some(document)).unwrap().ca_file, None);
    }

    #[test]
    fn wrong_usage_is_told_with_what_to_write() {
        for (more, expected) in [
            (&["--forward", "8080"][..], "--forward"),
            (&["--tls-secret", "web"], "--tls-secret"),
            (&["--client-auth", "none"], "--client-auth"),
            (&["--protocol", "tcp"], "--protocol"),
            (&["--redirect-port", "80"], "--redirect-port"),
            (&["--hsts", "max-age=1"], "--hsts"),
            (&["--proxy-protocol", "send"], "--proxy-protocol"),
        ] {
            let text = parse(&[&PLAIN[..], more].concat(), None).unwrap_err();
            assert!(text.contains(expected), "{more:?}: {text}");
        }
        for (args, expected) in [
            (&["--upstream", "https://db.example.com:443"][..], "--listen"),
            (&["--listen", "127.0.0.1:1", "--upstream", "db:443"], "https://"),
            (&["--listen", "127.0.0.1:1", "--upstream", "https://db"], "1 to 65535"),
            (&["--listen", "127.0.0.1:1", "--upstream-sni", "db"], "--upstream"),
        ] {
            let text = parse(args, None).unwrap_err();
            assert!(text.contains(expected), "{args:?}: {text}");
        }
    }
}
