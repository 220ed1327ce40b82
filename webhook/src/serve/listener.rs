//! TCP and TLS: takes connections in, bounded in number and time, and hands their requests to the
//! router.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use http::{HeaderValue, Request, Response, Version, header};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use lasthop_contract::text::escape;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt as _;

use super::lifecycle::Lifecycle;
use crate::telemetry::Metrics;

/// At most this many connections are open, well below the usual limit of descriptors; more wait in
/// the backlog of the socket. An API server keeps a handful.
const CONNECTIONS: usize = 512;

/// A client has so long for its handshake, and again for its first request.
const PATIENCE: Duration = Duration::from_secs(5);

/// A connection without a request is closed after so long. API servers close theirs after 90
/// seconds, and it must be them who do: one that is closed here may just be written to.
const IDLE: Duration = Duration::from_secs(150);

/// Streams of one HTTP/2 connection.
const STREAMS: u32 = 100;

/// A listening socket with everything that a connection needs.
pub(super) struct Listener {
    /// The socket.
    pub(super) socket: TcpListener,
    /// TLS with this moment's certificate.
    pub(super) tls: TlsAcceptor,
    /// Where requests go.
    pub(super) router: Router,
    /// The state of the server.
    pub(super) lifecycle: Arc<Lifecycle>,
    /// The metrics.
    pub(super) metrics: Arc<Metrics>,
}

impl Listener {
    /// Takes connections until the server drains.
    pub(super) async fn run(self) {
        let room = Arc::new(Semaphore::new(CONNECTIONS));
        let this = Arc::new(self);
        loop {
            let next = async {
                let permit = Arc::clone(&room).acquire_owned().await;
                (permit, this.socket.accept().await)
            };
            let (permit, accepted) = tokio::select! {
                () = this.lifecycle.draining().cancelled() => return,
                next = next => next,
            };
            let Ok(permit) = permit else { return };
            match accepted {
                Ok((stream, peer)) => {
                    let task = Arc::clone(&this).connection(stream, peer, permit);
                    this.lifecycle.tasks.spawn(task);
                }
                // Out of file descriptors, or a client that left already: neither is over at once.
                Err(error) => {
                    tracing::warn!(%error, "cannot take a connection");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }

    async fn connection(
        self: Arc<Self>,
        stream: TcpStream,
        peer: SocketAddr,
        _permit: OwnedSemaphorePermit,
    ) {
        tokio::select! {
            () = self.lifecycle.cut().cancelled() => {}
            () = self.serve(stream, peer) => {}
        }
    }

    async fn serve(&self, stream: TcpStream, peer: SocketAddr) {
        // Answers are small and wanted at once; where this fails they are only later.
        let _slower = stream.set_nodelay(true);
        let stream = match tokio::time::timeout(PATIENCE, self.tls.accept(stream)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return self.refuse(peer, &escape(&error.to_string())),
            Err(_elapsed) => return self.refuse(peer, "the handshake took too long"),
        };
        let builder = match stream.get_ref().1.alpn_protocol() {
            Some(b"h2") => http2(),
            _ => http1(),
        };
        let activity = Arc::new(Activity::new());
        let service = hyper::service::service_fn({
            let activity = Arc::clone(&activity);
            move |request| {
                let (router, lifecycle) = (self.router.clone(), Arc::clone(&self.lifecycle));
                let busy = Busy::new(Arc::clone(&activity));
                async move { Ok::<_, Infallible>(answer(request, router, &lifecycle, busy).await) }
            }
        });
        let connection = builder.serve_connection(TokioIo::new(stream), service);
        self.drive(connection, &activity, peer).await;
    }

    /// Drives a connection to its end: the client's, the end of patience, or the server's.
    async fn drive<C>(&self, connection: C, activity: &Activity, peer: SocketAddr)
    where
        C: Closing,
    {
        let mut connection = std::pin::pin!(connection);
        let mut draining = false;
        loop {
            tokio::select! {
                result = connection.as_mut() => {
                    if let Err(error) = result {
                        let error = escape(&error.to_string());
                        tracing::debug!(%peer, %error, "the connection broke");
                    }
                    return;
                }
                () = self.lifecycle.draining().cancelled(), if !draining => {
                    connection.as_mut().close();
                    draining = true;
                }
                () = tokio::time::sleep_until(activity.deadline()) => {
                    if !activity.is_over() { continue }
                    if !activity.had_a_request() {
                        return self.refuse(peer, "no request came");
                    }
                    connection.as_mut().close();
                    // The client may take its leave or not.
                    let _either = tokio::time::timeout(PATIENCE, connection).await;
                    return;
                }
            }
        }
    }

    fn refuse(&self, peer: SocketAddr, reason: &str) {
        self.metrics.connection_refused();
        tracing::debug!(%peer, reason, "closed a connection that came to no request");
    }
}

/// A connection that can be asked to come to its end.
trait Closing: Future<Output = Result<(), Box<dyn std::error::Error + Send + Sync>>> {
    /// Takes no further request.
    fn close(self: std::pin::Pin<&mut Self>);
}

impl<I, S> Closing for auto::Connection<'_, I, S, TokioExecutor>
where
    I: hyper::rt::Read + hyper::rt::Write + Unpin + 'static,
    S: hyper::service::Service<
            Request<hyper::body::Incoming>,
            Response = Response<Body>,
            Error = Infallible,
        >,
    S::Future: Send + 'static,
{
    fn close(self: std::pin::Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

fn http1() -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new()).http1_only();
    builder.http1().timer(TokioTimer::new()).header_read_timeout(IDLE);
    builder
}

fn http2() -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new()).http2_only();
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .keep_alive_interval(Duration::from_secs(30))
        .keep_alive_timeout(PATIENCE);
    builder
}

async fn answer(
    request: Request<hyper::body::Incoming>,
    router: Router,
    lifecycle: &Lifecycle,
    _busy: Busy,
) -> Response<Body> {
    let version = request.version();
    let Ok(mut response) = router.oneshot(request.map(Body::new)).await;
    if version >= Version::HTTP_2 {
        // Not a header there (RFC 9113, 8.2.2).
        response.headers_mut().remove(header::CONNECTION);
    } else if lifecycle.is_retiring() {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// When a connection was last of use.
struct Activity {
    under_way: AtomicUsize,
    seen: AtomicUsize,
    last: Mutex<Instant>,
}

impl Activity {
    fn new() -> Self {
        Self {
            under_way: AtomicUsize::new(0),
            seen: AtomicUsize::new(0),
            last: Mutex::new(Instant::now()),
        }
    }

    fn touch(&self) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    fn had_a_request(&self) -> bool {
        self.seen.load(Ordering::Relaxed) > 0
    }

    fn deadline(&self) -> Instant {
        let patience = if self.had_a_request() { IDLE } else { PATIENCE };
        if self.under_way.load(Ordering::Relaxed) > 0 {
            return Instant::now() + patience;
        }
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) + patience
    }

    fn is_over(&self) -> bool {
        self.deadline() <= Instant::now()
    }
}

/// A request that is being answered.
struct Busy(Arc<Activity>);

impl Busy {
    fn new(activity: Arc<Activity>) -> Self {
        activity.under_way.fetch_add(1, Ordering::Relaxed);
        activity.seen.fetch_add(1, Ordering::Relaxed);
        Self(activity)
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.touch();
        self.0.under_way.fetch_sub(1, Ordering::Relaxed);
    }
}
