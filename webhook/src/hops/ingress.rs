//! Ingress, with the annotations of ingress-nginx, Traefik, IBM Cloud and AWS towards the Service.

use lasthop_contract::text::escape;
use serde_json::Value;

use super::{
    Anchors, Backend, Hop, Lead, Port, Presents, Speech, State, Towards, World, called, traefik,
};
use crate::object::Object;
use crate::path::FieldPath;
use crate::reference;
use crate::reference::ingress::{Ingress, TlsItem, host_matches, is_ingress};
use crate::reference::ingress_annotations::{
    self as annotations, ALB_PROTOCOL, NGINX_DEFAULT_NAME, Reader, SslService,
};

/// The leads of every Ingress that takes `host` in.
pub(super) fn leads(world: &World<'_>, host: &str) -> Vec<Lead> {
    let all = world.objects.iter().filter(|object| is_ingress(object));
    all.flat_map(|ingress| of(world, ingress, host)).collect()
}

fn of(world: &World<'_>, object: &Object, host: &str) -> Vec<Lead> {
    let Some(ingress) = Ingress::read(object) else { return Vec::new() };
    let rules = object.list("/spec/rules").iter();
    let host_of =
        |rule: &Value| rule.get("host").and_then(Value::as_str).unwrap_or_default().to_owned();
    let takes_in = |rule: &&Value| {
        let written = host_of(rule);
        written.is_empty() || host_matches(&written, host)
    };
    let mut backends: Vec<(String, &Value)> = Vec::new();
    for rule in rules.filter(takes_in) {
        let paths = rule.pointer("/http/paths").and_then(Value::as_array);
        backends.extend(paths.into_iter().flatten().filter_map(|path| {
            let text = path.get("path").and_then(Value::as_str).unwrap_or("/");
            Some((text.to_owned(), path.get("backend")?))
        }));
    }
    let named = ingress.rules.iter().any(|at| host_matches(&at.host, host));
    let default = object.0.pointer("/spec/defaultBackend");
    if let Some(default) = default.filter(|_| named || ingress.rules.is_empty()) {
        backends.push(("(everything else)".to_owned(), default));
    }
    let namespace = object.namespace();
    let balancer = balancer(object);
    backends
        .into_iter()
        .filter_map(|(path, backend)| {
            let service = backend_of(backend, namespace)?;
            Some(Lead {
                entrance: object.reference(namespace),
                path,
                first: first(object, &ingress.tls, host),
                balancer: balancer.clone(),
                towards: towards(world, object, &service),
                service,
            })
        })
        .collect()
}

fn balancer(object: &Object) -> String {
    let class = match object.text("/spec/ingressClassName") {
        "" => object.annotation("kubernetes.io/ingress.class").unwrap_or_default(),
        class => class,
    };
    match class {
        "" => "Ingress controller".to_owned(),
        class => format!("Ingress controller of class `{}`", escape(class)),
    }
}

fn backend_of(backend: &Value, namespace: &str) -> Option<Backend> {
    let service = backend.get("service")?;
    let port = service.get("port");
    let number = port.and_then(|port| port.get("number")).and_then(Value::as_u64);
    let name = port.and_then(|port| port.get("name")).and_then(Value::as_str);
    Some(Backend {
        namespace: namespace.to_owned(),
        name: service.get("name")?.as_str()?.to_owned(),
        port: match (number, name) {
            (Some(number), _) => Port::Number(number),
            (None, Some(name)) => Port::Named(name.to_owned()),
            (None, None) => Port::Only,
        },
    })
}

/// Client to balancer: what `spec.tls` says.
fn first(object: &Object, items: &[TlsItem], host: &str) -> Hop {
    let is_for = |item: &&TlsItem| item.hosts.iter().any(|at| host_matches(&at.host, host));
    let namespace = object.namespace();
    match items.iter().find(is_for) {
        Some(TlsItem { secret: Some(secret), .. }) => Hop::new(State::Tls)
            .fact(format!("the balancer presents {}", called(namespace, secret)))
            .fact("the client verifies it"),
        Some(_) => Hop::new(State::Tls)
            .fact("the balancer presents its default certificate: the item names no Secret")
            .fact("the client verifies it"),
        None => match reference::of_cloud(object) {
            Some(annotation) => Hop::new(State::Tls)
                .fact(format!("the balancer presents the certificate of `{annotation}`")),
            None if annotations::nginx(object, "ssl-passthrough")
                .is_some_and(|it| it.value == "true") =>
            {
                Hop::new(State::Tls).fact("passed through: the balancer does not end it")
            }
            None => Hop::new(State::Plaintext).fact("no item of `spec.tls` is for this host"),
        },
    }
}

