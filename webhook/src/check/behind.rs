//! The sidecars that an Ingress leads to: backend, Service, workload, listener.

use std::sync::Arc;

use serde_json::Value;

use super::scene::SeenSecret;
use crate::inject::annotations::Terminate;
use crate::inject::service::{request_of, selects};
use crate::inject::{self, Maker};
use crate::object::{Object, ObjectRef};
use crate::path::FieldPath;
use crate::surroundings::Sighting;

/// A listener of a sidecar that a backend of an Ingress leads to.
#[derive(Clone, Debug)]
pub struct Behind {
    /// The field that names the Service.
    pub path: FieldPath,
    /// The Service.
    pub service: String,
    /// The workload whose pods have the sidecar.
    pub workload: ObjectRef,
    /// The Secrets that the listener serves, the one for clients without a server name first.
    pub certificates: Vec<(String, Sighting<Arc<SeenSecret>>)>,
}

/// No more backends than this are followed.
const MOST_BACKENDS: usize = 64;

/// The listeners behind the backends of `ingress`, before anybody has looked at their Secrets.
pub(super) fn of(
    ingress: &Object,
    namespace: &str,
    services: &[Object],
    workloads: &[Object],
) -> Vec<Behind> {
    let mut behind = Vec::new();
    for (path, backend) in backends(ingress).into_iter().take(MOST_BACKENDS) {
        let name = backend.pointer("/service/name").and_then(Value::as_str).unwrap_or_default();
        let Some(service) = services.iter().find(|it| it.name() == name) else { continue };
        let Some(port) = port_of(service, backend.pointer("/service/port")) else { continue };
        for workload in workloads.iter().filter(|it| Maker::of(it) != Maker::Controller) {
            let Some((pod, request)) = request_of(workload) else { continue };
            if !selects(service, &pod) {
                continue;
            }
            let Some(listener) = request.listeners.iter().find(|it| leads_to(port, it)) else {
                continue;
            };
            let unseen = || Sighting::Unknown("nobody has looked".to_owned());
            behind.push(Behind {
                path: path.key("service").key("name"),
                service: name.to_owned(),
                workload: workload.reference(namespace),
                certificates: listener
                    .tls_secrets
                    .iter()
                    .map(|secret| (secret.clone(), unseen()))
                    .collect(),
            });
        }
    }
    behind
}

/// The backends of an Ingress of `networking.k8s.io/v1`, and where they stand.
fn backends(ingress: &Object) -> Vec<(FieldPath, &Value)> {
    let spec = FieldPath::of(["spec"]);
    let mut paths = vec![spec.key("defaultBackend")];
    for (at, rule) in ingress.list("/spec/rules").iter().enumerate() {
        let of_rule = rule.pointer("/http/paths").and_then(Value::as_array);
        let count = of_rule.map_or(0, Vec::len);
        let all = spec.key("rules").index(at).key("http").key("paths");
        paths.extend((0..count).map(|path| all.index(path).key("backend")));
    }
    paths.into_iter().filter_map(|path| Some((path.clone(), path.find(&ingress.0)?))).collect()
}

/// The port of a Service that a backend means by number or name.
fn port_of<'a>(service: &'a Object, meant: Option<&Value>) -> Option<&'a Value> {
    let meant = meant?;
    service.list("/spec/ports").iter().find(|port| {
        let same = |field: &str, other: &str| {
            meant.get(field).is_some_and(|it| !it.is_null() && port.get(other) == Some(it))
        };
        same("number", "port") || same("name", "name")
    })
}

/// Whether a port of a Service leads to `listener`.
fn leads_to(port: &Value, listener: &Terminate) -> bool {
    let listen = listener.listen;
    match port.get("targetPort").filter(|target| !target.is_null()).or_else(|| port.get("port")) {
        Some(Value::String(name)) => *name == inject::port_name(listen),
        Some(number) => number.as_u64() == Some(u64::from(listen)),
        None => false,
    }
}
