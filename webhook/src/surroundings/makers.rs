//! Objects that make Secrets.

use super::Collection;
use crate::object::Object;

/// A kind of objects that make Secrets in their own namespace.
pub(super) struct MakerKind {
    /// Where the objects are.
    pub(super) collection: Collection,
    /// The name of the Secret that one makes; empty where it makes none.
    secret: fn(&Object) -> &str,
}

/// Every kind that is known to make Secrets. The rights to list them are in `manifests/base/rbac.yaml`.
pub(super) static MAKERS: [MakerKind; 8] = [
    maker("bitnami.com", &["v1alpha1"], ("sealedsecrets", "SealedSecret"), |it| {
        named_or_own(it, it.text("/spec/template/metadata/name"))
    }),
    // Gardener's.
    maker("cert.gardener.cloud", &["v1alpha1"], ("certificates", "Certificate"), |it| {
        it.text("/spec/secretName")
    }),
    maker("cert-manager.io", &["v1"], ("certificates", "Certificate"), |it| {
        it.text("/spec/secretName")
    }),
    maker("external-secrets.io", &["v1", "v1beta1"], ("externalsecrets", "ExternalSecret"), |it| {
        named_or_own(it, it.text("/spec/target/name"))
    }),
    // Ambassador's, with an ACME provider.
    maker("getambassador.io", &["v3alpha1", "v2"], ("hosts", "Host"), |it| {
        match it.text("/spec/acmeProvider/authority") {
            "none" => "",
            "" if it.0.pointer("/spec/acmeProvider").is_none() => "",
            _ => it.text("/spec/tlsSecret/name"),
        }
    }),
    // The Vault Secrets Operator's.
    maker(VAULT, &["v1beta1"], ("vaultdynamicsecrets", "VaultDynamicSecret"), of_vault),
    maker(VAULT, &["v1beta1"], ("vaultpkisecrets", "VaultPKISecret"), of_vault),
    maker(VAULT, &["v1beta1"], ("vaultstaticsecrets", "VaultStaticSecret"), of_vault),
];

const VAULT: &str = "secrets.hashicorp.com";

/// The name of the Secret that `object` makes in its own namespace, where it makes one.
pub(super) fn makes(object: &Object) -> Option<&str> {
    let maker = MAKERS.iter().find(|maker| maker.collection.holds(object))?;
    Some((maker.secret)(object)).filter(|name| !name.is_empty())
}

const fn maker(
    group: &'static str,
    versions: &'static [&'static str],
    (resource, kind): (&'static str, &'static str),
    secret: fn(&Object) -> &str,
) -> MakerKind {
    MakerKind { collection: Collection { group, versions, resource, kind }, secret }
}

fn of_vault(object: &Object) -> &str {
    object.text("/spec/destination/name")
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
