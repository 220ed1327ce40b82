//! LH603: a running pod without the sidecar that it asks for.

use lasthop_contract::annotation as name;
use lasthop_contract::problem::Code;
use lasthop_contract::text::escape;

use super::Rule;
use crate::finding::{Finding, Severity};
use crate::object::Object;
use crate::path::FieldPath;
use crate::symptom::At;

pub(crate) static RULE: Rule = Rule {
    code: Code(603),
    name: "sidecar-absent",
    summary: "a running pod should have a sidecar and does not",
    why: "The sidecar comes when a pod is made. One that was made before the namespace was labelled, or while lasthop was \
          not installed, runs without it until it is made anew: its TLS port refuses connections. So does one that was there before \
          its namespace came to require sidecars (`lasthop.dev/inject: required`). Told by \
          `lasthop check --cluster`.",
    symptoms: &[
        At::Kubernetes.shows("the pod runs `1/1`, without the container `lasthop`"),
        At::IngressNginx.shows(
            "answers 502 and logs \"connect() failed (111: Connection refused) while connecting \
             to upstream\"",
        ),
        At::Curl.shows("\"Connection refused\" at the TLS port"),
    ],
    example: "\
kind: Pod
metadata:
  annotations:
    lasthop.dev/inject: \"true\"
spec:
  containers: # and none that is called lasthop
  - name: web",
    cure: "`kubectl rollout restart deployment web -n shop`; where the namespace has no label, first \
           `kubectl label namespace shop lasthop.dev/inject=enabled`.",
    judge: None,
};

/// Why a pod should have a sidecar.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Absence {
    /// It asks for one.
    Asked,
    /// It asks for one, in a namespace without the label.
    AskedUnlabelled,
    /// The namespace requires one of every pod.
    Required,
}

/// The finding about `pod`, which runs in `namespace`.
pub(crate) fn finding(pod: &Object, namespace: &str, why: Absence) -> Finding {
    let path = FieldPath::annotation(name::INJECT);
    let called = escape(namespace);
    let label = format!("`kubectl label namespace {called} {}=enabled`", name::INJECT);
    let anew = "make the pod anew: `kubectl rollout restart` of what made it, or delete it";
    let (message, help) = match why {
        Absence::Asked => ("the pod asks for a sidecar and runs without one", anew.to_owned()),
        Absence::AskedUnlabelled => {
            ("the pod asks for a sidecar and runs without one", format!("{label}, then {anew}"))
        }
        Absence::Required => (
            "the namespace requires a sidecar of every pod, and this one runs without",
            format!("annotate the template of the pod: `{}: \"true\"`, then {anew}", name::INJECT),
        ),
    };
    Finding::new(RULE.code, Severity::Error, pod.reference(namespace), path, message).help(help)
}
