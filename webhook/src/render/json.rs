//! Findings for programs. The shape is a promise; `version` would count a change of it.

use serde_json::{Value, json};

use super::Report;
use crate::finding::Severity;

/// The report as one JSON document.
pub fn report(report: &Report<'_>) -> Value {
    let findings: Vec<Value> = report
        .places()
        .map(|(finding, place)| {
            let object = &finding.object;
            json!({
                "code": finding.code.to_string(),
                "severity": finding.severity.word(),
                "object": {
                    "apiVersion": object.api_version,
                    "kind": object.kind,
                    "namespace": object.namespace,
                    "name": object.name,
                },
                "path": finding.path.to_string(),
                "message": finding.message,
                "help": finding.help,
                "docs": finding.docs(),
                "file": place.file,
                "line": place.line,
                "column": place.column,
            })
        })
        .collect();
    json!({
        "version": 1,
        "findings": findings,
        "summary": {
            "errors": report.count(Severity::Error),
            "warnings": report.count(Severity::Warning),
            "infos": report.count(Severity::Info),
        },
    })
}
