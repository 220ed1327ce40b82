//! Bodies on their way through: counted, cleaned of forged trailers, never held back.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use super::expect::{Abandoned, Gate, GateKeeper};
use super::headers::{clean_answer_trailers, clean_trailers};
use super::near::Near;
use super::record::{Meter, Record};
use crate::admit::Alpn;
use crate::dial::{Home, Http1};
use crate::limits;

/// A request's body on its way to the application.
#[derive(Debug)]
pub(crate) struct RequestBody {
    incoming: Option<Incoming>,
    gate: Option<Gate>,
    meter: Arc<Meter>,
    pace: Pace,
    /// Where the rest of it is read that nobody wants, with HTTP/2.
    rest: Option<TaskTracker>,
}

/// What it means that a client does not send.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Pace {
    /// It announced a body and owes it.
    Owed,
    /// It may have nothing to say: the streams of gRPC are silent for as long as they like.
    Free,
}

impl Pace {
    fn of(protocol: Alpn, incoming: &Incoming) -> Self {
        if protocol == Alpn::Http1 || incoming.size_hint().exact().is_some() {
            Self::Owed
        } else {
            Self::Free
        }
    }
}

impl RequestBody {
    pub(super) fn new(
        incoming: Incoming,
        near: &Near,
        gate: Option<Gate>,
        meter: Arc<Meter>,
    ) -> Self {
        let pace = Pace::of(near.protocol, &incoming);
        let rest = (near.protocol == Alpn::H2).then(|| near.tracker().clone());
        Self { incoming: Some(incoming), gate, meter, pace, rest }
    }

    /// The body of a request that has none.
    pub(crate) fn none(meter: Arc<Meter>) -> Self {
        Self { incoming: None, gate: None, meter, pace: Pace::Free, rest: None }
    }
}

/// An answer may come before the end of the body, and then nobody reads on. To end the stream at once is
/// allowed (RFC 9113, 8.1), and clients that are still sending take it for a failure and lose the answer; so
/// it is read for a while, as [`Watched`](super::watched::Watched) does with HTTP/1.1.
impl Drop for RequestBody {
    fn drop(&mut self) {
        let Some((rest, mut incoming)) = self.rest.take().zip(self.incoming.take()) else { return };
        if incoming.is_end_stream() {
            return;
        }
        rest.spawn(async move {
            let read = async { while let Some(Ok(_frame)) = incoming.frame().await {} };
            let _enough = timeout(limits::LINGER_STREAM, read).await;
        });
    }
}

/// Why a request's body ends before its end.
#[derive(Debug)]
pub(crate) enum BodyError {
    /// The client broke off.
    Client(hyper::Error),
    /// The application answered without wanting it.
    Abandoned,
}

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Client(error) => error.fmt(f),
            Self::Abandoned => f.write_str("the body is not wanted"),
        }
    }
}

