//! LH244: a Gateway that ends TLS, and names nothing to end it with.

use lasthop_contract::problem::Code;

use super::Rule;
use crate::check::Scene;
use crate::finding::Finding;
use crate::path::FieldPath;
use crate::reference::{gateway_api, istio_gateway};
use crate::symptom::At;

pub(crate) static RULE: Rule = Rule {
    code: Code(244),
    name: "no-certificate",
    summary: "a Gateway ends TLS on a port and names no certificate for it",
    why: "A listener of Gateway API without `certificateRefs`, or an Istio Gateway with `mode: SIMPLE` or `MUTUAL` \
          and neither `credentialName` nor files, has nothing to end TLS with.",
    symptoms: &[
        At::GatewayApi.shows(
            "`ResolvedRefs: False` or `Accepted: False` on the listener, which serves nothing",
        ),
        At::Istio.shows(
            "the Gateway is refused by Istio's own webhook, or left out; clients are refused the \
             connection",
        ),
    ],
    example: "\
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
spec:
  listeners:
  - name: web
    port: 443
    protocol: HTTPS",
    cure: "\
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
spec:
  listeners:
  - name: web
    port: 443
    protocol: HTTPS
    tls:
      certificateRefs:
      - name: web-tls",
    judge: Some(judge),
};

fn judge(scene: &Scene) -> Vec<Finding> {
    let of_gateway_api = gateway_api::without_certificate(&scene.object).into_iter();
    let of_gateway_api = of_gateway_api
        .map(|path| finding(scene, path, "name a Secret under `tls.certificateRefs`"));
    let servers = istio_gateway::servers(&scene.object).into_iter();
    let of_istio = servers
        .filter(|server| server.reads_credential() && !server.names_certificate)
        .map(|server| finding(scene, server.path.key("tls"), "name a Secret as `credentialName`"));
    of_gateway_api.chain(of_istio).collect()
}

fn finding(scene: &Scene, path: FieldPath, help: &str) -> Finding {
    let message = "TLS is ended here, and nothing says with which certificate";
    RULE.warning(scene, path, message).help(help)
}
