//! From a configuration to a plan: everything parsed, everything unsafe refused, all at once.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use lasthop_contract::client_policy::{
    AllowedClients, ClientAuth, ClientEku, CrlExpired, PolicyError,
};
use lasthop_contract::exempt_paths::ExemptPaths;
use lasthop_contract::sidecar_config::{
    Clients, IdentityHeader, KeyLog, Listener, PlaintextDoor, Protocol, ProxyAccept, ProxyProtocol,
    SidecarConfig, Terminate,
};
use lasthop_contract::trusted_proxies::TrustedProxies;

use crate::cli::Settings;
use crate::confine::Ports;
use crate::dial::target::Target;
use crate::limits::Bounds;
use crate::secret_dir::{SecretDir, SecretPaths};

pub(crate) mod originate;
pub(crate) mod probes;

use originate::{OriginatePlan, Surroundings};
use probes::ProbePlan;

/// Whether the application may be elsewhere than on loopback.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum TargetPolicy {
    /// The plaintext stays on this host.
    Loopback,
    /// Somebody said in writing that it need not.
    Anywhere,
}

/// What to serve, ready to be served.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) terminate: Vec<TerminatePlan>,
    pub(crate) originate: Vec<OriginatePlan>,
    pub(crate) redirect: Vec<RedirectPlan>,
    pub(crate) status: SocketAddr,
    /// What the status listener performs.
    pub(crate) probes: Vec<ProbePlan>,
    pub(crate) door: PlaintextDoor,
    pub(crate) drain: DrainPlan,
    pub(crate) max_connections: usize,
    pub(crate) bounds: Bounds,
    pub(crate) key_log: KeyLog,
}

/// A listener that ends TLS.
#[derive(Clone, Debug)]
pub(crate) struct TerminatePlan {
    pub(crate) listen: SocketAddr,
    /// Where the application is, in the order in which it is tried.
    pub(crate) application: Vec<Target>,
    pub(crate) protocol: Protocol,
    pub(crate) tls: Vec<SecretDir>,
    /// [`None`]: no certificate is asked for.
    pub(crate) clients: Option<ClientsPlan>,
    /// What clients without a certificate may ask for, where all others need one.
    pub(crate) exempt: Option<ExemptPaths>,
    pub(crate) trusted: TrustedProxies,
    pub(crate) identity: Vec<IdentityHeader>,
    pub(crate) proxy_protocol: ProxyProtocol,
}

/// Who may come in.
#[derive(Clone, Debug)]
pub(crate) struct ClientsPlan {
    pub(crate) auth: ClientAuth,
    pub(crate) ca: SecretDir,
    pub(crate) crl: Option<SecretDir>,
    pub(crate) allowed: AllowedClients,
    pub(crate) eku: Option<ClientEku>,
    pub(crate) crl_expired: CrlExpired,
}

/// A listener that redirects.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RedirectPlan {
    pub(crate) listen: SocketAddr,
    pub(crate) https_port: u16,
}

/// What happens at SIGTERM.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DrainPlan {
    pub(crate) delay: Duration,
    pub(crate) timeout: Duration,
}

/// What is wrong with a configuration, in words: where, and what.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct ConfigFault(String);

