//! Istio: `VirtualService`, the Gateway above it, and `DestinationRule` towards the Service.
//!
//! <https://istio.io/latest/docs/reference/config/networking/>

use std::collections::BTreeSet;

use serde_json::Value;

use super::stated::{Certainty, Fields, Ports, Stated};
use super::{Anchors, Backend, Hop, Lead, Port, Presents, Speech, State, Towards, World, takes};
use crate::object::Object;
use crate::path::FieldPath;

pub(super) const GROUP: &str = "networking.istio.io";

/// The leads of every `VirtualService` behind a Gateway that takes `host` in.
pub(super) fn leads(world: &World<'_>, host: &str) -> Vec<Lead> {
    let mut leads = Vec::new();
    for service in world.of(GROUP, "VirtualService") {
        let mut hosts = service.list("/spec/hosts").iter().filter_map(Value::as_str);
        if !hosts.any(|pattern| takes(pattern, host)) {
            continue;
        }
        for gateway in service.list("/spec/gateways").iter().filter_map(Value::as_str) {
            let Some((first, balancer)) = entrance(world, service, gateway, host) else { continue };
            for rule in service.list("/spec/http") {
                let routes = rule.get("route").and_then(Value::as_array);
                leads.extend(routes.into_iter().flatten().filter_map(|route| {
                    let backend = backend_of(service, route.get("destination")?)?;
                    Some(Lead {
                        entrance: service.reference(service.namespace()),
                        path: path(rule),
                        first: first.clone(),
                        balancer: balancer.clone(),
                        towards: towards(world, &backend),
                        service: backend,
                    })
                }));
            }
        }
    }
    leads
}

fn text<'a>(value: &'a Value, pointer: &str) -> Option<&'a str> {
    value.pointer(pointer).and_then(Value::as_str).filter(|text| !text.is_empty())
}

fn path(rule: &Value) -> String {
    let uri = rule.pointer("/match/0/uri").and_then(Value::as_object);
    let value = uri.and_then(|uri| uri.values().next()).and_then(Value::as_str);
    value.unwrap_or("/").to_owned()
}

/// Client to Gateway: the server that takes `host` in. `mesh` is no way from outside.
fn entrance(
    world: &World<'_>,
    service: &Object,
    gateway: &str,
    host: &str,
) -> Option<(Hop, String)> {
    if gateway == "mesh" {
        return None;
    }
    let (namespace, name) =
        gateway.split_once('/').unwrap_or_else(|| (service.namespace(), gateway));
    let called = format!("Istio Gateway {}/{}", super::escape(namespace), super::escape(name));
    let Some(found) = world.find((GROUP, "Gateway"), namespace, name) else {
        let hop =
            Hop::new(State::Unknown).fact(format!("{called} is not among what was looked at"));
        return Some((hop, called));
    };
    let takes_in = |server: &&Value| {
        let hosts = server.get("hosts").and_then(Value::as_array).into_iter().flatten();
        let mut hosts = hosts.filter_map(Value::as_str);
        // A host may have the namespace of its VirtualServices before it.
        hosts.any(|it| takes(it.split_once('/').map_or(it, |(_, host)| host), host))
    };
    let servers = found.list("/spec/servers").iter().filter(takes_in);
    let server = servers.max_by_key(|server| server.get("tls").is_some())?;
    let secret = text(server, "/tls/credentialName").map(super::escape);
    let presents = match secret {
        Some(secret) => format!("the balancer presents Secret `{secret}` of its own namespace"),
        None => "the balancer presents a certificate of its own files".to_owned(),
    };
    let hop = match text(server, "/tls/mode") {
        None if server.get("tls").is_none() => {
            Hop::new(State::Plaintext).fact("the server has no `tls`")
        }
        None | Some("SIMPLE") => Hop::new(State::Tls).fact(presents).fact("the client verifies it"),
        Some("MUTUAL") => Hop::new(State::MutualTls)
            .fact(presents)
            .fact("the client verifies it, and the balancer the client"),
        Some("OPTIONAL_MUTUAL") => Hop::new(State::Tls)
            .fact(presents)
            .fact("the client verifies it; the balancer verifies a client that presents something"),
        Some("PASSTHROUGH") => {
            Hop::new(State::Tls).fact("passed through: the Gateway does not end it")
        }
        Some(other) => {
            Hop::new(State::Unknown).fact(format!("tls mode `{}`", super::escape(other)))
        }
    };
    Some((hop, called))
}

/// `web`, `web.shop`, `web.shop.svc.cluster.local`.
fn backend_of(service: &Object, destination: &Value) -> Option<Backend> {
    let host = text(destination, "/host")?;
    let mut labels = host.split('.');
    let name = labels.next()?.to_owned();
    let namespace = labels.next().unwrap_or_else(|| service.namespace()).to_owned();
    let number = destination.pointer("/port/number").and_then(Value::as_u64);
    Some(Backend { namespace, name, port: number.map_or(Port::Only, Port::Number) })
}

/// Gateway to Service: what a `DestinationRule` says.
fn towards(world: &World<'_>, backend: &Backend) -> Towards {
    let is_meant = |rule: &&Object| {
        let mut labels = rule.text("/spec/host").split('.');
        let name = labels.next().unwrap_or_default();
        let namespace = labels.next().unwrap_or_else(|| rule.namespace());
        name == backend.name && namespace == backend.namespace
    };
    let Some(rule) = world.of(GROUP, "DestinationRule").find(is_meant) else {
        return Towards::default();
    };
    let tls = match of_port(rule, &backend.port) {
        Some(settings) => settings.get("tls"),
        None => rule.0.pointer("/spec/trafficPolicy/tls"),
    };
    tls.map(|tls| says(rule, tls, Some(rule.namespace()))).unwrap_or_default()
}

