//! LH218: a copy of a Secret that is renewed elsewhere.

use lasthop_contract::problem::Code;
use lasthop_contract::text::escape;

use super::Rule;
use crate::check::{Scene, Setting};
use crate::finding::Finding;
use crate::object::Object;
use crate::path::FieldPath;
use crate::surroundings::Sighting;
use crate::symptom::At;

pub(crate) static RULE: Rule = Rule {
    code: Code(218),
    name: "copied-secret",
    summary: "the Secret is a copy of one that cert-manager renews, and nothing renews the copy",
    why: "A Secret that bears cert-manager's annotations, in a namespace without the Certificate that they name, was copied \
          from another one (`kubectl get secret -o yaml | kubectl apply`) or has lost its Certificate. When the source is \
          renewed the copy stays as it is, and some weeks later its certificate expires.",
    symptoms: &[
        At::IngressNginx.shows(
            "weeks later logs \"SSL certificate for server ... is about to expire\", then \
             \"expired\", and serves it",
        ),
        At::Browsers.shows("`NET::ERR_CERT_DATE_INVALID`, while the source has long been renewed"),
    ],
    example: "\
$ kubectl get secret shop-tls -n edge -o yaml | sed s/edge/shop/ | kubectl apply -f -",
    cure: "Make a Certificate in this namespace as well, or have the copy made by a tool that follows its source \
           (reflector, kubernetes-replicator). A copy that is meant to stay as it is should not bear the annotations \
           `cert-manager.io/...`.",
    judge: Some(judge),
};

/// Where cert-manager writes whose Secret it is.
pub(crate) const MARK: &str = "cert-manager.io/certificate-name";

fn judge(scene: &Scene) -> Vec<Finding> {
    let Some(own) = &scene.own else { return Vec::new() };
    let object = &own.secret.secret.object;
    let Some(certificate) = object.annotation(MARK).filter(|_| !is_followed(object)) else {
        return Vec::new();
    };
    if own.secret.is_placeholder() || !matches!(own.maker, Sighting::Missing) {
        return Vec::new();
    }
    let message = format!(
        "no Certificate of namespace `{}` makes this Secret, whose annotation names `{}`: a copy is not renewed",
        escape(&scene.namespace),
        escape(certificate)
    );
    let path = FieldPath::annotation(MARK);
    let finding = match scene.setting {
        Setting::Review => RULE.warning(scene, path, message),
        // The Certificate may be in the cluster.
        Setting::Files => RULE.info(scene, path, message),
    };
    vec![finding.help("make a Certificate here as well, or take the annotations away")]
}

/// Whether something keeps the copy as its source is: an owner, or a tool that leaves its mark.
fn is_followed(object: &Object) -> bool {
    let marks = ["reflect", "replicat", "kubed", "clustersecret", "kyverno", "external-secrets"];
    let annotations = object.annotations();
    let labels = object.labels();
    let mut keys = annotations.keys().chain(labels.keys());
    let is_marked = keys.any(|key| marks.iter().any(|mark| key.contains(mark)));
    is_marked || !object.list("/metadata/ownerReferences").is_empty()
}
