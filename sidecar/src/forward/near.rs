//! The near side of a hop: the connection that requests come in on, as they count on it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::blocks::Seen;
use super::turns::{Turn, Turns};
use crate::accept::Seat;
use crate::admit::Alpn;
use crate::limits;
use crate::listener::{Process, Terminator};
use crate::standing::{self, Standing};
use crate::telemetry::log::Fields;
use crate::telemetry::metrics::{Closed, ListenerMetrics};

/// On which door the TLS is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Side {
    /// A client outside, the application behind.
    Terminate,
    /// The application outside, the next tier behind.
    Originate,
}

impl Side {
    /// Who asked is gone, and there was no answer yet.
    pub(super) fn left_before(self) -> &'static str {
        match self {
            Self::Terminate => "the client went away before the answer",
            Self::Originate => "the application went away before the answer",
        }
    }

    /// Who asked is gone, in the middle of the answer.
    pub(super) fn left_during(self) -> &'static str {
        match self {
            Self::Terminate => "the client went away during the answer",
            Self::Originate => "the application went away during the answer",
        }
    }

    /// Who was asked is gone, in the middle of the answer.
    pub(super) fn broke_off(self) -> &'static str {
        match self {
            Self::Terminate => "the application broke off its answer",
            Self::Originate => "the next tier broke off its answer",
        }
    }
}

/// A connection with requests.
#[derive(Debug)]
pub(crate) struct Near {
    pub(crate) side: Side,
    pub(crate) process: Arc<Process>,
    pub(crate) metrics: Arc<ListenerMetrics>,
    pub(crate) protocol: Alpn,
    /// The log fields that every request gets.
    pub(crate) fields: Fields,
    port: u16,
    pub(super) idle: Option<Duration>,
    /// Whether the client may stay, where that is asked.
    standing: Option<(Standing, Arc<Terminator>)>,
    /// Whose turn it is in each request.
    turns: Arc<Turns>,
    _seat: Seat,
    born: Instant,
    /// Requests under way; what is idle may be closed.
    active: AtomicU32,
    /// Requests that there ever were.
    requests: AtomicU32,
    /// When the head that is being read began, in milliseconds after birth; 0 for none.
    head_began: AtomicU64,
    first: Notify,
    /// Requests that the client gave up as soon as it had made them.
    given_up: AtomicU32,
    flood: Notify,
}

/// What a connection begins with.
#[derive(Debug)]
pub(super) struct Beginning {
    pub(super) side: Side,
    pub(super) process: Arc<Process>,
    pub(super) metrics: Arc<ListenerMetrics>,
    pub(super) protocol: Alpn,
    pub(super) fields: Fields,
    /// The port of who connected.
    pub(super) port: u16,
    /// How long it may lie idle.
    pub(super) idle: Option<Duration>,
    pub(super) standing: Option<(Standing, Arc<Terminator>)>,
    pub(super) seat: Seat,
}

impl Near {
    pub(super) fn new(beginning: Beginning) -> Self {
        let Beginning { side, process, metrics, protocol, fields, port, idle, standing, seat } =
            beginning;
        Self {
            side,
            process,
            metrics,
            protocol,
            fields,
            port,
            idle,
            standing,
            turns: Turns::new(),
            _seat: seat,
            born: Instant::now(),
            active: AtomicU32::new(0),
            requests: AtomicU32::new(0),
            head_began: AtomicU64::new(0),
            first: Notify::new(),
            given_up: AtomicU32::new(0),
            flood: Notify::new(),
        }
    }

    /// Where what serves the connection runs, so that drain waits for it.
    pub(super) fn tracker(&self) -> &TaskTracker {
        match self.side {
            Side::Terminate => &self.process.clients,
            Side::Originate => &self.process.outward,
        }
    }

    /// Cancelled when the connection takes no further request.
    pub(super) fn closing(&self) -> &CancellationToken {
        match self.side {
            Side::Terminate => &self.process.phases.closing,
            Side::Originate => &self.process.phases.outward,
        }
    }

