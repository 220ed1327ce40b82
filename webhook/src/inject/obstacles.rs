//! What a pod must not be or have, to be given a sidecar.

use std::collections::{BTreeMap, BTreeSet};

use lasthop_contract::annotation as name;
use lasthop_contract::problem::Code;
use lasthop_contract::text::escape;
use serde_json::Value;

use super::annotations::{App, Request, Terminate};
use super::app_ports;
use super::objection::{Bearing, Objection};
use super::options::{Options, Placement};
use super::plan::{House, SIDECAR_UID, sidecar_uid};
use super::pod::{self, CONTAINER, ContainerAt};
use super::{code, istio};
use crate::object::Object;
use crate::path::FieldPath;

/// Everything about `pod` that stands against a sidecar. What follows from the request is judged
/// where there is one.
pub(super) fn find(pod: &Object, request: Option<&Request>, house: House<'_>) -> Vec<Objection> {
    let options = house.options;
    let mut objections: Vec<Objection> =
        [shape(pod), host_network(pod), windows(pod), shared_processes(pod), container_name(pod)]
            .into_iter()
            .flatten()
            .collect();
    if let Some(request) = request {
        objections.extend(ports(pod, request));
        objections.extend(privileged_ports(request));
        objections.extend(app_ports::host_ports(pod, request));
        objections.extend(app_ports::undeclared(pod, request));
        objections.extend(istio::in_the_way(pod, request, house.mesh));
        objections.extend(image(request, options));
        objections.extend(job(pod, request, options));
        objections.extend(drain(pod, request, options));
    }
    objections
}

pub(super) fn objection(
    code: Code,
    path: FieldPath,
    message: impl Into<String>,
    help: impl Into<String>,
) -> Objection {
    Objection { code, bearing: Bearing::Blocks, path, message: message.into(), help: help.into() }
}

fn shape(pod: &Object) -> Option<Objection> {
    let is_list = |pointer: &str| {
        pod.0.pointer(pointer).is_none_or(|value| value.is_array() || value.is_null())
    };
    let misshapen = ["volumes", "initContainers"]
        .into_iter()
        .find(|field| !is_list(&format!("/spec/{field}")))
        .or_else(|| pod.list("/spec/containers").is_empty().then_some("containers"))?;
    let message = match misshapen {
        "containers" => "the pod has no containers".to_owned(),
        other => format!("`{other}` is not a list"),
    };
    let help = "`kubectl explain pod.spec` shows the shape of a pod";
    Some(objection(code::SHAPE, FieldPath::of(["spec", misshapen]), message, help))
}

fn host_network(pod: &Object) -> Option<Objection> {
    let is_on = pod.0.pointer("/spec/hostNetwork").and_then(Value::as_bool) == Some(true);
    is_on.then(|| {
        objection(
            code::HOST_NETWORK,
            FieldPath::of(["spec", "hostNetwork"]),
            "the pod has the network of its node, whose localhost is open to every process there",
            "take out `hostNetwork: true`, or opt out with `lasthop.dev/inject: \"false\"`",
        )
    })
}

fn windows(pod: &Object) -> Option<Objection> {
    let name = pod.text("/spec/os/name");
    let selector = |label: &str| {
        let label = label.replace('/', "~1");
        pod.text(&format!("/spec/nodeSelector/{label}")) == "windows"
    };
    let path = if name == "windows" {
        FieldPath::of(["spec", "os", "name"])
    } else if let Some(label) = OS_LABELS.into_iter().find(|label| selector(label)) {
        FieldPath::of(["spec", "nodeSelector", label])
    } else if goes_to_windows_alone(pod) {
        FieldPath::of(["spec", "affinity", "nodeAffinity", REQUIRED])
    } else {
        return None;
    };
    let help = "end TLS elsewhere for this pod, and opt out with `lasthop.dev/inject: \"false\"`";
    Some(objection(code::WINDOWS, path, "the sidecar does not run on Windows nodes", help))
}

/// What nodes say of their system.
const OS_LABELS: [&str; 2] = ["kubernetes.io/os", "beta.kubernetes.io/os"];

const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";

/// Whether every way to a node that the affinity leaves is one to Windows.
fn goes_to_windows_alone(pod: &Object) -> bool {
    let terms = pod.list(&format!("/spec/affinity/nodeAffinity/{REQUIRED}/nodeSelectorTerms"));
    let is_windows = |expression: &Value| {
        let text = |field: &str| expression.get(field).and_then(Value::as_str).unwrap_or_default();
        let values = expression.get("values").and_then(Value::as_array);
        OS_LABELS.contains(&text("key"))
            && text("operator") == "In"
            && values.is_some_and(|values| *values == ["windows"])
    };
    let leads_there = |term: &Value| {
        let expressions = term.get("matchExpressions").and_then(Value::as_array);
        expressions.into_iter().flatten().any(is_windows)
    };
    !terms.is_empty() && terms.iter().all(leads_there)
}

