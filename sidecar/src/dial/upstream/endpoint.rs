//! One address of the next tier: how busy it is, whether it fails, and the connections that it has.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hyper::client::conn::http2;

use super::failure::{Failure, Fate};
use crate::dial::{Home, Http1};
use crate::forward::body::RequestBody;
use crate::limits;

/// An HTTP/2 connection to the next tier.
pub(crate) type Http2 = http2::SendRequest<RequestBody>;

/// An address of the next tier.
#[derive(Debug)]
pub(crate) struct Endpoint {
    pub(super) address: SocketAddr,
    /// What is under way there: requests, tunnels, relays.
    active: AtomicUsize,
    health: Mutex<Health>,
    idle: Mutex<Vec<Idle>>,
    shared: Mutex<Vec<Shared>>,
    /// Whether it spoke HTTP/1.1 when both were offered.
    http1_only: AtomicBool,
    /// Held by who connects there and may get a connection for all.
    pub(super) dialing: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct Health {
    /// Failures in a row.
    failures: u32,
    /// Until when others are preferred.
    until: Option<Instant>,
    last: Option<(Instant, Failure)>,
}

/// An HTTP/1.1 connection without a request.
#[derive(Debug)]
struct Idle {
    sender: Http1,
    since: Instant,
    made: Made,
}

/// An HTTP/2 connection.
#[derive(Debug)]
struct Shared {
    sender: Http2,
    streams: Arc<AtomicUsize>,
    used: Instant,
    made: Made,
}

impl Endpoint {
    pub(super) fn new(address: SocketAddr) -> Self {
        Self {
            address,
            active: AtomicUsize::new(0),
            health: Mutex::default(),
            idle: Mutex::default(),
            shared: Mutex::default(),
            http1_only: AtomicBool::new(false),
            dialing: tokio::sync::Mutex::default(),
        }
    }

    /// What is under way there.
    pub(crate) fn active(&self) -> usize {
        self.active.load(Ordering::Relaxed)
    }

    /// Until when others are preferred, where that is to come.
    pub(crate) fn ejected(&self, now: Instant) -> Option<Instant> {
        self.health().until.filter(|until| *until > now)
    }

    /// It took a connection and came through the handshake.
    pub(super) fn succeeded(&self) {
        *self.health() = Health::default();
    }

    /// It did not; each failure in a row keeps it out for twice as long.
    pub(super) fn failed(&self, failure: &Failure, now: Instant) {
        let mut health = self.health();
        let (first, most) = limits::UPSTREAM_EJECTION;
        let factor = 1_u32.checked_shl(health.failures.min(16)).unwrap_or(1);
        health.failures = health.failures.saturating_add(1);
        health.until = Some(now + first.saturating_mul(factor).min(most));
        health.last = Some((now, failure.clone()));
    }

    /// It was not asked, for a reason that is not its own.
    pub(super) fn missed(&self, failure: &Failure, now: Instant) {
        self.health().last = Some((now, failure.clone()));
    }

    /// How it failed after `since`.
    pub(super) fn failure_since(&self, since: Instant) -> Option<Failure> {
        let health = self.health();
        health.last.as_ref().filter(|(at, _)| *at > since).map(|(_, failure)| failure.clone())
    }

    /// One tries whether it is well again; until that is known, the others stay away.
    fn claim(&self, now: Instant) {
        let mut health = self.health();
        if health.until.is_some_and(|until| until <= now) {
            health.until = Some(now + limits::UPSTREAM_CONNECT + limits::UPSTREAM_HANDSHAKE);
        }
    }

    fn health(&self) -> MutexGuard<'_, Health> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a new connection may turn out to serve many requests at once.
    pub(super) fn may_share(&self) -> bool {
        !self.http1_only.load(Ordering::Relaxed)
    }

    /// It chose HTTP/1.1 where it could have chosen HTTP/2.
    pub(super) fn chose_http1(&self) {
        self.http1_only.store(true, Ordering::Relaxed);
    }

    /// Keeps an HTTP/2 connection for others.
    pub(super) fn share(self: &Arc<Self>, sender: Http2, made: Made) -> Loan {
        self.http1_only.store(false, Ordering::Relaxed);
        let streams = Arc::new(AtomicUsize::new(0));
        let loan = Loan::of_stream(self, &streams, made.clone());
        self.shared().push(Shared { sender, streams, used: Instant::now(), made });
        loan
    }

