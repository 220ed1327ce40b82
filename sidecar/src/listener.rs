//! What the tasks of one process share, and what those of one listener share.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use lasthop_contract::exempt_paths::ExemptPaths;
use lasthop_contract::sidecar_config::{IdentityHeader, Protocol, ProxyProtocol};
use lasthop_contract::trusted_proxies::TrustedProxies;
use tokio::sync::{Semaphore, watch};
use tokio_util::task::TaskTracker;

use crate::config::TerminatePlan;
use crate::dial::Application;
use crate::drain::Phases;
use crate::generation::{Generation, Keeper};
use crate::limits::Bounds;
use crate::shares::Shares;
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
    /// Connections to applications, which nobody waits for.
    pub(crate) background: TaskTracker,
    pub(crate) max_connections: usize,
    pub(crate) bounds: Bounds,
    /// What each client address has of them, where that is bounded.
    pub(crate) shares: Option<Shares>,
    /// One permit a connection, over all listeners.
    pub(crate) room: Arc<Semaphore>,
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
    pub(crate) application: Application,
    pub(crate) generation: ArcSwap<Generation>,
    /// Told of each new generation.
    pub(crate) changes: watch::Sender<()>,
    pub(crate) metrics: ListenerMetrics,
    detail: Mutex<CredentialDetail>,
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
        } = plan;
        let name = address.port().to_string();
        let metrics = process.metrics.of_listener(&name);
        let application =
            Application::new(application, process.background.clone(), metrics.clone());
        Self {
            name,
            address,
            protocol,
            exempt,
            trusted,
            identity,
            proxy_protocol,
            application,
            generation: ArcSwap::from_pointee(generation),
            changes: watch::Sender::new(()),
            metrics,
            detail: Mutex::default(),
        }
    }

    /// Takes down what `keeper` knows, for status and metrics.
    pub(crate) fn note(&self, keeper: &Keeper, now: i64) {
        let troubles = keeper.troubles(now);
        let failing = keeper.is_failing();
        let mut detail = self.detail.lock().unwrap_or_else(PoisonError::into_inner);
        detail.credentials = keeper
            .credentials()
            .map(|(secret, credential)| (secret.to_owned(), credential.leaf().not_after))
            .collect();
        if !failing {
            detail.last_good = now;
        }
        detail.failing = failing;
        for (secret, not_after) in &detail.credentials {
            self.metrics.not_after(secret, *not_after);
        }
        self.metrics.last_good.set(detail.last_good);
        self.metrics.failing.set(i64::from(failing));
        self.metrics.crl_expired.set(i64::from(troubles.iter().any(Trouble::is_expired_crl)));
        detail.troubles = troubles;
    }

    /// What was last taken down.
    pub(crate) fn detail(&self) -> CredentialDetail {
        self.detail.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