impl fmt::Display for ConfigFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Plan {
    /// The plan that `settings` describe.
    ///
    /// # Errors
    /// Everything that is wrong or unsafe.
    pub(crate) fn new(settings: &Settings) -> Result<Self, Vec<ConfigFault>> {
        let Settings { config, secrets, bind, ca_file, target, max_connections, bounds, .. } =
            settings;
        let SidecarConfig { version: _, listeners, status_listen, drain, .. } = config;
        let bound = |address: SocketAddr| match bind {
            Some(ip) => SocketAddr::new(*ip, address.port()),
            None => address,
        };
        let mut faults = Vec::new();
        if listeners.is_empty() {
            faults.push(ConfigFault("there is no listener".to_owned()));
        }
        let mut plan = Self {
            terminate: Vec::new(),
            originate: Vec::new(),
            redirect: Vec::new(),
            status: bound(*status_listen),
            probes: Vec::new(),
            door: config.plaintext_door,
            drain: DrainPlan {
                delay: Duration::from_secs(u64::from(drain.delay_seconds)),
                timeout: Duration::from_secs(u64::from(drain.timeout_seconds)),
            },
            max_connections: *max_connections,
            bounds: *bounds,
            key_log: config.key_log,
        };
        for listener in listeners {
            let place = format!("listener {}", listener.listen());
            let mut report = |text: String| faults.push(ConfigFault(format!("{place}: {text}")));
            match listener {
                Listener::Redirect(redirect) => plan.redirect.push(RedirectPlan {
                    listen: bound(redirect.listen),
                    https_port: redirect.https_port,
                }),
                Listener::Originate(originate) => {
                    let ca_file = ca_file.as_ref();
                    let around = Surroundings { secrets, bind: *bind, ca_file };
                    plan.originate.extend(originate::plan(originate, around, &mut report));
                }
                Listener::Terminate(terminate) => {
                    let listen = bound(terminate.listen);
                    let reading = Reading { secrets, target: *target, report: &mut report };
                    plan.terminate.extend(reading.terminate(terminate, listen));
                }
            }
        }
        faults.extend(clashes(&plan));
        let own: Vec<u16> = plan.listening().map(|address| address.port()).collect();
        plan.probes = probes::read(&config.probes, &own, &mut faults);
        if faults.is_empty() { Ok(plan) } else { Err(faults) }
    }
}

impl Plan {
    /// The addresses of the applications, where they have one.
    pub(crate) fn applications(&self) -> impl Iterator<Item = SocketAddr> {
        self.terminate.iter().flat_map(|it| &it.application).filter_map(Target::address)
    }

    /// The addresses that the sidecar listens on, as far as they are known before.
    fn listening(&self) -> impl Iterator<Item = SocketAddr> {
        let terminate = self.terminate.iter().map(|it| it.listen);
        let originate = self.originate.iter().map(|it| it.listen);
        let redirect = self.redirect.iter().map(|it| it.listen);
        terminate.chain(originate).chain(redirect).chain([self.status]).filter(|it| it.port() != 0)
    }
}

impl Plan {
    /// The TCP ports that it takes to serve this plan.
    pub(crate) fn ports(&self) -> Ports {
        let listen = self.terminate.iter().map(|it| it.listen);
        let listen = listen.chain(self.originate.iter().map(|it| it.listen));
        let listen = listen.chain(self.redirect.iter().map(|it| it.listen)).chain([self.status]);
        let connect = self.applications().map(|it| it.port());
        let outward = self.originate.iter().flat_map(OriginatePlan::connects_to);
        let probed = self.probes.iter().map(|it| it.action.port());
        Ports {
            connect: connect.chain(probed).chain(outward).collect(),
            listen: listen.map(|it| it.port()).collect(),
        }
    }
}

/// Something is wrong, and was reported.
struct Reported;

/// One listener being read.
struct Reading<'a> {
    secrets: &'a SecretPaths,
    target: TargetPolicy,
    report: &'a mut dyn FnMut(String),
}

