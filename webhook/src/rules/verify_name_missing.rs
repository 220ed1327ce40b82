//! LH226: verification against a name that no certificate has.

use lasthop_contract::problem::Code;

use super::Rule;
use crate::check::Scene;
use crate::finding::Finding;
use crate::reference::ingress_annotations::{Backend, Reader, nginx};
use crate::symptom::At;

pub(crate) static RULE: Rule = Rule {
    code: Code(226),
    name: "verify-name-missing",
    summary: "the application is verified, and nothing says against which name",
    why: "ingress-nginx sends all requests to an upstream of its own, `upstream_balancer`, and without \
          `proxy-ssl-name` that is the name which the application's certificate is compared with.",
    symptoms: &[At::IngressNginx.shows(
        "502 and \"upstream SSL certificate does not match\", followed by the name \
             `upstream_balancer`",
    )],
    example: "\
metadata:
  annotations:
    nginx.ingress.kubernetes.io/proxy-ssl-secret: shop/app-client
    nginx.ingress.kubernetes.io/proxy-ssl-verify: \"on\"",
    cure: "\
metadata:
  annotations:
    nginx.ingress.kubernetes.io/proxy-ssl-secret: shop/app-client
    nginx.ingress.kubernetes.io/proxy-ssl-verify: \"on\"
    nginx.ingress.kubernetes.io/proxy-ssl-name: app.example.com",
    judge: Some(judge),
};

fn judge(scene: &Scene) -> Vec<Finding> {
    let Some(backend) = Backend::read(&scene.object) else { return Vec::new() };
    let has_name = backend.name.as_ref().is_some_and(|name| !name.value.is_empty());
    if backend.reader == Reader::Traefik || has_name || !backend.verifies() {
        return Vec::new();
    }
    let Some(verify) = backend.verify else { return Vec::new() };
    // A snippet can set the directive itself.
    let snippets = ["configuration-snippet", "server-snippet"];
    let is_set = |name| {
        nginx(&scene.object, name).is_some_and(|snippet| snippet.value.contains("proxy_ssl_name"))
    };
    if snippets.into_iter().any(is_set) {
        return Vec::new();
    }
    let message =
        "ingress-nginx compares the application's certificate with the name `upstream_balancer`";
    vec![
        RULE.warning(scene, verify.path, message)
            .help("write a name of the application's certificate as `proxy-ssl-name`"),
    ]
}
