//! The terminating listeners: which there are, and where the application is behind each.

use lasthop_contract::alpn::AlpnName;
use lasthop_contract::annotation as name;
use lasthop_contract::hsts::Hsts;
use lasthop_contract::sidecar_config::{
    LISTEN_PORT, PlaintextDoor, Protocol, ProxyAccept, ProxyProtocol,
};

use super::values::{self, PortPair};
use super::{App, Originate, Reader, Terminate};
use crate::inject::code;
use crate::inject::pod;
use crate::inject::table::{self, Level};
use crate::object::Object;

impl Reader<'_> {
    /// Whether the pod asks for nothing but originating listeners.
    pub(super) fn only_originates(&self) -> bool {
        let terminates = |base: &str| {
            let is_about_listeners =
                table::find(base).is_some_and(|it| it.level == Level::Listener);
            is_about_listeners
                || [
                    name::PORTS,
                    name::REDIRECT_PORT,
                    name::REDIRECT_STATUS,
                    name::REDIRECT_HTTPS_PORT,
                ]
                .contains(&base)
        };
        let mut written = self.written.keys().map(|(base, _)| *base);
        written.clone().any(|base| base == name::UPSTREAMS) && !written.any(terminates)
    }

    /// The listeners: as written, or one before the app's only port or socket.
    pub(super) fn pairs(&mut self, pod: &Object) -> Vec<PortPair> {
        if let Some(held) = self.held(name::PORTS, None) {
            return values::ports(held.value).unwrap_or_default();
        }
        if self.held(name::APP_SOCKET, Some(LISTEN_PORT)).is_some() {
            return vec![PortPair { listen: LISTEN_PORT, app: None }];
        }
        match pod::only_app_port(pod) {
            Ok((app, _container)) => vec![PortPair { listen: LISTEN_PORT, app: Some(app) }],
            Err(candidates) => {
                let (message, help) = match candidates.as_slice() {
                    [] => (
                        "no container declares a port, so the app's port is not known".to_owned(),
                        format!("name it: `{}: \"8443:8080\"`", name::PORTS),
                    ),
                    [first, ..] => {
                        let all: Vec<String> = candidates.iter().map(u16::to_string).collect();
                        let mut free = LISTEN_PORT..;
                        let free = free.find(|it| !candidates.contains(it)).unwrap_or(LISTEN_PORT);
                        (
                            format!(
                                "the app's port is not clear, the containers declare {}",
                                all.join(", ")
                            ),
                            format!("name it: `{}: \"{free}:{first}\"`", name::PORTS),
                        )
                    }
                };
                self.object(code::APP_PORT, name::PORTS, message, help);
                Vec::new()
            }
        }
    }

    /// Objects to a port behind an annotation that no listener of its kind has.
    pub(super) fn check_ports(&mut self, pairs: &[PortPair], upstreams: &[Originate]) {
        let strays: Vec<(&'static str, u16)> =
            self.written.keys().filter_map(|(base, port)| Some((*base, (*port)?))).collect();
        for (base, port) in strays {
            let key = format!("{base}.{port}");
            let is_upstream = table::find(base).is_some_and(|it| it.level == Level::Upstream);
            let (ports, list): (Vec<u16>, _) = if is_upstream {
                (upstreams.iter().map(|it| it.listen).collect(), name::UPSTREAMS)
            } else {
                (pairs.iter().map(|it| it.listen).collect(), name::PORTS)
            };
            // Where there are no listeners at all, that has been told.
            if ports.is_empty() || ports.contains(&port) {
                continue;
            }
            let all: Vec<String> = ports.iter().map(u16::to_string).collect();
            let message = format!("no listener has the port {port}, they have {}", all.join(", "));
            let of_app = pairs.iter().find(|pair| !is_upstream && pair.app == Some(port));
            let help = match of_app {
                Some(pair) => format!(
                    "the port is the one that the sidecar listens on: write `{base}.{}`",
                    pair.listen
                ),
                None => format!("add the listener to `{list}`, or correct the port"),
            };
            self.object(code::LISTENER, &key, message, help);
        }
    }

    pub(super) fn require_tls_secret(&mut self, port: Option<u16>) {
        if self.held(name::TLS_SECRET, port).is_none() {
            let message = format!("`{}` is missing", name::TLS_SECRET);
            let help = format!(
                "name the Secret with the certificate that the sidecar serves: `{}: web-tls`",
                name::TLS_SECRET
            );
            self.object(code::REQUIRED, name::TLS_SECRET, message, help);
        }
    }

    pub(super) fn terminate(&mut self, pair: PortPair) -> Option<Terminate> {
        let port = Some(pair.listen);
        self.require_tls_secret(port);
        let app = self.app(pair);
        let protocol = self.get(name::PROTOCOL, port, values::protocol).unwrap_or_default();
        let clients = self.clients(port, protocol);
        let proxy_protocol = self.proxy_protocol(port, protocol);
        let trusted_proxies = self.trusted_proxies(port, protocol, proxy_protocol);
        let identity_headers = self.identity_headers(port, protocol);
        let hsts = self.hsts(port, protocol);
        let alpn = self.alpn(port, protocol);
        let tls_secrets = self.get(name::TLS_SECRET, port, values::secret_names)?;
        Some(Terminate {
            listen: pair.listen,
            app: app?,
            protocol,
            tls_secrets,
            clients,
            trusted_proxies,
            identity_headers,
            proxy_protocol,
            hsts,
            alpn,
        })
    }

    /// Where the app is: on the port of the pair, or on a socket.
    fn app(&mut self, pair: PortPair) -> Option<App> {
        let PortPair { listen, app } = pair;
        match (app, self.held(name::APP_SOCKET, Some(listen))) {
            (Some(port), None) => Some(App::Port(port)),
            (None, Some(held)) => values::app_socket(held.value).ok().map(App::Socket),
            (Some(port), Some(held)) => {
                let message = format!(
                    "the listener {listen} forwards to port {port}, and `{}` to a socket",
                    held.key()
                );
                let help = format!("write the listener alone, `{}: \"{listen}\"`", name::PORTS);
                self.object(code::CONFLICT, &held.key(), message, help);
                None
            }
            (None, None) => {
                let message = format!("the listener {listen} has no app behind it");
                let help = format!(
                    "write the app's port, `{}: \"{listen}:8080\"`, or its Unix socket, `{}.{listen}`",
                    name::PORTS,
                    name::APP_SOCKET
                );
                self.object(code::APP_PORT, name::PORTS, message, help);
                None
            }
        }
    }

    /// Objects to what is said of a redirect that there is none of.
    pub(super) fn check_redirect(&mut self) {
        if self.held(name::REDIRECT_PORT, None).is_some() {
            return;
        }
        for base in [name::REDIRECT_STATUS, name::REDIRECT_HTTPS_PORT] {
            if self.held(base, None).is_some() {
                let message = format!("`{base}` is about a redirect, and there is none");
                let help = format!(
                    "name the port on which plain HTTP comes in: `{}: \"8081\"`",
                    name::REDIRECT_PORT
                );
                self.object(code::CONFLICT, base, message, help);
            }
        }
    }

    /// What browsers are told, where there are answers.
    fn hsts(&mut self, port: Option<u16>, protocol: Protocol) -> Option<Hsts> {
        let held = self.held(name::HSTS, port)?;
        let hsts = values::hsts(held.value).ok()?;
        if protocol == Protocol::Tcp {
            self.check_headers(held, port, "headers");
            return None;
        }
        Some(hsts)
    }

    /// What is agreed on with clients, where it is not HTTP anyway.
    fn alpn(&mut self, port: Option<u16>, protocol: Protocol) -> Vec<AlpnName> {
        let Some(held) = self.held(name::ALPN, port) else { return Vec::new() };
        let Ok(alpn) = values::alpn(held.value) else { return Vec::new() };
        if protocol == Protocol::Tcp {
            return alpn;
        }
        if !self.is_excepted(name::PROTOCOL, held, port) {
            let message = format!(
                "`{}` is for protocol `tcp`: an HTTP listener speaks `h2` and `http/1.1`",
                held.key()
            );
            let help = format!("leave it out, or write `{}: tcp`", name::PROTOCOL);
            self.object(code::CONFLICT, &held.key(), message, help);
        }
        Vec::new()
    }

    /// Unless somebody says so: an app behind client authentication is to have no door beside it.
    pub(super) fn plaintext_door(&self, listeners: &[Terminate]) -> PlaintextDoor {
        let is_guarded = listeners.iter().any(|listener| listener.clients.is_some());
        let default = if is_guarded { PlaintextDoor::NotReady } else { PlaintextDoor::Told };
        self.get(name::REQUIRE_LOOPBACK, None, values::require_loopback).unwrap_or(default)
    }

    /// A PROXY header is believed of known networks alone: it comes before any certificate. It is sent
    /// where a connection is one client's: with HTTP, connections to the app are shared.
    fn proxy_protocol(&mut self, port: Option<u16>, protocol: Protocol) -> ProxyProtocol {
        let Some(held) = self.held(name::PROXY_PROTOCOL, port) else {
            return ProxyProtocol::default();
        };
        let Ok(mut proxy_protocol) = values::proxy_protocol(held.value) else {
            return ProxyProtocol::default();
        };
        if protocol != Protocol::Tcp
            && proxy_protocol.send.take().is_some()
            && !self.is_excepted(name::PROTOCOL, held, port)
        {
            let message = format!(
                "`{}` sends PROXY headers, but HTTP connections to the app carry requests of many clients",
                held.key()
            );
            let help = format!(
                "leave `send` out: the app reads `X-Forwarded-For`; or write `{}: tcp`",
                name::PROTOCOL
            );
            self.object(code::CONFLICT, &held.key(), message, help);
        }
        let proxies = self.get(name::TRUSTED_PROXIES, port, values::trusted_proxies);
        let networks = values::without_certificates(&proxies.unwrap_or_default());
        if proxy_protocol.accept == ProxyAccept::FromTrusted && networks.is_empty() {
            let message = format!(
                "`{}` accepts PROXY headers, but of nobody: no network is trusted",
                held.key()
            );
            let help = format!(
                "name the networks of those who send them: `{}: 10.0.0.0/8`; the header comes before any \
                 certificate",
                name::TRUSTED_PROXIES
            );
            self.object(code::CONFLICT, &held.key(), message, help);
        }
        proxy_protocol
    }
}
