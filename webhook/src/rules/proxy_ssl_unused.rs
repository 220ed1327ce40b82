//! LH233: settings of TLS towards an application to which plaintext is spoken.

use lasthop_contract::problem::Code;
use lasthop_contract::text::{escape, list};

use super::Rule;
use crate::check::Scene;
use crate::finding::Finding;
use crate::reference::ingress_annotations::{Annotated, Backend, passthrough};
use crate::symptom::At;

pub(crate) static RULE: Rule = Rule {
    code: Code(233),
    name: "proxy-ssl-unused",
    summary: "`proxy-ssl-*` annotations stand without `backend-protocol: HTTPS`, so plaintext goes to the application",
    why: "`proxy-ssl-secret` and the others say how TLS is spoken to the application, but not that it is: that is \
          `backend-protocol`, which is `HTTP` unless written otherwise. Nothing fails and nobody says so; the traffic that was \
          meant to be encrypted is not.",
    symptoms: &[
        At::IngressNginx.shows(
            "nothing, where the application takes plaintext; 502 or 400 where it takes TLS alone",
        ),
        At::Traefik.shows(
            "nothing, where the application takes plaintext; 502 or 400 where it takes TLS alone",
        ),
    ],
    example: "\
metadata:
  annotations:
    nginx.ingress.kubernetes.io/proxy-ssl-secret: shop/app-client
    nginx.ingress.kubernetes.io/proxy-ssl-verify: \"on\"",
    cure: "\
metadata:
  annotations:
    nginx.ingress.kubernetes.io/backend-protocol: HTTPS # or GRPCS
    nginx.ingress.kubernetes.io/proxy-ssl-secret: shop/app-client
    nginx.ingress.kubernetes.io/proxy-ssl-verify: \"on\"",
    judge: Some(judge),
};

fn judge(scene: &Scene) -> Vec<Finding> {
    let Some(backend) = Backend::read(&scene.object) else { return Vec::new() };
    // What is handed on is told with that; an unknown protocol, with its value.
    if backend.speaks_tls() || passthrough(&scene.object).is_some() {
        return Vec::new();
    }
    let protocol = backend.protocol.as_ref().map_or("HTTP", |at| at.value.trim());
    let known = ["HTTP", "GRPC", "FCGI", "AUTO_HTTP"];
    if !known.iter().any(|it| protocol.eq_ignore_ascii_case(it)) {
        return Vec::new();
    }
    let Backend { reader: _, protocol: _, secret, verify, name, server_name, depth } = &backend;
    let written = [
        ("proxy-ssl-secret", secret),
        ("proxy-ssl-verify", verify),
        ("proxy-ssl-name", name),
        ("proxy-ssl-server-name", server_name),
        ("proxy-ssl-verify-depth", depth),
    ];
    let idle: Vec<(&str, &Annotated)> = written
        .into_iter()
        .filter_map(|(name, at)| Some((name, at.as_ref()?)))
        .filter(|(_, at)| !matches!(at.value.as_str(), "off" | ""))
        .collect();
    let Some((_, first)) = idle.first() else { return Vec::new() };
    let names: Vec<&str> = idle.iter().map(|(name, _)| *name).collect();
    let message = format!(
        "`{}` is spoken to the application, in plaintext: {} {} nothing",
        escape(protocol),
        list(&names, 5),
        if names.len() == 1 { "does" } else { "do" }
    );
    vec![
        RULE.warning(scene, first.path.clone(), message)
            .help("write `backend-protocol: HTTPS` (or `GRPCS`) beside it")
            .suggest("nginx.ingress.kubernetes.io/backend-protocol: HTTPS"),
    ]
}
