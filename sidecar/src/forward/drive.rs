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
use super::near::Near;
use crate::admit::Alpn;
use crate::limits;
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
pub(super) async fn drive<C: Graceful>(mut connection: Pin<Box<C>>, near: Arc<Near>) {
    let mut end = Aside::new(Box::pin(end(Arc::clone(&near))));
    let end = tokio::select! {
        result = connection.as_mut() => return tell(&near, result),
        end = &mut end => end,
    };
    match end {
        End::Cut(why) => return closed(&near, why),
        End::Goodbye(why) => {
            if let Some(why) = why {
                closed(&near, why);
            }
            connection.as_mut().say_goodbye();
        }
    }
    // Who was told to go may not stay by not listening.
    let mut overdue = Aside::new(Box::pin(overdue(Arc::clone(&near))));
    tokio::select! {
        result = connection => tell(&near, result),
        why = &mut overdue => closed(&near, why),
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

/// Waits for a reason to end the connection `near`.
async fn end(near: Arc<Near>) -> End {
    let bounds = near.process.bounds;
    let mut closing = pin!(closing(&near));
    let mut lost = pin!(near.lost());
    let mut idle = Duration::ZERO;
    let mut seen = 0;
    loop {
        tokio::select! {
            biased;
            () = closing.as_mut() => return End::Goodbye(None),
            why = lost.as_mut() => return End::Cut(why),
            () = near.flooded() => return End::Cut(Closed::ResetFlood),
            () = sleep(bounds.tick()) => {}
        }
        if let Some(why) = near.holds_up() {
            return End::Cut(why);
        }
        let requests = near.requests();
        let is_idle = near.is_idle() && requests == seen;
        idle = if is_idle { idle + bounds.tick() } else { Duration::ZERO };
        seen = requests;
        if near.idle.is_some_and(|most| idle >= most) {
            return End::Goodbye(Some(Closed::Idle));
        }
        // With HTTP/1.1 the next answer says so: a connection that is closed between two requests
        // may be closed on the second.
        if near.protocol == Alpn::H2 && near.is_old() {
            return End::Goodbye(Some(Closed::Age));
        }
    }
}

/// Waits until a connection that was to end is held by its client alone.
async fn overdue(near: Arc<Near>) -> Closed {
    let bounds = near.process.bounds;
    let patience = bounds.stall.unwrap_or(limits::STALL);
    let mut lost = pin!(near.lost());
    let mut idle = Duration::ZERO;
    loop {
        tokio::select! {
            why = lost.as_mut() => return why,
            () = near.flooded() => return Closed::ResetFlood,
            () = sleep(bounds.tick()) => {}
        }
        if let Some(why) = near.holds_up() {
            return why;
        }
        idle = if near.is_idle() { idle + bounds.tick() } else { Duration::ZERO };
        // All is answered, and the client does not read it.
        if idle >= patience {
            return Closed::Stalled;
        }
    }
}

/// Ready when the process takes no further requests, and this client had a chance of its first.
async fn closing(near: &Near) {
    near.closing().cancelled().await;
    if near.requests() == 0 {
        let _none_came = timeout(FIRST_REQUEST, near.first_request()).await;
    }
}

/// Takes down that the sidecar ends a connection.
fn closed(near: &Near, why: Closed) {
    near.metrics.closed(why);
    let line = near.process.log.debug("a connection is ended");
    line.fields(&near.fields).text("reason", why.word()).write();
}

fn tell(near: &Near, result: hyper::Result<()>) {
    if let Err(error) = result {
        let line = near.process.log.debug("a connection ended with an error");
        line.fields(&near.fields).display("reason", error).write();
    }
}
