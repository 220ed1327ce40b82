//! The way of a request: client, balancer, Service, sidecar, application.
//!
//! Every kind of object that connects a host with a Service is read in a file of its own, and gives
//! [`Lead`]s: from where, over which path, to which port of which Service, and how the balancer speaks
//! to it. What stands behind a Service is the same for all of them (`inside`), and whether both ends of
//! a re-encrypted hop fit is rehearsed, not guessed.

use lasthop_contract::credential::SecretData;
use lasthop_contract::text::escape;
use serde_json::Value;

use crate::object::{Object, ObjectRef};
use crate::reference::Holder;
use crate::reference::ingress_annotations::NGINX_DEFAULT_NAME;
use crate::rehearse::Place;
use crate::surroundings::Surroundings;

mod ambassador;
mod gateway_api;
mod ingress;
mod inside;
mod istio;
pub(crate) mod next_tier;
pub(crate) mod stated;
mod traefik;

use stated::{Certainty, Fields};

/// One way from a host to an application.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Way {
    /// The object that takes the host in.
    pub entrance: ObjectRef,
    /// The path of the URL, as written there.
    pub path: String,
    /// Client to balancer.
    pub first: Hop,
    /// What the balancer is.
    pub balancer: String,
    /// Balancer to pod.
    pub second: Hop,
    /// The Service in between, with its port.
    pub service: String,
    /// Who ends the second hop: the sidecar, or the application itself.
    pub pod: String,
    /// Sidecar to application, where there is a sidecar.
    pub third: Option<Hop>,
}

/// One connection on the way.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Hop {
    /// What it is.
    pub state: State,
    /// Who presents and verifies what, a sentence each.
    pub facts: Vec<String>,
}

/// What a hop is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum State {
    /// Everybody on the way reads along.
    Plaintext,
    /// The server proves who it is.
    Tls,
    /// Both do.
    MutualTls,
    /// No connection comes about.
    Broken,
    /// Nobody can tell from what there is to look at.
    Unknown,
}

impl State {
    /// As people call it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Plaintext => "plaintext",
            Self::Tls => "TLS",
            Self::MutualTls => "mutual TLS",
            Self::Broken => "broken",
            Self::Unknown => "unknown",
        }
    }
}

impl Hop {
    fn new(state: State) -> Self {
        Self { state, facts: Vec::new() }
    }

    fn fact(mut self, fact: impl Into<String>) -> Self {
        self.facts.push(fact.into());
        self
    }
}

/// What an object that takes in a host says.
struct Lead {
    entrance: ObjectRef,
    path: String,
    first: Hop,
    balancer: String,
    service: Backend,
    towards: Towards,
}

/// A port of a Service, as a balancer's object names it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Backend {
    namespace: String,
    name: String,
    port: Port,
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Port {
    Number(u64),
    Named(String),
    /// Whichever there is, where there is one.
    Only,
}

/// How a balancer speaks to a Service.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Towards {
    speech: Speech,
    /// What it presents.
    pub(crate) presents: Presents,
    /// What holds the CAs that it verifies the other end with.
    pub(crate) trusts: Option<Anchors>,
    /// The names of which it looks for one, DNS names and URIs; none where nobody says.
    pub(crate) expects: Vec<String>,
    /// The name that it asks for (SNI).
    pub(crate) asks_for: Option<String>,
    facts: Vec<String>,
}

/// What holds trusted CAs.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Anchors {
    pub(crate) holder: Holder,
    pub(crate) namespace: String,
    pub(crate) name: String,
    /// The one key under which they are looked for, where that is none of the usual.
    pub(crate) key: Option<&'static str>,
}

impl Anchors {
    fn of_secret((namespace, name): (String, String)) -> Self {
        Self { holder: Holder::Secret, namespace, name, key: None }
    }

    fn under(self, key: &'static str) -> Self {
        Self { key: Some(key), ..self }
    }

    /// What is trusted of all that they hold.
    pub(crate) fn of(&self, data: &SecretData) -> SecretData {
        match self.key {
            None => data.clone(),
            Some(key) => {
                let cas = data.get(key).cloned().unwrap_or_default();
                SecretData::from([("ca.crt".to_owned(), cas)])
            }
        }
    }

    /// What it is called in a sentence.
    pub(crate) fn called(&self) -> String {
        let Self { holder, namespace, name, key: _ } = self;
        format!("{} {}/{}", holder.kind(), escape(namespace), escape(name))
    }
}

#[derive(Clone, Debug, Default, Eq, PartialEq)]
enum Speech {
    #[default]
    Plaintext,
    Tls,
    /// The client's own TLS goes through.
    Passthrough,
    Unknown(String),
}

#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) enum Presents {
    /// Nothing, as far as the objects say.
    #[default]
    Nothing,
    /// Chain and key of a Secret: namespace and name.
    Secret(String, String),
    /// Something that no object says.
    Unknown(String),
}

/// A hop to a listener of a sidecar that an object has a balancer re-encrypt.
pub(crate) struct Reencrypted {
    /// The fields that say so.
    pub(crate) fields: Fields,
    /// How the balancer speaks.
    pub(crate) towards: Towards,
    /// The listener.
    pub(crate) place: Place,
    /// The other object that says part of it.
    pub(crate) with: Option<ObjectRef>,
    /// Whether they say everything.
    pub(crate) certainty: Certainty,
}

/// Whether annotations of `ingress` can have a balancer speak TLS to a Service.
pub(crate) fn may_reencrypt(ingress: &Object) -> bool {
    ingress::path_of_tls(ingress).is_some()
}

