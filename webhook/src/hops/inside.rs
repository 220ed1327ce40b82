//! Behind the Service: which port of which pod, who ends TLS there, and whether both ends fit.

use std::sync::Arc;

use lasthop_contract::client_policy::ClientAuth;
use lasthop_contract::credential::Certificate;
use lasthop_contract::sidecar_config::Forward;
use lasthop_contract::text::{escape, list};
use serde_json::Value;

use super::{
    Anchors, Backend, Hop, Lead, Port, Presents, Speech, State, Towards, Way, World, called,
};
use crate::check::SeenSecret;
use crate::inject;
use crate::inject::service::selects;
use crate::object::Object;
use crate::reference::Holder;
use crate::rehearse::{
    Blame, Caller, Client, Listener, Outcome, Party, Place, Unfit, client_of, look, rehearse,
};
use crate::surroundings::Sighting;

/// Every way that `lead` opens: one for each workload behind its Service.
pub(super) async fn ways(world: &World<'_>, lead: Lead) -> Vec<Way> {
    let Backend { namespace, name, port } = &lead.service;
    let named = format!("Service {}/{}", escape(namespace), escape(name));
    let Some(service) = world.find(("", "Service"), namespace, name) else {
        let second = unknown(&lead.towards, "the Service is not among what was looked at");
        return vec![end(&lead, named, second, "(nobody knows)".to_owned())];
    };
    let Some(port) = port_of(service, port) else {
        let second = Hop::new(State::Broken).fact("the Service has no such port");
        return vec![end(&lead, named, second, "(nobody)".to_owned())];
    };
    let number = port.get("port").and_then(Value::as_u64).unwrap_or_default();
    let named = format!("{named}, port {number}");
    let mut ways = Vec::new();
    let of_namespace = |it: &&Object| it.namespace() == service.namespace();
    for workload in pods(world.objects, service).filter(of_namespace) {
        ways.push(behind(world, &lead, &named, port, workload).await);
    }
    if ways.is_empty() {
        let second =
            unknown(&lead.towards, "no pods behind the Service are among what was looked at");
        ways.push(end(&lead, named, second, "(nobody knows)".to_owned()));
    }
    ways
}

fn unknown(towards: &Towards, why: &str) -> Hop {
    let hop = Hop::new(State::Unknown).fact(why).fact(speaks(towards));
    towards.facts.iter().fold(hop, |hop, fact| hop.fact(fact.clone()))
}

fn end(lead: &Lead, service: String, second: Hop, pod: String) -> Way {
    Way {
        entrance: lead.entrance.clone(),
        path: lead.path.clone(),
        first: lead.first.clone(),
        balancer: lead.balancer.clone(),
        second,
        service,
        pod,
        third: None,
    }
}

/// What the balancer speaks, as a fact.
fn speaks(towards: &Towards) -> String {
    match &towards.speech {
        Speech::Plaintext => "the balancer speaks plaintext".to_owned(),
        Speech::Tls => "the balancer speaks TLS".to_owned(),
        Speech::Passthrough => "the client's own TLS is passed through".to_owned(),
        Speech::Unknown(why) => why.clone(),
    }
}

pub(super) fn port_of<'a>(service: &'a Object, meant: &Port) -> Option<&'a Value> {
    let mut ports = service.list("/spec/ports").iter();
    match meant {
        Port::Number(number) => {
            ports.find(|port| port.get("port").and_then(Value::as_u64) == Some(*number))
        }
        Port::Named(name) => {
            ports.find(|port| port.get("name").and_then(Value::as_str) == Some(name))
        }
        Port::Only => ports.next().filter(|_| service.list("/spec/ports").len() == 1),
    }
}

/// The workloads and bare Pods among `objects` that `service` selects. What a controller made is shown
/// by who made it.
pub(super) fn pods<'a>(
    objects: &'a [Object],
    service: &Object,
) -> impl Iterator<Item = &'a Object> {
    objects.iter().filter(|object| {
        inject::Maker::of(object) != inject::Maker::Controller
            && inject::pod_of(object).is_some_and(|(_, pod)| selects(service, &pod))
    })
}

