//! The command line: flags and document both become one [`SidecarConfig`].

use std::ffi::OsString;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{CommandFactory as _, FromArgMatches as _};
use lasthop_contract::client_policy::{ClientAuth, ClientEku, CrlDepth, CrlExpired, CrlUnknown};
use lasthop_contract::sidecar_config::{
    CONFIG_VARIABLE, Clients, Drain, IdentityHeader, KeyLog, Listener, PlaintextDoor, ProxyAccept,
    ProxyProtocol, ProxyVersion, Redirect, STATUS_PORT, SidecarConfig, Terminate, VERSION,
};

use crate::config::TargetPolicy;
use crate::confine::Confinement;
use crate::keylog;
use crate::limits::Bounds;
use crate::secret_dir::SecretPaths;

mod args;
mod help;
mod upstream;

use args::{
    Cli, ClientArgs, Command, DocumentArgs, IdentityArg, KeylogArgs, ListenerArgs, ProcessArgs,
    ProxyArg,
};

/// Everything that one run is told.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Settings {
    /// What to serve.
    pub config: SidecarConfig,
    /// How the Secrets that `config` names are found on disk.
    pub(crate) secrets: SecretPaths,
    /// Overrides the address of every listener, not its port.
    pub bind: Option<IpAddr>,
    /// CAs for next tiers where the configuration names none; [`None`]: Mozilla's.
    pub(crate) ca_file: Option<PathBuf>,
    /// Whether the application may be elsewhere than on loopback.
    pub(crate) target: TargetPolicy,
    /// Connections open at once.
    pub max_connections: usize,
    /// What else a client may cost.
    pub(crate) bounds: Bounds,
    /// What the process gives up before it serves.
    pub(crate) confinement: Confinement,
    /// What to do with all that.
    pub purpose: Purpose,
}

/// What a run is for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Purpose {
    /// To serve.
    Serve,
    /// To say whether it could serve.
    Check,
}

/// Why there is nothing to run.
#[derive(Debug)]
pub enum Refused {
    /// `--help` or `--version` was asked for: the text.
    Answered(String),
    /// The command line or the document is wrong: what to print.
    Wrong(String),
}

/// What one start of the program is to do.
#[derive(Debug)]
pub enum Order {
    /// To be the sidecar.
    Run(Box<Settings>),
    /// To read the key log of one that runs.
    KeyLog(KeyLogRequest),
}

/// What is asked of a running sidecar.
#[derive(Clone, Copy, Debug)]
pub struct KeyLogRequest(pub(crate) keylog::Request);

impl Order {
    /// Reads the command line `args` (program name first), and `document` as in [`Settings::parse`].
    ///
    /// # Errors
    /// What to print instead of doing anything.
    pub fn parse<I, T>(args: I, document: Option<&str>) -> Result<Self, Refused>
    where
        I: IntoIterator<Item = T>,
        T: Into<OsString> + Clone,
    {
        let cli = Cli::command()
            .try_get_matches_from(args)
            .and_then(|matches| Cli::from_arg_matches(&matches))
            .map_err(|error| match error.kind() {
                ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
                    Refused::Answered(error.render().to_string())
                }
                _ => Refused::Wrong(error.render().to_string()),
            })?;
        let Some(Command::Keylog(KeylogArgs { time, status_port })) = cli.command else {
            return Settings::new(cli, document).map(|settings| Self::Run(Box::new(settings)));
        };
        // The document is the one of the sidecar in whose container this runs.
        let of_document = || {
            let config = document.and_then(|document| SidecarConfig::parse(document).ok());
            config.map(|config| config.status_listen.port())
        };
        let status_port = status_port.or_else(of_document).unwrap_or(STATUS_PORT);
        Ok(Self::KeyLog(KeyLogRequest(keylog::Request { time, status_port })))
    }
}

