//! Plain HTTP listeners that answer for themselves: one small server for redirect and status.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::accept;
use crate::limits;
use crate::listener::Process;

/// An answer of our own.
pub(crate) type Answer = Response<Full<Bytes>>;

/// Whether a connection takes further requests.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum KeepAlive {
    /// It does.
    Yes,
    /// It is closed after its answer.
    No,
}

/// How long a plain listener goes on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Until {
    /// Until no new connections are taken.
    Closing,
    /// Until the very end.
    Cut,
}

/// Serves plain HTTP on `listener`: every request is answered by `answer`, at once.
pub(crate) async fn serve<F>(
    listener: TcpListener,
    process: Arc<Process>,
    answer: F,
    (keep_alive, until): (KeepAlive, Until),
) where
    F: Fn(&Request<Incoming>) -> Answer + Send + Sync + 'static,
{
    let answer = Arc::new(answer);
    let room = Arc::new(Semaphore::new(limits::PLAIN_CONNECTIONS));
    let end = match until {
        Until::Closing => process.phases.closing.clone(),
        Until::Cut => process.phases.cut.clone(),
    };
    while let Some((stream, _peer)) = accept::next(&listener, &process, &end).await {
        let Ok(permit) = Arc::clone(&room).try_acquire_owned() else { continue };
        let tracker: &TaskTracker = match until {
            Until::Closing => &process.clients,
            Until::Cut => &process.background,
        };
        let (answer, end) = (Arc::clone(&answer), end.clone());
        tracker.spawn(async move {
            connection(stream, &answer, keep_alive, &end).await;
            drop(permit);
        });
    }
}

async fn connection<F>(
    stream: TcpStream,
    answer: &Arc<F>,
    keep_alive: KeepAlive,
    end: &CancellationToken,
) where
    F: Fn(&Request<Incoming>) -> Answer + Send + Sync + 'static,
{
    let service = service_fn(|request: Request<Incoming>| {
        let response = answer(&request);
        async move { Ok::<_, Infallible>(response) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits::PLAIN_HEAD)
        .keep_alive(keep_alive == KeepAlive::Yes)
        .max_buf_size(limits::PLAIN_HEAD_BYTES)
        .max_header_size(limits::PLAIN_HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        // What a stranger does on a plain port is nothing to write home about.
        _ended = connection.as_mut() => return,
        () = end.cancelled() => connection.as_mut().graceful_shutdown(),
    }
    let _ended = connection.await;
}
