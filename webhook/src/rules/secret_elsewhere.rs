//! LH230: a Secret of another namespace.

use lasthop_contract::problem::Code;
use lasthop_contract::text::escape;

use super::Rule;
use crate::check::Scene;
use crate::finding::Finding;
use crate::reference::Role;
use crate::symptom::At;

pub(crate) static RULE: Rule = Rule {
    code: Code(230),
    name: "secret-elsewhere",
    summary: "an annotation names a Secret of another namespace",
    why: "ingress-nginx takes Secrets of other namespaces only where its ConfigMap has \
          `allow-cross-namespace-resources: \"true\"`, which is off by default since 1.12 and on in IBM Cloud. \
          Otherwise it takes the whole Ingress out of service.",
    symptoms: &[
        At::IngressNginx.shows(
            "answers 503 for every path of the Ingress; its `nginx.conf` says \"cross namespace \
             secrets are not supported\"",
        ),
        At::Traefik.shows(
            "logs \"cross-namespace proxy SSL secret not allowed\" or \"cross-namespace \
             auth-tls-secret not allowed\", skips the Ingress and answers 404",
        ),
    ],
    example: "\
metadata:
  namespace: shop
  annotations:
    nginx.ingress.kubernetes.io/proxy-ssl-secret: default/alb-client",
    cure: "Have the Secret in the Ingress's own namespace: `kubectl create secret generic alb-client -n shop \
           --from-file=tls.crt=FILE --from-file=tls.key=FILE --from-file=ca.crt=FILE`. A copy has to be renewed with its source.",
    judge: Some(judge),
};

fn judge(scene: &Scene) -> Vec<Finding> {
    let is_annotation = |role| {
        matches!(role, Role::BackendClient | Role::VerifyingBackendClient | Role::IngressClientCa)
    };
    let elsewhere = scene.references.iter().map(|sight| &sight.reference);
    let elsewhere =
        elsewhere.filter(|it| is_annotation(it.role) && it.namespace != scene.namespace);
    elsewhere
        .map(|reference| {
            let message = format!(
                "Secret `{}` is of namespace `{}`, which ingress-nginx refuses unless it is told otherwise",
                escape(&reference.secret),
                escape(&reference.namespace)
            );
            RULE.warning(scene, reference.path.clone(), message)
                .help(format!("have it in namespace `{}`", escape(&scene.namespace)))
        })
        .collect()
}
