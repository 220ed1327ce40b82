//! LH604: a next tier whose sidecar will not let this one in.

use lasthop_contract::problem::Code;

use super::Rule;
use super::sidecar_refuses_balancer::findings;
use crate::check::{Dialer, Scene};
use crate::finding::Finding;
use crate::rehearse::Outcome;
use crate::symptom::At;

pub(crate) static RULE: Rule = Rule {
    code: Code(604),
    name: "next-tier-refuses",
    summary: "the sidecar of the next tier does not let this sidecar in",
    why: "`lasthop.dev/upstreams` leads to a Service behind which there is another sidecar, and that one verifies who \
          connects. Whether it lets this one in was tried: the handshake of both was run in memory, with the annotations \
          and Secrets as they are. On a cluster the application gets 502 from its own sidecar, whose log has the TLS alert; \
          the other one's has the code that stands in the message.",
    symptoms: &[
        At::Application.shows("gets 502 from its own sidecar"),
        At::Sidecar.shows(
            "logs \"the next tier failed\" with LH550 and the alert; the other one \"refused\" \
             with LH501 to LH512",
        ),
    ],
    example: "\
kind: Deployment
metadata:
  name: web
spec:
  template:
    metadata:
      annotations:
        lasthop.dev/upstreams: 9001=https://orders.shop.svc:8443
        lasthop.dev/upstream-client-secret: web-client # for web.shop
        lasthop.dev/upstream-ca-secret: shop-ca
---
kind: Deployment
metadata:
  name: orders
spec:
  template:
    metadata:
      annotations:
        lasthop.dev/client-ca-secret: shop-ca
        lasthop.dev/allowed-clients: dns:cart.shop",
    cure: "\
kind: Deployment
metadata:
  name: orders
spec:
  template:
    metadata:
      annotations:
        lasthop.dev/client-ca-secret: shop-ca
        lasthop.dev/allowed-clients: dns:cart.shop,dns:web.shop",
    judge: Some(judge),
};

fn judge(scene: &Scene) -> Vec<Finding> {
    findings(scene, &RULE, |it| {
        matches!((&it.from, &it.refused), (Dialer::Sidecar(_), Outcome::Refused(_)))
    })
}