/// The hops of `ingress` that its annotations re-encrypt, to the listeners of `workloads` behind
/// `services`; every pair of configurations once.
pub(crate) fn reencrypted(
    ingress: &Object,
    namespace: &str,
    (services, workloads): (&[Object], &[Object]),
) -> Vec<Reencrypted> {
    let Some(path) = ingress::path_of_tls(ingress) else { return Vec::new() };
    let mut hops: Vec<Reencrypted> = Vec::new();
    for backend in ingress::backends(ingress, namespace) {
        let Some(mut towards) = ingress::annotated(ingress, namespace, &backend) else { continue };
        // That nobody wrote a name is told where it should be written.
        towards.expects.retain(|name| name != NGINX_DEFAULT_NAME);
        let named = |service: &&Object| service.name() == backend.name;
        let Some(service) = services.iter().find(named) else { continue };
        let Some(port) = inside::port_of(service, &backend.port) else { continue };
        for workload in inside::pods(workloads, service) {
            let places = Place::all(workload, namespace).into_iter();
            for place in places.filter(|place| inside::leads_to(port, place)) {
                let is_known =
                    |hop: &Reencrypted| hop.towards == towards && hop.place.is_same(&place);
                if hops.iter().any(is_known) {
                    continue;
                }
                let (fields, towards) = (Fields::one(path.clone()), towards.clone());
                let certainty = Certainty::Said;
                hops.push(Reencrypted { fields, towards, place, with: None, certainty });
            }
        }
    }
    hops
}

/// Whether `service` selects the pods of `workload`.
pub(crate) fn is_before(service: &Object, workload: &Object) -> bool {
    let pod = crate::inject::pod_of(workload);
    pod.is_some_and(|(_, pod)| crate::inject::service::selects(service, &pod))
}

/// Everything around, by kind.
pub(crate) struct World<'a> {
    /// All objects that were read, with their namespaces filled in.
    pub(crate) objects: &'a [Object],
    /// Where Secrets are looked up.
    pub(crate) surroundings: &'a Surroundings,
    /// The time, as Unix time in seconds.
    pub(crate) now: i64,
}

impl World<'_> {
    fn of(&self, group: &str, kind: &str) -> impl Iterator<Item = &Object> {
        self.objects.iter().filter(move |object| object.is(group, kind))
    }

    fn find(&self, (group, kind): (&str, &str), namespace: &str, name: &str) -> Option<&Object> {
        self.of(group, kind).find(|it| it.namespace() == namespace && it.name() == name)
    }
}

/// Every way of a request for `host`, in the order of the objects that take it in.
pub(crate) async fn ways(world: &World<'_>, host: &str) -> Vec<Way> {
    let mut leads = ingress::leads(world, host);
    leads.extend(gateway_api::leads(world, host));
    leads.extend(istio::leads(world, host));
    leads.extend(ambassador::leads(world, host));
    let mut ways = Vec::new();
    for lead in leads {
        ways.extend(inside::ways(world, lead).await);
    }
    ways
}

/// Every host that some object takes in, for "did you mean".
pub(crate) fn hosts(world: &World<'_>) -> Vec<String> {
    let mut hosts = Vec::new();
    let mut texts = |object: &Object, pointer: &str| {
        let all = object.list(pointer).iter().filter_map(Value::as_str);
        hosts.extend(all.map(str::to_owned));
    };
    for object in world.objects {
        match (object.group(), object.kind()) {
            ("gateway.networking.k8s.io", "HTTPRoute") => texts(object, "/spec/hostnames"),
            ("networking.istio.io", "VirtualService") => texts(object, "/spec/hosts"),
            _ => {}
        }
    }
    for object in world.objects {
        if let Some(ingress) = crate::reference::ingress::Ingress::read(object) {
            hosts.extend(ingress.rules.into_iter().map(|at| at.host));
        }
        if object.is("getambassador.io", "Mapping") {
            hosts.extend(["/spec/hostname", "/spec/host"].map(|it| object.text(it).to_owned()));
        }
    }
    hosts.retain(|host| !host.is_empty());
    hosts.sort_unstable();
    hosts.dedup();
    hosts
}

/// Whether a host pattern of Gateway API, Istio or Ambassador takes `host` in: the same, `*`, or a
/// wildcard for one label or more.
fn takes(pattern: &str, host: &str) -> bool {
    let (pattern, host) = (pattern.to_ascii_lowercase(), host.to_ascii_lowercase());
    let below = |parent: &str| host.strip_suffix(parent).is_some_and(|rest| !rest.is_empty());
    pattern == host
        || pattern == "*"
        || pattern.strip_prefix('*').is_some_and(|parent| parent.starts_with('.') && below(parent))
}

/// What a Secret is called in a sentence.
pub(crate) fn called(namespace: &str, name: &str) -> String {
    format!("Secret {}/{}", escape(namespace), escape(name))
}

#[cfg(test)]
mod tests {
    use super::takes;

    #[test]
    fn a_wildcard_takes_in_what_is_below_it() {
        assert!(takes("Shop.example.com", "shop.example.com"));
        assert!(takes("*.example.com", "a.b.example.com"));
        assert!(takes("*", "anything"));
        assert!(!takes("*.example.com", "example.com"));
        assert!(!takes("*example.com", "badexample.com"));
        assert!(!takes("shop.example.com", "blog.example.com"));
    }
}
