//! A plan to RFC 6902 operations on the raw pod. Nothing is rewritten that is not ours: what other
//! injectors and the user wrote stays as it is, byte for byte.

use json_patch::{AddOperation, Patch, PatchOperation, RemoveOperation, ReplaceOperation};
use jsonptr::PointerBuf;
use lasthop_contract::annotation::{ORIGINAL_PROBES, STATUS};
use lasthop_contract::sidecar_config::{CONFIG_VARIABLE, SECRETS_ROOT};
use lasthop_contract::text::escape;
use serde_json::{Map, Value};

use super::code;
use super::istio;
use super::objection::{Bearing, Objection};
use super::options::Placement;
use super::plan::{Plan, VOLUME_PREFIXES};
use super::pod::{self, ContainerAt, DEFAULT_CONTAINER, List};
use super::probes::Change;
use crate::object::Object;
use crate::path::FieldPath;

/// Where the API server and others mount tokens, in every container.
const TOKENS: &str = "/var/run/secrets/";

/// The operations that make `pod` what `plan` says; none where it is so already. `prefix` is the way
/// from the top of the object to the pod.
///
/// # Errors
/// Volumes of the user in the way.
pub(super) fn make(pod: &Object, prefix: &FieldPath, plan: &Plan) -> Result<Patch, Vec<Objection>> {
    let mut patch = Builder { prefix, operations: Vec::new() };
    let foreign = foreign_volumes(pod, plan);
    if !foreign.is_empty() {
        return Err(foreign);
    }
    patch.volumes(pod, plan);
    // Before the container, which moves the others.
    plan.takeover.changes.iter().for_each(|change| patch.probe(change));
    patch.container(pod, plan);
    patch.pod_requests(pod, plan);
    patch.annotations(pod, plan);
    Ok(Patch(patch.operations))
}

struct Builder<'a> {
    prefix: &'a FieldPath,
    operations: Vec<PatchOperation>,
}

impl Builder<'_> {
    fn pointer(&self, path: &FieldPath) -> PointerBuf {
        PointerBuf::parse(self.prefix.join(path).pointer())
            .expect("field paths print as valid pointers")
    }

    fn add(&mut self, path: &FieldPath, value: Value) {
        let path = self.pointer(path);
        self.operations.push(PatchOperation::Add(AddOperation { path, value }));
    }

    fn replace(&mut self, path: &FieldPath, value: Value) {
        let path = self.pointer(path);
        self.operations.push(PatchOperation::Replace(ReplaceOperation { path, value }));
    }

    fn remove(&mut self, path: &FieldPath) {
        let path = self.pointer(path);
        self.operations.push(PatchOperation::Remove(RemoveOperation { path }));
    }

    /// Replaces what differs, takes out what is not needed any more, appends what is new.
    fn volumes(&mut self, pod: &Object, plan: &Plan) {
        let list = FieldPath::of(["spec", "volumes"]);
        let existing = pod.list("/spec/volumes");
        for (index, volume) in existing.iter().enumerate() {
            let planned =
                plan.volumes.iter().find(|planned| planned.get("name") == volume.get("name"));
            if let Some(planned) = planned.filter(|planned| *planned != volume) {
                self.replace(&list.index(index), planned.clone());
            }
        }
        // From the end, so that places before stay what they are.
        for (index, volume) in existing.iter().enumerate().rev() {
            if is_left_over(pod, volume, plan) {
                self.remove(&list.index(index));
            }
        }
        let missing: Vec<Value> = plan
            .volumes
            .iter()
            .filter(|planned| {
                existing.iter().all(|volume| volume.get("name") != planned.get("name"))
            })
            .cloned()
            .collect();
        self.append(pod.0.pointer("/spec/volumes"), &list, missing);
    }

    /// Adds to the end of a list, which may not be there yet.
    fn append(&mut self, existing: Option<&Value>, list: &FieldPath, values: Vec<Value>) {
        if values.is_empty() {
            return;
        }
        if existing.is_none_or(Value::is_null) {
            self.add(list, Value::Array(values));
            return;
        }
        for value in values {
            self.add(&list.key("-"), value);
        }
    }

    /// Puts an action in the place of another, and leaves the rest of the probe as it is.
    fn probe(&mut self, change: &Change) {
        let Change { path, before, after, value } = change;
        let place = path.key(after.field());
        if before == after {
            self.replace(&place, value.clone());
        } else {
            // In this order serde_json puts the new field where the old one stood.
            self.add(&place, value.clone());
            self.remove(&path.key(before.field()));
        }
    }

    fn container(&mut self, pod: &Object, plan: &Plan) {
        let wanted = match plan.placement {
            Placement::Native => List::Init,
            Placement::Ordinary => List::Main,
        };
        let list = FieldPath::of(["spec", wanted.field()]);
        let own = pod::own(pod);
        let merged = merge(pod, plan, own);
        match own {
            Some(own) if own.list == wanted => {
                if merged != *own.value {
                    self.replace(&own.path(), merged);
                }
                return;
            }
            Some(own) => self.remove(&own.path()),
            None => {}
        }
        let existing = pod.0.pointer(&list.pointer());
        match wanted {
            // First of all: other init containers already have TLS, and Kubernetes ends it last.
            List::Init if existing.is_some_and(Value::is_array) => self.add(&list.index(0), merged),
            List::Init | List::Main => self.append(existing, &list, vec![merged]),
        }
    }

    fn pod_requests(&mut self, pod: &Object, plan: &Plan) {
        if plan.pod_requests.is_empty() {
            return;
        }
        let all = FieldPath::of(["spec", "resources", "requests"]);
        if !pod.0.pointer(&all.pointer()).is_some_and(Value::is_object) {
            self.add(&all, Value::Object(Map::new()));
        }
        for (resource, amount) in &plan.pod_requests {
            self.add(&all.key(resource), amount.to_string().into());
        }
    }

    fn annotations(&mut self, pod: &Object, plan: &Plan) {
        let mut wanted = vec![(STATUS, plan.status.as_str())];
        if let Some(default) = &plan.default_container
            && pod.annotation(DEFAULT_CONTAINER).is_none()
        {
            wanted.push((DEFAULT_CONTAINER, default));
        }
        if let Some(originals) = &plan.takeover.originals {
            wanted.push((ORIGINAL_PROBES, originals));
        }
        let all = FieldPath::of(["metadata", "annotations"]);
        if plan.takeover.originals.is_none() && pod.annotation(ORIGINAL_PROBES).is_some() {
            self.remove(&all.key(ORIGINAL_PROBES));
        }
        wanted.retain(|(key, value)| pod.annotation(key) != Some(value));
        // A pod that asks has annotations: that is where it asks.
        for (key, value) in wanted {
            self.add(&all.key(key), Value::from(value));
        }
    }
}

