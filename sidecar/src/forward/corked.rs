//! A stream whose small writes go out together.
//!
//! With HTTP/2, answers of many streams become ready one after the other, and hyper flushes after
//! each: a TLS record, a system call and a packet for every one of them. Here a flush lets the tasks
//! that are ready go first, once, and what they add goes out in the same record.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes held back at most: what a TLS record takes (RFC 8446, 5.1).
const MOST: usize = 16 * 1024;

/// Writes of so many bytes are not held back; copying them would cost more than it saves.
const LARGE: usize = 4 * 1024;

#[derive(Debug)]
pub(super) struct Corked<S> {
    stream: S,
    /// No memory of its own while there is nothing in it.
    held: Vec<u8>,
    flush: Flush,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Flush {
    /// The next one lets others go first.
    Yields,
    /// Others have gone.
    Goes,
}

impl<S> Corked<S> {
    pub(super) fn new(stream: S) -> Self {
        Self { stream, held: Vec::new(), flush: Flush::Yields }
    }
}

impl<S: AsyncWrite + Unpin> Corked<S> {
    fn write_out(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.held.is_empty() {
            let count = ready!(Pin::new(&mut self.stream).poll_write(cx, &self.held))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.held.drain(..count);
        }
        self.held = Vec::new();
        self.flush = Flush::Yields;
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Corked<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let length = slices.iter().map(|slice| slice.len()).sum();
        if length >= LARGE || self.held.len() + length > MOST {
            ready!(self.write_out(cx))?;
        }
        if length >= LARGE {
            return Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        }
        if self.held.is_empty() {
            self.held.reserve_exact(MOST);
        }
        for slice in slices {
            self.held.extend_from_slice(slice);
        }
        Poll::Ready(Ok(length))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.held.is_empty() && self.flush == Flush::Yields {
            self.flush = Flush::Goes;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        ready!(self.write_out(cx))?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.write_out(cx))?;
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Corked<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    use super::*;

    /// Takes a few bytes at a time, and counts the times.
    #[derive(Default)]
    struct Small {
        bytes: Vec<u8>,
        writes: usize,
    }

    impl AsyncWrite for Small {
        fn poll_write(
            mut self: Pin<&mut Self>,
            _cx: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            let count = bytes.len().min(5000);
            self.bytes.extend_from_slice(&bytes[..count]);
            self.writes += 1;
            Poll::Ready(Ok(count))
        }

        fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[tokio::test]
    async fn small_writes_go_out_together_when_they_are_flushed() {
        let mut corked = Corked::new(Small::default());
        for _ in 0..3 {
            corked.write_all(b"answer").await.unwrap();
        }
        assert_eq!(corked.stream.writes, 0);
        corked.flush().await.unwrap();
        assert_eq!(corked.stream.writes, 1);
        assert_eq!(corked.stream.bytes, b"answeransweranswer");
        assert_eq!(corked.held.capacity(), 0);
    }

    #[tokio::test]
    async fn what_is_added_while_a_flush_waits_goes_with_it() {
        let mut corked = Corked::new(Small::default());
        corked.write_all(b"one").await.unwrap();
        let mut cx = Context::from_waker(Waker::noop());
        assert!(Pin::new(&mut corked).poll_flush(&mut cx).is_pending());
        corked.write_all(b"two").await.unwrap();
        corked.flush().await.unwrap();
        assert_eq!((corked.stream.bytes.as_slice(), corked.stream.writes), (&b"onetwo"[..], 1));
    }

    #[tokio::test]
    async fn every_byte_comes_in_its_order_whatever_the_sizes() {
        let sent: Vec<u8> = (0..400_000_u32).map(|it| it.to_le_bytes()[0] ^ 0x5a).collect();
        let mut corked = Corked::new(Small::default());
        let (mut rest, mut size) = (&sent[..], 1);
        while !rest.is_empty() {
            let (piece, after) = rest.split_at(size.min(rest.len()));
            corked.write_all(piece).await.unwrap();
            (rest, size) = (after, size * 7 % 20_011);
        }
        corked.shutdown().await.unwrap();
        assert!(corked.stream.bytes == sent);
    }

    #[tokio::test]
    async fn a_stream_that_is_full_takes_the_rest_later() {
        let (near, mut far) = duplex(1000);
        let mut corked = Corked::new(near);
        let sent = vec![7; 3 * MOST];
        let mut came = Vec::new();
        let send = async {
            for piece in sent.chunks(999) {
                corked.write_all(piece).await.unwrap();
            }
            corked.shutdown().await.unwrap();
        };
        let (_sent, read) = tokio::join!(send, far.read_to_end(&mut came));
        assert_eq!(read.unwrap(), sent.len());
    }
}
