//! A listener that originates TLS, as its connections see it.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::config::originate::OriginatePlan;
use crate::dial::upstream::{Teller, Upstream};
use crate::generation::outward::{Outward, OutwardKeeper};
use crate::listener::{CredentialDetail, Ledger, Process};
use crate::telemetry::metrics::ListenerMetrics;

/// A listener that originates TLS.
#[derive(Debug)]
pub(crate) struct Originator {
    /// What log and metrics call it: its port.
    pub(crate) name: String,
    /// Where it listens.
    pub(crate) address: SocketAddr,
    /// The next tier as it is configured, for log and status.
    pub(crate) target: String,
    pub(crate) upstream: Arc<Upstream>,
    pub(crate) metrics: Arc<ListenerMetrics>,
    pub(crate) ledger: Ledger,
}

impl Originator {
    /// The listener of `plan`, bound to `address`.
    pub(crate) fn new(
        plan: OriginatePlan,
        address: SocketAddr,
        generation: Outward,
        process: &Process,
    ) -> Self {
        let OriginatePlan { listen: _, target, client: _, roots: _, names: _, asked } = plan;
        let name = address.port().to_string();
        let metrics = Arc::new(process.metrics.of_listener(&name));
        let around = (process.background.clone(), Arc::clone(&process.upstream_room));
        let text = target.to_string();
        let upstream = Upstream::new(target, asked, generation, around, Arc::clone(&metrics));
        let upstream = Arc::new(upstream);
        Self { name, address, target: text, upstream, metrics, ledger: Ledger::default() }
    }

    /// Takes down what `keeper` knows, for status and metrics.
    pub(crate) fn note(&self, keeper: &OutwardKeeper, now: i64) {
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

    /// Who tells of failures of the next tier.
    pub(crate) fn teller<'a>(&'a self, process: &'a Process) -> Teller<'a> {
        Teller { process, metrics: &self.metrics, name: &self.name, upstream: &self.target }
    }
}
