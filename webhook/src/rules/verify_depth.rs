//! LH223: a chain that is longer than the depth to which it is verified.

use lasthop_contract::credential::{self, Certificate};
use lasthop_contract::problem::Code;
use lasthop_contract::text::escape;

use super::Rule;
use crate::check::{Behind, Scene, Sight};
use crate::finding::Finding;
use crate::path::FieldPath;
use crate::reference::Role;
use crate::reference::ingress_annotations::{Backend, Reader, nginx};
use crate::symptom::At;

pub(crate) static RULE: Rule = Rule {
    code: Code(223),
    name: "verify-depth",
    summary: "`proxy-ssl-verify-depth` or `auth-tls-verify-depth` is too small for the chain at hand",
    why: "The depth is the number of intermediate certificates between the application's own and the trusted root, \
          and it is 1 unless written otherwise. Let's Encrypt's chains have two since 2025. For clients it is the \
          same (`auth-tls-verify-depth`): where the CAs of `auth-tls-secret` are a root and two intermediates \
          below it, those whom the lower one issued are refused.",
    symptoms: &[
        At::IngressNginx.shows(
            "502 and \"upstream SSL certificate verify error: (22:certificate chain too long)\"; \
             for clients 400 and \"client SSL certificate verify error: (22:certificate chain \
             too long)\"",
        ),
        At::Traefik.shows("nothing: it has no such limit"),
    ],
    example: "\
metadata:
  annotations:
    nginx.ingress.kubernetes.io/proxy-ssl-verify: \"on\"
    # the chain of the sidecar: server, intermediate, cross-signed root; ca.crt: the older root",
    cure: "\
metadata:
  annotations:
    nginx.ingress.kubernetes.io/proxy-ssl-verify: \"on\"
    nginx.ingress.kubernetes.io/proxy-ssl-verify-depth: \"2\"",
    judge: Some(judge),
};

fn judge(scene: &Scene) -> Vec<Finding> {
    let mut findings = of_application(scene);
    findings.extend(of_clients(scene));
    findings
}

/// The clients of the lowest CA in the bundle.
fn of_clients(scene: &Scene) -> Option<Finding> {
    // Traefik knows no bound.
    if Reader::of(&scene.object)? == Reader::Traefik {
        return None;
    }
    let name = "auth-tls-verify-depth";
    let written = nginx(&scene.object, name);
    let depth = written.as_ref().and_then(|at| at.value.trim().parse().ok());
    let depth: usize = depth.filter(|depth| *depth > 0).unwrap_or(1);
    let of_clients = |it: &&Sight| it.reference.role == Role::IngressClientCa;
    let sight = scene.references.iter().find(of_clients)?;
    let authorities = credential::read_authorities(&sight.secret.found()?.secret.data).authorities;
    let below = authorities.iter().filter(|it| !it.is_self_issued());
    let needed = |lowest: &&Certificate| {
        Some(intermediates(std::slice::from_ref(*lowest), &authorities)? + 1)
    };
    let (lowest, needed) =
        below.filter_map(|it| Some((it, needed(&it)?))).max_by_key(|(_, needed)| *needed)?;
    if needed <= depth {
        return None;
    }
    let message = format!(
        "clients of `{}` in Secret `{}` have {needed} intermediates above them, the depth is {depth}",
        escape(&lowest.subject),
        escape(&sight.reference.secret)
    );
    let path = written.map_or_else(|| sight.reference.path.clone(), |at| at.path);
    let line = format!("nginx.ingress.kubernetes.io/{name}: \"{needed}\"");
    Some(RULE.warning(scene, path, message).help(format!("write `{line}`")).suggest(line))
}

fn of_application(scene: &Scene) -> Vec<Finding> {
    let Some(backend) = Backend::read(&scene.object) else { return Vec::new() };
    let Some(depth) = backend.verify_depth().filter(|_| backend.verifies()) else {
        return Vec::new();
    };
    let verifier = |it: &&Sight| it.reference.role == Role::VerifyingBackendClient;
    let trusted = scene.references.iter().find(verifier).and_then(|it| it.secret.found());
    let Some(trusted) = trusted else { return Vec::new() };
    let authorities = credential::read_authorities(&trusted.secret.data).authorities;
    let annotation = FieldPath::annotation("nginx.ingress.kubernetes.io/proxy-ssl-verify-depth");
    let path = match (&backend.depth, &backend.verify) {
        (None, Some(verify)) => verify.path.clone(),
        _ => annotation,
    };
    let too_long = |behind: &Behind| {
        let (secret, seen) = behind.certificates.first()?;
        let needed = intermediates(&seen.found()?.reading().chain, &authorities)?;
        if needed <= depth {
            return None;
        }
        let message = format!(
            "the chain in Secret `{}`, which {} serves, has {needed} intermediates, the depth is {depth}",
            escape(secret),
            behind.workload
        );
        let finding = match backend.reader {
            Reader::IngressNginx => RULE.error(scene, path.clone(), message),
            Reader::Unknown | Reader::Traefik => RULE.warning(scene, path.clone(), message),
        };
        let line = format!("nginx.ingress.kubernetes.io/proxy-ssl-verify-depth: \"{needed}\"");
        Some(finding.help(format!("write `{line}`")).suggest(line))
    };
    scene.behind.iter().filter_map(too_long).collect()
}

/// How many certificates stand between the first of `chain` and a self-signed one of `trusted`, on
/// the shortest way; none where no way leads there.
fn intermediates(chain: &[Certificate], trusted: &[Certificate]) -> Option<usize> {
    let mut reached: Vec<&Certificate> = vec![chain.first()?];
    for between in 0..chain.len() + trusted.len() {
        let issued = |issuer: &Certificate| reached.iter().any(|it| it.names_issuer(issuer));
        if trusted.iter().any(|root| root.is_self_issued() && issued(root)) {
            return Some(between);
        }
        reached = chain
            .iter()
            .chain(trusted)
            .filter(|issuer| !issuer.is_self_issued() && issued(issuer))
            .collect();
    }
    None
}
