//! What holds together, and what does not: client authentication and what the app is told.

use lasthop_contract::annotation as name;
use lasthop_contract::client_policy::{ClientAuth, ClientEku, Revocation};
use lasthop_contract::sidecar_config::{IdentityHeader, Protocol, ProxyAccept, ProxyProtocol};
use lasthop_contract::text::escape;

use super::{Clients, Held, Reader, values};
use crate::inject::code;
use crate::inject::objection::{Bearing, Objection};
use crate::path::FieldPath;

/// What says nothing without a client CA.
const NEEDS_CA: [&str; 6] = [
    name::ALLOWED_CLIENTS,
    name::CLIENT_EKU,
    name::CLIENT_CRL_SECRET,
    name::CLIENT_CRL_EXPIRED,
    name::CLIENT_CA_SECRET,
    name::CLIENT_AUTH_EXEMPT_PATHS,
];

impl Reader<'_> {
    /// Who may come in at the listener `port`; [`None`] where nobody is asked, or where an objection
    /// says why it cannot be told.
    pub(super) fn clients(&mut self, port: Option<u16>, protocol: Protocol) -> Option<Clients> {
        let written = self.held(name::CLIENT_AUTH, port);
        let has_ca = self.held(name::CLIENT_CA_SECRET, port).is_some();
        let default = if has_ca { ClientAuth::Required } else { ClientAuth::None };
        // One that cannot be read has been objected to; what else is wrong is told all the same.
        let auth = written.and_then(|held| values::client_auth(held.value).ok()).unwrap_or(default);
        match (auth, has_ca) {
            (ClientAuth::None, _) => {
                self.check_idle(port);
                return None;
            }
            (ClientAuth::Optional | ClientAuth::Required, false) => {
                let held = written.expect("without a CA the default is none");
                let message = format!(
                    "`{}` is `{}`, but there is no CA to verify clients with",
                    held.key(),
                    escape(held.value)
                );
                let help = format!(
                    "name the Secret that holds it: `{}: client-ca`",
                    name::CLIENT_CA_SECRET
                );
                self.object(code::CONFLICT, &held.key(), message, help);
                return None;
            }
            (ClientAuth::Optional | ClientAuth::Required, true) => {}
        }
        let exempt_paths = self.exempt_paths(port, protocol, auth);
        let allowed = self.allowed(port)?;
        let eku = self
            .get(name::CLIENT_EKU, port, values::client_eku)
            .unwrap_or_else(|| ClientEku::default_for(&allowed.clients));
        Some(Clients {
            auth,
            ca: self.get(name::CLIENT_CA_SECRET, port, values::ca_source)?,
            allowed,
            eku,
            crl_secret: self.get(name::CLIENT_CRL_SECRET, port, values::secret_name),
            revocation: self.revocation(port),
            exempt_paths,
        })
    }

    /// The paths that need no certificate, where some do.
    fn exempt_paths(
        &mut self,
        port: Option<u16>,
        protocol: Protocol,
        auth: ClientAuth,
    ) -> Vec<String> {
        let Some(held) = self.held(name::CLIENT_AUTH_EXEMPT_PATHS, port) else { return Vec::new() };
        let paths = values::exempt_paths(held.value).unwrap_or_default();
        if protocol == Protocol::Tcp {
            self.check_headers(held, port, "paths");
            return Vec::new();
        }
        if auth == ClientAuth::Optional && !self.is_excepted(name::CLIENT_AUTH, held, port) {
            self.objections.push(Objection {
                code: code::CONFLICT,
                bearing: Bearing::Warns,
                path: FieldPath::annotation(&held.key()),
                message: format!(
                    "`{}` does nothing where client-auth is `optional`: no path needs a certificate",
                    held.key()
                ),
                help: "leave it out, or write `required`".to_owned(),
            });
        }
        if auth == ClientAuth::Optional { Vec::new() } else { paths }
    }

    /// The allowed clients beside a CA: there must be some.
    fn allowed(&mut self, port: Option<u16>) -> Option<values::Allowed> {
        let held = self.held(name::ALLOWED_CLIENTS, port);
        let allowed = match held {
            Some(held) => values::allowed(held.value).ok()?,
            None => values::Allowed::default(),
        };
        if allowed.clients.is_empty() {
            let key = held.map_or_else(|| name::ALLOWED_CLIENTS.to_owned(), |held| held.key());
            let message = "a client CA without allowed clients lets in everybody who has a certificate of that CA";
            let help = format!(
                "name them: `{}: dns:alb.example.com`; `*` is any client of this CA, in writing",
                name::ALLOWED_CLIENTS
            );
            self.object(code::ALLOWED_CLIENTS, &key, message.to_owned(), help);
            return None;
        }
        if allowed.clients.has_any() && allowed.clients.patterns().len() > 1 {
            let key = held.map(|held| held.key()).unwrap_or_default();
            self.objections.push(Objection {
                code: code::CONFLICT,
                bearing: Bearing::Warns,
                path: FieldPath::annotation(&key),
                message: "`*` lets in any client of the CA, the other entries do nothing"
                    .to_owned(),
                help: "leave out `*`, or the others".to_owned(),
            });
        }
        Some(allowed)
    }

    /// Without client authentication, what is about clients does nothing: nobody writes it on
    /// purpose, unless another listener needs it.
    fn check_idle(&mut self, port: Option<u16>) {
        let auth = self.held(name::CLIENT_AUTH, port);
        for base in NEEDS_CA {
            let Some(held) = self.held(base, port) else { continue };
            // `client-auth.9443: none` takes one listener out of what is said to all.
            if self.is_excepted(name::CLIENT_AUTH, held, port) {
                continue;
            }
            let key = held.key();
            let (message, help) = match auth {
                Some(auth) => (
                    format!("`{key}` does nothing while `{}` is `none`", auth.key()),
                    format!(
                        "leave out one of the two; with a CA `{}` is `required` by itself",
                        auth.base
                    ),
                ),
                None => (
                    format!("`{key}` does nothing without a client CA"),
                    format!(
                        "name the Secret that holds it: `{}: client-ca`",
                        name::CLIENT_CA_SECRET
                    ),
                ),
            };
            self.object(code::CONFLICT, &key, message, help);
        }
    }

    fn revocation(&mut self, port: Option<u16>) -> Revocation {
        let expired = self.get(name::CLIENT_CRL_EXPIRED, port, values::crl_expired);
        let unknown = self.get(name::CLIENT_CRL_UNKNOWN, port, values::crl_unknown);
        let depth = self.get(name::CLIENT_CRL_DEPTH, port, values::crl_depth);
        if self.held(name::CLIENT_CRL_SECRET, port).is_none() {
            for base in [name::CLIENT_CRL_EXPIRED, name::CLIENT_CRL_UNKNOWN, name::CLIENT_CRL_DEPTH]
            {
                let Some(idle) = self.held(base, port) else { continue };
                let message = format!("`{}` does nothing without revocation lists", idle.key());
                let help = format!(
                    "name the Secret that holds them: `{}: ca-crl`",
                    name::CLIENT_CRL_SECRET
                );
                self.object(code::CONFLICT, &idle.key(), message, help);
            }
        }
        Revocation {
            expired: expired.unwrap_or_default(),
            unknown: unknown.unwrap_or_default(),
            depth: depth.unwrap_or_default(),
        }
    }

    /// Whether the listener learns who its clients are.
    fn identity(&self, port: Option<u16>) -> Identity {
        let has_ca = self.held(name::CLIENT_CA_SECRET, port).is_some();
        match self.get(name::CLIENT_AUTH, port, values::client_auth) {
            Some(ClientAuth::None) => Identity::Unknown,
            _ if has_ca => Identity::Known,
            _ => Identity::Unknown,
        }
    }

    /// Whose forwarding headers are believed at this listener. What is said to all listeners holds as
    /// far as it can at one that was excepted: without certificates for networks, without headers for
    /// nobody.
    pub(super) fn trusted_proxies(
        &mut self,
        port: Option<u16>,
        protocol: Protocol,
        proxy_protocol: ProxyProtocol,
    ) -> Vec<String> {
        let Some(held) = self.held(name::TRUSTED_PROXIES, port) else { return Vec::new() };
        let proxies = values::trusted_proxies(held.value).unwrap_or_default();
        if protocol == Protocol::Tcp && proxy_protocol.accept == ProxyAccept::Never {
            self.check_headers(held, port, "headers");
            return Vec::new();
        }
        if self.identity(port) == Identity::Known {
            return proxies;
        }
        let networks = values::without_certificates(&proxies);
        let stray = proxies.iter().find(|proxy| !networks.contains(proxy));
        if let Some(stray) = stray
            && !self.is_excepted(name::CLIENT_AUTH, held, port)
        {
            let message = format!(
                "`{}` names `{}`, but no client shows a certificate here",
                held.key(),
                escape(stray)
            );
            let help =
                format!("set `{}`, or name networks such as `10.0.0.0/8`", name::CLIENT_CA_SECRET);
            self.object(code::CONFLICT, &held.key(), message, help);
        }
        networks
    }

    /// What the application is told of the client at this listener.
    pub(super) fn identity_headers(
        &mut self,
        port: Option<u16>,
        protocol: Protocol,
    ) -> Vec<IdentityHeader> {
        let held = self.held(name::IDENTITY_HEADERS, port);
        let headers = held.and_then(|held| values::identity_headers(held.value).ok());
        if protocol == Protocol::Tcp {
            if let Some(held) = held.filter(|_| headers.as_ref().is_some_and(|it| !it.is_empty())) {
                self.check_headers(held, port, "headers");
            }
            return Vec::new();
        }
        headers.unwrap_or_else(|| vec![IdentityHeader::Xfcc])
    }

    /// Bytes have no headers and no paths.
    pub(super) fn check_headers(&mut self, held: Held<'_>, port: Option<u16>, what: &str) {
        if self.is_excepted(name::PROTOCOL, held, port) {
            return;
        }
        let message =
            format!("`{}` does nothing with protocol `tcp`, which has no {what}", held.key());
        self.object(code::CONFLICT, &held.key(), message, "leave it out");
    }

    /// Whether `held` is said to all listeners, and `by` was written for this one to except it.
    pub(super) fn is_excepted(&self, by: &'static str, held: Held<'_>, port: Option<u16>) -> bool {
        held.port.is_none() && self.held(by, port).is_some_and(|by| by.port.is_some())
    }
}

/// Whether a listener learns who its clients are.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Identity {
    /// From their certificates.
    Known,
    /// Nobody is asked.
    Unknown,
}
