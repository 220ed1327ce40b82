//! The client's TCP connection, below TLS: what TLS reads and writes in spoonfuls goes in larger pieces.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio_util::io::poll_read_buf;

use super::metered::Count;

/// Bytes that are read at first: a `ClientHello` fits in.
const FIRST: usize = 4 * 1024;

/// Bytes that are read at once of a client that sends many; rustls alone would take 4 KiB.
const BULK: usize = 16 * 1024;

/// Bytes of a handshake that are held at most.
const HELD: usize = 16 * 1024;

/// A client that has sent so much without an answer gets what is held for it.
const ONE_WAY: usize = 16 * 1024;

/// A TCP connection that goes out of its way to make few system calls.
///
/// Of a handshake, what is written is held until nothing more can be read, since the client has to go
/// on then. The last of it is the session ticket (RFC 8446, 4.6.1), which no client waits for that has
/// asked for something already: it goes with the first bytes of the answer, in the same packet.
#[derive(Debug)]
pub(crate) struct Wire<S = TcpStream> {
    stream: S,
    /// What was read, and TLS has not taken yet. No memory of its own while it is empty.
    ahead: BytesMut,
    gait: Gait,
    /// What TLS wrote, and is not sent yet. No memory of its own after the handshake.
    held: Vec<u8>,
    phase: Phase,
}

/// How the client sends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Gait {
    /// As much as TLS takes at once, or less.
    Steps,
    /// More than that.
    Bulk,
}

#[derive(Debug)]
enum Phase {
    /// The client may be waiting for whatever is held, and what it sends is kept and counted.
    Handshake(Box<Count>),
    /// It has said so many bytes since the handshake.
    Open { said: usize },
}

/// Whether a client has begun to ask when its handshake ends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Asked {
    /// Bytes of a request came together with the end of the handshake.
    Already,
    /// Nothing came yet.
    Nothing,
}

