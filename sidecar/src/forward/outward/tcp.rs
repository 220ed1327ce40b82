//! Bytes from the application, bytes in TLS to the next tier.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpStream;

use crate::accept::Seat;
use crate::dial::upstream::Failure;
use crate::forward::tcp::{End, Record, Watched, copy};
use crate::listener::Process;
use crate::originator::Originator;

/// Relays until both sides have said their last byte; one may fall silent before the other.
pub(super) async fn relay(
    (mut stream, peer, seat): (TcpStream, SocketAddr, Seat),
    originator: Arc<Originator>,
    process: Arc<Process>,
) {
    let teller = originator.teller(&process);
    let (mut upstream, loan) = match originator.upstream.bytes(&teller).await {
        Ok(connected) => connected,
        Err(_told) => {
            // The end of the stream would be an answer; a reset is none.
            let _best_effort = stream.set_zero_linger();
            return;
        }
    };
    let fields = super::fields(peer, &originator);
    let mut near = Watched::new(&mut stream);
    let metrics = Arc::clone(&originator.metrics);
    let mut record = Record::new(fields, &near, metrics, Arc::clone(&process));
    let copied = copy(&mut near, &mut upstream);
    record.end = tokio::select! {
        copied = copied => match copied {
            Ok(_counted) => End::Whole,
            Err(error) => End::Broken(error),
        },
        why = record.bounded() => {
            originator.metrics.closed(why);
            End::Closed(why)
        }
    };
    if let End::Broken(error) = &record.end {
        let failure = loan.told().unwrap_or_else(|| Failure::of_relay(error));
        if !matches!(failure, Failure::Broken { .. }) {
            teller.tell(&failure, Some(loan.address()));
        }
    }
    if !matches!(record.end, End::Whole) {
        // What was broken off must not look complete to the application.
        let _best_effort = stream.set_zero_linger();
    }
    drop(seat);
}