impl Reading<'_> {
    fn terminate(mut self, terminate: &Terminate, listen: SocketAddr) -> Option<TerminatePlan> {
        let Terminate {
            listen: _,
            forward,
            protocol,
            tls_secrets,
            clients,
            trusted_proxies,
            identity_headers,
            proxy_protocol,
        } = terminate;
        let application = Target::all(forward);
        self.check_application(&application);
        if tls_secrets.is_empty() {
            (self.report)("there is no Secret with certificate and key (`tls-secret`)".to_owned());
        }
        let tls: Vec<SecretDir> =
            tls_secrets.iter().filter_map(|name| self.directory(name)).collect();
        let exempt = self.exempt_paths(clients, *protocol);
        let clients = self.clients(clients);
        let trusted = match TrustedProxies::from_entries(trusted_proxies) {
            Ok(trusted) => trusted,
            Err(errors) => {
                for error in errors {
                    (self.report)(format!("`trusted-proxies`: {error}"));
                }
                TrustedProxies::default()
            }
        };
        self.check_proxy_protocol(*proxy_protocol, &trusted, *protocol);
        let mut clients = clients.ok()?;
        if let (Some(_), Some(clients)) = (&exempt, &mut clients) {
            // The handshake asks for a certificate and does not insist; requests without one are
            // refused but for these paths.
            clients.auth = ClientAuth::Optional;
        }
        if clients.is_none() && trusted.needs_certificates() {
            (self.report)(
                "`trusted-proxies` names clients, but `client-auth` is `none`: nobody would be trusted"
                    .to_owned(),
            );
        }
        let mut identity = identity_headers.clone();
        identity.sort_unstable();
        identity.dedup();
        let protocol = *protocol;
        Some(TerminatePlan {
            listen,
            application,
            protocol,
            tls,
            clients,
            exempt,
            trusted,
            identity,
            proxy_protocol: *proxy_protocol,
        })
    }

    fn check_proxy_protocol(
        &mut self,
        ProxyProtocol { accept, send }: ProxyProtocol,
        trusted: &TrustedProxies,
        protocol: Protocol,
    ) {
        if accept == ProxyAccept::FromTrusted && !trusted.has_networks() {
            (self.report)(
                "`proxy-protocol: accept` needs address ranges in `trusted-proxies`, such as `10.0.0.0/8`: the \
                 header comes before TLS, when there is no certificate that could be trusted"
                    .to_owned(),
            );
        }
        if send.is_some() && protocol != Protocol::Tcp {
            (self.report)(
                "`proxy-protocol: send` is for `protocol: tcp`: the connections to an HTTP application carry \
                 requests of many clients, each of which has its own `X-Forwarded-For`"
                    .to_owned(),
            );
        }
    }

    /// The paths that need no certificate, where anything does.
    fn exempt_paths(&mut self, clients: &Clients, protocol: Protocol) -> Option<ExemptPaths> {
        let paths = match ExemptPaths::from_entries(&clients.exempt_paths) {
            Ok(paths) if paths.is_empty() => return None,
            Ok(paths) => paths,
            Err(errors) => {
                for error in errors {
                    (self.report)(format!("`client-auth-exempt-paths`: {error}"));
                }
                return None;
            }
        };
        if protocol == Protocol::Tcp {
            (self.report)(
                "`client-auth-exempt-paths` is for HTTP, with `protocol: tcp` there are no paths"
                    .to_owned(),
            );
        }
        if clients.auth == ClientAuth::Optional {
            (self.report)(
                "`client-auth` is `optional`, so every path is reached without a certificate; write \
                 `client-auth: required` beside `client-auth-exempt-paths`"
                    .to_owned(),
            );
        }
        Some(paths)
    }

    fn directory(&mut self, name: &str) -> Option<SecretDir> {
        self.secrets.directory(name).map_err(&mut *self.report).ok()
    }

    fn check_application(&mut self, application: &[Target]) {
        for address in application.iter().filter_map(Target::address) {
            let ip = address.ip().to_canonical();
            if address.port() == 0 {
                (self.report)("the application's port must not be 0".to_owned());
                return;
            }
            if self.target == TargetPolicy::Loopback && !ip.is_loopback() {
                (self.report)(format!(
                    "the application {address} is not on loopback, what was encrypted would travel in the clear; \
                     `--unsafe-target` allows it"
                ));
            }
        }
    }

    /// The policy; [`None`] where no certificate is asked for.
    fn clients(&mut self, clients: &Clients) -> Result<Option<ClientsPlan>, Reported> {
        let Clients { auth, ca_secret, allowed, eku, crl_secret, crl_expired, exempt_paths } =
            clients;
        if *auth == ClientAuth::None {
            let unused = [
                ("client-ca-secret", ca_secret.is_some()),
                ("allowed-clients", !allowed.is_empty()),
                ("client-eku", eku.is_some()),
                ("client-crl-secret", crl_secret.is_some()),
                ("client-auth-exempt-paths", !exempt_paths.is_empty()),
            ];
            for (name, _) in unused.iter().filter(|(_, given)| *given) {
                (self.report)(format!(
                    "`client-auth` is `none`, so `{name}` would keep nobody out; \
                     write `client-auth: required`, or leave `{name}` out"
                ));
            }
            return if unused.iter().any(|(_, given)| *given) { Err(Reported) } else { Ok(None) };
        }
        let entries = allowed.iter().map(String::as_str);
        let allowed = match AllowedClients::from_entries(entries) {
            Ok(allowed) => {
                if allowed.is_empty() {
                    (self.report)(format!(
                        "{}; name them in `allowed-clients`, or write `*` there",
                        PolicyError::NoAllowedClients
                    ));
                }
                Some(allowed)
            }
            Err(errors) => {
                for error in errors {
                    (self.report)(format!("`allowed-clients`: {error}"));
                }
                None
            }
        };
        let Some(ca) = ca_secret else {
            (self.report)(format!("{}; give `client-ca-secret`", PolicyError::NoAuthority));
            return Err(Reported);
        };
        let ca = self.directory(ca);
        let crl = match crl_secret {
            Some(name) => Some(self.directory(name).ok_or(Reported)?),
            None => None,
        };
        let (Some(ca), Some(allowed)) = (ca, allowed) else { return Err(Reported) };
        let (auth, eku, crl_expired) = (*auth, *eku, *crl_expired);
        Ok(Some(ClientsPlan { auth, ca, crl, allowed, eku, crl_expired }))
    }
}

