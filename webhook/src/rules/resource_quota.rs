//! LH341: a namespace that has no room left for the sidecar.

use lasthop_contract::text::escape;

use super::Rule;
use super::limit_range::{quantity, sidecar};
use crate::check::Scene;
use crate::finding::Finding;
use crate::inject::code;
use crate::object::Object;

pub(crate) static RULE: Rule = Rule {
    code: code::QUOTA,
    name: "resource-quota",
    summary: "what is left of a ResourceQuota is less than one sidecar asks for",
    why: "The sidecar's requests and limits count. Where the quota is used up, the API server creates no further pod: a \
          rolling update stops at the first.",
    example: "\
kind: ResourceQuota
spec:
  hard:
    requests.cpu: \"2\"
status:
  used:
    requests.cpu: 1995m # the sidecar asks for 10m",
    cure: "Raise the quota, or lower `lasthop.dev/sidecar-cpu-request`.",
    judge: Some(judge),
};

fn judge(scene: &Scene) -> Vec<Finding> {
    let Some((asks, amounts)) = sidecar(scene) else { return Vec::new() };
    let wanted = [
        ("requests.cpu", &amounts.cpu_request),
        ("cpu", &amounts.cpu_request),
        ("limits.cpu", &amounts.cpu_limit),
        ("requests.memory", &amounts.memory_request),
        ("memory", &amounts.memory_request),
        ("limits.memory", &amounts.memory_limit),
    ];
    let is_for_all = |quota: &&Object| {
        quota.is("", "ResourceQuota")
            && quota.list("/spec/scopes").is_empty()
            && quota.0.pointer("/spec/scopeSelector").is_none_or(serde_json::Value::is_null)
    };
    let mut findings = Vec::new();
    for quota in scene.room.found().into_iter().flatten().filter(is_for_all) {
        for (resource, amount) in wanted {
            let of = |field: &str| quantity(quota.0.pointer(field)?.get(resource)?);
            let Some(hard) = of("/spec/hard") else { continue };
            let used = of("/status/used");
            if !amount.exceeds_rest(&hard, used.as_ref()) {
                continue;
            }
            let message = format!(
                "ResourceQuota `{}` has {hard} of {resource}, of which {} is used, and one sidecar asks for {amount}",
                escape(quota.name()),
                used.map_or_else(|| "nothing".to_owned(), |used| used.to_string())
            );
            let help = "raise the quota, or lower what the sidecar asks for".to_owned();
            findings.push(RULE.warning(scene, asks.clone(), message).help(help));
        }
    }
    findings
}
