//! What Traefik is told of Services: by annotations of the Service itself, or by an `IngressRoute`; and
//! with a `ServersTransport`.
//!
//! <https://doc.traefik.io/traefik/reference/routing-configuration/kubernetes/ingress/>,
//! <https://doc.traefik.io/traefik/reference/routing-configuration/kubernetes/crd/http/ingressroute/>

use serde_json::Value;

use super::stated::{Certainty, Fields, Ports, Stated};
use super::{Anchors, Backend, Port, Presents, Speech, Towards, World};
use crate::object::{Object, ObjectRef};
use crate::path::FieldPath;
use crate::reference::Holder;

pub(super) const GROUP: &str = "traefik.io";

const SCHEME: &str = "traefik.ingress.kubernetes.io/service.serversscheme";
const TRANSPORT: &str = "traefik.ingress.kubernetes.io/service.serverstransport";

/// How Traefik speaks to `service`, where an annotation of it says so.
pub(super) fn towards(world: &World<'_>, service: &Backend) -> Option<Towards> {
    let object = world.find(("", "Service"), &service.namespace, &service.name)?;
    if !is_meant(object) {
        return None;
    }
    let mut all = world.of(GROUP, "ServersTransport");
    let named = object.annotation(TRANSPORT);
    let transport = named.and_then(|name| all.find(|it| is_called(it, name)));
    Some(with(named.is_some(), transport))
}

/// Whether annotations of `service` have Traefik speak TLS to it.
pub(super) fn is_meant(service: &Object) -> bool {
    service.annotation(SCHEME) == Some("https")
}

/// Whether `namespace-name@kubernetescrd` means `transport`.
fn is_called(transport: &Object, reference: &str) -> bool {
    reference
        .strip_suffix("@kubernetescrd")
        .is_some_and(|name| format!("{}-{}", transport.namespace(), transport.name()) == name)
}

/// How Traefik speaks TLS with `transport`, if one `is_named` at all.
fn with(is_named: bool, transport: Option<&Object>) -> Towards {
    let mut towards = Towards { speech: Speech::Tls, ..Towards::default() };
    match transport {
        Some(transport) => add(&mut towards, transport),
        None if is_named => {
            let why = "its `ServersTransport` is not among what was looked at".to_owned();
            towards.presents = Presents::Unknown(why);
        }
        None => {
            let fact =
                "the balancer verifies the other end with the roots of its system".to_owned();
            towards.facts.push(fact);
        }
    }
    towards
}

fn add(towards: &mut Towards, transport: &Object) {
    let secret = |name: &Value| Some((transport.namespace().to_owned(), name.as_str()?.to_owned()));
    match transport.list("/spec/certificatesSecrets") {
        [] => {}
        [one] => {
            if let Some((namespace, name)) = secret(one) {
                towards.presents = Presents::Secret(namespace, name);
            }
        }
        _ => {
            let why = "it presents one of several certificates".to_owned();
            towards.presents = Presents::Unknown(why);
        }
    }
    let name = transport.text("/spec/serverName");
    if !name.is_empty() {
        towards.asks_for = Some(name.to_owned());
        towards.expects = vec![name.to_owned()];
    }
    let skips = transport.0.pointer("/spec/insecureSkipVerify") == Some(&serde_json::json!(true));
    if skips {
        towards.expects.clear();
        towards
            .facts
            .push("the balancer does not verify the other end: `insecureSkipVerify`".to_owned());
        return;
    }
    let old = transport.list("/spec/rootCAsSecrets");
    match (transport.list("/spec/rootCAs"), old) {
        ([], []) => {
            let fact = "the balancer verifies the other end with the roots of its system";
            towards.facts.push(fact.to_owned());
        }
        ([one], _) => towards.trusts = root_ca(transport, one),
        ([], [one]) => towards.trusts = secret(one).map(Anchors::of_secret),
        _ => {
            let fact = "the balancer verifies the other end with the CAs of several objects";
            towards.facts.push(fact.to_owned());
        }
    }
}

/// An entry of `rootCAs`, which holds the place of the older `rootCAsSecrets`, and may name a `ConfigMap`.
/// <https://doc.traefik.io/traefik/reference/routing-configuration/kubernetes/crd/http/serverstransport/>
fn root_ca(transport: &Object, entry: &Value) -> Option<Anchors> {
    let named = |field: &str, holder| {
        let name = entry.get(field)?.as_str().filter(|name| !name.is_empty())?.to_owned();
        Some(Anchors { holder, namespace: transport.namespace().to_owned(), name, key: None })
    };
    named("secret", Holder::Secret).or_else(|| named("configMap", Holder::ConfigMap))
}

/// What annotations of `service` say of all its ports.
pub(super) fn of_service(service: &Object, namespace: &str, transports: &[Object]) -> Vec<Stated> {
    if !is_meant(service) {
        return Vec::new();
    }
    let named = service.annotation(TRANSPORT);
    let transport = named.and_then(|name| transports.iter().find(|it| is_called(it, name)));
    let field = if named.is_some() { TRANSPORT } else { SCHEME };
    vec![Stated {
        namespace: namespace.to_owned(),
        service: service.name().to_owned(),
        ports: Ports::All,
        towards: with(named.is_some(), transport),
        fields: Fields::one(FieldPath::annotation(field)),
        with: transport.map(called),
        certainty: Certainty::Said,
    }]
}

/// What an `IngressRoute` of `namespace` says of the Services to which it has TLS spoken.
pub(super) fn of_route(route: &Object, namespace: &str, transports: &[Object]) -> Vec<Stated> {
    let routes = FieldPath::of(["spec", "routes"]);
    let mut all = Vec::new();
    for (at, rule) in route.list("/spec/routes").iter().enumerate() {
        let services = rule.get("services").and_then(Value::as_array).into_iter().flatten();
        for (place, service) in services.enumerate() {
            let path = routes.index(at).key("services").index(place);
            all.extend(of_backend(service, namespace, (&path, transports)));
        }
    }
    all
}

/// What one Service of an `IngressRoute` is spoken to with.
fn of_backend(
    service: &Value,
    namespace: &str,
    (path, transports): (&FieldPath, &[Object]),
) -> Option<Stated> {
    let text =
        |field: &str| service.get(field).and_then(Value::as_str).filter(|text| !text.is_empty());
    if text("scheme") != Some("https") || !matches!(text("kind"), None | Some("Service")) {
        return None;
    }
    let named = text("serversTransport");
    let is_it = |transport: &&Object, name: &str| {
        is_called(transport, name)
            || (transport.namespace() == namespace && transport.name() == name)
    };
    let transport = named.and_then(|name| transports.iter().find(|it| is_it(it, name)));
    let port = service.get("port");
    let field = if named.is_some() { "serversTransport" } else { "scheme" };
    Some(Stated {
        namespace: text("namespace").unwrap_or(namespace).to_owned(),
        service: text("name")?.to_owned(),
        ports: match (port.and_then(Value::as_u64), port.and_then(Value::as_str)) {
            (Some(number), _) => Ports::One(Port::Number(number)),
            (None, Some(name)) => Ports::One(Port::Named(name.to_owned())),
            (None, None) => Ports::One(Port::Only),
        },
        towards: with(named.is_some(), transport),
        fields: Fields::one(path.key(field)),
        with: transport.map(called),
        certainty: Certainty::Said,
    })
}

fn called(transport: &Object) -> ObjectRef {
    transport.reference(transport.namespace())
}
