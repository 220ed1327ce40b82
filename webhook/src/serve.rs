//! Takes reviews in over TLS and sends answers out.
//!
//! A review is judged on a runtime of its own, with as many threads as there are cores: what a
//! hostile review costs, health checks and connections do not pay. A panic ends the one review.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::routing::{get, post};
use http::{Request, StatusCode, header};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;

use crate::certificate::{Identity, Source};
use crate::check::Mode;
use crate::review::{self, ReviewError};
use crate::surroundings::Surroundings;
use crate::telemetry::{Entry, Metrics, Readiness, Verdict};

mod body;
mod event;
mod judge;
mod lifecycle;
mod listener;
mod placement;

use body::BodyError;

pub use lifecycle::{DrainTimes, Lifecycle};
pub use placement::VersionSource;

use placement::KnownVersions;

/// Lookups have so long; then what they were to find is unknown.
const DEADLINE: Duration = Duration::from_secs(2);

/// So many reviews are under way at a time; more wait for their turn until their deadline.
const REVIEWS: usize = 256;

/// Everything that the server is told.
#[derive(Debug)]
pub struct Options {
    /// Where it listens.
    pub listen: SocketAddr,
    /// What reviews are judged by.
    pub surroundings: Surroundings,
    /// How they are judged.
    pub mode: Mode,
    /// The version of the cluster.
    pub version: VersionSource,
    /// The serving certificate.
    pub certificate: Source,
    /// The times of a stop.
    pub drain: DrainTimes,
    /// What is counted.
    pub metrics: Arc<Metrics>,
}

/// What all requests share.
struct App {
    surroundings: Surroundings,
    mode: Mode,
    versions: KnownVersions,
    metrics: Arc<Metrics>,
    lifecycle: Arc<Lifecycle>,
    events: event::Events,
    memory: body::Memory,
    pool: Pool,
}

impl App {
    /// How reviews are judged at this moment.
    fn mode(&self) -> Mode {
        let mut mode = self.mode.clone();
        self.versions.settle(&mut mode.sidecar);
        mode
    }
}

/// Serves until a signal ends it.
///
/// # Errors
/// Only at the start: the address is taken, or the certificate cannot be read.
pub async fn run(options: Options) -> anyhow::Result<()> {
    let Options { listen, surroundings, mode, version, certificate, drain, metrics } = options;
    let lifecycle = Arc::new(Lifecycle::default());
    let identity = Identity::start(certificate, &lifecycle, &metrics).await?;
    let tasks = lifecycle.tasks.clone();
    let app = App {
        events: event::Events::new(surroundings.api_server(), tasks, Arc::clone(&metrics)),
        surroundings,
        mode,
        versions: KnownVersions::start(version, &lifecycle),
        metrics: Arc::clone(&metrics),
        lifecycle: Arc::clone(&lifecycle),
        memory: body::Memory::new(),
        pool: Pool::new().context("cannot start the threads that judge reviews")?,
    };
    // From here on there is something to bring to an end.
    let mut signals = Signals::listen().context("cannot listen for signals")?;
    let socket = TcpListener::bind(listen)
        .await
        .with_context(|| format!("cannot listen on {listen}: choose another with --listen"))?;
    let address = socket.local_addr().context("the listening socket has no address")?;
    tracing::info!(listener = "webhook", %address, "listening");
    let listener = listener::Listener {
        socket,
        tls: TlsAcceptor::from(Arc::new(identity.tls_config()?)),
        router: router(Arc::new(app)),
        lifecycle: Arc::clone(&lifecycle),
        metrics,
    };
    lifecycle.tasks.spawn(listener.run());
    signals.next().await;
    // Whoever signals twice does not want to wait.
    tokio::select! {
        () = lifecycle.stop(drain) => {}
        () = signals.next() => {}
    }
    Ok(())
}

/// SIGTERM and SIGINT.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn listen() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

fn router(app: Arc<App>) -> Router {
    Router::new()
        .route("/validate", post(validate))
        .route("/mutate", post(mutate))
        .route("/livez", get(async || plain(StatusCode::OK, "ok\n")))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .fallback(async || {
            let paths = "/validate, /mutate, /livez, /readyz and /metrics";
            plain(StatusCode::NOT_FOUND, format!("there is nothing here: lasthop serves {paths}\n"))
        })
        .with_state(app)
}

async fn ready(State(app): State<Arc<App>>) -> Response {
    let obstacles = app.lifecycle.obstacles();
    let mut text = obstacles.join("\n");
    if obstacles.is_empty() {
        text.push_str("ok");
    }
    text.push('\n');
    let status =
        if obstacles.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    plain(status, text)
}

async fn metrics(State(app): State<Arc<App>>) -> Response {
    let ready = app.lifecycle.obstacles().is_empty();
    app.metrics.readiness(if ready { Readiness::Ready } else { Readiness::NotReady });
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    respond(StatusCode::OK, kind, app.metrics.text())
}

async fn validate(State(app): State<Arc<App>>, request: Request<Body>) -> Response {
    review(app, Entry::Validate, request).await
}

