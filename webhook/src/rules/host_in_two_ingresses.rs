//! LH236: one host, two Ingresses, two Secrets.

use lasthop_contract::problem::Code;
use lasthop_contract::text::escape;

use super::Rule;
use crate::check::{Rival, Scene};
use crate::finding::Finding;
use crate::symptom::At;

pub(crate) static RULE: Rule = Rule {
    code: Code(236),
    name: "host-in-two-ingresses",
    summary: "two Ingresses bring different Secrets for one host",
    why: "A controller serves one certificate for a host, whichever Ingress a request is for. ingress-nginx takes that of \
          the oldest Ingress, others take what they read last. The other Secret is never served: its renewal changes \
          nothing, and nobody notices that the one which is served expires. Told of Ingresses of one class in one \
          namespace, where both serve the host; in different namespaces each needs a Secret of its own. When an \
          Ingress is applied it is told to the person who adds the host; `lasthop check`, over files and with \
          `--cluster`, tells of all.",
    symptoms: &[
        At::IngressNginx.shows("serves the certificate of the oldest Ingress, without a word"),
        At::Traefik.shows(
            "logs \"Replacing certificate for domain(s)\" where both certificates are for the same \
             names",
        ),
        At::Browsers.shows("`NET::ERR_CERT_DATE_INVALID` while the renewed one is in the cluster"),
    ],
    example: "\
kind: Ingress
metadata:
  name: shop
spec:
  tls:
  - hosts: [shop.example.com]
    secretName: shop-tls
---
kind: Ingress
metadata:
  name: shop-api
spec:
  tls:
  - hosts: [shop.example.com]
    secretName: shop-api-tls",
    cure: "Name the same Secret in both, or leave the item of `spec.tls` to one of the two Ingresses: what it brings \
           serves the rules of both.",
    judge: Some(judge),
};

fn judge(scene: &Scene) -> Vec<Finding> {
    let finding = |rival: &Rival| {
        let message = format!(
            "`{}` has Secret `{}` here and Secret `{}` in Ingress `{}`, and one of them is served",
            escape(&rival.brought.at.host),
            escape(&rival.brought.secret),
            escape(&rival.other_secret),
            escape(&rival.other)
        );
        let finding = RULE.warning(scene, rival.brought.at.path.clone(), message);
        finding.help("name the same Secret in both, or leave the host's item to one of them")
    };
    scene.rivals.iter().map(finding).collect()
}
