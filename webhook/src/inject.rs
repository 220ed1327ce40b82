//! A pod in, a patch out: the sidecar for who asks for it.
//!
//! Three steps: [`annotations`] parses what the pod asks for, `plan` decides what the sidecar is going
//! to be, `patch` says it in operations on the raw JSON. What stands against it on the way is an
//! [`Objection`]; all of them come back at once, as findings.

use std::collections::BTreeMap;

use json_patch::Patch;
use lasthop_contract::annotation as name;
use lasthop_contract::sidecar_config::KeyLog;
use lasthop_contract::text::escape;

use crate::check::{Validate, overrides};
use crate::finding::{self, Finding, Severity};
use crate::object::{Object, ObjectRef};
use crate::path::{FieldPath, Step};
use crate::surroundings::Sighting;

pub mod annotations;
mod app_ports;
pub mod code;
mod istio;
pub mod network_policy;
mod objection;
mod obstacles;
pub mod options;
mod patch;
mod plan;
pub mod pod;
mod probes;
pub mod quantity;
mod resources;
pub mod service;
mod socket;
pub mod table;
pub mod totals;

pub use annotations::values::Wish;
pub use objection::{Bearing, Maker, Objection};
pub use options::Options;
pub use plan::{Mount, listeners, port_name};
pub use resources::{Asked, Pair};

use annotations::{Request, values};
use istio::Mesh;
use objection::Place;
use plan::House;

/// What came of an injection.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// The object with the patch has the sidecar. The patch is empty where it had it before.
    Injected { patch: Patch, findings: Vec<Finding> },
    /// There is nothing to inject.
    NotAsked { reason: Reason, findings: Vec<Finding> },
    /// The object asks for a sidecar (or its namespace does) and cannot have it.
    Refused { findings: Vec<Finding> },
}

impl Outcome {
    /// What there is to say, the most severe first.
    pub fn findings(&self) -> &[Finding] {
        match self {
            Self::Injected { findings, .. }
            | Self::NotAsked { findings, .. }
            | Self::Refused { findings } => findings,
        }
    }
}

/// Why there is nothing to inject.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Reason {
    /// The object holds no pod.
    NoPod,
    /// The pod does not ask.
    NoAnnotation,
    /// The pod says that it never wants one.
    OptedOut,
    /// Injection is not switched on in the namespace.
    NamespaceUnlabelled,
    /// kubelet made the pod from a file of its node.
    MirrorPod,
}

impl Reason {
    /// The word in metrics.
    pub fn word(self) -> &'static str {
        match self {
            Self::NoPod => "no-pod",
            Self::NoAnnotation => "no-annotation",
            Self::OptedOut => "opted-out",
            Self::NamespaceUnlabelled => "namespace-unlabelled",
            Self::MirrorPod => "mirror-pod",
        }
    }
}

/// Injects the sidecar into `object`, a Pod or a workload, which is going to live in `namespace`.
/// `namespace_labels` are [`None`] where nobody could look: then injection counts as switched on.
/// What the object asks to ignore is not held against it, but for what is about lasthop's own safety.
pub fn inject(
    object: &Object,
    namespace: &str,
    namespace_labels: Option<&BTreeMap<&str, &str>>,
    options: &Options,
) -> Outcome {
    inject_at(Validate::Enforce, object, namespace, namespace_labels, options)
}

/// As [`inject`], where findings do what the namespace wants of them: below [`Validate::Enforce`] nothing
/// refuses but what is about lasthop's own safety.
pub fn inject_at(
    level: Validate,
    object: &Object,
    namespace: &str,
    namespace_labels: Option<&BTreeMap<&str, &str>>,
    options: &Options,
) -> Outcome {
    attempt(object, namespace, namespace_labels, options, |object, findings| {
        overrides::take_back(object, findings);
        overrides::lower(level, findings);
    })
}

/// Everything that there is to say of an injection, also what the object asks to ignore.
pub fn findings(
    object: &Object,
    namespace: &str,
    namespace_labels: Option<&BTreeMap<&str, &str>>,
    options: &Options,
) -> Vec<Finding> {
    attempt(object, namespace, namespace_labels, options, |_, _| {}).findings().to_vec()
}

