//! Every place in an object that names a Secret.

use crate::object::Object;
use crate::path::FieldPath;

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
    let _ = (object, namespace);
    Vec::new()
}
