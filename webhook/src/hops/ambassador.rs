//! Ambassador (Emissary): Mapping, the Host above it, and `TLSContext` towards the Service.
//!
//! <https://emissary-ingress.dev/docs/3.10/topics/using/mappings/>

use super::stated::{Certainty, Fields, Ports, Stated};
use super::{
    Anchors, Backend, Hop, Lead, Port, Presents, Speech, State, Towards, World, called, takes,
};
use crate::object::Object;
use crate::path::FieldPath;

pub(super) const GROUP: &str = "getambassador.io";

/// The leads of every `Mapping` that takes `host` in.
pub(super) fn leads(world: &World<'_>, host: &str) -> Vec<Lead> {
    let mut leads = Vec::new();
    for mapping in world.of(GROUP, "Mapping") {
        let written = match mapping.text("/spec/hostname") {
            "" => mapping.text("/spec/host"),
            hostname => hostname,
        };
        // Version 2 takes in every host where none is written.
        let pattern = if written.is_empty() { "*" } else { written };
        if !takes(pattern, host) {
            continue;
        }
        let Some((service, is_tls)) = backend_of(mapping) else { continue };
        leads.push(Lead {
            entrance: mapping.reference(mapping.namespace()),
            path: mapping.text("/spec/prefix").to_owned(),
            first: first(world, host),
            balancer: "Ambassador".to_owned(),
            towards: towards(world, mapping, is_tls),
            service,
        });
    }
    leads
}

/// Client to Ambassador: what the Host says that takes `host` in.
fn first(world: &World<'_>, host: &str) -> Hop {
    let mut hosts = world.of(GROUP, "Host").filter(|it| takes(it.text("/spec/hostname"), host));
    let Some(object) = hosts.next() else {
        return Hop::new(State::Unknown).fact("no Host for it is among what was looked at");
    };
    let secret = object.text("/spec/tlsSecret/name");
    if secret.is_empty() {
        let name = super::escape(object.name());
        return Hop::new(State::Plaintext).fact(format!("Host `{name}` names no `tlsSecret`"));
    }
    let namespace = match object.text("/spec/tlsSecret/namespace") {
        "" => object.namespace(),
        namespace => namespace,
    };
    Hop::new(State::Tls)
        .fact(format!("the balancer presents {}", called(namespace, secret)))
        .fact("the client verifies it")
}

/// `https://web.shop:8443`: the Service, and whether TLS is spoken to it.
fn backend_of(mapping: &Object) -> Option<(Backend, bool)> {
    let written = mapping.text("/spec/service");
    let (is_tls, rest) = match written.split_once("://") {
        Some((scheme, rest)) => (scheme.eq_ignore_ascii_case("https"), rest),
        None => (false, written),
    };
    let (host, port) = match rest.split_once(':') {
        Some((host, port)) => (host, port.parse().ok()),
        None => (rest, None),
    };
    let mut labels = host.split('.');
    let name = labels.next().filter(|name| !name.is_empty())?.to_owned();
    let namespace = labels.next().unwrap_or_else(|| mapping.namespace()).to_owned();
    let default = if is_tls { 443 } else { 80 };
    Some((Backend { namespace, name, port: Port::Number(port.unwrap_or(default)) }, is_tls))
}

/// Ambassador to Service: the scheme, and the `TLSContext` that `tls` names.
fn towards(world: &World<'_>, mapping: &Object, is_tls: bool) -> Towards {
    let context = mapping.text("/spec/tls");
    if context.is_empty() && !is_tls {
        return Towards::default();
    }
    let mut towards = Towards { speech: Speech::Tls, ..Towards::default() };
    if context.is_empty() {
        let fact =
            "the balancer does not verify the other end: no `tls` names a TLSContext".to_owned();
        towards.facts.push(fact);
        return towards;
    }
    let contexts: Vec<&Object> = world.of(GROUP, "TLSContext").collect();
    let Some(context) = context_of(mapping, context, contexts) else {
        let name = super::escape(context);
        towards.presents =
            Presents::Unknown(format!("TLSContext `{name}` is not among what was looked at"));
        return towards;
    };
    says(context)
}

/// The `TLSContext` that `mapping` means by `name`: names hold for all namespaces.
fn context_of<'a>(mapping: &Object, name: &str, contexts: Vec<&'a Object>) -> Option<&'a Object> {
    let named: Vec<&Object> = contexts.into_iter().filter(|it| it.name() == name).collect();
    let own = named.iter().find(|it| it.namespace() == mapping.namespace());
    match (own, named.as_slice()) {
        (Some(own), _) => Some(own),
        (None, [only]) => Some(only),
        _ => None,
    }
}

/// How Ambassador speaks to Services with `context`.
fn says(context: &Object) -> Towards {
    let mut towards = Towards { speech: Speech::Tls, ..Towards::default() };
    let secret = |field: &str| {
        let name = context.text(&format!("/spec/{field}"));
        // A name with a dot has its namespace behind it.
        let own = || (name, context.namespace());
        let (name, namespace) = name.split_once('.').unwrap_or_else(own);
        (!name.is_empty()).then(|| (namespace.to_owned(), name.to_owned()))
    };
    if let Some((namespace, name)) = secret("secret") {
        towards.presents = Presents::Secret(namespace, name);
    }
    towards.trusts = secret("ca_secret").map(|it| Anchors::of_secret(it).under("tls.crt"));
    if towards.trusts.is_none() {
        let fact =
            "the balancer does not verify the other end: the TLSContext names no `ca_secret`";
        towards.facts.push(fact.to_owned());
    }
    towards.asks_for = Some(context.text("/spec/sni").to_owned()).filter(|it| !it.is_empty());
    towards
}

/// What `mapping` says of its Service, with the `TLSContext` that it names among `contexts`.
pub(super) fn stated(mapping: &Object, contexts: &[Object]) -> Vec<Stated> {
    let Some((service, is_tls)) = backend_of(mapping) else { return Vec::new() };
    let named = mapping.text("/spec/tls");
    let (towards, with) = match (named, is_tls) {
        ("", false) => return Vec::new(),
        ("", true) => (Towards { speech: Speech::Tls, ..Towards::default() }, None),
        (name, _) => match context_of(mapping, name, contexts.iter().collect()) {
            Some(context) => (says(context), Some(context.reference(context.namespace()))),
            None => return Vec::new(),
        },
    };
    let field = if with.is_some() { "tls" } else { "service" };
    let Backend { namespace, name, port } = service;
    vec![Stated {
        namespace,
        service: name,
        ports: Ports::One(port),
        towards,
        fields: Fields::one(FieldPath::of(["spec", field])),
        with,
        certainty: Certainty::Said,
    }]
}
