//! Bytes from the client, bytes to the application.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{
    AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf, copy_bidirectional_with_sizes,
};
use tokio::time::{Instant, sleep};

use super::exchange::Failure;
use super::hop;
use crate::admit::Admitted;
use crate::dial::DialError;
use crate::dial::target::Stream;
use crate::listener::{Process, Terminator};
use crate::proxy_protocol::write::{self, ClientTold, Told};
use crate::standing::{self, Standing};
use crate::telemetry::log::Fields;
use crate::telemetry::metrics::{Closed, ListenerMetrics};

/// Bytes that are copied at once, each way; below 16 KiB, a TLS record's worth, copying gets slow.
const BUFFER: usize = 16 * 1024;

/// Relays until both sides have said their last byte; one may fall silent before the other.
pub(super) async fn relay(
    mut admitted: Box<Admitted>,
    terminator: Arc<Terminator>,
    process: Arc<Process>,
) {
    let fields = hop::fields(&admitted, &terminator);
    let mut application = match connect(&admitted, &terminator).await {
        Ok(connected) => connected,
        Err(error) => {
            let failure = Failure::Dial(error);
            terminator.metrics.application_failure(failure.word());
            failure.tell(&process.log, &fields);
            // TLS has no word for it; the end of the stream is all that can be said.
            let _gone = admitted.stream.shutdown().await;
            return;
        }
    };
    let standing = Standing::of(&admitted, &process);
    let mut client = Watched::new(&mut admitted.stream);
    let metrics = Arc::clone(&terminator.metrics);
    let mut record = Record::new(fields, &client, metrics, process);
    let copied = copy(&mut client, &mut application);
    record.end = tokio::select! {
        copied = copied => match copied {
            Ok(_counted) => End::Whole,
            Err(error) => End::Broken(error),
        },
        why = overdue(&record, standing.as_ref(), &terminator) => {
            record.metrics.closed(why);
            End::Closed(why)
        }
    };
    if !matches!(record.end, End::Whole) {
        // What the client broke off must not look complete to the application.
        application.end_abruptly();
    }
}

/// Waits until a bound or a change of policy ends the connection.
async fn overdue(record: &Record, standing: Option<&Standing>, terminator: &Terminator) -> Closed {
    tokio::select! {
        why = record.bounded() => why,
        why = standing::lost(standing, terminator, &record.process, &record.fields) => why,
    }
}

/// Copies both ways until both ends have ended.
pub(super) async fn copy<N, F>(near: &mut N, far: &mut F) -> io::Result<(u64, u64)>
where
    N: AsyncRead + AsyncWrite + Unpin,
    F: AsyncRead + AsyncWrite + Unpin,
{
    copy_bidirectional_with_sizes(near, far, BUFFER, BUFFER).await
}

/// A connection to the application, which has been told whose it is where it wants to know.
async fn connect(admitted: &Admitted, terminator: &Terminator) -> Result<Stream, DialError> {
    let mut application = terminator.application.connect().await?;
    if let Some(version) = terminator.proxy_protocol.send {
        let header = write::header(version, &admitted.origin.ends, &told(admitted));
        application.write_all(&header).await.map_err(DialError::Failed)?;
    }
    Ok(application)
}

fn told(admitted: &Admitted) -> Told<'_> {
    let client = match &admitted.client {
        None => ClientTold::Nobody,
        Some(client) => {
            let common_name = client.certificate.common_name.as_deref();
            if admitted.resumed {
                ClientTold::Resumed { common_name }
            } else {
                ClientTold::Presented { common_name }
            }
        }
    };
    let Admitted { stream, sni, version, cipher, .. } = admitted;
    let (_, session) = stream.get_ref();
    Told { alpn: session.alpn_protocol(), authority: sni.as_deref(), version, cipher, client }
}

/// Bytes of a connection, and when the last of them moved.
#[derive(Debug)]
struct Flow {
    start: Instant,
    received: AtomicU64,
    sent: AtomicU64,
    moved: AtomicU64,
}

impl Flow {
    fn moves(&self, of: &AtomicU64, bytes: usize) {
        of.fetch_add(u64::try_from(bytes).unwrap_or(0), Ordering::Relaxed);
        let now = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.moved.store(now, Ordering::Relaxed);
    }

    fn quiet(&self) -> Duration {
        let moved = Duration::from_millis(self.moved.load(Ordering::Relaxed));
        self.start.elapsed().saturating_sub(moved)
    }
}

/// A client's stream whose bytes are counted.
pub(super) struct Watched<'s, S> {
    stream: &'s mut S,
    flow: Arc<Flow>,
}

impl<'s, S> Watched<'s, S> {
    pub(super) fn new(stream: &'s mut S) -> Self {
        let zero = || AtomicU64::new(0);
        let flow = Flow { start: Instant::now(), received: zero(), sent: zero(), moved: zero() };
        Self { stream, flow: Arc::new(flow) }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<'_, S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut *self.stream).poll_read(cx, buffer))?;
        self.flow.moves(&self.flow.received, buffer.filled().len().saturating_sub(before));
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<'_, S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut *self.stream).poll_write(cx, bytes))?;
        self.flow.moves(&self.flow.sent, written);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.stream).poll_shutdown(cx)
    }
}

/// Written down when the connection ends, however it does.
pub(super) struct Record {
    fields: Fields,
    flow: Arc<Flow>,
    metrics: Arc<ListenerMetrics>,
    process: Arc<Process>,
    pub(super) end: End,
}

impl Record {
    /// Of a relay that begins, with what is read from and written to `near`.
    pub(super) fn new<S>(
        fields: Fields,
        near: &Watched<'_, S>,
        metrics: Arc<ListenerMetrics>,
        process: Arc<Process>,
    ) -> Self {
        Self { fields, flow: Arc::clone(&near.flow), metrics, process, end: End::Cut }
    }

    /// Waits until a bound ends the relay. Of bytes nobody knows where one could end them well.
    pub(super) async fn bounded(&self) -> Closed {
        let aged = async {
            match self.process.bounds.age {
                Some(most) => sleep(most.saturating_sub(self.flow.start.elapsed())).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            why = self.idle() => why,
            () = aged => Closed::Age,
        }
    }

    /// Waits until no byte has moved for as long as that may be.
    async fn idle(&self) -> Closed {
        let Some(most) = self.process.bounds.idle_tcp else { return std::future::pending().await };
        loop {
            let left = most.saturating_sub(self.flow.quiet());
            if left.is_zero() {
                return Closed::Idle;
            }
            sleep(left).await;
        }
    }
}

/// How a relay ended.
pub(super) enum End {
    /// Both said their last byte.
    Whole,
    Broken(io::Error),
    /// By a bound of ours.
    Closed(Closed),
    /// With the process.
    Cut,
}

impl Drop for Record {
    fn drop(&mut self) {
        let Flow { start, received, sent, moved: _ } = &*self.flow;
        let [received, sent] = [received, sent].map(|bytes| bytes.load(Ordering::Relaxed));
        self.metrics.received.inc_by(received);
        self.metrics.sent.inc_by(sent);
        let line = self
            .process
            .log
            .info("connection")
            .fields(&self.fields)
            .millis("duration_ms", start.elapsed())
            .number("received", received)
            .number("sent", sent);
        let line = match &self.end {
            End::Whole => line,
            End::Broken(error) => line.foreign("error", &error.to_string()),
            End::Closed(why) => {
                line.text("error", "the sidecar ended it").text("reason", why.word())
            }
            End::Cut => line.text("error", "cut at the end of the drain"),
        };
        line.write();
    }
}