fn attempt(
    object: &Object,
    namespace: &str,
    namespace_labels: Option<&BTreeMap<&str, &str>>,
    options: &Options,
    take_back: impl Fn(&Object, &mut Vec<Finding>),
) -> Outcome {
    let Some((prefix, pod)) = pod_of(object) else {
        return Outcome::NotAsked { reason: Reason::NoPod, findings: Vec::new() };
    };
    let place = Place { object: object.reference(namespace), prefix, maker: Maker::of(object) };
    let house =
        House { options, key_log: key_log(namespace_labels), mesh: Mesh::of(namespace_labels) };
    let (verdict, objections) = decide(&pod, &place, Demand::of(namespace_labels), house);
    let mut findings: Vec<Finding> =
        objections.into_iter().map(|objection| objection.at(&place)).collect();
    findings.extend(misplaced(object, &pod, &place));
    findings.extend(labelled(&pod, &place));
    take_back(object, &mut findings);
    finding::sort(&mut findings);
    let has_error = findings.iter().any(|finding| finding.severity == Severity::Error);
    match verdict {
        Verdict::Patch(patch) if !has_error => Outcome::Injected { patch, findings },
        Verdict::Leave(reason) if !has_error => Outcome::NotAsked { reason, findings },
        Verdict::Patch(_) | Verdict::Leave(_) | Verdict::Refuse => Outcome::Refused { findings },
    }
}

/// What the sidecar of `pod` is going to ask for.
pub fn asked(pod: &Object, request: &Request, options: &Options) -> Asked {
    resources::merge(pod, &request.knobs, &options.amounts()).0
}

/// The pod that `object` is or makes, and the way to it.
pub fn pod_of(object: &Object) -> Option<(FieldPath, Object)> {
    if object.is("", "Pod") {
        return Some((FieldPath::default(), object.clone()));
    }
    template_of(object)
}

/// The template of a workload as a Pod, and the way to it.
pub fn template_of(object: &Object) -> Option<(FieldPath, Object)> {
    let path = match (object.group(), object.kind()) {
        ("apps" | "extensions", "DaemonSet" | "Deployment" | "ReplicaSet" | "StatefulSet")
        | ("batch", "Job")
        | ("", "ReplicationController") => FieldPath::of(["spec", "template"]),
        ("batch", "CronJob") => FieldPath::of(["spec", "jobTemplate", "spec", "template"]),
        _ => return None,
    };
    let mut pod = path.find(&object.0)?.clone();
    let fields = pod.as_object_mut()?;
    fields.insert("apiVersion".to_owned(), "v1".into());
    fields.insert("kind".to_owned(), "Pod".into());
    Some((path, Object(pod)))
}

/// What the label `lasthop.dev/inject` of a namespace says.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Demand {
    /// Nobody could look.
    Unknown,
    /// Nothing is injected; the value, where there is one that says nothing.
    Off(Option<String>),
    /// Who asks gets the sidecar.
    On,
    /// Everybody has to ask.
    Required,
}

/// Whether pods that ask get a sidecar in a namespace with these labels; also where nobody could look.
pub fn is_switched_on(namespace_labels: Option<&BTreeMap<&str, &str>>) -> bool {
    !matches!(Demand::of(namespace_labels), Demand::Off(_))
}

/// The same of the namespace that was looked for.
pub fn is_switched_on_in(namespace: &Sighting<Object>) -> bool {
    is_switched_on(namespace.found().map(Object::labels).as_ref())
}

impl Demand {
    fn of(labels: Option<&BTreeMap<&str, &str>>) -> Self {
        let Some(labels) = labels else { return Self::Unknown };
        match labels.get(name::INJECT).copied() {
            Some("enabled" | "true") => Self::On,
            Some("required") => Self::Required,
            other => Self::Off(other.map(ToOwned::to_owned)),
        }
    }
}

