//! Start and stop: who may be sent here, and how what is under way comes to its end.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The times of a stop.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct DrainTimes {
    /// For so long new connections are still taken after `/readyz` says no, until everybody has
    /// heard of it.
    pub delay: Duration,
    /// After so long, counted from the end of the delay, whatever is open is cut.
    pub timeout: Duration,
}

/// The state that all parts of the server share.
///
/// A stop has three steps. *Retiring*: `/readyz` says no and every answer over HTTP/1.1 carries
/// `Connection: close`, so that API servers (which keep connections for 90 seconds) move on by
/// themselves; a connection that the server closes may just then be written to, and a review lost
/// that way is a pod refused. *Draining*: no new connections, idle ones are closed, reviews are
/// finished. *Cut*: the end.
#[derive(Debug, Default)]
pub struct Lifecycle {
    waiting_for: Mutex<BTreeMap<&'static str, String>>,
    /// Every task that has to end before the process does.
    pub tasks: TaskTracker,
    retiring: CancellationToken,
    draining: CancellationToken,
    cut: CancellationToken,
}

impl Lifecycle {
    /// `part` is not ready, and why; until [`Lifecycle::ready`] is called for it.
    pub fn not_ready(&self, part: &'static str, reason: impl Into<String>) {
        self.waiting().insert(part, reason.into());
    }

    /// `part` is ready.
    pub fn ready(&self, part: &'static str) {
        self.waiting().remove(part);
    }

    /// Everything that keeps the server from being ready.
    pub fn obstacles(&self) -> Vec<String> {
        let waiting = self.waiting();
        let waiting = waiting.iter().map(|(part, reason)| format!("{part}: {reason}"));
        let stopping = self.retiring.is_cancelled().then(|| "stop: shutting down".to_owned());
        stopping.into_iter().chain(waiting).collect()
    }

    /// Whether answers ask clients to look for another server.
    pub fn is_retiring(&self) -> bool {
        self.retiring.is_cancelled()
    }

    /// Ends when new connections are not taken any more.
    pub fn draining(&self) -> &CancellationToken {
        &self.draining
    }

    /// Ends when everything has to go.
    pub fn cut(&self) -> &CancellationToken {
        &self.cut
    }

    /// Stops in three steps. Returns when every task has ended.
    pub async fn stop(&self, times: DrainTimes) {
        tracing::info!(delay_seconds = times.delay.as_secs_f64(), "shutting down");
        self.retiring.cancel();
        tokio::time::sleep(times.delay).await;
        self.draining.cancel();
        self.tasks.close();
        let end = Instant::now() + times.timeout;
        if tokio::time::timeout_at(end, self.tasks.wait()).await.is_err() {
            tracing::warn!(tasks = self.tasks.len(), "the drain timeout is over, cutting");
            self.cut.cancel();
            self.tasks.wait().await;
        }
        tracing::info!("stopped");
    }

    fn waiting(&self) -> std::sync::MutexGuard<'_, BTreeMap<&'static str, String>> {
        self.waiting_for.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
