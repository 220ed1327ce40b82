//! Gateway API: `HTTPRoute`, the Gateway above it, and `BackendTLSPolicy` towards the Service.
//!
//! <https://gateway-api.sigs.k8s.io/reference/spec/>

use serde_json::Value;

use super::stated::{Certainty, Fields, Ports, Stated};
use super::{
    Anchors, Backend, Hop, Lead, Port, Presents, Speech, State, Towards, World, called, takes,
};
use crate::object::Object;
use crate::path::FieldPath;
use crate::reference;

pub(super) const GROUP: &str = "gateway.networking.k8s.io";

/// The leads of every `HTTPRoute` that takes `host` in.
pub(super) fn leads(world: &World<'_>, host: &str) -> Vec<Lead> {
    let mut leads = Vec::new();
    for route in world.of(GROUP, "HTTPRoute") {
        let hostnames: Vec<&str> =
            route.list("/spec/hostnames").iter().filter_map(Value::as_str).collect();
        if !hostnames.is_empty() && !hostnames.iter().any(|name| takes(name, host)) {
            continue;
        }
        let parents = route.list("/spec/parentRefs");
        for parent in parents {
            let Some((first, balancer)) = entrance(world, route, parent, host) else { continue };
            for rule in route.list("/spec/rules") {
                let backends = rule.get("backendRefs").and_then(Value::as_array);
                leads.extend(backends.into_iter().flatten().filter_map(|backend| {
                    let service = backend_of(route, backend)?;
                    Some(Lead {
                        entrance: route.reference(route.namespace()),
                        path: path(rule),
                        first: first.clone(),
                        balancer: balancer.clone(),
                        towards: towards(world, &service),
                        service,
                    })
                }));
            }
        }
    }
    leads
}

fn text<'a>(value: &'a Value, field: &str) -> Option<&'a str> {
    value.get(field).and_then(Value::as_str).filter(|text| !text.is_empty())
}

fn path(rule: &Value) -> String {
    let value = rule.pointer("/matches/0/path/value").and_then(Value::as_str);
    value.unwrap_or("/").to_owned()
}

/// Client to Gateway: the listener that takes `host` in, and what the Gateway is called. [`None`] where
/// no listener does.
fn entrance(
    world: &World<'_>,
    route: &Object,
    parent: &Value,
    host: &str,
) -> Option<(Hop, String)> {
    let namespace = text(parent, "namespace").unwrap_or_else(|| route.namespace());
    let name = text(parent, "name")?;
    let called_so = format!("Gateway {}/{}", super::escape(namespace), super::escape(name));
    let Some(gateway) = world.find((GROUP, "Gateway"), namespace, name) else {
        let hop =
            Hop::new(State::Unknown).fact(format!("{called_so} is not among what was looked at"));
        return Some((hop, called_so));
    };
    let listeners = gateway.list("/spec/listeners").iter().filter(|listener| {
        let section =
            text(parent, "sectionName").is_none_or(|it| text(listener, "name") == Some(it));
        section && text(listener, "hostname").is_none_or(|pattern| takes(pattern, host))
    });
    // A client that has the choice takes TLS.
    let listener = listeners.max_by_key(|listener| listener.get("tls").is_some())?;
    let Some(tls) = listener.get("tls") else {
        return Some((Hop::new(State::Plaintext).fact("the listener has no `tls`"), called_so));
    };
    if text(tls, "mode") == Some("Passthrough") {
        let hop = Hop::new(State::Tls).fact("passed through: the Gateway does not end it");
        return Some((hop, called_so));
    }
    let secret = tls.pointer("/certificateRefs/0").and_then(|reference| {
        let of = text(reference, "namespace").unwrap_or(namespace);
        Some(called(of, text(reference, "name")?))
    });
    let asks = tls.get("frontendValidation").is_some();
    let hop = Hop::new(if asks { State::MutualTls } else { State::Tls });
    let hop = match secret {
        Some(secret) => hop.fact(format!("the balancer presents {secret}")),
        None => hop.fact("nobody says which certificate the balancer presents"),
    };
    let hop = hop.fact("the client verifies it");
    let hop = if asks { hop.fact("the balancer verifies the client") } else { hop };
    Some((hop, called_so))
}

