//! One line a refused connection, but not more of them than anybody reads.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Lines of one kind that are written in a row before they are counted instead.
const BURST: u32 = 20;

/// After the burst, one line in this time.
const REFILL: Duration = Duration::from_millis(200);

/// At most this many kinds are told apart; the kinds are codes of ours, so this is not reached.
const KINDS: usize = 256;

/// Decides which lines are written. Every refusal is in the metrics, written or not.
#[derive(Debug, Default)]
pub(crate) struct RefusalGate {
    kinds: Mutex<BTreeMap<String, Bucket>>,
}

#[derive(Debug)]
struct Bucket {
    tokens: u32,
    refilled: Instant,
    suppressed: u64,
}

/// What to do with a line.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Verdict {
    /// Write it, and say that so many before it were not.
    Write { suppressed: u64 },
    /// Count it.
    Suppress,
}

impl RefusalGate {
    /// Whether a line of `kind` is written at the time `now`.
    pub(crate) fn ask(&self, kind: &str, now: Instant) -> Verdict {
        let mut kinds = self.kinds.lock().unwrap_or_else(PoisonError::into_inner);
        if !kinds.contains_key(kind) {
            if kinds.len() >= KINDS {
                return Verdict::Suppress;
            }
            let bucket = Bucket { tokens: BURST, refilled: now, suppressed: 0 };
            kinds.insert(kind.to_owned(), bucket);
        }
        let Some(bucket) = kinds.get_mut(kind) else { return Verdict::Suppress };
        bucket.refill(now);
        if bucket.tokens == 0 {
            bucket.suppressed = bucket.suppressed.saturating_add(1);
            return Verdict::Suppress;
        }
        bucket.tokens -= 1;
        Verdict::Write { suppressed: std::mem::take(&mut bucket.suppressed) }
    }

    /// What was suppressed since anybody said so, by kind.
    pub(crate) fn take_suppressed(&self) -> Vec<(String, u64)> {
        let mut kinds = self.kinds.lock().unwrap_or_else(PoisonError::into_inner);
        kinds
            .iter_mut()
            .filter(|(_, bucket)| bucket.suppressed > 0)
            .map(|(kind, bucket)| (kind.clone(), std::mem::take(&mut bucket.suppressed)))
            .collect()
    }
}

impl Bucket {
    fn refill(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.refilled);
        let earned = passed.as_millis() / REFILL.as_millis();
        let earned = u32::try_from(earned).unwrap_or(BURST).min(BURST);
        if earned > 0 {
            self.tokens = self.tokens.saturating_add(earned).min(BURST);
            self.refilled = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_counted_and_the_count_is_told() {
        let gate = RefusalGate::default();
        let start = Instant::now();
        let written = (0..1000).filter(|_| gate.ask("LH501", start) != Verdict::Suppress).count();
        assert_eq!(written, BURST as usize);
        let later = start + REFILL;
        assert_eq!(gate.ask("LH501", later), Verdict::Write { suppressed: 980 });
        assert_eq!(gate.ask("LH501", later), Verdict::Suppress);
        assert_eq!(gate.take_suppressed(), vec![("LH501".to_owned(), 1)]);
        assert_eq!(gate.take_suppressed(), Vec::new());
    }

    #[test]
    fn one_kind_does_not_silence_another() {
        let gate = RefusalGate::default();
        let now = Instant::now();
        while gate.ask("LH501", now) != Verdict::Suppress {}
        assert_eq!(gate.ask("LH511", now), Verdict::Write { suppressed: 0 });
    }
}