/// With one process table, a process of the same user (or root) reads the memory and the files of
/// another: the sidecar's keys.
///
/// <https://kubernetes.io/docs/tasks/configure-pod-container/share-process-namespace/>
fn shared_processes(pod: &Object) -> Option<Objection> {
    if pod.0.pointer("/spec/shareProcessNamespace").and_then(Value::as_bool) != Some(true) {
        return None;
    }
    let own = sidecar_uid(pod);
    let reader = pod::containers(pod).find_map(|container| {
        let user = user_of(pod, &container);
        let is_root_barred = barred_from_root(pod, &container);
        match user {
            Some(0) => Some((container, "runs as root".to_owned())),
            Some(uid) if uid == own => {
                Some((container, format!("runs as user {uid}, as the sidecar does")))
            }
            None if !is_root_barred => Some((container, "may run as root".to_owned())),
            Some(_) | None => None,
        }
    });
    let (container, what) = reader?;
    let message = format!(
        "with a shared process namespace, container `{}` can read the sidecar's private keys: it {what}",
        escape(container.name())
    );
    let help = format!(
        "take out `shareProcessNamespace: true`, or give the containers a `runAsUser` that is neither 0 nor {own}"
    );
    let path = FieldPath::of(["spec", "shareProcessNamespace"]);
    Some(objection(code::SHARED_PROCESSES, path, message, help))
}

/// The user that a container runs as, where the pod says it.
fn user_of(pod: &Object, container: &ContainerAt<'_>) -> Option<u64> {
    let own = container.value.pointer("/securityContext/runAsUser").and_then(Value::as_u64);
    own.or_else(|| pod.0.pointer("/spec/securityContext/runAsUser").and_then(Value::as_u64))
}

fn barred_from_root(pod: &Object, container: &ContainerAt<'_>) -> bool {
    let own = container.value.pointer("/securityContext/runAsNonRoot").and_then(Value::as_bool);
    own.or_else(|| pod.0.pointer("/spec/securityContext/runAsNonRoot").and_then(Value::as_bool))
        .unwrap_or(false)
}

fn container_name(pod: &Object) -> Option<Objection> {
    let other = pod::containers(pod).find(|container| container.name() == CONTAINER)?;
    Some(objection(
        code::CONTAINER_NAME,
        other.path().key("name"),
        format!("the name `{CONTAINER}` belongs to the sidecar"),
        "give this container another name",
    ))
}

/// The sidecar's ports: what each is, by which annotation.
fn sidecar_ports(request: &Request) -> Vec<(u16, &'static str, &'static str)> {
    let listeners = request.listeners.iter().map(|it| (it.listen, name::PORTS, "listens on"));
    let upstreams = request
        .upstreams
        .iter()
        .map(|it| (it.listen, name::UPSTREAMS, "takes the app's plaintext on"));
    let redirect = request.redirect_port.map(|port| (port, name::REDIRECT_PORT, "redirects from"));
    let status = (request.status_port, name::STATUS_PORT, "tells its status on");
    listeners.chain(upstreams).chain(redirect).chain([status]).collect()
}

/// The containers of a pod share one network: a port is taken once.
fn ports(pod: &Object, request: &Request) -> Vec<Objection> {
    let mut taken: BTreeMap<u16, String> = BTreeMap::new();
    for container in pod::containers(pod) {
        for port in container.ports().filter(|port| port.is_tcp) {
            let holder = format!("container `{}`", escape(container.name()));
            taken.entry(port.number).or_insert(holder);
        }
    }
    let declared: BTreeSet<u16> = taken.keys().copied().collect();
    for listener in &request.listeners {
        let Some(port) = listener.app.port() else { continue };
        taken.entry(port).or_insert_with(|| "the app".to_owned());
    }
    let wanted: BTreeSet<u16> = sidecar_ports(request).iter().map(|(port, _, _)| *port).collect();
    let mut clashes = Vec::new();
    for (port, annotation, what) in sidecar_ports(request) {
        let Some(holder) = taken.get(&port) else {
            taken.insert(port, "the sidecar itself".to_owned());
            continue;
        };
        let next = (port..=u16::MAX)
            .chain(1024..port)
            .find(|free| !taken.contains_key(free) && !wanted.contains(free))
            .unwrap_or(port);
        let message = format!("the sidecar {what} port {port}, which {holder} uses");
        let listener = request.listeners.iter().find(|it| it.listen == port);
        let upstream = request.upstreams.iter().find(|it| it.listen == port);
        let free = |value: String| format!("the next free one: `{annotation}: \"{value}\"`");
        let help = match (annotation, listener, upstream) {
            (name::PORTS, Some(Terminate { app: App::Port(app), .. }), _)
                if declared.contains(&port) && !declared.contains(app) =>
            {
                format!(
                    "the sidecar's port stands first: did you mean `{annotation}: \"{app}:{port}\"`?"
                )
            }
            (name::PORTS, Some(Terminate { app: App::Port(app), .. }), _) => {
                free(format!("{next}:{app}"))
            }
            (name::UPSTREAMS, _, Some(upstream)) => free(format!("{next}={}", upstream.upstream)),
            _ => free(next.to_string()),
        };
        clashes.push(objection(code::PORT_CLASH, FieldPath::annotation(annotation), message, help));
    }
    clashes
}

