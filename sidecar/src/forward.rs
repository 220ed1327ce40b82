//! From an admitted connection to the application, by the protocol that it speaks.

use std::sync::Arc;

use hyper::rt::Executor;
use lasthop_contract::sidecar_config::Protocol;
use tokio_util::task::TaskTracker;

use crate::admit::Admitted;
use crate::listener::{Process, Terminator};

pub(crate) mod body;
mod drive;
mod exchange;
mod expect;
pub(crate) mod headers;
mod hop;
mod http;
mod identity;
mod record;
mod tcp;
mod upgrade;
mod watched;

/// Serves `admitted` to its end.
pub(crate) async fn forward(
    admitted: Admitted,
    terminator: Arc<Terminator>,
    process: Arc<Process>,
) {
    match terminator.protocol {
        Protocol::Http | Protocol::H2c => http::serve(admitted, terminator, process).await,
        Protocol::Tcp => tcp::relay(admitted, &terminator, &process).await,
    }
}

/// Runs what hyper spawns on a tracker, so that drain can wait for it.
#[derive(Clone, Debug)]
pub(crate) struct TrackedExecutor(pub(crate) TaskTracker);

impl<F> Executor<F> for TrackedExecutor
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, future: F) {
        self.0.spawn(future);
    }
}