    /// The least busy HTTP/2 connection that has room for one more request.
    pub(super) fn take_shared(self: &Arc<Self>, current: &Current) -> Option<(Http2, Loan)> {
        let mut shared = self.shared();
        let room = |it: &Shared| it.streams.load(Ordering::Relaxed) < limits::UPSTREAM_STREAMS;
        let found = shared
            .iter_mut()
            .filter(|it| it.made.is_of(current) && !it.sender.is_closed() && room(it))
            .min_by_key(|it| it.streams.load(Ordering::Relaxed))?;
        found.used = Instant::now();
        let loan = Loan::of_stream(self, &found.streams, found.made.clone());
        Some((found.sender.clone(), loan))
    }

    /// An idle HTTP/1.1 connection, the one used last first.
    pub(super) fn take_idle(self: &Arc<Self>, current: &Current) -> Option<(Http1, Loan)> {
        let mut idle = self.idle();
        let now = Instant::now();
        let position = idle
            .iter()
            .rposition(|it| it.made.is_of(current) && it.is_alive(now) && it.sender.is_ready())?;
        let Idle { sender, made, .. } = idle.remove(position);
        Some((sender, Loan::new(self, made)))
    }

    /// Closes what lay idle too long or is of an earlier generation; what is under way on it goes on.
    pub(super) fn sweep(&self, current: &Current) {
        let now = Instant::now();
        self.idle().retain(|it| it.made.is_of(current) && it.is_alive(now));
        self.shared().retain(|it| {
            let busy = it.streams.load(Ordering::Relaxed) > 0;
            let rested = now.saturating_duration_since(it.used) >= limits::UPSTREAM_H2_IDLE;
            it.made.is_of(current) && !it.sender.is_closed() && (busy || !rested)
        });
    }

    /// Closes all that lies idle.
    pub(super) fn tidy(&self) {
        self.idle().clear();
        self.shared().retain(|it| it.streams.load(Ordering::Relaxed) > 0);
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Idle>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn shared(&self) -> MutexGuard<'_, Vec<Shared>> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Idle {
    fn is_alive(&self, now: Instant) -> bool {
        let rest = now.saturating_duration_since(self.since);
        !self.sender.is_closed() && rest < limits::UPSTREAM_IDLE
    }
}

/// The generation of what the listener says and takes; connections of another one are not used again.
#[derive(Clone, Debug, Default)]
pub(crate) struct Current(Arc<AtomicU64>);

impl Current {
    pub(super) fn get(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }

    pub(super) fn set(&self, generation: u64) {
        self.0.store(generation, Ordering::Release);
    }
}

/// How a connection was made, and what became of it.
#[derive(Clone, Debug)]
pub(super) struct Made {
    pub(super) fate: Fate,
    pub(super) current: Current,
    /// The generation that it was made with.
    pub(super) generation: u64,
}

impl Made {
    fn is_of(&self, current: &Current) -> bool {
        self.generation == current.get()
    }
}

/// A part of an endpoint's attention, given back however it ends.
#[derive(Debug)]
pub(crate) struct Loan {
    endpoint: Arc<Endpoint>,
    stream: Option<Arc<AtomicUsize>>,
    made: Made,
}

impl Loan {
    pub(super) fn new(endpoint: &Arc<Endpoint>, made: Made) -> Self {
        endpoint.active.fetch_add(1, Ordering::Relaxed);
        Self { endpoint: Arc::clone(endpoint), stream: None, made }
    }

    fn of_stream(endpoint: &Arc<Endpoint>, streams: &Arc<AtomicUsize>, made: Made) -> Self {
        streams.fetch_add(1, Ordering::Relaxed);
        let mut loan = Self::new(endpoint, made);
        loan.stream = Some(Arc::clone(streams));
        loan
    }

    /// The address that it is of.
    pub(crate) fn address(&self) -> SocketAddr {
        self.endpoint.address
    }

