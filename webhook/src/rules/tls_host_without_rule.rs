//! LH207: a host of `spec.tls` that no rule serves.

use lasthop_contract::near::nearest;
use lasthop_contract::problem::Code;
use lasthop_contract::text::escape;

use super::Rule;
use crate::check::Scene;
use crate::finding::Finding;
use crate::reference::ingress::{Hosts, Ingress};

pub(crate) static RULE: Rule = Rule {
    code: Code(207),
    name: "tls-host-without-rule",
    summary: "a host of `spec.tls` appears in no rule",
    why: "Hosts in `spec.tls` choose a certificate; what is served for them stands in `spec.rules`. A host without a rule \
          gets the controller's 404 page, often because one of the two places has a slip of the pen; and with \
          ingress-nginx the certificate is not served for it at all, because it makes no server for the host.",
    example: "\
spec:
  tls:
  - hosts: [shop.example.com]
    secretName: shop-tls
  rules:
  - host: www.example.com",
    cure: "Write the same host in both places, or take the one that is not needed away.",
    judge: Some(judge),
};

/// So many findings name the nearest host, of so many: to compare two names takes its time.
const MOST_HELPED: usize = 16;
const MOST_SEARCHED: usize = 256;

fn judge(scene: &Scene) -> Vec<Finding> {
    let Some(ingress) = Ingress::read(&scene.object) else { return Vec::new() };
    if ingress.rules.is_empty() && !ingress.catches_all {
        return Vec::new();
    }
    let rules: Hosts = ingress.rules.iter().collect();
    let mut findings = Vec::new();
    for at in ingress.tls.iter().flat_map(|item| &item.hosts) {
        if rules.have(&at.host) || !super::host_syntax::is_host(&at.host) {
            continue;
        }
        let host = escape(&at.host);
        let message = format!("no rule serves `{host}`");
        let searched = if findings.len() < MOST_HELPED { MOST_SEARCHED } else { 0 };
        let names = ingress.rules.iter().map(|rule| rule.host.as_str()).take(searched);
        let near = nearest(&at.host, names);
        let help = match near {
            Some(near) => format!("the nearest host of a rule is `{}`", escape(near)),
            None => format!("add a rule with `host: {host}`, or take the host out of `spec.tls`"),
        };
        // A rule for all hosts does serve it, with most controllers.
        let finding = if ingress.catches_all {
            RULE.info(
                scene,
                at.path.clone(),
                format!("only the rule for all hosts serves `{host}`"),
            )
        } else {
            RULE.warning(scene, at.path.clone(), message)
        };
        findings.push(finding.help(help));
    }
    findings
}
