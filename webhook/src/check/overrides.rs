//! What namespace and object ask to leave alone. Every request that is granted is noted for the
//! audit log, and none of them reaches what is about lasthop's own safety.

use std::collections::BTreeMap;

use lasthop_contract::annotation::{IGNORE, MISSING_SECRET, VALIDATE};
use lasthop_contract::text::escape;

use super::ratchet::soften;
use super::{DryRun, Judgement, Mode, Operation, Subject, Validate};
use crate::finding::{Finding, Scope, Severity};
use crate::object::Object;
use crate::path::FieldPath;
use crate::rules::{bad_override, secret_in_use, secret_missing};
use crate::surroundings::Sighting;

/// Takes back what labels, annotations and a dry-run take back.
pub(super) fn apply(
    subject: &Subject,
    namespace: &Sighting<Object>,
    mode: &Mode,
    judgement: &mut Judgement,
) {
    ignore(subject, judgement);
    missing_secret(subject, namespace, judgement);
    validate(subject, namespace, mode, judgement);
}

/// An annotation of the object, or of the template of its pods, and where it stands.
struct Wish {
    text: String,
    path: FieldPath,
}

impl Wish {
    fn of(object: &Object, name: &str) -> Option<Self> {
        let path = FieldPath::annotation(name);
        if let Some(text) = object.annotation(name) {
            return Some(Self { text: text.to_owned(), path });
        }
        let (template, pod) = crate::inject::template_of(object)?;
        let text = pod.annotation(name)?.to_owned();
        Some(Self { text, path: template.join(&path) })
    }
}

/// `lasthop.dev/ignore: "LH206: reason, LH208: reason"`.
fn ignore(subject: &Subject, judgement: &mut Judgement) {
    let Some(Wish { text, path }) = Wish::of(&subject.object, IGNORE) else { return };
    let (ignored, complaints) = read_ignore(&text);
    for complaint in complaints {
        judgement.findings.push(bad_override::on_object(subject, IGNORE, &path, complaint));
    }
    for (code, reason) in ignored {
        let count = judgement.findings.len();
        judgement.findings.retain(|finding| !is_taken_back(finding, &code));
        if judgement.findings.len() < count {
            judgement.note("ignored", &format!("{code}: {}", escape(reason)));
        }
    }
}

fn is_taken_back(finding: &Finding, ignored: &str) -> bool {
    finding.scope == Scope::Configuration && finding.code.to_string() == ignored
}

/// Takes back what the annotation of `object` ignores. What is wrong with the annotation is told by
/// [`apply`].
pub(crate) fn take_back(object: &Object, findings: &mut Vec<Finding>) {
    let Some(Wish { text, .. }) = Wish::of(object, IGNORE) else { return };
    for code in read_ignore(&text).0.keys() {
        findings.retain(|finding| !is_taken_back(finding, code));
    }
}

/// The codes with their reasons, and what is wrong with the rest. A comma ends a reason only where
/// another code follows.
fn read_ignore(wish: &str) -> (BTreeMap<String, &str>, Vec<String>) {
    let mut ignored = BTreeMap::new();
    let mut complaints = Vec::new();
    let starts: Vec<usize> = std::iter::once(0)
        .chain(wish.match_indices([',', '\n']).filter_map(|(at, _)| {
            let rest = wish.get(at + 1..)?;
            is_code(rest.trim_start().get(..5)?).then_some(at + 1)
        }))
        .collect();
    let ends = starts.iter().skip(1).map(|next| next - 1).chain([wish.len()]);
    for (start, end) in starts.iter().zip(ends) {
        let entry = wish.get(*start..end).unwrap_or_default().trim();
        let (code, reason) = entry.split_once(':').unwrap_or((entry, ""));
        let (code, reason) = (code.trim(), reason.trim());
        let known = is_code(code) && crate::rules::all().any(|rule| rule.code.to_string() == code);
        if !known {
            complaints.push(format!("`{}` is no finding code", escape(code)));
        } else if reason.is_empty() {
            complaints.push(format!("{code} is not ignored without a reason"));
        } else {
            ignored.insert(code.to_owned(), reason);
        }
    }
    (ignored, complaints)
}

fn is_code(word: &str) -> bool {
    word.len() == 5
        && word.strip_prefix("LH").is_some_and(|digits| digits.bytes().all(|b| b.is_ascii_digit()))
}

