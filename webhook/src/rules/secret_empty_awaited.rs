//! LH212: an empty Secret that something will fill.

use lasthop_contract::problem::Code;
use lasthop_contract::text::escape;

use super::Rule;
use crate::check::{Pair, Scene};
use crate::finding::{Finding, Severity};
use crate::symptom::At;

pub(crate) static RULE: Rule = Rule {
    code: Code(212),
    name: "secret-empty-awaited",
    summary: "the Secret is an empty placeholder, and something will fill it",
    why: "ingress-gce wants the Secret before it makes a load balancer, cert-manager wants the load balancer \
          before it fills the Secret; so guides have an empty one made by hand. Until it is filled, the hosts have \
          no certificate.",
    symptoms: &[
        At::IngressNginx.shows(
            "logs \"unexpected error creating SSL Cert: no valid PEM formatted block found\" and \
             serves its \"Kubernetes Ingress Controller Fake Certificate\"",
        ),
        At::Istio.shows("istiod warns that it found the keys, \"but they were empty\""),
        At::CertManager.shows("`kubectl get certificate` shows `READY False`"),
    ],
    example: "\
kind: Secret
type: kubernetes.io/tls
stringData:
  tls.crt: \"\"
  tls.key: \"\"",
    cure: "Wait. `kubectl describe certificate` says what keeps it, if it stays empty.",
    judge: Some(judge),
};

fn judge(scene: &Scene) -> Vec<Finding> {
    let awaited = scene.pairs().filter(Pair::is_awaited);
    awaited
        .map(|pair| {
            let message = format!("Secret `{}` is still empty", escape(&pair.reference.secret));
            let mut finding =
                pair.finding(scene, &RULE, (&pair.reference.path, "tls.crt"), &message);
            finding.severity = Severity::Warning;
            finding.help(format!(
                "something is to fill it; its reader needs {}",
                pair.reference.role.needs()
            ))
        })
        .collect()
}
