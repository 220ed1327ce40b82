//! LH602: a balancer that will not accept the sidecar's certificate.

use lasthop_contract::problem::Code;

use super::Rule;
use super::sidecar_refuses_balancer::findings;
use crate::check::{Dialer, Scene};
use crate::finding::Finding;
use crate::rehearse::Outcome;
use crate::symptom::At;

pub(crate) static RULE: Rule = Rule {
    code: Code(602),
    name: "balancer-refuses-sidecar",
    summary: "the balancer does not accept the certificate of the sidecar behind the Service",
    why: "The balancer verifies whom it re-encrypts to. Whether it accepts the sidecar's certificate was tried: the handshake of \
          both was run in memory. On a cluster nginx answers 502 and logs \"upstream SSL certificate verify error\" or \
          \"upstream SSL certificate does not match\", Traefik \"x509: certificate is valid for\" other names.",
    symptoms: &[
        At::IngressNginx.shows(
            "answers 502 and logs \"upstream SSL certificate verify error: (20:unable to get \
             local issuer certificate)\" or \"upstream SSL certificate does not match\"",
        ),
        At::Traefik.shows(
            "answers 500 and logs \"x509: certificate signed by unknown authority\" or \"x509: \
             certificate is valid for ..., not ...\"",
        ),
        At::Istio.shows("answers 503, \"CERTIFICATE_VERIFY_FAILED\" in the reason"),
        At::Sidecar.shows("logs \"refused\" with LH525, reason `client_alert`"),
    ],
    example: "\
kind: Ingress
metadata:
  annotations:
    nginx.ingress.kubernetes.io/backend-protocol: HTTPS
    nginx.ingress.kubernetes.io/proxy-ssl-secret: shop/alb # its ca.crt is not the CA of web-tls
    nginx.ingress.kubernetes.io/proxy-ssl-verify: \"on\"
    nginx.ingress.kubernetes.io/proxy-ssl-name: web.shop.svc",
    cure: "Put the CA of the sidecar's certificate into `ca.crt` of the Secret that `proxy-ssl-secret` names, and a name of that \
           certificate into `proxy-ssl-name`.",
    judge: Some(judge),
};

fn judge(scene: &Scene) -> Vec<Finding> {
    findings(scene, &RULE, |it| {
        let refuses = matches!(it.refused, Outcome::Distrusted(_) | Outcome::Incompatible { .. });
        refuses && matches!(it.from, Dialer::Balancer { .. })
    })
}
