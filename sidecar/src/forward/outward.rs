//! From the application to the next tier: the same rooms, with TLS on the other door.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use lasthop_contract::sidecar_config::UpstreamScheme;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use super::Serving;
use crate::accept::Seat;
use crate::admit::Alpn;
use crate::limits;
use crate::listener::Process;
use crate::originator::Originator;
use crate::telemetry::log::Fields;

mod exchange;
mod http;
mod target;
mod tcp;

/// Serves a connection of the application to its end.
pub(crate) fn originate(
    (stream, peer, seat): (TcpStream, SocketAddr, Seat),
    originator: Arc<Originator>,
    process: &Arc<Process>,
) -> Serving {
    let process = Arc::clone(process);
    match originator.upstream.target.scheme() {
        UpstreamScheme::Tls => Box::pin(tcp::relay((stream, peer, seat), originator, process)),
        UpstreamScheme::Https => Box::pin(async move {
            if let Some(protocol) = spoken(&stream, &process).await {
                http::serve((stream, peer, seat), protocol, (originator, process)).await;
            }
        }),
    }
}

/// What a log line says of a connection of the application.
fn fields(peer: SocketAddr, originator: &Originator) -> Fields {
    let mut fields = Fields::default();
    fields.text("listener", &originator.name);
    fields.text("peer", &peer.to_string());
    fields.text("upstream", &originator.target);
    fields
}

/// How a client of HTTP/2 begins that knows whom it speaks to (RFC 9113, 3.4), and nobody else:
/// there is no method `PRI`.
const PREFACE: &[u8] = b"PRI ";

/// Waits for the first bytes and takes none; [`None`] where none come.
async fn spoken(stream: &TcpStream, process: &Process) -> Option<Alpn> {
    let first = async {
        let mut head = [0; PREFACE.len()];
        loop {
            let count = stream.peek(&mut head).await.unwrap_or(0);
            let (seen, _) = head.split_at(count.min(head.len()));
            if seen.is_empty() {
                return None;
            }
            if seen == PREFACE {
                return Some(Alpn::H2);
            }
            if !PREFACE.starts_with(seen) {
                return Some(Alpn::Http1);
            }
            // A peek is ready at once where there are bytes at all.
            sleep(limits::PEEK).await;
        }
    };
    let patience = process.bounds.idle_http.unwrap_or(Duration::MAX);
    tokio::select! {
        biased;
        first = timeout(patience, first) => first.ok().flatten(),
        () = process.phases.outward.cancelled() => None,
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt as _;
    use tokio::net::TcpListener;

    use super::*;
    use crate::listener::test_process;

    #[tokio::test]
    async fn the_protocol_is_seen_however_its_first_bytes_are_cut() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let process = test_process();
        for (parts, expected) in [
            (&["PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"][..], Some(Alpn::H2)),
            (&["P", "R", "I", " "], Some(Alpn::H2)),
            (&["GET / HTTP/1.1\r\n"], Some(Alpn::Http1)),
            (&["P", "OST / HTTP/1.1\r\n"], Some(Alpn::Http1)),
            (&["PR", "OPFIND / HTTP/1.1\r\n"], Some(Alpn::Http1)),
            (&[], None),
        ] {
            let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            let (server, _) = listener.accept().await.unwrap();
            let ((), spoken) = tokio::join!(write(&mut client, parts), spoken(&server, &process));
            assert_eq!(spoken, expected, "{parts:?}");
        }
    }

    /// Writes the parts one by one; where there are none, it ends.
    async fn write(client: &mut TcpStream, parts: &[&str]) {
        for part in parts {
            client.write_all(part.as_bytes()).await.unwrap();
            sleep(limits::PEEK * 3).await;
        }
        if parts.is_empty() {
            client.shutdown().await.unwrap();
        }
    }
}
