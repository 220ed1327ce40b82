//! A client's HTTP connection, driven to its end: by the client, by drain, by idleness, or by a head
//! that takes too long.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use http_body::Body;
use hyper::body::Incoming;
use hyper::rt::bounds::Http2ServerConnExec;
use hyper::rt::{Read, Write};
use hyper::server::conn::{http1, http2};
use hyper::service::HttpService;
use tokio::time::sleep;

use super::hop::Hop;
use crate::admit::Alpn;
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
    let closing = &hop.process.phases.closing;
    let mut said_goodbye = false;
    let mut idle = Duration::ZERO;
    let mut seen = 0;
    loop {
        tokio::select! {
            result = connection.as_mut() => return tell(&hop, result),
            () = goodbye(&hop), if !said_goodbye => {
                connection.as_mut().say_goodbye();
                said_goodbye = true;
            }
            () = sleep(limits::REQUEST_HEAD) => {
                if hop.protocol == Alpn::Http1 && hop.head_takes_too_long() {
                    return;
                }
                idle = if hop.is_idle() && hop.requests() == seen {
                    idle + limits::REQUEST_HEAD
                } else {
                    Duration::ZERO
                };
                seen = hop.requests();
                if idle >= limits::IDLE && !said_goodbye && !closing.is_cancelled() {
                    connection.as_mut().say_goodbye();
                    said_goodbye = true;
                }
            }
        }
    }
}

fn tell(hop: &Hop, result: hyper::Result<()>) {
    if let Err(error) = result {
        let line = hop.process.log.debug("a connection ended with an error");
        line.fields(&hop.fields).display("reason", error).write();
    }
}

/// Ready when the connection should take no further request.
async fn goodbye(hop: &Hop) {
    hop.process.phases.closing.cancelled().await;
    if hop.requests() == 0 {
        let _none_came = tokio::time::timeout(FIRST_REQUEST, hop.first_request()).await;
    }
}