impl std::error::Error for BodyError {}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Some(gate) = &mut self.gate {
            match ready!(gate.poll_open(cx)) {
                Ok(()) => self.gate = None,
                Err(Abandoned) => return Poll::Ready(Some(Err(BodyError::Abandoned))),
            }
        }
        let Self { incoming, meter, pace, .. } = &mut *self;
        let Some(incoming) = incoming else { return Poll::Ready(None) };
        let Poll::Ready(frame) = Pin::new(&mut *incoming).poll_frame(cx) else {
            if *pace == Pace::Owed {
                meter.turn.body_awaited();
            }
            return Poll::Pending;
        };
        meter.turn.body_came();
        let is_over = match &frame {
            Some(Ok(frame)) => frame.is_trailers() || incoming.is_end_stream(),
            Some(Err(_broken)) => false,
            None => true,
        };
        if is_over {
            meter.turn.body_over();
        }
        Poll::Ready(frame.map(|frame| match frame {
            Ok(frame) => {
                if let Some(data) = frame.data_ref() {
                    meter.receive(data.remaining());
                }
                Ok(cleaned(frame, clean_trailers))
            }
            Err(error) => Err(BodyError::Client(error)),
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

fn cleaned(frame: Frame<Bytes>, clean: fn(&mut HeaderMap)) -> Frame<Bytes> {
    match frame.into_trailers() {
        Ok(mut trailers) => {
            clean(&mut trailers);
            Frame::trailers(trailers)
        }
        Err(data) => data,
    }
}

/// A connection of the pool while its answer is under way.
#[derive(Debug)]
pub(super) struct Lease {
    sender: Option<Http1>,
    home: Arc<dyn Home>,
}

impl Lease {
    pub(super) fn new(sender: Http1, home: Arc<dyn Home>) -> Self {
        Self { sender: Some(sender), home }
    }

    /// Of a connection that others use at the same time.
    pub(super) fn shared(home: Arc<dyn Home>) -> Self {
        Self { sender: None, home }
    }

    /// The connection is for something else now, and its home stays to be counted on.
    pub(super) fn leave(self) -> Arc<dyn Home> {
        self.home
    }

    /// The answer is over, another request may go.
    fn end(&mut self) {
        if let Some(sender) = self.sender.take() {
            self.home.give_back(sender);
        }
    }
}

/// An answer's body on its way to the client.
#[derive(Debug)]
pub(super) struct ResponseBody {
    content: Content,
    record: Option<Box<Record>>,
    lease: Option<Lease>,
    gate: Option<GateKeeper>,
}

#[derive(Debug)]
enum Content {
    Application(Incoming),
    Own(Full<Bytes>),
}

impl ResponseBody {
    /// What the application answers.
    pub(super) fn application(
        incoming: Incoming,
        record: Box<Record>,
        lease: Option<Lease>,
        gate: Option<GateKeeper>,
    ) -> Self {
        record.meter().turn.answering();
        let mut body =
            Self { content: Content::Application(incoming), record: Some(record), lease, gate };
        if body.is_end_stream() {
            body.finish();
        }
        body
    }

    /// What we answer ourselves.
    pub(super) fn own(text: String, mut record: Box<Record>) -> Self {
        let text = if record.is_of_head() { String::new() } else { text };
        record.meter().send(text.len());
        record.complete();
        // It is the last that the client gets, and there is nobody else to wait for.
        record.meter().turn.answering();
        record.meter().turn.answer_given();
        let content = Content::Own(Full::new(Bytes::from(text)));
        Self { content, record: Some(record), lease: None, gate: None }
    }

    /// No body, and nothing to write down: the record goes on elsewhere.
    pub(super) fn none() -> Self {
        Self { content: Content::Own(Full::default()), record: None, lease: None, gate: None }
    }

    fn finish(&mut self) {
        if let Some(record) = &mut self.record {
            record.complete();
        }
        if let Some(lease) = &mut self.lease {
            lease.end();
        }
        if let Some(gate) = self.gate.take() {
            gate.abandon();
        }
    }
}

impl Drop for ResponseBody {
    fn drop(&mut self) {
        if let Some(gate) = &self.gate {
            gate.abandon();
        }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        if let Some(record) = &self.record {
            record.meter().turn.answer_wanted();
        }
        let frame = match &mut self.content {
            Content::Application(incoming) => ready!(Pin::new(incoming).poll_frame(cx)),
            Content::Own(full) => {
                return Pin::new(full)
                    .poll_frame(cx)
                    .map(|frame| frame.map(|frame| frame.map_err(|never| match never {})));
            }
        };
        match &frame {
            Some(Ok(frame)) => {
                if let Some(record) = &self.record {
                    record.meter().send(frame.data_ref().map_or(0, Buf::remaining));
                    record.meter().turn.answer_given();
                }
                // Nothing comes after trailers, and nobody asks; a chunked body does not say so itself.
                if frame.is_trailers() || self.is_end_stream() {
                    self.finish();
                }
            }
            Some(Err(_broken)) => {
                if let Some(record) = &mut self.record {
                    record.broken_off();
                }
            }
            None => self.finish(),
        }
        Poll::Ready(frame.map(|it| it.map(|frame| cleaned(frame, clean_answer_trailers))))
    }

    fn is_end_stream(&self) -> bool {
        match &self.content {
            Content::Application(incoming) => incoming.is_end_stream(),
            Content::Own(full) => full.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Application(incoming) => incoming.size_hint(),
            Content::Own(full) => full.size_hint(),
        }
    }
}
