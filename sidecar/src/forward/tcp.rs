//! Bytes from the client, bytes to the application.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncWriteExt as _, copy_bidirectional_with_sizes};
use tokio::time::Instant;

use super::exchange::Failure;
use super::hop;
use crate::admit::Admitted;
use crate::listener::{Process, Terminator};

/// Bytes that are copied at once, each way; below 16 KiB, a TLS record's worth, copying gets slow.
const BUFFER: usize = 16 * 1024;

/// Relays until both sides have said their last byte; one may fall silent before the other.
pub(super) async fn relay(
    mut admitted: Box<Admitted>,
    terminator: Arc<Terminator>,
    process: Arc<Process>,
) {
    let fields = hop::fields(&admitted, &terminator);
    let start = Instant::now();
    let mut application = match terminator.application.connect().await {
        Ok(application) => application,
        Err(error) => {
            let failure = Failure::Dial(error);
            terminator.metrics.application_failure(failure.word());
            let mut line = process
                .log
                .warn("the application did not answer")
                .fields(&fields)
                .text("reason", failure.word())
                .text("detail", failure.reason());
            if let Some(cause) = failure.cause() {
                line = line.foreign("cause", &cause);
            }
            line.write();
            // TLS has no word for it; the end of the stream is all that can be said.
            let _gone = admitted.stream.shutdown().await;
            return;
        }
    };
    let copied = tokio::select! {
        copied = copy_bidirectional_with_sizes(&mut admitted.stream, &mut application, BUFFER, BUFFER) => copied,
        () = process.phases.cut.cancelled() => Err(std::io::Error::other("cut at the end of the drain")),
    };
    let duration: Duration = start.elapsed();
    let line = process.log.info("connection").fields(&fields).millis("duration_ms", duration);
    match copied {
        Ok((received, sent)) => {
            terminator.metrics.received.inc_by(received);
            terminator.metrics.sent.inc_by(sent);
            line.number("received", received).number("sent", sent).write();
        }
        Err(error) => {
            // What the client broke off must not look complete to the application.
            let _best_effort = application.set_zero_linger();
            line.foreign("error", &error.to_string()).write();
        }
    }
}
