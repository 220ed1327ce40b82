//! What was broken before may be repaired step by step, and what goes away goes.

use std::collections::{BTreeSet, HashMap};

use serde_json::Value;

use super::{Judgement, Operation, Scene, Subject};
use crate::finding::{Finding, Scope, Severity};
use crate::object::Object;

/// cert-manager puts this label on the Ingresses that answer an ACME challenge.
const SOLVER: &str = "acme.cert-manager.io/http01-solver";

/// Turns errors that must not refuse into warnings: all of an object on its way out, of an ACME
/// solver and of what a controller makes after a template.
pub(super) fn let_go(subject: &Subject, judgement: &mut Judgement) {
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
}

/// Turns errors into warnings that `object` had before this update, be it that they moved.
///
/// An update that leaves what rules read as it was has no other errors than before, so it passes.
pub(super) fn apply(before: &Scene, object: &Object, judgement: &mut Judgement) {
    let old = crate::rules::run(before);
    let old = errors(&old, &before.object);
    let mut were_there = were_there(&old, &errors(&judgement.findings, object)).into_iter();
    soften(judgement, "it was so before this update", |_| were_there.next() == Some(true));
}

/// Turns the errors that `is_meant` into warnings; it is asked once for every error, in order.
pub(super) fn soften(
    judgement: &mut Judgement,
    reason: &str,
    mut is_meant: impl FnMut(&Finding) -> bool,
) {
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

/// An error and what stands at its place.
struct Seen<'a> {
    finding: &'a Finding,
    value: Option<&'a Value>,
}

fn errors<'a>(findings: &'a [Finding], object: &'a Object) -> Vec<Seen<'a>> {
    let errors = findings.iter().filter(|it| it.severity == Severity::Error);
    errors.map(|finding| Seen { finding, value: finding.path.find(&object.0) }).collect()
}

/// What makes an error of before and one of now the same.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Likeness {
    /// Nothing about it changed.
    Unchanged,
    /// It stands elsewhere in its list, because what is around it came, went or moved.
    Moved,
    /// What stands at its place was changed, and is no better.
    Edited,
}

/// For each of the errors `new`, whether it was there before. Each of the `old` ones accounts for
/// one at most, so that there are never more than there were.
fn were_there(old: &[Seen<'_>], new: &[Seen<'_>]) -> Vec<bool> {
    let mut left = vec![true; old.len()];
    let mut found = vec![false; new.len()];
    for likeness in [Likeness::Unchanged, Likeness::Moved, Likeness::Edited] {
        let mut candidates: HashMap<_, Vec<&mut bool>> = HashMap::new();
        for (seen, left) in old.iter().zip(&mut left).filter(|(_, left)| **left) {
            candidates.entry(seen.key(likeness)).or_default().push(left);
        }
        for (seen, found) in new.iter().zip(&mut found).filter(|(_, found)| !**found) {
            if let Some(left) = candidates.get_mut(&seen.key(likeness)).and_then(Vec::pop) {
                *left = false;
                *found = true;
            }
        }
    }
    found
}

impl Seen<'_> {
    fn key(&self, likeness: Likeness) -> (String, String, Option<String>, Option<&Value>) {
        let Finding { code, path, other, .. } = self.finding;
        let path = match likeness {
            Likeness::Moved => path.without_indexes().pointer(),
            Likeness::Unchanged | Likeness::Edited => path.pointer(),
        };
        let value = if likeness == Likeness::Edited { None } else { self.value };
        (code.to_string(), path, other.as_ref().map(ToString::to_string), value)
    }
}
