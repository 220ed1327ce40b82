//! A client's HTTP connection, driven to its end: by the client, by drain, or by one of the bounds
//! that a client may not cross.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use http_body::Body;
use hyper::body::Incoming;
use hyper::rt::bounds::Http2ServerConnExec;
use hyper::rt::{Read, Write};
use hyper::server::conn::{http1, http2};
use hyper::service::HttpService;
use tokio::time::{sleep, timeout};

use super::aside::Aside;
use super::hop::Hop;
use crate::admit::Alpn;
use crate::limits;
use crate::standing;
use crate::telemetry::metrics::Closed;

/// A connection that can be asked to take no further request.
pub(super) trait Graceful: Future<Output = hyper::Result<()>> {
    /// GOAWAY, or `Connection: close` on the next answer.
    fn say_goodbye(self: Pin<&mut Self>);
}

type Problem = Box<dyn std::error::Error + Send + Sync>;

impl<I, B, S> Graceful for http1::UpgradeableConnection<I, S>
where
    S: HttpService<Incoming, ResBody = B>,
    S::Error: Into<Problem>,
    I: Read + Write + Unpin + Send + 'static,
    B: Body + 'static,
    B::Error: Into<Problem>,
{
    fn say_goodbye(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

impl<I, B, S, E> Graceful for http2::Connection<I, S, E>
where
    S: HttpService<Incoming, ResBody = B>,
    S::Error: Into<Problem>,
    I: Read + Write + Unpin,
    B: Body + 'static,
    B::Error: Into<Problem>,
    E: Http2ServerConnExec<S::Future, B>,
{
    fn say_goodbye(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

/// A client that has just connected may send its first request for so long after drain began.
const FIRST_REQUEST: Duration = Duration::from_secs(1);

/// Drives `connection` to its end, which drain or a bound may bring.
pub(super) async fn drive<C: Graceful>(mut connection: Pin<Box<C>>, hop: Arc<Hop>) {
    let mut end = Aside::new(Box::pin(end(Arc::clone(&hop))));
    let end = tokio::select! {
        result = connection.as_mut() => return tell(&hop, result),
        end = &mut end => end,
    };
    match end {
        End::Cut(why) => return closed(&hop, why),
        End::Goodbye(why) => {
            if let Some(why) = why {
                closed(&hop, why);
            }
            connection.as_mut().say_goodbye();
        }
    }
    // Who was told to go may not stay by not listening.
    let mut overdue = Aside::new(Box::pin(overdue(Arc::clone(&hop))));
    tokio::select! {
        result = connection => tell(&hop, result),
        why = &mut overdue => closed(&hop, why),
    }
}

/// How the sidecar ends a connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum End {
    /// It should take no further request, because of a bound or of drain.
    Goodbye(Option<Closed>),
    /// At once.
    Cut(Closed),
}

/// Waits for a reason to end the connection of `hop`.
async fn end(hop: Arc<Hop>) -> End {
    let bounds = hop.process.bounds;
    let mut closing = pin!(closing(&hop));
    let mut lost = pin!(lost(&hop));
    let mut idle = Duration::ZERO;
    let mut seen = 0;
    loop {
        tokio::select! {
            biased;
            () = closing.as_mut() => return End::Goodbye(None),
            why = lost.as_mut() => return End::Cut(why),
            () = sleep(bounds.tick()) => {}
        }
        if let Some(why) = hop.holds_up() {
            return End::Cut(why);
        }
        let requests = hop.requests();
        let is_idle = hop.is_idle() && requests == seen;
        idle = if is_idle { idle + bounds.tick() } else { Duration::ZERO };
        seen = requests;
        if bounds.idle_http.is_some_and(|most| idle >= most) {
            return End::Goodbye(Some(Closed::Idle));
        }
        // With HTTP/1.1 the next answer says so: a connection that is closed between two requests
        // may be closed on the second.
        if hop.protocol == Alpn::H2 && hop.is_old() {
            return End::Goodbye(Some(Closed::Age));
        }
    }
}

/// Waits until a connection that was to end is held by its client alone.
async fn overdue(hop: Arc<Hop>) -> Closed {
    let bounds = hop.process.bounds;
    let patience = bounds.stall.unwrap_or(limits::STALL);
    let mut lost = pin!(lost(&hop));
    let mut idle = Duration::ZERO;
    loop {
        tokio::select! {
            why = lost.as_mut() => return why,
            () = sleep(bounds.tick()) => {}
        }
        if let Some(why) = hop.holds_up() {
            return why;
        }
        idle = if hop.is_idle() { idle + bounds.tick() } else { Duration::ZERO };
        // All is answered, and the client does not read it.
        if idle >= patience {
            return Closed::Stalled;
        }
    }
}

/// Waits until the client may not stay.
async fn lost(hop: &Hop) -> Closed {
    standing::lost(hop.standing.as_ref(), &hop.terminator, &hop.process, &hop.fields).await
}

/// Ready when the process takes no further requests, and this client had a chance of its first.
async fn closing(hop: &Hop) {
    hop.process.phases.closing.cancelled().await;
    if hop.requests() == 0 {
        let _none_came = timeout(FIRST_REQUEST, hop.first_request()).await;
    }
}

/// Takes down that the sidecar ends a connection.
fn closed(hop: &Hop, why: Closed) {
    hop.terminator.metrics.closed(why);
    let line = hop.process.log.debug("a connection is ended");
    line.fields(&hop.fields).text("reason", why.word()).write();
}

fn tell(hop: &Hop, result: hyper::Result<()>) {
    if let Err(error) = result {
        let line = hop.process.log.debug("a connection ended with an error");
        line.fields(&hop.fields).display("reason", error).write();
    }
}
