//! LH240: mutual TLS without anything to verify the clients with.

use lasthop_contract::credential::CA_KEYS;
use lasthop_contract::problem::Code;
use lasthop_contract::text::escape;

use super::Rule;
use crate::check::{Scene, SeenSecret, Sight};
use crate::finding::{Finding, Severity};
use crate::reference::Role;
use crate::surroundings::Sighting;
use crate::symptom::At;

pub(crate) static RULE: Rule = Rule {
    code: Code(240),
    name: "mutual-without-ca",
    summary: "a Gateway verifies clients, and no CA is kept for it",
    why: "With `mode: MUTUAL` an Istio gateway looks for the CA of the clients in the Secret \
          `<credentialName>-cacert`, and then in that of `credentialName` itself, under `cacert` or `ca.crt`. \
          Where neither holds one, the listener gets no certificate at all.",
    symptoms: &[At::Istio.shows(
        "istiod warns \"failed to fetch ca certificate\", clients are cut off; curl says \
             \"Connection reset by peer\" or \"unexpected eof\"",
    )],
    example: "\
kind: Gateway
spec:
  servers:
  - tls:
      mode: MUTUAL
      credentialName: shop-tls # tls.crt and tls.key, and no Secret shop-tls-cacert",
    cure: "Put the CA beside it, in the namespace of the gateway's pods: `kubectl create secret generic shop-tls-cacert -n \
           istio-system --from-file=ca.crt=FILE`.",
    judge: Some(judge),
};

fn judge(scene: &Scene) -> Vec<Finding> {
    scene.references.iter().filter_map(|sight| judge_one(scene, sight)).collect()
}

fn judge_one(scene: &Scene, sight: &Sight) -> Option<Finding> {
    let reference = &sight.reference;
    if reference.role != Role::MutualGatewayServer || holds_ca(sight.secret.found()?) {
        return None;
    }
    let companion = companion(scene, sight)?;
    if !matches!((&companion.secret, &companion.maker), (Sighting::Missing, Sighting::Missing)) {
        return None;
    }
    let (name, other) = (escape(&reference.secret), escape(&companion.reference.secret));
    let namespace = escape(&reference.namespace);
    let message = format!(
        "clients are to be verified, but Secret `{name}` holds no CA and there is no Secret `{other}` in \
         namespace `{namespace}`"
    );
    let mut finding = RULE.error(scene, reference.path.clone(), message);
    if sight.maker.found().is_some() {
        finding.severity = Severity::Warning;
    }
    Some(finding.help(format!(
        "`kubectl create secret generic {other} -n {namespace} --from-file=ca.crt=FILE`"
    )))
}

/// What came of the look at the Secret that may hold the CA of a mutual server.
pub(super) fn companion<'a>(scene: &'a Scene, sight: &Sight) -> Option<&'a Sight> {
    let of = &sight.reference;
    scene.references.iter().find(|other| {
        let other = &other.reference;
        other.role == Role::GatewayClientCa
            && other.path == of.path
            && other.namespace == of.namespace
    })
}

/// Whether a gateway finds a CA in the Secret of the server itself.
pub(super) fn holds_ca(seen: &SeenSecret) -> bool {
    let known = Role::MutualGatewayServer.ca_keys().unwrap_or(&CA_KEYS);
    known.iter().any(|key| seen.secret.data.get(*key).is_some_and(|value| !value.is_empty()))
}
