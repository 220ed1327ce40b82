//! LH216: a wish to leave findings alone that cannot be granted.

use lasthop_contract::problem::Code;
use lasthop_contract::text::escape;

use super::Rule;
use crate::check::Subject;
use crate::finding::{Finding, Severity};
use crate::path::FieldPath;
use crate::symptom::At;

pub(crate) static RULE: Rule = Rule {
    code: Code(216),
    name: "bad-override",
    summary: "a label or annotation that asks to leave findings alone is not understood",
    why: "`lasthop.dev/ignore`, `lasthop.dev/missing-secret` and `lasthop.dev/validate` take findings back. A \
          value that is not understood takes nothing back, so the request is refused although somebody \
          meant it to pass, or findings come although they were thought to be off. An ignored code needs a \
          reason, because whoever reads the manifest in a year has to know whether it still holds.",
    symptoms: &[At::Apply.shows(
        "lasthop refuses what was to be let in, or lets in what was to be refused; \
             controllers do not read it",
    )],
    example: "\
metadata:
  annotations:
    lasthop.dev/ignore: LH208",
    cure: "\
metadata:
  annotations:
    lasthop.dev/ignore: \"LH208: the redirect host is served by the CDN\"",
    judge: None,
};

/// The finding at an annotation of the object, or of the template of its pods.
pub(crate) fn on_object(
    subject: &Subject,
    annotation: &str,
    path: &FieldPath,
    complaint: String,
) -> Finding {
    let object = subject.object.reference(&subject.namespace);
    // Of a code without a reason the complaint begins with the code.
    let code = complaint.split(' ').next().filter(|word| word.starts_with("LH"));
    let help = help(annotation, code.unwrap_or("LH208"));
    Finding::new(RULE.code, Severity::Warning, object, path.clone(), complaint).help(help).safety()
}

/// The finding at a label of the object's namespace.
pub(crate) fn on_namespace(subject: &Subject, label: &str, complaint: &str) -> Finding {
    let object = subject.object.reference(&subject.namespace);
    let message =
        format!("label `{label}` of namespace `{}`: {complaint}", escape(&subject.namespace));
    Finding::new(RULE.code, Severity::Warning, object, FieldPath::default(), message)
        .help(help(label, ""))
        .safety()
}

fn help(name: &str, code: &str) -> String {
    if name == lasthop_contract::annotation::IGNORE {
        format!(
            "write `{name}: \"{code}: why it is right here\"`, several with commas between them"
        )
    } else {
        format!("write `{name}: warn`, or `enforce` or `off`")
    }
}
