//! LH603: a running pod without the sidecar that it asks for.

use lasthop_contract::annotation as name;
use lasthop_contract::problem::Code;
use lasthop_contract::text::escape;

use super::Rule;
use crate::finding::{Finding, Severity};
use crate::object::Object;
use crate::path::FieldPath;

pub(crate) static RULE: Rule = Rule {
    code: Code(603),
    name: "sidecar-absent",
    summary: "a running pod asks for a sidecar and does not have one",
    why: "The sidecar comes when a pod is made. One that was made before the namespace was labelled, or while lasthop was \
          not installed, runs without it until it is made anew: its TLS port refuses connections. Told by \
          `lasthop check --cluster`.",
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

/// The finding about `pod`, which runs in `namespace`.
pub(crate) fn finding(pod: &Object, namespace: &str, is_switched_on: bool) -> Finding {
    let path = FieldPath::annotation(name::INJECT);
    let message = "the pod asks for a sidecar and runs without one";
    let namespace_name = escape(namespace);
    let label = format!("`kubectl label namespace {namespace_name} {}=enabled`", name::INJECT);
    let anew = "make the pod anew: `kubectl rollout restart` of what made it, or delete it";
    let help = if is_switched_on { anew.to_owned() } else { format!("{label}, then {anew}") };
    Finding::new(RULE.code, Severity::Error, pod.reference(namespace), path, message).help(help)
}
