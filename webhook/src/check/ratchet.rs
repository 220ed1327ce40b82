//! What was broken before may be repaired step by step, and what goes away goes.

use std::collections::BTreeSet;

use super::{Judgement, Operation, Scene, Subject};
use crate::finding::{Finding, Scope, Severity};

/// cert-manager puts this label on the Ingresses that answer an ACME challenge.
const SOLVER: &str = "acme.cert-manager.io/http01-solver";

/// Turns errors that must not refuse into warnings: all of an object on its way out, of an ACME
/// solver and of what a controller makes after a template, and those that the object had before this update (same code, same place).
///
/// An update that leaves what rules read as it was has no other errors than before, so it passes.
pub(super) fn apply(subject: &Subject, before: Option<&Scene>, judgement: &mut Judgement) {
    let object = &subject.object;
    if object.is_being_deleted() && subject.operation != Operation::Delete {
        soften(judgement, "the object is being deleted", |_| true);
    }
    if object.is("networking.k8s.io", "Ingress") && object.labels().contains_key(SOLVER) {
        soften(judgement, "it answers an ACME challenge", |_| true);
    }
    if crate::inject::pod_of(object).is_some() && object.is_controlled() {
        // The template was judged where a person was looking; a rollout or a drain must go on.
        soften(judgement, "a controller makes it", |it| it.scope == Scope::Configuration);
    }
    let Some(before) = before else { return };
    let known: BTreeSet<_> = crate::rules::run(before)
        .into_iter()
        .filter(|finding| finding.severity == Severity::Error)
        .map(|finding| (finding.code, finding.path, finding.other))
        .collect();
    soften(judgement, "it was so before this update", |finding| {
        known.contains(&(finding.code, finding.path.clone(), finding.other.clone()))
    });
}

/// Turns the errors that `is_meant` into warnings.
pub(super) fn soften(judgement: &mut Judgement, reason: &str, is_meant: impl Fn(&Finding) -> bool) {
    let mut codes = BTreeSet::new();
    for finding in &mut judgement.findings {
        if finding.severity == Severity::Error && is_meant(finding) {
            finding.severity = Severity::Warning;
            codes.insert(finding.code.to_string());
        }
    }
    if !codes.is_empty() {
        let codes: Vec<_> = codes.into_iter().collect();
        judgement.note("not-refused", &format!("{}: {reason}", codes.join(", ")));
    }
}
