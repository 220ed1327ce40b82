//! `lasthop check --cluster`: every namespace of a live cluster, one after the other.
//!
//! What a namespace holds is listed once and judged as files are, so that memory is bounded by the
//! largest namespace and the API server is asked a dozen questions for each of them, however much there is in
//! them.

use std::io::{IsTerminal as _, Write as _};

use lasthop_contract::annotation;
use lasthop_contract::text::escape;
use serde_json::Value;

use crate::check::{self, Mode, Subject};
use crate::documents::{Document, Documents};
use crate::finding::Finding;
use crate::inject::annotations;
use crate::inject::{self, Wish, pod};
use crate::object::Object;
use crate::render::manifests;
use crate::rules;
use crate::rules::could_not_look;
use crate::rules::sidecar_absent::{self, Absence};
use crate::surroundings::{
    ApiError, ApiServer, Cluster, Files, NameSource, SecretListing, Surroundings, audit,
};

/// Namespaces of the cluster itself, which the webhook is not sent either.
const NOT_OURS: [&str; 3] = ["kube-node-lease", "kube-public", "kube-system"];

/// Among files the help is to add one.
const NOT_SEEN: &str = "an audit says nothing of what it cannot look at";

/// What came of an audit.
#[derive(Debug, Default)]
pub(super) struct Audit {
    /// The findings, each with the object that it is about as YAML.
    pub(super) findings: Vec<(Finding, Document)>,
    /// How many objects were judged.
    pub(super) objects: usize,
    /// In how many namespaces.
    pub(super) namespaces: usize,
    /// What could not be looked at, a line each.
    pub(super) failures: Vec<String>,
}

/// Judges everything in `only`, or in all namespaces.
///
/// # Errors
/// The namespaces themselves cannot be listed.
pub(super) async fn run(
    api: &ApiServer,
    only: Option<&str>,
    mode: &Mode,
    now: i64,
) -> Result<Audit, ApiError> {
    let namespaces = audit::namespaces(api, only).await?;
    let beyond = Cluster::new(api.clone(), NameSource::Seen, None);
    let mut audit = Audit::default();
    let progress = Progress::new(namespaces.len());
    let judged = namespaces.iter().filter(|it| only.is_some() || !NOT_OURS.contains(&it.name()));
    for namespace in judged {
        progress.show(audit.namespaces, audit.objects, namespace.name());
        audit.namespaces += 1;
        one((api, &beyond), namespace, mode, now, &mut audit).await;
    }
    progress.end();
    Ok(audit)
}

async fn one(
    (api, beyond): (&ApiServer, &Cluster),
    namespace: &Object,
    mode: &Mode,
    now: i64,
    audit: &mut Audit,
) {
    let name = namespace.name();
    let listed = audit::everything(api, name).await;
    for (what, error) in &listed.failures {
        audit.failures.push(format!("error: {what} of namespace {}: {error}", escape(name)));
    }
    let secrets = match listed.failures.iter().find(|(what, _)| *what == "secrets") {
        Some((_, error)) => SecretListing::Withheld(error.to_string()),
        None => SecretListing::Complete,
    };
    let labels = namespace.labels();
    let demand = SidecarDemand {
        switched_on: inject::is_switched_on(Some(&labels)),
        required: labels.get(annotation::INJECT) == Some(&"required"),
    };
    let mut objects = listed.objects;
    objects.push(namespace.clone());
    let subjects: Vec<Object> = objects.iter().filter(|it| is_judged(it)).cloned().collect();
    let makers = listed.makers_withheld;
    let files = Files::of_namespace(objects, name, secrets, makers, beyond.clone());
    let surroundings = Surroundings::Files(files);
    for object in subjects {
        audit.objects += 1;
        let mut findings = Vec::new();
        if object.is("", "Pod") {
            findings.extend(without_sidecar(&object, name, demand));
        } else {
            let subject = Subject::created(object.clone(), name);
            findings = check::check(&subject, &surroundings, mode, now).await.findings;
        }
        for mut finding in findings {
            if finding.code == could_not_look::RULE.code {
                NOT_SEEN.clone_into(&mut finding.help);
            }
            if let Some(document) = document(&object) {
                audit.findings.push((finding, document));
            }
        }
    }
}

/// What a controller made of a template is judged at the template; of Pods it counts whether they have
/// what they ask for.
fn is_judged(object: &Object) -> bool {
    !object.is_being_deleted()
        && rules::are_for(object)
        && (object.is("", "Pod") || inject::Maker::of(object) != inject::Maker::Controller)
}

/// What the labels of a namespace say of sidecars.
#[derive(Clone, Copy, Debug)]
struct SidecarDemand {
    switched_on: bool,
    required: bool,
}

/// A Pod that should have a sidecar, and runs without one.
fn without_sidecar(pod: &Object, namespace: &str, demand: SidecarDemand) -> Option<Finding> {
    let is_over = matches!(pod.text("/status/phase"), "Succeeded" | "Failed");
    let why = match annotations::wish(pod) {
        Some(Wish::Inject) if demand.switched_on => Absence::Asked,
        Some(Wish::Inject) => Absence::AskedUnlabelled,
        _ if demand.required => Absence::Required,
        _ => return None,
    };
    if is_over || pod::own(pod).is_some() || pod::is_mirror(pod) {
        return None;
    }
    Some(sidecar_absent::finding(pod, namespace, why))
}

/// The object as a person would see it with `kubectl get -o yaml`, less what no person writes.
fn document(object: &Object) -> Option<Document> {
    let mut shown = object.clone();
    if let Some(metadata) = shown.0.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("managedFields");
    }
    let text = manifests::to_yaml(&shown.0).ok()?;
    let name = object.reference(object.namespace()).to_string();
    let mut read = Documents::parse(&name, &text).documents;
    let mut document = read.pop()?;
    document.object = shown;
    Some(document)
}

/// How far the audit is, on one line of a terminal.
struct Progress {
    all: usize,
    is_shown: bool,
}

impl Progress {
    fn new(all: usize) -> Self {
        Self { all, is_shown: std::io::stderr().is_terminal() }
    }

    fn show(&self, done: usize, objects: usize, namespace: &str) {
        if self.is_shown {
            let line = format!(
                "\r\u{1b}[Knamespace {} of {}, {objects} objects: {}",
                done + 1,
                self.all,
                escape(namespace)
            );
            let mut out = std::io::stderr().lock();
            let _nobody_to_tell = out.write_all(line.as_bytes()).and_then(|()| out.flush());
        }
    }

    fn end(&self) {
        if self.is_shown {
            let mut out = std::io::stderr().lock();
            let _nobody_to_tell = out.write_all(b"\r\x1b[K").and_then(|()| out.flush());
        }
    }
}
