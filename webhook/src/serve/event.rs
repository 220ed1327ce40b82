//! Events for who never sees an answer: the pods of a controller are created by a program, and manifests
//! are applied by one more often than by a person.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use lasthop_contract::text::{escape, hex};
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

use crate::clock;
use crate::finding::Finding;
use crate::object::Object;
use crate::surroundings::{ApiError, ApiServer};
use crate::telemetry::Metrics;

/// So many are under way at a time; more are dropped, since nobody waits for them.
const AT_A_TIME: usize = 16;

/// An API server that does not answer is not waited for.
const PATIENCE: Duration = Duration::from_secs(2);

/// The longest message that the API server takes, in bytes.
const LONGEST: usize = 1024;

/// The object that an Event is about.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct About {
    reference: Value,
    namespace: String,
}

impl About {
    /// The controller of a pod that is to live in `namespace`; [`None`] where a person makes it.
    pub(super) fn controller_of(pod: &Object, namespace: &str) -> Option<Self> {
        let owners = pod.list("/metadata/ownerReferences");
        let is_controller = |owner: &&Value| owner.get("controller") == Some(&Value::Bool(true));
        let owner = owners.iter().find(is_controller)?;
        let field = |name: &str| owner.get(name).and_then(Value::as_str).unwrap_or_default();
        // A node has no namespace; what is said of such is kept in `default`.
        let (namespace, of_it) = match (field("apiVersion"), field("kind")) {
            ("v1", "Node") => ("default", ""),
            _ => (namespace, namespace),
        };
        Some(Self {
            reference: json!({
                "apiVersion": field("apiVersion"), "kind": field("kind"), "namespace": of_it,
                "name": field("name"), "uid": field("uid"),
            }),
            namespace: namespace.to_owned(),
        })
    }

    /// A workload, which the API server has given a name and a uid already.
    pub(super) fn workload(object: &Object, namespace: &str) -> Option<Self> {
        let uid = object.text("/metadata/uid");
        if uid.is_empty() || object.name().is_empty() {
            return None;
        }
        Some(Self {
            reference: json!({
                "apiVersion": object.api_version(), "kind": object.kind(), "namespace": namespace,
                "name": object.name(), "uid": uid,
            }),
            namespace: namespace.to_owned(),
        })
    }

    /// The Event that says `finding`. The same one has the same name, so that a thousand pods of one
    /// controller make one, until the API server forgets it after an hour.
    fn event(&self, reason: &str, finding: &Finding, now: i64) -> Value {
        let mut message =
            escape(&format!("{}: {} ({})", finding.code, finding.message, finding.help));
        while message.len() > LONGEST {
            message.pop();
        }
        let identity = format!("{}{reason}{message}", self.reference);
        let identity = digest(&SHA256, identity.as_bytes());
        let identity = hex(identity.as_ref().get(..10).unwrap_or_default());
        let at = clock::rfc3339(now);
        json!({
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": { "name": format!("lasthop.{identity}"), "namespace": self.namespace },
            "involvedObject": self.reference,
            "type": "Warning",
            "reason": reason,
            "message": message,
            "source": { "component": "lasthop" },
            "reportingComponent": "lasthop.dev/webhook",
            "firstTimestamp": at,
            "lastTimestamp": at,
            "count": 1,
        })
    }
}

/// Writes Events, and keeps no review waiting.
pub(super) struct Events {
    api: Option<ApiServer>,
    room: Arc<Semaphore>,
    tasks: TaskTracker,
    metrics: Arc<Metrics>,
}

impl Events {
    /// Events go to `api`; without one, nowhere.
    pub(super) fn new(api: Option<ApiServer>, tasks: TaskTracker, metrics: Arc<Metrics>) -> Self {
        Self { api, room: Arc::new(Semaphore::new(AT_A_TIME)), tasks, metrics }
    }

    /// Says `finding` of `about`.
    pub(super) fn tell(&self, about: &About, reason: &str, finding: &Finding) {
        let Some(api) = self.api.clone() else { return };
        let metrics = Arc::clone(&self.metrics);
        let Ok(room) = Arc::clone(&self.room).try_acquire_owned() else {
            metrics.event_lost();
            return;
        };
        let event = about.event(reason, finding, clock::now());
        let path = format!("/api/v1/namespaces/{}/events", about.namespace);
        self.tasks.spawn(async move {
            let created = tokio::time::timeout(PATIENCE, api.create(&path, &event)).await;
            match created {
                // It is there already.
                Ok(Ok(_) | Err(ApiError::Conflict)) => {}
                Ok(Err(error)) => {
                    metrics.event_lost();
                    tracing::warn!(%error, "an Event could not be written");
                }
                Err(_elapsed) => metrics.event_lost(),
            }
            drop(room);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::Severity;
    use crate::inject::code;
    use crate::path::FieldPath;

    fn finding(message: &str) -> Finding {
        let object = Object(json!({ "kind": "Pod" })).reference("shop");
        Finding::new(code::OPTED_OUT, Severity::Warning, object, FieldPath::default(), message)
    }

    #[test]
    fn the_controller_is_told_and_not_each_of_its_pods() {
        let owner = |kind: &str, version: &str| json!({ "apiVersion": version, "kind": kind, "name": "x", "uid": "1", "controller": true });
        let pod = |owners: Value| Object(json!({ "metadata": { "ownerReferences": owners } }));
        let of = |pod: &Object| About::controller_of(pod, "shop");
        assert_eq!(of(&pod(json!([]))), None);
        let set = of(&pod(json!([{ "kind": "Other" }, owner("ReplicaSet", "apps/v1")]))).unwrap();
        let event = set.event("SidecarNotInjected", &finding("why"), 0);
        assert_eq!(event["involvedObject"]["namespace"], "shop");
        assert_eq!(event, set.event("SidecarNotInjected", &finding("why"), 0));
        assert_eq!(event["firstTimestamp"], "1970-01-01T00:00:00Z");
        let other = set.event("SidecarNotInjected", &finding("why not"), 0);
        assert_ne!(event["metadata"]["name"], other["metadata"]["name"]);
        let node = of(&pod(json!([owner("Node", "v1")]))).unwrap();
        let event = node.event("SidecarNotInjected", &finding("why"), 0);
        assert_eq!(event["metadata"]["namespace"], "default");
        assert_eq!(event["involvedObject"]["namespace"], "");
    }

    #[test]
    fn a_message_is_one_that_the_api_server_takes() {
        let about = About { reference: json!({}), namespace: "shop".to_owned() };
        let event = about.event("r", &finding(&"ä\n".repeat(2000)), 0);
        let message = event["message"].as_str().unwrap();
        assert!(message.len() <= LONGEST && !message.contains('\n'));
    }
}
