//! Connections to the application, and the pool that keeps them.
//!
//! A listener has a pool of its own, so that nothing of one listener's clients can meet another's.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use crate::forward::TrackedExecutor;
use crate::forward::body::RequestBody;
use crate::limits;
use crate::telemetry::metrics::ListenerMetrics;

/// One HTTP/1.1 connection to the application.
pub(crate) type Http1 = http1::SendRequest<RequestBody>;

/// The application of a listener.
#[derive(Debug)]
pub(crate) struct Application {
    addresses: Vec<SocketAddr>,
    /// The address that answered last, tried first.
    preferred: AtomicUsize,
    idle: Mutex<Vec<Idle>>,
    shared: tokio::sync::Mutex<Option<http2::SendRequest<RequestBody>>>,
    tracker: TaskTracker,
    metrics: ListenerMetrics,
}

#[derive(Debug)]
struct Idle {
    sender: Http1,
    since: Instant,
}

/// Why there is no connection to the application.
#[derive(Debug)]
pub(crate) enum DialError {
    /// Nobody listens.
    Refused,
    /// Nobody answered in time.
    Timeout,
    /// Something else.
    Failed(io::Error),
    /// It does not speak the protocol that it is said to speak.
    Protocol(hyper::Error),
}

impl Application {
    pub(crate) fn new(
        addresses: Vec<SocketAddr>,
        tracker: TaskTracker,
        metrics: ListenerMetrics,
    ) -> Self {
        Self {
            addresses,
            preferred: AtomicUsize::new(0),
            idle: Mutex::default(),
            shared: tokio::sync::Mutex::default(),
            tracker,
            metrics,
        }
    }

    /// A new connection, for bytes.
    pub(crate) async fn connect(&self) -> Result<TcpStream, DialError> {
        let mut last = DialError::Refused;
        let count = self.addresses.len();
        let first = self.preferred.load(Ordering::Relaxed);
        for offset in 0..count {
            let index = (first + offset) % count;
            let Some(address) = self.addresses.get(index) else { continue };
            match timeout(limits::CONNECT, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => {
                    self.preferred.store(index, Ordering::Relaxed);
                    self.metrics.application_connections.inc();
                    // Without it small writes wait for acknowledgements; slow, but not wrong.
                    let _slow = stream.set_nodelay(true);
                    return Ok(stream);
                }
                Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => {}
                Ok(Err(error)) => last = DialError::Failed(error),
                Err(_elapsed) => last = DialError::Timeout,
            }
        }
        Err(last)
    }

    /// An idle connection of the pool, the one used last first.
    pub(crate) fn take(&self) -> Option<Http1> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        // A connection that came back a moment ago may still have its last bytes to tidy away.
        let position = idle.iter().rposition(|it| it.is_alive(now) && it.sender.is_ready())?;
        Some(idle.remove(position).sender)
    }

    /// Gives a connection to the pool.
    pub(crate) fn give_back(&self, sender: Http1) {
        if sender.is_closed() {
            return;
        }
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < limits::POOL_SIZE {
            idle.push(Idle { sender, since: Instant::now() });
        }
    }

    /// Closes what lay idle too long.
    pub(crate) fn sweep(&self) {
        let now = Instant::now();
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).retain(|idle| idle.is_alive(now));
    }

    /// A new HTTP/1.1 connection.
    pub(crate) async fn connect_http1(&self) -> Result<Http1, DialError> {
        let stream = self.connect().await?;
        let (sender, connection) = http1::Builder::new()
            .max_buf_size(limits::HEAD_BYTES)
            .max_header_size(limits::HEAD_BYTES)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(DialError::Protocol)?;
        self.tracker.spawn(async move {
            // What goes wrong on it is told to the request that is on it.
            let _told = connection.with_upgrades().await;
        });
        Ok(sender)
    }

    /// Takes the HTTP/2 connection out of use: it takes no further streams.
    pub(crate) async fn retire_http2(&self) {
        *self.shared.lock().await = None;
    }

    /// The HTTP/2 connection, made if there is none.
    pub(crate) async fn http2(&self) -> Result<http2::SendRequest<RequestBody>, DialError> {
        let mut shared = self.shared.lock().await;
        if let Some(sender) = shared.as_ref()
            && !sender.is_closed()
        {
            return Ok(sender.clone());
        }
        let stream = self.connect().await?;
        let (sender, connection) = http2::Builder::new(TrackedExecutor(self.tracker.clone()))
            .timer(TokioTimer::new())
            .initial_stream_window_size(limits::H2_STREAM_WINDOW)
            .initial_connection_window_size(limits::H2_CONNECTION_WINDOW)
            .max_header_list_size(u32::try_from(limits::HEAD_BYTES).unwrap_or(u32::MAX))
            .keep_alive_interval(limits::H2_PING.0)
            .keep_alive_timeout(limits::H2_PING.1)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(DialError::Protocol)?;
        self.tracker.spawn(async move {
            let _told = connection.await;
        });
        *shared = Some(sender.clone());
        Ok(sender)
    }
}

impl Idle {
    fn is_alive(&self, now: Instant) -> bool {
        !self.sender.is_closed() && now.saturating_duration_since(self.since) < limits::POOL_IDLE
    }
}
