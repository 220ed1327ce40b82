//! Objects that make Secrets.

use serde_json::Value;

use super::Collection;
use crate::object::Object;
use crate::reference::{self, TRAEFIK_RESOLVER};

/// A kind of objects that make Secrets in their own namespace.
pub(super) struct MakerKind {
    /// Where the objects are.
    pub(super) collection: Collection,
    /// The names of the Secrets that one makes; an empty one is none.
    secrets: fn(&Object) -> Vec<&str>,
}

/// Every kind that is known to make Secrets. The rights to list them are in `manifests/base/rbac.yaml`.
pub(super) static MAKERS: [MakerKind; 14] = [
    // OpenShift's service CA operator.
    // <https://docs.openshift.com/container-platform/latest/security/certificates/service-serving-certificate.html>
    maker("", &["v1"], ("services", "Service"), |it| {
        let group = ["beta", "alpha"];
        let name = |of: &str| {
            it.annotation(&format!("service.{of}.openshift.io/serving-cert-secret-name"))
        };
        group.into_iter().filter_map(name).collect()
    }),
    maker("bitnami.com", &["v1alpha1"], ("sealedsecrets", "SealedSecret"), |it| {
        vec![named_or_own(it, it.text("/spec/template/metadata/name"))]
    }),
    // Gardener's.
    maker("cert.gardener.cloud", &["v1alpha1"], ("certificates", "Certificate"), |it| {
        vec![it.text("/spec/secretName")]
    }),
    maker("cert-manager.io", &["v1"], ("certificates", "Certificate"), |it| {
        vec![it.text("/spec/secretName")]
    }),
    maker("external-secrets.io", &["v1", "v1beta1"], ("externalsecrets", "ExternalSecret"), |it| {
        vec![named_or_own(it, it.text("/spec/target/name"))]
    }),
    // cert-manager makes a Certificate once it sees one of these two, a moment after it was applied.
    // <https://cert-manager.io/docs/usage/gateway/>
    maker("gateway.networking.k8s.io", &["v1", "v1beta1"], ("gateways", "Gateway"), asked_by),
    // Ambassador's, with an ACME provider.
    maker("getambassador.io", &["v3alpha1", "v2"], ("hosts", "Host"), |it| {
        match it.text("/spec/acmeProvider/authority") {
            "none" => Vec::new(),
            "" if it.0.pointer("/spec/acmeProvider").is_none() => Vec::new(),
            _ => vec![it.text("/spec/tlsSecret/name")],
        }
    }),
    // <https://github.com/isindir/sops-secrets-operator>
    maker("isindir.github.com", &["v1alpha3"], ("sopssecrets", "SopsSecret"), |it| {
        names(it.list("/spec/secretTemplates"), "name")
    }),
    // <https://cert-manager.io/docs/usage/ingress/>
    maker("networking.k8s.io", &["v1"], ("ingresses", "Ingress"), asked_by),
    // 1Password's. <https://developer.1password.com/docs/k8s/operator/>
    maker("onepassword.com", &["v1"], ("onepassworditems", "OnePasswordItem"), |it| {
        vec![it.name()]
    }),
    // The Secrets Store CSI driver's.
    // <https://secrets-store-csi-driver.sigs.k8s.io/topics/sync-as-kubernetes-secret>
    maker(
        "secrets-store.csi.x-k8s.io",
        &["v1", "v1alpha1"],
        ("secretproviderclasses", "SecretProviderClass"),
        |it| names(it.list("/spec/secretObjects"), "secretName"),
    ),
    // The Vault Secrets Operator's.
    maker(VAULT, &["v1beta1"], ("vaultdynamicsecrets", "VaultDynamicSecret"), of_vault),
    maker(VAULT, &["v1beta1"], ("vaultpkisecrets", "VaultPKISecret"), of_vault),
    maker(VAULT, &["v1beta1"], ("vaultstaticsecrets", "VaultStaticSecret"), of_vault),
];

