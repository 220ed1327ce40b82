//! LH601: a balancer that the sidecar behind it will not let in.

use lasthop_contract::client_policy::RefusalReason;
use lasthop_contract::problem::Code;
use lasthop_contract::server_policy::ServerRefusalReason;

use super::Rule;
use crate::check::{Rehearsed, Scene};
use crate::finding::Finding;
use crate::inject;
use crate::object::Object;
use crate::reference::ingress::is_ingress;
use crate::rehearse::Outcome;

pub(crate) static RULE: Rule = Rule {
    code: Code(601),
    name: "sidecar-refuses-balancer",
    summary: "the sidecar behind the Service does not let the balancer in",
    why: "The balancer re-encrypts, and proves who it is with the certificate of its Secret. Whether the sidecar lets it in \
          was tried: the handshake of both was run in memory, with the annotations and Secrets as they are. On a cluster it \
          ends in a TLS alert; nginx answers 502 and logs \"SSL_do_handshake() failed\", the sidecar logs the code that stands \
          in the message.",
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
    findings(scene, &RULE, |outcome| matches!(outcome, Outcome::Refused(_)))
}

/// A finding of `rule` for every hop that came to a `wanted` end: at the Ingress, or at the annotation
/// of the workload.
pub(super) fn findings(scene: &Scene, rule: &Rule, wanted: fn(&Outcome) -> bool) -> Vec<Finding> {
    // Without the label there is no sidecar, which is said of the workload.
    if !inject::is_switched_on(scene.home.found().map(Object::labels).as_ref()) {
        return Vec::new();
    }
    let meant = scene.rehearsed.iter().filter(|it| wanted(&it.refused) && !is_of_the_moment(it));
    meant.map(|rehearsed| finding(scene, rule, rehearsed)).collect()
}

fn finding(scene: &Scene, rule: &Rule, rehearsed: &Rehearsed) -> Finding {
    use lasthop_contract::annotation as name;
    let Rehearsed { path, place, refused: _, blame, severity } = rehearsed;
    let path = if is_ingress(&scene.object) {
        path.clone()
    } else {
        place.field(blame.annotation.unwrap_or(name::TLS_SECRET))
    };
    let code = blame.code.map(|code| format!(" [{code}]")).unwrap_or_default();
    let message = format!("{}{code}", blame.message);
    Finding::new(rule.code, *severity, scene.name(), path, message).help(blame.help.clone())
}

/// Where the certificate of an end is over or not yet valid, that is told of the certificate itself;
/// what is above it in the chain is told of nowhere else.
fn is_of_the_moment(rehearsed: &Rehearsed) -> bool {
    let (certificate, time) = match &rehearsed.refused {
        Outcome::Refused(refusal) => match refusal.reason {
            RefusalReason::Expired { not_after: time }
            | RefusalReason::NotYetValid { not_before: time } => (&refusal.certificate, time),
            _ => return false,
        },
        Outcome::Distrusted(refusal) => match refusal.reason {
            ServerRefusalReason::Expired { not_after: time }
            | ServerRefusalReason::NotYetValid { not_before: time } => (&refusal.certificate, time),
            _ => return false,
        },
        Outcome::LetIn(_) | Outcome::Incompatible { .. } => return false,
    };
    certificate.as_ref().is_none_or(|it| it.not_after == time || it.not_before == time)
}
