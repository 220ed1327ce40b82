//! LH234: clients that were meant to be verified, and are not.

use lasthop_contract::problem::Code;
use lasthop_contract::text::list;

use super::Rule;
use crate::check::Scene;
use crate::finding::Finding;
use crate::reference::ingress::is_ingress;
use crate::reference::ingress_annotations::{Reader, nginx};
use crate::symptom::At;

pub(crate) static RULE: Rule = Rule {
    code: Code(234),
    name: "clients-not-verified",
    summary: "`auth-tls-*` annotations stand without `auth-tls-secret`, so no client is asked for a certificate",
    why: "ingress-nginx and Traefik read `auth-tls-secret` first, and without it none of the others. \
          `auth-tls-verify-client: \"on\"` alone looks like a locked door: everybody comes in, without a certificate, and \
          nothing is logged.",
    symptoms: &[
        At::IngressNginx.shows("nothing: everybody comes in"),
        At::Traefik.shows("nothing: everybody comes in"),
    ],
    example: "\
metadata:
  annotations:
    nginx.ingress.kubernetes.io/auth-tls-verify-client: \"on\"",
    cure: "\
metadata:
  annotations:
    nginx.ingress.kubernetes.io/auth-tls-secret: shop/client-ca
    nginx.ingress.kubernetes.io/auth-tls-verify-client: \"on\"",
    judge: Some(judge),
};

fn judge(scene: &Scene) -> Vec<Finding> {
    let object = &scene.object;
    let has_secret = nginx(object, "auth-tls-secret").is_some_and(|at| !at.value.is_empty());
    if !is_ingress(object) || Reader::of(object).is_none() || has_secret {
        return Vec::new();
    }
    let names = [
        "auth-tls-verify-client",
        "auth-tls-verify-depth",
        "auth-tls-match-cn",
        "auth-tls-pass-certificate-to-upstream",
        "auth-tls-error-page",
    ];
    let idle: Vec<_> = names
        .into_iter()
        .filter_map(|name| Some((name, nginx(object, name)?)))
        .filter(|(_, at)| !matches!(at.value.as_str(), "off" | "false" | ""))
        .collect();
    let Some((_, first)) = idle.first() else { return Vec::new() };
    let path = first.path.clone();
    let names: Vec<&str> = idle.iter().map(|(name, _)| *name).collect();
    let message = format!(
        "no client is asked for a certificate: without `auth-tls-secret` {} {} nothing",
        list(&names, 3),
        if names.len() == 1 { "does" } else { "do" }
    );
    vec![RULE.warning(scene, path, message).help(
        "name the Secret with the CA of the clients: `auth-tls-secret: NAMESPACE/NAME`, with the CA as \
         `ca.crt`",
    )]
}