async fn behind(
    world: &World<'_>,
    lead: &Lead,
    service: &str,
    port: &Value,
    workload: &Object,
) -> Way {
    let named = workload.reference(workload.namespace());
    let places = Place::all(workload, workload.namespace());
    let Some(place) = places.iter().find(|place| leads_to(port, place)) else {
        let target = port.get("targetPort").filter(|it| !it.is_null()).or_else(|| port.get("port"));
        let target = match target {
            Some(Value::String(name)) => format!("`{}`", escape(name)),
            Some(number) => number.to_string(),
            None => "?".to_owned(),
        };
        let second = without_sidecar(&lead.towards, !places.is_empty());
        return end(
            lead,
            service.to_owned(),
            second,
            format!("{named}, application at port {target}"),
        );
    };
    let home = world.surroundings.namespace(workload.namespace()).await;
    let second = if inject::is_switched_on_in(&home) {
        with_sidecar(world, lead, place).await
    } else {
        let label = "`lasthop.dev/inject: enabled`";
        Hop::new(State::Broken)
            .fact(format!("no sidecar is there: the namespace has no label {label}"))
    };
    let mut way =
        end(lead, service.to_owned(), second, format!("{named}, sidecar at port {}", place.port()));
    let to = match &place.terminate.forward {
        Forward::Port(port) => format!("to port {port} on localhost"),
        Forward::Address(address) => format!("to {address}"),
        Forward::Socket(_) => "to a Unix socket of the pod".to_owned(),
    };
    way.third = Some(Hop::new(State::Plaintext).fact(format!("{to}, within the pod")));
    way
}

/// Whether a port of a Service leads to the listener at `place`.
pub(super) fn leads_to(port: &Value, place: &Place) -> bool {
    match port.get("targetPort").filter(|target| !target.is_null()).or_else(|| port.get("port")) {
        Some(Value::String(name)) => *name == inject::port_name(place.port()),
        Some(number) => number.as_u64() == Some(u64::from(place.port())),
        None => false,
    }
}

fn without_sidecar(towards: &Towards, has_sidecar: bool) -> Hop {
    let hop = match towards.speech {
        Speech::Plaintext if has_sidecar => Hop::new(State::Plaintext)
            .fact("the Service leads past the sidecar; `targetPort` should be its port"),
        Speech::Plaintext => {
            Hop::new(State::Plaintext).fact("no sidecar of lasthop ends TLS there")
        }
        Speech::Tls if has_sidecar => Hop::new(State::Unknown)
            .fact("the balancer speaks TLS to the application itself, past the sidecar"),
        Speech::Tls => Hop::new(State::Tls)
            .fact("the balancer speaks TLS; whether the application does, no object says"),
        Speech::Passthrough => Hop::new(State::Tls)
            .fact("the client's own TLS; whether the application speaks it, no object says"),
        Speech::Unknown(_) => Hop::new(State::Unknown).fact(speaks(towards)),
    };
    towards.facts.iter().fold(hop, |hop, fact| hop.fact(fact.clone()))
}

async fn with_sidecar(world: &World<'_>, lead: &Lead, place: &Place) -> Hop {
    let towards = &lead.towards;
    match &towards.speech {
        Speech::Plaintext => {
            return Hop::new(State::Broken)
                .fact("the balancer speaks plaintext, the sidecar takes TLS alone");
        }
        Speech::Unknown(_) => {
            return Hop::new(State::Unknown).fact(speaks(towards));
        }
        Speech::Passthrough => return passed_through(place),
        Speech::Tls => {}
    }
    let namespace = place.workload.namespace.clone();
    let found = look(world.surroundings, &namespace, &place.terminate).await;
    let listener = Listener::new(&place.terminate, &found);
    let secret = match &towards.presents {
        Presents::Secret(namespace, name) => Some(
            world
                .surroundings
                .secret(namespace, name)
                .await
                .map(|it| Arc::new(SeenSecret::new(it))),
        ),
        Presents::Nothing | Presents::Unknown(_) => None,
    };
    let trusts = match &towards.trusts {
        Some(Anchors { holder, namespace, name, key: _ }) => Some(match holder {
            Holder::Secret => world.surroundings.secret(namespace, name).await,
            Holder::ConfigMap => world.surroundings.config_map(namespace, name).await,
        }),
        None => None,
    };
    let hop = presented(towards, place, secret.as_ref());
    let missing = [
        secret.as_ref().is_some_and(|it| matches!(it, Sighting::Missing)),
        trusts.as_ref().is_some_and(|it| matches!(it, Sighting::Missing)),
    ];
    if missing.contains(&true) {
        return Hop { state: State::Broken, ..hop }.fact("a Secret of the balancer does not exist");
    }
    let is_seen = secret.as_ref().is_none_or(|it| it.found().is_some())
        && trusts.as_ref().is_none_or(|it| it.found().is_some());
    let anchors = trusts.as_ref().and_then(Sighting::found);
    let anchors = anchors.zip(towards.trusts.as_ref()).map(|(seen, it)| it.of(&seen.data));
    let client = is_seen.then(|| {
        client_of(
            secret.as_ref().and_then(Sighting::found).map(AsRef::as_ref),
            anchors.as_ref(),
            (towards.expects.as_slice(), towards.asks_for.as_deref()),
        )
    });
    let client = client.flatten();
    judged(world, lead, place, (&listener, &client), hop)
}

