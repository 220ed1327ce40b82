//! Where the ports of a Service lead in pods that ask for a sidecar.

use lasthop_contract::text::escape;
use serde_json::Value;

use super::annotations::{self, Request};
use super::options::Naming;
use super::plan::{port_name, status_port_name};
use super::pod::{self, CONTAINER, ContainerAt};
use super::{Wish, pod_of};
use crate::object::{Object, texts};
use crate::path::FieldPath;

/// A port of a Service that does not lead to a listener of the sidecar.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Astray {
    /// The field: `spec.ports[0].targetPort`.
    pub path: FieldPath,
    /// The port of the Service, as a reader of its manifest would call it.
    pub port: String,
    /// Where it leads.
    pub lead: Lead,
    /// What to write as `targetPort` instead, where one listener is meant.
    pub target: Option<String>,
    /// The listener's number, where it leads to the app of one.
    pub listen: Option<u16>,
}

/// Where a port leads that does not lead to the sidecar.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Lead {
    /// To the application itself, in plaintext.
    Application(u16),
    /// Nowhere: to a name of the sidecar's kind that no listener has.
    Nowhere(String),
    /// Nowhere: to a listener's name, in a cluster where Services do not see the names of a native
    /// sidecar.
    Unseen(String),
}

/// The request of the pods that `object` makes, with the pod, where it can be read.
pub fn request_of(object: &Object) -> Option<(Object, Request)> {
    let (_, pod) = pod_of(object)?;
    if annotations::wish(&pod) != Some(Wish::Inject) {
        return None;
    }
    let request = annotations::read(&pod).0?;
    Some((pod, request))
}

/// Whether `service` selects `pod`.
///
/// <https://kubernetes.io/docs/concepts/services-networking/service/#services-without-selectors>
pub fn selects(service: &Object, pod: &Object) -> bool {
    let selector = texts(service.0.pointer("/spec/selector"));
    let labels = pod.labels();
    !selector.is_empty() && selector.iter().all(|(key, value)| labels.get(key) == Some(value))
}

/// Pods that ask for a sidecar, as a Service sees them.
#[derive(Clone, Copy, Debug)]
pub struct Behind<'a> {
    /// One of them.
    pub pod: &'a Object,
    /// What it asks for.
    pub request: &'a Request,
    /// How a Service calls the sidecar's ports.
    pub naming: Naming,
}

/// The ports of `service` that lead past the sidecar of the pods behind it, or nowhere.
pub fn astray(service: &Object, behind: Behind<'_>) -> Vec<Astray> {
    let ports = service.list("/spec/ports").iter().enumerate();
    ports.filter_map(|(index, port)| astray_port(index, port, behind)).collect()
}

fn astray_port(index: usize, port: &Value, behind: Behind<'_>) -> Option<Astray> {
    let Behind { pod, request, naming } = behind;
    let is_tcp = port.get("protocol").and_then(Value::as_str).is_none_or(|it| it == "TCP");
    if !is_tcp {
        return None;
    }
    let number = port.get("port").and_then(Value::as_u64);
    let target = port.get("targetPort").filter(|target| !target.is_null());
    let path = FieldPath::of(["spec", "ports"]).index(index);
    let path = if target.is_some() { path.key("targetPort") } else { path };
    let port = match (port.get("name").and_then(Value::as_str), number) {
        (Some(name), _) => format!("`{}`", escape(name)),
        (None, number) => number.map(|it| it.to_string()).unwrap_or_default(),
    };
    let leads_to = if let Some(name) = target.and_then(Value::as_str) {
        if let Some(listen) = of_sidecar(name, request) {
            let lead = Lead::Unseen(name.to_owned());
            let target = Some(listen.to_string());
            return (naming == Naming::Number).then_some(Astray {
                path,
                port,
                lead,
                target,
                listen: Some(listen),
            });
        }
        match of_containers(name, pod) {
            Some(number) => number,
            None if name.starts_with(&format!("{CONTAINER}-")) => {
                let target = only_listener(request).map(|listen| called(listen, naming));
                let lead = Lead::Nowhere(name.to_owned());
                return Some(Astray { path, port, lead, target, listen: only_listener(request) });
            }
            None => return None,
        }
    } else {
        u16::try_from(target.map_or(number, Value::as_u64)?).ok()?
    };
    let listener =
        request.listeners.iter().find(|listener| listener.app.port() == Some(leads_to))?;
    let target = Some(called(listener.listen, naming));
    let listen = Some(listener.listen);
    Some(Astray { path, port, lead: Lead::Application(leads_to), target, listen })
}

