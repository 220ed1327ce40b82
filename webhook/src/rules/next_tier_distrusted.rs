//! LH605: a next tier whose certificate this sidecar will not accept.

use lasthop_contract::problem::Code;

use super::Rule;
use super::sidecar_refuses_balancer::findings;
use crate::check::{Dialer, Scene};
use crate::finding::Finding;
use crate::rehearse::Outcome;
use crate::symptom::At;

pub(crate) static RULE: Rule = Rule {
    code: Code(605),
    name: "next-tier-distrusted",
    summary: "this sidecar does not accept the certificate of the next tier's",
    why: "A sidecar verifies the next tier: its chain with `upstream-ca-secret` (with the roots of Mozilla where there is \
          none), its name with `upstream-server-names` (with the host of `upstreams` where there are none). Whether the \
          sidecar behind that Service passes was tried: the handshake of both was run in memory. On a cluster the \
          application gets 502, and the log of its sidecar has the code that stands in the message.",
    symptoms: &[
        At::Application.shows("gets 502 from its own sidecar"),
        At::Sidecar.shows(
            "logs \"the next tier failed\" with LH541 to LH547; the other one \"refused\" with \
             LH525 and the alert",
        ),
    ],
    example: "\
metadata:
  annotations:
    lasthop.dev/upstreams: 9001=https://orders.shop.svc:8443 # its certificate is for orders.example.com
    lasthop.dev/upstream-ca-secret: shop-ca",
    cure: "\
metadata:
  annotations:
    lasthop.dev/upstreams: 9001=https://orders.shop.svc:8443
    lasthop.dev/upstream-ca-secret: shop-ca
    lasthop.dev/upstream-server-names: orders.example.com",
    judge: Some(judge),
};

fn judge(scene: &Scene) -> Vec<Finding> {
    findings(scene, &RULE, |it| {
        let refuses = matches!(it.refused, Outcome::Distrusted(_) | Outcome::Incompatible { .. });
        refuses && matches!(it.from, Dialer::Sidecar(_))
    })
}
