//! The app's own ports: whether anybody knows them, and whether the node leads to them.

use std::collections::BTreeSet;

use lasthop_contract::annotation as name;
use lasthop_contract::sidecar_config::{LISTEN_PORT, PlaintextDoor};
use serde_json::Value;

use super::annotations::{Request, Terminate};
use super::code;
use super::objection::{Bearing, Objection};
use super::obstacles::objection;
use super::pod::{self, ContainerAt};
use crate::object::Object;
use crate::path::FieldPath;

/// A port of the node that leads to the app's own port is a door beside the sidecar, and one that
/// nobody closes: not every network plugin holds such traffic against the policies of the pod.
pub(super) fn host_ports(pod: &Object, request: &Request) -> Vec<Objection> {
    let mut objections = Vec::new();
    for container in pod::containers(pod) {
        for port in container.ports().filter(|port| port.is_tcp) {
            let leads_to_app = |it: &&Terminate| it.app.port() == Some(port.number);
            let (Some(host), Some(listener)) =
                (port.host, request.listeners.iter().find(leads_to_app))
            else {
                continue;
            };
            let whither = match request.plaintext_door {
                PlaintextDoor::Told => "in plaintext past the sidecar",
                PlaintextDoor::NotReady => {
                    "past the sidecar: in plaintext, or nowhere once the app listens on 127.0.0.1 alone"
                }
            };
            let message = format!(
                "port {host} of the node leads to the app's port {}, {whither}",
                port.number
            );
            let help = format!(
                "take out `hostPort`, and let a Service lead to the sidecar's port {}",
                listener.listen
            );
            let path = container.path().key("ports").index(port.index).key("hostPort");
            objections.push(Objection {
                bearing: Bearing::Breaks,
                ..objection(code::HOST_PORT, path, message, help)
            });
        }
    }
    objections
}

/// A port to which the sidecar forwards and that no container declares, where they declare others: a slip
/// of the pen, or two numbers the wrong way round. Nothing needs to be declared, so it is only a warning.
///
/// <https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/pod-v1/#ports>
pub(super) fn undeclared(pod: &Object, request: &Request) -> Option<Objection> {
    let tcp = |container: ContainerAt<'_>| {
        container.ports().filter(|port| port.is_tcp).map(|port| port.number).collect::<Vec<_>>()
    };
    let declared: BTreeSet<u16> = pod::containers(pod).flat_map(tcp).collect();
    let of_app: BTreeSet<u16> =
        pod::containers(pod).filter(ContainerAt::may_be_app).flat_map(tcp).collect();
    let aimed = aimed_at(pod);
    let is_stray = |(listen, app): &(u16, u16)| {
        // Where the port to listen on is declared instead, the clash of the two has been told.
        let is_known = [app, listen].into_iter().any(|port| declared.contains(port));
        !is_known && !aimed.contains(app) && (!of_app.is_empty() || is_swapped((*listen, *app)))
    };
    let pairs = request.listeners.iter().filter_map(|it| Some((it.listen, it.app.port()?)));
    let strays: Vec<(u16, u16)> = pairs.filter(is_stray).collect();
    let (first, more) = strays.split_first()?;
    let list = |ports: &mut dyn Iterator<Item = u16>| {
        let sorted: BTreeSet<u16> = ports.collect();
        sorted.iter().map(u16::to_string).collect::<Vec<_>>().join(", ")
    };
    let wrong = list(&mut strays.iter().map(|(_, app)| *app));
    let others = match list(&mut of_app.iter().copied()) {
        none if none.is_empty() => none,
        some => format!("; they declare {some}"),
    };
    let message = format!("the sidecar forwards to {wrong}, which no container declares{others}");
    let declare = format!("declare `containerPort: {}`", first.1);
    let help = match meant(request, &of_app, *first).filter(|_| more.is_empty()) {
        Some(value) => format!("did you mean `{}: \"{value}\"`? Else {declare}", name::PORTS),
        None => format!("if the app does listen there, {declare}"),
    };
    let path = FieldPath::annotation(name::PORTS);
    let objection = objection(code::UNDECLARED_PORT, path, message, help);
    Some(Objection { bearing: Bearing::Warns, ..objection })
}

/// The sidecar's own port in the place of the app's.
fn is_swapped((listen, app): (u16, u16)) -> bool {
    app == LISTEN_PORT && listen != app
}

/// What `lasthop.dev/ports` was probably to say in the place of `wrong`.
fn meant(request: &Request, of_app: &BTreeSet<u16>, wrong: (u16, u16)) -> Option<String> {
    let has_listener = |port: u16| request.listeners.iter().any(|it| it.app.port() == Some(port));
    let free: Vec<u16> = of_app.iter().copied().filter(|port| !has_listener(*port)).collect();
    let (listen, app) = match free[..] {
        [only] => (wrong.0, only),
        _ if is_swapped(wrong) => (wrong.1, wrong.0),
        _ => return None,
    };
    let written = request.listeners.iter().map(|listener| match listener.app.port() {
        _ if listener.listen == wrong.0 => format!("{listen}:{app}"),
        Some(port) => format!("{}:{port}", listener.listen),
        None => listener.listen.to_string(),
    });
    Some(written.collect::<Vec<_>>().join(","))
}

/// The ports of probes and hooks, also of those that the sidecar performs by now.
fn aimed_at(pod: &Object) -> BTreeSet<u16> {
    let mut ports = BTreeSet::new();
    for container in pod::containers(pod) {
        for field in ["startupProbe", "livenessProbe", "readinessProbe", "lifecycle"] {
            collect_ports(container.value.get(field).unwrap_or(&Value::Null), &mut ports);
        }
    }
    let kept = pod.annotation(name::ORIGINAL_PROBES).unwrap_or_default();
    collect_ports(&serde_json::from_str(kept).unwrap_or_default(), &mut ports);
    ports
}

/// What stands under `port`, however deep; the depth of JSON is bounded where it is read.
fn collect_ports(value: &Value, ports: &mut BTreeSet<u16>) {
    let own = value.get("port").and_then(Value::as_u64);
    ports.extend(own.and_then(|port| u16::try_from(port).ok()));
    for member in value.as_object().into_iter().flat_map(|fields| fields.values()) {
        collect_ports(member, ports);
    }
}
