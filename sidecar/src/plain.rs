//! Plain HTTP listeners that answer for themselves: one small server for redirect and status.
//!
//! Anybody in the cluster reaches them, and so nobody gets to hold them: a connection is one
//! question and one answer, lives for two seconds at most and as long as an answer was said to take,
//! and no address has more than a share.

use std::convert::Infallible;
use std::fmt;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::accept;
use crate::limits;
use crate::listener::Process;
use crate::shares::Shares;

/// An answer of our own.
pub(crate) type Answer = Response<Full<Bytes>>;

/// What a request gets.
pub(crate) enum Reply {
    /// An answer, at once.
    Now(Answer),
    /// An answer that takes no longer than so long.
    Later(Pin<Box<dyn Future<Output = Answer> + Send>>, Duration),
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Now(answer) => f.debug_tuple("Now").field(&answer.status()).finish(),
            Self::Later(_, most) => f.debug_tuple("Later").field(most).finish(),
        }
    }
}

/// How long a plain listener goes on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Until {
    /// Until no new connections are taken.
    Closing,
    /// Until the very end.
    Cut,
}

/// Serves plain HTTP on `listener`: every request is answered by `answer`. No address has more than
/// `share` connections.
pub(crate) async fn serve<F>(
    listener: TcpListener,
    process: Arc<Process>,
    answer: F,
    (share, until): (usize, Until),
) where
    F: Fn(&Request<Incoming>) -> Reply + Send + Sync + 'static,
{
    let answer = Arc::new(answer);
    let shares = Shares::new(share);
    let room = Arc::new(Semaphore::new(limits::PLAIN_CONNECTIONS));
    let waiting = Arc::new(Semaphore::new(limits::PLAIN_LATER));
    let queue = Arc::new(Semaphore::new(limits::PLAIN_CONNECTIONS + limits::PLAIN_WAITING));
    let end = match until {
        Until::Closing => process.phases.closing.clone(),
        Until::Cut => process.phases.cut.clone(),
    };
    while let Some((stream, peer)) = accept::next(&listener, &process, &end).await {
        let Some(place) = shares.take(peer.ip()) else { continue };
        let Ok(ticket) = Arc::clone(&queue).try_acquire_owned() else { continue };
        let tracker: &TaskTracker = match until {
            Until::Closing => &process.clients,
            Until::Cut => &process.background,
        };
        let (answer, end, room) = (Arc::clone(&answer), end.clone(), Arc::clone(&room));
        let waiting = Arc::clone(&waiting);
        tracker.spawn(async move {
            // A probe that waits a moment is a probe; one that is reset is a restart of the pod.
            if let Ok(Ok(permit)) = timeout(limits::PLAIN_WAIT, room.acquire_owned()).await {
                let places = Places { held: Mutex::new(vec![ticket, permit]), waiting };
                connection(stream, &answer, (&end, &places)).await;
            }
            drop(place);
        });
    }
}

/// The places of a connection, in the queue and in the room.
struct Places {
    held: Mutex<Vec<OwnedSemaphorePermit>>,
    /// Where there is room for those that wait.
    waiting: Arc<Semaphore>,
}

impl Places {
    /// Makes room for others while this one waits, if there is room to wait in.
    fn step_aside(&self) {
        if let Ok(permit) = Arc::clone(&self.waiting).try_acquire_owned() {
            *self.held.lock().unwrap_or_else(PoisonError::into_inner) = vec![permit];
        }
    }
}

async fn connection<F>(
    stream: TcpStream,
    answer: &Arc<F>,
    (end, places): (&CancellationToken, &Places),
) where
    F: Fn(&Request<Incoming>) -> Reply + Send + Sync + 'static,
{
    let life = Life::new();
    let service = service_fn(|request: Request<Incoming>| {
        let reply = answer(&request);
        if let Reply::Later(_, most) = &reply {
            life.lengthen(*most);
            places.step_aside();
        }
        async move {
            Ok::<_, Infallible>(match reply {
                Reply::Now(answer) => answer,
                Reply::Later(answer, _) => answer.await,
            })
        }
    });
    let connection = http1::Builder::new()
        // The connection as a whole has a time.
        .header_read_timeout(None)
        .keep_alive(false)
        .max_buf_size(limits::PLAIN_HEAD_BYTES)
        .max_header_size(limits::PLAIN_HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        // What a stranger does on a plain port is nothing to write home about.
        _ended = connection.as_mut() => return,
        () = life.over() => return,
        () = end.cancelled() => connection.as_mut().graceful_shutdown(),
    }
    tokio::select! {
        _ended = connection => {}
        () = life.over() => {}
    }
}

/// How long a connection may take.
struct Life {
    born: Instant,
    millis: AtomicU64,
}

impl Life {
    fn new() -> Self {
        let life = Self { born: Instant::now(), millis: AtomicU64::new(0) };
        life.lengthen(limits::PLAIN_LIFE);
        life
    }

    fn lengthen(&self, by: Duration) {
        let millis = u64::try_from(by.as_millis()).unwrap_or(u64::MAX / 2);
        self.millis.fetch_add(millis, Ordering::Relaxed);
    }

    /// Waits for its end, which may be put off meanwhile.
    async fn over(&self) {
        loop {
            let millis = self.millis.load(Ordering::Relaxed);
            let end = self.born + Duration::from_millis(millis);
            sleep_until(end).await;
            if self.millis.load(Ordering::Relaxed) == millis {
                return;
            }
        }
    }
}
