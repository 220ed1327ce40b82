//! LH209: one host, two Secrets.

use std::collections::BTreeMap;

use lasthop_contract::problem::Code;
use lasthop_contract::text::escape;

use super::Rule;
use crate::check::Scene;
use crate::finding::Finding;
use crate::reference::ingress::Ingress;
use crate::symptom::At;

pub(crate) static RULE: Rule = Rule {
    code: Code(209),
    name: "host-in-two-items",
    summary: "a host stands in two items of `spec.tls` with different Secrets",
    why: "Which certificate is served is up to the controller: ingress-nginx takes the first item, others the last, and after \
          a restart it can be the other one. A renewal of the Secret that loses goes unnoticed.",
    symptoms: &[
        At::IngressNginx.shows("serves the certificate of the first item, without a word"),
        At::Browsers.shows(
            "now one certificate, now the other, or an expired one while the renewed one is in \
             the cluster",
        ),
    ],
    example: "\
spec:
  tls:
  - hosts: [shop.example.com]
    secretName: shop-tls
  - hosts: [shop.example.com, www.example.com]
    secretName: www-tls",
    cure: "Leave the host in the one item whose certificate is meant to be served.",
    judge: Some(judge),
};

fn judge(scene: &Scene) -> Vec<Finding> {
    let Some(ingress) = Ingress::read(&scene.object) else { return Vec::new() };
    let mut first: BTreeMap<String, &str> = BTreeMap::new();
    let mut findings = Vec::new();
    for item in &ingress.tls {
        let Some(secret) = item.secret.as_deref() else { continue };
        for at in &item.hosts {
            let before = *first.entry(at.host.to_ascii_lowercase()).or_insert(secret);
            if before != secret {
                let message = format!(
                    "`{}` is served with Secret `{}` and with Secret `{}`",
                    escape(&at.host),
                    escape(before),
                    escape(secret)
                );
                let finding = RULE.warning(scene, at.path.clone(), message);
                findings.push(finding.help("leave the host in one item"));
            }
        }
    }
    findings
}
