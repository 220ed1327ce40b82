//! LH231: IBM Cloud's former annotation for services that speak TLS.

use lasthop_contract::problem::Code;
use lasthop_contract::text::{escape, list};
use serde_json::Value;

use super::Rule;
use crate::check::Scene;
use crate::finding::Finding;
use crate::object::Object;
use crate::path::FieldPath;
use crate::reference::ingress_annotations::{SSL_SERVICES, SslService, ssl_services};
use crate::symptom::At;

pub(crate) static RULE: Rule = Rule {
    code: Code(231),
    name: "ssl-services",
    summary: "an entry of `ingress.bluemix.net/ssl-services` does less than it seems to",
    why: "An entry is `ssl-service=NAME ssl-secret=NAME proxy-ssl-name=HOST`, with `;` between entries. Without \
          `ssl-secret` the traffic is encrypted and the service not verified; an entry for a service that no rule leads to \
          does nothing. IBM's ALBs of today are ingress-nginx and Traefik, which do not read it.",
    symptoms: &[
        At::IngressNginx.shows(
            "nothing: it does not read the annotation, and speaks plaintext to the application",
        ),
        At::Traefik.shows(
            "nothing: it does not read the annotation, and speaks plaintext to the application",
        ),
        At::Sidecar.shows("logs LH521, and the balancer answers 502"),
    ],
    example: "\
metadata:
  annotations:
    ingress.bluemix.net/ssl-services: \"ssl-service=web\"",
    cure: "\
metadata:
  annotations:
    nginx.ingress.kubernetes.io/backend-protocol: HTTPS
    nginx.ingress.kubernetes.io/proxy-ssl-secret: shop/alb-client
    nginx.ingress.kubernetes.io/proxy-ssl-verify: \"on\"
    nginx.ingress.kubernetes.io/proxy-ssl-name: web.example.com",
    judge: Some(judge),
};

fn judge(scene: &Scene) -> Vec<Finding> {
    let services = ssl_services(&scene.object);
    if services.is_empty() {
        return Vec::new();
    }
    let backends = backends(&scene.object);
    let path = FieldPath::annotation(SSL_SERVICES);
    let told = services.iter().flat_map(|service| faults(service, &backends));
    let mut findings: Vec<Finding> =
        told.map(|(message, help)| RULE.warning(scene, path.clone(), message).help(help)).collect();
    if crate::reference::ingress_annotations::nginx(&scene.object, "backend-protocol").is_none() {
        let message = "IBM's ALBs of today do not read this annotation";
        findings.push(RULE.info(scene, path, message).help(
            "write `nginx.ingress.kubernetes.io/backend-protocol: HTTPS`, `proxy-ssl-secret`, \
             `proxy-ssl-verify` and `proxy-ssl-name`",
        ));
    }
    findings
}

fn faults(service: &SslService, backends: &[&str]) -> Vec<(String, String)> {
    let SslService { service, secret, name: _, unknown } = service;
    let mut faults = Vec::new();
    if !unknown.is_empty() {
        let message = format!("no part of an entry: {}", list(unknown, 3));
        let help = "an entry is `ssl-service=NAME ssl-secret=NAME proxy-ssl-name=HOST`, entries have `;` between them";
        faults.push((message, help.to_owned()));
    }
    let Some(service) = service else {
        if unknown.is_empty() {
            let message = "an entry names no service".to_owned();
            faults.push((message, "begin it with `ssl-service=NAME`".to_owned()));
        }
        return faults;
    };
    let name = escape(service);
    if !backends.is_empty() && !backends.contains(&service.as_str()) {
        let message = format!("no rule of this Ingress leads to Service `{name}`");
        faults.push((message, format!("the rules lead to {}", list(backends, 4))));
    }
    if secret.is_none() {
        let message = format!("Service `{name}` is not verified, the entry has no `ssl-secret`");
        let help =
            "name a Secret with `trusted.crt`, and `client.crt` and `client.key` for mutual TLS";
        faults.push((message, help.to_owned()));
    }
    faults
}

/// The Services that the Ingress leads to, in its version of today and that before.
fn backends(object: &Object) -> Vec<&str> {
    let rules = object.list("/spec/rules").iter();
    let paths = rules.filter_map(|rule| rule.pointer("/http/paths").and_then(Value::as_array));
    let of_rules = paths.flatten().filter_map(|path| path.get("backend"));
    let default = [object.0.pointer("/spec/defaultBackend"), object.0.pointer("/spec/backend")];
    of_rules
        .chain(default.into_iter().flatten())
        .filter_map(|backend| {
            let name = backend.pointer("/service/name").or_else(|| backend.get("serviceName"))?;
            name.as_str()
        })
        .collect()
}