    /// Why the connection is gone, where the next tier said so; its address is avoided then.
    pub(crate) fn told(&self) -> Option<Failure> {
        let failure = self.made.fate.told()?;
        self.endpoint.failed(&failure, Instant::now());
        Some(failure)
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        self.endpoint.active.fetch_sub(1, Ordering::Relaxed);
        if let Some(streams) = &self.stream {
            streams.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Home for Loan {
    fn give_back(&self, sender: Http1) {
        if sender.is_closed() || !self.made.is_of(&self.made.current) {
            return;
        }
        let mut idle = self.endpoint.idle();
        if idle.len() < limits::POOL_SIZE {
            idle.push(Idle { sender, since: Instant::now(), made: self.made.clone() });
        }
    }
}

/// The endpoint for the next request: one that does not fail, the least busy, in turn where several
/// are. Where all fail, the one whose time is over first: an answer is better than none.
pub(super) fn pick(
    endpoints: &[Arc<Endpoint>],
    turn: usize,
    now: Instant,
    tried: &[SocketAddr],
) -> Option<Arc<Endpoint>> {
    let count = endpoints.len().max(1);
    let candidates = endpoints.iter().enumerate().filter(|(_, it)| !tried.contains(&it.address));
    let (_, found) = candidates.min_by_key(|(place, it)| {
        let wait = it.ejected(now).map_or(Duration::ZERO, |until| until - now);
        (wait, it.active(), (place + count - turn % count) % count)
    })?;
    found.claim(now);
    Some(Arc::clone(found))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoints(count: u8) -> Vec<Arc<Endpoint>> {
        let address = |last| SocketAddr::from(([192, 0, 2, last], 443));
        (1..=count).map(|last| Arc::new(Endpoint::new(address(last)))).collect()
    }

    fn last(endpoint: Option<Arc<Endpoint>>) -> u8 {
        match endpoint.unwrap().address.ip() {
            std::net::IpAddr::V4(ip) => ip.octets()[3],
            std::net::IpAddr::V6(_) => 0,
        }
    }

    #[test]
    fn the_least_busy_is_next_and_equals_take_turns() {
        let endpoints = endpoints(3);
        let now = Instant::now();
        let picked: Vec<u8> = (0..4).map(|turn| last(pick(&endpoints, turn, now, &[]))).collect();
        assert_eq!(picked, [1, 2, 3, 1]);
        let made = Made { fate: Fate::default(), current: Current::default(), generation: 0 };
        let busy = Loan::new(&endpoints[1], made);
        let picked: Vec<u8> = (0..3).map(|turn| last(pick(&endpoints, turn, now, &[]))).collect();
        assert_eq!(picked, [1, 3, 3]);
        drop(busy);
        assert_eq!(last(pick(&endpoints, 1, now, &[])), 2);
        assert_eq!(last(pick(&endpoints, 1, now, &[endpoints[1].address])), 3);
        let all: Vec<SocketAddr> = endpoints.iter().map(|it| it.address).collect();
        assert!(pick(&endpoints, 1, now, &all).is_none());
    }

    #[test]
    fn who_fails_is_left_out_for_a_while_that_grows_and_then_tried_by_one() {
        let endpoints = endpoints(2);
        let now = Instant::now();
        let (first, most) = limits::UPSTREAM_EJECTION;
        let fail = |now| endpoints[0].failed(&Failure::ConnectionRefused, now);
        fail(now);
        assert_eq!(last(pick(&endpoints, 0, now, &[])), 2);
        let later = now + first;
        assert_eq!(last(pick(&endpoints, 0, later, &[])), 1);
        // While that one tries, the others keep away.
        assert_eq!(last(pick(&endpoints, 0, later, &[])), 2);
        fail(later);
        assert_eq!(endpoints[0].ejected(later), Some(later + first * 2));
        for _ in 0..40 {
            fail(later);
        }
        assert_eq!(endpoints[0].ejected(later), Some(later + most));
        endpoints[0].succeeded();
        assert_eq!(last(pick(&endpoints, 0, later, &[])), 1);
    }

    #[test]
    fn where_all_fail_the_one_is_tried_that_is_due_first() {
        let endpoints = endpoints(2);
        let now = Instant::now();
        endpoints[0].failed(&Failure::ConnectionRefused, now);
        endpoints[0].failed(&Failure::ConnectionRefused, now);
        endpoints[1].failed(&Failure::ConnectionRefused, now);
        assert_eq!(last(pick(&endpoints, 0, now, &[])), 2);
    }
}
