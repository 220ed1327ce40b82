//! A problem at a place.

use lasthop_contract::problem::Code;

use crate::object::ObjectRef;
use crate::path::FieldPath;

/// What a finding does: at admission an error refuses the request, a warning is printed by kubectl,
/// an information is for the command line alone.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Severity {
    /// It cannot work.
    Error,
    /// It works today, or for some, or might.
    Warning,
    /// Worth knowing.
    Info,
}

impl Severity {
    /// The word in output.
    pub fn word(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Info => "info",
        }
    }
}

/// Whose business a finding is: what labels and annotations of a namespace may silence.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Scope {
    /// The user's TLS configuration: the `validate` label, `missing-secret` and ignore annotations
    /// hold.
    Configuration,
    /// lasthop's own safety, which nothing silences: a CA without allowed clients, a pod that asked
    /// and cannot be served, a wrong lasthop annotation.
    Safety,
}

/// A problem at a place of an object.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Finding {
    /// The stable code.
    pub code: Code,
    /// What it does.
    pub severity: Severity,
    /// Whose business it is.
    pub scope: Scope,
    /// The object that has to change.
    pub object: ObjectRef,
    /// The field that has to change.
    pub path: FieldPath,
    /// What is wrong: a phrase in lower case, without a full stop.
    pub message: String,
    /// What to do about it.
    pub help: String,
    /// The corrected lines of YAML, where they are certain.
    pub suggestion: Option<String>,
    /// The other object that it is about: whoever reads the Secret that is being changed.
    pub other: Option<ObjectRef>,
}

impl Finding {
    /// A finding about the user's configuration.
    pub fn new(
        code: Code,
        severity: Severity,
        object: ObjectRef,
        path: FieldPath,
        message: impl Into<String>,
    ) -> Self {
        Self {
            code,
            severity,
            scope: Scope::Configuration,
            object,
            path,
            message: message.into(),
            help: String::new(),
            suggestion: None,
            other: None,
        }
    }

    /// The same, with what to do about it.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = help.into();
        self
    }

    /// The same, with the corrected lines of YAML.
    #[must_use]
    pub fn suggest(mut self, yaml: impl Into<String>) -> Self {
        self.suggestion = Some(yaml.into());
        self
    }

    /// The same, about lasthop's own safety.
    #[must_use]
    pub fn safety(mut self) -> Self {
        self.scope = Scope::Safety;
        self
    }

    /// The same, about another object too.
    #[must_use]
    pub fn about(mut self, other: ObjectRef) -> Self {
        self.other = Some(other);
        self
    }

    /// Where its code is explained.
    pub fn docs(&self) -> String {
        format!("docs/rules.md#{}", self.code.to_string().to_ascii_lowercase())
    }
}

/// The findings of one object, in the order in which people read them: the most severe first, then
/// by place, then by code.
pub fn sort(findings: &mut Vec<Finding>) {
    findings.sort_by(|a, b| {
        (a.severity, &a.object, &a.path, a.code, &a.message)
            .cmp(&(b.severity, &b.object, &b.path, b.code, &b.message))
    });
    findings.dedup();
}
