//! From a sidecar that originates to the sidecar of the next tier: host, Service, workload, listener.

use serde_json::Value;

use super::inside;
use crate::object::Object;
use crate::path::FieldPath;
use crate::rehearse::{Outlet, Place};

/// The Service that a host means to a pod: its namespace and name.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct ServiceName {
    /// The namespace.
    pub(crate) namespace: String,
    /// The name.
    pub(crate) name: String,
}

impl ServiceName {
    /// The Service that `host` may mean to the pods of `namespace`: `web`, `web.shop`, `web.shop.svc`
    /// and what stands behind that, and a pod of it by name. Whether there is one, is found out by looking:
    /// where none is, the resolver goes on to ask the world.
    ///
    /// <https://kubernetes.io/docs/concepts/services-networking/dns-pod-service/>
    pub(crate) fn of(host: &str, namespace: &str) -> Option<Self> {
        let (host, is_absolute) = match host.strip_suffix('.') {
            Some(host) => (host, true),
            None => (host, false),
        };
        let labels: Vec<&str> = host.split('.').collect();
        let (name, namespace) = match labels.as_slice() {
            [name] if !is_absolute => (*name, namespace),
            [name, of] if !is_absolute => (*name, *of),
            [name, of, "svc"] if !is_absolute => (*name, *of),
            [name, of, "svc", _, ..] => (*name, *of),
            [_pod, name, of, "svc"] if !is_absolute => (*name, *of),
            [_pod, name, of, "svc", _, ..] => (*name, *of),
            _ => return None,
        };
        let is_address = host.parse::<std::net::IpAddr>().is_ok();
        (!is_address && !name.is_empty() && !namespace.is_empty())
            .then(|| Self { namespace: namespace.to_owned(), name: name.to_owned() })
    }
}

/// The listeners to which `outlet` leads through one of the `services`, all of them and the `workloads`
/// of `namespace`.
pub(crate) fn places(
    outlet: &Outlet,
    namespace: &str,
    (services, workloads): (&[Object], &[Object]),
) -> Vec<Place> {
    let upstream = &outlet.originate.upstream;
    let Some(meant) = ServiceName::of(upstream.host(), &outlet.workload.namespace) else {
        return Vec::new();
    };
    let is_it = |service: &&Object| meant.namespace == namespace && service.name() == meant.name;
    let Some(service) = services.iter().find(is_it) else { return Vec::new() };
    let places = inside::pods(workloads, service).flat_map(|it| Place::all(it, namespace));
    places.filter(|place| leads_to(service, upstream.port(), place)).collect()
}

/// Whether `port` of `service` leads to the listener at `place`. Without an address of its own a Service
/// is but a name for the pods, and the port is theirs.
///
/// <https://kubernetes.io/docs/concepts/services-networking/service/#headless-services>
fn leads_to(service: &Object, port: u16, place: &Place) -> bool {
    if service.text("/spec/clusterIP") == "None" {
        return port == place.port();
    }
    let number = super::Port::Number(u64::from(port));
    inside::port_of(service, &number).is_some_and(|port| inside::leads_to(port, place))
}

/// The first port of `service` that leads to the listener at `place`.
pub(crate) fn port_towards(service: &Object, place: &Place) -> Option<FieldPath> {
    let ports: &[Value] = service.list("/spec/ports");
    let at = ports.iter().position(|port| inside::leads_to(port, place))?;
    Some(FieldPath::of(["spec", "ports"]).index(at))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_means_a_service_as_the_resolver_of_a_pod_has_it() {
        let of = |host: &str| {
            ServiceName::of(host, "shop").map(|it| format!("{}/{}", it.namespace, it.name))
        };
        for (host, service) in [
            ("db", "shop/db"),
            ("db.data", "data/db"),
            ("db.data.svc", "data/db"),
            ("db.data.svc.cluster.local", "data/db"),
            ("db.data.svc.cluster.local.", "data/db"),
            ("db.data.svc.corp.example.com", "data/db"),
            ("db-0.db.data.svc", "data/db"),
            ("db-0.db.data.svc.cluster.local", "data/db"),
        ] {
            assert_eq!(of(host).as_deref(), Some(service), "{host}");
        }
        for host in ["db.", "db.data.", "10.0.0.1", "fd00::1", "api.shop.example.com", "a.b.c.d"] {
            assert_eq!(of(host), None, "{host}");
        }
    }
}
