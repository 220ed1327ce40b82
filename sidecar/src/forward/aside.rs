//! Something rare to wait for beside something busy.
//!
//! A future is polled with every wake of its task. A connection wakes for every packet, and what
//! waits beside it for the end of the process would take the lock that all connections share each
//! time. An [`Aside`] has a waker of its own and is polled only when that was called.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use futures_util::task::AtomicWaker;

/// A future that is polled when it asks for it.
pub(super) struct Aside<F> {
    future: F,
    bell: Arc<Bell>,
    waker: Waker,
}

struct Bell {
    rung: AtomicBool,
    task: AtomicWaker,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.rung.store(true, Ordering::Release);
        self.task.wake();
    }
}

impl<F> Aside<F> {
    pub(super) fn new(future: F) -> Self {
        let bell = Arc::new(Bell { rung: AtomicBool::new(true), task: AtomicWaker::new() });
        let waker = Waker::from(Arc::clone(&bell));
        Self { future, bell, waker }
    }
}

impl<F: Future + Unpin> Future for Aside<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let Self { future, bell, waker } = &mut *self;
        bell.task.register(cx.waker());
        if !bell.rung.swap(false, Ordering::AcqRel) {
            return Poll::Pending;
        }
        Pin::new(future).poll(&mut Context::from_waker(waker))
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::sync::atomic::AtomicU32;
    use std::time::Duration;

    use tokio::sync::Notify;
    use tokio::time::{sleep, timeout};

    use super::*;

    /// Waits for `rare` and counts how often it is asked.
    async fn counted(rare: Arc<Notify>, polls: Arc<AtomicU32>) {
        let mut notified = std::pin::pin!(rare.notified());
        let polled = poll_fn(|cx| {
            polls.fetch_add(1, Ordering::Relaxed);
            notified.as_mut().poll(cx)
        });
        polled.await;
    }

    #[tokio::test]
    async fn it_is_polled_only_when_it_asks() {
        let polls = Arc::new(AtomicU32::new(0));
        let rare = Arc::new(Notify::new());
        let mut waiting = Aside::new(Box::pin(counted(Arc::clone(&rare), Arc::clone(&polls))));
        for _ in 0..20 {
            tokio::select! {
                biased;
                () = &mut waiting => panic!("nobody rang"),
                () = sleep(Duration::from_millis(1)) => {}
            }
        }
        assert_eq!(polls.load(Ordering::Relaxed), 1);
        rare.notify_waiters();
        timeout(Duration::from_secs(5), waiting).await.unwrap();
        assert_eq!(polls.load(Ordering::Relaxed), 2);
    }
}
