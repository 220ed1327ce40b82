//! The addresses behind the name of the next tier, asked for again and again.
//!
//! The system's resolver is asked, as the application itself would ask it: hosts file, search list and
//! all. It tells no time to live, so an answer is good for a fixed time; an old one serves while a new
//! one is fetched, and for as long as there is none.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::net::lookup_host;
use tokio::time::timeout;

use super::endpoint::Endpoint;
use super::failure::Failure;
use crate::limits;

/// The addresses of one next tier.
#[derive(Debug)]
pub(super) struct Addresses {
    host: Host,
    port: u16,
    known: Mutex<Known>,
    /// Held by who asks.
    asking: tokio::sync::Mutex<()>,
    turn: AtomicUsize,
}

#[derive(Debug)]
enum Host {
    Name(String),
    Address(IpAddr),
}

#[derive(Debug, Default)]
struct Known {
    endpoints: Vec<Arc<Endpoint>>,
    /// When they were last asked for, whatever came of it.
    asked: Option<Instant>,
    /// Why nothing came of it, where nobody was told yet.
    failure: Option<Failure>,
}

/// What is known of the addresses.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Age {
    /// Asked for lately.
    Fresh,
    /// It is time to ask again.
    Stale,
    /// Never told.
    Unknown,
}

impl Addresses {
    pub(super) fn new(host: &str, port: u16) -> Self {
        let host = match host.parse() {
            Ok(address) => Host::Address(address),
            Err(_a_name) => Host::Name(host.to_owned()),
        };
        let addresses = Self {
            host,
            port,
            known: Mutex::default(),
            asking: tokio::sync::Mutex::default(),
            turn: AtomicUsize::new(0),
        };
        if let Host::Address(address) = addresses.host {
            addresses.learn([SocketAddr::new(address, port)]);
        }
        addresses
    }

    /// The endpoints that are known.
    pub(super) fn endpoints(&self) -> Vec<Arc<Endpoint>> {
        self.known().endpoints.clone()
    }

    /// A number that is another one each time.
    pub(super) fn turn(&self) -> usize {
        self.turn.fetch_add(1, Ordering::Relaxed)
    }

    /// How old the knowledge is.
    pub(super) fn age(&self, now: Instant) -> Age {
        let known = self.known();
        match (&self.host, known.asked) {
            (Host::Address(_), _) => Age::Fresh,
            (Host::Name(_), _) if known.endpoints.is_empty() => Age::Unknown,
            (Host::Name(_), Some(at)) if now.saturating_duration_since(at) < limits::RESOLVED => {
                Age::Fresh
            }
            (Host::Name(_), _) => Age::Stale,
        }
    }

    /// Nothing at these addresses answered: the next one to come asks again, but not every one.
    pub(super) fn doubt(&self, now: Instant) {
        let mut known = self.known();
        if known.asked.is_some_and(|at| now.saturating_duration_since(at) >= limits::RESOLVE_PAUSE)
        {
            known.asked = None;
        }
    }

    /// Keeps a failure until somebody takes it.
    pub(super) fn keep_failure(&self, failure: Failure) {
        self.known().failure = Some(failure);
    }

    /// Why the last question had no answer, to be told once.
    pub(super) fn take_failure(&self) -> Option<Failure> {
        self.known().failure.take()
    }

    /// Asks, unless somebody else did meanwhile.
    pub(super) async fn ask(&self) -> Result<(), Failure> {
        let Host::Name(name) = &self.host else { return Ok(()) };
        let since = Instant::now();
        let _asking = self.asking.lock().await;
        if self.known().asked.is_some_and(|at| at >= since) && !self.known().endpoints.is_empty() {
            return Ok(());
        }
        let answer = match timeout(limits::RESOLVE, lookup_host((name.as_str(), self.port))).await {
            Ok(answer) => answer,
            Err(_elapsed) => Err(io::Error::from(io::ErrorKind::TimedOut)),
        };
        self.known().asked = Some(Instant::now());
        let found: Vec<SocketAddr> = match answer {
            Ok(found) => found.take(limits::UPSTREAM_ADDRESSES).collect(),
            Err(error) => return Err(Failure::Unresolved { reason: error.to_string() }),
        };
        if found.is_empty() {
            return Err(Failure::Unresolved { reason: "the answer is empty".to_owned() });
        }
        self.learn(found);
        Ok(())
    }

    /// Takes these addresses for the old ones; what is known of an address that stays is kept.
    fn learn(&self, found: impl IntoIterator<Item = SocketAddr>) {
        let mut known = self.known();
        let mut endpoints: Vec<Arc<Endpoint>> = Vec::new();
        for address in found {
            if endpoints.iter().any(|it| it.address == address) {
                continue;
            }
            let old = known.endpoints.iter().find(|it| it.address == address);
            endpoints.push(old.map_or_else(|| Arc::new(Endpoint::new(address)), Arc::clone));
        }
        known.endpoints = endpoints;
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(addresses: &Addresses) -> Vec<String> {
        addresses.endpoints().iter().map(|it| it.address.to_string()).collect()
    }

    #[test]
    fn an_address_is_never_asked_for() {
        let addresses = Addresses::new("2001:db8::1", 443);
        assert_eq!(texts(&addresses), ["[2001:db8::1]:443"]);
        assert_eq!(addresses.age(Instant::now()), Age::Fresh);
    }

    #[test]
    fn what_is_known_of_an_address_outlives_the_answer_that_brought_it() {
        let addresses = Addresses::new("db.example.com", 443);
        assert_eq!(addresses.age(Instant::now()), Age::Unknown);
        let at = |last: u8| SocketAddr::from(([192, 0, 2, last], 443));
        addresses.learn([at(1), at(2), at(1)]);
        assert_eq!(texts(&addresses), ["192.0.2.1:443", "192.0.2.2:443"]);
        let before = addresses.endpoints();
        addresses.learn([at(3), at(2)]);
        assert_eq!(texts(&addresses), ["192.0.2.3:443", "192.0.2.2:443"]);
        assert!(Arc::ptr_eq(&before[1], &addresses.endpoints()[1]));
    }

    #[tokio::test]
    async fn an_answer_grows_old_and_the_old_one_serves_on() {
        let addresses = Addresses::new("localhost", 443);
        addresses.ask().await.unwrap();
        let now = Instant::now();
        assert_eq!(addresses.age(now), Age::Fresh);
        assert_eq!(addresses.age(now + limits::RESOLVED), Age::Stale);
        addresses.doubt(now);
        assert_eq!(addresses.age(now), Age::Fresh);
        addresses.doubt(now + limits::RESOLVE_PAUSE);
        assert_eq!(addresses.age(now), Age::Stale);
        assert!(!addresses.endpoints().is_empty());
    }

    #[tokio::test]
    async fn a_name_that_leads_nowhere_is_told() {
        // RFC 6761, 6.4: no name below `invalid` exists.
        let addresses = Addresses::new("lasthop.invalid", 443);
        let failure = addresses.ask().await.unwrap_err();
        assert!(matches!(failure, Failure::Unresolved { .. }), "{failure}");
        assert_eq!(addresses.age(Instant::now()), Age::Unknown);
    }
}
