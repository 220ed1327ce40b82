//! Connections to the next tier: its addresses, TLS to them, and the pools that keep the connections.
//!
//! A listener has pools of its own. A connection belongs to the generation of Secrets that it was made
//! with: when that changes, it ends with what is under way on it.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwap;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioIo, TokioTimer};
use lasthop_contract::sidecar_config::Upstream as Target;
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use super::Http1;
use crate::admit::Alpn;
use crate::forward::TrackedExecutor;
use crate::generation::outward::Outward;
use crate::limits;
use crate::telemetry::metrics::{HandshakeResult, ListenerMetrics};

mod addresses;
mod endpoint;
mod failure;
mod secure;

use addresses::{Addresses, Age};
use endpoint::{Current, Endpoint, Made, pick};

pub(crate) use endpoint::{Http2, Loan};
pub(crate) use failure::{Failure, Teller};
pub(crate) use secure::{Secured, ServerWitness, Witnessed};

/// The next tier of a listener.
#[derive(Debug)]
pub(crate) struct Upstream {
    /// As configured.
    pub(crate) target: Target,
    /// Host and port as a request names them.
    authority: String,
    asked: ServerName<'static>,
    generation: ArcSwap<Outward>,
    current: Current,
    addresses: Addresses,
    /// One permit a connection, over all listeners.
    room: Arc<Semaphore>,
    tracker: TaskTracker,
    metrics: Arc<ListenerMetrics>,
}

/// What a request needs of a connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Need {
    /// HTTP, of whichever version.
    Any,
    /// HTTP/1.1, which alone has upgrades.
    Http1,
}

/// A connection that is ready for a request.
#[derive(Debug)]
pub(crate) enum Ready {
    /// HTTP/1.1, for this request alone.
    Http1(Http1, Loan),
    /// HTTP/2, shared.
    Http2(Http2, Loan),
}

impl Upstream {
    pub(crate) fn new(
        target: Target,
        asked: ServerName<'static>,
        generation: Outward,
        (tracker, room): (TaskTracker, Arc<Semaphore>),
        metrics: Arc<ListenerMetrics>,
    ) -> Self {
        let addresses = Addresses::new(target.host(), target.port());
        let current = Current::default();
        current.set(generation.serial);
        let generation = ArcSwap::from_pointee(generation);
        let authority = target.authority();
        Self { target, authority, asked, generation, current, addresses, room, tracker, metrics }
    }

    /// Host and port as a request names them that names none.
    pub(crate) fn authority(&self) -> &str {
        &self.authority
    }

    /// From now on connections are made with `generation`, and no older one is used again.
    pub(crate) fn renew(&self, generation: Outward) {
        let serial = generation.serial;
        self.generation.store(Arc::new(generation));
        self.current.set(serial);
        self.sweep();
    }

    /// Closes what lay idle too long or is of an earlier generation.
    pub(crate) fn sweep(&self) {
        for endpoint in self.addresses.endpoints() {
            endpoint.sweep(&self.current);
        }
    }

    /// What is known of the addresses: each with what is under way there, and whether it is avoided.
    pub(crate) fn states(&self) -> Vec<(SocketAddr, usize, bool)> {
        let now = Instant::now();
        let state = |it: &Arc<Endpoint>| (it.address, it.active(), it.ejected(now).is_some());
        self.addresses.endpoints().iter().map(state).collect()
    }

    /// A new connection for bytes.
    pub(crate) async fn bytes(
        self: &Arc<Self>,
        teller: &Teller<'_>,
    ) -> Result<(Witnessed, Loan), Failure> {
        self.resolve(teller).await?;
        let mut round = Round::new();
        while let Some(endpoint) = round.next(&self.addresses) {
            let generation = self.generation.load_full();
            match self.connect(&endpoint, &generation, Need::Any, teller).await {
                Ok(secured) => {
                    let loan = Loan::new(&endpoint, self.made(&secured, &generation));
                    return Ok((secured.stream, loan));
                }
                // There is no more room for another address.
                Err(Failure::Full) => return Err(Failure::Full),
                Err(failure) => round.failed(&endpoint, failure),
            }
        }
        Err(round.give_up(&self.addresses))
    }

