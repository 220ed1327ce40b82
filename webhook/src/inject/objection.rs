//! What stands against the sidecar that a pod asks for.

use lasthop_contract::problem::Code;

use crate::finding::{Finding, Scope, Severity};
use crate::object::{Object, ObjectRef};
use crate::path::FieldPath;

/// What an objection does to the injection.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Bearing {
    /// There is no sidecar to write: the pod is refused, whoever makes it.
    Blocks,
    /// The sidecar can be written, and something of the pod breaks: a template or a bare pod is
    /// refused; a pod that a controller makes goes on, since a node drain must not strand a workload.
    Breaks,
    /// Worth a warning.
    Warns,
}

/// Something that stands against the sidecar that a pod asks for, or is worth a word.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Objection {
    /// The stable code.
    pub code: Code,
    /// What it does.
    pub bearing: Bearing,
    /// The field, from the top of the pod.
    pub path: FieldPath,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub help: String,
}

/// Who makes a pod.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Maker {
    /// A controller, from a template that a person applied before.
    Controller,
    /// Whoever reads the answer.
    Person,
}

impl Maker {
    /// The maker of `object`: a controller where an owner says that it controls it.
    pub fn of(object: &Object) -> Self {
        let owned = object.list("/metadata/ownerReferences").iter().any(|owner| {
            owner.get("controller").and_then(serde_json::Value::as_bool) == Some(true)
        });
        if owned && object.is("", "Pod") { Self::Controller } else { Self::Person }
    }
}

/// Where a pod is written.
#[derive(Clone, Debug)]
pub(super) struct Place {
    /// The object that holds it.
    pub(super) object: ObjectRef,
    /// The way from the top of the object to the pod.
    pub(super) prefix: FieldPath,
    /// Who makes it.
    pub(super) maker: Maker,
}

impl Objection {
    /// The objection as a finding at `place`.
    pub(super) fn at(self, place: &Place) -> Finding {
        let Self { code, bearing, path, message, help } = self;
        let severity = match (bearing, place.maker) {
            (Bearing::Blocks, _) | (Bearing::Breaks, Maker::Person) => Severity::Error,
            (Bearing::Breaks, Maker::Controller) | (Bearing::Warns, _) => Severity::Warning,
        };
        let scope = match bearing {
            Bearing::Blocks => Scope::Safety,
            Bearing::Breaks | Bearing::Warns => Scope::Configuration,
        };
        Finding {
            code,
            severity,
            scope,
            object: place.object.clone(),
            path: place.prefix.join(&path),
            message,
            help,
            suggestion: None,
            other: None,
        }
    }
}