/// What to write as `targetPort` for a listener.
fn called(listen: u16, naming: Naming) -> String {
    match naming {
        Naming::Name => port_name(listen),
        // A number leads there in every version.
        Naming::Number | Naming::Either => listen.to_string(),
    }
}

/// The number of the port that the sidecar calls so.
fn of_sidecar(name: &str, request: &Request) -> Option<u16> {
    if name == status_port_name() {
        return Some(request.status_port);
    }
    let listening = request.listeners.iter().map(|listener| listener.listen);
    listening.chain(request.redirect_port).find(|listen| port_name(*listen) == name)
}

/// The number of the port that a container calls so.
fn of_containers(name: &str, pod: &Object) -> Option<u16> {
    let mut ports = pod::containers(pod).flat_map(ContainerAt::ports);
    ports.find(|port| port.name == name).map(|port| port.number)
}

fn only_listener(request: &Request) -> Option<u16> {
    match request.listeners.as_slice() {
        [only] => Some(only.listen),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn leads(ports: &Value, naming: Naming) -> Vec<(String, Lead, Option<String>)> {
        let deployment = Object(json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "spec": {"template": {
                "metadata": {"labels": {"app": "web", "tier": "front"}, "annotations": {
                    "lasthop.dev/inject": "true", "lasthop.dev/tls-secret": "web-tls",
                    "lasthop.dev/redirect-port": "8081",
                }},
                "spec": {"containers": [
                    {"name": "app", "ports": [{"name": "http", "containerPort": 8080}]},
                ]},
            }},
        }));
        let service = Object(json!({"spec": {"selector": {"app": "web"}, "ports": ports}}));
        let (pod, request) = request_of(&deployment).unwrap();
        assert!(selects(&service, &pod));
        astray(&service, Behind { pod: &pod, request: &request, naming })
            .into_iter()
            .map(|it| (it.path.to_string(), it.lead, it.target))
            .collect()
    }

    #[test]
    fn ports_that_lead_to_the_app_are_found_by_number_name_and_default() {
        let to_app = |path: &str| {
            (path.to_owned(), Lead::Application(8080), Some("lasthop-8443".to_owned()))
        };
        let ports = json!([
            {"port": 80, "targetPort": 8080},
            {"port": 81, "targetPort": "http"},
            {"port": 8080},
            {"port": 8080, "protocol": "UDP"},
            {"port": 443, "targetPort": "lasthop-8443"},
            {"port": 444, "targetPort": 8443},
            {"port": 82, "targetPort": "lasthop-8081"},
            {"port": 9090, "targetPort": "metrics"},
            {"port": 9091, "targetPort": "lasthop-status"},
        ]);
        assert_eq!(
            leads(&ports, Naming::Name),
            [
                to_app("spec.ports[0].targetPort"),
                to_app("spec.ports[1].targetPort"),
                to_app("spec.ports[2]"),
            ]
        );
        let targets = leads(&ports, Naming::Either).into_iter().map(|(_, _, target)| target);
        assert_eq!(targets.flatten().collect::<Vec<_>>(), ["8443"; 3]);
    }

    #[test]
    fn a_name_that_no_listener_has_leads_nowhere() {
        let nowhere = Lead::Nowhere("lasthop-9443".to_owned());
        assert_eq!(
            leads(&json!([{"port": 443, "targetPort": "lasthop-9443"}]), Naming::Name),
            [("spec.ports[0].targetPort".to_owned(), nowhere, Some("lasthop-8443".to_owned()))]
        );
    }

    #[test]
    fn a_name_that_services_do_not_see_leads_nowhere() {
        let ports = json!([
            {"port": 443, "targetPort": "lasthop-8443"}, {"port": 80, "targetPort": "lasthop-8081"},
            {"port": 444, "targetPort": 8443},
        ]);
        let unseen = |index: usize, name: &str, number: &str| {
            let path = format!("spec.ports[{index}].targetPort");
            (path, Lead::Unseen(name.to_owned()), Some(number.to_owned()))
        };
        assert_eq!(
            leads(&ports, Naming::Number),
            [unseen(0, "lasthop-8443", "8443"), unseen(1, "lasthop-8081", "8081")]
        );
        assert_eq!(leads(&ports, Naming::Name), []);
        assert_eq!(leads(&ports, Naming::Either), []);
    }

    #[test]
    fn a_service_without_selector_selects_nothing() {
        let pod = Object(json!({"metadata": {"labels": {"a": "b"}}}));
        assert!(!selects(&Object(json!({"spec": {}})), &pod));
        assert!(!selects(&Object(json!({"spec": {"selector": {"a": "c"}}})), &pod));
        assert!(!selects(&Object(json!({"spec": {"selector": {"a": "b", "c": "d"}}})), &pod));
    }
}
