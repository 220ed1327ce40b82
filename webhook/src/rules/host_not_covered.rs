//! LH204: a host that the certificate is not for.

use std::net::IpAddr;

use lasthop_contract::credential::{Certificate, Name};
use lasthop_contract::problem::Code;
use lasthop_contract::text::{escape, list};

use super::Rule;
use crate::check::{Pair, Scene, Setting};
use crate::finding::{Finding, Severity};
use crate::object::Object;
use crate::reference::ingress::{Ingress, host_matches};
use crate::reference::{HostAt, Role};
use crate::symptom::At;

pub(crate) static RULE: Rule = Rule {
    code: Code(204),
    name: "host-not-covered",
    summary: "the certificate is not for a host that is served with it",
    why: "A client compares the host it asked for with the subject alternative names of the certificate. Some \
          controllers do so in advance, others serve the wrong certificate.",
    symptoms: &[
        At::IngressNginx.shows(
            "logs \"does not contain a Common Name or Subject Alternative Name for server\" and \
             serves its \"Kubernetes Ingress Controller Fake Certificate\"",
        ),
        At::Traefik.shows("serves \"TRAEFIK DEFAULT CERT\" for the host"),
        At::Istio.shows("serves it as it is"),
        At::AwsAlb.shows(
            "event `FailedBuildModel`, \"no certificate found for host\", where it is to find \
             one in ACM",
        ),
        At::Browsers.shows("`NET::ERR_CERT_COMMON_NAME_INVALID`"),
        At::Curl.shows("\"no alternative certificate subject name matches target host name\""),
    ],
    example: "\
spec:
  tls:
  - hosts: [shop.example.com]
    secretName: blog-tls # its certificate is for blog.example.com",
    cure: "Name the Secret whose certificate is for the host, or issue the certificate again with the host among its \
           names: `subjectAltName=DNS:blog.example.com,DNS:shop.example.com`.",
    judge: Some(judge),
};

/// How a certificate relates to a host.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Coverage {
    /// A name covers it.
    Covered,
    /// No name covers it, but the CN does and there are no names: old clients go on.
    ByCommonName,
    /// A wildcard looks as if it did, and does not.
    WildcardDepth,
    /// Nothing covers it.
    Not,
}

pub(super) fn coverage(certificate: &Certificate, host: &str) -> Coverage {
    let host = host.to_ascii_lowercase();
    if certificate.covers(&host) {
        return Coverage::Covered;
    }
    if certificate.names().is_empty() {
        let common_name = certificate.common_name.as_deref().unwrap_or_default();
        return match common_name.to_ascii_lowercase() {
            name if name == host => Coverage::ByCommonName,
            name if one_label_of(&name, &host) => Coverage::ByCommonName,
            _ => Coverage::Not,
        };
    }
    if certificate.dns_names().any(|name| super::wildcard_depth::is_near(name, &host)) {
        return Coverage::WildcardDepth;
    }
    Coverage::Not
}

fn one_label_of(wildcard: &str, host: &str) -> bool {
    wildcard.strip_prefix("*.").is_some_and(|parent| {
        host.split_once('.').is_some_and(|(label, rest)| rest == parent && label != "*")
    })
}

/// The hosts of every pair that the certificate does not cover in the way of `wanted`.
pub(super) fn uncovered(
    scene: &Scene,
    wanted: Coverage,
    tell: impl Fn(&Pair<'_>, &Certificate, &HostAt) -> Finding,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    for pair in scene.pairs() {
        // Among files it is told where the hosts stand.
        if pair.user.is_some() && scene.setting == Setting::Files {
            continue;
        }
        let Some(certificate) = pair.seen.reading().leaf() else { continue };
        let hosts = pair.reference.hosts.iter();
        let hosts = hosts.filter(|at| super::host_syntax::is_host(&at.host));
        let hosts = hosts.filter(|at| coverage(certificate, &at.host) == wanted);
        // A Gateway or Host for `*.example.com` stands for all that routes add below it.
        let is_filter = pair.reference.role != Role::IngressServer;
        let hosts = hosts.filter(|at| !(is_filter && holds_some(certificate, &at.host)));
        findings.extend(hosts.map(|at| tell(&pair, certificate, at)));
    }
    findings
}

/// Whether the certificate is for some host below a wildcard.
fn holds_some(certificate: &Certificate, wildcard: &str) -> bool {
    let wildcard = wildcard.to_ascii_lowercase();
    let Some(parent) = wildcard.strip_prefix('*') else { return false };
    certificate.dns_names().any(|name| name.ends_with(parent))
}

fn judge(scene: &Scene) -> Vec<Finding> {
    uncovered(scene, Coverage::Not, |pair, certificate, at| {
        let host = escape(&at.host);
        let secret = escape(&pair.reference.secret);
        let message = format!("the certificate in Secret `{secret}` does not cover `{host}`");
        let key = pair.seen.reading().form.map_or("tls.crt", |form| form.chain_key());
        let help = format!(
            "{}; issue it with `{}`, or name the Secret that has it",
            names(certificate),
            san(certificate, &host)
        );
        let mut finding = pair.finding(scene, &RULE, (&at.path, key), &message).help(help);
        let ingress = pair.user.map_or(&scene.object, |user| user.raw.as_ref());
        if covers_rules_below(ingress, certificate, &at.host) {
            finding.severity = finding.severity.max(Severity::Warning);
        }
        finding
    })
}

/// Whether `host` is a wildcard that stands for the hosts of rules alone, and these are covered: clients
/// of what is routed see no wrong certificate.
fn covers_rules_below(object: &Object, certificate: &Certificate, host: &str) -> bool {
    let Some(ingress) = Ingress::read(object).filter(|_| host.starts_with("*.")) else {
        return false;
    };
    let below = ingress.rules.iter().filter(|rule| host_matches(host, &rule.host));
    let mut below = below.map(|rule| coverage(certificate, &rule.host)).peekable();
    below.peek().is_some() && below.all(|coverage| coverage == Coverage::Covered)
}

/// The extension of a certificate for `host` beside what it is for now, where that is not too much.
pub(super) fn san(certificate: &Certificate, host: &str) -> String {
    // Clients compare an address with addresses only (RFC 2818, 3.1).
    let this = match host.parse::<IpAddr>() {
        Ok(address) => format!("IP:{address}"),
        Err(_name) => format!("DNS:{host}"),
    };
    let had = certificate.names().iter().filter_map(|name| match name {
        Name::Dns(name) => Some(format!("DNS:{}", escape(name))),
        Name::Ip(address) => Some(format!("IP:{address}")),
        Name::Uri(_) | Name::Email(_) => None,
    });
    let names: Vec<String> = had.chain([this.clone()]).collect();
    let few = if names.len() <= 4 { names.join(",") } else { format!("...,{this}") };
    format!("subjectAltName={few}")
}

/// What the certificate is for, in a phrase.
pub(super) fn names(certificate: &Certificate) -> String {
    let names: Vec<&str> = certificate.dns_names().collect();
    match (&certificate.common_name, names.is_empty()) {
        (Some(name), true) => format!("its only name is the CN `{}`", escape(name)),
        (None, true) => "it has no name at all".to_owned(),
        _ => format!("it covers {}", list(&names, 4)),
    }
}
