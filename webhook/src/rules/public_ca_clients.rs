//! LH312: a public CA whose holders are not told apart.

use lasthop_contract::annotation as name;
use lasthop_contract::client_policy::{ClientPolicy, PolicyError, is_public_ca};
use lasthop_contract::credential::{self, CA_KEYS};
use lasthop_contract::problem::{Fault, Problem};

use super::Rule;
use crate::check::{Scene, SeenSecret, Setting};
use crate::finding::{Finding, Severity};
use crate::inject::annotations::Terminate;
use crate::inject::annotations::values::CaSource;
use crate::inject::{self, code};
use crate::object::Object;
use crate::path::FieldPath;
use crate::reference::{Holder, Reference, Role};
use crate::symptom::At;

pub(crate) static RULE: Rule = Rule {
    code: code::PUBLIC_CA,
    name: "public-ca-clients",
    summary: "the client CA is public, and the allowed clients do not tell its holders apart",
    why: "Anybody can have a certificate of a public CA such as Let's Encrypt, with whatever CN or e-mail address it lets \
          through. `*`, `cn:` and `email:` would let in the whole internet. The sidecar refuses to start with them.",
    symptoms: &[At::Sidecar.shows("ends at once, and says that the CA is public")],
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
    let mut findings = Vec::new();
    for sight in &scene.references {
        let Some(seen) = sight.secret.found() else { continue };
        let errors = too_wide(&scene.object, &sight.reference, seen);
        if errors.is_empty() {
            findings.extend(notice(scene, &sight.reference, seen));
        }
        for (path, error) in errors {
            findings.push(finding(scene, path, &error.to_string()));
        }
    }
    // From the side of the Secret; among files it is told where the clients are named.
    if let (Some(own), Setting::Review) = (&scene.own, scene.setting) {
        for user in scene.users.found().into_iter().flatten() {
            for (path, error) in too_wide(&user.raw, &user.reference, &own.secret) {
                let message = format!("{error}, which {} says at `{path}`", user.object);
                let data = &own.secret.secret.data;
                let key = CA_KEYS.into_iter().find(|key| data.contains_key(*key));
                let place = own.secret.secret.path(key.unwrap_or("ca.crt"));
                let mut finding = finding(scene, place, &message).about(user.object.clone());
                if own.secret.secret.written_by().is_some() {
                    finding.severity = Severity::Warning;
                }
                findings.push(finding);
            }
        }
    }
    findings
}

/// LH135: a public CA whose holders are told apart, which is right and worth knowing.
fn notice(scene: &Scene, reference: &Reference, seen: &SeenSecret) -> Option<Finding> {
    if reference.role != Role::SidecarClientCa {
        return None;
    }
    let authorities = credential::read_authorities(&seen.secret.data).authorities;
    let public = authorities.iter().find(|authority| is_public_ca(authority))?;
    let fault = Fault::PublicCa { subject: public.subject.clone() };
    let problem = Problem::new(public.found_in(), fault);
    let message = format!("{}: {}", reference.called(), problem.message());
    let path = reference.path.clone();
    let severity = Severity::Info;
    let finding = Finding::new(problem.code(), severity, scene.name(), path, message);
    Some(finding.help(problem.help()))
}

/// The listeners of `object` that verify clients with the CAs of `seen`, which are public, and name
/// the clients too broadly.
fn too_wide(
    object: &Object,
    reference: &Reference,
    seen: &SeenSecret,
) -> Vec<(FieldPath, PolicyError)> {
    let wanted = match reference.holder {
        Holder::Secret => CaSource::Secret(reference.secret.clone()),
        Holder::ConfigMap => CaSource::ConfigMap(reference.secret.clone()),
    };
    let Some((prefix, pod)) = inject::pod_of(object) else { return Vec::new() };
    let Some((_, request)) = inject::service::request_of(object) else { return Vec::new() };
    if reference.role != Role::SidecarClientCa {
        return Vec::new();
    }
    let authorities = credential::read_authorities(&seen.secret.data).authorities;
    let mut errors = Vec::new();
    for listener in &request.listeners {
        let Some(clients) = listener.clients.as_ref().filter(|it| it.ca == wanted) else {
            continue;
        };
        let path = prefix.join(&allowed_at(&pod, listener));
        let of_it = ClientPolicy::too_wide_for_public_ca(&authorities, &clients.allowed.clients);
        errors.extend(of_it.into_iter().map(|error| (path.clone(), error)));
    }
    errors
}

fn finding(scene: &Scene, path: FieldPath, message: &str) -> Finding {
    RULE.error(scene, path, message)
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
