//! `Expect: 100-continue` (RFC 9110, 10.1.1), end to end: the client is asked for its body when the
//! application asks for it, not before.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::task::AtomicWaker;
use tokio::time::{Sleep, sleep};

use crate::limits;

/// Nobody said anything yet.
const WAITING: u8 = 0;
/// The body is wanted.
const OPEN: u8 = 1;
/// The application answered without having asked for the body.
const ANSWERED: u8 = 2;
/// The answer is over, so is the request.
const ABANDONED: u8 = 3;

/// Stands before a request body.
#[derive(Debug)]
pub(super) struct Gate {
    keeper: GateKeeper,
    patience: Pin<Box<Sleep>>,
}

/// Opens the gate, or says that it stays closed.
#[derive(Clone, Debug, Default)]
pub(super) struct GateKeeper(Arc<State>);

#[derive(Debug, Default)]
struct State {
    phase: AtomicU8,
    waker: AtomicWaker,
}

/// What stands behind the gate will never be wanted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Abandoned;

impl Gate {
    /// A closed gate, and its keeper.
    pub(super) fn new() -> (Self, GateKeeper) {
        Self::for_at_most(limits::CONTINUE)
    }

    fn for_at_most(patience: Duration) -> (Self, GateKeeper) {
        let keeper = GateKeeper::default();
        let patience = Box::pin(sleep(patience));
        (Self { keeper: keeper.clone(), patience }, keeper)
    }

    /// Ready when the body is wanted.
    pub(super) fn poll_open(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Abandoned>> {
        let state = &self.keeper.0;
        state.waker.register(cx.waker());
        match state.phase.load(Ordering::Acquire) {
            OPEN => Poll::Ready(Ok(())),
            ABANDONED => Poll::Ready(Err(Abandoned)),
            ANSWERED => Poll::Pending,
            _ => {
                if self.patience.as_mut().poll(cx).is_pending() {
                    return Poll::Pending;
                }
                self.keeper.open();
                Poll::Ready(Ok(()))
            }
        }
    }
}

impl GateKeeper {
    /// The application wants the body.
    pub(super) fn open(&self) {
        self.step(WAITING, OPEN);
    }

    /// The application answered; if it did not ask for the body until now, it never will.
    pub(super) fn answered(&self) {
        self.step(WAITING, ANSWERED);
    }

    /// The answer is over.
    pub(super) fn abandon(&self) {
        self.step(ANSWERED, ABANDONED);
    }

    fn step(&self, from: u8, to: u8) {
        let stepped = self.0.phase.compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire);
        if stepped.is_ok() {
            self.0.waker.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::time::timeout;

    use super::*;

    const LONG: Duration = Duration::from_secs(600);
    const SHORT: Duration = Duration::from_millis(20);

    #[tokio::test]
    async fn the_body_waits_for_the_application() {
        let (mut gate, keeper) = Gate::for_at_most(LONG);
        let mut open = std::pin::pin!(poll_fn(|cx| gate.poll_open(cx)));
        assert!(timeout(SHORT, &mut open).await.is_err());
        keeper.open();
        assert_eq!(open.await, Ok(()));
    }

    #[tokio::test]
    async fn but_not_for_ever() {
        let (mut gate, _keeper) = Gate::for_at_most(SHORT);
        assert_eq!(poll_fn(|cx| gate.poll_open(cx)).await, Ok(()));
    }

    #[tokio::test]
    async fn an_answer_without_asking_ends_it() {
        let (mut gate, keeper) = Gate::for_at_most(SHORT);
        keeper.answered();
        let mut open = std::pin::pin!(poll_fn(|cx| gate.poll_open(cx)));
        assert!(timeout(SHORT * 3, &mut open).await.is_err());
        keeper.abandon();
        assert_eq!(open.await, Err(Abandoned));
    }
}
