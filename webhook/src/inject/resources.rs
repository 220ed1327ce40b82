//! The sidecar's requests and limits.

use lasthop_contract::annotation as name;
use serde_json::{Map, Value, json};

use super::annotations::Knobs;
use super::code;
use super::objection::{Bearing, Objection};
use super::options::Amounts;
use super::quantity::Quantity;
use super::{pod, totals};
use crate::object::Object;
use crate::path::FieldPath;

/// What the sidecar asks for. Of a resource that the pod bounds as a whole and none of its containers
/// states, it states nothing either: they share.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Asked {
    /// Of CPU.
    pub cpu: Option<Pair>,
    /// Of memory.
    pub memory: Option<Pair>,
    /// What the pod goes on to request as a whole, by resource. The API server takes the pod's limit for its
    /// request as long as no container requests anything, and the sidecar is about to be the first that does.
    pub pod_requests: Vec<(&'static str, Quantity)>,
}

/// A request and a limit.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Pair {
    /// What is set aside.
    pub request: Quantity,
    /// What is not exceeded.
    pub limit: Quantity,
}

/// Requests and limits: the annotations over the operator's options, field by field. Of a pair of
/// which one half was written, the other gives way; a Guaranteed pod stays Guaranteed, and what the
/// pod sets as a whole is kept to.
///
/// <https://kubernetes.io/docs/concepts/workloads/pods/pod-qos/>
pub(super) fn merge(pod: &Object, knobs: &Knobs, defaults: &Amounts) -> (Asked, Vec<Objection>) {
    let side = |name, written, default| Side { name, written, default };
    let cpu = (
        side(name::SIDECAR_CPU_REQUEST, knobs.cpu_request.as_ref(), &defaults.cpu_request),
        side(name::SIDECAR_CPU_LIMIT, knobs.cpu_limit.as_ref(), &defaults.cpu_limit),
    );
    let memory = (
        side(name::SIDECAR_MEMORY_REQUEST, knobs.memory_request.as_ref(), &defaults.memory_request),
        side(name::SIDECAR_MEMORY_LIMIT, knobs.memory_limit.as_ref(), &defaults.memory_limit),
    );
    let mut objections = Vec::new();
    let mut pod_requests = Vec::new();
    let mut pair = |resource, sides| {
        let whole = Whole::of(pod, resource);
        let (pair, odd) = pair(pod, &whole, sides);
        objections.extend(odd);
        if pair.is_some() {
            pod_requests.extend(whole.defaulted_request().map(|request| (resource, request)));
        }
        pair
    };
    let (cpu, memory) = (pair("cpu", cpu), pair("memory", memory));
    (Asked { cpu, memory, pod_requests }, objections)
}

/// As a container's `resources`.
pub(super) fn to_json(asked: &Asked) -> Value {
    let Asked { cpu, memory, .. } = asked;
    let of = |amount: fn(&Pair) -> &Quantity| -> Map<String, Value> {
        let stated = [("cpu", cpu), ("memory", memory)].into_iter();
        stated
            .filter_map(|(resource, pair)| {
                Some((resource.to_owned(), amount(pair.as_ref()?).to_string().into()))
            })
            .collect()
    };
    let sides = [("limits", of(|pair| &pair.limit)), ("requests", of(|pair| &pair.request))];
    let stated = sides.into_iter().filter(|(_, amounts)| !amounts.is_empty());
    stated.map(|(side, amounts)| (side.to_owned(), json!(amounts))).collect::<Map<_, _>>().into()
}

fn pair(
    pod: &Object,
    whole: &Whole<'_>,
    (request, limit): (Side<'_>, Side<'_>),
) -> (Option<Pair>, Vec<Objection>) {
    let is_written = request.written.is_some() || limit.written.is_some();
    if whole.limit.is_some() && whole.used.is_none() && !is_written {
        return (None, Vec::new());
    }
    // Where the pod says something as a whole, that alone makes its quality of service.
    let quality = if !totals::is_set_as_a_whole(pod) && is_guaranteed(pod) {
        Quality::Guaranteed
    } else {
        Quality::Other
    };
    let ((wanted, most), objection) = settle(request, limit, quality);
    let mut objections: Vec<Objection> = objection.into_iter().collect();
    let most = whole.bound(&limit, most, whole.limit.clone(), &mut objections);
    let wanted = whole.bound(&request, wanted, whole.rest(), &mut objections);
    let wanted = if request.written.is_some() { wanted } else { wanted.min(most.clone()) };
    if whole.resource == "memory" {
        objections.extend(bytes_alone(request, limit, &most));
    }
    (Some(Pair { request: wanted, limit: most }), objections)
}

