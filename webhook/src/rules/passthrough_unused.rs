//! LH229: settings that do nothing where TLS is passed through.

use lasthop_contract::problem::Code;
use lasthop_contract::text::list;

use super::Rule;
use crate::check::Scene;
use crate::finding::Finding;
use crate::reference::ingress::Ingress;
use crate::reference::ingress_annotations::{nginx, passthrough};
use crate::symptom::At;

pub(crate) static RULE: Rule = Rule {
    code: Code(229),
    name: "passthrough-unused",
    summary: "with `ssl-passthrough` other TLS settings of the Ingress do nothing",
    why: "With `ssl-passthrough: \"true\"` ingress-nginx hands the client's TLS on to the application by its server name. \
          The application's certificate is what clients see; the Secret of `spec.tls` is not served, clients are not \
          verified (`auth-tls-*`), and nothing is encrypted anew (`proxy-ssl-*`). It also takes the controller's flag \
          `--enable-ssl-passthrough`.",
    symptoms: &[
        At::IngressNginx
            .shows("clients see the application's certificate, and none is asked of them"),
        At::Traefik.shows("clients see the application's certificate, and none is asked of them"),
    ],
    example: "\
metadata:
  annotations:
    nginx.ingress.kubernetes.io/ssl-passthrough: \"true\"
    nginx.ingress.kubernetes.io/auth-tls-secret: shop/client-ca",
    cure: "Take either `ssl-passthrough` or the settings away. To verify clients behind a passthrough, let the sidecar do \
           it: `lasthop.dev/client-ca-secret` and `lasthop.dev/allowed-clients`.",
    judge: Some(judge),
};

fn judge(scene: &Scene) -> Vec<Finding> {
    let Some(ingress) = Ingress::read(&scene.object) else { return Vec::new() };
    let Some(at) = passthrough(&scene.object) else { return Vec::new() };
    let names = ["auth-tls-secret", "proxy-ssl-secret", "proxy-ssl-verify"];
    let idle: Vec<&str> =
        names.into_iter().filter(|name| nginx(&scene.object, name).is_some()).collect();
    if !idle.is_empty() {
        let idle = list(&idle, 3);
        let message = format!("TLS is passed through to the application, without regard to {idle}");
        let help = "let the application, or the sidecar before it, verify clients";
        return vec![RULE.warning(scene, at.path, message).help(help)];
    }
    if ingress.tls.iter().any(|item| item.secret.is_some()) {
        let message =
            "TLS is passed through to the application: the Secret of `spec.tls` is not served";
        return vec![RULE.info(scene, at.path, message).help("clients see the application's own")];
    }
    Vec::new()
}
