//! LH312: a public CA whose holders are not told apart.

use lasthop_contract::annotation as name;
use lasthop_contract::client_policy::{ClientPolicy, PolicyError};
use lasthop_contract::credential;

use super::Rule;
use crate::check::Scene;
use crate::finding::Finding;
use crate::inject::annotations::Terminate;
use crate::inject::annotations::values::CaSource;
use crate::inject::{self, code};
use crate::object::Object;
use crate::path::FieldPath;
use crate::reference::Role;

pub(crate) static RULE: Rule = Rule {
    code: code::PUBLIC_CA,
    name: "public-ca-clients",
    summary: "the client CA is public, and the allowed clients do not tell its holders apart",
    why: "Anybody can have a certificate of a public CA such as Let's Encrypt, with whatever CN or e-mail address it lets \
          through. `*`, `cn:` and `email:` would let in the whole internet. The sidecar refuses to start with them.",
    example: "\
metadata:
  annotations:
    lasthop.dev/client-ca-secret: letsencrypt-roots
    lasthop.dev/allowed-clients: \"*\"",
    cure: "\
metadata:
  annotations:
    lasthop.dev/client-ca-secret: letsencrypt-roots
    lasthop.dev/allowed-clients: \"dns:alb.example.com\"",
    judge: Some(judge),
};

fn judge(scene: &Scene) -> Vec<Finding> {
    let Some((prefix, pod)) = inject::pod_of(&scene.object) else { return Vec::new() };
    let Some((_, request)) = inject::service::request_of(&scene.object) else { return Vec::new() };
    let mut findings = Vec::new();
    for sight in &scene.references {
        let Some(seen) = sight.secret.found() else { continue };
        if sight.reference.role != Role::SidecarClientCa {
            continue;
        }
        let authorities = credential::read_authorities(&seen.secret.data).authorities;
        for listener in &request.listeners {
            let Some(clients) = &listener.clients else { continue };
            if clients.ca != CaSource::Secret(sight.reference.secret.clone()) {
                continue;
            }
            let errors =
                ClientPolicy::too_wide_for_public_ca(&authorities, &clients.allowed.clients);
            let path = prefix.join(&allowed_at(&pod, listener));
            findings.extend(errors.iter().map(|error| finding(scene, path.clone(), error)));
        }
    }
    findings
}

fn finding(scene: &Scene, path: FieldPath, error: &PolicyError) -> Finding {
    RULE.error(scene, path, error.to_string())
        .help("name every client: `dns:alb.example.com`, `uri:`, `ip:`, `sha256:` or `spki:`")
        .safety()
}

/// The annotation that says who may come in at `listener`.
fn allowed_at(pod: &Object, listener: &Terminate) -> FieldPath {
    let own = format!("{}.{}", name::ALLOWED_CLIENTS, listener.listen);
    match pod.annotation(&own) {
        Some(_) => FieldPath::annotation(&own),
        None => FieldPath::annotation(name::ALLOWED_CLIENTS),
    }
}
