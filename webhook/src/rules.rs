//! The rules: one file a rule, one table of them all.

use crate::check::Scene;
use crate::finding::Finding;

/// Runs every rule over `scene`.
pub fn run(scene: &Scene) -> Vec<Finding> {
    let _ = scene;
    Vec::new()
}
