//! What is true of a client's connection and told with each of its requests.

use std::sync::Arc;

use http::request::Parts;
use http::{HeaderName, HeaderValue};
use lasthop_contract::exempt_paths::ExemptPaths;
use lasthop_contract::problem::Code;
use lasthop_contract::sidecar_config::{IdentityHeader, Protocol};
use lasthop_contract::text::hex;
use lasthop_contract::trusted_proxies::Trust;
use tokio_rustls::server::TlsStream;

use super::headers::{Forwarded, Peer};
use super::identity;
use super::near::{Beginning, Near, Side};
use super::record::Telling;
use super::websocket::Websocket;
use crate::admit::{Admitted, Alpn};
use crate::handshake::Wire;
use crate::limits;
use crate::listener::{Process, Terminator};
use crate::shares::Share;
use crate::standing::Standing;
use crate::telemetry::log::Fields;
use crate::telemetry::refusals::Verdict;

/// A client's connection, as its requests see it.
#[derive(Debug)]
pub(crate) struct Hop {
    pub(crate) near: Arc<Near>,
    pub(crate) terminator: Arc<Terminator>,
    pub(crate) peer: Peer,
    pub(crate) trust: Trust,
    pub(crate) sni: Option<String>,
    access: Access,
    /// The identity headers that every request gets.
    pub(crate) told: Vec<(HeaderName, HeaderValue)>,
    pub(super) forwarded: Forwarded,
}

/// The client of a request has as much of the application as it may.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Crowded;

/// What the client may ask for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Access {
    /// Anything.
    Everything,
    /// It has no certificate: what needs none.
    ExemptPaths,
}

impl Hop {
    pub(crate) fn new(
        admitted: Admitted,
        terminator: Arc<Terminator>,
        process: Arc<Process>,
    ) -> (Self, TlsStream<Wire>) {
        let fields = fields(&admitted, &terminator);
        let standing = Standing::of(&admitted, &process);
        let told = match &admitted.client {
            Some(client) => {
                identity::headers(&terminator.identity, &client.certificate, &admitted.chain)
            }
            None => Vec::new(),
        };
        let forwarded = if terminator.identity.contains(&IdentityHeader::Forwarded) {
            Forwarded::Always
        } else {
            Forwarded::Extended
        };
        let access = match (&admitted.client, &terminator.exempt) {
            (None, Some(_)) => Access::ExemptPaths,
            _ => Access::Everything,
        };
        let Admitted { stream, origin, trust, protocol, sni, seat, .. } = admitted;
        let idle = match access {
            Access::Everything => process.bounds.idle_http,
            // Whom nobody knows holds no seat for long.
            Access::ExemptPaths => Some(
                process
                    .bounds
                    .idle_http
                    .map_or(limits::IDLE_EXEMPT, |it| it.min(limits::IDLE_EXEMPT)),
            ),
        };
        let near = Near::new(Beginning {
            side: Side::Terminate,
            process,
            metrics: Arc::clone(&terminator.metrics),
            protocol,
            fields,
            port: origin.ends.source.port(),
            idle,
            standing: standing.map(|standing| (standing, Arc::clone(&terminator))),
            seat,
        });
        let near = Arc::new(near);
        let peer = Peer::new(origin.ends.source.ip());
        let hop = Self { near, terminator, peer, trust, sni, access, told, forwarded };
        (hop, stream)
    }

    /// The part of a request of HTTP/2 in what its client may have of the application, where that is
    /// bounded: the connections of a client of HTTP/1.1 are counted themselves.
    ///
    /// # Errors
    /// Its client has as much as it may.
    pub(super) fn share(&self, websocket: Option<&Websocket>) -> Result<Option<Share>, Crowded> {
        let Some(per_client) = self.near.process.per_client.as_ref() else { return Ok(None) };
        let shares = match (self.near.protocol, websocket, self.terminator.protocol) {
            (Alpn::H2, Some(_), _) => &per_client.connections,
            (Alpn::H2, None, Protocol::Http) => &per_client.requests,
            _ => return Ok(None),
        };
        shares.take(self.peer.address).map(Some).ok_or(Crowded)
    }

    /// Takes down that a request is refused; whether it has a line of its own beside that.
    pub(super) fn refuse(
        &self,
        (code, word): (Code, &'static str),
        detail: &str,
        parts: &Parts,
    ) -> Telling {
        let (code, near) = (code.to_string(), &self.near);
        self.terminator.metrics.refused_request(&code, word);
        let kind = format!("{}:{code}", self.terminator.name);
        let verdict = near.process.refusals.ask(&kind, std::time::Instant::now());
        let Verdict::Write { suppressed } = verdict else { return Telling::Counted };
        let line = near.process.log.warn("refused").fields(&near.fields);
        line.text("code", &code)
            .text("reason", word)
            .text("detail", detail)
            .foreign("method", parts.method.as_str())
            .foreign("path", parts.uri.path())
            .number("suppressed", suppressed)
            .write();
        Telling::Each
    }

    /// The only paths that the client may ask for, unless it may ask for all.
    pub(super) fn restricted_to(&self) -> Option<&ExemptPaths> {
        match self.access {
            Access::Everything => None,
            Access::ExemptPaths => self.terminator.exempt.as_ref(),
        }
    }
}

/// What a log line says of a connection.
pub(crate) fn fields(admitted: &Admitted, terminator: &Terminator) -> Fields {
    let mut fields = Fields::default();
    fields.text("listener", &terminator.name);
    fields.text("peer", &admitted.origin.ends.source.to_string());
    if let Some(proxy) = admitted.origin.proxy {
        fields.text("proxy", &proxy.to_string());
    }
    if let Some(sni) = &admitted.sni {
        fields.foreign("sni", sni);
    }
    fields.text("tls", admitted.version);
    fields.text("cipher", admitted.cipher);
    match (terminator.protocol, admitted.stream.get_ref().1.alpn_protocol()) {
        (Protocol::Tcp, None) => {}
        // It is one of those that the configuration names.
        (Protocol::Tcp, Some(name)) => fields.foreign("alpn", &String::from_utf8_lossy(name)),
        (Protocol::Http | Protocol::H2c, _) => fields.text("alpn", admitted.protocol.word()),
    }
    if let Some(client) = &admitted.client {
        fields.text("client_matched", &client.matched.to_string());
        if let Some(name) = client.certificate.names().first() {
            fields.foreign("client_san", &name.to_string());
        }
        fields.text("client_sha256", &hex(&client.certificate.fingerprint()));
    }
    fields
}
