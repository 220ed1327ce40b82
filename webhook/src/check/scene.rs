//! Everything that rules look at.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use lasthop_contract::credential::{self, Reading};

use super::{Behind, Operation, Setting};
use crate::finding::{Finding, Severity};
use crate::inject;
use crate::object::{Object, ObjectRef, Secret};
use crate::path::FieldPath;
use crate::reference::ingress::Ingress;
use crate::reference::ingress_hosts::Brought;
use crate::reference::{Reference, Weight};
use crate::rehearse::{Blame, Outcome, Outlet, Place};
use crate::rules::Rule;
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
    /// Where the object is a Secret: what it holds, and what makes it if it is an empty placeholder.
    pub own: Option<Own>,
    /// Where the object is a Secret, or a Certificate that makes one: the places of other objects that
    /// name it.
    pub users: Sighting<Vec<User>>,
    /// The namespace that it lives in, for the labels.
    pub home: Sighting<Object>,
    /// Where the object asks for a sidecar: the Services of its namespace. Where it is a Service: the
    /// workloads.
    pub around: Sighting<Vec<Object>>,
    /// Where the object is an Ingress whose controller speaks TLS to the application, or should: the
    /// sidecars behind it.
    pub behind: Vec<Behind>,
    /// Where the object asks for a sidecar: what its namespace has of
    /// `LimitRange` and `ResourceQuota`.
    pub room: Sighting<Vec<Object>>,
    /// The ReferenceGrants of other namespaces whose Secrets a Gateway names.
    pub grants: BTreeMap<String, Sighting<Vec<Object>>>,
    /// The re-encrypted hops on which the object lies, as far as they were rehearsed and do not work.
    pub rehearsed: Vec<Rehearsed>,
    /// The Services which the object, or whose who connect to it, name as next tiers at a port that they
    /// lack.
    pub portless: Vec<Portless>,
    /// Where the object is an Ingress: who else brings certificates for its hosts.
    pub rivals: Vec<Rival>,
    /// What is going to replace `${NAME}` in the object before it is applied.
    pub substitutes: Option<ObjectRef>,
    /// What holds for the sidecars of the pods that ask for one.
    pub sidecar: Arc<inject::Options>,
    /// The time, as Unix time in seconds.
    pub now: i64,
}

impl Scene {
    /// Names the object in findings.
    pub fn name(&self) -> ObjectRef {
        self.object.reference(&self.namespace)
    }

    /// Every reference together with the Secret that it leads to, from whichever side the question
    /// comes.
    pub fn pairs(&self) -> impl Iterator<Item = Pair<'_>> {
        let from_here = self.references.iter().filter_map(|sight| {
            let seen = sight.secret.found()?;
            let awaited = sight.maker.found().is_some();
            Some(Pair { reference: &sight.reference, seen, awaited, user: None })
        });
        let from_there = self.own.iter().flat_map(|own| {
            self.users.found().into_iter().flatten().map(|user| {
                let awaited = own.maker.found().is_some() || user.maker.is_some();
                Pair { reference: &user.reference, seen: &own.secret, awaited, user: Some(user) }
            })
        });
        from_here.chain(from_there)
    }
}

/// A re-encrypted hop that was rehearsed and does not work.
#[derive(Clone, Debug)]
pub struct Rehearsed {
    /// Who connects.
    pub from: Dialer,
    /// The listener that it leads to.
    pub place: Place,
    /// How the handshake ended.
    pub refused: Outcome,
    /// Who has to change what.
    pub blame: Blame,
    /// What it weighs.
    pub severity: Severity,
}

/// A next tier at a port that its Service lacks.
#[derive(Clone, Debug)]
pub struct Portless {
    /// Who connects.
    pub outlet: Outlet,
    /// The Service.
    pub service: ObjectRef,
    /// The ports that it has.
    pub ports: Vec<u64>,
    /// What it weighs.
    pub severity: Severity,
}

/// Another Ingress that brings a certificate for a host of the object.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Rival {
    /// What the object brings.
    pub brought: Brought,
    /// The Secret that the other names for the same host.
    pub other_secret: String,
    /// The other's name; it is in the same namespace.
    pub other: String,
}

/// The end of a re-encrypted hop that connects.
#[derive(Clone, Debug)]
pub enum Dialer {
    /// A balancer.
    Balancer {
        /// The Ingress that configures it.
        ingress: ObjectRef,
        /// Its field that re-encrypts.
        path: FieldPath,
    },
    /// A sidecar, to its next tier.
    Sidecar(Box<Outlet>),
}

/// The Secret in question itself.
#[derive(Clone, Debug)]
pub struct Own {
    /// What it holds.
    pub secret: Arc<SeenSecret>,
    /// What makes it, looked for where it is an empty placeholder or says that cert-manager does.
    pub maker: Sighting<Maker>,
}

impl Own {
    /// The Secret that `object` is.
    pub(super) fn of(object: &Object, maker: Sighting<Maker>) -> Self {
        Self { secret: Arc::new(SeenSecret::new(Secret::read(object.clone()))), maker }
    }
}

/// A reference and the Secret that it leads to.
#[derive(Clone, Copy, Debug)]
pub struct Pair<'a> {
    /// The place that names the Secret.
    pub reference: &'a Reference,
    /// The Secret.
    pub seen: &'a SeenSecret,
    /// The other object which names it, where the Secret is in question.
    pub user: Option<&'a User>,
    awaited: bool,
}

impl Pair<'_> {
    /// Whether a program writes the Secret. Then its contents are that program's business: a person
    /// who applies something beside it can only wait.
    pub fn is_made(&self) -> bool {
        self.awaited || self.seen.secret.written_by().is_some()
    }

    /// Whether a fault can only warn: a program writes the Secret, or the place may not refuse.
    pub fn only_warns(&self) -> bool {
        self.is_made() || self.reference.weight == Weight::Warns
    }

    /// Whether the Secret is empty and something will fill it.
    pub fn is_awaited(&self) -> bool {
        self.awaited && self.seen.is_placeholder()
    }

    /// What is wrong here, as a finding of `rule`: at `place` of the referencing object, or under
    /// `key` of the Secret where that is in question. It cannot work, unless it may yet be made to.
    pub fn finding(
        &self,
        scene: &Scene,
        rule: &Rule,
        (place, key): (&FieldPath, &str),
        message: &str,
    ) -> Finding {
        let severity = if self.only_warns() { Severity::Warning } else { Severity::Error };
        let Some(user) = self.user else {
            return Finding::new(rule.code, severity, scene.name(), place.clone(), message);
        };
        let message = format!("{message}; {} reads it", user.object);
        Finding::new(rule.code, severity, scene.name(), self.seen.secret.path(key), message)
            .about(user.object.clone())
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
    /// The same, raw.
    pub raw: Arc<Object>,
    /// Its place.
    pub reference: Reference,
    /// The annotation of it which says that something makes the Secret.
    pub maker: Option<String>,
}

impl User {
    /// The hosts that are served with the Secret, or behind it.
    pub fn hosts(&self) -> Vec<String> {
        let written = self.reference.hosts.iter().map(|at| at.host.clone());
        let mut hosts: Vec<String> = written.collect();
        if let (true, Some(ingress)) = (hosts.is_empty(), Ingress::read(&self.raw)) {
            hosts.extend(ingress.rules.into_iter().map(|at| at.host));
        }
        hosts.retain(|host| !host.is_empty());
        hosts
    }
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
