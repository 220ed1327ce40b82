//! LH340: a namespace whose limits refuse a container like the sidecar.

use lasthop_contract::annotation as name;
use lasthop_contract::text::escape;
use serde_json::Value;

use super::Rule;
use crate::check::Scene;
use crate::finding::Finding;
use crate::inject::options::Placement;
use crate::inject::quantity::Quantity;
use crate::inject::totals::{Count, of_whole, quantity};
use crate::inject::{self, Asked, Pair, code};
use crate::object::Object;
use crate::path::FieldPath;
use crate::symptom::At;

pub(crate) static RULE: Rule = Rule {
    code: code::LIMIT_RANGE,
    name: "limit-range",
    summary: "a LimitRange of the namespace refuses the sidecar's requests or limits",
    why: "The API server holds every container against the LimitRanges of its namespace, the sidecar too, and every pod as a \
          whole. A pod with a container that asks for less than the minimum, or for more than the maximum, is not created; the \
          Deployment is there and has no pods.",
    symptoms: &[At::Kubernetes.shows(
        "the Deployment has `0` pods; event `FailedCreate`, \"minimum cpu usage per \
             Container is ..., but request is ...\"",
    )],
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
    let Some(sidecar) = sidecar(scene) else { return Vec::new() };
    let ranges = || scene.room.found().into_iter().flatten().filter(|it| it.is("", "LimitRange"));
    let limits = |of: &'static str| {
        let all =
            ranges().flat_map(|range| range.list("/spec/limits").iter().map(move |it| (range, it)));
        all.filter(move |(_, limit)| limit.get("type").and_then(Value::as_str) == Some(of))
    };
    let defaults = defaults(scene);
    let mut findings = Vec::new();
    let mut tell = |range: &Object, conflicts: Vec<Conflict>| {
        findings.extend(conflicts.into_iter().map(|Conflict { message, help }| {
            let message =
                format!("LimitRange `{}` {message}: no pod is created", escape(range.name()));
            RULE.warning(scene, sidecar.asks.clone(), message).help(help)
        }));
    };
    for (resource, pair) in sidecar.pairs() {
        for (range, limit) in limits("Container") {
            tell(range, of_container(limit, resource, pair));
        }
        for (range, limit) in limits("Pod") {
            tell(range, of_pod(limit, &sidecar.totals(resource, pair, &defaults)));
        }
    }
    findings
}

/// What the `LimitRange`s of the namespace say of containers.
pub(super) fn defaults(scene: &Scene) -> Vec<&Value> {
    let ranges = scene.room.found().into_iter().flatten().filter(|it| it.is("", "LimitRange"));
    let limits = ranges.flat_map(|range| range.list("/spec/limits"));
    limits.filter(|it| it.get("type").and_then(Value::as_str) == Some("Container")).collect()
}

/// The sidecar that an object asks for.
pub(super) struct Sidecar {
    /// Where it asks.
    pub(super) asks: FieldPath,
    /// The pod without it.
    pub(super) pod: Object,
    /// What it is going to ask for.
    pub(super) asked: Asked,
    placement: Placement,
}

/// The sidecar of the object in question, where it gets one.
pub(super) fn sidecar(scene: &Scene) -> Option<Sidecar> {
    if !inject::is_switched_on_in(&scene.home) {
        return None;
    }
    let (prefix, _) = inject::pod_of(&scene.object)?;
    let (pod, request) = inject::service::request_of(&scene.object)?;
    let asked = inject::asked(&pod, &request, &scene.sidecar);
    let placement = scene.sidecar.placement_for(&request.knobs);
    Some(Sidecar { asks: prefix.join(&FieldPath::annotation(name::INJECT)), pod, asked, placement })
}

/// What the sidecar asks for of each resource.
impl Sidecar {
    pub(super) fn pairs(&self) -> impl Iterator<Item = (Resource, &Pair)> {
        let Asked { cpu, memory, .. } = &self.asked;
        let pairs = [(CPU, cpu), (MEMORY, memory)].into_iter();
        pairs.filter_map(|(resource, pair)| Some((resource, pair.as_ref()?)))
    }

    /// What the pod comes to without the sidecar and with it. Containers that say nothing get the
    /// defaults of the namespace; what the pod says as a whole holds whatever its containers say.
    pub(super) fn totals(&self, resource: Resource, pair: &Pair, defaults: &[&Value]) -> Totals {
        let default = |fields: &[&str]| {
            let of = |limit: &&Value, field: &str| quantity(limit.get(field)?.get(resource.word)?);
            fields.iter().find_map(|field| defaults.iter().find_map(|limit| of(limit, field)))
        };
        let requests = Count::requests(&self.pod, resource.word, |_| {
            default(&["defaultRequest", "default", "max"])
        });
        let limits = Count::limits(&self.pod, resource.word, |_| default(&["default", "max"]));
        let whole = |side| of_whole(&self.pod, side, resource.word);
        let both = |count: Count, whole: Option<Quantity>, amount: &Quantity| {
            let without = count.clone().total();
            match whole {
                Some(_) => (whole.clone(), whole),
                None => (without, count.with(amount, self.placement).total()),
            }
        };
        Totals {
            resource,
            request: both(requests, whole("requests"), &pair.request),
            limit: both(limits, whole("limits"), &pair.limit),
        }
    }
}