/// `lasthop.dev/missing-secret`, on the object or else on its namespace; and a dry-run.
fn missing_secret(subject: &Subject, namespace: &Sighting<Object>, judgement: &mut Judgement) {
    let is_missing = |finding: &Finding| {
        finding.code == secret_missing::RULE.code && finding.scope == Scope::Configuration
    };
    if subject.dry_run == DryRun::Yes {
        soften(judgement, "a dry-run, the Secret may come with the same apply", is_missing);
    }
    let labels = namespace.found().map(Object::labels).unwrap_or_default();
    if subject.operation == Operation::Delete {
        let asked = labels.get(MISSING_SECRET) == Some(&"enforce");
        if asked && !is_going(namespace) && !subject.requester.clears_away() {
            refuse_deletion(judgement);
        }
        return;
    }
    let own = Wish::of(&subject.object, MISSING_SECRET);
    let wish = own.as_ref().map(|wish| wish.text.as_str());
    let Some(wish) = wish.or_else(|| labels.get(MISSING_SECRET).copied()) else { return };
    match Validate::parse(wish) {
        Some(Validate::Enforce) => {}
        Some(Validate::Warn) => soften(judgement, "missing-secret is warn", is_missing),
        Some(Validate::Off) => {
            let count = judgement.findings.len();
            judgement.findings.retain(|finding| !is_missing(finding));
            if judgement.findings.len() < count {
                judgement.note("ignored", "LH201: missing-secret is off");
            }
        }
        None => judgement.findings.push(match &own {
            Some(Wish { path, .. }) => {
                bad_override::on_object(subject, MISSING_SECRET, path, complaint(wish))
            }
            None => bad_override::on_namespace(subject, MISSING_SECRET, &complaint(wish)),
        }),
    }
}

/// Whether the namespace is being deleted, and everything in it with it.
fn is_going(namespace: &Sighting<Object>) -> bool {
    namespace
        .found()
        .is_some_and(|it| it.is_being_deleted() || it.text("/status/phase") == "Terminating")
}

fn refuse_deletion(judgement: &mut Judgement) {
    for finding in &mut judgement.findings {
        if finding.code == secret_in_use::RULE.code {
            finding.severity = Severity::Error;
        }
    }
}

fn complaint(wish: &str) -> String {
    format!("`{}` is none of `enforce`, `warn` and `off`", escape(wish))
}

/// The label `lasthop.dev/validate`, `--default-validate` and `--minimum-validate`.
fn validate(
    subject: &Subject,
    namespace: &Sighting<Object>,
    mode: &Mode,
    judgement: &mut Judgement,
) {
    let labels = namespace.found().map(Object::labels).unwrap_or_default();
    if let Some(wish) = labels.get(VALIDATE).filter(|wish| Validate::parse(wish).is_none()) {
        judgement.findings.push(bad_override::on_namespace(subject, VALIDATE, &complaint(wish)));
    }
    let is_ours = |finding: &Finding| finding.scope == Scope::Configuration;
    match level(&labels, mode) {
        Validate::Enforce => {}
        Validate::Warn => soften(judgement, "validate is warn", is_ours),
        Validate::Off => {
            let errors = judgement.of(Severity::Error).filter(|finding| is_ours(finding)).count();
            judgement.findings.retain(|finding| !is_ours(finding));
            if errors > 0 {
                judgement.note("ignored", &format!("{errors} errors: validate is off"));
            }
        }
    }
}

/// What findings do in a namespace with these labels.
pub(crate) fn level(labels: &BTreeMap<&str, &str>, mode: &Mode) -> Validate {
    let wish = labels.get(VALIDATE).and_then(|wish| Validate::parse(wish));
    wish.unwrap_or(mode.default_validate).max(mode.minimum_validate)
}

/// Makes of findings what `level` leaves of them.
pub(crate) fn lower(level: Validate, findings: &mut Vec<Finding>) {
    let is_ours = |finding: &Finding| finding.scope == Scope::Configuration;
    match level {
        Validate::Enforce => {}
        Validate::Warn => {
            for finding in findings.iter_mut().filter(|it| is_ours(it)) {
                finding.severity = finding.severity.max(Severity::Warning);
            }
        }
        Validate::Off => findings.retain(|finding| !is_ours(finding)),
    }
}

#[cfg(test)]
mod tests {
    use super::read_ignore;

    #[test]
    fn an_ignored_code_needs_a_reason() {
        let (ignored, complaints) =
            read_ignore("LH201: the host is AWS's, see wiki, LH210: test,LH213, LH999: x");
        assert_eq!(ignored.get("LH201"), Some(&"the host is AWS's, see wiki"));
        assert_eq!(ignored.get("LH210"), Some(&"test"));
        assert_eq!(ignored.len(), 2);
        assert_eq!(
            complaints,
            ["LH213 is not ignored without a reason", "`LH999` is no finding code"]
        );
    }

    #[test]
    fn hostile_annotations_are_complained_about() {
        for wish in ["", ",", ":::", "LH201", "ä,ö,LHü99: x", "LH2\u{1b}[0m: y", ",LH201:"] {
            let (ignored, complaints) = read_ignore(wish);
            assert!(ignored.is_empty() && !complaints.is_empty(), "{wish:?}");
        }
    }
}
