//! A client's HTTP connection, driven to its end: by the client, by drain, by idleness, or by a head
//! that takes too long.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use http_body::Body;
use hyper::body::Incoming;
use hyper::rt::bounds::Http2ServerConnExec;
use hyper::rt::{Read, Write};
use hyper::server::conn::{http1, http2};
use hyper::service::HttpService;
use tokio::time::timeout;

use super::aside::Aside;
use super::hop::Hop;
use crate::limits;

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

/// Drives `connection` to its end, which drain, idleness or a head that takes too long may bring.
pub(super) async fn drive<C: Graceful>(mut connection: Pin<Box<C>>, hop: Arc<Hop>) {
    let mut end = Aside::new(Box::pin(end(Arc::clone(&hop))));
    let end = tokio::select! {
        result = connection.as_mut() => return tell(&hop, result),
        end = &mut end => end,
    };
    if end == End::Goodbye {
        connection.as_mut().say_goodbye();
        tell(&hop, connection.await);
    }
}

/// Why the sidecar ends a connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum End {
    /// It should take no further request.
    Goodbye,
    /// Its client takes too long over a request's head.
    TooSlow,
}

/// Waits for a reason to end the connection of `hop`.
async fn end(hop: Arc<Hop>) -> End {
    let mut closing = pin!(closing(&hop));
    let mut idle = Duration::ZERO;
    let mut seen = 0;
    loop {
        if timeout(limits::REQUEST_HEAD, closing.as_mut()).await.is_ok() {
            return End::Goodbye;
        }
        if hop.head_takes_too_long() {
            return End::TooSlow;
        }
        let requests = hop.requests();
        let is_idle = hop.is_idle() && requests == seen;
        idle = if is_idle { idle + limits::REQUEST_HEAD } else { Duration::ZERO };
        seen = requests;
        if idle >= limits::IDLE {
            return End::Goodbye;
        }
    }
}

/// Ready when the process takes no further requests, and this client had a chance of its first.
async fn closing(hop: &Hop) {
    hop.process.phases.closing.cancelled().await;
    if hop.requests() == 0 {
        let _none_came = timeout(FIRST_REQUEST, hop.first_request()).await;
    }
}

fn tell(hop: &Hop, result: hyper::Result<()>) {
    if let Err(error) = result {
        let line = hop.process.log.debug("a connection ended with an error");
        line.fields(&hop.fields).display("reason", error).write();
    }
}
