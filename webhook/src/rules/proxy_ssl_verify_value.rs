//! LH220: a verification that was meant to be on and is off.

use lasthop_contract::problem::Code;
use lasthop_contract::text::escape;

use super::Rule;
use crate::check::Scene;
use crate::finding::Finding;
use crate::reference::ingress_annotations::{Backend, Reader};
use crate::symptom::At;

pub(crate) static RULE: Rule = Rule {
    code: Code(220),
    name: "proxy-ssl-verify-value",
    summary: "`proxy-ssl-verify` is neither `on` nor `off`, so the application is not verified",
    why: "ingress-nginx takes `on` and `off`, and for everything else its default, which is `off`; Traefik \
          compares with `on` alone. `\"true\"`, as IBM's own example has it, switches nothing on: the application's \
          certificate is never looked at, and nobody says so.",
    symptoms: &[
        At::IngressNginx.shows("nothing: an application with any certificate is spoken to"),
        At::Traefik.shows("nothing: an application with any certificate is spoken to"),
    ],
    example: "\
metadata:
  annotations:
    nginx.ingress.kubernetes.io/backend-protocol: HTTPS
    nginx.ingress.kubernetes.io/proxy-ssl-verify: \"true\"",
    cure: "\
metadata:
  annotations:
    nginx.ingress.kubernetes.io/backend-protocol: HTTPS
    nginx.ingress.kubernetes.io/proxy-ssl-verify: \"on\"",
    judge: Some(judge),
};

fn judge(scene: &Scene) -> Vec<Finding> {
    let Some(backend) = Backend::read(&scene.object) else { return Vec::new() };
    let Some(verify) = &backend.verify else { return Vec::new() };
    let value = match backend.reader {
        Reader::Traefik => verify.value.to_ascii_lowercase(),
        Reader::IngressNginx | Reader::Unknown => verify.value.clone(),
    };
    if matches!(value.as_str(), "on" | "off") || super::placeholder::is_placeholder(&value) {
        return Vec::new();
    }
    let message = format!(
        "`{}` is neither `on` nor `off`: the application's certificate is not verified",
        escape(&verify.value)
    );
    let help = "write `\"on\"`, with a `proxy-ssl-secret` that holds the CA as `ca.crt`";
    vec![
        RULE.warning(scene, verify.path.clone(), message)
            .help(help)
            .suggest("nginx.ingress.kubernetes.io/proxy-ssl-verify: \"on\""),
    ]
}
