//! HTTP/2 connections to the application: as many as its bound of streams on each calls for, and
//! what it says of itself when one begins.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Instant;

use hyper::client::conn::http2;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::watch;

use super::{Home, Http1};
use crate::forward::body::RequestBody;
use crate::limits;

/// An HTTP/2 connection to the application.
pub(crate) type Http2 = http2::SendRequest<RequestBody>;

/// The connections of a listener, and when the last try for a further one failed.
#[derive(Debug, Default)]
pub(super) struct Pool {
    connections: Vec<Shared>,
    refused: Option<Instant>,
}

/// A connection that many requests share.
#[derive(Debug)]
pub(super) struct Shared {
    sender: Http2,
    offer: Arc<Offer>,
    streams: Arc<AtomicUsize>,
}

/// A request's place on a connection, until its answer is over.
#[derive(Debug)]
pub(crate) struct Place(Arc<AtomicUsize>);

impl Home for Place {
    fn give_back(&self, _of_http1: Http1) {}
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Pool {
    /// A place on a connection that has one.
    pub(super) fn take(&mut self) -> Option<(Http2, Place)> {
        self.connections.retain(|it| !it.sender.is_closed());
        self.connections.iter().find(|it| it.has_room()).map(Shared::take)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.connections.is_empty()
    }

    /// Whether it is too early to ask for a further connection, since there was none a moment ago.
    pub(super) fn is_full(&self, now: Instant) -> bool {
        !self.connections.is_empty()
            && self.refused.is_some_and(|since| {
                now.saturating_duration_since(since) < limits::H2_APPLICATION_PAUSE
            })
    }

    /// Takes a new connection in.
    pub(super) fn add(&mut self, connection: Shared) -> (Http2, Place) {
        self.refused = None;
        let taken = connection.take();
        self.connections.push(connection);
        taken
    }

    /// A place on the connection with the fewest requests, where it waits for one of them to end.
    pub(super) fn squeeze(&mut self, now: Instant) -> Option<(Http2, Place)> {
        self.refused.get_or_insert(now);
        let emptiest = self.connections.iter().min_by_key(|it| it.streams.load(Ordering::Acquire));
        emptiest.map(Shared::take)
    }

    /// The connection of `place` takes no further requests.
    pub(super) fn retire(&mut self, place: &Place) {
        self.connections.retain(|it| !Arc::ptr_eq(&it.streams, &place.0));
    }

    /// Closes what is not needed: all idle connections but one.
    pub(super) fn sweep(&mut self) {
        let mut kept = 0_u32;
        self.connections.retain(|it| {
            kept += 1;
            kept == 1 || it.streams.load(Ordering::Acquire) > 0
        });
    }
}

impl Shared {
    pub(super) fn new(sender: Http2, offer: Arc<Offer>) -> Self {
        Self { sender, offer, streams: Arc::default() }
    }

    fn has_room(&self) -> bool {
        self.streams.load(Ordering::Acquire) < self.offer.streams()
    }

    fn take(&self) -> (Http2, Place) {
        self.streams.fetch_add(1, Ordering::AcqRel);
        (self.sender.clone(), Place(Arc::clone(&self.streams)))
    }
}

/// What the application said in its first SETTINGS (RFC 9113, 6.5), which hyper does not tell.
#[derive(Debug)]
pub(super) struct Offer {
    streams: AtomicU32,
    connect: watch::Sender<Connect>,
}

/// Whether extended CONNECT is taken (RFC 8441, 3).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Connect {
    Unsaid,
    Taken,
    NotTaken,
}

const SETTINGS: u8 = 4;
const MAX_CONCURRENT_STREAMS: u16 = 3;
const ENABLE_CONNECT_PROTOCOL: u16 = 8;

/// Bytes of a frame's head (RFC 9113, 4.1).
const FRAME_HEAD: usize = 9;

impl Offer {
    fn new() -> Self {
        let streams = AtomicU32::new(limits::H2_APPLICATION_STREAMS);
        Self { streams, connect: watch::Sender::new(Connect::Unsaid) }
    }

    /// Requests that may be under way at once.
    fn streams(&self) -> usize {
        usize::try_from(self.streams.load(Ordering::Acquire)).unwrap_or(usize::MAX)
    }