impl Settings {
    /// Reads the command line `args` (program name first), and `document`, the value of
    /// `LASTHOP_CONFIG`, where the command line names no configuration.
    ///
    /// # Errors
    /// What to print instead of running.
    pub fn parse<I, T>(args: I, document: Option<&str>) -> Result<Self, Refused>
    where
        I: IntoIterator<Item = T>,
        T: Into<OsString> + Clone,
    {
        match Order::parse(args, document)? {
            Order::Run(settings) => Ok(*settings),
            Order::KeyLog(_) => Err(wrong("`keylog` is no run of a sidecar")),
        }
    }

    fn new(cli: Cli, document: Option<&str>) -> Result<Self, Refused> {
        let Cli { command: _, document: from, listener, clients, upstream, limits, process } = cli;
        let target =
            if listener.unsafe_target { TargetPolicy::Anywhere } else { TargetPolicy::Loopback };
        let purpose = if process.check_config { Purpose::Check } else { Purpose::Serve };
        let (max_connections, bounds) = (limits.max_connections, limits.bounds());
        let confinement = process.confinement.into();
        let ca_file = upstream.ca_file();
        let DocumentArgs { config: file, secrets_root, bind } = from;
        let (config, secrets) = match listener.listen {
            Some(listen) => {
                let served = match upstream.listener(listen)? {
                    Some(originate) => (vec![originate], PlaintextDoor::default()),
                    None => terminate(listen, listener, clients)?,
                };
                (by_flags(served, &process), SecretPaths::AsGiven)
            }
            None => (by_document(file, document)?, SecretPaths::Under(secrets_root)),
        };
        Ok(Self {
            config,
            secrets,
            bind,
            ca_file,
            target,
            max_connections,
            bounds,
            confinement,
            purpose,
        })
    }
}

fn wrong(text: &str) -> Refused {
    Refused::Wrong(format!("error: {text}\n"))
}

fn by_document(file: Option<PathBuf>, document: Option<&str>) -> Result<SidecarConfig, Refused> {
    let (text, place) = match (file, document) {
        (Some(file), _) => {
            let text = std::fs::read_to_string(&file).map_err(|error| {
                wrong(&format!("the configuration `{}` cannot be read: {error}", file.display()))
            })?;
            (text, file.display().to_string())
        }
        (None, Some(document)) => (document.to_owned(), CONFIG_VARIABLE.to_owned()),
        (None, None) => return Err(wrong(help::NOTHING_TO_SERVE)),
    };
    SidecarConfig::parse(&text).map_err(|error| wrong(&format!("`{place}`: {error}")))
}

fn terminate(
    listen: SocketAddr,
    listener: ListenerArgs,
    clients: ClientArgs,
) -> Result<(Vec<Listener>, PlaintextDoor), Refused> {
    let ListenerArgs {
        listen: _,
        forward,
        tls_secret,
        protocol,
        trusted_proxies,
        identity_headers,
        proxy_protocol,
        redirect_port,
        redirect_https_port,
        redirect_status,
        hsts,
        alpn,
        require_loopback,
        unsafe_target: _,
    } = listener;
    let clients = policy(clients)?;
    let has_clients = clients.auth != ClientAuth::None;
    let plaintext_door = if require_loopback.unwrap_or(has_clients) {
        PlaintextDoor::NotReady
    } else {
        PlaintextDoor::Told
    };
    let forward = forward.ok_or_else(|| {
        wrong("`--listen` needs `--forward` and `--tls-secret`, or `--upstream`; see `--help`")
    })?;
    if tls_secret.is_empty() {
        return Err(wrong("`--forward` needs `--tls-secret DIR` with certificate and key"));
    }
    let identity_headers = match identity_headers.as_slice() {
        [IdentityArg::None] => Vec::new(),
        kinds => kinds.iter().map(|kind| identity(*kind)).collect::<Result<_, _>>()?,
    };
    let mut listeners = vec![Listener::Terminate(Terminate {
        listen,
        forward,
        protocol: protocol.into(),
        tls_secrets: tls_secret.into_iter().map(path_text).collect::<Result<_, _>>()?,
        clients,
        trusted_proxies: words(&trusted_proxies),
        identity_headers,
        proxy_protocol: proxy(&proxy_protocol)?,
        hsts,
        alpn,
    })];
    if let Some(port) = redirect_port {
        let same = if listen.port() == 0 { 443 } else { listen.port() };
        let https_port = redirect_https_port.unwrap_or(same);
        let listen = SocketAddr::new(listen.ip(), port);
        let status = redirect_status.unwrap_or_default();
        listeners.push(Listener::Redirect(Redirect { listen, https_port, status }));
    }
    Ok((listeners, plaintext_door))
}