/// Listeners that cannot both have their address, or that would take the application's.
fn clashes(plan: &Plan) -> Vec<ConfigFault> {
    let mut seen: Vec<SocketAddr> = Vec::new();
    let mut faults = Vec::new();
    for address in plan.listening() {
        let same = |other: &&SocketAddr| {
            other.port() == address.port()
                && (covers(other.ip(), address.ip()) || covers(address.ip(), other.ip()))
        };
        if let Some(other) = seen.iter().find(same) {
            faults.push(ConfigFault(format!(
                "{address} and {other} cannot both be listened on, give one of them another port"
            )));
        }
        let mut applications = plan.applications();
        if let Some(application) = applications.find(|application| {
            application.port() == address.port() && covers(address.ip(), application.ip())
        }) {
            faults.push(ConfigFault(format!(
                "the sidecar would listen on {address} and so take the place of the application \
                 {application}, give one of them another port"
            )));
        }
        seen.push(address);
    }
    faults
}

/// Whether who listens on `listening` gets what is sent to `address`. Where `::` is, there is
/// `0.0.0.0` too: the sidecar's sockets take both.
fn covers(listening: IpAddr, address: IpAddr) -> bool {
    listening == address || listening.is_unspecified()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Settings;

    fn faults(document: &str) -> Vec<String> {
        let document = format!(r#"{{"version":1,"listeners":[{document}]}}"#);
        let settings = Settings::parse(["lasthop-sidecar"], Some(&document)).unwrap();
        match Plan::new(&settings) {
            Ok(_) => Vec::new(),
            Err(faults) => faults.iter().map(ToString::to_string).collect(),
        }
    }

    fn terminate(rest: &str) -> String {
        format!(
            r#"{{"mode":"terminate","listen":"[::]:8443","forward":8080,"tlsSecrets":["web"]{rest}}}"#
        )
    }

    #[test]
    fn a_sound_configuration_has_no_fault() {
        assert_eq!(faults(&terminate("")), Vec::<String>::new());
        let clients =
            r#","clients":{"auth":"required","caSecret":"ca","allowed":["dns:a.example.com"]}"#;
        assert_eq!(faults(&terminate(clients)), Vec::<String>::new());
    }

    #[test]
    fn what_is_unsafe_is_refused() {
        for (rest, expected) in [
            (r#","clients":{"auth":"required","caSecret":"ca"}"#, "allowed clients"),
            (r#","clients":{"auth":"required","allowed":["*"]}"#, "no CA"),
            (r#","clients":{"auth":"optional"}"#, "no CA"),
            (r#","clients":{"auth":"none","caSecret":"ca"}"#, "would keep nobody out"),
            (
                r#","clients":{"auth":"none","allowed":["dns:a.example.com"]}"#,
                "would keep nobody out",
            ),
            (
                r#","clients":{"auth":"required","caSecret":"ca","allowed":["a.example.com"]}"#,
                "dns:a.example.com",
            ),
            (
                r#","clients":{"auth":"required","caSecret":"../ca","allowed":["*"]}"#,
                "secrets root",
            ),
            (r#","clients":{"auth":"none","exemptPaths":["/healthz"]}"#, "would keep nobody out"),
            (
                r#","clients":{"auth":"optional","caSecret":"ca","allowed":["*"],"exemptPaths":["/healthz"]}"#,
                "`client-auth` is `optional`",
            ),
            (
                r#","clients":{"auth":"required","caSecret":"ca","allowed":["*"],"exemptPaths":["/a%2f"]}"#,
                "escape",
            ),
            (
                r#","protocol":"tcp","clients":{"auth":"required","caSecret":"ca","allowed":["*"],"exemptPaths":["/a"]}"#,
                "there are no paths",
            ),
            (r#","trustedProxies":["allowed-clients"]"#, "nobody would be trusted"),
            (r#","proxyProtocol":{"accept":"fromTrusted"}"#, "needs address ranges"),
            (
                r#","proxyProtocol":{"accept":"fromTrusted"},"trustedProxies":["allowed-clients"]"#,
                "needs address ranges",
            ),
            (r#","proxyProtocol":{"send":"v2"}"#, "is for `protocol: tcp`"),
            (r#","protocol":"h2c","proxyProtocol":{"send":"v1"}"#, "is for `protocol: tcp`"),
            (r#","trustedProxies":["10.0.0.0/99"]"#, "trusted-proxies"),
        ] {
            let faults = faults(&terminate(rest));
            assert!(faults.iter().any(|fault| fault.contains(expected)), "{rest}: {faults:?}");
        }
    }

    #[test]
    fn the_application_is_on_loopback_and_not_ourselves() {
        let at = |forward: &str| {
            format!(
                r#"{{"mode":"terminate","listen":"[::]:8443","forward":{forward},"tlsSecrets":["web"]}}"#
            )
        };
        for (forward, expected) in [
            (r#""10.0.0.1:8080""#, "--unsafe-target"),
            (r#""0.0.0.0:8080""#, "--unsafe-target"),
            ("8443", "take the place of the application"),
            ("0", "must not be 0"),
        ] {
            let faults = faults(&at(forward));
            assert!(faults.iter().any(|fault| fault.contains(expected)), "{forward}: {faults:?}");
        }
        assert_eq!(faults(&at(r#""[::ffff:127.0.0.1]:80""#)), Vec::<String>::new());
    }

    #[test]
    fn everything_is_reported_at_once() {
        let wrong = r#"{"mode":"terminate","listen":"[::]:8443","forward":"10.0.0.1:1","tlsSecrets":["/etc"],
            "clients":{"auth":"required","allowed":["nobody"]},"trustedProxies":["x"]}"#;
        let clash = r#"{"mode":"redirect","listen":"0.0.0.0:8443"}"#;
        let faults = faults(&format!("{wrong},{clash}"));
        assert!(faults.len() >= 5, "{faults:?}");
        assert_eq!(self::faults(""), ["there is no listener"]);
    }

    #[test]
    fn bind_overrides_addresses_and_not_ports() {
        let document = format!(r#"{{"version":1,"listeners":[{}]}}"#, terminate(""));
        let args = ["lasthop-sidecar", "--bind", "127.0.0.1"];
        let settings = Settings::parse(args, Some(&document)).unwrap();
        let plan = Plan::new(&settings).unwrap();
        assert_eq!(plan.terminate[0].listen, "127.0.0.1:8443".parse().unwrap());
        assert_eq!(plan.status, "127.0.0.1:15443".parse().unwrap());
    }
}