/// The field which says that the balancer speaks TLS to Services and what it presents, where there is
/// such a one.
pub(super) fn path_of_tls(object: &Object) -> Option<FieldPath> {
    if object.annotation(annotations::SSL_SERVICES).is_some() && is_ingress(object) {
        return Some(FieldPath::annotation(annotations::SSL_SERVICES));
    }
    let backend = annotations::Backend::read(object).filter(annotations::Backend::speaks_tls)?;
    backend.secret.or(backend.protocol).map(|at| at.path)
}

/// The Services that an Ingress leads to, whatever the host.
pub(super) fn backends(object: &Object, namespace: &str) -> Vec<Backend> {
    let rules = object.list("/spec/rules").iter();
    let paths = rules.filter_map(|rule| rule.pointer("/http/paths")?.as_array()).flatten();
    let all = paths.filter_map(|path| path.get("backend"));
    let all = all.chain(object.0.pointer("/spec/defaultBackend"));
    let mut backends: Vec<Backend> = Vec::new();
    for backend in all.filter_map(|backend| backend_of(backend, namespace)) {
        if backends.len() < MOST_BACKENDS && !backends.contains(&backend) {
            backends.push(backend);
        }
    }
    backends
}

/// No more Services than this are followed.
const MOST_BACKENDS: usize = 64;

/// What annotations of the Ingress itself say of TLS to `service`.
pub(super) fn annotated(object: &Object, namespace: &str, service: &Backend) -> Option<Towards> {
    let mut old = annotations::ssl_services(object).into_iter();
    match old.find(|it| it.service.as_deref() == Some(&service.name)) {
        Some(entry) => Some(of_ssl_service(&entry, namespace)),
        None => of_nginx(object),
    }
}

/// Balancer to Service: what annotations say.
fn towards(world: &World<'_>, object: &Object, service: &Backend) -> Towards {
    if annotations::nginx(object, "ssl-passthrough").is_some_and(|it| it.value == "true") {
        return Towards { speech: Speech::Passthrough, ..Towards::default() };
    }
    if let Some(towards) = annotated(object, object.namespace(), service) {
        return towards;
    }
    if let Some(towards) = traefik::towards(world, service) {
        return towards;
    }
    let aws = annotations::annotated(object, ALB_PROTOCOL);
    if aws.is_some_and(|it| it.value.trim().eq_ignore_ascii_case("HTTPS")) {
        let fact = "the balancer does not verify the other end: AWS's never does";
        return Towards { speech: Speech::Tls, facts: vec![fact.to_owned()], ..Towards::default() };
    }
    Towards::default()
}

fn of_nginx(object: &Object) -> Option<Towards> {
    let backend = annotations::Backend::read(object)?;
    if !backend.speaks_tls() {
        return None;
    }
    let secret = backend.secret.as_ref().and_then(|it| annotations::namespace_and_name(&it.value));
    let secret = secret.map(|(namespace, name)| (namespace.to_owned(), name.to_owned()));
    let mut towards = Towards {
        speech: Speech::Tls,
        presents: match &secret {
            Some((namespace, name)) => Presents::Secret(namespace.clone(), name.clone()),
            None => Presents::Nothing,
        },
        asks_for: backend.sni().map(str::to_owned),
        ..Towards::default()
    };
    if backend.verifies() {
        towards.trusts = secret.map(Anchors::of_secret);
        let name = backend.name.as_ref().map(|it| it.value.clone()).filter(|it| !it.is_empty());
        let expects = match backend.reader {
            Reader::Traefik => backend.sni().map(str::to_owned),
            Reader::IngressNginx => name.or_else(|| Some(NGINX_DEFAULT_NAME.to_owned())),
            Reader::Unknown => name,
        };
        towards.expects = expects.into_iter().collect();
    } else {
        towards.facts.push(
            "the balancer does not verify the other end: `proxy-ssl-verify` is not `on`".to_owned(),
        );
    }
    Some(towards)
}

fn of_ssl_service(entry: &SslService, namespace: &str) -> Towards {
    let secret = entry.secret.clone().map(|secret| (namespace.to_owned(), secret));
    let facts = match &secret {
        None => vec![
            "the balancer does not verify the other end: `ssl-services` names no Secret".to_owned(),
        ],
        Some(_) => Vec::new(),
    };
    Towards {
        speech: Speech::Tls,
        presents: match &secret {
            Some((namespace, name)) => Presents::Secret(namespace.clone(), name.clone()),
            None => Presents::Nothing,
        },
        trusts: secret.map(Anchors::of_secret),
        expects: entry.name.clone().into_iter().collect(),
        asks_for: None,
        facts,
    }
}
