//! A listener that ends TLS: who is served with what, before which application, and who may come in.

use std::net::SocketAddr;

use http::HeaderValue;
use lasthop_contract::alpn::AlpnName;
use lasthop_contract::client_policy::{
    AllowedClients, ClientAuth, ClientEku, PolicyError, Revocation,
};
use lasthop_contract::exempt_paths::ExemptPaths;
use lasthop_contract::hsts::Hsts;
use lasthop_contract::sidecar_config::{
    Clients, IdentityHeader, Protocol, ProxyAccept, ProxyProtocol, Terminate,
};
use lasthop_contract::trusted_proxies::TrustedProxies;

use super::TargetPolicy;
use crate::dial::target::Target;
use crate::secret_dir::{SecretDir, SecretPaths};

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
    /// What browsers are told where the application tells them nothing.
    pub(crate) hsts: Option<HeaderValue>,
    /// What is agreed on with clients where the application is sent bytes.
    pub(crate) alpn: Vec<AlpnName>,
}

/// Who may come in.
#[derive(Clone, Debug)]
pub(crate) struct ClientsPlan {
    pub(crate) auth: ClientAuth,
    pub(crate) ca: SecretDir,
    pub(crate) crl: Option<SecretDir>,
    pub(crate) allowed: AllowedClients,
    pub(crate) eku: Option<ClientEku>,
    pub(crate) revocation: Revocation,
}

/// Something is wrong, and was reported.
struct Reported;

/// One listener being read.
pub(super) struct Reading<'a> {
    pub(super) secrets: &'a SecretPaths,
    pub(super) target: TargetPolicy,
    pub(super) report: &'a mut dyn FnMut(String),
}

impl Reading<'_> {
    /// The plan of `terminate`; everything that is wrong is reported.
    pub(super) fn plan(
        mut self,
        terminate: &Terminate,
        listen: SocketAddr,
    ) -> Option<TerminatePlan> {
        let Terminate {
            listen: _,
            forward,
            protocol,
            tls_secrets,
            clients,
            trusted_proxies,
            identity_headers,
            proxy_protocol,
            hsts,
            alpn,
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
        let hsts = self.hsts(hsts.as_ref(), *protocol);
        self.check_alpn(alpn, *protocol);
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
            hsts,
            alpn: alpn.clone(),
        })
    }

    fn hsts(&mut self, hsts: Option<&Hsts>, protocol: Protocol) -> Option<HeaderValue> {
        let hsts = hsts?;
        if protocol == Protocol::Tcp {
            (self.report)(
                "`hsts` is for HTTP, with `protocol: tcp` there are no answers".to_owned(),
            );
        }
        HeaderValue::try_from(hsts.to_string()).ok()
    }

    fn check_alpn(&mut self, alpn: &[AlpnName], protocol: Protocol) {
        if !alpn.is_empty() && protocol != Protocol::Tcp {
            (self.report)(
                "`alpn` is for `protocol: tcp`: an HTTP listener speaks `h2` and `http/1.1`"
                    .to_owned(),
            );
        }
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
        let Clients { auth, ca_secret, allowed, eku, crl_secret, exempt_paths, .. } = clients;
        let revocation = clients.revocation();
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
        if crl_secret.is_none() && revocation != Revocation::default() {
            (self.report)(
                "`client-crl-expired`, `client-crl-unknown` and `client-crl-depth` say how revocation lists \
                 are asked, but there are none; give `client-crl-secret`"
                    .to_owned(),
            );
            return Err(Reported);
        }
        let crl = match crl_secret {
            Some(name) => Some(self.directory(name).ok_or(Reported)?),
            None => None,
        };
        let (Some(ca), Some(allowed)) = (ca, allowed) else { return Err(Reported) };
        let (auth, eku) = (*auth, *eku);
        Ok(Some(ClientsPlan { auth, ca, crl, allowed, eku, revocation }))
    }
}
