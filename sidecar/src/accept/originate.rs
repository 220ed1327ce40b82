//! Connections of the application, which are to go on to the next tier.

use std::sync::Arc;

use tokio::net::TcpListener;

use super::{Crowded, Seat, next, refuse};
use crate::forward;
use crate::listener::Process;
use crate::originator::Originator;

/// Takes connections until the application has answered its last client.
pub(crate) async fn originate(
    listener: TcpListener,
    originator: Arc<Originator>,
    process: Arc<Process>,
) {
    while let Some((stream, peer)) = next(&listener, &process, &process.phases.outward).await {
        originator.metrics.connections.inc();
        let Ok(permit) = Arc::clone(&process.room).try_acquire_owned() else {
            let listener = (originator.name.as_str(), &*originator.metrics);
            refuse(&Crowded::InAll, listener, peer, &process);
            continue;
        };
        let seat = Seat::take(&originator.metrics.open, permit);
        let incoming = (stream, peer, seat);
        let serving = forward::originate(incoming, Arc::clone(&originator), &process);
        process.outward.spawn(serving);
    }
}
