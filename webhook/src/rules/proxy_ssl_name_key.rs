//! LH222: a value that repeats the name of its annotation.

use lasthop_contract::problem::Code;
use lasthop_contract::text::escape;

use super::Rule;
use crate::check::Scene;
use crate::finding::Finding;
use crate::reference::ingress_annotations::Backend;
use crate::symptom::At;

pub(crate) static RULE: Rule = Rule {
    code: Code(222),
    name: "proxy-ssl-name-key",
    summary: "the value of `proxy-ssl-name` begins with `proxy-ssl-name=`",
    why: "In IBM's former annotation `ssl-services` the name was one word among several, `proxy-ssl-name=HOST`; in \
          an annotation of its own the value is the host alone. Otherwise the application's certificate is \
          compared with the whole text, which no certificate is for.",
    symptoms: &[
        At::IngressNginx
            .shows("with verification: 502 and \"upstream SSL certificate does not match\""),
        At::Traefik.shows(
            "with verification: 500 and \"x509: certificate is valid for ..., not \
             proxy-ssl-name=...\"",
        ),
    ],
    example: "\
metadata:
  annotations:
    nginx.ingress.kubernetes.io/proxy-ssl-name: proxy-ssl-name=app.example.com",
    cure: "\
metadata:
  annotations:
    nginx.ingress.kubernetes.io/proxy-ssl-name: app.example.com",
    judge: Some(judge),
};

fn judge(scene: &Scene) -> Vec<Finding> {
    let Some(backend) = Backend::read(&scene.object) else { return Vec::new() };
    let verifies = backend.verifies();
    let Some(name) = backend.name else { return Vec::new() };
    let Some(host) = name.value.trim().strip_prefix("proxy-ssl-name=") else { return Vec::new() };
    let message = format!("`{}` repeats the name of the annotation", escape(&name.value));
    let host = escape(host);
    let finding = if verifies {
        RULE.error(scene, name.path, message)
    } else {
        RULE.warning(scene, name.path, message)
    };
    vec![
        finding
            .help(format!("write `{host}`"))
            .suggest(format!("nginx.ingress.kubernetes.io/proxy-ssl-name: {host}")),
    ]
}