async fn mutate(State(app): State<Arc<App>>, request: Request<Body>) -> Response {
    review(app, Entry::Mutate, request).await
}

/// One review, from its first byte to its answer.
async fn review(app: Arc<App>, entry: Entry, request: Request<Body>) -> Response {
    let (head, body) = request.into_parts();
    let patience = patience(head.uri.query());
    let read = match body::read(body, &head.headers, &app.memory).await {
        Ok(read) => read,
        Err(error) => {
            app.metrics.reviewed(entry, Verdict::Malformed, Duration::ZERO);
            return close(plain(error.status(), format!("{error}\n")));
        }
    };
    let began = Instant::now();
    let deadline = began + patience;
    let judging = Box::pin({
        let app = Arc::clone(&app);
        async move {
            let _share = app.memory.for_values_of(&read.bytes).await?;
            let question = review::read(&read.bytes)?;
            drop(read);
            Ok(judge::judge(&app, entry, question, deadline).await)
        }
    });
    let (verdict, response) = match app.pool.run(judging).await {
        Ok(Ok((verdict, answer))) => {
            (verdict, respond(StatusCode::OK, "application/json", answer.to_string()))
        }
        Ok(Err(NoReview { status, reason })) => {
            tracing::warn!(entry = entry.word(), error = reason, "refused what is no review");
            (Verdict::Malformed, plain(status, format!("{reason}\n")))
        }
        Err(Panicked) => {
            tracing::error!(entry = entry.word(), "a review ended in a panic: a bug of lasthop");
            let text = "lasthop failed on this review, which is a bug; its log says more\n";
            (Verdict::Failed, plain(StatusCode::INTERNAL_SERVER_ERROR, text))
        }
    };
    app.metrics.reviewed(entry, verdict, began.elapsed());
    response
}

/// Why there is nothing to judge.
struct NoReview {
    status: StatusCode,
    reason: String,
}

impl From<ReviewError> for NoReview {
    fn from(error: ReviewError) -> Self {
        Self { status: StatusCode::BAD_REQUEST, reason: error.to_string() }
    }
}

impl From<BodyError> for NoReview {
    fn from(error: BodyError) -> Self {
        Self { status: error.status(), reason: error.to_string() }
    }
}

/// The time for lookups: half of what the API server waits (`?timeout=5s`), so that the answer is
/// there in time, and never more than [`DEADLINE`].
fn patience(query: Option<&str>) -> Duration {
    let parameters = query.unwrap_or_default().split('&');
    let timeout = parameters.filter_map(|it| it.strip_prefix("timeout=")).next_back();
    let seconds = timeout.and_then(|it| it.strip_suffix('s')).and_then(|it| it.parse::<u8>().ok());
    seconds.map_or(DEADLINE, |seconds| DEADLINE.min(Duration::from_secs(seconds.into()) / 2))
}

type Response = http::Response<Body>;

fn plain(status: StatusCode, text: impl Into<String>) -> Response {
    respond(status, "text/plain; charset=utf-8", text.into())
}

fn respond(status: StatusCode, kind: &'static str, text: String) -> Response {
    http::Response::builder()
        .status(status)
        .header(header::CONTENT_TYPE, kind)
        .header(header::X_CONTENT_TYPE_OPTIONS, "nosniff")
        .body(Body::from(text))
        .expect("status and headers are constants")
}

/// After a body that was not read to its end nothing else can come on the connection.
fn close(mut response: Response) -> Response {
    response.headers_mut().insert(header::CONNECTION, header::HeaderValue::from_static("close"));
    response
}

/// The threads that judge.
struct Pool {
    runtime: Option<tokio::runtime::Runtime>,
    room: Semaphore,
}

/// A review ended in a panic.
struct Panicked;

impl Pool {
    fn new() -> std::io::Result<Self> {
        let threads = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(threads)
            .thread_name("review")
            .enable_all()
            .build()?;
        Ok(Self { runtime: Some(runtime), room: Semaphore::new(REVIEWS) })
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, Panicked> {
        let runtime = self.runtime.as_ref().expect("the runtime goes with the pool");
        // The semaphore is never closed.
        let _room = self.room.acquire().await;
        runtime.spawn(work).await.map_err(|_panic| Panicked)
    }
}

impl Drop for Pool {
    /// A runtime may not be waited for inside of another.
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_ends_one_piece_of_work_and_no_other() {
        let pool = Pool::new().unwrap();
        assert!(pool.run(async { panic!("this one fails") }).await.map(|(): ()| ()).is_err());
        assert!(matches!(pool.run(async { 7 }).await, Ok(7)));
    }

    #[test]
    fn takes_half_of_what_the_api_server_waits() {
        assert_eq!(patience(None), DEADLINE);
        assert_eq!(patience(Some("timeout=10s")), DEADLINE);
        assert_eq!(patience(Some("timeout=3s")), Duration::from_millis(1500));
        assert_eq!(patience(Some("a=b&timeout=1s")), Duration::from_millis(500));
        assert_eq!(patience(Some("timeout=forever")), DEADLINE);
        assert_eq!(patience(Some("timeout=")), DEADLINE);
    }
}
