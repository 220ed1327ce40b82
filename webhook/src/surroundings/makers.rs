//! Objects that make Secrets.

use crate::object::Object;

/// The name of the Secret that `object` makes in its own namespace, where it makes one.
///
/// cert-manager's `Certificate` and Gardener's, the External Secrets Operator's `ExternalSecret`, Bitnami's
/// `SealedSecret`, the Vault Secrets Operator's kinds, and Ambassador's `Host` unless it says that
/// nobody is its ACME authority.
pub(super) fn makes(object: &Object) -> Option<&str> {
    let name = match (object.group(), object.kind()) {
        ("cert-manager.io" | "cert.gardener.cloud", "Certificate") => {
            object.text("/spec/secretName")
        }
        ("external-secrets.io", "ExternalSecret") => {
            named_or_own(object, object.text("/spec/target/name"))
        }
        ("bitnami.com", "SealedSecret") => {
            named_or_own(object, object.text("/spec/template/metadata/name"))
        }
        (
            "secrets.hashicorp.com",
            "VaultDynamicSecret" | "VaultPKISecret" | "VaultStaticSecret",
        ) => object.text("/spec/destination/name"),
        ("getambassador.io", "Host") => match object.text("/spec/acmeProvider/authority") {
            "none" => "",
            "" if object.0.pointer("/spec/acmeProvider").is_none() => "",
            _ => object.text("/spec/tlsSecret/name"),
        },
        _ => "",
    };
    (!name.is_empty()).then_some(name)
}

fn named_or_own<'a>(object: &'a Object, name: &'a str) -> &'a str {
    if name.is_empty() { object.name() } else { name }
}

/// The nearest of the first thousand names that could be near: a namespace can hold more Secrets
/// than are worth comparing.
pub(super) fn nearest<'a>(word: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let could_be_near = |name: &&str| {
        name.len().abs_diff(word.len()) <= (word.len() / 3).max(2)
            || name.contains(word)
            || word.contains(name)
    };
    lasthop_contract::near::nearest(word, names.filter(could_be_near).take(1000))
}
