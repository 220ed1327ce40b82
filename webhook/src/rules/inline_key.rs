//! LH235: a private key that stands in an object which is no Secret.

use lasthop_contract::problem::Code;

use super::Rule;
use crate::check::Scene;
use crate::finding::Finding;
use crate::path::FieldPath;
use crate::symptom::At;

pub(crate) static RULE: Rule = Rule {
    code: Code(235),
    name: "inline-key",
    summary: "the private key stands in the Route itself",
    why: "Who may read Routes reads the key, and so does every Git repository and backup that holds the Route; nothing renews \
          it. `spec.tls.externalCertificate` names a Secret instead (OpenShift 4.19 and later), which cert-manager renews and \
          lasthop looks into.",
    symptoms: &[At::OpenShift.shows("nothing goes wrong: `oc get route -o yaml` prints the key")],
    example: "\
apiVersion: route.openshift.io/v1
kind: Route
spec:
  tls:
    termination: edge
    key: (PEM)",
    cure: "\
apiVersion: route.openshift.io/v1
kind: Route
spec:
  tls:
    termination: edge
    externalCertificate:
      name: web-tls",
    judge: Some(judge),
};

fn judge(scene: &Scene) -> Vec<Finding> {
    let object = &scene.object;
    if !object.is("route.openshift.io", "Route") || object.text("/spec/tls/key").is_empty() {
        return Vec::new();
    }
    // The line of the key itself is shown to nobody.
    let path = FieldPath::of(["spec", "tls", "termination"]);
    let message = "the private key stands in the Route itself, under `spec.tls.key`";
    vec![RULE.info(scene, path, message).help(
        "keep it in a Secret and name that under `spec.tls.externalCertificate` (OpenShift 4.19 and later)",
    )]
}
