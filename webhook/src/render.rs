//! Findings to what is read: by a person at a terminal, by kubectl's user, by a program.

use std::mem;

use crate::documents::{self, Document, Failure, Place};
use crate::finding::{Finding, Severity};
use crate::path::FieldPath;

pub mod admission;
pub mod github;
pub mod hops;
pub mod json;
pub mod manifests;
pub mod markdown;
pub mod rehearsal;
pub mod sarif;
pub mod text;
mod wrap;

/// What came of checking files.
#[derive(Debug, Default)]
pub struct Report<'a> {
    /// The findings, each with the document that it is about, in the order of the files and lines.
    pub findings: Vec<(Finding, &'a Document)>,
    /// What could not be read.
    pub failures: &'a [Failure],
    /// How many objects were checked.
    pub objects: usize,
    /// How many objects are of kinds that no rule reads.
    pub without_rules: usize,
    /// How many files they stood in.
    pub files: usize,
    /// How many namespaces of a cluster they stood in, where it was none of files.
    pub namespaces: Option<usize>,
    /// How many documents were left out because they are no Kubernetes objects.
    pub skipped: usize,
    /// How many were left out because they are parts of objects, for kustomize.
    pub patches: usize,
}

impl<'a> Report<'a> {
    /// Puts the findings in the order in which they stand in the files.
    pub fn sort(&mut self) {
        let places = documents::places(&self.fields());
        let mut findings: Vec<_> = mem::take(&mut self.findings).into_iter().zip(places).collect();
        findings.sort_by_cached_key(|((finding, document), Place { line, column, .. })| {
            let file = document.file().to_owned();
            (file, *line, *column, finding.severity, finding.code, finding.message.clone())
        });
        self.findings = findings.into_iter().map(|(finding, _)| finding).collect();
    }

    /// Whether something could not be read, or nothing was there to be read: then no findings mean
    /// nothing.
    pub fn is_unusable(&self) -> bool {
        // An empty namespace of a cluster is no mistake.
        let is_empty = self.namespaces.is_none_or(|count| count == 0)
            && self.objects + self.without_rules + self.patches == 0;
        !self.failures.is_empty() || is_empty
    }

    /// The number of findings of one severity.
    pub fn count(&self, severity: Severity) -> usize {
        self.findings.iter().filter(|(finding, _)| finding.severity == severity).count()
    }

    /// The findings with their places.
    pub fn places(&self) -> impl Iterator<Item = (&Finding, Place<'a>)> {
        let findings = self.findings.iter().map(|(finding, _)| finding);
        findings.zip(documents::places(&self.fields()))
    }

    fn fields(&self) -> Vec<(&'a Document, &FieldPath)> {
        self.findings.iter().map(|(finding, document)| (*document, &finding.path)).collect()
    }
}
