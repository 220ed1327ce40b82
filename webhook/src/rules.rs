//! The rules: one file a rule, one table of them all.

use lasthop_contract::problem::Code;

use crate::check::Scene;
use crate::finding::{Finding, Severity};
use crate::path::FieldPath;

pub(crate) mod bad_override;
pub(crate) mod placeholder;
pub(crate) mod secret_missing;
pub(crate) mod secret_name;

/// A rule, and what its page in `docs/rules.md` says.
#[derive(Debug)]
pub struct Rule {
    /// The stable code.
    pub code: Code,
    /// The name: lower case with hyphens; the file of the rule has it with underscores.
    pub name: &'static str,
    /// What it finds, in a phrase.
    pub summary: &'static str,
    /// Why that breaks, with the symptom that a user sees.
    pub why: &'static str,
    /// YAML that gets the finding.
    pub example: &'static str,
    /// What to write instead, or to do.
    pub cure: &'static str,
    /// Finds it. [`None`] where the finding is made elsewhere: problems of a credential's bytes are
    /// found by the contract, a used-up budget by the gatherer.
    pub judge: Option<fn(&Scene) -> Vec<Finding>>,
}

impl Rule {
    /// A finding of this rule at `path` of the object in question: it cannot work.
    pub fn error(&self, scene: &Scene, path: FieldPath, message: impl Into<String>) -> Finding {
        Finding::new(self.code, Severity::Error, scene.name(), path, message)
    }

    /// The same for what works today, for some, or might.
    pub fn warning(&self, scene: &Scene, path: FieldPath, message: impl Into<String>) -> Finding {
        Finding::new(self.code, Severity::Warning, scene.name(), path, message)
    }

    /// The same for what is only worth knowing.
    pub fn info(&self, scene: &Scene, path: FieldPath, message: impl Into<String>) -> Finding {
        Finding::new(self.code, Severity::Info, scene.name(), path, message)
    }
}

/// Every rule, by code.
pub static RULES: &[&Rule] =
    &[&secret_missing::RULE, &placeholder::RULE, &secret_name::RULE, &bad_override::RULE];

/// Runs every rule over `scene`.
pub fn run(scene: &Scene) -> Vec<Finding> {
    RULES.iter().filter_map(|rule| rule.judge).flat_map(|judge| judge(scene)).collect()
}

/// The rule of a code.
pub fn find(code: Code) -> Option<&'static Rule> {
    RULES.iter().copied().find(|rule| rule.code == code)
}