    /// Waits for what is said of extended CONNECT.
    pub(super) async fn takes_connect(&self) -> bool {
        let mut said = self.connect.subscribe();
        let said = said.wait_for(|it| *it != Connect::Unsaid).await;
        said.is_ok_and(|it| *it == Connect::Taken)
    }

    /// Reads the first frame, of which `bytes` are the beginning; whether it is over.
    fn read(&self, bytes: &[u8]) -> bool {
        let Some((head, rest)) = bytes.split_first_chunk::<FRAME_HEAD>() else { return false };
        let [a, b, c, kind, ..] = *head;
        let length = usize::try_from(u32::from_be_bytes([0, a, b, c])).unwrap_or(usize::MAX);
        let is_settings = kind == SETTINGS && length <= limits::HEAD_BYTES;
        if is_settings && rest.len() < length {
            return false;
        }
        let mut connect = Connect::NotTaken;
        let settings = if is_settings { rest.get(..length).unwrap_or_default() } else { &[] };
        for setting in settings.chunks_exact(6) {
            let [high, low, value @ ..] = setting else { continue };
            let value = value.try_into().map_or(0, u32::from_be_bytes);
            match u16::from_be_bytes([*high, *low]) {
                MAX_CONCURRENT_STREAMS => {
                    let most = value.clamp(1, limits::H2_APPLICATION_STREAMS);
                    self.streams.store(most, Ordering::Release);
                }
                ENABLE_CONNECT_PROTOCOL if value == 1 => connect = Connect::Taken,
                _ => {}
            }
        }
        self.connect.send_replace(connect);
        true
    }
}

/// A stream whose first frame is read on its way.
#[derive(Debug)]
pub(super) struct Overheard<S> {
    stream: S,
    offer: Arc<Offer>,
    /// What there is of the frame; [`None`] when it was read.
    first: Option<Vec<u8>>,
}

impl<S> Overheard<S> {
    pub(super) fn new(stream: S) -> (Self, Arc<Offer>) {
        let offer = Arc::new(Offer::new());
        (Self { stream, offer: Arc::clone(&offer), first: Some(Vec::new()) }, offer)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Overheard<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let Self { stream, offer, first } = &mut *self;
        ready!(Pin::new(stream).poll_read(cx, buffer))?;
        if let Some(seen) = first {
            let (_, new) = buffer.filled().split_at(before);
            seen.extend_from_slice(new);
            if new.is_empty() || offer.read(seen) {
                *first = None;
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Overheard<S> {
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

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt as _;

    use super::*;

    fn frame(kind: u8, settings: &[(u16, u32)]) -> Vec<u8> {
        let length = u8::try_from(settings.len() * 6).unwrap();
        let mut bytes = vec![0, 0, length, kind, 0, 0, 0, 0, 0];
        for (name, value) in settings {
            bytes.extend(name.to_be_bytes());
            bytes.extend(value.to_be_bytes());
        }
        bytes
    }

    async fn overheard(bytes: &[u8]) -> Arc<Offer> {
        let (mut stream, offer) = Overheard::new(bytes);
        let mut passed = Vec::new();
        // Byte by byte, as a network may cut it.
        let mut byte = [0];
        while stream.read(&mut byte).await.unwrap() > 0 {
            passed.extend(byte);
        }
        assert_eq!(passed, bytes, "nothing is changed on the way");
        offer
    }

    #[tokio::test]
    async fn the_first_settings_tell_of_streams_and_of_extended_connect() {
        let most = usize::try_from(limits::H2_APPLICATION_STREAMS).unwrap();
        for (settings, streams, connect) in [
            (&[][..], most, Connect::NotTaken),
            (&[(3, 10), (8, 1), (4, 65535)], 10, Connect::Taken),
            (&[(3, u32::MAX), (8, 0)], most, Connect::NotTaken),
            (&[(3, 0)], 1, Connect::NotTaken),
        ] {
            // What comes behind is somebody else's.
            let bytes = [frame(SETTINGS, settings), frame(SETTINGS, &[(3, 1), (8, 1)])].concat();
            let offer = overheard(&bytes).await;
            assert_eq!((offer.streams(), *offer.connect.borrow()), (streams, connect));
        }
        let other = overheard(&frame(7, &[(8, 1)])).await;
        assert_eq!(*other.connect.borrow(), Connect::NotTaken);
        let half = overheard(&frame(SETTINGS, &[(8, 1)])[..12]).await;
        assert_eq!(*half.connect.borrow(), Connect::Unsaid);
    }
}
