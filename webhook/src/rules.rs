//! The rules: one file a rule, one table of them all.

use lasthop_contract::problem::Code;

use crate::check::{Operation, Scene};
use crate::finding::{Finding, Severity};
use crate::object::Object;
use crate::path::FieldPath;
use crate::symptom::Symptom;

mod annotation_secret_name;
pub(crate) mod bad_override;
mod balancer_refuses_sidecar;
mod budget_used_up;
mod certificate_names;
mod clients_not_verified;
pub(crate) mod copied_secret;
pub(crate) mod could_not_look;
mod credential;
mod field_type;
mod host_in_two_ingresses;
mod host_in_two_items;
mod host_not_covered;
mod host_syntax;
mod ingress_annotation_value;
mod inline_key;
mod key_kind;
mod limit_range;
mod mutual_without_ca;
mod next_tier_distrusted;
mod next_tier_port;
mod next_tier_refuses;
mod no_certificate;
mod passthrough_unused;
pub(crate) mod placeholder;
mod plaintext_service;
mod plaintext_to_sidecar;
mod proxy_ssl_name_key;
mod proxy_ssl_unused;
mod proxy_ssl_verify_value;
mod proxy_ssl_without_secret;
mod public_ca_clients;
mod reference_not_permitted;
mod removed_api_version;
mod resource_quota;
mod rule_host_without_tls;
mod secret_awaited;
mod secret_elsewhere;
mod secret_empty_awaited;
mod secret_form;
pub(crate) mod secret_in_use;
pub(crate) mod secret_missing;
mod secret_name;
mod server_name_on;
mod service_port_name;
mod service_port_unseen;
mod sidecar;
pub(crate) mod sidecar_absent;
pub(crate) mod sidecar_refuses_balancer;
mod sni_off;
mod split_tls_item;
mod ssl_services;
mod string_data_over_data;
mod tls_host_without_rule;
mod tls_on_plaintext_port;
mod verify_depth;
mod verify_name_missing;
mod wildcard_depth;

/// A rule, and what its page in `docs/rules.md` says.
#[derive(Debug)]
pub struct Rule {
    /// The stable code.
    pub code: Code,
    /// The name: lower case with hyphens; the file of the rule has it with underscores.
    pub name: &'static str,
    /// What it finds, in a phrase.
    pub summary: &'static str,
    /// Why that breaks.
    pub why: &'static str,
    /// What a user sees of it, the most telling first.
    pub symptoms: &'static [Symptom],
    /// YAML that gets the finding.
    pub example: &'static str,
    /// What to write instead, or to do.
    pub cure: &'static str,
    /// Finds it. [`None`] where the finding is made elsewhere: problems of a credential's bytes are
    /// found by the contract, a used-up budget by the gatherer.
    pub judge: Option<fn(&Scene) -> Vec<Finding>>,
}

impl Rule {
    /// A finding of this rule at `path` of the object in question: it cannot work.
    pub fn error(&self, scene: &Scene, path: FieldPath, message: impl Into<String>) -> Finding {
        Finding::new(self.code, Severity::Error, scene.name(), path, message)
    }

    /// The same for what works today, for some, or might.
    pub fn warning(&self, scene: &Scene, path: FieldPath, message: impl Into<String>) -> Finding {
        Finding::new(self.code, Severity::Warning, scene.name(), path, message)
    }

    /// The same for what is only worth knowing.
    pub fn info(&self, scene: &Scene, path: FieldPath, message: impl Into<String>) -> Finding {
        Finding::new(self.code, Severity::Info, scene.name(), path, message)
    }
}

