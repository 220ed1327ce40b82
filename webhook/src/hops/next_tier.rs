//! From a sidecar that originates to the sidecar of the next tier: host, Service, workload, listener.

use serde_json::Value;

use super::inside;
use crate::object::{Object, ObjectRef};
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

/// A Service that lacks the port which an upstream names.
pub(crate) struct Lacking {
    /// Its namespace.
    pub(crate) namespace: String,
    /// The Service.
    pub(crate) service: ObjectRef,
    /// The ports that it has.
    pub(crate) ports: Vec<u64>,
}

/// The one of `services`, of the namespace that the host of `outlet` means, that has no such port. What
/// is but a name for something else has no ports of its own, nor has a Service without address.
///
/// <https://kubernetes.io/docs/concepts/services-networking/service/#externalname>
pub(crate) fn portless(outlet: &Outlet, services: &[Object]) -> Option<Lacking> {
    let upstream = &outlet.originate.upstream;
    let ServiceName { namespace, name } =
        ServiceName::of(upstream.host(), &outlet.workload.namespace)?;
    let is_it = |service: &&Object| {
        service.name() == name
            && (service.namespace().is_empty() || service.namespace() == namespace)
    };
    let named: Vec<&Object> = services.iter().filter(is_it).collect();
    let first = *named.first()?;
    let mut ports = Vec::new();
    for service in named {
        let has_none = service.text("/spec/clusterIP") == "None"
            || service.text("/spec/type") == "ExternalName"
            || service.list("/spec/ports").is_empty();
        if has_none {
            return None;
        }
        let tcp = service.list("/spec/ports").iter();
        let tcp = tcp.filter(|it| matches!(it["protocol"].as_str(), None | Some("TCP")));
        ports.extend(tcp.filter_map(|it| it["port"].as_u64()));
    }
    ports.sort_unstable();
    ports.dedup();
    let service = first.reference(&namespace);
    (!ports.contains(&u64::from(upstream.port()))).then_some(Lacking { namespace, service, ports })
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