/// What `tls` of `rule` says. The Secret that it names is of the namespace `secrets`, where that is known.
fn says(rule: &Object, tls: &Value, secrets: Option<&str>) -> Towards {
    let name = super::escape(rule.name());
    let mode = text(tls, "/mode").unwrap_or("DISABLE");
    let named = text(tls, "/credentialName");
    let secret = named.zip(secrets).map(|(secret, of)| (of.to_owned(), secret.to_owned()));
    let unknown = |why: &str| Presents::Unknown(format!("{why}, says DestinationRule `{name}`"));
    let presents = match (mode, named, &secret) {
        ("MUTUAL", _, Some((namespace, secret))) => {
            Presents::Secret(namespace.clone(), secret.clone())
        }
        ("MUTUAL", Some(_), None) => unknown("it presents a Secret of the Gateway's namespace"),
        ("MUTUAL", None, _) => unknown("it presents files of the Gateway's pod"),
        _ => Presents::Nothing,
    };
    let speech = match mode {
        "DISABLE" => Speech::Plaintext,
        "SIMPLE" | "MUTUAL" => Speech::Tls,
        "ISTIO_MUTUAL" => {
            let why = format!(
                "Istio's own mutual TLS, says DestinationRule `{name}`: the other end has to be Istio's"
            );
            Speech::Unknown(why)
        }
        other => Speech::Unknown(format!("tls mode `{}`", super::escape(other))),
    };
    let skips = tls.get("insecureSkipVerify") == Some(&serde_json::json!(true));
    let facts = match (named, skips) {
        _ if matches!(speech, Speech::Plaintext | Speech::Unknown(_)) => Vec::new(),
        (_, true) => {
            vec!["the balancer does not verify the other end: `insecureSkipVerify`".to_owned()]
        }
        (None, false) if text(tls, "/caCertificates").is_none() => {
            vec!["the balancer verifies the other end as its `meshConfig` says: without CA, or with the roots of its system".to_owned()]
        }
        _ => Vec::new(),
    };
    let names = tls.get("subjectAltNames").and_then(Value::as_array).into_iter().flatten();
    Towards {
        speech,
        presents,
        trusts: secret.filter(|_| !skips).map(Anchors::of_secret),
        expects: names.filter_map(Value::as_str).map(str::to_owned).collect(),
        asks_for: text(tls, "/sni").map(str::to_owned),
        facts,
    }
}

/// What `rule` says of one port. It holds instead of what is said of all ports.
fn of_port<'a>(rule: &'a Object, port: &Port) -> Option<&'a Value> {
    let Port::Number(number) = port else { return None };
    let mut settings = rule.list("/spec/trafficPolicy/portLevelSettings").iter();
    settings.find(|it| it.pointer("/port/number").and_then(Value::as_u64) == Some(*number))
}

/// What `rule`, a `DestinationRule` of `namespace`, says of the Service that is its host. `credentialName`
/// is a Secret of the proxy's namespace, and `proxies` are those of Gateways.
/// <https://istio.io/latest/docs/reference/config/networking/destination-rule/#ClientTLSSettings>
pub(super) fn stated(rule: &Object, namespace: &str, proxies: &BTreeSet<String>) -> Vec<Stated> {
    let labels: Vec<&str> = rule.text("/spec/host").split('.').collect();
    let (service, of) = match labels.as_slice() {
        [name] if !name.is_empty() => (*name, namespace),
        [name, of, "svc", ..] => (*name, *of),
        _ => return Vec::new(),
    };
    let secrets = match proxies.len() {
        _ if rule.0.pointer("/spec/workloadSelector").is_some() => Some(namespace),
        0 => Some(namespace),
        1 => proxies.first().map(String::as_str),
        _ => proxies.contains(namespace).then_some(namespace),
    };
    let policy = FieldPath::of(["spec", "trafficPolicy"]);
    let stated = |tls: &Value, path: &FieldPath, ports| {
        let towards = says(rule, tls, secrets);
        (towards.speech == Speech::Tls).then(|| Stated {
            namespace: of.to_owned(),
            service: service.to_owned(),
            ports,
            towards,
            fields: fields(tls, path),
            with: None,
            // Subsets and rules of other namespaces may say otherwise.
            certainty: Certainty::Likely,
        })
    };
    let settings = rule.list("/spec/trafficPolicy/portLevelSettings").iter().enumerate();
    let of_ports: Vec<(usize, u64, &Value)> = settings
        .filter_map(|(at, it)| Some((at, it.pointer("/port/number")?.as_u64()?, it)))
        .collect();
    let numbers = of_ports.iter().map(|(_, number, _)| *number).collect();
    let of_all = rule.0.pointer("/spec/trafficPolicy/tls");
    let of_all = of_all.and_then(|tls| stated(tls, &policy.key("tls"), Ports::AllBut(numbers)));
    let of_ports = of_ports.into_iter().filter_map(|(at, number, it)| {
        let path = policy.key("portLevelSettings").index(at).key("tls");
        stated(it.get("tls")?, &path, Ports::One(Port::Number(number)))
    });
    of_all.into_iter().chain(of_ports).collect()
}

fn fields(tls: &Value, path: &FieldPath) -> Fields {
    let written = |field: &str| tls.get(field).is_some().then(|| path.key(field));
    Fields {
        speech: path.key("mode"),
        presents: written("credentialName"),
        trusts: written("credentialName"),
        expects: written("subjectAltNames"),
    }
}
