//! What is true of a connection and told with each of its requests.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Instant;

use http::{HeaderName, HeaderValue};
use lasthop_contract::exempt_paths::ExemptPaths;
use lasthop_contract::text::hex;
use lasthop_contract::trusted_proxies::Trust;
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio_rustls::server::TlsStream;

use super::blocks::Seen;
use super::identity;
use super::turns::{Turn, Turns};
use crate::accept::Seat;
use crate::admit::{Admitted, Alpn};
use crate::listener::{Process, Terminator};
use crate::standing::Standing;
use crate::telemetry::log::Fields;
use crate::telemetry::metrics::Closed;

/// A client's connection, as its requests see it.
#[derive(Debug)]
pub(crate) struct Hop {
    pub(crate) terminator: Arc<Terminator>,
    pub(crate) process: Arc<Process>,
    pub(crate) peer: IpAddr,
    port: u16,
    pub(crate) trust: Trust,
    pub(crate) protocol: Alpn,
    pub(crate) sni: Option<String>,
    access: Access,
    /// Whether the client may stay, where that is asked.
    pub(super) standing: Option<Standing>,
    /// Whose turn it is in each request.
    turns: Arc<Turns>,
    _seat: Seat,
    /// The identity headers that every request gets.
    pub(crate) told: Vec<(HeaderName, HeaderValue)>,
    /// The log fields that every request gets.
    pub(crate) fields: Fields,
    born: Instant,
    /// Requests under way; what is idle may be closed.
    active: AtomicU32,
    /// Requests that there ever were.
    requests: AtomicU32,
    /// When the head that is being read began, in milliseconds after birth; 0 for none.
    head_began: AtomicU64,
    first: Notify,
}

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
    ) -> (Self, TlsStream<TcpStream>) {
        let fields = fields(&admitted, &terminator);
        let standing = Standing::of(&admitted, &process);
        let told = match &admitted.client {
            Some(client) => {
                identity::headers(&terminator.identity, &client.certificate, &admitted.chain)
            }
            None => Vec::new(),
        };
        let access = match (&admitted.client, &terminator.exempt) {
            (None, Some(_)) => Access::ExemptPaths,
            _ => Access::Everything,
        };
        let Admitted { stream, origin, trust, protocol, sni, seat, .. } = admitted;
        let hop = Self {
            terminator,
            process,
            peer: origin.ends.source.ip(),
            port: origin.ends.source.port(),
            trust,
            protocol,
            sni,
            access,
            standing,
            turns: Turns::new(),
            _seat: seat,
            told,
            fields,
            born: Instant::now(),
            active: AtomicU32::new(0),
            requests: AtomicU32::new(0),
            head_began: AtomicU64::new(0),
            first: Notify::new(),
        };
        (hop, stream)
    }

    /// The turn of a new request.
    pub(super) fn turn(&self) -> Turn {
        self.turns.begin()
    }

    /// The only paths that the client may ask for, unless it may ask for all.
    pub(super) fn restricted_to(&self) -> Option<&ExemptPaths> {
        match self.access {
            Access::Everything => None,
            Access::ExemptPaths => self.terminator.exempt.as_ref(),
        }
    }

    /// A request's head was read.
    pub(super) fn begin(&self) {
        self.active.fetch_add(1, Ordering::AcqRel);
        // With HTTP/2 the next head may be on its way already.
        if self.protocol == Alpn::Http1 {
            self.head_began.store(0, Ordering::Release);
        }
        if self.requests.fetch_add(1, Ordering::AcqRel) == 0 {
            self.first.notify_waiters();
        }
    }

    /// A request is over.
    pub(super) fn end(&self) {
        self.active.fetch_sub(1, Ordering::AcqRel);
    }

    /// Bytes came; between two requests they are the beginning of a head, or more of it.
    pub(super) fn bytes_came(&self) {
        if self.is_idle() && self.head_began.load(Ordering::Acquire) == 0 {
            self.head_began.store(self.age().max(1), Ordering::Release);
        }
    }

    /// Bytes of HTTP/2 came, which left its header blocks so.
    pub(super) fn block_came(&self, seen: Seen) {
        match seen {
            Seen::Closed => self.head_began.store(0, Ordering::Release),
            Seen::Begun => self.head_began.store(self.age().max(1), Ordering::Release),
            Seen::Open => {}
        }
    }

    /// What the client does that it may not do for so long.
    pub(super) fn holds_up(&self) -> Option<Closed> {
        let bounds = &self.process.bounds;
        let began = self.head_began.load(Ordering::Acquire);
        // With HTTP/2 a header block is followed from its first byte to its last; nothing else can
        // come between, whatever other streams do (RFC 9113, 4.3).
        let is_head = self.protocol == Alpn::H2 || self.is_idle();
        let most = u64::try_from(bounds.head.as_millis()).unwrap_or(u64::MAX);
        if began != 0 && is_head && self.age().saturating_sub(began) >= most {
            return Some(Closed::SlowHead);
        }
        let held = self.turns.held_by_client(self.active.load(Ordering::Acquire))?;
        bounds.stall.is_some_and(|most| held >= most).then_some(Closed::Stalled)
    }

    /// Whether the connection has been open for as long as it may be. Connections that began together
    /// do not end together.
    pub(super) fn is_old(&self) -> bool {
        self.process.bounds.age.is_some_and(|most| {
            let most = most.saturating_add(most / 1000 * u32::from(self.port % 100));
            self.born.elapsed() >= most
        })
    }

    /// Requests that there ever were.
    pub(super) fn requests(&self) -> u32 {
        self.requests.load(Ordering::Acquire)
    }

    /// Waits for the first request.
    pub(super) async fn first_request(&self) {
        let first = self.first.notified();
        if self.requests() == 0 {
            first.await;
        }
    }

    fn age(&self) -> u64 {
        u64::try_from(self.born.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Whether no request is under way.
    pub(super) fn is_idle(&self) -> bool {
        self.active.load(Ordering::Acquire) == 0
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
    fields.text("alpn", admitted.protocol.word());
    if let Some(client) = &admitted.client {
        fields.text("client_matched", &client.matched.to_string());
        if let Some(name) = client.certificate.names().first() {
            fields.foreign("client_san", &name.to_string());
        }
        fields.text("client_sha256", &hex(&client.certificate.fingerprint()));
    }
    fields
}
