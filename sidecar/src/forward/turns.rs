//! Whose turn it is in each request of a connection: the application's, or the client's, who should
//! send or read.
//!
//! A connection on which it has been the client's turn in every request for long is held by the
//! client alone. One slow request says nothing with HTTP/2, where a client may let one stream wait
//! for as long as it likes while it reads others; and an application may take all the time it wants.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The turns of a connection.
#[derive(Debug)]
pub(crate) struct Turns {
    born: Instant,
    /// Requests in which it is the client's turn.
    clients: AtomicU32,
    /// When it last became the client's turn in one, in milliseconds after birth.
    since: AtomicU64,
    /// Whether a body began that did not come to its end. It is for HTTP/1.1, where there is one at a time.
    unread: AtomicBool,
}

/// The turn of one request.
#[derive(Debug)]
pub(super) struct Turn {
    of: Arc<Turns>,
    state: AtomicU8,
}

/// The client has to send more of its body.
const BODY_AWAITED: u8 = 1;
/// The head of the answer was handed on: what the client still sends is no more waited for.
const ANSWERING: u8 = 2;
/// The client has to read before it gets more.
const ANSWER_GIVEN: u8 = 4;
/// There is nothing to wait for any more.
const OVER: u8 = 8;

impl Turns {
    pub(super) fn new() -> Arc<Self> {
        let (clients, since) = (AtomicU32::new(0), AtomicU64::new(0));
        Arc::new(Self { born: Instant::now(), clients, since, unread: AtomicBool::new(false) })
    }

    /// Whether the client may still be sending a body that nobody reads.
    pub(super) fn has_unread_body(&self) -> bool {
        self.unread.load(Ordering::Acquire)
    }

    /// The turn of a new request: the application's.
    pub(super) fn begin(self: &Arc<Self>) -> Turn {
        Turn { of: Arc::clone(self), state: AtomicU8::new(0) }
    }

    /// How long it has been the client's turn in all of `requests`, if it is.
    pub(super) fn held_by_client(&self, requests: u32) -> Option<Duration> {
        if requests == 0 || self.clients.load(Ordering::Acquire) < requests {
            return None;
        }
        let since = Duration::from_millis(self.since.load(Ordering::Acquire));
        Some(self.born.elapsed().saturating_sub(since))
    }
}

impl Turn {
    /// The application wants more of the body than the client has sent.
    pub(super) fn body_awaited(&self) {
        self.change(BODY_AWAITED, 0);
    }

    /// More of the body came, or its end.
    pub(super) fn body_came(&self) {
        self.change(0, BODY_AWAITED);
    }

    /// There is a body to come.
    pub(super) fn body_begins(&self) {
        self.of.unread.store(true, Ordering::Release);
    }

    /// All of the body came.
    pub(super) fn body_over(&self) {
        self.of.unread.store(false, Ordering::Release);
    }

    /// The head of the answer is on its way to the client.
    pub(super) fn answering(&self) {
        self.change(ANSWERING, 0);
    }

    /// A part of the answer is on its way to the client, who has not asked for the next one.
    pub(super) fn answer_given(&self) {
        self.change(ANSWER_GIVEN, 0);
    }

    /// The client takes more of the answer.
    pub(super) fn answer_wanted(&self) {
        self.change(0, ANSWER_GIVEN);
    }

    /// The request is over.
    pub(super) fn over(&self) {
        self.change(OVER, 0);
    }

    fn change(&self, set: u8, clear: u8) {
        let before = self.state.load(Ordering::Acquire);
        if before & set == set && before & clear == 0 {
            return;
        }
        // The two bodies of a request may be polled on two threads.
        let before = match clear {
            0 => self.state.fetch_or(set, Ordering::AcqRel),
            _ => self.state.fetch_and(!clear, Ordering::AcqRel),
        };
        match (is_clients(before), is_clients((before | set) & !clear)) {
            (false, true) => {
                let now = u64::try_from(self.of.born.elapsed().as_millis()).unwrap_or(u64::MAX);
                self.of.since.store(now, Ordering::Release);
                self.of.clients.fetch_add(1, Ordering::AcqRel);
            }
            (true, false) => {
                self.of.clients.fetch_sub(1, Ordering::AcqRel);
            }
            _ => {}
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.over();
    }
}

fn is_clients(state: u8) -> bool {
    match (state & OVER, state & ANSWERING) {
        (0, 0) => state & BODY_AWAITED != 0,
        (0, _) => state & ANSWER_GIVEN != 0,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(turns: &Turns, requests: u32) -> bool {
        turns.held_by_client(requests).is_some()
    }

    #[test]
    fn it_is_the_client_s_turn_while_its_body_is_awaited() {
        let turns = Turns::new();
        let turn = turns.begin();
        assert!(!held(&turns, 1));
        turn.body_awaited();
        turn.body_awaited();
        assert!(held(&turns, 1));
        turn.body_came();
        assert!(!held(&turns, 1));
        turn.body_awaited();
        // An answer before the end of the body: now the application speaks.
        turn.answering();
        assert!(!held(&turns, 1));
    }

    #[test]
    fn it_is_the_client_s_turn_until_it_takes_more_of_the_answer() {
        let turns = Turns::new();
        let turn = turns.begin();
        turn.answering();
        assert!(!held(&turns, 1));
        turn.answer_given();
        assert!(held(&turns, 1));
        turn.answer_wanted();
        assert!(!held(&turns, 1));
    }

    #[test]
    fn one_stream_that_moves_or_waits_for_the_application_keeps_the_connection() {
        let turns = Turns::new();
        let (one, other) = (turns.begin(), turns.begin());
        one.body_awaited();
        assert!(!held(&turns, 2));
        other.answering();
        other.answer_given();
        assert!(held(&turns, 2));
        drop(other);
        assert!(held(&turns, 1));
        drop(one);
        assert!(!held(&turns, 0));
        assert_eq!(turns.clients.load(Ordering::Acquire), 0);
    }

    #[test]
    fn what_is_over_is_nobody_s_turn() {
        let turns = Turns::new();
        let turn = turns.begin();
        turn.over();
        turn.body_awaited();
        turn.answer_given();
        assert!(!held(&turns, 1));
    }
}
