//! A connection that is listened to also when the far end no longer takes what it is sent: an
//! application that answers before it has read a whole upload and closes (413, as many do) has
//! answered, and the answer is there to be read.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Swallows what can no longer be written as long as there is something to read.
#[derive(Debug)]
pub(super) struct Attentive<S> {
    stream: S,
    far_end: FarEnd,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum FarEnd {
    Listens,
    /// It takes nothing any more, and may have said something.
    Deaf,
    /// It has said everything.
    Done,
}

impl<S> Attentive<S> {
    pub(super) fn new(stream: S) -> Self {
        Self { stream, far_end: FarEnd::Listens }
    }

    /// `result`, or `whole` where nobody is left who could take it.
    fn swallow<T>(&mut self, result: io::Result<T>, whole: T) -> io::Result<T> {
        match result {
            Err(error)
                if self.far_end == FarEnd::Listens
                    && matches!(
                        error.kind(),
                        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset
                    ) =>
            {
                self.far_end = FarEnd::Deaf;
                Ok(whole)
            }
            result => result,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Attentive<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let (before, has_room) = (buffer.filled().len(), buffer.remaining() > 0);
        let result = ready!(Pin::new(&mut self.stream).poll_read(cx, buffer));
        if result.is_err() || (has_room && buffer.filled().len() == before) {
            self.far_end = FarEnd::Done;
        }
        Poll::Ready(result)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Attentive<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.far_end == FarEnd::Deaf {
            return Poll::Ready(Ok(bytes.len()));
        }
        let result = ready!(Pin::new(&mut self.stream).poll_write(cx, bytes));
        Poll::Ready(self.swallow(result, bytes.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.far_end == FarEnd::Deaf {
            return Poll::Ready(Ok(()));
        }
        let result = ready!(Pin::new(&mut self.stream).poll_flush(cx));
        Poll::Ready(self.swallow(result, ()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let whole = slices.iter().map(|slice| slice.len()).sum();
        if self.far_end == FarEnd::Deaf {
            return Poll::Ready(Ok(whole));
        }
        let result = ready!(Pin::new(&mut self.stream).poll_write_vectored(cx, slices));
        Poll::Ready(self.swallow(result, whole))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
