//! LH217: a text that is not a host.

use std::net::IpAddr;

use lasthop_contract::problem::Code;
use lasthop_contract::text::escape;

use super::Rule;
use crate::check::Scene;
use crate::finding::Finding;
use crate::punycode;
use crate::reference::ingress::Ingress;
use crate::symptom::At;

pub(crate) static RULE: Rule = Rule {
    code: Code(217),
    name: "host-syntax",
    summary: "a host is not written as Kubernetes takes hosts",
    why: "A host is a DNS name in lower case, its first label possibly `*`: no scheme, no port, no path, no dot at \
          the end, no underscore, in rules no address; letters beyond ASCII as punycode (`xn--`). The API server \
          refuses another one long after the file was written.",
    symptoms: &[At::Apply.shows(
        "\"a lowercase RFC 1123 subdomain must consist of lower case alphanumeric \
             characters\"; no controller sees it",
    )],
    example: "\
spec:
  tls:
  - hosts: [\"https://shop.example.com:443\"]
    secretName: shop-tls",
    cure: "\
spec:
  tls:
  - hosts: [shop.example.com]
    secretName: shop-tls",
    judge: Some(judge),
};

fn judge(scene: &Scene) -> Vec<Finding> {
    let Some(ingress) = Ingress::read(&scene.object) else { return Vec::new() };
    let hosts = ingress.tls.iter().flat_map(|item| &item.hosts).chain(&ingress.rules);
    let wrong = hosts.filter_map(|at| Some((at, fault(&at.host)?)));
    let addresses = ingress.rules.iter().filter(|at| at.host.parse::<IpAddr>().is_ok());
    let help =
        "leave `host` out: the rule then holds for every host, and for requests to the address";
    let addresses = addresses.filter(|at| fault(&at.host).is_none());
    wrong
        .chain(addresses.map(|at| (at, help.to_owned())))
        .map(|(at, help)| {
            let message = format!("`{}` is not a host", escape(&at.host));
            RULE.error(scene, at.path.clone(), message).help(help)
        })
        .collect()
}

/// What is wrong with a host, and what to write instead.
fn fault(host: &str) -> Option<String> {
    if is_host(host) || super::placeholder::is_placeholder(host) {
        return None;
    }
    let bare = host.split_once("://").map_or(host, |(_scheme, rest)| rest);
    let bare = bare.split(['/', ':', '?']).next().unwrap_or_default();
    let bare = bare.trim_matches('.').trim().to_ascii_lowercase();
    if is_host(&bare) {
        return Some(format!("write `{}`: a name in lower case and nothing else", escape(&bare)));
    }
    if let Some(ascii) = punycode::host(&bare).filter(|it| is_host(it)) {
        return Some(format!("write `{ascii}`, which is how DNS and certificates spell the name"));
    }
    Some(
        "a host has lower-case letters, digits, `-` and `.`; only its first label may be `*`"
            .to_owned(),
    )
}

/// A DNS-1123 subdomain of at most 253 characters, or a wildcard and such a subdomain.
pub(super) fn is_host(host: &str) -> bool {
    host.len() <= 253 && is_subdomain(host.strip_prefix("*.").unwrap_or(host))
}

/// A DNS-1123 subdomain of at most 253 characters, as names of objects are.
pub(super) fn is_subdomain(name: &str) -> bool {
    let is_label = |label: &str| {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        !label.is_empty()
            && label.bytes().all(plain)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    name.len() <= 253 && name.split('.').all(is_label)
}

#[cfg(test)]
mod tests {
    use super::fault;

    #[test]
    fn says_what_to_write_instead() {
        for right in ["a", "a.example", "*.a.example", "xn--bcher-kva.example", "1.2.3.4"] {
            assert_eq!(fault(right), None, "{right}");
        }
        for wrong in
            ["https://a.example/x", "a.example:443", "A.Example", ".a.example.", " a.example "]
        {
            let help = fault(wrong).unwrap();
            assert!(help.starts_with("write `a.example`:"), "{wrong}: {help}");
        }
        for wrong in ["a_b.example", "*a.example", "a.*.example", "*", "a..b", ""] {
            assert!(fault(wrong).unwrap().starts_with("a host has"), "{wrong}");
        }
        let help = fault("*.Bücher.example").unwrap();
        assert!(help.starts_with("write `*.xn--bcher-kva.example`,"), "{help}");
    }
}