/// A node's runtime may keep ports below 1024 for root (`net.ipv4.ip_unprivileged_port_start`).
fn privileged_ports(request: &Request) -> Vec<Objection> {
    let apps = request.listeners.iter().filter_map(|listener| listener.app.port());
    let taken: BTreeSet<u16> =
        sidecar_ports(request).into_iter().map(|(port, _, _)| port).chain(apps).collect();
    let low = sidecar_ports(request).into_iter().filter(|(port, _, _)| *port < 1024);
    low.map(|(port, annotation, what)| {
        let high = (8000 + port..=u16::MAX).find(|high| !taken.contains(high)).unwrap_or(8000 + port);
        Objection {
            bearing: Bearing::Warns,
            ..objection(
                code::PRIVILEGED_PORT,
                FieldPath::annotation(annotation),
                format!(
                    "the sidecar {what} port {port}; it is not root, and some nodes keep ports below \
                     1024 for root"
                ),
                format!(
                    "listen above 1023 and let the Service map the port: `port: {port}`, `targetPort: \
                     {high}`"
                ),
            )
        }
    })
    .collect()
}

fn image(request: &Request, options: &Options) -> Option<Objection> {
    let image = request.knobs.image.as_ref().filter(|image| !options.allows_image(image))?;
    Some(objection(
        code::IMAGE,
        FieldPath::annotation(name::SIDECAR_IMAGE),
        format!("the image `{}` is not among those that are allowed", escape(image)),
        "leave the annotation out, or ask the operator of the webhook for `--allowed-sidecar-images`",
    ))
}

/// An ordinary container keeps running when the Job's own containers are done.
fn job(pod: &Object, request: &Request, options: &Options) -> Option<Objection> {
    let placement = options.placement_for(&request.knobs);
    let policy = pod.text("/spec/restartPolicy");
    (placement == Placement::Ordinary && matches!(policy, "Never" | "OnFailure")).then(|| {
        objection(
            code::JOB,
            FieldPath::of(["spec", "restartPolicy"]),
            "the pod is to end, and a sidecar that is an ordinary container never does",
            "native sidecars end with the pod: Kubernetes 1.29 and `lasthop.dev/sidecar-native: \"true\"`",
        )
    })
}

/// kubelet ends what is left when the pod's time is over, whatever the sidecar still has open.
///
/// <https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#pod-termination>
fn drain(pod: &Object, request: &Request, options: &Options) -> Option<Objection> {
    /// Seconds of a pod that does not say.
    const DEFAULT_GRACE: u64 = 30;
    /// Seconds between the last connection and the end of the sidecar.
    const MARGIN: u64 = 5;
    let knobs = &request.knobs;
    let (delay, timeout) = (
        knobs.drain_delay.unwrap_or(options.drain_delay),
        knobs.drain_timeout.unwrap_or(options.drain_timeout),
    );
    let is_written = knobs.drain_delay.is_some() || knobs.drain_timeout.is_some();
    if delay > timeout && is_written {
        let written = if knobs.drain_delay.is_some() {
            name::SIDECAR_DRAIN_DELAY
        } else {
            name::SIDECAR_DRAIN_TIMEOUT
        };
        return Some(objection(
            code::VALUE,
            FieldPath::annotation(written),
            format!(
                "the drain delay of {delay} s is longer than the drain timeout of {timeout} s, in which it counts"
            ),
            format!(
                "`{}: {}s`, or a shorter delay",
                name::SIDECAR_DRAIN_TIMEOUT,
                u64::from(delay) + MARGIN
            ),
        ));
    }
    let grace = pod.0.pointer("/spec/terminationGracePeriodSeconds").and_then(Value::as_u64);
    let seconds = grace.unwrap_or(DEFAULT_GRACE);
    if u64::from(timeout) < seconds || (grace.is_none() && !is_written) {
        return None;
    }
    let path = if knobs.drain_timeout.is_some() {
        FieldPath::annotation(name::SIDECAR_DRAIN_TIMEOUT)
    } else {
        FieldPath::of(["spec", "terminationGracePeriodSeconds"])
    };
    let message = format!(
        "the sidecar drains for {timeout} s, and kubelet ends the pod after {seconds} s: connections are cut"
    );
    let help = format!("write `terminationGracePeriodSeconds: {}`", u64::from(timeout) + MARGIN);
    Some(Objection { bearing: Bearing::Warns, ..objection(code::VALUE, path, message, help) })
}

const _: () = assert!(SIDECAR_UID != 0, "the sidecar is never root");