const VAULT: &str = "secrets.hashicorp.com";

/// The names of the Secrets that `object` makes in its own namespace.
pub(super) fn makes(object: &Object) -> Vec<&str> {
    let maker = MAKERS.iter().find(|maker| maker.collection.holds(object));
    let mut secrets = maker.map(|maker| (maker.secrets)(object)).unwrap_or_default();
    secrets.retain(|name| !name.is_empty());
    secrets
}

/// What of several objects that make one Secret is told, the least first: cert-manager's Certificate rather than
/// the Ingress that asked for it, whatever the order in which they were found.
pub(super) fn rank(object: &Object) -> (usize, &str) {
    let kind = MAKERS.iter().position(|maker| maker.collection.holds(object));
    (kind.unwrap_or(MAKERS.len()), object.name())
}

/// The name of the Secret that `object` makes in other namespaces, of which nobody here works out which:
/// what is cluster-wide, and what has a replicator copy it. Read among files alone.
///
/// <https://external-secrets.io/latest/api/clusterexternalsecret/>,
/// <https://cert-manager.io/docs/trust/trust-manager/>
pub(super) fn makes_anywhere(object: &Object) -> Option<&str> {
    let secret = match (object.group(), object.kind()) {
        ("external-secrets.io", "ClusterExternalSecret") => {
            let written = ["/spec/externalSecretSpec/target/name", "/spec/externalSecretName"];
            let written = written.into_iter().map(|at| object.text(at));
            written.into_iter().find(|name| !name.is_empty()).unwrap_or_else(|| object.name())
        }
        ("trust.cert-manager.io", "Bundle") => {
            let target = object.0.pointer("/spec/target/secret");
            target.filter(|it| it.is_object()).map_or("", |_| object.name())
        }
        ("cert-manager.io", "Certificate")
            if is_copied(object.0.pointer("/spec/secretTemplate/annotations")) =>
        {
            object.text("/spec/secretName")
        }
        ("", "Secret") if is_copied(object.0.pointer("/metadata/annotations")) => object.name(),
        _ => "",
    };
    Some(secret).filter(|name| !name.is_empty())
}

/// Whether a replicator copies a Secret with these annotations into other namespaces.
fn is_copied(annotations: Option<&Value>) -> bool {
    let has = |name: &str| annotations.and_then(|it| it.get(name)).and_then(Value::as_str);
    has("reflector.v1.k8s.emberstack.com/reflection-auto-enabled") == Some("true")
        || has("replicator.v1.mittwald.de/replicate-to").is_some()
        || has("replicator.v1.mittwald.de/replicate-to-matching").is_some()
}

/// The texts under `key` of every item.
fn names<'a>(items: &'a [Value], key: &str) -> Vec<&'a str> {
    items.iter().filter_map(|item| item.get(key)?.as_str()).collect()
}

const fn maker(
    group: &'static str,
    versions: &'static [&'static str],
    (resource, kind): (&'static str, &'static str),
    secrets: fn(&Object) -> Vec<&str>,
) -> MakerKind {
    MakerKind { collection: Collection { group, versions, resource, kind }, secrets }
}

/// The Secrets for which an Ingress or a Gateway asks by annotation. Traefik keeps what it gets of a resolver for
/// itself.
fn asked_by(object: &Object) -> Vec<&str> {
    let asked = reference::of(object, object.namespace()).into_iter().filter(|reference| {
        let annotation = reference::maker_annotation(object, reference, &[]);
        annotation.is_some_and(|name| name != TRAEFIK_RESOLVER)
    });
    asked.filter_map(|reference| named(reference.path.find(&object.0)?)).collect()
}

/// The name in a reference: the text itself, or under `name`.
fn named(reference: &Value) -> Option<&str> {
    reference.as_str().or_else(|| reference.get("name")?.as_str())
}

fn of_vault(object: &Object) -> Vec<&str> {
    vec![object.text("/spec/destination/name")]
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