/// Whether the namespace lets TLS secrets be logged.
fn key_log(namespace_labels: Option<&BTreeMap<&str, &str>>) -> KeyLog {
    match namespace_labels.and_then(|labels| labels.get(name::ALLOW_KEY_LOG)) {
        Some(&"true") => KeyLog::OnDemand,
        Some(_) | None => KeyLog::Refused,
    }
}

enum Verdict {
    Patch(Patch),
    Leave(Reason),
    /// An objection that blocks says why.
    Refuse,
}

fn decide(
    pod: &Object,
    place: &Place,
    demand: Demand,
    house: House<'_>,
) -> (Verdict, Vec<Objection>) {
    let wish = annotations::wish(pod);
    let asks = wish == Some(Wish::Inject) || (wish.is_none() && annotations::bears_wish(pod));
    if pod::is_mirror(pod) {
        let objections = if asks { vec![mirrored()] } else { Vec::new() };
        return (Verdict::Leave(Reason::MirrorPod), objections);
    }
    if !asks {
        return not_asked(pod, place, &demand, wish);
    }
    let (request, mut objections) = annotations::read(pod);
    objections.extend(obstacles::find(pod, request.as_ref(), house));
    let patch = request.and_then(|request| {
        let (plan, odd) = plan::make(pod, &request, house);
        objections.extend(odd);
        match patch::make(pod, &place.prefix, &plan) {
            Ok(patch) => Some(patch),
            Err(more) => {
                objections.extend(more);
                None
            }
        }
    });
    if let Demand::Off(value) = demand {
        objections.push(unlabelled(place, value));
        return (Verdict::Leave(Reason::NamespaceUnlabelled), objections);
    }
    let is_blocked = objections.iter().any(|objection| objection.bearing == Bearing::Blocks);
    match patch {
        Some(patch) if !is_blocked => (Verdict::Patch(patch), objections),
        _ => (Verdict::Refuse, objections),
    }
}

fn not_asked(
    pod: &Object,
    place: &Place,
    demand: &Demand,
    wish: Option<Wish>,
) -> (Verdict, Vec<Objection>) {
    let objection = |code, bearing, key: &str, message: String, help: String| Objection {
        code,
        bearing,
        path: FieldPath::annotation(key),
        message,
        help,
    };
    if *demand == Demand::Required {
        let namespace = escape(&place.object.namespace);
        let says = if wish.is_some() { "opts out" } else { "does not ask for one" };
        let objection = objection(
            code::DEMANDED,
            Bearing::Blocks,
            name::INJECT,
            format!(
                "the namespace `{namespace}` requires the sidecar of every pod, and this one {says}"
            ),
            format!(
                "annotate the pod: `{}: \"true\"` and `{}: NAME`",
                name::INJECT,
                name::TLS_SECRET
            ),
        );
        return (Verdict::Refuse, vec![objection]);
    }
    if wish.is_some() {
        // Where nothing is injected anyway, there is nothing to be told.
        let told = *demand == Demand::On;
        let objection = told.then(|| {
            objection(
                code::OPTED_OUT,
                Bearing::Warns,
                name::INJECT,
                "the pod opts out: it has no sidecar, and its ports are as they are".to_owned(),
                format!("`{}: \"true\"` asks for one", name::INJECT),
            )
        });
        return (Verdict::Leave(Reason::OptedOut), objection.into_iter().collect());
    }
    let stray = annotations::entries(pod).find(|(key, _)| pod::is_sidecar_annotation(key));
    let objections = stray.map(|(key, _)| {
        objection(
            code::NOT_ASKED,
            Bearing::Warns,
            key,
            format!("`{}` does nothing, the pod does not ask for a sidecar", escape(key)),
            format!("add `{}: \"true\"`", name::INJECT),
        )
    });
    (Verdict::Leave(Reason::NoAnnotation), objections.into_iter().collect())
}

fn mirrored() -> Objection {
    Objection {
        code: code::MIRROR_POD,
        bearing: Bearing::Warns,
        path: FieldPath::annotation(name::INJECT),
        message: "nothing is injected: kubelet makes this pod from a file of its node".to_owned(),
        help: "such a pod can have no Secrets; a DaemonSet can".to_owned(),
    }
}

