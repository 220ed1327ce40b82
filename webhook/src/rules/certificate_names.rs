//! LH243: a Certificate that is not asked for the hosts which use it.

use std::collections::BTreeMap;

use lasthop_contract::problem::Code;
use lasthop_contract::text::{escape, list};
use serde_json::Value;

use super::Rule;
use crate::check::Scene;
use crate::finding::Finding;
use crate::object::{Object, ObjectRef};
use crate::path::FieldPath;
use crate::reference::certificate::is_certificate;
use crate::symptom::At;

pub(crate) static RULE: Rule = Rule {
    code: Code(243),
    name: "certificate-names",
    summary: "a Certificate does not ask for a host that is served with its Secret",
    why: "cert-manager issues exactly what `dnsNames` says. An Ingress, Gateway or Host that serves the Secret for \
          another host shows clients a certificate which is not for it.",
    symptoms: &[
        At::IngressNginx.shows(
            "logs \"does not contain a Common Name or Subject Alternative Name for server\" and \
             serves its \"Kubernetes Ingress Controller Fake Certificate\"",
        ),
        At::Istio.shows("serves it as it is"),
        At::Browsers.shows("`NET::ERR_CERT_COMMON_NAME_INVALID`"),
        At::CertManager.shows("`READY True`: it made what it was asked for"),
    ],
    example: "\
kind: Certificate
spec:
  secretName: shop-tls
  dnsNames: [shop.example.com] # an Ingress serves shop-tls for www.example.com too",
    cure: "\
kind: Certificate
spec:
  secretName: shop-tls
  dnsNames: [shop.example.com, www.example.com]",
    judge: Some(judge),
};

fn judge(scene: &Scene) -> Vec<Finding> {
    if !is_certificate(&scene.object) {
        return Vec::new();
    }
    let names = names(&scene.object);
    // Then the names come from elsewhere: `literalSubject`, or a request that says it all.
    if names.is_empty() {
        return Vec::new();
    }
    let mut lost: BTreeMap<&ObjectRef, Vec<&str>> = BTreeMap::new();
    for user in scene.users.found().into_iter().flatten() {
        let hosts = user.reference.hosts.iter().map(|at| at.host.as_str());
        let hosts = hosts.filter(|host| super::host_syntax::is_host(host));
        let uncovered = hosts.filter(|host| !names.iter().any(|name| covers(name, host)));
        lost.entry(&user.object).or_default().extend(uncovered);
    }
    lost.retain(|_, hosts| !hosts.is_empty());
    let path = FieldPath::of(["spec", "dnsNames"]);
    lost.into_iter()
        .map(|(user, hosts)| {
            let secret = escape(scene.object.text("/spec/secretName"));
            let message = format!(
                "{user} serves Secret `{secret}` for {}, which is not asked for",
                list(&hosts, 4)
            );
            RULE.warning(scene, path.clone(), message)
                .help("add it to `dnsNames`, or name another Secret there")
                .about(user.clone())
        })
        .collect()
}

/// The names that the certificate is going to have.
fn names(certificate: &Object) -> Vec<String> {
    let lists = ["/spec/dnsNames", "/spec/ipAddresses"].map(|pointer| certificate.list(pointer));
    let listed = lists.into_iter().flatten().filter_map(Value::as_str);
    let common = Some(certificate.text("/spec/commonName")).filter(|name| !name.is_empty());
    listed.chain(common).map(str::to_ascii_lowercase).collect()
}

/// Whether `name` is `host`, or a wildcard for its first label.
fn covers(name: &str, host: &str) -> bool {
    let host = host.to_ascii_lowercase();
    name == host
        || name.strip_prefix("*.").is_some_and(|parent| {
            host.split_once('.').is_some_and(|(label, rest)| rest == parent && label != "*")
        })
}
