//! Every place in an object that names a Secret.

use lasthop_contract::credential::Form;

use crate::object::Object;
use crate::path::FieldPath;

pub mod ingress;
pub mod ingress_annotations;
mod pod;

/// Has the application routing of Azure make the Secret.
pub const AZURE_KEY_VAULT: &str = "kubernetes.azure.com/tls-cert-keyvault-uri";

/// What the Secret is meant for there.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Role {
    /// An Ingress controller serves it to clients: `spec.tls[].secretName`.
    IngressServer,
    /// An Ingress controller verifies clients with its CAs: `auth-tls-secret`.
    IngressClientCa,
    /// An Ingress controller presents its chain to the application, where it has one, and does not
    /// verify the application: `proxy-ssl-secret`.
    BackendClient,
    /// The same, and the application is verified with its CAs: `proxy-ssl-verify`.
    VerifyingBackendClient,
    /// The same as it was on IBM Cloud, which verifies where there is a CA: `ssl-services`.
    AlbClient,
    /// The sidecar serves it: `lasthop.dev/tls-secret`.
    SidecarServer,
    /// The sidecar verifies clients with its CAs: `lasthop.dev/client-ca-secret`.
    SidecarClientCa,
    /// The sidecar looks up revoked clients in it: `lasthop.dev/client-crl-secret`.
    SidecarClientCrl,
    /// The sidecar presents it to the next tier: `lasthop.dev/upstream-client-secret`.
    SidecarUpstreamClient,
    /// The sidecar verifies the next tier with its CAs: `lasthop.dev/upstream-ca-secret`.
    SidecarUpstreamCa,
}

impl Role {
    /// The forms of Secret that its reader understands; none where it reads no chain and key.
    pub fn forms(self) -> &'static [Form] {
        match self {
            Self::IngressServer | Self::BackendClient | Self::VerifyingBackendClient => {
                &[Form::Tls]
            }
            Self::AlbClient => &[Form::AlbCerts],
            Self::SidecarServer | Self::SidecarUpstreamClient => &Form::ALL,
            Self::IngressClientCa
            | Self::SidecarClientCa
            | Self::SidecarClientCrl
            | Self::SidecarUpstreamCa => &[],
        }
    }

    /// The keys under which the reader looks for CAs, where it knows fewer than the sidecar does.
    pub fn ca_keys(self) -> Option<&'static [&'static str]> {
        matches!(self, Self::IngressClientCa).then_some(&["ca.crt"])
    }

    /// Whether the reader presents the chain as a client, if there is one at all.
    pub fn is_client(self) -> bool {
        matches!(self, Self::BackendClient | Self::VerifyingBackendClient | Self::AlbClient)
    }
}

/// What a fault of the Secret, or its absence, weighs at most.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Weight {
    /// It refuses.
    #[default]
    Refuses,
    /// It warns: the Secret is of another namespace, or who reads the place is a guess.
    Warns,
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
    /// What a fault weighs at most.
    pub weight: Weight,
}

/// All references of an object that lives in `namespace`, in the order of its fields.
pub fn of(object: &Object, namespace: &str) -> Vec<Reference> {
    let mut references = ingress::of(object, namespace);
    references.extend(ingress_annotations::of(object, namespace));
    references.extend(pod::of(object, namespace));
    references
}

/// The annotation of `object` which says that something makes the Secret of `reference`:
/// cert-manager's issuers and `kubernetes.io/tls-acme`, Gardener's, that of the application routing
/// of Azure, which copies a certificate out of a Key Vault once it sees the Ingress, or one of the
/// `further` ones.
/// <https://learn.microsoft.com/azure/aks/app-routing-dns-ssl>
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
    let platforms = ["cert.gardener.cloud/purpose", AZURE_KEY_VAULT].into_iter().filter(has);
    let further = further.iter().map(String::as_str).filter(has);
    let mut all = known.chain(platforms).chain(further);
    all.next().map(ToOwned::to_owned)
}

/// The annotation of `object` which says that its controller takes the certificate from the cloud
/// rather than out of the Secret of `reference`: managed and shared certificates of Google, those that
/// are installed on an Application Gateway of Azure, and those of AWS Certificate Manager.
///
/// <https://cloud.google.com/kubernetes-engine/docs/how-to/ingress-multi-ssl>,
/// <https://azure.github.io/application-gateway-kubernetes-ingress/annotations/>,
/// <https://kubernetes-sigs.github.io/aws-load-balancer-controller/latest/guide/ingress/cert_discovery/>
pub fn cloud_certificate(object: &Object, reference: &Reference) -> Option<&'static str> {
    let known = [
        "networking.gke.io/managed-certificates",
        "ingress.gcp.kubernetes.io/pre-shared-cert",
        "appgw.ingress.kubernetes.io/appgw-ssl-certificate",
        "alb.ingress.kubernetes.io/certificate-arn",
    ];
    let has = |name: &&str| object.annotation(name).is_some_and(|value| !value.is_empty());
    known.into_iter().find(has).filter(|_| reference.role == Role::IngressServer)
}
