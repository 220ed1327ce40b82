//! Bytes from the client, bytes to the application.

use std::io;
use std::sync::Arc;

use tokio::io::{AsyncWriteExt as _, copy_bidirectional_with_sizes};
use tokio::time::Instant;

use super::exchange::Failure;
use super::hop;
use crate::admit::Admitted;
use crate::listener::{Process, Terminator};
use crate::telemetry::log::Fields;

/// Bytes that are copied at once, each way; below 16 KiB, a TLS record's worth, copying gets slow.
const BUFFER: usize = 16 * 1024;

/// Relays until both sides have said their last byte; one may fall silent before the other.
pub(super) async fn relay(
    mut admitted: Box<Admitted>,
    terminator: Arc<Terminator>,
    process: Arc<Process>,
) {
    let fields = hop::fields(&admitted, &terminator);
    let mut application = match terminator.application.connect().await {
        Ok(application) => application,
        Err(error) => {
            let failure = Failure::Dial(error);
            terminator.metrics.application_failure(failure.word());
            failure.tell(&process.log, &fields);
            // TLS has no word for it; the end of the stream is all that can be said.
            let _gone = admitted.stream.shutdown().await;
            return;
        }
    };
    let mut record = Record { fields, start: Instant::now(), terminator, process, copied: None };
    let copied =
        copy_bidirectional_with_sizes(&mut admitted.stream, &mut application, BUFFER, BUFFER).await;
    if copied.is_err() {
        // What the client broke off must not look complete to the application.
        let _best_effort = application.set_zero_linger();
    }
    record.copied = Some(copied);
}

/// Written down when the connection ends, however it does.
struct Record {
    fields: Fields,
    start: Instant,
    terminator: Arc<Terminator>,
    process: Arc<Process>,
    /// Bytes from the client and bytes to it; [`None`] where the relay was cut.
    copied: Option<io::Result<(u64, u64)>>,
}

impl Drop for Record {
    fn drop(&mut self) {
        let line = self
            .process
            .log
            .info("connection")
            .fields(&self.fields)
            .millis("duration_ms", self.start.elapsed());
        match &self.copied {
            Some(Ok((received, sent))) => {
                self.terminator.metrics.received.inc_by(*received);
                self.terminator.metrics.sent.inc_by(*sent);
                line.number("received", *received).number("sent", *sent).write();
            }
            Some(Err(error)) => line.foreign("error", &error.to_string()).write(),
            None => line.text("error", "cut at the end of the drain").write(),
        }
    }
}
