//! LH221: an annotation that names a Secret without its namespace.

use lasthop_contract::problem::Code;
use lasthop_contract::text::escape;

use super::Rule;
use crate::check::Scene;
use crate::finding::Finding;
use crate::reference::ingress::is_ingress;
use crate::reference::ingress_annotations::{Annotated, Reader, namespace_and_name, nginx};
use crate::symptom::At;

pub(crate) static RULE: Rule = Rule {
    code: Code(221),
    name: "annotation-secret-name",
    summary: "an annotation names a Secret in another way than `namespace/name`",
    why: "`proxy-ssl-secret` and `auth-tls-secret` take `namespace/name`, also for a Secret of the Ingress's own \
          namespace. With the name alone the controller takes the whole Ingress out of service.",
    symptoms: &[
        At::IngressNginx.shows("answers 503 for every path of the Ingress"),
        At::Traefik.shows(
            "logs \"malformed proxy SSL secret\" or \"auth-tls-secret must be in namespace/name \
             format\", skips the Ingress and answers 404",
        ),
    ],
    example: "\
metadata:
  namespace: shop
  annotations:
    nginx.ingress.kubernetes.io/proxy-ssl-secret: app-client",
    cure: "\
metadata:
  namespace: shop
  annotations:
    nginx.ingress.kubernetes.io/proxy-ssl-secret: shop/app-client",
    judge: Some(judge),
};

fn judge(scene: &Scene) -> Vec<Finding> {
    if !is_ingress(&scene.object) || Reader::of(&scene.object).is_none() {
        return Vec::new();
    }
    let names = ["proxy-ssl-secret", "auth-tls-secret"];
    names
        .into_iter()
        .filter_map(|name| judge_one(scene, name, &nginx(&scene.object, name)?))
        .collect()
}

fn judge_one(scene: &Scene, name: &str, at: &Annotated) -> Option<Finding> {
    // An empty annotation is none.
    if at.value.is_empty()
        || namespace_and_name(&at.value).is_some()
        || super::placeholder::is_placeholder(&at.value)
    {
        return None;
    }
    let value = escape(&at.value);
    let path = at.path.clone();
    if at.value.contains('/') {
        let message = format!("`{value}` is not `namespace/name`");
        return Some(RULE.error(scene, path, message).help("write one namespace and one name"));
    }
    let whole = format!("{}/{value}", escape(&scene.namespace));
    let message = format!("`{value}` names no namespace, `{name}` takes `namespace/name`");
    Some(
        RULE.error(scene, path, message)
            .help(format!("write `{whole}`"))
            .suggest(format!("nginx.ingress.kubernetes.io/{name}: {whole}")),
    )
}