fn by_flags(
    (listeners, plaintext_door): (Vec<Listener>, PlaintextDoor),
    process: &ProcessArgs,
) -> SidecarConfig {
    let status = SocketAddr::new(IpAddr::from([0_u16; 8]), STATUS_PORT);
    SidecarConfig {
        version: VERSION,
        listeners,
        status_listen: process.status_listen.unwrap_or(status),
        probes: Vec::new(),
        plaintext_door,
        key_log: if process.allow_key_log { KeyLog::OnDemand } else { KeyLog::Refused },
        drain: Drain { delay_seconds: process.drain_delay, timeout_seconds: process.drain_timeout },
        log_level: process.log_level.into(),
    }
}

fn policy(clients: ClientArgs) -> Result<Clients, Refused> {
    let ClientArgs {
        client_auth,
        client_ca_secret,
        client_crl_secret,
        client_crl_expired,
        client_crl_unknown,
        client_crl_depth,
        client_eku,
        client_auth_exempt_paths,
        allowed_clients,
    } = clients;
    let default = if client_ca_secret.is_some() { ClientAuth::Required } else { ClientAuth::None };
    Ok(Clients {
        auth: client_auth.map_or(default, ClientAuth::from),
        ca_secret: client_ca_secret.map(path_text).transpose()?,
        allowed: words(&allowed_clients),
        eku: client_eku.map(ClientEku::from),
        crl_secret: client_crl_secret.map(path_text).transpose()?,
        crl_expired: client_crl_expired.map(CrlExpired::from).unwrap_or_default(),
        crl_unknown: client_crl_unknown.map(CrlUnknown::from).unwrap_or_default(),
        crl_depth: client_crl_depth.map(CrlDepth::from).unwrap_or_default(),
        exempt_paths: words(&client_auth_exempt_paths),
    })
}

fn identity(kind: IdentityArg) -> Result<IdentityHeader, Refused> {
    match kind {
        IdentityArg::None => {
            Err(wrong("`--identity-headers none` stands alone, it takes no other kind beside it"))
        }
        IdentityArg::Xfcc => Ok(IdentityHeader::Xfcc),
        IdentityArg::Rfc9440 => Ok(IdentityHeader::Rfc9440),
        IdentityArg::Aws => Ok(IdentityHeader::Aws),
        IdentityArg::Forwarded => Ok(IdentityHeader::Forwarded),
    }
}

fn proxy(what: &[ProxyArg]) -> Result<ProxyProtocol, Refused> {
    let has = |one| what.contains(&one);
    if has(ProxyArg::Off) && what.len() > 1 || has(ProxyArg::Send) && has(ProxyArg::SendV1) {
        return Err(wrong(
            "`--proxy-protocol` is `off`, or `accept` and one of `send` and `send-v1`, or one of these",
        ));
    }
    let accept = if has(ProxyArg::Accept) { ProxyAccept::FromTrusted } else { ProxyAccept::Never };
    let v1 = has(ProxyArg::SendV1).then_some(ProxyVersion::V1);
    let v2 = has(ProxyArg::Send).then_some(ProxyVersion::V2);
    Ok(ProxyProtocol { accept, send: v1.or(v2) })
}

