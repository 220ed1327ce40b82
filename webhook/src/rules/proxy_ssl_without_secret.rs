//! LH227: annotations that only a Secret brings to life.

use lasthop_contract::problem::Code;
use lasthop_contract::text::list;

use super::Rule;
use crate::check::Scene;
use crate::finding::Finding;
use crate::reference::ingress_annotations::{Backend, Reader};
use crate::symptom::At;

pub(crate) static RULE: Rule = Rule {
    code: Code(227),
    name: "proxy-ssl-without-secret",
    summary: "`proxy-ssl-*` annotations stand without `proxy-ssl-secret`, so ingress-nginx reads none of them",
    why: "ingress-nginx stops reading where `proxy-ssl-secret` is missing: verification stays off and no server name is \
          sent, whatever the other annotations say, and nothing is logged \
          (kubernetes/ingress-nginx#6728).",
    symptoms: &[
        At::IngressNginx.shows("nothing: the application is not verified and gets no server name"),
        At::Sidecar.shows("with several Secrets, the first one's certificate is served"),
    ],
    example: "\
metadata:
  annotations:
    nginx.ingress.kubernetes.io/backend-protocol: HTTPS
    nginx.ingress.kubernetes.io/proxy-ssl-server-name: \"on\"
    nginx.ingress.kubernetes.io/proxy-ssl-name: app.example.com",
    cure: "Name a Secret too, be it one that holds the CA alone: `kubectl create secret generic app-ca \
           --from-file=ca.crt=FILE`, and `proxy-ssl-secret: NAMESPACE/app-ca`.",
    judge: Some(judge),
};

fn judge(scene: &Scene) -> Vec<Finding> {
    let Some(backend) = Backend::read(&scene.object) else { return Vec::new() };
    let has_secret = backend.secret.is_some_and(|it| !it.value.is_empty());
    if has_secret || backend.reader == Reader::Traefik {
        return Vec::new();
    }
    let unread = [
        ("proxy-ssl-verify", backend.verify),
        ("proxy-ssl-name", backend.name),
        ("proxy-ssl-server-name", backend.server_name),
        ("proxy-ssl-verify-depth", backend.depth),
    ];
    let unread: Vec<_> = unread
        .into_iter()
        .filter_map(|(name, at)| Some((name, at?)))
        // What is off by default is as off as before.
        .filter(|(_, at)| at.value != "off")
        .collect();
    let Some((_, first)) = unread.first() else { return Vec::new() };
    let path = first.path.clone();
    let names: Vec<&str> = unread.iter().map(|(name, _)| *name).collect();
    let message = format!("without `proxy-ssl-secret` ingress-nginx ignores {}", list(&names, 4));
    vec![RULE.warning(scene, path, message).help(
        "name a Secret too; one with `ca.crt` alone will do: `kubectl create secret generic NAME \
         --from-file=ca.crt=FILE`",
    )]
}