    /// Waits until the client may not stay.
    pub(super) async fn lost(&self) -> Closed {
        match &self.standing {
            Some((standing, terminator)) => {
                standing::lost(Some(standing), terminator, &self.process, &self.fields).await
            }
            None => std::future::pending().await,
        }
    }

    /// The turn of a new request.
    pub(super) fn turn(&self) -> Turn {
        self.turns.begin()
    }

    /// A request's head was read.
    pub(super) fn begin(&self) {
        self.active.fetch_add(1, Ordering::AcqRel);
        // With HTTP/2 the next head may be on its way already.
        if self.protocol == Alpn::Http1 {
            self.head_began.store(0, Ordering::Release);
        }
        if self.requests.fetch_add(1, Ordering::AcqRel) == 0 {
            self.first.notify_waiters();
        }
    }

    /// The client gave up a request that it had just made (CVE-2023-44487). What it resets before that is
    /// looked at is counted by the HTTP library, which cannot know of the others.
    pub(super) fn given_up(&self) {
        let count = self.given_up.fetch_add(1, Ordering::AcqRel).saturating_add(1);
        if count >= limits::RESETS && count > self.requests() / 2 {
            self.flood.notify_one();
        }
    }

    /// Waits until the client has given up too many.
    pub(super) async fn flooded(&self) {
        self.flood.notified().await;
    }

    /// A request is over.
    pub(super) fn end(&self) {
        self.active.fetch_sub(1, Ordering::AcqRel);
    }

    /// Bytes came; between two requests they are the beginning of a head, or more of it.
    pub(super) fn bytes_came(&self) {
        if self.is_idle() && self.head_began.load(Ordering::Acquire) == 0 {
            self.head_began.store(self.age().max(1), Ordering::Release);
        }
    }

    /// Bytes of HTTP/2 came, which left its header blocks so.
    pub(super) fn block_came(&self, seen: Seen) {
        match seen {
            Seen::Closed => self.head_began.store(0, Ordering::Release),
            Seen::Begun => self.head_began.store(self.age().max(1), Ordering::Release),
            Seen::Open => {}
        }
    }

    /// What the client does that it may not do for so long.
    pub(super) fn holds_up(&self) -> Option<Closed> {
        let bounds = &self.process.bounds;
        let began = self.head_began.load(Ordering::Acquire);
        // With HTTP/2 a header block is followed from its first byte to its last; nothing else can
        // come between, whatever other streams do (RFC 9113, 4.3).
        let is_head = self.protocol == Alpn::H2 || self.is_idle();
        let most = u64::try_from(bounds.head.as_millis()).unwrap_or(u64::MAX);
        if began != 0 && is_head && self.age().saturating_sub(began) >= most {
            return Some(Closed::SlowHead);
        }
        let held = self.turns.held_by_client(self.active.load(Ordering::Acquire))?;
        bounds.stall.is_some_and(|most| held >= most).then_some(Closed::Stalled)
    }

    /// Whether the connection has been open for as long as it may be. Connections that began together
    /// do not end together.
    pub(super) fn is_old(&self) -> bool {
        self.process.bounds.age.is_some_and(|most| {
            let most = most.saturating_add(most / 1000 * u32::from(self.port % 100));
            self.born.elapsed() >= most
        })
    }

    /// Requests that there ever were.
    pub(super) fn requests(&self) -> u32 {
        self.requests.load(Ordering::Acquire)
    }

    /// Waits for the first request.
    pub(super) async fn first_request(&self) {
        let first = self.first.notified();
        if self.requests() == 0 {
            first.await;
        }
    }

    fn age(&self) -> u64 {
        u64::try_from(self.born.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Whether the client may be sending what nobody reads any more: the rest of a body, or of a head.
    pub(super) fn has_unread(&self) -> bool {
        self.turns.has_unread_body() || self.head_began.load(Ordering::Acquire) != 0
    }

    /// Whether no request is under way.
    pub(super) fn is_idle(&self) -> bool {
        self.active.load(Ordering::Acquire) == 0
    }
}
