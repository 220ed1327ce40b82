//! A stream that notices when a request's head begins.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::blocks::Blocks;
use super::near::Near;
use crate::admit::Alpn;

/// hyper reads from it, and the connection's [`Near`] learns of bytes that come between requests.
#[derive(Debug)]
pub(super) struct Watched<S> {
    stream: S,
    near: Arc<Near>,
    /// With HTTP/2, where bytes between requests may be anything.
    blocks: Option<Blocks>,
}

impl<S> Watched<S> {
    pub(super) fn new(stream: S, near: Arc<Near>) -> Self {
        let blocks = (near.protocol == Alpn::H2).then(Blocks::new);
        Self { stream, near, blocks }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let Self { stream, near, blocks } = &mut *self;
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

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
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
        Pin::new(&mut self.stream).poll_shutdown(cx)
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
