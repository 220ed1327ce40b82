//! LH601: a balancer that the sidecar behind it will not let in.

use std::sync::Arc;

use lasthop_contract::annotation as name;
use lasthop_contract::client_policy::RefusalReason;
use lasthop_contract::credential::{CA_KEYS, CRL_KEYS, Certificate, Form};
use lasthop_contract::problem::Code;
use lasthop_contract::server_policy::ServerRefusalReason;

use super::Rule;
use crate::check::{Dialer, Rehearsed, Scene, SeenSecret};
use crate::finding::Finding;
use crate::hops::next_tier;
use crate::inject;
use crate::object::ObjectRef;
use crate::path::FieldPath;
use crate::rehearse::{Blame, Outcome};
use crate::symptom::At;

pub(crate) static RULE: Rule = Rule {
    code: Code(601),
    name: "sidecar-refuses-balancer",
    summary: "the sidecar behind the Service does not let the balancer in",
    why: "The balancer re-encrypts, and proves who it is with the certificate of its Secret. Whether the sidecar lets it in \
          was tried: the handshake of both was run in memory, with the annotations and Secrets as they are. On a cluster it \
          ends in a TLS alert; nginx answers 502 and logs \"SSL_do_handshake() failed\", the sidecar logs the code that stands \
          in the message.",
    symptoms: &[
        At::IngressNginx.shows(
            "answers 502 and logs \"SSL_do_handshake() failed\" or, with TLS 1.3, \"SSL_read() \
             failed\", with \"tlsv1 alert access denied\", \"alert unknown ca\" or \"alert \
             certificate required\" in it",
        ),
        At::Traefik.shows(
            "answers 502 or 500; its debug log has \"remote error: tls: ...\" with the alert",
        ),
        At::Istio
            .shows("answers 503, \"upstream connect error or disconnect/reset before headers\""),
        At::Sidecar.shows("logs \"refused\" with the code of the message, LH501 to LH512"),
    ],
    example: "\
kind: Ingress
metadata:
  annotations:
    nginx.ingress.kubernetes.io/backend-protocol: HTTPS
    nginx.ingress.kubernetes.io/proxy-ssl-secret: shop/alb # for *.x.containers.appdomain.cloud
---
kind: Deployment
spec:
  template:
    metadata:
      annotations:
        lasthop.dev/client-ca-secret: alb-ca
        lasthop.dev/allowed-clients: dns:alb.example.com",
    cure: "\
kind: Deployment
spec:
  template:
    metadata:
      annotations:
        lasthop.dev/client-ca-secret: alb-ca
        lasthop.dev/allowed-clients: dns:*.x.containers.appdomain.cloud",
    judge: Some(judge),
};

fn judge(scene: &Scene) -> Vec<Finding> {
    findings(scene, &RULE, |it| {
        matches!((&it.from, &it.refused), (Dialer::Balancer { .. }, Outcome::Refused(_)))
    })
}

/// A finding of `rule` for every `wanted` hop: at the end that is in question, or at what is between the
/// ends.
pub(super) fn findings(scene: &Scene, rule: &Rule, wanted: fn(&Rehearsed) -> bool) -> Vec<Finding> {
    let meant = scene.rehearsed.iter().filter(|it| wanted(it) && !is_of_the_moment(it));
    let meant = meant.filter(|it| has_sidecars(scene, it));
    meant.map(|rehearsed| finding(scene, rule, rehearsed)).collect()
}

/// Whether there are sidecars at the ends where there should be. Without the label there are none, which
/// is said of the workload; of other namespaces it was looked up.
fn has_sidecars(scene: &Scene, Rehearsed { from, place, .. }: &Rehearsed) -> bool {
    let is_home = |workload: &ObjectRef| workload.namespace == scene.namespace;
    let begins = matches!(from, Dialer::Sidecar(outlet) if is_home(&outlet.workload));
    !(begins || is_home(&place.workload)) || inject::is_switched_on_in(&scene.home)
}

fn finding(scene: &Scene, rule: &Rule, rehearsed: &Rehearsed) -> Finding {
    let Rehearsed { from: _, place: _, refused: _, blame, severity } = rehearsed;
    let code = blame.code.map(|code| format!(" [{code}]")).unwrap_or_default();
    let message = format!("{}{code}", blame.message);
    let path = path(scene, rehearsed);
    Finding::new(rule.code, *severity, scene.name(), path, message).help(blame.help.clone())
}

/// The field of the object in question on which the hop depends.
fn path(scene: &Scene, Rehearsed { from, place, blame, .. }: &Rehearsed) -> FieldPath {
    let object = scene.name();
    if let Some(own) = &scene.own {
        return of_secret(&own.secret);
    }
    match from {
        Dialer::Balancer { ingress, path } if *ingress == object => path.clone(),
        _ if scene.object.is("", "Service") => {
            let port = next_tier::port_towards(&scene.object, place);
            port.unwrap_or_else(|| FieldPath::of(["spec", "ports"]))
        }
        Dialer::Sidecar(outlet) if outlet.workload == object => outlet.field(at_outlet(blame)),
        Dialer::Balancer { .. } | Dialer::Sidecar(_) => {
            place.field(blame.annotation.unwrap_or(name::TLS_SECRET))
        }
    }
}

/// The annotation of a sidecar that originates which decides what `blame` is about: what it presents,
/// whom it trusts, or which name it expects.
fn at_outlet(blame: &Blame) -> &'static str {
    match blame.code.map(|code| code.0) {
        Some(501..=539) => name::UPSTREAM_CLIENT_SECRET,
        Some(547) => name::UPSTREAM_SERVER_NAMES,
        Some(540..=546) => name::UPSTREAM_CA_SECRET,
        _ => name::UPSTREAMS,
    }
}

/// The chain, else the CAs.
fn of_secret(seen: &SeenSecret) -> FieldPath {
    let keys = Form::ALL.iter().map(|form| form.chain_key()).chain(CA_KEYS).chain(CRL_KEYS);
    let mut there = keys.filter(|key| seen.secret.data.contains_key(*key));
    match there.next() {
        Some(key) => seen.secret.path(key),
        None => FieldPath::of(["metadata", "name"]),
    }
}

/// Where the certificate of an end is over or not yet valid, that is told of the certificate itself;
/// what is above it in the chain is told of nowhere else.
fn is_of_the_moment(rehearsed: &Rehearsed) -> bool {
    use {RefusalReason as Client, ServerRefusalReason as Server};
    let is_leaf = |leaf: &Option<Arc<Certificate>>, own: fn(&Certificate) -> i64, time: i64| {
        leaf.as_ref().is_none_or(|leaf| own(leaf) == time)
    };
    let (end, start) = (|leaf: &Certificate| leaf.not_after, |leaf: &Certificate| leaf.not_before);
    match &rehearsed.refused {
        Outcome::Refused(refusal) => match refusal.reason {
            Client::Expired { not_after } => is_leaf(&refusal.certificate, end, not_after),
            Client::NotYetValid { not_before } => is_leaf(&refusal.certificate, start, not_before),
            _ => false,
        },
        Outcome::Distrusted(refusal) => match refusal.reason {
            Server::Expired { not_after } => is_leaf(&refusal.certificate, end, not_after),
            Server::NotYetValid { not_before } => is_leaf(&refusal.certificate, start, not_before),
            _ => false,
        },
        Outcome::LetIn(_) | Outcome::Incompatible { .. } => false,
    }
}
