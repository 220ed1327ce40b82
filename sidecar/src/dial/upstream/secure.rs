//! A TCP connection to the next tier to a TLS connection, or to the reason why not.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use lasthop_contract::server_policy::{ServerObserver, ServerPolicy, ServerRefusal};
use rustls::{ClientConfig, HandshakeKind};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::failure::{Failure, Fate};
use crate::admit::Alpn;
use crate::limits;
use crate::telemetry::clock;

/// A connection to the next tier that came through its handshake.
#[derive(Debug)]
pub(crate) struct Secured {
    pub(crate) stream: Witnessed,
    pub(crate) protocol: Alpn,
    pub(crate) resumed: bool,
}

tokio::task_local! {
    static JUDGED: RefCell<Option<ServerRefusal>>;
}

/// Brings what the verifier decided to the connection that it decided about: both run in the same
/// poll of the same task.
#[derive(Debug)]
pub(crate) struct ServerWitness;

impl ServerObserver for ServerWitness {
    fn refused(&self, refusal: ServerRefusal) {
        let _elsewhere = JUDGED.try_with(|cell| *cell.borrow_mut() = Some(refusal));
    }
}

/// Performs the handshake on `stream`, asking for `name`.
pub(super) async fn secure(
    (stream, place): (TcpStream, OwnedSemaphorePermit),
    name: ServerName<'static>,
    tls: &Arc<ClientConfig>,
    policy: &ServerPolicy,
) -> Result<Secured, Failure> {
    let shaking = JUDGED.scope(RefCell::default(), async {
        let result = TlsConnector::from(Arc::clone(tls)).connect(name, stream).await;
        (result, JUDGED.with(RefCell::take))
    });
    let stream = match timeout(limits::UPSTREAM_HANDSHAKE, shaking).await {
        Err(_elapsed) => return Err(Failure::HandshakeTimeout),
        Ok((Err(_error), Some(refusal))) => return Err(Failure::Refused(refusal)),
        Ok((Err(error), None)) => return Err(Failure::of_handshake(&error)),
        Ok((Ok(stream), _)) => stream,
    };
    let (_, session) = stream.get_ref();
    let protocol = if session.alpn_protocol() == Some(b"h2") { Alpn::H2 } else { Alpn::Http1 };
    let resumed = session.handshake_kind() == Some(HandshakeKind::Resumed);
    if resumed {
        // The verifier sees full handshakes only; time goes on for a resumed one as well.
        let presented = session.peer_certificates().unwrap_or_default();
        policy.judge(presented, clock::now().unix()).map_err(Failure::Refused)?;
    }
    let stream = Witnessed { stream: Box::new(stream), fate: Fate::default(), _place: place };
    Ok(Secured { stream, protocol, resumed })
}

/// A stream that takes down what the next tier said when it gave up.
#[derive(Debug)]
pub(crate) struct Witnessed {
    stream: Box<TlsStream<TcpStream>>,
    fate: Fate,
    /// Its place among all connections to next tiers: whatever becomes of it, a tunnel too, holds both.
    _place: OwnedSemaphorePermit,
}

impl Witnessed {
    /// What will become of it.
    pub(super) fn fate(&self) -> Fate {
        self.fate.clone()
    }

    fn noted<T>(&self, polled: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if let Poll::Ready(Err(error)) = &polled {
            self.fate.met(error);
        }
        polled
    }
}

impl AsyncRead for Witnessed {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_read(cx, buffer);
        self.noted(polled)
    }
}

impl AsyncWrite for Witnessed {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.noted(polled)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.noted(polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
