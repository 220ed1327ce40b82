//! Everything that rules look at.

use std::sync::{Arc, OnceLock};

use lasthop_contract::credential::{self, Reading};

use super::{Operation, Setting};
use crate::object::{Object, ObjectRef, Secret};
use crate::reference::Reference;
use crate::surroundings::Sighting;

/// Everything that rules look at: gathered before they run, so that they are plain functions.
#[derive(Clone, Debug)]
pub struct Scene {
    /// The object in question.
    pub object: Object,
    /// The namespace it lives in.
    pub namespace: String,
    /// What happens to it.
    pub operation: Operation,
    /// Where the question comes from.
    pub setting: Setting,
    /// The places of the object that name a Secret, each with what came of the look.
    pub references: Vec<Sight>,
    /// Where the object is a Secret: the places of other objects that name it.
    pub users: Sighting<Vec<User>>,
    /// The time, as Unix time in seconds.
    pub now: i64,
}

impl Scene {
    /// Names the object in findings.
    pub fn name(&self) -> ObjectRef {
        self.object.reference(&self.namespace)
    }
}

/// A reference and what came of the look at its Secret.
#[derive(Clone, Debug)]
pub struct Sight {
    /// The place.
    pub reference: Reference,
    /// What is there.
    pub secret: Sighting<Arc<SeenSecret>>,
    /// What evidently makes the Secret, looked for where it is missing or an empty placeholder.
    pub maker: Sighting<Maker>,
    /// The most likely slip, looked for where the Secret is not to be seen.
    pub nearest: Option<Nearest>,
}

/// What evidently makes a Secret.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Maker {
    /// An annotation of the referencing object.
    Annotation(String),
    /// Another object, such as a cert-manager Certificate.
    Object(ObjectRef),
}

/// A Secret whose name is near to one that is missing.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Nearest {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// A place of another object that names the Secret in question.
#[derive(Clone, Debug)]
pub struct User {
    /// The other object.
    pub object: ObjectRef,
    /// Its place.
    pub reference: Reference,
}

/// A Secret and what it holds as a credential; read once, however many references lead to it.
#[derive(Debug, Default)]
pub struct SeenSecret {
    /// The Secret.
    pub secret: Secret,
    reading: OnceLock<Reading>,
}

impl SeenSecret {
    /// A Secret that was seen.
    pub fn new(secret: Secret) -> Self {
        Self { secret, reading: OnceLock::new() }
    }

    /// Whether it waits to be filled: nothing under its keys, as where cert-manager's guide for GKE
    /// has a Secret with empty `tls.crt` and `tls.key` made in advance.
    pub fn is_placeholder(&self) -> bool {
        let data = &self.secret.data;
        data.values().all(Vec::is_empty) && self.secret.undecodable.is_empty()
    }

    /// Its chain and key.
    pub fn reading(&self) -> &Reading {
        self.reading.get_or_init(|| credential::read(&self.secret.data))
    }
}
