//! Every place in an object that names a Secret.

use lasthop_contract::credential::Form;

use crate::object::Object;
use crate::path::FieldPath;

pub mod ingress;
mod pod;

/// What the Secret is meant for there.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Role {
    /// An Ingress controller serves it to clients: `spec.tls[].secretName`.
    IngressServer,
    /// The sidecar serves it: `lasthop.dev/tls-secret`.
    SidecarServer,
    /// The sidecar verifies clients with its CAs: `lasthop.dev/client-ca-secret`.
    SidecarClientCa,
    /// The sidecar looks up revoked clients in it: `lasthop.dev/client-crl-secret`.
    SidecarClientCrl,
}

impl Role {
    /// The forms of Secret that its reader understands; none where it reads no chain and key.
    pub fn forms(self) -> &'static [Form] {
        match self {
            Self::IngressServer => &[Form::Tls],
            Self::SidecarServer => &Form::ALL,
            Self::SidecarClientCa | Self::SidecarClientCrl => &[],
        }
    }
}

/// A host that the Secret's certificate is to cover, and where it is written.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct HostAt {
    /// The host, as written.
    pub host: String,
    /// The field.
    pub path: FieldPath,
}

/// A place that names a Secret.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Reference {
    /// The field that names it.
    pub path: FieldPath,
    /// The namespace in which it is looked for.
    pub namespace: String,
    /// The name as written.
    pub secret: String,
    /// The hosts that its certificate is to cover.
    pub hosts: Vec<HostAt>,
    /// What it is meant for.
    pub role: Role,
}

/// All references of an object that lives in `namespace`, in the order of its fields.
pub fn of(object: &Object, namespace: &str) -> Vec<Reference> {
    let mut references = ingress::of(object, namespace);
    references.extend(pod::of(object, namespace));
    references
}

/// The annotation of `object` which says that something makes the Secret of `reference`:
/// cert-manager's issuers and `kubernetes.io/tls-acme`, Gardener's, or one of the `further` ones.
///
/// cert-manager makes no Certificate for an item of `spec.tls` without hosts.
/// <https://cert-manager.io/docs/usage/ingress/>
pub fn maker_annotation(
    object: &Object,
    reference: &Reference,
    further: &[String],
) -> Option<String> {
    if reference.role != Role::IngressServer {
        return None;
    }
    let annotations = object.annotations();
    let has = |name: &&str| annotations.get(*name).is_some_and(|value| !value.is_empty());
    let issuers = ["cert-manager.io/cluster-issuer", "cert-manager.io/issuer"];
    let known = issuers.into_iter().filter(has);
    let acme = "kubernetes.io/tls-acme";
    let acme = (annotations.get(acme) == Some(&"true")).then_some(acme);
    let known = known.chain(acme).filter(|_| !reference.hosts.is_empty());
    let gardener = ["cert.gardener.cloud/purpose"].into_iter().filter(has);
    let further = further.iter().map(String::as_str).filter(has);
    let mut all = known.chain(gardener).chain(further);
    all.next().map(ToOwned::to_owned)
}
