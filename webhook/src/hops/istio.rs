//! Istio: `VirtualService`, the Gateway above it, and `DestinationRule` towards the Service.
//!
//! <https://istio.io/latest/docs/reference/config/networking/>

use serde_json::Value;

use super::{Anchors, Backend, Hop, Lead, Port, Presents, Speech, State, Towards, World, takes};
use crate::object::Object;

const GROUP: &str = "networking.istio.io";

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
    let name = super::escape(rule.name());
    let tls = of_port(rule, &backend.port).or_else(|| rule.0.pointer("/spec/trafficPolicy/tls"));
    let Some(tls) = tls else { return Towards::default() };
    let mode = text(tls, "/mode").unwrap_or("DISABLE");
    let secret = text(tls, "/credentialName");
    let secret = secret.map(|secret| (rule.namespace().to_owned(), secret.to_owned()));
    let unknown = |why: &str| Presents::Unknown(format!("{why}, says DestinationRule `{name}`"));
    let presents = match (mode, &secret) {
        ("MUTUAL", Some((namespace, secret))) => {
            Presents::Secret(namespace.clone(), secret.clone())
        }
        ("MUTUAL", None) => unknown("it presents files of the Gateway's pod"),
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
    let facts = match (&secret, skips) {
        _ if matches!(speech, Speech::Plaintext | Speech::Unknown(_)) => Vec::new(),
        (_, true) => {
            vec!["the balancer does not verify the other end: `insecureSkipVerify`".to_owned()]
        }
        (None, false) if text(tls, "/caCertificates").is_none() => {
            vec!["the balancer verifies the other end as its `meshConfig` says: without CA, or with the roots of its system".to_owned()]
        }
        _ => Vec::new(),
    };
    Towards {
        speech,
        presents,
        trusts: secret.filter(|_| !skips).map(Anchors::of_secret),
        expects: tls.pointer("/subjectAltNames/0").and_then(Value::as_str).map(str::to_owned),
        asks_for: text(tls, "/sni").map(str::to_owned),
        facts,
    }
}

fn of_port<'a>(rule: &'a Object, port: &Port) -> Option<&'a Value> {
    let Port::Number(number) = port else { return None };
    let settings = rule.list("/spec/trafficPolicy/portLevelSettings").iter();
    let mut of_port =
        settings.filter(|it| it.pointer("/port/number").and_then(Value::as_u64) == Some(*number));
    of_port.next()?.get("tls")
}
