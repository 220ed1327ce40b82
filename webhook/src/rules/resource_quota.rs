//! LH341: a namespace that has no room left for the sidecar.

use lasthop_contract::text::escape;
use serde_json::Value;

use super::Rule;
use super::limit_range::{Sidecar, sidecar};
use crate::check::Scene;
use crate::finding::Finding;
use crate::inject::quantity::Quantity;
use crate::inject::totals::{of_whole, quantity};
use crate::inject::{Asked, Pair, code};
use crate::object::Object;

pub(crate) static RULE: Rule = Rule {
    code: code::QUOTA,
    name: "resource-quota",
    summary: "what is left of a ResourceQuota is less than one sidecar asks for",
    why: "The sidecar's requests and limits count. Where the quota is used up, the API server creates no further pod: a \
          rolling update stops at the first.",
    example: "\
kind: ResourceQuota
spec:
  hard:
    requests.cpu: \"2\"
status:
  used:
    requests.cpu: 1995m # the sidecar asks for 10m",
    cure: "Raise the quota, or lower `lasthop.dev/sidecar-cpu-request`.",
    judge: Some(judge),
};

fn judge(scene: &Scene) -> Vec<Finding> {
    let Some(sidecar) = sidecar(scene) else { return Vec::new() };
    let wanted = wanted(&sidecar);
    let quotas = scene.room.found().into_iter().flatten();
    let quotas = quotas.filter(|it| it.is("", "ResourceQuota") && counts(it, &sidecar.pod));
    let mut findings = Vec::new();
    for quota in quotas {
        for (resource, amount) in &wanted {
            let of = |field: &str| quantity(quota.0.pointer(field)?.get(resource)?);
            let Some(hard) = of("/spec/hard") else { continue };
            let used = of("/status/used");
            if !amount.exceeds_rest(&hard, used.as_ref()) {
                continue;
            }
            let message = format!(
                "ResourceQuota `{}` has {hard} of {resource}, of which {} is used, and one sidecar asks for {amount}",
                escape(quota.name()),
                used.map_or_else(|| "nothing".to_owned(), |used| used.to_string())
            );
            let help = "raise the quota, or lower what the sidecar asks for".to_owned();
            findings.push(RULE.warning(scene, sidecar.asks.clone(), message).help(help));
        }
    }
    findings
}

/// What the sidecar adds to the account of its pod, in the words of a quota. What the pod says as a
/// whole is what counts, whatever its containers say.
fn wanted(sidecar: &Sidecar) -> Vec<(&'static str, &Quantity)> {
    let Sidecar { pod, asked: Asked { cpu, memory }, .. } = sidecar;
    let resources = [
        ("cpu", ["requests.cpu", "cpu"], "limits.cpu", cpu),
        ("memory", ["requests.memory", "memory"], "limits.memory", memory),
    ];
    let mut wanted = Vec::new();
    for (resource, of_requests, of_limits, pair) in resources {
        let Some(Pair { request, limit }) = pair else { continue };
        let counts = |side| of_whole(pod, side, resource).is_none();
        if counts("requests") {
            wanted.extend(of_requests.map(|word| (word, request)));
        }
        if counts("limits") {
            wanted.push((of_limits, limit));
        }
    }
    wanted
}

/// Whether `quota` counts `pod` once it has a sidecar.
///
/// <https://kubernetes.io/docs/concepts/policy/resource-quotas/#quota-scopes>
fn counts(quota: &Object, pod: &Object) -> bool {
    let mut scopes = quota.list("/spec/scopes").iter().filter_map(Value::as_str);
    let is_in_scopes = scopes.all(|scope| is_in(pod, scope, "Exists", &[]));
    is_in_scopes
        && quota.list("/spec/scopeSelector/matchExpressions").iter().all(|expression| {
            let text =
                |field: &str| expression.get(field).and_then(Value::as_str).unwrap_or_default();
            let values = expression.get("values").and_then(Value::as_array).into_iter().flatten();
            let values: Vec<&str> = values.filter_map(Value::as_str).collect();
            is_in(pod, text("scopeName"), text("operator"), &values)
        })
}

fn is_in(pod: &Object, scope: &str, operator: &str, values: &[&str]) -> bool {
    let ends = pod.0.pointer("/spec/activeDeadlineSeconds").is_some_and(|it| !it.is_null());
    match scope {
        "Terminating" => ends,
        "NotTerminating" => !ends,
        // A sidecar asks for something, and where it does not, the pod as a whole does.
        "NotBestEffort" => true,
        "PriorityClass" => {
            let class = pod.text("/spec/priorityClassName");
            match operator {
                "In" => values.contains(&class),
                "NotIn" => !values.contains(&class),
                "DoesNotExist" => class.is_empty(),
                _ => !class.is_empty(),
            }
        }
        "CrossNamespacePodAffinity" => reaches_other_namespaces(pod),
        // `BestEffort`, and what is not about pods.
        _ => false,
    }
}

fn reaches_other_namespaces(pod: &Object) -> bool {
    let has = |value: &Value, field: &str| {
        value
            .get(field)
            .is_some_and(|it| !it.is_null() && it.as_array().is_none_or(|it| !it.is_empty()))
    };
    let reaches = |term: &Value| has(term, "namespaces") || has(term, "namespaceSelector");
    ["podAffinity", "podAntiAffinity"].into_iter().any(|affinity| {
        let list = |which: &str| {
            pod.list(&format!(
                "/spec/affinity/{affinity}/{which}DuringSchedulingIgnoredDuringExecution"
            ))
        };
        list("required").iter().any(reaches)
            || list("preferred").iter().filter_map(|it| it.get("podAffinityTerm")).any(reaches)
    })
}
