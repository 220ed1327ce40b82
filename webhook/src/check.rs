//! An object and its surroundings in, findings out.
//!
//! [`check`] gathers what the object refers to, runs the rules, and takes back what must not refuse:
//! what was broken before ([`ratchet`]), and what namespace and object ask to leave alone
//! ([`overrides`]).

use std::collections::BTreeMap;

use crate::finding::{self, Finding, Severity};
use crate::object::Object;
use crate::surroundings::Surroundings;

mod behind;
pub(crate) mod gather;
mod mode;
pub(crate) mod overrides;
mod ratchet;
mod requester;
mod scene;

pub use behind::Behind;
pub use mode::{Limits, Mode, Setting, Validate};
pub use requester::Requester;
pub use scene::{
    Dialer, Maker, Nearest, Own, Pair, Portless, Rehearsed, Rival, Scene, SeenSecret, Sight, User,
};

/// What happens to the object.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Operation {
    /// It is new.
    Create,
    /// It replaces [`Subject::old`].
    Update,
    /// It goes; [`Subject::object`] is what goes.
    Delete,
}

/// Whether the request is meant.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum DryRun {
    /// The object will be stored.
    No,
    /// Nothing will be stored; what the object refers to may come with the same apply.
    Yes,
}

/// What is asked about an object.
#[derive(Clone, Debug)]
pub struct Subject {
    /// The object as it is going to be; for a deletion, as it was.
    pub object: Object,
    /// As it was before, where this is an update.
    pub old: Option<Object>,
    /// The namespace it lives in, also where the object itself does not say.
    pub namespace: String,
    /// What happens to it.
    pub operation: Operation,
    /// Whether it is meant.
    pub dry_run: DryRun,
    /// Who asks.
    pub requester: Requester,
}

impl Subject {
    /// The question of somebody who creates `object` in `namespace`.
    pub fn created(object: Object, namespace: impl Into<String>) -> Self {
        Self {
            object,
            old: None,
            namespace: namespace.into(),
            operation: Operation::Create,
            dry_run: DryRun::No,
            requester: Requester::default(),
        }
    }
}

/// What came of a check.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Judgement {
    /// The findings, the most severe first. An error refuses the request.
    pub findings: Vec<Finding>,
    /// What was taken back and why, as audit annotations of the review: key (the API server puts
    /// the webhook's name before it) and text.
    pub audit: BTreeMap<String, String>,
}

impl Judgement {
    /// The findings of one severity.
    pub fn of(&self, severity: Severity) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(move |finding| finding.severity == severity)
    }

    /// Notes for the audit log what was taken back.
    fn note(&mut self, key: &str, text: &str) {
        let notes = self.audit.entry(key.to_owned()).or_default();
        if !notes.is_empty() {
            notes.push_str("; ");
        }
        notes.push_str(text);
    }

    /// Whether the request is to be refused.
    pub fn refuses(&self) -> bool {
        self.of(Severity::Error).next().is_some()
    }
}

/// Judges `subject` in its `surroundings` at the Unix time `now`.
pub async fn check(
    subject: &Subject,
    surroundings: &Surroundings,
    mode: &Mode,
    now: i64,
) -> Judgement {
    let mut gathered = gather::gather(subject, surroundings, mode, now).await;
    let findings = crate::rules::run(&gathered.scene);
    let mut judgement = Judgement { findings, audit: BTreeMap::new() };
    ratchet::let_go(subject, &mut judgement);
    if judgement.refuses()
        && let Some(before) = gathered.before().await
    {
        ratchet::apply(&before, &subject.object, &mut judgement);
    }
    if judgement.findings.is_empty() {
        // Nothing is there to be taken back.
        overrides::apply(subject, &gathered.scene.home, mode, &mut judgement);
    } else {
        overrides::apply(subject, gathered.home().await, mode, &mut judgement);
    }
    finding::sort(&mut judgement.findings);
    judgement
}

#[cfg(test)]
mod tests;
