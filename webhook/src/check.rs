//! An object and its surroundings in, findings out.

use crate::finding::{self, Finding};
use crate::object::Object;
use crate::reference::{self, Reference};
use crate::surroundings::{Sighting, Surroundings};

/// What is asked about an object.
#[derive(Clone, Debug)]
pub struct Subject {
    /// The object as it is going to be.
    pub object: Object,
    /// As it was before, where this is an update.
    pub old: Option<Object>,
    /// The namespace it lives in, also where the object itself does not say.
    pub namespace: String,
}

/// Everything that rules look at: gathered before they run, so that they are plain functions.
#[derive(Clone, Debug)]
pub struct Scene {
    /// The object in question.
    pub subject: Subject,
    /// The places that name a Secret, each with what came of the look.
    pub references: Vec<(Reference, Sighting<crate::object::Secret>)>,
    /// The time, as Unix time in seconds.
    pub now: i64,
}

/// Judges `subject` in its `surroundings` at the Unix time `now`.
pub async fn check(subject: Subject, surroundings: &Surroundings, now: i64) -> Vec<Finding> {
    let scene = gather(subject, surroundings, now).await;
    let mut findings = crate::rules::run(&scene);
    finding::sort(&mut findings);
    findings
}

async fn gather(subject: Subject, surroundings: &Surroundings, now: i64) -> Scene {
    let mut references = Vec::new();
    for reference in reference::of(&subject.object, &subject.namespace) {
        let sighting = surroundings.secret(&reference.namespace, &reference.secret).await;
        references.push((reference, sighting));
    }
    Scene { subject, references, now }
}
