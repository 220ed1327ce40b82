//! LH206: one item of `spec.tls` written as two.

use lasthop_contract::problem::Code;
use lasthop_contract::text::escape;

use super::Rule;
use crate::check::Scene;
use crate::finding::Finding;
use crate::reference::ingress::{Ingress, TlsItem, class};
use crate::symptom::At;

pub(crate) static RULE: Rule = Rule {
    code: Code(206),
    name: "split-tls-item",
    summary: "hosts and Secret stand in two items of `spec.tls`",
    why: "A dash begins a new item, so the hosts have no Secret and the Secret has no hosts. The API server stores \
          both: each is legal alone. The controller finds the hosts first and serves them with its default \
          certificate.",
    symptoms: &[
        At::IngressNginx.shows(
            "serves its \"Kubernetes Ingress Controller Fake Certificate\", and logs nothing at \
             the usual level",
        ),
        At::Traefik
            .shows("serves \"TRAEFIK DEFAULT CERT\", or the certificate where its names fit"),
        At::CertManager.shows("event `BadConfig`, \"Skipped a TLS block\""),
        At::Browsers.shows("`NET::ERR_CERT_AUTHORITY_INVALID`"),
    ],
    example: "\
spec:
  tls:
  - hosts:
    - shop.example.com
  - secretName: shop-tls",
    cure: "\
# one dash for both
spec:
  tls:
  - hosts:
    - shop.example.com
    secretName: shop-tls",
    judge: Some(judge),
};

fn judge(scene: &Scene) -> Vec<Finding> {
    let Some(ingress) = Ingress::read(&scene.object) else { return Vec::new() };
    let hosts_only = ingress.tls.iter().filter(|it| !it.hosts.is_empty() && it.secret.is_none());
    let secret_only = ingress.tls.iter().filter(|it| it.hosts.is_empty());
    let secret_only = secret_only.filter_map(|it| Some((it, it.secret.as_deref()?)));
    hosts_only
        .zip(secret_only)
        .map(|(hosts, (item, secret))| tell(scene, hosts, item, secret))
        .collect()
}

fn tell(scene: &Scene, hosts: &TlsItem, item: &TlsItem, secret: &str) -> Finding {
    let secret = escape(secret);
    let message = format!(
        "`{}` names no Secret and `{}` names no hosts: one item was split in two",
        hosts.path, item.path
    );
    let listed: Vec<String> =
        hosts.hosts.iter().map(|at| format!("  - {}", scalar(&at.host))).collect();
    let yaml = format!("tls:\n- hosts:\n{}\n  secretName: {secret}", listed.join("\n"));
    // ingress-gce and Traefik read the Secrets alone, whatever hosts stand beside them.
    let class = class(&scene.object);
    let finding = if class.starts_with("gce") || class.contains("traefik") {
        RULE.warning(scene, item.path.clone(), message)
    } else {
        RULE.error(scene, item.path.clone(), message)
    };
    finding
        .help("take away the dash before `secretName`, so that both stand in one item")
        .suggest(yaml)
}

/// A host as YAML: a leading `*` or `$` wants quotes.
fn scalar(host: &str) -> String {
    let host = escape(host);
    let plain = host.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'.' || b == b'-');
    if plain { host } else { format!("\"{}\"", host.replace('\\', "\\\\").replace('"', "\\\"")) }
}