impl Phase {
    /// The client sent so many bytes.
    fn count(&mut self, bytes: usize) -> io::Result<()> {
        match self {
            Self::Handshake(count) => count.take(bytes).map_err(io::Error::other),
            Self::Open { .. } => Ok(()),
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    /// `stream` before its handshake, which has `room` with all others.
    pub(super) fn new(stream: S, room: Arc<Semaphore>) -> Self {
        let (ahead, held) = (BytesMut::new(), Vec::new());
        let phase = Phase::Handshake(Box::new(Count::new(room)));
        Self { stream, ahead, gait: Gait::Steps, held, phase }
    }

    /// Waits for the first bytes and lets TLS have them afterwards; none where the connection ends.
    pub(super) async fn first(&mut self) -> io::Result<&[u8]> {
        self.ahead.reserve(FIRST);
        let came = self.stream.read_buf(&mut self.ahead).await?;
        self.phase.count(came)?;
        Ok(&self.ahead)
    }

    /// The handshake is over.
    pub(super) fn open(&mut self, asked: Asked) {
        let said = match asked {
            Asked::Already => 1,
            Asked::Nothing => 0,
        };
        self.phase = Phase::Open { said };
    }

    /// Nothing more is kept of what the client sends: what it took before is given back.
    pub(super) fn settle(&mut self) {
        if let Phase::Handshake(_) = self.phase {
            self.open(Asked::Nothing);
        }
    }

    /// Whether the client, which is silent, may be waiting for what is held.
    fn is_awaited(&self) -> bool {
        match self.phase {
            Phase::Handshake(_) => true,
            Phase::Open { said } => said == 0 || said > ONE_WAY,
        }
    }

    /// Reads into `buffer`, or ahead of it.
    fn fetch(&mut self, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.gait == Gait::Bulk {
            self.ahead.reserve(BULK);
            let Poll::Ready(read) = poll_read_buf(Pin::new(&mut self.stream), cx, &mut self.ahead)
            else {
                self.ahead = BytesMut::new();
                return Poll::Pending;
            };
            let read = read?;
            self.phase.count(read)?;
            if read < buffer.remaining() {
                self.gait = Gait::Steps;
            }
        } else {
            let before = buffer.filled().len();
            ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
            self.phase.count(buffer.filled().len().saturating_sub(before))?;
            if buffer.remaining() == 0 {
                self.gait = Gait::Bulk;
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Sends what is held, and what of `slices` goes with it.
    fn send(&mut self, cx: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let Self { stream, held, phase, .. } = self;
        while !held.is_empty() {
            let mut all = Vec::with_capacity(slices.len().saturating_add(1));
            all.push(IoSlice::new(held));
            all.extend_from_slice(slices);
            let sent = ready!(Pin::new(&mut *stream).poll_write_vectored(cx, &all))?;
            if sent == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            let beyond = sent.saturating_sub(held.len());
            held.drain(..sent.min(held.len()));
            if beyond > 0 {
                *held = Vec::new();
                return Poll::Ready(Ok(beyond));
            }
        }
        if let Phase::Open { .. } = phase {
            *held = Vec::new();
        }
        if slices.iter().all(|it| it.is_empty()) {
            return Poll::Ready(Ok(0));
        }
        Pin::new(stream).poll_write_vectored(cx, slices)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Wire<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        if self.ahead.is_empty() {
            let Poll::Ready(fetched) = self.fetch(cx, buffer) else {
                if !self.held.is_empty() && self.is_awaited() {
                    // What breaks here is told by the next read.
                    let _broken = self.send(cx, &[]);
                }
                return Poll::Pending;
            };
            fetched?;
        }
        let count = self.ahead.len().min(buffer.remaining());
        buffer.put_slice(self.ahead.get(..count).unwrap_or_default());
        self.ahead.advance(count);
        if self.ahead.is_empty() {
            self.ahead = BytesMut::new();
        }
        if let Phase::Open { said } = &mut self.phase {
            *said = said.saturating_add(buffer.filled().len().saturating_sub(before));
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Wire<S> {
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
        if let Phase::Handshake(_) = self.phase {
            let length = slices.iter().map(|it| it.len()).sum::<usize>();
            if length <= HELD.saturating_sub(self.held.len()) {
                for slice in slices {
                    self.held.extend_from_slice(slice);
                }
                return Poll::Ready(Ok(length));
            }
        }
        self.send(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// Sends nothing that is held: see [`Wire`] for when it goes.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.send(cx, &[]))?;
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use tokio::io::{AsyncWriteExt as _, DuplexStream, duplex};

    use super::*;
    use crate::limits;

    /// Counts the times that something is read or written, and takes few bytes at once if told so.
    #[derive(Debug)]
    struct Counted {
        stream: DuplexStream,
        most: usize,
        reads: usize,
        writes: usize,
    }

    impl AsyncRead for Counted {
        fn poll_read(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            buffer: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
            self.reads += 1;
            Poll::Ready(Ok(()))
        }
    }

    impl AsyncWrite for Counted {
        fn poll_write(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            let bytes = &bytes[..bytes.len().min(self.most)];
            let count = ready!(Pin::new(&mut self.stream).poll_write(cx, bytes))?;
            self.writes += 1;
            Poll::Ready(Ok(count))
        }

        fn poll_write_vectored(
            self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            slices: &[IoSlice<'_>],
        ) -> Poll<io::Result<usize>> {
            let all: Vec<u8> = slices.iter().flat_map(|it| it.to_vec()).collect();
            self.poll_write(cx, &all)
        }

        fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.stream).poll_flush(cx)
        }

        fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.stream).poll_shutdown(cx)
        }
    }

    /// A wire that takes `most` bytes at once, and its other end.
    fn wire(most: usize) -> (Wire<Counted>, DuplexStream) {
        let (stream, far) = duplex(256 * 1024);
        let room = Arc::new(Semaphore::new(limits::HANDSHAKE_ROOM));
        (Wire::new(Counted { stream, most, reads: 0, writes: 0 }, room), far)
    }

    /// Asks `wire` for more, in vain.
    fn finds_nothing(wire: &mut Wire<Counted>) {
        let mut cx = Context::from_waker(Waker::noop());
        let (mut space, mut wire) = ([0; 100], Pin::new(wire));
        let mut buffer = ReadBuf::new(&mut space);
        assert!(wire.as_mut().poll_read(&mut cx, &mut buffer).is_pending());
    }

    async fn say(wire: &mut Wire<Counted>, bytes: &[u8]) {
        wire.write_all(bytes).await.unwrap();
        wire.flush().await.unwrap();
    }

    async fn hear(far: &mut DuplexStream, expected: &[u8]) {
        let mut came = vec![0; expected.len()];
        far.read_exact(&mut came).await.unwrap();
        assert_eq!(came, expected);
    }

    #[tokio::test]
    async fn a_client_that_has_to_go_on_gets_what_was_written_in_one_piece() {
        let (mut wire, mut far) = wire(usize::MAX);
        say(&mut wire, b"hello").await;
        say(&mut wire, b"certificate").await;
        assert_eq!(wire.stream.writes, 0);
        finds_nothing(&mut wire);
        assert_eq!(wire.stream.writes, 1);
        hear(&mut far, b"hellocertificate").await;
    }

    #[tokio::test]
    async fn the_ticket_of_a_client_that_has_asked_goes_with_the_answer() {
        for asked in [Asked::Already, Asked::Nothing] {
            let (mut wire, mut far) = wire(usize::MAX);
            say(&mut wire, b"ticket").await;
            wire.open(asked);
            if asked == Asked::Nothing {
                far.write_all(b"question").await.unwrap();
                assert_eq!(wire.read(&mut [0; 100]).await.unwrap(), 8);
            }
            finds_nothing(&mut wire);
            assert_eq!(wire.stream.writes, 0);
            say(&mut wire, b"answer").await;
            assert_eq!((wire.stream.writes, wire.held.capacity()), (1, 0));
            say(&mut wire, b"more").await;
            hear(&mut far, b"ticketanswermore").await;
        }
    }

    #[tokio::test]
    async fn the_ticket_of_a_client_that_asks_nothing_goes_at_once() {
        let (mut wire, mut far) = wire(usize::MAX);
        say(&mut wire, b"ticket").await;
        wire.open(Asked::Nothing);
        finds_nothing(&mut wire);
        hear(&mut far, b"ticket").await;
    }

    #[tokio::test]
    async fn the_ticket_of_a_client_that_only_sends_does_not_wait_for_ever() {
        let (mut wire, mut far) = wire(usize::MAX);
        say(&mut wire, b"ticket").await;
        wire.open(Asked::Already);
        far.write_all(&[7; ONE_WAY]).await.unwrap();
        let mut left = ONE_WAY;
        while left > 0 {
            left -= wire.read(&mut [0; 1000]).await.unwrap();
        }
        finds_nothing(&mut wire);
        hear(&mut far, b"ticket").await;
    }

    #[tokio::test]
    async fn the_ticket_of_a_connection_that_ends_goes_first() {
        let (mut wire, mut far) = wire(usize::MAX);
        say(&mut wire, b"ticket").await;
        wire.open(Asked::Already);
        wire.shutdown().await.unwrap();
        let mut came = Vec::new();
        far.read_to_end(&mut came).await.unwrap();
        assert_eq!(came, b"ticket");
    }

    #[tokio::test]
    async fn bytes_stay_in_their_order_where_few_go_at_once() {
        for most in [1, 3, 7, 100] {
            let (mut wire, mut far) = wire(most);
            say(&mut wire, b"a long ticket").await;
            wire.open(Asked::Already);
            say(&mut wire, b"and its answer").await;
            hear(&mut far, b"a long ticketand its answer").await;
        }
    }

    #[tokio::test]
    async fn a_handshake_that_is_longer_than_what_is_held_goes_out_whole() {
        let (mut wire, mut far) = wire(usize::MAX);
        let sent: Vec<u8> = (0..3 * HELD).map(|it| it.to_le_bytes()[0]).collect();
        for piece in sent.chunks(HELD - 100) {
            wire.write_all(piece).await.unwrap();
        }
        finds_nothing(&mut wire);
        hear(&mut far, &sent).await;
    }

    #[tokio::test]
    async fn first_bytes_are_looked_at_and_read_again() {
        let (mut wire, mut far) = wire(usize::MAX);
        far.write_all(b"GET / HTTP/1.1").await.unwrap();
        assert_eq!(wire.first().await.unwrap(), b"GET / HTTP/1.1");
        let mut came = [0; 14];
        wire.read_exact(&mut came[..3]).await.unwrap();
        wire.read_exact(&mut came[3..]).await.unwrap();
        assert_eq!((&came, wire.ahead.capacity()), (b"GET / HTTP/1.1", 0));
        drop(far);
        assert_eq!(wire.read(&mut came).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn much_is_read_in_large_pieces_and_in_its_order() {
        let (mut wire, mut far) = wire(usize::MAX);
        wire.open(Asked::Nothing);
        let sent: Vec<u8> = (0..200_000_u32).map(|it| it.to_le_bytes()[0] ^ 0x5a).collect();
        far.write_all(&sent).await.unwrap();
        drop(far);
        let (mut came, mut space) = (Vec::new(), [0; 4096]);
        loop {
            match wire.read(&mut space).await.unwrap() {
                0 => break,
                count => came.extend_from_slice(&space[..count]),
            }
        }
        assert!(came == sent);
        assert!(wire.stream.reads < sent.len() / 10_000, "{}", wire.stream.reads);
        assert_eq!(wire.ahead.capacity(), 0);
    }
}
