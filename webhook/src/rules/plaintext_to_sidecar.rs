//! LH232: an Ingress that speaks plaintext to the TLS port of a sidecar.

use lasthop_contract::problem::Code;
use lasthop_contract::text::escape;

use super::Rule;
use crate::check::{Behind, Scene};
use crate::finding::Finding;
use crate::inject;
use crate::reference::ingress_annotations::{Reencryption, reencryption};
use crate::symptom::At;

pub(crate) static RULE: Rule = Rule {
    code: Code(232),
    name: "plaintext-to-sidecar",
    summary: "an Ingress speaks plaintext to the TLS port of a sidecar",
    why: "A controller speaks HTTP to a Service unless it is told otherwise, and the sidecar's port takes TLS \
          alone.",
    symptoms: &[
        At::IngressNginx.shows(
            "answers 502 and logs \"upstream prematurely closed connection while reading \
             response header from upstream\"",
        ),
        At::Traefik.shows("answers 502"),
        At::AwsAlb.shows("targets are unhealthy, clients get 502"),
        At::Sidecar.shows("logs LH521 with reason `not_tls`"),
    ],
    example: "\
kind: Ingress
metadata:
  annotations: {} # the Service leads to lasthop-8443
spec:
  ingressClassName: nginx",
    cure: "\
kind: Ingress
metadata:
  annotations:
    nginx.ingress.kubernetes.io/backend-protocol: HTTPS
spec:
  ingressClassName: nginx",
    judge: Some(judge),
};

fn judge(scene: &Scene) -> Vec<Finding> {
    // Without the label there is no sidecar, which is said of the workload.
    if !inject::is_switched_on_in(&scene.home) {
        return Vec::new();
    }
    let Some(Reencryption::Absent { line }) = reencryption(&scene.object) else {
        return Vec::new();
    };
    let finding = |behind: &Behind| {
        let message = format!(
            "Service `{}` leads to the sidecar of {}, which takes TLS alone, and the Ingress has it spoken to in \
             plaintext",
            escape(&behind.service),
            behind.workload
        );
        RULE.warning(scene, behind.path.clone(), message).help(format!("annotate `{line}`"))
    };
    scene.behind.iter().map(finding).collect()
}
