//! LH208: a host of a rule that no item of `spec.tls` names.

use lasthop_contract::problem::Code;
use lasthop_contract::text::escape;

use super::Rule;
use crate::check::Scene;
use crate::finding::Finding;
use crate::reference::ingress::{Hosts, Ingress};
use crate::symptom::At;

pub(crate) static RULE: Rule = Rule {
    code: Code(208),
    name: "rule-host-without-tls",
    summary: "a host of a rule appears in no item of `spec.tls`, while others do",
    why: "The controller serves this host over plain HTTP, and over HTTPS with its default certificate, which browsers \
          refuse. Where other hosts of the same Ingress have TLS, that is rarely meant.",
    symptoms: &[
        At::IngressNginx.shows(
            "serves its \"Kubernetes Ingress Controller Fake Certificate\" for the host; plain \
             HTTP is served and not redirected",
        ),
        At::Traefik.shows("answers https for the host with 404 or its default certificate"),
        At::Browsers.shows("`NET::ERR_CERT_AUTHORITY_INVALID` for the host"),
    ],
    example: "\
spec:
  tls:
  - hosts: [shop.example.com]
    secretName: shop-tls
  rules:
  - host: shop.example.com
  - host: www.shop.example.com",
    cure: "Add the host to an item of `spec.tls` whose certificate covers it. Where plain HTTP is meant, put the rule into \
           an Ingress of its own, or say so: `lasthop.dev/ignore: \"LH208: why\"`.",
    judge: Some(judge),
};

fn judge(scene: &Scene) -> Vec<Finding> {
    let Some(ingress) = Ingress::read(&scene.object) else { return Vec::new() };
    // An item without hosts is for whatever its certificate covers.
    if ingress.tls.is_empty() || ingress.tls.iter().any(|item| item.hosts.is_empty()) {
        return Vec::new();
    }
    let with_tls: Hosts = ingress.tls.iter().flat_map(|item| &item.hosts).collect();
    let left_out = ingress.rules.iter().filter(|rule| !with_tls.have(&rule.host));
    let left_out = left_out.filter(|rule| super::host_syntax::is_host(&rule.host));
    left_out
        .map(|rule| {
            let host = escape(&rule.host);
            RULE.warning(scene, rule.path.clone(), format!("`{host}` is in no item of `spec.tls`"))
                .help(format!(
                    "add `{host}` to the `hosts` of the item whose certificate covers it"
                ))
        })
        .collect()
}