/// The planned container with what others may have put into ours: tokens below `/var/run/secrets`,
/// variables without our prefix, and probes that Istio's agent performs. Everything else of it is ours to decide.
fn merge(pod: &Object, plan: &Plan, own: Option<ContainerAt<'_>>) -> Value {
    let mut merged = plan.container.clone();
    let (Some(own), Some(fields)) = (own, merged.as_object_mut()) else { return merged };
    let is_token = |mount: &Value| {
        let path = mount.get("mountPath").and_then(Value::as_str).unwrap_or_default();
        let is_plain = !path.split('/').any(|part| part == "..");
        is_plain && path.starts_with(TOKENS) && !path.starts_with(SECRETS_ROOT)
    };
    let is_foreign = |variable: &Value| {
        let name = variable.get("name").and_then(Value::as_str).unwrap_or_default();
        !name.is_empty() && !name.starts_with("LASTHOP_") && name != CONFIG_VARIABLE
    };
    keep(fields, own.value, "volumeMounts", is_token);
    keep(fields, own.value, "env", is_foreign);
    for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
        let (Some(theirs), Some(planned)) = (own.value.get(probe), fields.get_mut(probe)) else {
            continue;
        };
        if let Some(performed) = istio::performed(pod, theirs, planned)
            && let Some(planned) = planned.as_object_mut()
        {
            planned.insert("httpGet".to_owned(), performed.clone());
        }
    }
    // The admission plugin AlwaysPullImages insists.
    if own.value.get("imagePullPolicy").and_then(Value::as_str) == Some("Always") {
        fields.insert("imagePullPolicy".to_owned(), Value::from("Always"));
    }
    // Who only turned the amounts (an autoscaler) is let have it; the digest says that the plan is
    // the one that was carried out before.
    if pod.annotation(STATUS) == Some(&plan.status)
        && let Some(resources) = own.value.get("resources")
    {
        fields.insert("resources".to_owned(), resources.clone());
    }
    merged
}

/// Appends the members of `list` in `from` that `is_kept`.
fn keep(
    fields: &mut Map<String, Value>,
    from: &Value,
    list: &str,
    is_kept: impl Fn(&Value) -> bool,
) {
    let others = from.get(list).and_then(Value::as_array).into_iter().flatten();
    let Some(own) = fields.get_mut(list).and_then(Value::as_array_mut) else { return };
    own.extend(others.filter(|member| is_kept(member)).cloned());
}

/// Volumes of earlier work: our container mounts them, nobody else does, and the plan does not.
fn is_left_over(pod: &Object, volume: &Value, plan: &Plan) -> bool {
    let name = volume.get("name").and_then(Value::as_str).unwrap_or_default();
    let has_our_name = VOLUME_PREFIXES.iter().any(|prefix| name.starts_with(prefix));
    let mounts = |container: ContainerAt<'_>| {
        let mounts = container.value.get("volumeMounts").and_then(Value::as_array);
        mounts.into_iter().flatten().any(|mount| mount.get("name") == volume.get("name"))
    };
    has_our_name
        && pod::own(pod).is_some_and(mounts)
        && !pod::containers(pod).any(mounts)
        && plan.volumes.iter().all(|planned| planned.get("name") != volume.get("name"))
}

/// Volumes with a name that the plan needs, that no container of ours mounts: the user's.
fn foreign_volumes(pod: &Object, plan: &Plan) -> Vec<Objection> {
    if pod::own(pod).is_some() {
        return Vec::new();
    }
    let mut objections = Vec::new();
    for (index, volume) in pod.list("/spec/volumes").iter().enumerate() {
        let planned = plan.volumes.iter().find(|planned| planned.get("name") == volume.get("name"));
        if planned.is_none_or(|planned| planned == volume) {
            continue;
        }
        let name = volume.get("name").and_then(Value::as_str).unwrap_or_default();
        objections.push(Objection {
            code: code::VOLUME_NAME,
            bearing: Bearing::Blocks,
            path: FieldPath::of(["spec", "volumes"]).index(index).key("name"),
            message: format!("the volume name `{}` belongs to the sidecar", escape(name)),
            help: "give this volume another name".to_owned(),
        });
    }
    objections
}