fn passed_through(place: &Place) -> Hop {
    let state = match place.terminate.clients.auth {
        ClientAuth::Required => State::MutualTls,
        ClientAuth::None | ClientAuth::Optional => State::Tls,
    };
    Hop::new(state).fact("the client's own TLS, ended by the sidecar")
}

/// The facts that hold whatever the rehearsal says.
fn presented(towards: &Towards, place: &Place, secret: Option<&Sighting<Arc<SeenSecret>>>) -> Hop {
    let served = place.terminate.tls_secrets.iter();
    let served: Vec<&str> = served.map(|it| it.strip_prefix("tls/").unwrap_or(it)).collect();
    let mut hop =
        Hop::new(State::Tls).fact(format!("the sidecar presents Secret {}", list(&served, 4)));
    if let Some(anchors) = &towards.trusts {
        let name = anchors.called();
        let expects = match towards.expects.as_slice() {
            [] => String::new(),
            names => format!(", for {}", list(names, 4)),
        };
        hop = hop.fact(format!("the balancer verifies it with the CAs of {name}{expects}"));
    }
    hop = towards.facts.iter().fold(hop, |hop, fact| hop.fact(fact.clone()));
    match (&towards.presents, secret.and_then(Sighting::found)) {
        (Presents::Nothing, _) => hop.fact("the balancer presents no certificate"),
        (Presents::Unknown(why), _) => hop.fact(why.clone()),
        (Presents::Secret(namespace, name), Some(seen)) => {
            let secret = called(namespace, name);
            match seen.reading().leaf() {
                Some(leaf) => {
                    hop.fact(format!("the balancer presents {} of {secret}", names(leaf)))
                }
                None => hop.fact(format!("the balancer has no certificate to present in {secret}")),
            }
        }
        (Presents::Secret(namespace, name), None) => hop.fact(format!(
            "the balancer presents {}, which could not be looked at",
            called(namespace, name)
        )),
    }
}

fn names(leaf: &Certificate) -> String {
    let names: Vec<String> = leaf.names().iter().map(ToString::to_string).collect();
    if names.is_empty() { format!("`{}`", escape(&leaf.subject)) } else { list(&names, 3) }
}

/// What the rehearsal says of the hop.
fn judged(
    world: &World<'_>,
    lead: &Lead,
    place: &Place,
    (listener, client): (&Listener, &Option<Client>),
    hop: Hop,
) -> Hop {
    let auth = place.terminate.clients.auth;
    let hop = match auth {
        ClientAuth::None => hop.fact("the sidecar asks nobody for a certificate"),
        ClientAuth::Optional | ClientAuth::Required => hop.fact(format!(
            "the sidecar verifies the balancer with the CAs of {}, and lets in {}",
            place.authority(),
            place.allowed()
        )),
    };
    let known = !matches!(lead.towards.presents, Presents::Unknown(_));
    let (Some(client), true) = (client, known || auth == ClientAuth::None) else {
        return Hop { state: State::Unknown, ..hop };
    };
    let acts = match rehearse(listener, Caller::Client(client), world.now) {
        Ok(acts) => acts,
        Err(unfit) => {
            let state =
                if unfit.iter().any(Unfit::is_certain) { State::Broken } else { State::Unknown };
            let facts = unfit.iter().map(|unfit| match state {
                State::Broken => format!("the sidecar cannot serve: {unfit}"),
                _ => format!("could not look at {unfit}"),
            });
            return facts.fold(Hop { state, ..hop }, Hop::fact);
        }
    };
    let chain: Vec<Certificate> = client.chain();
    let party = Party { called: "the balancer", chain: &chain, trusts: None, outlet: None };
    let blame = acts.iter().find_map(|act| Blame::of(&act.outcome, place, party));
    if let Some(Blame { code, message, help, .. }) = blame {
        let code = code.map(|code| format!(" [{code}]")).unwrap_or_default();
        return Hop { state: State::Broken, ..hop }.fact(format!("{message}{code}")).fact(help);
    }
    let named = acts
        .iter()
        .any(|act| matches!(&act.outcome, Outcome::LetIn(crate::rehearse::Entry::Named(_))));
    let state = if named { State::MutualTls } else { State::Tls };
    Hop { state, ..hop }.fact("rehearsed: both ends come to terms in TLS 1.3 and TLS 1.2")
}
