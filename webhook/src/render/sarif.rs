//! Findings for code scanning: SARIF 2.1.0.
//!
//! <https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html>

use std::collections::BTreeSet;
use std::fmt::Write as _;

use serde_json::{Value, json};

use super::Report;
use crate::documents::{Failure, Place};
use crate::finding::{Finding, Severity};
use crate::rules::{self, Rule};
use crate::symptom::Symptom;

/// The report as one SARIF log.
pub fn report(report: &Report<'_>) -> Value {
    let used: BTreeSet<_> = report.findings.iter().map(|(finding, _)| finding.code).collect();
    let rules: Vec<&Rule> = rules::all().filter(|rule| used.contains(&rule.code)).collect();
    let results: Vec<Value> =
        report.places().map(|(finding, place)| result(finding, &place, &rules)).collect();
    let driver = json!({
        "name": "lasthop",
        "semanticVersion": env!("CARGO_PKG_VERSION"),
        "rules": rules.iter().map(|it| rule(it)).collect::<Vec<_>>(),
    });
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": driver },
            "columnKind": "unicodeCodePoints",
            "invocations": [{
                "executionSuccessful": report.failures.is_empty(),
                "toolExecutionNotifications": report.failures.iter().map(failure).collect::<Vec<_>>(),
            }],
            "results": results,
        }],
    })
}

fn rule(rule: &Rule) -> Value {
    let seen = rule.symptoms.iter().map(|Symptom { at, seen }| format!("{at}: {seen}"));
    let seen = seen.collect::<Vec<_>>().join("; ");
    json!({
        "id": rule.code.to_string(),
        "name": rule.name,
        "shortDescription": { "text": rule.summary },
        "fullDescription": { "text": format!("{} You see: {seen}.", rule.why) },
        "help": { "text": rule.cure },
    })
}

fn result(finding: &Finding, place: &Place<'_>, rules: &[&Rule]) -> Value {
    let level = match finding.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
        Severity::Info => "note",
    };
    let text = match finding.help.as_str() {
        "" => finding.message.clone(),
        help => format!("{}\n{help}", finding.message),
    };
    let object = format!("{} {}", finding.object, finding.path);
    json!({
        "ruleId": finding.code.to_string(),
        "ruleIndex": rules.iter().position(|rule| rule.code == finding.code),
        "level": level,
        "message": { "text": text },
        "locations": [{
            "physicalLocation": physical(place.file, Some((place.line, place.column))),
            "logicalLocations": [{ "fullyQualifiedName": object.trim_end(), "kind": "member" }],
        }],
    })
}

fn failure(failure: &Failure) -> Value {
    json!({
        "level": "error",
        "message": { "text": failure.message },
        "locations": [{ "physicalLocation": physical(&failure.file, failure.place) }],
    })
}

fn physical(file: &str, place: Option<(usize, usize)>) -> Value {
    let mut location = json!({ "artifactLocation": { "uri": uri(file) } });
    if let (Some((line, column)), Some(fields)) = (place, location.as_object_mut()) {
        fields.insert("region".to_owned(), json!({ "startLine": line, "startColumn": column }));
    }
    location
}

/// A path as a relative reference, or as a `file` URI (RFC 3986).
fn uri(path: &str) -> String {
    let path = path.strip_prefix("./").unwrap_or(path);
    let mut uri = if path.starts_with('/') { "file://".to_owned() } else { String::new() };
    for byte in path.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'-' | b'_' | b'.' | b'~' => {
                uri.push(char::from(byte));
            }
            other => {
                let _infallible = write!(uri, "%{other:02X}");
            }
        }
    }
    uri
}

#[cfg(test)]
mod tests {
    use super::uri;

    #[test]
    fn paths_become_references() {
        assert_eq!(uri("./a b/c.yaml"), "a%20b/c.yaml");
        assert_eq!(uri("/x/ä.yaml"), "file:///x/%C3%A4.yaml");
        assert_eq!(uri("<stdin>"), "%3Cstdin%3E");
    }
}
