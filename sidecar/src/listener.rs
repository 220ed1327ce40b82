//! What the tasks of one process share, and what those of one listener share.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use http::HeaderValue;
use lasthop_contract::exempt_paths::ExemptPaths;
use lasthop_contract::sidecar_config::{IdentityHeader, Protocol, ProxyProtocol};
use lasthop_contract::trusted_proxies::TrustedProxies;
use tokio::sync::{Semaphore, watch};
use tokio_util::task::TaskTracker;

use crate::config::terminate::TerminatePlan;
use crate::dial::{Application, Home, Http1};
use crate::drain::Phases;
use crate::generation::{Generation, Keeper};
use crate::limits::Bounds;
use crate::shares::PerClient;
use crate::telemetry::log::Log;
use crate::telemetry::metrics::{ListenerMetrics, Metrics};
use crate::telemetry::refusals::RefusalGate;
use crate::trouble::Trouble;

/// What every task of the process knows.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) log: Log,
    pub(crate) metrics: Metrics,
    pub(crate) refusals: RefusalGate,
    pub(crate) phases: Phases,
    /// Connections of clients and what they still do; drain waits for them.
    pub(crate) clients: TaskTracker,
    /// Connections of the application to the next tier and what they still do; drain waits for them
    /// when it has waited for the clients.
    pub(crate) outward: TaskTracker,
    /// Connections to applications, which nobody waits for.
    pub(crate) background: TaskTracker,
    pub(crate) max_connections: usize,
    pub(crate) bounds: Bounds,
    /// What each client address has of all this, where that is bounded.
    pub(crate) per_client: Option<PerClient>,
    /// One permit a connection, over all listeners.
    pub(crate) room: Arc<Semaphore>,
    /// One permit a byte of handshakes that are larger than usual.
    pub(crate) handshake_room: Arc<Semaphore>,
    /// One permit a connection that is turned away and looked after for a moment.
    pub(crate) strangers: Semaphore,
    /// One permit a connection to an application, over all listeners.
    pub(crate) application_room: Arc<Semaphore>,
    /// One permit a connection to a next tier, over all listeners. It is another room: an application that
    /// has to ask the next tier before it answers must not wait for itself.
    pub(crate) upstream_room: Arc<Semaphore>,
}

/// A process for tests of other rooms, without a listener.
#[cfg(test)]
pub(crate) fn test_process() -> Process {
    let (log, _writer) =
        Log::to(std::io::sink(), lasthop_contract::sidecar_config::LogLevel::Error)
            .expect("a thread starts");
    Process {
        log,
        metrics: Metrics::new(),
        refusals: RefusalGate::default(),
        phases: Phases::default(),
        clients: TaskTracker::new(),
        outward: TaskTracker::new(),
        background: TaskTracker::new(),
        max_connections: 10,
        bounds: Bounds::default(),
        per_client: None,
        room: Arc::new(Semaphore::new(10)),
        handshake_room: Arc::new(Semaphore::new(10)),
        strangers: Semaphore::new(10),
        application_room: Arc::new(Semaphore::new(10)),
        upstream_room: Arc::new(Semaphore::new(10)),
    }
}

/// A listener that ends TLS, as its connections see it.
#[derive(Debug)]
pub(crate) struct Terminator {
    /// What log and metrics call it: its port.
    pub(crate) name: String,
    /// Where it listens.
    pub(crate) address: SocketAddr,
    pub(crate) protocol: Protocol,
    /// What clients without a certificate may ask for, where all others need one.
    pub(crate) exempt: Option<ExemptPaths>,
    pub(crate) trusted: TrustedProxies,
    pub(crate) identity: Vec<IdentityHeader>,
    pub(crate) proxy_protocol: ProxyProtocol,
    /// What browsers are told where the application tells them nothing.
    pub(crate) hsts: Option<HeaderValue>,
    pub(crate) application: Application,
    pub(crate) generation: ArcSwap<Generation>,
    /// Told of each new generation.
    pub(crate) changes: watch::Sender<()>,
    pub(crate) metrics: Arc<ListenerMetrics>,
    pub(crate) ledger: Ledger,
}

/// What the status listener tells of a listener's Secrets.
#[derive(Clone, Debug, Default)]
pub(crate) struct CredentialDetail {
    /// Name of the Secret, and until when its certificate is valid, in Unix seconds.
    pub(crate) credentials: Vec<(String, i64)>,
    /// When the Secrets were last found good, in Unix seconds.
    pub(crate) last_good: i64,
    /// Whether a change waits that was not good enough to be taken.
    pub(crate) failing: bool,
    pub(crate) troubles: Vec<Trouble>,
}

/// What was last taken down of a listener's Secrets.
#[derive(Debug, Default)]
pub(crate) struct Ledger(Mutex<CredentialDetail>);

impl Ledger {
    /// Takes `fresh` down; while it is failing, the time stays at which it was last good.
    pub(crate) fn note(&self, fresh: CredentialDetail, metrics: &ListenerMetrics) {
        let mut detail = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let last_good = if fresh.failing { detail.last_good } else { fresh.last_good };
        *detail = CredentialDetail { last_good, ..fresh };
        for (secret, not_after) in &detail.credentials {
            metrics.not_after(secret, *not_after);
        }
        metrics.last_good.set(detail.last_good);
        metrics.failing.set(i64::from(detail.failing));
        let crl_expired = detail.troubles.iter().any(Trouble::is_expired_crl);
        metrics.crl_expired.set(i64::from(crl_expired));
    }

    /// What was last taken down.
    pub(crate) fn detail(&self) -> CredentialDetail {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Home for Terminator {
    fn give_back(&self, sender: Http1) {
        self.application.give_back(sender);
    }
}

impl Terminator {
    /// The listener of `plan`, bound to `address`.
    pub(crate) fn new(
        plan: TerminatePlan,
        address: SocketAddr,
        generation: Generation,
        process: &Process,
    ) -> Self {
        let TerminatePlan {
            listen: _,
            application,
            protocol,
            tls: _,
            clients: _,
            exempt,
            trusted,
            identity,
            proxy_protocol,
            hsts,
            alpn: _,
        } = plan;
        let name = address.port().to_string();
        let metrics = Arc::new(process.metrics.of_listener(&name));
        let around = (process.background.clone(), Arc::clone(&process.application_room));
        let application = Application::new(application, around, Arc::clone(&metrics));
        Self {
            name,
            address,
            protocol,
            exempt,
            trusted,
            identity,
            proxy_protocol,
            hsts,
            application,
            generation: ArcSwap::from_pointee(generation),
            changes: watch::Sender::new(()),
            metrics,
            ledger: Ledger::default(),
        }
    }

    /// Takes down what `keeper` knows, for status and metrics.
    pub(crate) fn note(&self, keeper: &Keeper, now: i64) {
        let credentials = keeper
            .credentials()
            .map(|(secret, credential)| (secret.to_owned(), credential.leaf().not_after));
        let fresh = CredentialDetail {
            credentials: credentials.collect(),
            last_good: now,
            failing: keeper.is_failing(),
            troubles: keeper.troubles(now),
        };
        self.ledger.note(fresh, &self.metrics);
    }
}
