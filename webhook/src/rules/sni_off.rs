//! LH224: no server name towards a sidecar that chooses by it.

use lasthop_contract::problem::Code;
use lasthop_contract::text::{escape, list};

use super::Rule;
use crate::check::{Behind, Scene};
use crate::finding::Finding;
use crate::reference::ingress_annotations::{Backend, NGINX_DEFAULT_NAME};
use crate::symptom::At;

pub(crate) static RULE: Rule = Rule {
    code: Code(224),
    name: "sni-off",
    summary: "no server name is sent to a sidecar that has several certificates",
    why: "ingress-nginx sends no server name to the application unless `proxy-ssl-server-name` is `on`, and without \
          `proxy-ssl-name` it sends `upstream_balancer`. The sidecar then serves the first of its Secrets, whatever host \
          is meant; where the certificate is verified, the others can never be reached.",
    symptoms: &[
        At::IngressNginx.shows(
            "the wrong certificate comes back: with verification 502 and \"upstream SSL \
             certificate does not match\"",
        ),
        At::Sidecar.shows(
            "logs no refusal; its log of requests shows the first Secret's certificate for every \
             host",
        ),
    ],
    example: "\
kind: Ingress
metadata:
  annotations:
    nginx.ingress.kubernetes.io/backend-protocol: HTTPS
    # the sidecar behind it: lasthop.dev/tls-secret: shop-tls,blog-tls",
    cure: "\
kind: Ingress
metadata:
  annotations:
    nginx.ingress.kubernetes.io/backend-protocol: HTTPS
    nginx.ingress.kubernetes.io/proxy-ssl-secret: shop/app-client
    nginx.ingress.kubernetes.io/proxy-ssl-server-name: \"on\"
    nginx.ingress.kubernetes.io/proxy-ssl-name: blog.example.com",
    judge: Some(judge),
};

fn judge(scene: &Scene) -> Vec<Finding> {
    let Some(backend) = Backend::read(&scene.object) else { return Vec::new() };
    if backend.sni().is_some_and(|name| name != NGINX_DEFAULT_NAME) {
        return Vec::new();
    }
    let Some(protocol) = &backend.protocol else { return Vec::new() };
    let path = backend.server_name.as_ref().unwrap_or(protocol).path.clone();
    let chooses = |behind: &&Behind| behind.certificates.len() > 1;
    let finding = |behind: &Behind| {
        let names: Vec<&str> = behind.certificates.iter().map(|(it, _)| it.as_str()).collect();
        let message = format!(
            "{} chooses between the Secrets {} by server name, and none is sent: it is always `{}`",
            behind.workload,
            list(&names, 3),
            escape(names.first().copied().unwrap_or_default())
        );
        RULE.warning(scene, path.clone(), message).help(
            "write `proxy-ssl-server-name: \"on\"` and the host as `proxy-ssl-name`, beside a \
             `proxy-ssl-secret`",
        )
    };
    scene.behind.iter().filter(chooses).map(finding).collect()
}