/// An amount of memory that was written without `Mi` is one of bytes: as a limit it leaves no room to start
/// in, as a request it sets nothing aside.
fn bytes_alone(request: Side<'_>, limit: Side<'_>, most: &Quantity) -> Option<Objection> {
    let (side, amount) = [limit, request]
        .into_iter()
        .find_map(|side| Some((side, side.written.filter(|amount| amount.is_below_mebi())?)))?;
    let (bearing, what) = if amount == most {
        (Bearing::Breaks, "in which the sidecar does not start")
    } else {
        (Bearing::Warns, "which sets nothing aside")
    };
    Some(Objection {
        code: code::VALUE,
        bearing,
        path: FieldPath::annotation(side.name),
        message: format!("`{}` is {amount}: {} bytes, {what}", side.name, amount.units()),
        help: format!("did you mean `{}: {}Mi`?", side.name, amount.number()),
    })
}

/// What a pod says of a resource for all its containers together. The API server refuses containers
/// that request more between them, or of which one has a higher limit.
///
/// <https://kubernetes.io/docs/tasks/configure-pod-container/assign-pod-level-resources/>
struct Whole<'a> {
    resource: &'a str,
    request: Option<Quantity>,
    limit: Option<Quantity>,
    /// What the user's containers request, where one of them says something.
    used: Option<Quantity>,
    /// Whether pod or containers request anything, however it is written.
    is_requested: bool,
}

impl<'a> Whole<'a> {
    fn of(pod: &Object, resource: &'a str) -> Self {
        let amount = |side| totals::of_whole(pod, side, resource);
        let used = totals::Count::requests(pod, resource, |_| None).total();
        let is_requested = totals::is_requested(pod, resource);
        Self { resource, request: amount("requests"), limit: amount("limits"), used, is_requested }
    }

    /// The request that the API server fills in where neither the pod nor a container has one: the limit.
    fn defaulted_request(&self) -> Option<Quantity> {
        if self.is_requested { None } else { self.limit.clone() }
    }

    /// What is left to request. Without a request of the pod, the API server takes what the containers
    /// request, which its limit bounds.
    fn rest(&self) -> Option<Quantity> {
        let whole = self.request.as_ref().or(self.limit.as_ref())?;
        Some(self.used.as_ref().map_or_else(|| whole.clone(), |used| whole.less(used)))
    }

