//! What the containers of a pod come to together, as the API server and the scheduler count it.
//!
//! <https://kubernetes.io/docs/concepts/workloads/pods/sidecar-containers/#resource-sharing-within-containers>

use serde_json::Value;

use super::options::Placement;
use super::pod::{self, ContainerAt, List};
use super::quantity::Quantity;
use crate::object::Object;

/// The amounts of one resource, once the app runs and while the init containers do.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Count {
    running: Option<Quantity>,
    starting: Option<Quantity>,
}

impl Count {
    /// Of the requests of the user's containers. A container that has a limit alone requests that much;
    /// `default` is asked where it says nothing at all.
    pub fn requests(
        pod: &Object,
        resource: &str,
        default: impl Fn(ContainerAt<'_>) -> Option<Quantity>,
    ) -> Self {
        Self::of(pod, |container| {
            let amount = |side| of_container(container, side, resource);
            amount("requests").or_else(|| amount("limits")).or_else(|| default(container))
        })
    }

    /// Of the limits of the user's containers; `default` is asked where one has none.
    pub fn limits(
        pod: &Object,
        resource: &str,
        default: impl Fn(ContainerAt<'_>) -> Option<Quantity>,
    ) -> Self {
        Self::of(pod, |container| {
            of_container(container, "limits", resource).or_else(|| default(container))
        })
    }

    fn of(pod: &Object, amount: impl Fn(ContainerAt<'_>) -> Option<Quantity>) -> Self {
        let mut count = Self::default();
        // Init containers that restart go on beside those after them, and beside the app.
        let mut beside = None;
        for container in pod::containers(pod) {
            let own = amount(container);
            let restarts =
                container.value.get("restartPolicy").and_then(Value::as_str) == Some("Always");
            match container.list {
                List::Main => count.running = sum(count.running, own),
                List::Init if restarts => {
                    beside = sum(beside, own);
                    count.starting = count.starting.max(beside.clone());
                }
                List::Init => count.starting = count.starting.max(sum(beside.clone(), own)),
            }
        }
        count.running = sum(count.running, beside);
        count
    }

    /// With a sidecar that asks for `amount`.
    #[must_use]
    pub fn with(self, amount: &Quantity, placement: Placement) -> Self {
        let Self { running, starting } = self;
        let starting = match placement {
            // The first of all: it is beside every other.
            Placement::Native => sum(starting, Some(amount.clone())),
            Placement::Ordinary => starting,
        };
        Self { running: sum(running, Some(amount.clone())), starting }
    }

    /// The amount that the pod needs; [`None`] where no container says anything.
    pub fn total(self) -> Option<Quantity> {
        self.running.max(self.starting)
    }
}

fn sum(one: Option<Quantity>, other: Option<Quantity>) -> Option<Quantity> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.plus(&other)),
        (one, other) => one.or(other),
    }
}

/// What a container says in `resources.SIDE.RESOURCE`.
pub(super) fn of_container(
    container: ContainerAt<'_>,
    side: &str,
    resource: &str,
) -> Option<Quantity> {
    quantity(container.value.get("resources")?.get(side)?.get(resource)?)
}

/// What the pod says in `spec.resources.SIDE.RESOURCE`, for all its containers together (Kubernetes
/// 1.34; an older API server drops the field).
pub fn of_whole(pod: &Object, side: &str, resource: &str) -> Option<Quantity> {
    quantity(pod.0.pointer("/spec/resources")?.get(side)?.get(resource)?)
}

/// Whether the pod as a whole or one of the user's containers requests the resource, however that is
/// written. A container that has a limit alone requests that much.
pub(super) fn is_requested(pod: &Object, resource: &str) -> bool {
    let says = |resources: Option<&Value>, side: &str| {
        resources.and_then(|it| it.get(side)).is_some_and(|amounts| match amounts {
            Value::Null => false,
            Value::Object(amounts) => amounts.get(resource).is_some_and(|it| !it.is_null()),
            // Who wrote something else there is to hear of it from the API server.
            _ => true,
        })
    };
    says(pod.0.pointer("/spec/resources"), "requests")
        || pod::containers(pod).any(|container| {
            let resources = container.value.get("resources");
            says(resources, "requests") || says(resources, "limits")
        })
}

/// Whether the pod says anything as a whole.
pub(super) fn is_set_as_a_whole(pod: &Object) -> bool {
    let is_set = |side: &str| pod.0.pointer(&format!("/spec/resources/{side}"));
    ["requests", "limits"]
        .into_iter()
        .filter_map(is_set)
        .any(|amounts| amounts.as_object().is_some_and(|amounts| !amounts.is_empty()))
}

/// A quantity, which YAML may have as a number.
pub fn quantity(value: &Value) -> Option<Quantity> {
    let text = value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned);
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_runs_at_the_same_time_is_added_up() {
        let asks =
            |name: &str, cpu: &str| json!({"name": name, "resources": {"requests": {"cpu": cpu}}});
        let mut restarting = asks("restarts", "100m");
        restarting["restartPolicy"] = json!("Always");
        let limited = json!({"name": "limited", "resources": {"limits": {"cpu": 1}}});
        let pod = Object(json!({"spec": {
            "initContainers": [asks("first", "1500m"), restarting, asks("second", "1450m")],
            "containers": [asks("app", "200m"), limited, {"name": "quiet"}],
        }}));
        let count = Count::requests(&pod, "cpu", |_| None);
        assert_eq!(count.clone().total().unwrap().to_string(), "1550m");
        let ten = "10m".parse().unwrap();
        let native = count.clone().with(&ten, Placement::Native).total();
        assert_eq!(native.unwrap().to_string(), "1560m");
        let ordinary = count.with(&ten, Placement::Ordinary).total();
        assert_eq!(ordinary.unwrap().to_string(), "1550m");
        assert_eq!(Count::requests(&pod, "memory", |_| None).total(), None);
        let limits = Count::limits(&pod, "cpu", |_| "2".parse().ok()).total();
        assert_eq!(limits.unwrap().to_string(), "7");
    }
}
