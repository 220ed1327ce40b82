//! LH213: a text that cannot be the name of a Secret.

use lasthop_contract::problem::Code;
use lasthop_contract::text::escape;

use super::Rule;
use super::host_syntax::is_subdomain;
use crate::check::{Scene, Sight};
use crate::finding::Finding;
use crate::reference::Role;
use crate::symptom::At;

pub(crate) static RULE: Rule = Rule {
    code: Code(213),
    name: "secret-name",
    summary: "`secretName` is not the name of a Secret",
    why: "`secretName` of an Ingress names a Secret of the Ingress's own namespace. Annotations such as \
          `proxy-ssl-secret` take `namespace/name`, `secretName` does not: the API server refuses the slash, \
          and capital letters and underscores as well.",
    symptoms: &[At::Apply.shows(
        "\"a lowercase RFC 1123 subdomain must consist of ...\" at `spec.tls[0].secretName`; \
             no controller sees it",
    )],
    example: "\
spec:
  tls:
  - hosts: [shop.example.com]
    secretName: application/app-router-tls",
    cure: "Write the name alone, and have the Secret in the Ingress's namespace.",
    judge: Some(judge),
};

fn judge(scene: &Scene) -> Vec<Finding> {
    let wrong = |sight: &Sight| {
        let (message, help) = fault(sight)?;
        Some(RULE.error(scene, sight.reference.path.clone(), message).help(help))
    };
    scene.references.iter().filter_map(wrong).collect()
}

/// What is wrong with the name that a reference writes, and the cure.
pub(crate) fn fault(sight: &Sight) -> Option<(String, String)> {
    let name = &sight.reference.secret;
    if sight.reference.role != Role::IngressServer || super::placeholder::is_placeholder(name) {
        return None;
    }
    if let Some((namespace, rest)) = name.split_once('/') {
        let message =
            format!("`{}` names a namespace, `secretName` takes a name alone", escape(name));
        let help = format!(
            "write `secretName: {}`, with that Secret in the Ingress's own namespace instead of `{}`",
            escape(rest),
            escape(namespace)
        );
        return Some((message, help));
    }
    // As the API server has it for the names of Secrets.
    (!is_subdomain(name)).then(|| {
        let message = format!("`{}` cannot be the name of a Secret", escape(name));
        (
            message,
            "names have lower-case letters, digits, `-` and `.`, 253 characters at most".to_owned(),
        )
    })
}