    /// A connection for a request, of the pool where there is one.
    pub(crate) async fn http(
        self: &Arc<Self>,
        need: Need,
        teller: &Teller<'_>,
    ) -> Result<Ready, Failure> {
        self.resolve(teller).await?;
        let mut round = Round::new();
        while let Some(endpoint) = round.next(&self.addresses) {
            match self.ready(&endpoint, need, teller).await {
                Ok(ready) => return Ok(ready),
                // There is no more room for another address.
                Err(Failure::Full) => return Err(Failure::Full),
                Err(failure) => round.failed(&endpoint, failure),
            }
        }
        Err(round.give_up(&self.addresses))
    }

    /// Sees that there are addresses; old ones serve while new ones are asked for.
    async fn resolve(self: &Arc<Self>, teller: &Teller<'_>) -> Result<(), Failure> {
        if let Some(failure) = self.addresses.take_failure() {
            teller.tell(&failure, None);
        }
        match self.addresses.age(Instant::now()) {
            Age::Fresh => Ok(()),
            Age::Stale => {
                let upstream = Arc::clone(self);
                self.tracker.spawn(async move {
                    // Meanwhile the old addresses serve; who comes next tells of a failure.
                    if let Err(failure) = upstream.addresses.ask().await {
                        upstream.addresses.keep_failure(failure);
                    }
                });
                Ok(())
            }
            Age::Unknown => {
                let asked = self.addresses.ask().await;
                asked.inspect_err(|failure| teller.tell(failure, None))
            }
        }
    }

    async fn ready(
        &self,
        endpoint: &Arc<Endpoint>,
        need: Need,
        teller: &Teller<'_>,
    ) -> Result<Ready, Failure> {
        if let Some(ready) = self.pooled(endpoint, need) {
            return Ok(ready);
        }
        // What comes may be a connection for all who wait now.
        let since = Instant::now();
        let dialing = match need {
            Need::Any if endpoint.may_share() => Some(endpoint.dialing.lock().await),
            Need::Any | Need::Http1 => None,
        };
        if dialing.is_some() {
            if let Some(ready) = self.pooled(endpoint, need) {
                return Ok(ready);
            }
            if let Some(failure) = endpoint.failure_since(since) {
                return Err(failure);
            }
        }
        // Where it turned out that every request needs one of its own, nobody waits for another.
        let _dialing = dialing.filter(|_guard| endpoint.may_share());
        let generation = self.generation.load_full();
        let secured = self.connect(endpoint, &generation, need, teller).await?;
        let made = self.made(&secured, &generation);
        let ready = self.speak(endpoint, secured, made, need).await;
        ready.inspect_err(|failure| teller.tell(failure, Some(endpoint.address)))
    }

    fn pooled(&self, endpoint: &Arc<Endpoint>, need: Need) -> Option<Ready> {
        let shared = match need {
            Need::Any => endpoint.take_shared(&self.current),
            Need::Http1 => None,
        };
        if let Some((sender, loan)) = shared {
            return Some(Ready::Http2(sender, loan));
        }
        let (sender, loan) = endpoint.take_idle(&self.current)?;
        Some(Ready::Http1(sender, loan))
    }

    /// A new TLS connection; whether it came about is taken down.
    async fn connect(
        &self,
        endpoint: &Endpoint,
        generation: &Outward,
        need: Need,
        teller: &Teller<'_>,
    ) -> Result<Secured, Failure> {
        let place = self.place().await.inspect_err(|failure| {
            endpoint.missed(failure, Instant::now());
            teller.tell(failure, None);
        })?;
        let start = Instant::now();
        let connected = async {
            let stream = (tcp(endpoint.address).await?, place);
            let tls = match need {
                Need::Any => &generation.tls,
                Need::Http1 => &generation.http1,
            };
            secure::secure(stream, self.asked.clone(), tls, &generation.policy).await
        };
        match connected.await {
            Ok(secured) => {
                endpoint.succeeded();
                self.metrics.upstream_connections.inc();
                let result =
                    if secured.resumed { HandshakeResult::Resumed } else { HandshakeResult::Full };
                self.metrics.handshake(result, start.elapsed());
                Ok(secured)
            }
            Err(failure) => {
                endpoint.failed(&failure, Instant::now());
                self.metrics.handshake(HandshakeResult::Failed, start.elapsed());
                teller.tell(&failure, Some(endpoint.address));
                Err(failure)
            }
        }
    }

