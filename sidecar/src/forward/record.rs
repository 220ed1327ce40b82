//! What is written down about a request: a log line and the metrics, whatever became of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::request::Parts;
use http::{Method, StatusCode, Version};
use http_body::Body;
use tokio::time::Instant;

use super::near::Near;
use super::turns::Turn;
use crate::admit::Alpn;
use crate::limits;
use crate::shares::Share;

/// One request, from its head to the last byte of its answer.
#[derive(Debug)]
pub(super) struct Record {
    near: Arc<Near>,
    start: Instant,
    method: Method,
    path: String,
    version: Version,
    answer: Option<(StatusCode, Duration)>,
    meter: Arc<Meter>,
    error: Option<&'static str>,
    outcome: Outcome,
    telling: Telling,
    /// Its part of what its client may have.
    share: Option<Share>,
}

/// Whether a request has a line of its own in the log.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Telling {
    /// As every request has.
    Each,
    /// There were so many like it that they are counted; the metrics know each.
    Counted,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Outcome {
    Whole,
    CutShort,
}

/// Bytes of a request's body and of its answer's, and when the last of them moved.
#[derive(Debug)]
pub(crate) struct Meter {
    start: Instant,
    received: AtomicU64,
    sent: AtomicU64,
    moved: AtomicU64,
    pub(super) turn: Turn,
}

impl Meter {
    pub(super) fn new(start: Instant, turn: Turn) -> Self {
        let zero = || AtomicU64::new(0);
        Self { start, received: zero(), sent: zero(), moved: zero(), turn }
    }

    /// Bytes came from the client.
    pub(super) fn receive(&self, bytes: usize) {
        self.received.fetch_add(u64::try_from(bytes).unwrap_or(0), Ordering::Relaxed);
        let moved = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.moved.store(moved, Ordering::Relaxed);
    }

    /// Bytes went to the client.
    pub(super) fn send(&self, bytes: usize) {
        self.sent.fetch_add(u64::try_from(bytes).unwrap_or(0), Ordering::Relaxed);
    }

    /// Bytes both ways.
    pub(super) fn bytes(&self) -> u64 {
        self.received.load(Ordering::Relaxed).wrapping_add(self.sent.load(Ordering::Relaxed))
    }

    /// How long the client has been silent.
    pub(super) fn quiet(&self) -> Duration {
        let moved = Duration::from_millis(self.moved.load(Ordering::Relaxed));
        self.start.elapsed().saturating_sub(moved)
    }
}

/// Nginx's number for a client that did not wait for its answer; there is no registered one.
const CLIENT_WENT_AWAY: u64 = 499;

impl Record {
    pub(super) fn new(near: &Arc<Near>, parts: &Parts, incoming: &impl Body) -> Self {
        near.begin();
        let start = Instant::now();
        let turn = near.turn();
        if !incoming.is_end_stream() {
            turn.body_begins();
        }
        Self {
            near: Arc::clone(near),
            start,
            method: parts.method.clone(),
            // No query: it is where people put what should not be in a log.
            path: parts.uri.path().to_owned(),
            version: parts.version,
            answer: None,
            meter: Arc::new(Meter::new(start, turn)),
            error: None,
            outcome: Outcome::CutShort,
            telling: Telling::Each,
            share: None,
        }
    }

    /// Whether it is written down.
    pub(super) fn telling(&mut self, telling: Telling) {
        self.telling = telling;
    }

    /// Keeps `share` as long as the request, or the tunnel that it becomes, has the application.
    pub(super) fn hold(&mut self, share: Option<Share>) {
        self.share = share;
    }

    pub(super) fn meter(&self) -> &Arc<Meter> {
        &self.meter
    }

    /// Whether it is answered by a head alone (RFC 9110, 9.3.2).
    pub(super) fn is_of_head(&self) -> bool {
        self.method == Method::HEAD
    }

    /// The head of the answer.
    pub(super) fn answered(&mut self, status: StatusCode) {
        self.answer = Some((status, self.start.elapsed()));
    }

    /// What went wrong.
    pub(super) fn failed(&mut self, error: &'static str) {
        self.error = Some(error);
    }

    /// The far side ended its answer before the end.
    pub(super) fn broken_off(&mut self) {
        self.failed(self.near.side.broke_off());
    }

    /// The last byte of the answer was passed on.
    pub(super) fn complete(&mut self) {
        self.outcome = Outcome::Whole;
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        let near = &self.near;
        self.meter.turn.over();
        near.end();
        if self.outcome == Outcome::CutShort
            && near.protocol == Alpn::H2
            && self.start.elapsed() < limits::RESET_SOON
        {
            near.given_up();
        }
        let metrics = &near.metrics;
        let received = self.meter.received.load(Ordering::Relaxed);
        let sent = self.meter.sent.load(Ordering::Relaxed);
        metrics.received.inc_by(received);
        metrics.sent.inc_by(sent);
        if let Some((status, duration)) = self.answer {
            metrics.request(status, duration);
        }
        if self.telling == Telling::Counted {
            return;
        }
        let mut line = near
            .process
            .log
            .info("request")
            .fields(&near.fields)
            .foreign("method", self.method.as_str())
            .foreign("path", &self.path)
            .text("http", version(self.version));
        line = match self.answer {
            Some((status, duration)) => {
                line.number("status", u64::from(status.as_u16())).millis("answered_ms", duration)
            }
            None => line.number("status", CLIENT_WENT_AWAY),
        };
        let error = match (self.error, self.outcome, self.answer) {
            (Some(error), _, _) => Some(error),
            (None, Outcome::Whole, _) => None,
            (None, Outcome::CutShort, _) if near.process.phases.cut.is_cancelled() => {
                Some("cut at the end of the drain")
            }
            (None, Outcome::CutShort, None) => Some(near.side.left_before()),
            (None, Outcome::CutShort, Some(_)) => Some(near.side.left_during()),
        };
        line.maybe("error", error)
            .millis("duration_ms", self.start.elapsed())
            .number("received", received)
            .number("sent", sent)
            .write();
    }
}

fn version(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "1.0",
        Version::HTTP_2 => "2",
        _ => "1.1",
    }
}
