//! LH301 to LH343: what stands against the sidecar that a pod asks for, on Pods and on the templates
//! of workloads.
//!
//! The injector finds it, by doing all but the injection; here are the pages of the documentation.

use super::Rule;
use crate::check::Scene;
use crate::finding::Finding;
use crate::inject;
use crate::object::Object;

mod annotations;
mod pod;

/// The pages of the documentation, by code.
pub(super) fn pages() -> impl Iterator<Item = &'static Rule> {
    annotations::PAGES.iter().chain(pod::PAGES)
}

/// Everything that the injector would say of the object.
pub(super) fn judge(scene: &Scene) -> Vec<Finding> {
    let labels = scene.home.found().map(Object::labels);
    // What is ignored is noted for the audit log, by who takes it back.
    inject::findings(&scene.object, &scene.namespace, labels.as_ref(), &scene.sidecar)
}