/// The rules that have a file of their own, by code.
static RULES: &[&Rule] = &[
    &secret_missing::RULE,
    &secret_awaited::RULE,
    &secret_form::RULE,
    &host_not_covered::RULE,
    &wildcard_depth::RULE,
    &split_tls_item::RULE,
    &tls_host_without_rule::RULE,
    &rule_host_without_tls::RULE,
    &host_in_two_items::RULE,
    &placeholder::RULE,
    &removed_api_version::RULE,
    &secret_empty_awaited::RULE,
    &secret_name::RULE,
    &field_type::RULE,
    &secret_in_use::RULE,
    &bad_override::RULE,
    &host_syntax::RULE,
    &copied_secret::RULE,
    &string_data_over_data::RULE,
    &proxy_ssl_verify_value::RULE,
    &annotation_secret_name::RULE,
    &proxy_ssl_name_key::RULE,
    &verify_depth::RULE,
    &sni_off::RULE,
    &server_name_on::RULE,
    &verify_name_missing::RULE,
    &proxy_ssl_without_secret::RULE,
    &ingress_annotation_value::RULE,
    &passthrough_unused::RULE,
    &secret_elsewhere::RULE,
    &ssl_services::RULE,
    &plaintext_to_sidecar::RULE,
    &proxy_ssl_unused::RULE,
    &clients_not_verified::RULE,
    &inline_key::RULE,
    &host_in_two_ingresses::RULE,
    &mutual_without_ca::RULE,
    &tls_on_plaintext_port::RULE,
    &reference_not_permitted::RULE,
    &certificate_names::RULE,
    &no_certificate::RULE,
    &key_kind::RULE,
    &could_not_look::RULE,
    &budget_used_up::RULE,
    &public_ca_clients::RULE,
    &plaintext_service::RULE,
    &service_port_name::RULE,
    &service_port_unseen::RULE,
    &limit_range::RULE,
    &resource_quota::RULE,
    &sidecar_refuses_balancer::RULE,
    &balancer_refuses_sidecar::RULE,
    &sidecar_absent::RULE,
    &next_tier_refuses::RULE,
    &next_tier_distrusted::RULE,
    &next_tier_port::RULE,
];

/// The kinds that rules read, by group and kind. What else is among files is read for what it makes,
/// or for its labels.
const KINDS: [(&str, &str); 22] = [
    ("", "Pod"),
    ("", "ReplicationController"),
    ("", "Secret"),
    ("", "Service"),
    ("ako.vmware.com", "HostRule"),
    ("apps", "DaemonSet"),
    ("apps", "Deployment"),
    ("apps", "ReplicaSet"),
    ("apps", "StatefulSet"),
    ("batch", "CronJob"),
    ("batch", "Job"),
    ("cert-manager.io", "Certificate"),
    ("extensions", "Ingress"),
    ("gateway.networking.k8s.io", "BackendTLSPolicy"),
    ("gateway.networking.k8s.io", "Gateway"),
    ("getambassador.io", "Host"),
    ("getambassador.io", "Mapping"),
    ("networking.istio.io", "DestinationRule"),
    ("networking.istio.io", "Gateway"),
    ("networking.k8s.io", "Ingress"),
    ("route.openshift.io", "Route"),
    ("traefik.io", "IngressRoute"),
];

/// Whether there are rules for the kind of `object`.
pub fn are_for(object: &Object) -> bool {
    KINDS.iter().any(|(group, kind)| object.is(group, kind))
}

/// Every rule, by code.
pub fn all() -> impl Iterator<Item = &'static Rule> {
    let mut all: Vec<&'static Rule> =
        credential::pages().chain(sidecar::pages()).chain(RULES.iter().copied()).collect();
    all.sort_by_key(|rule| rule.code);
    all.into_iter()
}

/// The rule of a code.
pub fn find(code: Code) -> Option<&'static Rule> {
    all().find(|rule| rule.code == code)
}

/// Runs every rule over `scene`.
pub fn run(scene: &Scene) -> Vec<Finding> {
    // What goes is not judged, but who is left without it.
    if scene.operation == Operation::Delete {
        return secret_in_use::RULE.judge.map(|judge| judge(scene)).unwrap_or_default();
    }
    let mut findings = credential::judge(scene);
    findings.extend(sidecar::judge(scene));
    let judges = RULES.iter().filter_map(|rule| rule.judge);
    findings.extend(judges.flat_map(|judge| judge(scene)));
    findings
}

#[cfg(test)]
mod tests;
