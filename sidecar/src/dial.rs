//! Connections to the application, and the pool that keeps them.
//!
//! A listener has a pool of its own, so that nothing of one listener's clients can meet another's.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use hyper::client::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};
use tokio_util::task::TaskTracker;

use crate::forward::TrackedExecutor;
use crate::forward::body::RequestBody;
use crate::limits;
use crate::telemetry::metrics::ListenerMetrics;

mod attentive;
mod http2;
pub(crate) mod target;
pub(crate) mod upstream;

use attentive::Attentive;
use http2::{Http2, Offer, Overheard, Place, Pool, Shared};
use target::{Stream, Target};

/// One HTTP/1.1 connection to the application.
pub(crate) type Http1 = http1::SendRequest<RequestBody>;

/// Where a connection goes when its answer is over.
pub(crate) trait Home: std::fmt::Debug + Send + Sync {
    /// Takes the connection, for another request or to its end.
    fn give_back(&self, sender: Http1);
}

/// The application of a listener.
#[derive(Debug)]
pub(crate) struct Application {
    targets: Vec<Target>,
    /// The one that answered last, tried first.
    preferred: AtomicUsize,
    idle: Mutex<Vec<Idle>>,
    /// Rung when a connection comes back, for who waits for one.
    returned: Notify,
    shared: tokio::sync::Mutex<Pool>,
    /// One permit a connection, over all listeners.
    room: Arc<Semaphore>,
    tracker: TaskTracker,
    metrics: Arc<ListenerMetrics>,
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
    /// As many connections are open as there may be.
    Full,
    /// It takes no WebSocket on a stream of HTTP/2.
    NoStreams,
}

/// A connection for one request.
#[derive(Debug)]
pub(crate) enum Lent {
    /// It is new.
    New(Http1),
    /// It has served others, and the application may be closing it.
    Used(Http1),
}

/// What somebody waited for.
enum Turn {
    /// A place for a new connection.
    Place(OwnedSemaphorePermit),
    /// A connection that came back.
    Used(Http1),
}

/// What to do where all connections are taken.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Crowd {
    /// To wait for one to end.
    Wait,
    /// To do without.
    Leave,
}

impl Application {
    pub(crate) fn new(
        targets: Vec<Target>,
        (tracker, room): (TaskTracker, Arc<Semaphore>),
        metrics: Arc<ListenerMetrics>,
    ) -> Self {
        Self {
            targets,
            room,
            preferred: AtomicUsize::new(0),
            idle: Mutex::default(),
            returned: Notify::new(),
            shared: tokio::sync::Mutex::default(),
            tracker,
            metrics,
        }
    }

    /// A new connection, for bytes.
    pub(crate) async fn connect(&self) -> Result<Stream, DialError> {
        let place = self.place(Crowd::Wait).await?;
        self.reach(place).await
    }

    async fn place(&self, crowd: Crowd) -> Result<OwnedSemaphorePermit, DialError> {
        let room = Arc::clone(&self.room);
        match crowd {
            Crowd::Leave => room.try_acquire_owned().ok(),
            Crowd::Wait => timeout(limits::APPLICATION_ROOM, room.acquire_owned())
                .await
                .ok()
                .and_then(Result::ok),
        }
        .ok_or(DialError::Full)
    }

    async fn reach(&self, place: OwnedSemaphorePermit) -> Result<Stream, DialError> {
        let mut last = DialError::Refused;
        let count = self.targets.len();
        let first = self.preferred.load(Ordering::Relaxed);
        for offset in 0..count {
            let index = (first + offset) % count;
            let Some(target) = self.targets.get(index) else { continue };
            match timeout(limits::CONNECT, target.connect()).await {
                Ok(Ok(socket)) => {
                    self.preferred.store(index, Ordering::Relaxed);
                    self.metrics.application_connections.inc();
                    return Ok(Stream::new(socket, place));
                }
                // A socket that nobody has made yet has no listener either.
                Ok(Err(error))
                    if matches!(
                        error.kind(),
                        io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound
                    ) => {}
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
            drop(idle);
            self.returned.notify_one();
        }
    }

    /// Closes what lay idle too long.
    pub(crate) fn sweep(&self) {
        let now = Instant::now();
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).retain(|idle| idle.is_alive(now));
        // Who holds the lock looks after the connections itself.
        if let Ok(mut pool) = self.shared.try_lock() {
            pool.sweep();
        }
    }

