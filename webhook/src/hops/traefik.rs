//! What Traefik is told on the Service itself: the scheme, and a `ServersTransport`.
//!
//! <https://doc.traefik.io/traefik/reference/routing-configuration/kubernetes/ingress/>

use super::{Anchors, Backend, Presents, Speech, Towards, World};
use crate::object::Object;
use crate::reference::Holder;

/// How Traefik speaks to `service`, where an annotation of it says so.
pub(super) fn towards(world: &World<'_>, service: &Backend) -> Option<Towards> {
    let object = world.find(("", "Service"), &service.namespace, &service.name)?;
    let annotation =
        |name: &str| object.annotation(&format!("traefik.ingress.kubernetes.io/service.{name}"));
    if annotation("serversscheme") != Some("https") {
        return None;
    }
    let transport = annotation("serverstransport").and_then(|name| transport(world, name));
    let mut towards = Towards { speech: Speech::Tls, ..Towards::default() };
    match transport {
        Some(transport) => add(&mut towards, transport),
        None if annotation("serverstransport").is_some() => {
            let why = "its `ServersTransport` is not among what was looked at".to_owned();
            towards.presents = Presents::Unknown(why);
        }
        None => {
            let fact =
                "the balancer verifies the other end with the roots of its system".to_owned();
            towards.facts.push(fact);
        }
    }
    Some(towards)
}

/// The transport that `namespace-name@kubernetescrd` means.
fn transport<'a>(world: &'a World<'_>, reference: &str) -> Option<&'a Object> {
    let name = reference.strip_suffix("@kubernetescrd")?;
    let mut all = world.of("traefik.io", "ServersTransport");
    all.find(|it| format!("{}-{}", it.namespace(), it.name()) == name)
}

fn add(towards: &mut Towards, transport: &Object) {
    let secret = |pointer: &str| {
        let name = transport.list(pointer).first()?.as_str()?;
        Some((transport.namespace().to_owned(), name.to_owned()))
    };
    if let Some((namespace, name)) = secret("/spec/certificatesSecrets") {
        towards.presents = Presents::Secret(namespace, name);
    }
    let name = transport.text("/spec/serverName");
    if !name.is_empty() {
        towards.asks_for = Some(name.to_owned());
        towards.expects = Some(name.to_owned());
    }
    let skips = transport.0.pointer("/spec/insecureSkipVerify") == Some(&serde_json::json!(true));
    if skips {
        towards.expects = None;
        towards
            .facts
            .push("the balancer does not verify the other end: `insecureSkipVerify`".to_owned());
        return;
    }
    towards.trusts =
        root_ca(transport).or_else(|| secret("/spec/rootCAsSecrets").map(Anchors::of_secret));
    if towards.trusts.is_none() {
        let fact = "the balancer verifies the other end with the roots of its system".to_owned();
        towards.facts.push(fact);
    }
}

/// `rootCAs`, which holds the place of the older `rootCAsSecrets`, and may name a `ConfigMap`.
/// <https://doc.traefik.io/traefik/reference/routing-configuration/kubernetes/crd/http/serverstransport/>
fn root_ca(transport: &Object) -> Option<Anchors> {
    let first = transport.list("/spec/rootCAs").first()?;
    let named = |field: &str, holder| {
        let name = first.get(field)?.as_str().filter(|name| !name.is_empty())?.to_owned();
        Some(Anchors { holder, namespace: transport.namespace().to_owned(), name })
    };
    named("secret", Holder::Secret).or_else(|| named("configMap", Holder::ConfigMap))
}
