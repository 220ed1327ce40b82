//! LH207: a host of `spec.tls` that no rule serves.

use lasthop_contract::near::nearest;
use lasthop_contract::problem::Code;
use lasthop_contract::text::escape;

use super::Rule;
use crate::check::Scene;
use crate::finding::Finding;
use crate::object::Object;
use crate::reference::HostAt;
use crate::reference::ingress::{Hosts, Ingress};
use crate::reference::ingress_annotations::{Reader, nginx};
use crate::symptom::At;

pub(crate) static RULE: Rule = Rule {
    code: Code(207),
    name: "tls-host-without-rule",
    summary: "a host of `spec.tls` appears in no rule",
    why: "Hosts in `spec.tls` choose a certificate; what is served for them stands in `spec.rules`. A host without \
          a rule leads nowhere, often because one of the two places has a slip of the pen.",
    symptoms: &[
        At::IngressNginx.shows(
            "answers the host with 404 and serves its \"Kubernetes Ingress Controller Fake \
             Certificate\"",
        ),
        At::Traefik.shows("answers the host with \"404 page not found\""),
        At::AwsAlb.shows("answers the host with 404"),
    ],
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
    let served_beside: Hosts = hosts_beside_rules(&scene.object, &ingress).iter().collect();
    let mut findings = Vec::new();
    for at in ingress.tls.iter().flat_map(|item| &item.hosts) {
        let is_served = rules.have(&at.host) || served_beside.have(&at.host);
        if is_served || !super::host_syntax::is_host(&at.host) {
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

/// The hosts that ingress-nginx serves beside those of the rules: its aliases, and the other one of `shop.example.com`
/// and `www.shop.example.com`, from which it redirects. Of an alias that is a pattern nobody here knows what it takes in:
/// any host.
/// <https://kubernetes.github.io/ingress-nginx/user-guide/nginx-configuration/annotations/>
fn hosts_beside_rules(object: &Object, ingress: &Ingress) -> Vec<HostAt> {
    if Reader::of(object).is_none() {
        return Vec::new();
    }
    let mut hosts = Vec::new();
    if let Some(alias) = nginx(object, "server-alias") {
        let names = alias.value.split(',').map(str::trim);
        if names.clone().any(|name| name.starts_with('~')) {
            return ingress.tls.iter().flat_map(|item| &item.hosts).cloned().collect();
        }
        let at = |host: &str| HostAt { host: host.to_owned(), path: alias.path.clone() };
        hosts.extend(names.filter(|name| !name.is_empty()).map(at));
    }
    if nginx(object, "from-to-www-redirect").is_some_and(|at| at.value.trim() == "true") {
        hosts.extend(ingress.rules.iter().map(|rule| {
            let host = match rule.host.strip_prefix("www.") {
                Some(bare) => bare.to_owned(),
                None => format!("www.{}", rule.host),
            };
            HostAt { host, path: rule.path.clone() }
        }));
    }
    hosts
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn served_beside(annotations: &serde_json::Value) -> Vec<String> {
        let object = Object(json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
            "metadata": {"name": "web", "annotations": annotations},
            "spec": {
                "ingressClassName": "nginx",
                "tls": [{"hosts": ["a.example.com"], "secretName": "web-tls"}],
                "rules": [{"host": "shop.example.com"}, {"host": "www.example.com"}],
            },
        }));
        let ingress = Ingress::read(&object).unwrap();
        hosts_beside_rules(&object, &ingress).into_iter().map(|it| it.host).collect()
    }

    #[test]
    fn what_annotations_of_ingress_nginx_serve_needs_no_rule() {
        let with = |name: &str, value: &str| {
            served_beside(&json!({format!("nginx.ingress.kubernetes.io/{name}"): value}))
        };
        assert_eq!(with("from-to-www-redirect", "true"), ["www.shop.example.com", "example.com"]);
        assert!(with("from-to-www-redirect", "false").is_empty());
        assert_eq!(
            with("server-alias", "b.example.com, c.example.com"),
            ["b.example.com", "c.example.com"]
        );
        assert_eq!(with("server-alias", r"~^a\d*\.example\.com$"), ["a.example.com"]);
        assert!(served_beside(&json!({"kubernetes.io/ingress.class": "kong"})).is_empty());
    }
}