    /// `amount`, or what is there: nobody is refused for it, since what the API server has filled in for the
    /// pod looks like what a person wrote.
    fn bound(
        &self,
        side: &Side<'_>,
        amount: Quantity,
        there: Option<Quantity>,
        objections: &mut Vec<Objection>,
    ) -> Quantity {
        let Some(there) = there.filter(|there| amount > *there) else { return amount };
        if side.written.is_none() {
            return there;
        }
        objections.push(Objection {
            code: code::RESOURCES,
            bearing: Bearing::Warns,
            path: FieldPath::annotation(side.name),
            message: format!(
                "of the {} that the pod sets as a whole, {there} is left for the sidecar, which was to have {amount}",
                self.resource
            ),
            help: format!("write `{}: \"{there}\"` at most, or raise `spec.resources`", side.name),
        });
        there
    }
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
        ["cpu", "memory"].into_iter().all(|resource| {
            let amount = |side: &str| totals::of_container(container, side, resource);
            let limit = amount("limits").filter(Quantity::is_positive);
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

    #[test]
    fn bytes_that_were_to_be_mebibytes_are_told() {
        let told = |request: Option<&str>, limit: Option<&str>, resources: &Value| {
            let knobs = Knobs {
                memory_request: request.map(quantity),
                memory_limit: limit.map(quantity),
                ..Knobs::default()
            };
            let (_, objections) = merged(resources, &knobs);
            let texts =
                objections.iter().map(|it| (it.bearing, format!("{} {}", it.message, it.help)));
            texts.collect::<Vec<_>>()
        };
        let [(bearing, text)] = &told(None, Some("128"), &json!({}))[..] else { panic!() };
        assert_eq!(*bearing, Bearing::Breaks);
        assert!(text.contains("is 128: 128 bytes, in which the sidecar does not start"), "{text}");
        assert!(text.contains("`lasthop.dev/sidecar-memory-limit: 128Mi`"), "{text}");
        let [(bearing, text)] = &told(Some("32"), None, &json!({}))[..] else { panic!() };
        assert_eq!(*bearing, Bearing::Warns, "{text}");
        // A request alone is the limit, too.
        let guaranteed = json!({ "limits": { "cpu": "1", "memory": "1Gi" } });
        let [(bearing, _)] = told(Some("32"), None, &guaranteed)[..] else { panic!() };
        assert_eq!(bearing, Bearing::Breaks);
        assert_eq!(told(Some("16M"), Some("134217728"), &json!({})), []);
    }

    /// A pod that says `whole` for all its containers, one of which says `container`.
    fn in_whole(whole: &Value, container: &Value, knobs: &Knobs) -> (Value, Vec<Objection>) {
        let containers = json!([{"name": "app", "resources": container}]);
        let pod = Object(json!({"spec": {"resources": whole, "containers": containers}}));
        let (asked, objections) = merge(&pod, knobs, &Options::default().amounts());
        (to_json(&asked), objections)
    }

    #[test]
    fn the_sidecar_shares_what_the_pod_has_as_a_whole() {
        let whole = json!({"limits": {"cpu": "500m", "memory": "256Mi"}});
        let (resources, objections) = in_whole(&whole, &json!({}), &Knobs::default());
        assert_eq!((resources, objections.len()), (json!({}), 0));
        // The other resource is nobody's yet.
        let (resources, _) =
            in_whole(&json!({"limits": {"cpu": 1}}), &json!({}), &Knobs::default());
        assert_eq!(
            resources,
            json!({"limits": {"memory": "128Mi"}, "requests": {"memory": "32Mi"}})
        );
        let (resources, _) =
            in_whole(&json!({"requests": {"memory": "20Mi"}}), &json!({}), &Knobs::default());
        assert_eq!(resources["requests"], json!({"cpu": "10m", "memory": "20Mi"}));
    }

    #[test]
    fn the_sidecar_takes_what_the_containers_leave_of_the_whole() {
        let whole = json!({
            "requests": {"cpu": "500m", "memory": "256Mi"}, "limits": {"cpu": "500m", "memory": "256Mi"},
        });
        let most = json!({"requests": {"cpu": "495m", "memory": "250Mi"}});
        let (resources, objections) = in_whole(&whole, &most, &Knobs::default());
        assert_eq!(
            resources,
            json!({
                "limits": {"cpu": "500m", "memory": "128Mi"},
                "requests": {"cpu": "5m", "memory": "6Mi"},
            })
        );
        assert!(objections.is_empty(), "{objections:?}");
        let all = json!({"limits": {"cpu": "500m"}, "requests": {"memory": "256Mi"}});
        let (resources, _) = in_whole(&whole, &all, &Knobs::default());
        assert_eq!(resources["requests"], json!({"cpu": "0", "memory": "0"}));
    }

    #[test]
    fn what_is_written_gives_way_to_what_the_pod_has_as_a_whole_with_a_word() {
        let whole = json!({"limits": {"cpu": "500m", "memory": "256Mi"}});
        let knobs = Knobs {
            cpu_limit: Some(quantity("2")),
            memory_request: Some(quantity("1Gi")),
            ..Knobs::default()
        };
        let (resources, objections) = in_whole(&whole, &json!({}), &knobs);
        assert_eq!(
            resources,
            json!({
                "limits": {"cpu": "500m", "memory": "256Mi"},
                "requests": {"cpu": "10m", "memory": "256Mi"},
            })
        );
        let told: Vec<(Bearing, String)> =
            objections.iter().map(|it| (it.bearing, it.path.to_string())).collect();
        let at = |name: &str| (Bearing::Warns, format!("metadata.annotations[lasthop.dev/{name}]"));
        assert_eq!(told, [at("sidecar-cpu-limit"), at("sidecar-memory-request")]);
        assert!(objections[0].help.contains("sidecar-cpu-limit: \"500m\""), "{objections:?}");
        let fits = Knobs { cpu_limit: Some(quantity("250m")), ..Knobs::default() };
        let (resources, objections) = in_whole(&whole, &json!({}), &fits);
        assert_eq!(resources, json!({"limits": {"cpu": "250m"}, "requests": {"cpu": "10m"}}));
        assert!(objections.is_empty(), "{objections:?}");
    }

    #[test]
    fn the_first_request_in_a_pod_leaves_the_whole_with_what_it_had() {
        let knobs = Knobs { cpu_request: Some(quantity("20m")), ..Knobs::default() };
        let kept = |whole: &Value, container: &Value| {
            let containers = json!([{"name": "app", "resources": container}]);
            let pod = Object(json!({"spec": {"resources": whole, "containers": containers}}));
            merge(&pod, &knobs, &Options::default().amounts()).0.pod_requests
        };
        let limits = json!({"limits": {"cpu": "800m", "memory": "512Mi"}});
        // Memory is shared, where nobody requests any.
        assert_eq!(kept(&limits, &json!({})), [("cpu", quantity("800m"))]);
        assert_eq!(kept(&limits, &json!({"limits": {"cpu": "100m"}})), []);
        let both = json!({"limits": {"cpu": "800m"}, "requests": {"cpu": "800m"}});
        assert_eq!(kept(&both, &json!({})), []);
        assert_eq!(kept(&json!({}), &json!({})), []);
        // What only somebody else can read is there all the same.
        for amount in [json!("${CPU}"), json!("+500m"), json!("")] {
            let whole = json!({"limits": {"cpu": 1}, "requests": {"cpu": amount}});
            assert_eq!(kept(&whole, &json!({})), [], "{amount}");
            let container = json!({"requests": {"cpu": amount}});
            assert_eq!(kept(&json!({"limits": {"cpu": 1}}), &container), [], "{amount}");
        }
        assert_eq!(kept(&json!({"limits": {"cpu": 1}, "requests": []}), &json!({})), []);
        let none = json!({"limits": {"cpu": 1}, "requests": {"cpu": null, "memory": "1Gi"}});
        assert_eq!(kept(&none, &json!({"requests": null})), [("cpu", quantity("1"))]);
    }
}
