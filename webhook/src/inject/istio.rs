//! A pod in Istio's mesh: whose connections its proxy takes, and whose probes its agent performs.
//!
//! <https://istio.io/latest/docs/ops/configuration/mesh/app-health-check/>

use std::collections::BTreeMap;

use lasthop_contract::annotation as name;
use serde_json::{Map, Value};

use super::annotations::Request;
use super::code;
use super::objection::{Bearing, Objection};
use super::obstacles::objection;
use super::pod::{self, CONTAINER};
use crate::object::Object;
use crate::path::FieldPath;

/// The annotation with the ports whose connections are not the proxy's.
pub(super) const EXCLUDED: &str = "traffic.sidecar.istio.io/excludeInboundPorts";

/// And the one with those that are, where not all of them.
const INCLUDED: &str = "traffic.sidecar.istio.io/includeInboundPorts";

/// Who asks for Istio's proxy, and who for none.
const INJECT: &str = "sidecar.istio.io/inject";

/// The container of the proxy, and of the agent in it.
const PROXY: &str = "istio-proxy";

/// The port of the agent.
const AGENT_PORT: u64 = 15020;

/// Whose proxy the pods of a namespace get.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Mesh {
    /// Nobody's that is known of.
    Unknown,
    /// Istio's, by a label of the namespace.
    Istio,
}

impl Mesh {
    /// What the labels of a namespace say.
    pub(super) fn of(namespace_labels: Option<&BTreeMap<&str, &str>>) -> Self {
        let label = |key: &str| namespace_labels.and_then(|labels| labels.get(key)).copied();
        match (label("istio-injection"), label("istio.io/rev")) {
            (Some("enabled"), _) | (None, Some(_)) => Self::Istio,
            _ => Self::Unknown,
        }
    }

    fn has(self, pod: &Object) -> bool {
        let labels = pod.labels();
        let asked = labels.get(INJECT).copied().or_else(|| pod.annotation(INJECT));
        let is_there = || pod::containers(pod).any(|container| container.name() == PROXY);
        match asked {
            Some("false") => false,
            Some("true") => true,
            _ => self == Self::Istio || is_there(),
        }
    }
}

/// Under a policy of `STRICT`, Istio's proxy refuses whoever is not of the mesh: kubelet, which asks the
/// sidecar whether it is ready, and a balancer beyond the mesh. Which policy holds, nobody can see here.
///
/// <https://istio.io/latest/docs/reference/config/security/peer_authentication/>
pub(super) fn in_the_way(pod: &Object, request: &Request, mesh: Mesh) -> Option<Objection> {
    if !mesh.has(pod) || pod::own(pod).is_some_and(|own| is_asked_by_agent(own.value)) {
        return None;
    }
    let (missing, value) = excluded(pod, request);
    if missing == 0 {
        return None;
    }
    let objection = objection(
        code::MESH,
        FieldPath::annotation(name::INJECT),
        "Istio's proxy takes what comes to the sidecar's ports: under `STRICT` the pod never gets ready",
        format!("annotate `{EXCLUDED}: \"{value}\"`"),
    );
    Some(Objection { bearing: Bearing::Warns, ..objection })
}

/// How many of the sidecar's ports the proxy takes, and what the annotation is to say so that it takes none.
pub(super) fn excluded(pod: &Object, request: &Request) -> (usize, String) {
    let numbers = |key: &str| {
        let list = pod.annotation(key).map(|it| it.split(',').map(str::trim).collect::<Vec<_>>());
        list.map(|list| list.into_iter().filter(|it| !it.is_empty()).collect::<Vec<&str>>())
    };
    let own = request.listeners.iter().map(|listener| listener.listen);
    let own = own.chain(request.redirect_port).chain([request.status_port]);
    let mut all: Vec<String> =
        numbers(EXCLUDED).unwrap_or_default().into_iter().map(ToOwned::to_owned).collect();
    let taken = numbers(INCLUDED).filter(|ports| !ports.contains(&"*"));
    let is_taken =
        |port: &String| taken.as_ref().is_none_or(|taken| taken.contains(&port.as_str()));
    let missing: Vec<String> = own
        .map(|port| port.to_string())
        .filter(|port| !all.contains(port) && is_taken(port))
        .collect();
    all.extend(missing.iter().cloned());
    (missing.len(), all.join(","))
}

/// Whether Istio's agent performs the probe with this `httpGet`, of this container or (where it is empty) of
/// any.
pub(super) fn performs(http_get: &Value, container: &str) -> bool {
    let path = http_get.get("path").and_then(Value::as_str).unwrap_or_default();
    let of_container = path
        .strip_prefix("/app-health/")
        .and_then(|rest| rest.split_once('/'))
        .is_some_and(|(name, _)| container.is_empty() || name == container);
    http_get.get("port").and_then(Value::as_u64) == Some(AGENT_PORT) && of_container
}

/// The port at which the agent performs the probe, where it says so.
pub(super) fn aim(pod: &Object, http_get: &Value) -> Option<u16> {
    let prober = prober(pod, http_get)?;
    let action = ["httpGet", "tcpSocket", "grpc"].into_iter().find_map(|it| prober.get(it))?;
    u16::try_from(action.get("port")?.as_u64()?).ok()
}

/// What stands in a probe of the sidecar since Istio's agent performs it: it still is `planned`, in a way that
/// goes past the proxy.
pub(super) fn performed<'a>(pod: &Object, own: &'a Value, planned: &Value) -> Option<&'a Value> {
    let current = own.get("httpGet").filter(|it| performs(it, CONTAINER))?;
    let (kept, planned) = (prober(pod, current)?, planned.get("httpGet")?);
    let is_same = |field: &str| kept.pointer(&format!("/httpGet/{field}")) == planned.get(field);
    (is_same("path") && is_same("port")).then_some(current)
}

fn is_asked_by_agent(own: &Value) -> bool {
    own.pointer("/startupProbe/httpGet").is_some_and(|it| performs(it, CONTAINER))
}

/// What the agent performs stands in a variable of its container, by path; with numbers for ports.
fn prober(pod: &Object, http_get: &Value) -> Option<Value> {
    let mut variables = pod::containers(pod)
        .filter_map(|container| container.value.get("env").and_then(Value::as_array))
        .flatten();
    let probers = variables
        .find(|it| it.get("name").and_then(Value::as_str) == Some("ISTIO_KUBE_APP_PROBERS"))?;
    let mut probers: Map<String, Value> =
        serde_json::from_str(probers.get("value")?.as_str()?).ok()?;
    probers.remove(http_get.get("path")?.as_str()?)
}
