//! The sidecar's requests and limits.

use lasthop_contract::annotation as name;
use serde_json::{Value, json};

use super::annotations::Knobs;
use super::code;
use super::objection::{Bearing, Objection};
use super::options::Amounts;
use super::pod;
use super::quantity::Quantity;
use crate::object::Object;
use crate::path::FieldPath;

/// Requests and limits: the annotations over the operator's options, field by field. Of a pair of
/// which one half was written, the other gives way; a Guaranteed pod stays Guaranteed.
///
/// <https://kubernetes.io/docs/concepts/workloads/pods/pod-qos/>
pub(super) fn merge(pod: &Object, knobs: &Knobs, defaults: &Amounts) -> (Amounts, Vec<Objection>) {
    let quality = if is_guaranteed(pod) { Quality::Guaranteed } else { Quality::Other };
    let mut objections = Vec::new();
    let mut pair = |request, limit| {
        let (amounts, objection) = settle(request, limit, quality);
        objections.extend(objection);
        amounts
    };
    let side = |name, written, default| Side { name, written, default };
    let (cpu_request, cpu_limit) = pair(
        side(name::SIDECAR_CPU_REQUEST, knobs.cpu_request.as_ref(), &defaults.cpu_request),
        side(name::SIDECAR_CPU_LIMIT, knobs.cpu_limit.as_ref(), &defaults.cpu_limit),
    );
    let (memory_request, memory_limit) = pair(
        side(name::SIDECAR_MEMORY_REQUEST, knobs.memory_request.as_ref(), &defaults.memory_request),
        side(name::SIDECAR_MEMORY_LIMIT, knobs.memory_limit.as_ref(), &defaults.memory_limit),
    );
    (Amounts { cpu_request, cpu_limit, memory_request, memory_limit }, objections)
}

/// As a container's `resources`.
pub(super) fn to_json(amounts: &Amounts) -> Value {
    let Amounts { cpu_request, cpu_limit, memory_request, memory_limit } = amounts;
    json!({
        "limits": { "cpu": cpu_limit.to_string(), "memory": memory_limit.to_string() },
        "requests": { "cpu": cpu_request.to_string(), "memory": memory_request.to_string() },
    })
}

/// What kubelet calls the pod's quality of service, as far as it matters here.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Quality {
    Guaranteed,
    Other,
}

/// One half of a pair: the annotation, what it says, and what holds without it.
#[derive(Clone, Copy)]
struct Side<'a> {
    name: &'static str,
    written: Option<&'a Quantity>,
    default: &'a Quantity,
}

fn settle(
    request: Side<'_>,
    limit: Side<'_>,
    quality: Quality,
) -> ((Quantity, Quantity), Option<Objection>) {
    let (wanted, most) = match (request.written, limit.written) {
        (Some(wanted), Some(most)) => {
            let objection = contradiction((request.name, wanted), (limit.name, most), quality);
            return ((wanted.clone(), most.clone()), objection);
        }
        (Some(wanted), None) if quality == Quality::Guaranteed => (wanted, wanted),
        (Some(wanted), None) => (wanted, wanted.max(limit.default)),
        (None, most) => {
            let most = most.unwrap_or(limit.default);
            match quality {
                Quality::Guaranteed => (most, most),
                Quality::Other => (request.default.min(most), most),
            }
        }
    };
    ((wanted.clone(), most.clone()), None)
}

fn contradiction(
    (request_name, request): (&str, &Quantity),
    (limit_name, limit): (&str, &Quantity),
    quality: Quality,
) -> Option<Objection> {
    let (bearing, message, help) = if request > limit {
        (
            Bearing::Blocks,
            format!("the request {request} is above the limit {limit}"),
            format!("lower it, or raise `{limit_name}`"),
        )
    } else if quality == Quality::Guaranteed && request != limit {
        (
            Bearing::Warns,
            format!(
                "the pod is Guaranteed, with a request of {request} and a limit of {limit} it is Burstable"
            ),
            format!("leave out one of `{request_name}` and `{limit_name}`"),
        )
    } else {
        return None;
    };
    let path = FieldPath::annotation(request_name);
    Some(Objection { code: code::RESOURCES, bearing, path, message, help })
}

/// Whether every container of the user has limits for CPU and memory and requests that equal them
/// (or none, which the API server makes equal).
fn is_guaranteed(pod: &Object) -> bool {
    let is_met = |container: pod::ContainerAt<'_>| {
        ["cpu", "memory"].into_iter().all(|kind| {
            let amount = |side: &str| {
                let value = container.value.pointer(&format!("/resources/{side}/{kind}"))?;
                let text = value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned);
                text.parse::<Quantity>().ok()
            };
            let limit = amount("limits");
            limit.is_some() && amount("requests").is_none_or(|request| Some(request) == limit)
        })
    };
    pod::containers(pod).all(is_met)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inject::options::Options;

    fn merged(resources: &Value, knobs: &Knobs) -> (Value, Vec<Objection>) {
        let pod =
            Object(json!({"spec": {"containers": [{"name": "app", "resources": resources}]}}));
        let (amounts, objections) = merge(&pod, knobs, &Options::default().amounts());
        (to_json(&amounts), objections)
    }

    fn quantity(text: &str) -> Quantity {
        text.parse().unwrap()
    }

    #[test]
    fn one_annotation_leaves_the_others_as_they_are() {
        let knobs = Knobs { cpu_request: Some(quantity("50m")), ..Knobs::default() };
        let (resources, objections) = merged(&json!({}), &knobs);
        assert_eq!(
            resources,
            json!({"limits": {"cpu": "1", "memory": "128Mi"}, "requests": {"cpu": "50m", "memory": "32Mi"}})
        );
        assert!(objections.is_empty());
    }

    #[test]
    fn the_half_that_nobody_wrote_gives_way() {
        let knobs = Knobs {
            cpu_request: Some(quantity("2")),
            memory_limit: Some(quantity("16Mi")),
            ..Knobs::default()
        };
        let (resources, _) = merged(&json!({}), &knobs);
        assert_eq!(
            resources,
            json!({"limits": {"cpu": "2", "memory": "16Mi"}, "requests": {"cpu": "2", "memory": "16Mi"}})
        );
    }

    #[test]
    fn a_guaranteed_pod_stays_guaranteed() {
        let guaranteed = json!({
            "limits": {"cpu": 1, "memory": "1Gi"}, "requests": {"cpu": "1000m", "memory": "1024Mi"}
        });
        let knobs = Knobs { memory_request: Some(quantity("64Mi")), ..Knobs::default() };
        let (resources, _) = merged(&guaranteed, &knobs);
        assert_eq!(resources["limits"], resources["requests"]);
        assert_eq!(resources["limits"]["memory"], "64Mi");
        let knobs = Knobs {
            cpu_request: Some(quantity("1")),
            cpu_limit: Some(quantity("2")),
            ..Knobs::default()
        };
        let (_, objections) = merged(&guaranteed, &knobs);
        assert_eq!(objections[0].bearing, Bearing::Warns);
    }

    #[test]
    fn a_request_above_the_limit_is_refused() {
        let knobs = Knobs {
            cpu_request: Some(quantity("2")),
            cpu_limit: Some(quantity("1")),
            ..Knobs::default()
        };
        let (_, objections) = merged(&json!({}), &knobs);
        assert_eq!((objections.len(), objections[0].bearing), (1, Bearing::Blocks));
    }
}
