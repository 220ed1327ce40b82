//! One Secret of a listener: what was last seen of it, what is wrong with that, and the last good
//! state.

use std::collections::hash_map::RandomState;

use lasthop_contract::credential::{
    Credential, SecretData, Trust, read, read_authorities, read_revocation_lists,
};
use lasthop_contract::problem::{Fault, Problem};

use crate::secret_dir::{SecretDir, Stamp};
use crate::trouble::Trouble;

/// One Secret: what was last seen of it, and the last good state.
#[derive(Debug)]
pub(super) struct Slot<T> {
    pub(super) dir: SecretDir,
    judge: fn(&SecretData, Option<&T>, i64) -> Verdict<T>,
    seen: Option<(Stamp, u64)>,
    pub(super) good: Option<T>,
    /// Whether what is on disk was not good enough.
    pub(super) failing: bool,
    /// When what is on disk is to be judged again although it did not change.
    again_at: Option<i64>,
    /// What is wrong with what is on disk.
    pub(super) troubles: Vec<Trouble>,
}

/// What a Secret's contents are worth.
pub(super) struct Verdict<T> {
    value: Option<T>,
    problems: Vec<Problem>,
}

pub(super) enum Look<T> {
    /// As before.
    Same,
    /// New and not good.
    Rejected,
    /// New and good in itself.
    Candidate(T),
}

impl<T> Look<T> {
    pub(super) fn candidate(self) -> Option<T> {
        match self {
            Self::Candidate(value) => Some(value),
            Self::Same | Self::Rejected => None,
        }
    }
}

/// Seconds between two looks at a failing Secret that does not change: what is wrong with it may
/// be a matter of time.
const AGAIN: i64 = 10;

impl<T> Slot<T> {
    pub(super) fn new(
        dir: SecretDir,
        judge: fn(&SecretData, Option<&T>, i64) -> Verdict<T>,
    ) -> Self {
        let (seen, good, again_at) = (None, None, None);
        Self { dir, judge, seen, good, failing: false, again_at, troubles: Vec::new() }
    }

    /// Reads it for the first time; whether that went well.
    pub(super) fn fill(&mut self, hasher: &RandomState, now: i64) -> bool {
        match self.look(hasher, now) {
            Look::Candidate(value) => {
                self.take(value);
                true
            }
            Look::Same | Look::Rejected => false,
        }
    }

    pub(super) fn look(&mut self, hasher: &RandomState, now: i64) -> Look<T> {
        let due = self.again_at.is_some_and(|at| at <= now);
        let stamp = match self.dir.stamp() {
            Ok(stamp) => stamp,
            Err(error) => return self.unreadable(&error),
        };
        if !due && self.seen.as_ref().is_some_and(|(seen, _)| *seen == stamp) {
            return Look::Same;
        }
        let snapshot = match self.dir.read(hasher) {
            Ok(snapshot) => snapshot,
            Err(error) => return self.unreadable(&error),
        };
        let same = self.seen.as_ref().is_some_and(|(_, digest)| *digest == snapshot.digest);
        self.seen = Some((snapshot.stamp, snapshot.digest));
        if same && !due {
            return Look::Same;
        }
        let verdict = (self.judge)(&snapshot.data, self.good.as_ref(), now);
        let troubles =
            verdict.problems.into_iter().map(|it| Trouble::problem(&self.dir, it)).collect();
        match verdict.value {
            Some(value) => {
                self.troubles = troubles;
                Look::Candidate(value)
            }
            None if same && self.failing => {
                self.again_at = Some(now.saturating_add(AGAIN));
                Look::Same
            }
            None => {
                self.reject(troubles);
                self.again_at = Some(now.saturating_add(AGAIN));
                Look::Rejected
            }
        }
    }

    fn unreadable(&mut self, error: &std::io::Error) -> Look<T> {
        let troubles = vec![Trouble::unreadable(&self.dir, error)];
        self.seen = None;
        if self.failing && self.troubles == troubles {
            return Look::Same;
        }
        self.reject(troubles);
        Look::Rejected
    }

    pub(super) fn take(&mut self, value: T) {
        self.good = Some(value);
        self.failing = false;
        self.again_at = None;
    }

    pub(super) fn reject(&mut self, troubles: Vec<Trouble>) {
        self.failing = true;
        self.troubles = troubles;
    }

    pub(super) fn tell(&self, troubles: &mut Vec<Trouble>) {
        for trouble in &self.troubles {
            if !trouble.is_of_the_moment() && !troubles.contains(trouble) {
                troubles.push(trouble.clone());
            }
        }
    }
}

/// A credential is served as soon as a client could accept it; but one that is out of its time does
/// not replace one that is in it.
pub(super) fn judge_credential(
    data: &SecretData,
    good: Option<&Credential>,
    now: i64,
) -> Verdict<Credential> {
    let reading = read(data);
    let mut problems = reading.problems;
    let Some(credential) = reading.credential else { return Verdict { value: None, problems } };
    problems.extend(credential.leaf().wrong_for_server(credential.form.chain_key()));
    problems.extend(credential.problems_at(now));
    let replaces_better =
        is_out_of_time(&credential, now) && good.is_some_and(|good| !is_out_of_time(good, now));
    Verdict { value: (!replaces_better).then_some(credential), problems }
}

/// What a client presents: as [`judge_credential`], but that it need not be fit for a server. The next
/// tier may take whatever its own policy says.
pub(super) fn judge_presented(
    data: &SecretData,
    good: Option<&Credential>,
    now: i64,
) -> Verdict<Credential> {
    let Verdict { value, mut problems } = judge_credential(data, good, now);
    problems.retain(|problem| {
        !matches!(problem.fault, Fault::WrongPurpose { .. } | Fault::CommonNameOnly { .. })
    });
    Verdict { value, problems }
}

fn is_out_of_time(credential: &Credential, now: i64) -> bool {
    credential
        .problems_at(now)
        .iter()
        .any(|problem| matches!(problem.fault, Fault::Expired { .. } | Fault::NotYetValid { .. }))
}

pub(super) fn judge_authorities(
    data: &SecretData,
    _good: Option<&Trust>,
    now: i64,
) -> Verdict<Trust> {
    judge_trust(read_authorities(data), now)
}

pub(super) fn judge_lists(data: &SecretData, _good: Option<&Trust>, now: i64) -> Verdict<Trust> {
    judge_trust(read_revocation_lists(data), now)
}

fn judge_trust(mut trust: Trust, now: i64) -> Verdict<Trust> {
    let is_usable = trust.is_usable();
    let mut problems = std::mem::take(&mut trust.problems);
    problems.extend(trust.problems_at(now));
    Verdict { value: is_usable.then_some(trust), problems }
}