fn unlabelled(place: &Place, value: Option<String>) -> Objection {
    let namespace = escape(&place.object.namespace);
    let message = match value {
        Some(value) => format!(
            "nothing is injected: the namespace `{namespace}` has the label `{}: {}`, which switches nothing on",
            name::INJECT,
            escape(&value)
        ),
        None => format!("nothing is injected: the namespace `{namespace}` is not labelled for it"),
    };
    Objection {
        code: code::UNLABELLED,
        bearing: Bearing::Warns,
        path: FieldPath::annotation(name::INJECT),
        message,
        help: format!(
            "`kubectl label namespace {namespace} {}=enabled --overwrite`, then make the pods anew",
            name::INJECT
        ),
    }
}

/// Annotations on a workload itself, which no pod ever bears. A controller copies its own to what it
/// makes (a Deployment to its `ReplicaSet`s), so that those are not looked at.
fn misplaced(object: &Object, pod: &Object, place: &Place) -> Option<Finding> {
    if place.prefix == FieldPath::default() || place.maker == Maker::Controller {
        return None;
    }
    let is_meant = |key: &str| key == name::INJECT || pod::is_sidecar_annotation(key);
    let strays: BTreeMap<&str, &str> = object
        .annotations()
        .into_iter()
        .filter(|(key, value)| is_meant(key) && pod.annotation(key) != Some(value))
        .collect();
    let (first, _) = strays.first_key_value()?;
    let at_template = place.prefix.join(&FieldPath::of(["metadata", "annotations"]));
    let message = format!(
        "`{}` stands on the {} itself, its pods never bear it",
        escape(first),
        escape(object.kind())
    );
    let help = match move_command(&strays, &at_template, place) {
        // Nothing can be patched that this very request was to create.
        Some(command) => format!("write it to `{at_template}`; where the object exists: {command}"),
        None => format!("write it to `{at_template}`"),
    };
    let path = FieldPath::annotation(first);
    let finding =
        Finding::new(code::MISPLACED, Severity::Error, place.object.clone(), path, message);
    Some(finding.help(help).safety())
}

/// A wish that is written as a label, which other injectors read there and this one does not.
fn labelled(pod: &Object, place: &Place) -> Option<Finding> {
    let labels = pod.labels();
    let asks = labels.get(name::INJECT).is_some_and(|value| values::wish(value) != Ok(Wish::Never));
    if !asks || place.maker == Maker::Controller || annotations::bears_wish(pod) {
        return None;
    }
    let path = place.prefix.join(&FieldPath::of(["metadata", "labels", name::INJECT]));
    let message =
        format!("`{}` is a label here, and a label of a pod asks for nothing", name::INJECT);
    let at = place.prefix.join(&FieldPath::of(["metadata", "annotations"]));
    let finding =
        Finding::new(code::MISPLACED, Severity::Error, place.object.clone(), path, message);
    let help = format!("write it as an annotation: `{}: \"true\"` in `{at}`", name::INJECT);
    Some(finding.help(help).safety())
}

/// The command that writes the annotations to the template; [`None`] where they cannot be shown.
fn move_command(
    strays: &BTreeMap<&str, &str>,
    at_template: &FieldPath,
    place: &Place,
) -> Option<String> {
    let is_plain = |text: &str| escape(text) == text && !text.contains('\'');
    let texts = strays.iter().flat_map(|(key, value)| [*key, *value]);
    let object = &place.object;
    if !texts.chain([object.name.as_str()]).all(is_plain) {
        return None;
    }
    let annotations = serde_json::json!(strays);
    let patch = at_template.steps().iter().rev().fold(annotations, |inner, step| match step {
        Step::Key(key) => serde_json::json!({ key: inner }),
        Step::Index(_) => inner,
    });
    let kind = object.kind.to_ascii_lowercase();
    let ObjectRef { namespace, name, .. } = object;
    Some(format!("`kubectl patch {kind} {name} -n {namespace} --type merge -p '{patch}'`"))
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
