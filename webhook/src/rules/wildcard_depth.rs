//! LH205: a wildcard that looks as if it covered the host.

use lasthop_contract::problem::Code;
use lasthop_contract::text::escape;

use super::Rule;
use super::host_not_covered::{Coverage, san, uncovered};
use crate::check::Scene;
use crate::finding::Finding;
use crate::symptom::At;

pub(crate) static RULE: Rule = Rule {
    code: Code(205),
    name: "wildcard-depth",
    summary: "the host is too deep or too short for the certificate's wildcard",
    why: "`*.example.com` stands for exactly one label (RFC 9525, 6.3): `a.example.com`, but neither `example.com` nor \
          `a.b.example.com`. Controllers serve the certificate or their default one, and clients refuse both.",
    symptoms: &[
        At::IngressNginx.shows(
            "logs \"does not contain a Common Name or Subject Alternative Name for server\" and \
             serves its \"Kubernetes Ingress Controller Fake Certificate\"",
        ),
        At::Istio.shows("serves it as it is"),
        At::Browsers.shows("`NET::ERR_CERT_COMMON_NAME_INVALID`"),
        At::Curl.shows("\"no alternative certificate subject name matches target host name\""),
    ],
    example: "\
spec:
  tls:
  - hosts: [a.b.example.com]
    secretName: wildcard-tls # its certificate is for *.example.com",
    cure: "Issue the certificate with the host itself among its names, or with the wildcard one level deeper: \
           `subjectAltName=DNS:*.b.example.com`. Or serve under a host of one label: `a-b.example.com`.",
    judge: Some(judge),
};

/// Whether `name` is a wildcard of a domain that `host` lies in or is.
pub(super) fn is_near(name: &str, host: &str) -> bool {
    name.strip_prefix("*.").is_some_and(|parent| {
        host == parent || host.strip_suffix(parent).is_some_and(|rest| rest.ends_with('.'))
    })
}

fn judge(scene: &Scene) -> Vec<Finding> {
    uncovered(scene, Coverage::WildcardDepth, |pair, certificate, at| {
        let host = at.host.to_ascii_lowercase();
        let wildcard =
            certificate.dns_names().find(|name| is_near(name, &host)).unwrap_or_default();
        let message = format!(
            "`{}` in Secret `{}` does not cover `{}`",
            escape(wildcard),
            escape(&pair.reference.secret),
            escape(&host)
        );
        let help = format!(
            "a wildcard stands for exactly one label; issue the certificate with `{}`",
            san(certificate, &escape(&host))
        );
        let key = pair.seen.reading().form.map_or("tls.crt", |form| form.chain_key());
        pair.finding(scene, &RULE, (&at.path, key), &message).help(help)
    })
}
