//! A stream that notices when a request's head begins, and that does not end on a client who is
//! still sending: an answer that came early is read first.

use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

use super::blocks::Blocks;
use super::near::Near;
use crate::admit::Alpn;
use crate::limits;

/// Bytes that are thrown away at once, and how often before others have their turn.
const SCRATCH: usize = 8 * 1024;
const PIECES: usize = 32;

/// hyper reads from it, and the connection's [`Near`] learns of bytes that come between requests.
#[derive(Debug)]
pub(super) struct Watched<S> {
    stream: S,
    near: Arc<Near>,
    /// With HTTP/2, where bytes between requests may be anything.
    blocks: Option<Blocks>,
    /// Until when what still comes is thrown away.
    linger: Option<Pin<Box<Sleep>>>,
}

impl<S> Watched<S> {
    pub(super) fn new(stream: S, near: Arc<Near>) -> Self {
        let blocks = (near.protocol == Alpn::H2).then(Blocks::new);
        Self { stream, near, blocks, linger: None }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let Self { stream, near, blocks, .. } = &mut *self;
        ready!(Pin::new(stream).poll_read(cx, buffer))?;
        let (_, new) = buffer.filled().split_at(before);
        match blocks {
            _ if new.is_empty() => {}
            None => near.bytes_came(),
            Some(blocks) => near.block_came(blocks.see(new)),
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + Unpin> Watched<S> {
    /// Reads what still comes and throws it away, until the client ends or time is up. To close with unread
    /// bytes would be a reset, which overtakes the answer (RFC 9112, 9.6).
    fn poll_rest(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Self { stream, linger, .. } = self;
        let linger = linger.get_or_insert_with(|| Box::pin(sleep(limits::LINGER_UPLOAD)));
        let mut scratch = [MaybeUninit::uninit(); SCRATCH];
        for _ in 0..PIECES {
            if linger.as_mut().poll(cx).is_ready() {
                return Poll::Ready(());
            }
            let mut buffer = ReadBuf::uninit(&mut scratch);
            match ready!(Pin::new(&mut *stream).poll_read(cx, &mut buffer)) {
                Ok(()) if !buffer.filled().is_empty() => {}
                Ok(()) | Err(_) => return Poll::Ready(()),
            }
        }
        // Others have their turn.
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.linger.is_none() {
            ready!(Pin::new(&mut self.stream).poll_shutdown(cx))?;
            if self.blocks.is_some() || !self.near.has_unread() {
                return Poll::Ready(Ok(()));
            }
        }
        self.poll_rest(cx).map(Ok)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
