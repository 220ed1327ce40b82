//! LH225: `on` as the name of a server.

use lasthop_contract::problem::Code;
use lasthop_contract::text::escape;

use super::Rule;
use crate::check::Scene;
use crate::finding::Finding;
use crate::reference::ingress_annotations::{Backend, Reader};
use crate::symptom::At;

pub(crate) static RULE: Rule = Rule {
    code: Code(225),
    name: "server-name-on",
    summary: "Traefik takes `proxy-ssl-server-name: \"on\"` for the name of the server",
    why: "For ingress-nginx `proxy-ssl-server-name` is a switch. Traefik's provider for the same annotations takes \
          its value as the name where `proxy-ssl-name` is missing: it asks the application for the host `on` and \
          compares its certificate with that. It shows after a migration.",
    symptoms: &[
        At::Traefik.shows("500 and \"x509: certificate is valid for ..., not on\""),
        At::IngressNginx.shows("nothing: there it is a switch"),
    ],
    example: "\
spec:
  ingressClassName: public-iks-traefik
metadata:
  annotations:
    nginx.ingress.kubernetes.io/proxy-ssl-server-name: \"on\"",
    cure: "\
spec:
  ingressClassName: public-iks-traefik
metadata:
  annotations:
    nginx.ingress.kubernetes.io/proxy-ssl-server-name: \"on\"
    nginx.ingress.kubernetes.io/proxy-ssl-name: app.example.com",
    judge: Some(judge),
};

fn judge(scene: &Scene) -> Vec<Finding> {
    let Some(backend) = Backend::read(&scene.object) else { return Vec::new() };
    let verifies = backend.verifies();
    let has_name = backend.name.is_some_and(|name| !name.value.is_empty());
    let Some(at) = backend.server_name.filter(|_| backend.reader == Reader::Traefik && !has_name)
    else {
        return Vec::new();
    };
    if !matches!(at.value.to_ascii_lowercase().as_str(), "on" | "off") {
        return Vec::new();
    }
    let value = escape(&at.value);
    let message = format!("Traefik asks the application for the server name `{value}`");
    let finding = if verifies {
        RULE.error(scene, at.path, message)
    } else {
        RULE.warning(scene, at.path, message)
    };
    vec![finding.help("write the application's name as `proxy-ssl-name`")]
}
