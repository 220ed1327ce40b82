//! LH203: a Secret in a form that is right for another reader.

use lasthop_contract::credential::Form;
use lasthop_contract::problem::Code;
use lasthop_contract::text::escape;

use super::Rule;
use crate::check::{Pair, Scene, Setting};
use crate::finding::Finding;
use crate::symptom::At;

pub(crate) static RULE: Rule = Rule {
    code: Code(203),
    name: "secret-form",
    summary: "the Secret keeps certificate and key under names that this reader does not know",
    why: "Certificate and key are kept under three pairs of names: `tls.crt` and `tls.key` (kubernetes.io/tls), \
          `cert` and `key` (Istio's generic Secrets), `client.crt` and `client.key` (the alb-certs of IBM Cloud). \
          An Ingress controller reads the first alone, an Istio gateway the first two, lasthop's sidecar all \
          three.",
    symptoms: &[
        At::IngressNginx.shows(
            "logs \"secret ... contains no keypair or CA certificate\" and serves its \
             \"Kubernetes Ingress Controller Fake Certificate\"",
        ),
        At::Traefik.shows(
            "logs \"secret does not contain a keypair or CA certificate\" and serves \"TRAEFIK \
             DEFAULT CERT\"",
        ),
        At::Istio.shows(
            "istiod warns \"found secret, but didn't have expected keys\"; `istioctl analyze` \
             says IST0161",
        ),
    ],
    example: "\
kind: Secret
metadata:
  name: shop-tls # named by an Ingress
data:
  cert: LS0t...
  key: LS0t...",
    cure: "Make the Secret again in the form that its reader needs: `kubectl create secret tls shop-tls \
           --cert=FILE --key=FILE`. `type: Opaque` with `tls.crt` and `tls.key` is as good.",
    judge: Some(judge),
};

/// The form that a pair's Secret has, if its reader does not understand it.
pub(super) fn wrong_form(pair: &Pair<'_>) -> Option<(Form, Form)> {
    let data = &pair.seen.secret.data;
    let has =
        |form: &Form| data.contains_key(form.chain_key()) || data.contains_key(form.private_key());
    let needed = *pair.reference.role.forms().first()?;
    if pair.reference.role.forms().iter().any(has) {
        return None;
    }
    let found = Form::of(data);
    has(&found).then_some((found, needed))
}

fn judge(scene: &Scene) -> Vec<Finding> {
    // Among files it is told where the Secret is read.
    let here = |pair: &Pair<'_>| pair.user.is_none() || scene.setting == Setting::Review;
    scene.pairs().filter(here).filter_map(|pair| judge_one(scene, &pair)).collect()
}

fn judge_one(scene: &Scene, pair: &Pair<'_>) -> Option<Finding> {
    let (found, needed) = wrong_form(pair)?;
    let reference = pair.reference;
    let name = escape(&reference.secret);
    let message = format!(
        "Secret `{name}` holds `{}` and `{}` ({}), not `{}` and `{}`",
        found.chain_key(),
        found.private_key(),
        found.name(),
        needed.chain_key(),
        needed.private_key(),
    );
    let help = format!(
        "delete it and make it with `kubectl create secret tls {name} -n {} --cert=FILE --key=FILE`",
        escape(&reference.namespace)
    );
    let places = (&reference.path, found.chain_key());
    Some(pair.finding(scene, &RULE, places, &message).help(help))
}
