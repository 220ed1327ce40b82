//! From an admitted connection to the application, by the protocol that it speaks.

use std::pin::Pin;
use std::sync::Arc;

use hyper::rt::Executor;
use lasthop_contract::sidecar_config::Protocol;
use tokio_util::task::TaskTracker;

use crate::admit::Admitted;
use crate::listener::{Process, Terminator};

mod aside;
mod blocks;
pub(crate) mod body;
mod corked;
mod drive;
mod exchange;
mod exempt;
mod expect;
pub(crate) mod headers;
mod hop;
mod http;
mod identity;
mod meaning;
mod near;
mod outward;
mod record;
mod refused;
mod tcp;
mod turns;
mod upgrade;
mod watched;
mod websocket;

pub(crate) use outward::originate;

/// What serves a connection to its end, in memory of just its own size: a task keeps room for the
/// largest thing that it ever held, and ten thousand connections mostly hold nothing.
pub(crate) type Serving = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Serves `admitted` to its end.
pub(crate) fn forward(
    admitted: Admitted,
    terminator: Arc<Terminator>,
    process: Arc<Process>,
) -> Serving {
    match terminator.protocol {
        Protocol::Http | Protocol::H2c => http::serve(admitted, terminator, process),
        Protocol::Tcp => Box::pin(tcp::relay(Box::new(admitted), terminator, process)),
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

/// A meter for bodies in the tests of other rooms.
#[cfg(test)]
pub(crate) fn test_meter() -> Arc<record::Meter> {
    Arc::new(record::Meter::new(tokio::time::Instant::now(), turns::Turns::new().begin()))
}
