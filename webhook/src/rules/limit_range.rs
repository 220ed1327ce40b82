//! LH340: a namespace whose limits refuse a container like the sidecar.

use lasthop_contract::annotation as name;
use lasthop_contract::text::escape;
use serde_json::Value;

use super::Rule;
use crate::check::Scene;
use crate::finding::Finding;
use crate::inject::options::Amounts;
use crate::inject::quantity::Quantity;
use crate::inject::{self, code};
use crate::object::Object;
use crate::path::FieldPath;

pub(crate) static RULE: Rule = Rule {
    code: code::LIMIT_RANGE,
    name: "limit-range",
    summary: "a LimitRange of the namespace refuses the sidecar's requests or limits",
    why: "The API server holds every container against the LimitRanges of its namespace, the sidecar too. A pod with one that \
          asks for less than the minimum, or for more than the maximum, is not created; the Deployment is there and \
          has no pods.",
    example: "\
kind: LimitRange
spec:
  limits:
  - type: Container
    min:
      cpu: 100m # the sidecar asks for 10m",
    cure: "\
metadata:
  annotations:
    lasthop.dev/sidecar-cpu-request: 100m",
    judge: Some(judge),
};

fn judge(scene: &Scene) -> Vec<Finding> {
    let Some((asks, amounts)) = sidecar(scene) else { return Vec::new() };
    let mut findings = Vec::new();
    for range in scene.room.found().into_iter().flatten().filter(|it| it.is("", "LimitRange")) {
        for limit in range.list("/spec/limits") {
            if limit.get("type").and_then(Value::as_str) != Some("Container") {
                continue;
            }
            for of in resources(&amounts) {
                findings.extend(conflict(limit, &of).map(|(message, help)| {
                    let message = format!("LimitRange `{}` {message}", escape(range.name()));
                    RULE.warning(scene, asks.clone(), message).help(help)
                }));
            }
        }
    }
    findings
}

/// Where the object in question asks for a sidecar, and what that is going to ask for.
pub(super) fn sidecar(scene: &Scene) -> Option<(FieldPath, Amounts)> {
    if !inject::is_switched_on(scene.home.found().map(Object::labels).as_ref()) {
        return None;
    }
    let (prefix, _) = inject::pod_of(&scene.object)?;
    let (pod, request) = inject::service::request_of(&scene.object)?;
    let amounts = inject::amounts(&pod, &request, &scene.sidecar);
    Some((prefix.join(&FieldPath::annotation(name::INJECT)), amounts))
}

/// What the sidecar asks for of one resource.
struct Asked<'a> {
    resource: &'static str,
    request: (&'static str, &'a Quantity),
    limit: (&'static str, &'a Quantity),
}

fn resources(amounts: &Amounts) -> [Asked<'_>; 2] {
    let Amounts { cpu_request, cpu_limit, memory_request, memory_limit } = amounts;
    [
        Asked {
            resource: "cpu",
            request: (name::SIDECAR_CPU_REQUEST, cpu_request),
            limit: (name::SIDECAR_CPU_LIMIT, cpu_limit),
        },
        Asked {
            resource: "memory",
            request: (name::SIDECAR_MEMORY_REQUEST, memory_request),
            limit: (name::SIDECAR_MEMORY_LIMIT, memory_limit),
        },
    ]
}

/// What `limit` has against it, and what to do.
///
/// <https://kubernetes.io/docs/concepts/policy/limit-range/>
fn conflict(limit: &Value, asked: &Asked<'_>) -> Option<(String, String)> {
    let Asked { resource, request: (request_name, request), limit: (limit_name, most) } = asked;
    let bound = |field: &str| quantity(limit.get(field)?.get(*resource)?);
    if let Some(least) = bound("min").filter(|least| *request < least) {
        return Some((
            format!(
                "wants at least {least} of {resource} of a container, and the sidecar requests {request}: no pod is created"
            ),
            format!("annotate `{request_name}: {least}`"),
        ));
    }
    if let Some(max) = bound("max").filter(|max| *most > max) {
        return Some((
            format!(
                "lets a container have {max} of {resource} at most, and the sidecar has a limit of {most}: no pod is created"
            ),
            format!("annotate `{limit_name}: {max}`"),
        ));
    }
    let ratio = bound("maxLimitRequestRatio").filter(|ratio| most.is_above(ratio, request))?;
    Some((
        format!(
            "lets a limit be {ratio} times the request at most, and the sidecar has {request} and {most} of {resource}: no pod is created"
        ),
        format!("annotate `{request_name}` or `{limit_name}`, so that they are nearer"),
    ))
}

/// A quantity, which YAML may have as a number.
pub(super) fn quantity(value: &Value) -> Option<Quantity> {
    let text = value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned);
    text.parse().ok()
}
