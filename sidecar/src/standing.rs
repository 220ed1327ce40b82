//! Whether a client that came in may stay: judged again when its listener's Secrets change.

use lasthop_contract::client_policy::Refusal;
use rustls_pki_types::CertificateDer;

use crate::admit::Admitted;
use crate::limits::RefusedClients;
use crate::listener::{Process, Terminator};
use crate::telemetry::clock;
use crate::telemetry::log::Fields;
use crate::telemetry::metrics::Closed;
use crate::telemetry::refusals::Verdict;

/// The certificates by which a client came in, the own one first.
#[derive(Clone, Debug)]
pub(crate) struct Standing(Vec<CertificateDer<'static>>);

impl Standing {
    /// That of `admitted`; [`None`] where nobody asks again, or the client has no certificate.
    pub(crate) fn of(admitted: &Admitted, process: &Process) -> Option<Self> {
        if process.bounds.refused_clients == RefusedClients::Stay {
            return None;
        }
        let own = admitted.client.as_ref()?.certificate.der().clone().into_owned();
        Some(Self(std::iter::once(own).chain(admitted.chain.iter().cloned()).collect()))
    }

    /// Waits until the client would not be let in any more, and returns why.
    async fn lost(&self, terminator: &Terminator) -> Refusal {
        let mut changes = terminator.changes.subscribe();
        loop {
            // Once at the beginning: a change may have come since the handshake.
            if let Some(policy) = &terminator.generation.load().policy
                && let Err(refusal) = policy.judge(&self.0, clock::now().unix())
            {
                return refusal;
            }
            if changes.changed().await.is_err() {
                // Nothing changes any more.
                std::future::pending::<()>().await;
            }
        }
    }
}

/// Waits until the client of a connection, about which `fields` tell, may not stay; for ever, where it
/// may stay in any case.
pub(crate) async fn lost(
    standing: Option<&Standing>,
    terminator: &Terminator,
    process: &Process,
    fields: &Fields,
) -> Closed {
    let Some(standing) = standing else { return std::future::pending().await };
    let refusal = standing.lost(terminator).await;
    let code = refusal.reason.code().to_string();
    let kind = format!("{}:stay:{code}", terminator.name);
    if let Verdict::Write { suppressed } = process.refusals.ask(&kind, std::time::Instant::now()) {
        process
            .log
            .warn("a client that was let in may not stay")
            .fields(fields)
            .text("code", &code)
            .text("reason", refusal.reason.word())
            .display("detail", &refusal)
            .number("suppressed", suppressed)
            .write();
    }
    Closed::RefusedClient
}