    /// An HTTP/1.1 connection, of the pool where there is one.
    pub(crate) async fn http1(&self) -> Result<Lent, DialError> {
        match self.take() {
            Some(sender) => Ok(Lent::Used(sender)),
            // Boxed, since every request would keep room for what few do.
            None => Box::pin(self.next_http1()).await,
        }
    }

    /// An HTTP/1.1 connection where the pool has none: a new one, or the next that comes back.
    async fn next_http1(&self) -> Result<Lent, DialError> {
        let place = match self.place(Crowd::Leave).await {
            Ok(place) => place,
            Err(_full) => match timeout(limits::APPLICATION_ROOM, self.turn()).await {
                Ok(Turn::Place(place)) => place,
                Ok(Turn::Used(sender)) => return Ok(Lent::Used(sender)),
                Err(_elapsed) => return Err(DialError::Full),
            },
        };
        self.connect_at(place).await.map(Lent::New)
    }

    /// Waits for a place for a connection, or for one that comes back.
    async fn turn(&self) -> Turn {
        let mut place = std::pin::pin!(Arc::clone(&self.room).acquire_owned());
        loop {
            tokio::select! {
                Ok(place) = place.as_mut() => return Turn::Place(place),
                () = self.returned.notified() => {}
                // What came back may not have been ready at once.
                () = sleep(limits::APPLICATION_TIDY) => {}
            }
            if let Some(sender) = self.take() {
                return Turn::Used(sender);
            }
        }
    }

    /// A new HTTP/1.1 connection.
    pub(crate) async fn connect_http1(&self) -> Result<Http1, DialError> {
        let connecting = async {
            let place = self.place(Crowd::Wait).await?;
            self.connect_at(place).await
        };
        Box::pin(connecting).await
    }

    async fn connect_at(&self, place: OwnedSemaphorePermit) -> Result<Http1, DialError> {
        let stream = Attentive::new(self.reach(place).await?);
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

    /// The HTTP/2 connection that `place` is on takes no further requests.
    pub(crate) async fn retire_http2(&self, place: &Place) {
        self.shared.lock().await.retire(place);
    }

    /// A place on an HTTP/2 connection, which is made where there is none.
    pub(crate) async fn http2(&self) -> Result<(Http2, Place), DialError> {
        let mut pool = self.shared.lock().await;
        if let Some(taken) = pool.take() {
            return Ok(taken);
        }
        let now = Instant::now();
        let crowd = if pool.is_empty() { Crowd::Wait } else { Crowd::Leave };
        let connected =
            if pool.is_full(now) { Err(DialError::Full) } else { self.connect_http2(crowd).await };
        match connected {
            Ok((sender, offer)) => Ok(pool.add(Shared::new(sender, offer))),
            Err(error) => pool.squeeze(now).ok_or(error),
        }
    }

    /// A new HTTP/2 connection for one WebSocket: an application that does not take extended CONNECT
    /// must not see it (RFC 8441, 3), and may end the connection over it.
    pub(crate) async fn connect_stream(&self) -> Result<Http2, DialError> {
        let (sender, offer) = self.connect_http2(Crowd::Wait).await?;
        match timeout(limits::CONNECT, offer.takes_connect()).await {
            Ok(true) => Ok(sender),
            Ok(false) => Err(DialError::NoStreams),
            Err(_elapsed) => Err(DialError::Timeout),
        }
    }

    async fn connect_http2(&self, crowd: Crowd) -> Result<(Http2, Arc<Offer>), DialError> {
        let place = self.place(crowd).await?;
        let (stream, offer) = Overheard::new(self.reach(place).await?);
        let executor = TrackedExecutor(self.tracker.clone());
        let (sender, connection) = hyper::client::conn::http2::Builder::new(executor)
            .timer(TokioTimer::new())
            .initial_stream_window_size(limits::H2_STREAM_WINDOW)
            .initial_connection_window_size(limits::H2_APPLICATION_WINDOW)
            .max_header_list_size(u32::try_from(limits::HEAD_BYTES).unwrap_or(u32::MAX))
            .keep_alive_interval(limits::H2_PING.0)
            .keep_alive_timeout(limits::H2_PING.1)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(DialError::Protocol)?;
        self.tracker.spawn(async move {
            let _told = connection.await;
        });
        Ok((sender, offer))
    }
}

impl Idle {
    fn is_alive(&self, now: Instant) -> bool {
        !self.sender.is_closed() && now.saturating_duration_since(self.since) < limits::POOL_IDLE
    }
}

#[cfg(test)]
mod tests;
