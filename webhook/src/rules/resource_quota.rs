//! LH341: a namespace that has no room left for the sidecar.

use lasthop_contract::text::escape;
use serde_json::Value;

use super::Rule;
use super::limit_range::{Sidecar, defaults, sidecar};
use crate::check::Scene;
use crate::finding::Finding;
use crate::inject::code;
use crate::inject::quantity::Quantity;
use crate::inject::totals::{of_whole, quantity};
use crate::object::Object;
use crate::symptom::At;

pub(crate) static RULE: Rule = Rule {
    code: code::QUOTA,
    name: "resource-quota",
    summary: "what is left of a ResourceQuota is enough for the pod, and not for the pod with its sidecar",
    why: "The sidecar's requests and limits count. Where the quota is used up, the API server creates no further pod: a \
          rolling update stops at the first.",
    symptoms: &[At::Kubernetes.shows(
        "the rollout stops; event `FailedCreate`, \"exceeded quota: ..., requested: ..., \
             used: ..., limited: ...\"",
    )],
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
    let wanted = wanted(&sidecar, &defaults(scene));
    let quotas = scene.room.found().into_iter().flatten();
    let quotas = quotas.filter(|it| it.is("", "ResourceQuota") && counts(it, &sidecar.pod));
    let mut findings = Vec::new();
    for quota in quotas {
        for wanted in &wanted {
            let of = |field: &str| quantity(quota.0.pointer(field)?.get(wanted.counted)?);
            let Some(hard) = of("/spec/hard") else { continue };
            let used = of("/status/used");
            let Some((what, help)) = wanted.obstacle(&hard, used.as_ref()) else { continue };
            let message = format!(
                "ResourceQuota `{}` has {hard} of {}, {} is used, and {what}",
                escape(quota.name()),
                wanted.counted,
                used.map_or_else(|| "nothing".to_owned(), |used| used.to_string())
            );
            findings.push(RULE.warning(scene, sidecar.asks.clone(), message).help(help));
        }
    }
    findings
}

/// What a pod with the sidecar adds to the account of a quota.
struct Wanted<'a> {
    /// The word of the quota.
    counted: &'static str,
    /// The annotation that says how much of it is the sidecar's.
    annotation: &'static str,
    /// The sidecar's part.
    own: &'a Quantity,
    /// The pod's without the sidecar, and with it.
    pod: (Option<Quantity>, Option<Quantity>),
}

impl Wanted<'_> {
    /// Why there is no room for the sidecar where there is some for the pod; and what to do.
    fn obstacle(&self, hard: &Quantity, used: Option<&Quantity>) -> Option<(String, String)> {
        let is_too_much = |amount: &Quantity| amount.exceeds_rest(hard, used);
        if is_too_much(self.own) {
            let help = "raise the quota, or lower what the sidecar asks for".to_owned();
            return Some((format!("one sidecar asks for {}", self.own), help));
        }
        let (Some(without), Some(with)) = &self.pod else { return None };
        if is_too_much(without) || !is_too_much(with) {
            return None;
        }
        let rest = used.map_or_else(|| hard.clone(), |used| hard.less(used)).less(without);
        let help = if rest.is_positive() {
            format!("raise the quota, or annotate `{}: {rest}`", self.annotation)
        } else {
            "raise the quota, or give the containers less".to_owned()
        };
        Some((format!("a pod with the sidecar asks for {with}"), help))
    }
}

/// Everything that counts, in the words of a quota. What the pod says as a whole is what counts, whatever
/// its containers say.
fn wanted<'a>(sidecar: &'a Sidecar, defaults: &[&Value]) -> Vec<Wanted<'a>> {
    let mut wanted = Vec::new();
    for (resource, pair) in sidecar.pairs() {
        let (of_requests, of_limits) = match resource.word {
            "cpu" => (["requests.cpu", "cpu"], "limits.cpu"),
            _ => (["requests.memory", "memory"], "limits.memory"),
        };
        let totals = sidecar.totals(resource, pair, defaults);
        let counts = |side| of_whole(&sidecar.pod, side, resource.word).is_none();
        if counts("requests") {
            wanted.extend(of_requests.map(|counted| Wanted {
                counted,
                annotation: resource.request,
                own: &pair.request,
                pod: totals.request.clone(),
            }));
        }
        if counts("limits") {
            wanted.push(Wanted {
                counted: of_limits,
                annotation: resource.limit,
                own: &pair.limit,
                pod: totals.limit,
            });
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