fn backend_of(route: &Object, backend: &Value) -> Option<Backend> {
    if !matches!(text(backend, "kind"), None | Some("Service")) {
        return None;
    }
    Some(Backend {
        namespace: text(backend, "namespace").unwrap_or_else(|| route.namespace()).to_owned(),
        name: text(backend, "name")?.to_owned(),
        port: backend.get("port").and_then(Value::as_u64).map_or(Port::Only, Port::Number),
    })
}

/// Gateway to Service: what a `BackendTLSPolicy` says.
fn towards(world: &World<'_>, service: &Backend) -> Towards {
    let is_meant = |policy: &&Object| {
        let is_target = |(name, _): &(&str, Option<&str>)| *name == service.name;
        policy.namespace() == service.namespace && targets(policy).iter().any(is_target)
    };
    let policy = world.of(GROUP, "BackendTLSPolicy").find(is_meant);
    policy.map(|policy| says(policy, policy.namespace())).unwrap_or_default()
}

/// The names of the Services that a `BackendTLSPolicy` is for, each with the one port that is meant, if one is.
fn targets(policy: &Object) -> Vec<(&str, Option<&str>)> {
    let targets = policy.list("/spec/targetRefs").iter();
    let services = targets.filter(|target| text(target, "kind") == Some("Service"));
    services.filter_map(|it| Some((text(it, "name")?, text(it, "sectionName")))).collect()
}

/// What `policy` says, for every Service that it is for. What the Gateway presents there, it does not say.
pub(super) fn stated(policy: &Object, namespace: &str) -> Vec<Stated> {
    let towards = says(policy, namespace);
    let of_target = |(name, section): (&str, Option<&str>)| Stated {
        namespace: namespace.to_owned(),
        service: name.to_owned(),
        ports: section.map_or(Ports::All, |name| Ports::One(Port::Named(name.to_owned()))),
        towards: towards.clone(),
        fields: Fields::one(FieldPath::of(["spec", "validation", "hostname"])),
        with: None,
        certainty: Certainty::Said,
    };
    targets(policy).into_iter().map(of_target).collect()
}

/// How Gateways speak to the Services of a `BackendTLSPolicy` of `namespace`.
fn says(policy: &Object, namespace: &str) -> Towards {
    let hostname = policy.text("/spec/validation/hostname").to_owned();
    let name = super::escape(policy.name());
    // Which of several a Gateway reads depends on its make.
    let trusts = match reference::of(policy, namespace).as_slice() {
        [one] => Some(Anchors {
            holder: one.holder,
            namespace: one.namespace.clone(),
            name: one.secret.clone(),
            key: None,
        }),
        _ => None,
    };
    let authority = policy.list("/spec/validation/caCertificateRefs").first();
    let with = match (&trusts, authority) {
        (Some(anchors), _) => {
            format!("with {} `{}`", anchors.holder.kind(), super::escape(&anchors.name))
        }
        (None, Some(other)) => {
            let kind = super::escape(text(other, "kind").unwrap_or("ConfigMap"));
            format!("with {kind} `{}`", super::escape(text(other, "name").unwrap_or_default()))
        }
        (None, None) => "with the roots of its system".to_owned(),
    };
    let fact =
        format!("the balancer verifies the other end {with}, says BackendTLSPolicy `{name}`");
    Towards {
        speech: Speech::Tls,
        presents: Presents::Unknown(
            "a BackendTLSPolicy says nothing of a client certificate".to_owned(),
        ),
        trusts,
        expects: expected(policy),
        asks_for: Some(hostname).filter(|it| !it.is_empty()),
        facts: vec![fact],
    }
}

/// The names of which the certificate has to have one: `subjectAltNames` where there are any, and then
/// `hostname` is only asked for.
/// <https://gateway-api.sigs.k8s.io/reference/spec/#backendtlspolicyvalidation>
fn expected(policy: &Object) -> Vec<String> {
    let listed = policy.list("/spec/validation/subjectAltNames").iter();
    let listed: Vec<String> = listed
        .filter_map(|name| text(name, "hostname").or_else(|| text(name, "uri")))
        .map(str::to_owned)
        .collect();
    match policy.text("/spec/validation/hostname") {
        _ if !listed.is_empty() => listed,
        "" => Vec::new(),
        hostname => vec![hostname.to_owned()],
    }
}
