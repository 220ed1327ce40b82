//! What one review asked of the API server, and how long it waited for the answers.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// The looks of one review at the cluster.
#[derive(Debug, Default)]
pub struct Looks {
    count: AtomicUsize,
    clock: Mutex<Clock>,
}

/// Runs while at least one request is under way.
#[derive(Debug, Default)]
struct Clock {
    under_way: usize,
    since: Option<Instant>,
    passed: Duration,
}

impl Looks {
    /// How many there were.
    pub fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// How long one or more of them were under way: what of a review's time is the API server's, and
    /// the way to it.
    pub fn waited(&self) -> Duration {
        self.clock().passed
    }

    /// Something came of one more.
    pub(super) fn add_one(&self) {
        self.count.fetch_add(1, Ordering::Relaxed);
    }

    /// A request that is under way until this is dropped.
    pub(super) fn request(&self) -> UnderWay<'_> {
        self.clock().begin(Instant::now());
        UnderWay(self)
    }

    fn clock(&self) -> MutexGuard<'_, Clock> {
        self.clock.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request that is under way.
pub(super) struct UnderWay<'a>(&'a Looks);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.clock().end(Instant::now());
    }
}

impl Clock {
    fn begin(&mut self, now: Instant) {
        self.under_way += 1;
        self.since.get_or_insert(now);
    }

    fn end(&mut self, now: Instant) {
        self.under_way -= 1;
        if self.under_way == 0
            && let Some(since) = self.since.take()
        {
            self.passed += now - since;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_passes_once_however_many_requests_are_under_way() {
        let mut clock = Clock::default();
        let start = Instant::now();
        let at = |second| start + Duration::from_secs(second);
        clock.begin(at(0));
        clock.begin(at(1));
        clock.end(at(2));
        clock.end(at(3));
        clock.begin(at(10));
        clock.end(at(14));
        assert_eq!(clock.passed, Duration::from_secs(7));
    }
}