/// A resource, and the annotations that say how much of it the sidecar gets.
#[derive(Clone, Copy)]
pub(super) struct Resource {
    pub(super) word: &'static str,
    pub(super) request: &'static str,
    pub(super) limit: &'static str,
}

const CPU: Resource =
    Resource { word: "cpu", request: name::SIDECAR_CPU_REQUEST, limit: name::SIDECAR_CPU_LIMIT };

const MEMORY: Resource = Resource {
    word: "memory",
    request: name::SIDECAR_MEMORY_REQUEST,
    limit: name::SIDECAR_MEMORY_LIMIT,
};

/// What stands against the sidecar, and what to do.
struct Conflict {
    message: String,
    help: String,
}

fn bound(limit: &Value, field: &str, resource: Resource) -> Option<Quantity> {
    quantity(limit.get(field)?.get(resource.word)?)
}

/// What `limit` has against the sidecar as a container.
///
/// <https://kubernetes.io/docs/concepts/policy/limit-range/>
fn of_container(limit: &Value, resource: Resource, pair: &Pair) -> Vec<Conflict> {
    let Pair { request, limit: most } = pair;
    let Resource { word, request: request_name, limit: limit_name } = resource;
    let bound = |field| bound(limit, field, resource);
    let least = bound("min").filter(|least| request < least).map(|least| Conflict {
        message: format!(
            "wants at least {least} of {word} of a container, and the sidecar requests {request}"
        ),
        help: format!("annotate `{request_name}: {least}`"),
    });
    let max = bound("max").filter(|max| most > max).map(|max| Conflict {
        message: format!(
            "lets a container have {max} of {word} at most, and the sidecar has a limit of {most}"
        ),
        help: format!("annotate `{limit_name}: {max}`"),
    });
    let ratio = bound("maxLimitRequestRatio").filter(|ratio| most.is_above(ratio, request));
    let ratio = ratio.map(|ratio| Conflict {
        message: format!(
            "lets a limit be {ratio} times the request at most, and the sidecar has {request} and {most} of {word}"
        ),
        help: match most.divided(&ratio) {
            Some(enough) => format!("annotate `{request_name}: {enough}`"),
            None => format!("annotate `{request_name}` and `{limit_name}` with the same amount"),
        },
    });
    least.into_iter().chain(max).chain(ratio).collect()
}

/// What a pod comes to, without the sidecar and with it.
pub(super) struct Totals {
    resource: Resource,
    pub(super) request: (Option<Quantity>, Option<Quantity>),
    pub(super) limit: (Option<Quantity>, Option<Quantity>),
}

/// What `limit` has against the pod as a whole, where the sidecar is the reason. A minimum is none: the
/// sidecar only adds.
fn of_pod(limit: &Value, totals: &Totals) -> Vec<Conflict> {
    let Totals { resource, request: (bare_request, request), limit: (bare_most, most) } = totals;
    let (Some(request), Some(most)) = (request, most) else { return Vec::new() };
    let Resource { word, request: request_name, limit: limit_name } = *resource;
    let bound = |field| bound(limit, field, *resource);
    let was_above = |max: &Quantity| bare_most.as_ref().is_some_and(|bare| bare > max);
    let max = bound("max").filter(|max| most > max && !was_above(max)).map(|max| {
        let rest = bare_most.as_ref().map_or_else(|| max.clone(), |bare| max.less(bare));
        Conflict {
            message: format!(
                "lets a pod have {max} of {word} at most, and with the sidecar this one has {most}"
            ),
            help: if rest.is_positive() {
                format!("annotate `{limit_name}: {rest}`")
            } else {
                "give the containers less, or raise the LimitRange".to_owned()
            },
        }
    });
    let had_ratio = |ratio: &Quantity| match (bare_request, bare_most) {
        (Some(request), Some(most)) => most.is_above(ratio, request),
        _ => false,
    };
    let ratio = bound("maxLimitRequestRatio")
        .filter(|ratio| most.is_above(ratio, request) && !had_ratio(ratio));
    let ratio = ratio.map(|ratio| Conflict {
        message: format!(
            "lets the limit of a pod be {ratio} times its request at most, and with the sidecar this one has \
             {request} and {most} of {word}"
        ),
        help: format!("annotate `{request_name}` and `{limit_name}` with the same amount"),
    });
    max.into_iter().chain(ratio).collect()
}
