//! What an object says of TLS towards Services, whichever host it is for: the hops that it has a
//! balancer re-encrypt.

use std::collections::BTreeSet;

use lasthop_contract::problem::Code;
use serde_json::Value;

use super::{Port, Reencrypted, Towards, ambassador, gateway_api, inside, istio, traefik};
use crate::object::{Object, ObjectRef};
use crate::path::FieldPath;
use crate::rehearse::Place;
use crate::surroundings::Listed;

/// A Service, and how a balancer speaks to ports of it.
#[derive(Clone, Debug)]
pub(crate) struct Stated {
    /// The namespace of the Service.
    pub(crate) namespace: String,
    pub(super) service: String,
    pub(super) ports: Ports,
    pub(super) towards: Towards,
    pub(super) fields: Fields,
    pub(super) with: Option<ObjectRef>,
    pub(super) certainty: Certainty,
}

/// Ports of a Service.
#[derive(Clone, Debug)]
pub(super) enum Ports {
    All,
    AllBut(Vec<u64>),
    One(Port),
}

/// Whether the object alone says it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Certainty {
    /// It does.
    Said,
    /// Something that is not looked at may say otherwise.
    Likely,
}

/// The fields that decide about a hop, in the object which configures it.
#[derive(Clone, Debug)]
pub(crate) struct Fields {
    /// What has TLS spoken; it also stands for what has no field of its own.
    pub(crate) speech: FieldPath,
    /// What names the certificate that is presented.
    pub(crate) presents: Option<FieldPath>,
    /// What names the CAs.
    pub(crate) trusts: Option<FieldPath>,
    /// What names the server that is expected.
    pub(crate) expects: Option<FieldPath>,
}

impl Fields {
    /// One field that stands for everything.
    pub(crate) fn one(field: FieldPath) -> Self {
        Self { speech: field, presents: None, trusts: None, expects: None }
    }

    /// The field that a refusal of this code is about.
    pub(crate) fn about(&self, code: Option<Code>) -> &FieldPath {
        let field = match code.map(|code| code.0) {
            Some(501..=539) => &self.presents,
            Some(547) => &self.expects,
            Some(540..=546) => &self.trusts,
            _ => &None,
        };
        field.as_ref().unwrap_or(&self.speech)
    }
}

/// What stands beside an object and is needed to understand it.
#[derive(Debug, Default)]
pub(crate) struct Beside {
    /// The objects of the kind that [`needs`] names, of all namespaces.
    pub(crate) objects: Vec<Object>,
    /// The namespaces of the pods of Istio Gateways.
    pub(crate) proxies: BTreeSet<String>,
}

/// The kind of object that `object` may name in what it says of TLS towards Services.
pub(crate) fn needs(object: &Object) -> Option<Listed> {
    match (object.group(), object.kind()) {
        (istio::GROUP, "DestinationRule") => Some(Listed::IstioGateways),
        (ambassador::GROUP, "Mapping") => Some(Listed::TlsContexts),
        (traefik::GROUP, "IngressRoute") => Some(Listed::Transports),
        ("", "Service") if traefik::is_meant(object) => Some(Listed::Transports),
        _ => None,
    }
}

/// What `object`, which lives in `namespace`, says of TLS towards Services.
pub(crate) fn of(object: &Object, namespace: &str, beside: &Beside) -> Vec<Stated> {
    match (object.group(), object.kind()) {
        (gateway_api::GROUP, "BackendTLSPolicy") => gateway_api::stated(object, namespace),
        (istio::GROUP, "DestinationRule") => istio::stated(object, namespace, &beside.proxies),
        (ambassador::GROUP, "Mapping") => ambassador::stated(object, &beside.objects),
        (traefik::GROUP, "IngressRoute") => traefik::of_route(object, namespace, &beside.objects),
        ("", "Service") => traefik::of_service(object, namespace, &beside.objects),
        _ => Vec::new(),
    }
}

impl Stated {
    /// The hops to the listeners of `workloads` behind the Service, all of its namespace.
    pub(crate) fn hops(&self, (services, workloads): (&[Object], &[Object])) -> Vec<Reencrypted> {
        let Some(service) = services.iter().find(|it| it.name() == self.service) else {
            return Vec::new();
        };
        let ports = self.meant(service);
        let is_reached = |place: &Place| ports.iter().any(|port| inside::leads_to(port, place));
        let places =
            inside::pods(workloads, service).flat_map(|it| Place::all(it, &self.namespace));
        places.filter(is_reached).map(|place| self.to(place)).collect()
    }

    fn meant<'a>(&self, service: &'a Object) -> Vec<&'a Value> {
        let all = service.list("/spec/ports").iter();
        match &self.ports {
            Ports::All => all.collect(),
            Ports::AllBut(numbers) => {
                let is_other = |port: &&Value| {
                    port.get("port").and_then(Value::as_u64).is_none_or(|it| !numbers.contains(&it))
                };
                all.filter(is_other).collect()
            }
            Ports::One(port) => inside::port_of(service, port).into_iter().collect(),
        }
    }

    fn to(&self, place: Place) -> Reencrypted {
        let Self { fields, towards, with, certainty, .. } = self;
        let mut towards = towards.clone();
        // Which of several certificates is served depends on the name that is asked for.
        if towards.asks_for.is_none() && place.terminate.tls_secrets.len() > 1 {
            towards.trusts = None;
        }
        Reencrypted {
            fields: fields.clone(),
            towards,
            place,
            with: with.clone(),
            certainty: *certainty,
        }
    }
}