    /// A place for a new connection; idle ones make room where there is none.
    async fn place(&self) -> Result<OwnedSemaphorePermit, Failure> {
        let room = Arc::clone(&self.room);
        if let Ok(place) = Arc::clone(&room).try_acquire_owned() {
            return Ok(place);
        }
        for endpoint in self.addresses.endpoints() {
            endpoint.tidy();
        }
        let place = timeout(limits::UPSTREAM_ROOM, room.acquire_owned()).await;
        place.ok().and_then(Result::ok).ok_or(Failure::Full)
    }

    fn made(&self, secured: &Secured, generation: &Outward) -> Made {
        let (fate, current) = (secured.stream.fate(), self.current.clone());
        Made { fate, current, generation: generation.serial }
    }

    /// Makes an HTTP connection of a TLS connection.
    async fn speak(
        &self,
        endpoint: &Arc<Endpoint>,
        secured: Secured,
        made: Made,
        need: Need,
    ) -> Result<Ready, Failure> {
        let Secured { stream, protocol, .. } = secured;
        let nonsense = |error: hyper::Error| Failure::Nonsense { reason: error.to_string() };
        if protocol == Alpn::H2 {
            let (sender, connection) = http2_builder(&self.tracker)
                .handshake(TokioIo::new(stream))
                .await
                .map_err(nonsense)?;
            self.tracker.spawn(async move {
                let _told = connection.await;
            });
            let loan = endpoint.share(sender.clone(), made);
            return Ok(Ready::Http2(sender, loan));
        }
        if need == Need::Any {
            endpoint.chose_http1();
        }
        let (sender, connection) = http1::Builder::new()
            .max_buf_size(limits::HEAD_BYTES)
            .max_header_size(limits::HEAD_BYTES)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(nonsense)?;
        self.tracker.spawn(async move {
            // What goes wrong on it is told to the request that is on it.
            let _told = connection.with_upgrades().await;
        });
        Ok(Ready::Http1(sender, Loan::new(endpoint, made)))
    }
}

/// The addresses that are tried for one connection, the best first. Nothing of the application's is lost
/// by that, for none of it was sent.
#[derive(Debug)]
struct Round {
    start: Instant,
    tried: Vec<SocketAddr>,
    last: Option<Failure>,
}

impl Round {
    fn new() -> Self {
        Self { start: Instant::now(), tried: Vec::new(), last: None }
    }

    fn next(&self, addresses: &Addresses) -> Option<Arc<Endpoint>> {
        let now = Instant::now();
        let enough = self.tried.len() >= limits::UPSTREAM_TRIES
            || now.saturating_duration_since(self.start) >= limits::UPSTREAM_TRYING;
        if enough {
            return None;
        }
        pick(&addresses.endpoints(), addresses.turn(), now, &self.tried)
    }

    fn failed(&mut self, endpoint: &Endpoint, failure: Failure) {
        self.tried.push(endpoint.address);
        self.last = Some(failure);
    }

    /// None was good: perhaps there are others by now.
    fn give_up(self, addresses: &Addresses) -> Failure {
        addresses.doubt(Instant::now());
        let none = || Failure::Unresolved { reason: "there is no address".to_owned() };
        self.last.unwrap_or_else(none)
    }
}

fn http2_builder(tracker: &TaskTracker) -> http2::Builder<TrackedExecutor> {
    let mut builder = http2::Builder::new(TrackedExecutor(tracker.clone()));
    builder
        .timer(TokioTimer::new())
        .initial_stream_window_size(limits::H2_STREAM_WINDOW)
        .initial_connection_window_size(limits::H2_APPLICATION_WINDOW)
        .max_header_list_size(u32::try_from(limits::HEAD_BYTES).unwrap_or(u32::MAX))
        .keep_alive_interval(limits::H2_PING.0)
        .keep_alive_timeout(limits::H2_PING.1);
    builder
}

async fn tcp(address: SocketAddr) -> Result<TcpStream, Failure> {
    match timeout(limits::UPSTREAM_CONNECT, TcpStream::connect(address)).await {
        Ok(Ok(stream)) => {
            // Without it small writes wait for acknowledgements; slow, but not wrong.
            let _slow = stream.set_nodelay(true);
            crate::accept::keep_alive(&stream);
            Ok(stream)
        }
        Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => {
            Err(Failure::ConnectionRefused)
        }
        Ok(Err(error)) => Err(Failure::ConnectFailed { reason: error.to_string() }),
        Err(_elapsed) => Err(Failure::ConnectTimeout),
    }
}