/// Entries as in an annotation: commas or line breaks between them, empty ones passed over.
fn words(entries: &[String]) -> Vec<String> {
    entries
        .iter()
        .flat_map(|entry| entry.split([',', '\n']))
        .map(str::trim)
        .filter(|entry| !entry.is_empty())
        .map(ToOwned::to_owned)
        .collect()
}

fn path_text(path: PathBuf) -> Result<String, Refused> {
    path.into_os_string()
        .into_string()
        .map_err(|path| wrong(&format!("the path `{}` is not UTF-8", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits;

    fn parse(args: &[&str], document: Option<&str>) -> Result<Settings, Refused> {
        let args = std::iter::once("lasthop-sidecar").chain(args.iter().copied());
        Settings::parse(args, document)
    }

    fn refusal(args: &[&str], document: Option<&str>) -> String {
        match parse(args, document).unwrap_err() {
            Refused::Wrong(text) => text,
            Refused::Answered(text) => panic!("answered: {text}"),
        }
    }

    #[test]
    fn flags_and_document_say_the_same() {
        let flags = parse(
            &[
                "--listen",
                "0.0.0.0:8443",
                "--forward",
                "127.0.0.1:8080",
                "--tls-secret",
                "web",
                "api",
                "--client-ca-secret",
                "ca",
                "--client-crl-secret",
                "crl",
                "--client-crl-expired",
                "refuse",
                "--client-crl-unknown",
                "refuse",
                "--client-crl-depth",
                "leaf",
                "--client-eku",
                "either",
                "--allowed-clients",
                "dns:alb.example.com,uri:spiffe://x/y",
                "--client-auth-exempt-paths",
                "/healthz,/livez",
                "--trusted-proxies",
                "allowed-clients,10.0.0.0/8",
                "--proxy-protocol",
                "accept,send-v1",
                "--identity-headers",
                "xfcc,rfc9440",
                "--protocol",
                "h2c",
                "--redirect-port",
                "8080",
                "--redirect-https-port",
                "443",
                "--redirect-status",
                "302",
                "--hsts",
                "max-age=60; includeSubDomains",
                "--status-listen",
                "127.0.0.1:9000",
                "--log-level",
                "warn",
                "--drain-delay",
                "1",
                "--drain-timeout",
                "2",
            ],
            None,
        )
        .unwrap();
        let document = r#"{"version":1,"listeners":[
            {"mode":"terminate","listen":"0.0.0.0:8443","forward":"127.0.0.1:8080","protocol":"h2c",
             "tlsSecrets":["web","api"],
             "clients":{"auth":"required","caSecret":"ca","allowed":["dns:alb.example.com","uri:spiffe://x/y"],
                        "eku":"either","crlSecret":"crl","crlExpired":"refuse",
                        "crlUnknown":"refuse","crlDepth":"leaf",
                        "exemptPaths":["/healthz","/livez"]},
             "trustedProxies":["allowed-clients","10.0.0.0/8"],"identityHeaders":["xfcc","rfc9440"],
             "proxyProtocol":{"accept":"fromTrusted","send":"v1"},
             "hsts":"max-age=60; includeSubDomains"},
            {"mode":"redirect","listen":"0.0.0.0:8080","httpsPort":443,"status":302}],
            "statusListen":"127.0.0.1:9000","drain":{"delaySeconds":1,"timeoutSeconds":2},"logLevel":"warn",
            "plaintextDoor":"notReady"}"#;
        let document = parse(&[], Some(document)).unwrap();
        assert_eq!(flags.config, document.config);
    }

    #[test]
    fn defaults_of_flags_are_those_of_the_document() {
        let flags =
            parse(&["--listen", "[::]:8443", "--forward", "8080", "--tls-secret", "web"], None)
                .unwrap();
        let document = r#"{"version":1,"listeners":[{"mode":"terminate","listen":"[::]:8443","forward":8080,
            "tlsSecrets":["web"]}]}"#;
        assert_eq!(flags.config, parse(&[], Some(document)).unwrap().config);
        assert_eq!(flags.purpose, Purpose::Serve);
        assert_eq!(flags.max_connections, limits::MAX_CONNECTIONS);
        assert_eq!(flags.bounds, Bounds::default());
    }

    #[test]
    fn a_ca_makes_a_certificate_required() {
        let settings = parse(
            &[
                "--listen",
                "[::]:8443",
                "--forward",
                "8080",
                "--tls-secret",
                "web",
                "--client-ca-secret",
                "ca",
                "--allowed-clients",
                "*",
            ],
            None,
        )
        .unwrap();
        let Some(Listener::Terminate(terminate)) = settings.config.listeners.first() else {
            panic!("no listener")
        };
        assert_eq!(terminate.clients.auth, ClientAuth::Required);
    }

    #[test]
    fn the_command_line_wins_over_the_environment() {
        let settings = parse(
            &["--listen", "[::]:8443", "--forward", "8080", "--tls-secret", "web"],
            Some("not even JSON"),
        );
        assert!(settings.is_ok());
    }

    #[test]
    fn wrong_usage_is_told_with_what_to_write() {
        for (args, expected) in [
            (&[][..], "--listen"),
            (&["--listen", "[::]:8443"], "--forward"),
            (&["--listen", "8443", "--forward", "8080", "--tls-secret", "web"], "--listen"),
            (
                &["--listen", "[::]:1", "--forward", "app:8080", "--tls-secret", "web"],
                "127.0.0.1:8080",
            ),
            (
                &[
                    "--listen",
                    "[::]:1",
                    "--forward",
                    "1",
                    "--tls-secret",
                    "w",
                    "--proxy-protocol",
                    "send,send-v1",
                ],
                "one of `send`",
            ),
            (
                &["--listen", "[::]:1", "--forward", "unix:app.sock", "--tls-secret", "web"],
                "absolute path",
            ),
            (&["--config", "/nonexistent/config.json"], "/nonexistent/config.json"),
            (&["--config", "x", "--listen", "[::]:1"], "--config"),
            (&["--allowed-clients", "*"], "--listen"),
            (
                &[
                    "--listen",
                    "[::]:1",
                    "--forward",
                    "1",
                    "--tls-secret",
                    "w",
                    "--identity-headers",
                    "none,xfcc",
                ],
                "stands alone",
            ),
        ] {
            let text = refusal(args, None);
            assert!(text.contains(expected), "{args:?}: {text}");
        }
        let text = refusal(&[], Some(r#"{"version":2}"#));
        assert!(text.contains("LASTHOP_CONFIG") && text.contains("version 2"), "{text}");
    }

    #[test]
    fn help_names_every_flag_and_exit_code() {
        let Err(Refused::Answered(text)) = parse(&["--help"], None) else { panic!("no help") };
        for needle in [
            "--config",
            "--secrets-root",
            "--bind",
            "--listen",
            "--forward",
            "--tls-secret",
            "--client-ca-secret",
            "--client-crl-secret",
            "--client-auth",
            "--client-eku",
            "--client-auth-exempt-paths",
            "--allowed-clients",
            "--trusted-proxies",
            "--proxy-protocol",
            "--identity-headers",
            "--protocol",
            "--redirect-port",
            "--redirect-status",
            "--hsts",
            "--status-listen",
            "--log-level",
            "--drain-delay",
            "--drain-timeout",
            "--max-connections-per-client",
            "--head-timeout",
            "--idle-timeout",
            "--stall-timeout",
            "--max-connection-age",
            "--close-refused-clients",
            "--upstream",
            "--upstream-client-secret",
            "--upstream-ca-secret",
            "--upstream-server-names",
            "--upstream-sni",
            "SSL_CERT_FILE",
            "--check-config",
            "--unsafe-target",
            "--require-loopback",
            "LASTHOP_CONFIG",
            "EXIT STATUS",
            "EXAMPLES",
            "64",
            "66",
            "69",
        ] {
            assert!(text.contains(needle), "{needle} is not in the help");
        }
    }
}
