//! The end, in order: unready, then no new connections, then no connections.

use std::sync::Arc;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::config::DrainPlan;
use crate::listener::Process;
use crate::reload::Reloader;
use crate::systemd::Manager;

/// How far the end has come; each phase includes those before it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Phases {
    /// Balancers should send traffic elsewhere; whatever comes is served as before.
    pub(crate) unready: CancellationToken,
    /// No new connections; open ones end with the request that they are at.
    pub(crate) closing: CancellationToken,
    /// The application's connections to the next tier end likewise: it may need them for what it
    /// still answers, so that they stay open until its clients are gone.
    pub(crate) outward: CancellationToken,
    /// What is still open is cut.
    pub(crate) cut: CancellationToken,
}

/// The signals that the sidecar hears.
#[derive(Debug)]
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    /// Begins to hear them.
    pub(crate) fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Waits for a signal to end; SIGHUP on the way makes the Secrets be looked at.
    async fn end(&mut self, reloader: &Reloader) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
                _ = self.hangup.recv() => reloader.look(),
            }
        }
    }
}

/// Serves until a signal says otherwise, and then drains. What is still open when this returns is
/// cut by the end of the runtime.
pub(crate) async fn until_the_end(
    process: &Arc<Process>,
    mut signals: Signals,
    reloader: &Reloader,
    plan: DrainPlan,
    manager: &Manager,
) {
    signals.end(reloader).await;
    manager.stopping();
    process
        .log
        .info("draining")
        .number("delay_seconds", plan.delay.as_secs())
        .number("timeout_seconds", plan.timeout.as_secs())
        .number("connections", open(process))
        .write();
    let in_order = in_order(process, plan);
    tokio::select! {
        () = in_order => {}
        () = signals.end(reloader) => {
            process.log.warn("a second signal, ending at once").number("connections", open(process)).write();
        }
    }
    process.phases.unready.cancel();
    process.phases.closing.cancel();
    process.phases.outward.cancel();
    process.phases.cut.cancel();
}

async fn in_order(process: &Arc<Process>, plan: DrainPlan) {
    process.phases.unready.cancel();
    sleep(plan.delay).await;
    process.phases.closing.cancel();
    process.clients.close();
    // The timeout counts from the signal, as kubelet's grace period does.
    let left = plan.timeout.saturating_sub(plan.delay);
    let gone = async {
        process.clients.wait().await;
        process.phases.outward.cancel();
        process.outward.close();
        process.outward.wait().await;
    };
    if timeout(left, gone).await.is_err() {
        process
            .log
            .warn("the drain timeout is over, cutting what is still open")
            .number("connections", open(process))
            .write();
    }
}

fn open(process: &Process) -> u64 {
    let open = process.max_connections.saturating_sub(process.room.available_permits());
    u64::try_from(open).unwrap_or(u64::MAX)
}
