//! LH242: a Secret of another namespace that nobody there has opened.

use lasthop_contract::problem::Code;
use lasthop_contract::text::escape;

use super::Rule;
use crate::check::Scene;
use crate::finding::Finding;
use crate::reference::{Reference, Role, gateway_api};
use crate::surroundings::Sighting;
use crate::symptom::At;

pub(crate) static RULE: Rule = Rule {
    code: Code(242),
    name: "reference-not-permitted",
    summary: "a Gateway names a Secret of another namespace that no ReferenceGrant opens to it",
    why: "Gateway API lets a Gateway read Secrets of its own namespace. In another one a ReferenceGrant has to \
          allow it, and it lives beside the Secret.",
    symptoms: &[
        At::GatewayApi.shows("`ResolvedRefs: False`, reason `RefNotPermitted`"),
        At::Istio.shows(
            "istiod warns \"cross namespace secret reference requires ReferenceGrant\", clients \
             are cut off",
        ),
    ],
    example: "\
kind: Gateway
metadata:
  namespace: edge
spec:
  listeners:
  - tls:
      certificateRefs:
      - name: shop-tls
        namespace: shop",
    cure: "\
apiVersion: gateway.networking.k8s.io/v1beta1
kind: ReferenceGrant
metadata:
  name: edge-reads-shop-tls
  namespace: shop
spec:
  from:
  - group: gateway.networking.k8s.io
    kind: Gateway
    namespace: edge
  to:
  - group: \"\"
    kind: Secret
    name: shop-tls",
    judge: Some(judge),
};

fn judge(scene: &Scene) -> Vec<Finding> {
    let of_listener = |it: &&Reference| {
        let is_listener = matches!(it.role, Role::ListenerServer | Role::ListenerClientCa);
        is_listener && it.namespace != scene.namespace
    };
    let references = scene.references.iter().map(|sight| &sight.reference);
    references.filter(of_listener).filter_map(|it| judge_one(scene, it)).collect()
}

fn judge_one(scene: &Scene, reference: &Reference) -> Option<Finding> {
    let permits = match scene.grants.get(&reference.namespace)? {
        Sighting::Unknown(_) => return None,
        Sighting::Missing => false,
        Sighting::Found(grants) => {
            let permits = |grant| gateway_api::permits(grant, &scene.namespace, reference);
            grants.iter().any(permits)
        }
    };
    if permits {
        return None;
    }
    let message = format!(
        "no ReferenceGrant of namespace `{}` lets Gateways of namespace `{}` read {}",
        escape(&reference.namespace),
        escape(&scene.namespace),
        reference.called()
    );
    let help = "make one there, as `lasthop explain LH242` shows it";
    Some(RULE.warning(scene, reference.path.clone(), message).help(help))
}
