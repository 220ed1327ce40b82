//! Every place in an object that names a Secret.

use lasthop_contract::credential::Form;
use lasthop_contract::text::escape;

use crate::object::Object;
use crate::path::FieldPath;

pub mod certificate;
pub mod gateway_api;
mod host;
pub mod ingress;
pub mod ingress_annotations;
pub mod ingress_hosts;
pub mod istio_gateway;
mod pod;

/// Has the application routing of Azure make the Secret.
pub const AZURE_KEY_VAULT: &str = "kubernetes.azure.com/tls-cert-keyvault-uri";

/// Has Traefik itself get a certificate by ACME, which it keeps in no Secret.
/// <https://doc.traefik.io/traefik/reference/routing-configuration/kubernetes/ingress/>
pub const TRAEFIK_RESOLVER: &str = "traefik.ingress.kubernetes.io/router.tls.certresolver";

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
    /// An Istio gateway serves it to clients: `credentialName`.
    GatewayServer,
    /// The same, and the clients are verified with the CAs in it, unless there is a companion.
    MutualGatewayServer,
    /// An Istio gateway verifies clients with its CAs: the companion `-cacert` of a `credentialName`.
    GatewayClientCa,
    /// A Gateway of Gateway API serves it to clients: `certificateRefs`.
    ListenerServer,
    /// A Gateway of Gateway API verifies clients with its CAs: `caCertificateRefs`.
    ListenerClientCa,
    /// A Gateway of Gateway API presents it to Services that ask: `clientCertificateRef`.
    GatewayBackendClient,
    /// A Gateway of Gateway API verifies Services with its CAs: `caCertificateRefs` of a
    /// `BackendTLSPolicy`.
    GatewayBackendCa,
    /// Another controller serves it to clients: Ambassador, AKO, OpenShift's router.
    ControllerServer,
    /// Ambassador verifies clients with the certificate in it: `ca_secret`.
    HostClientCa,
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
    /// Whether the reader is the sidecar.
    pub fn is_sidecar(self) -> bool {
        matches!(
            self,
            Self::SidecarServer
                | Self::SidecarClientCa
                | Self::SidecarClientCrl
                | Self::SidecarUpstreamClient
                | Self::SidecarUpstreamCa
        )
    }

    /// The forms of Secret that its reader understands; none where it reads no chain and key.
    pub fn forms(self) -> &'static [Form] {
        match self {
            Self::IngressServer
            | Self::BackendClient
            | Self::VerifyingBackendClient
            | Self::ListenerServer
            | Self::GatewayBackendClient
            | Self::ControllerServer => &[Form::Tls],
            Self::GatewayServer | Self::MutualGatewayServer => &[Form::Tls, Form::Generic],
            Self::AlbClient => &[Form::AlbCerts],
            Self::SidecarServer | Self::SidecarUpstreamClient => &Form::ALL,
            Self::GatewayBackendCa
            | Self::GatewayClientCa
            | Self::HostClientCa
            | Self::IngressClientCa
            | Self::ListenerClientCa
            | Self::SidecarClientCa
            | Self::SidecarClientCrl
            | Self::SidecarUpstreamCa => &[],
        }
    }

    /// The keys under which the reader looks for CAs, where it knows fewer than the sidecar does.
    pub fn ca_keys(self) -> Option<&'static [&'static str]> {
        match self {
            Self::IngressClientCa | Self::ListenerClientCa | Self::GatewayBackendCa => {
                Some(&["ca.crt"])
            }
            Self::GatewayClientCa | Self::MutualGatewayServer => Some(&["cacert", "ca.crt"]),
            Self::HostClientCa => Some(&["tls.crt"]),
            _ => None,
        }
    }

    /// Whether its reader takes any certificate for an anchor, also one that is no CA and stands for
    /// itself alone: nginx, Envoy and Go do, the sidecar's library does not.
    pub fn trusts_leaves(self) -> bool {
        self.is_client()
            || matches!(
                self,
                Self::IngressClientCa
                    | Self::MutualGatewayServer
                    | Self::GatewayClientCa
                    | Self::ListenerClientCa
                    | Self::GatewayBackendCa
                    | Self::HostClientCa
            )
    }

    /// What the reader needs in the Secret, in words.
    pub fn needs(self) -> &'static str {
        match self {
            Self::IngressServer
            | Self::ListenerServer
            | Self::GatewayBackendClient
            | Self::ControllerServer => "`tls.crt` and `tls.key`",
            Self::GatewayServer => "`tls.crt` and `tls.key`, or `cert` and `key`",
            Self::MutualGatewayServer => {
                "`tls.crt` and `tls.key`, or `cert` and `key`, and the CA of the clients"
            }
            Self::BackendClient => "`tls.crt` and `tls.key`, or `ca.crt`",
            Self::VerifyingBackendClient => "`ca.crt`, and `tls.crt` and `tls.key` for mutual TLS",
            Self::AlbClient => "`trusted.crt`, and `client.crt` and `client.key` for mutual TLS",
            Self::SidecarServer | Self::SidecarUpstreamClient => {
                "a certificate and its key, such as `tls.crt` and `tls.key`"
            }
            Self::GatewayBackendCa => "the CA of the Services, as `ca.crt`",
            Self::SidecarUpstreamCa => "the CA of the next tier, such as `ca.crt`",
            Self::IngressClientCa | Self::ListenerClientCa => "the CA of the clients, as `ca.crt`",
            Self::GatewayClientCa => "the CA of the clients, as `cacert` or `ca.crt`",
            Self::HostClientCa => "the CA of the clients, as `tls.crt`",
            Self::SidecarClientCa => "the CA of the clients, such as `ca.crt`",
            Self::SidecarClientCrl => "revocation lists, such as `ca.crl`",
        }
    }

    /// Whether a controller serves it to clients of all kinds.
    pub fn is_controller_server(self) -> bool {
        matches!(
            self,
            Self::IngressServer
                | Self::GatewayServer
                | Self::MutualGatewayServer
                | Self::ListenerServer
                | Self::ControllerServer
        )
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

/// The kind of object that a reference leads to.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub enum Holder {
    /// A Secret.
    #[default]
    Secret,
    /// A `ConfigMap`, which holds CAs alone.
    ConfigMap,
}

impl Holder {
    /// `kind` of the object.
    pub fn kind(self) -> &'static str {
        match self {
            Self::Secret => "Secret",
            Self::ConfigMap => "ConfigMap",
        }
    }

    /// The name in paths and rights.
    pub fn resource(self) -> &'static str {
        match self {
            Self::Secret => "secrets",
            Self::ConfigMap => "configmaps",
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
    /// What it names: but for CAs, a Secret.
    pub holder: Holder,
    /// The name as written.
    pub secret: String,
    /// The hosts that its certificate is to cover.
    pub hosts: Vec<HostAt>,
    /// What it is meant for.
    pub role: Role,
    /// What a fault weighs at most.
    pub weight: Weight,
}

impl Reference {
    /// Whether it leads to the Secret `namespace/name`.
    pub fn is_to_secret(&self, namespace: &str, name: &str) -> bool {
        self.holder == Holder::Secret && self.secret == name && self.namespace == namespace
    }

    /// What it leads to, in a sentence: kind and name.
    pub fn called(&self) -> String {
        format!("{} `{}`", self.holder.kind(), escape(&self.secret))
    }
}

/// All references of an object that lives in `namespace`, in the order of its fields.
pub fn of(object: &Object, namespace: &str) -> Vec<Reference> {
    let mut references = ingress::of(object, namespace);
    references.extend(ingress_annotations::of(object, namespace));
    references.extend(istio_gateway::of(object, namespace));
    references.extend(gateway_api::of(object, namespace));
    references.extend(host::of(object, namespace));
    references.extend(pod::of(object, namespace));
    references
}

/// The annotation of `object` which says that something makes the Secret of `reference`:
/// cert-manager's issuers and `kubernetes.io/tls-acme`, Gardener's, that of the application routing
/// of Azure, which copies a certificate out of a Key Vault once it sees the Ingress, or one of the
/// `further` ones.
/// <https://learn.microsoft.com/azure/aks/app-routing-dns-ssl>
///
/// cert-manager makes no Certificate for an item of `spec.tls` without hosts
/// (<https://cert-manager.io/docs/usage/ingress/>), nor for some listeners of a Gateway.
pub fn maker_annotation(
    object: &Object,
    reference: &Reference,
    further: &[String],
) -> Option<String> {
    if !matches!(reference.role, Role::IngressServer | Role::ListenerServer) {
        return None;
    }
    let annotations = object.annotations();
    let has = |name: &&str| annotations.get(*name).is_some_and(|value| !value.is_empty());
    let issuers = ["cert-manager.io/cluster-issuer", "cert-manager.io/issuer"];
    let known = issuers.into_iter().filter(has);
    let acme = "kubernetes.io/tls-acme";
    let acme = (annotations.get(acme) == Some(&"true")).then_some(acme);
    let is_served = match reference.role {
        Role::ListenerServer => gateway_api::is_of_cert_manager(object, reference),
        _ => !reference.hosts.is_empty(),
    };
    let known = known.chain(acme).filter(|_| is_served);
    let platforms = ["cert.gardener.cloud/purpose", AZURE_KEY_VAULT, TRAEFIK_RESOLVER];
    let platforms = platforms.into_iter().filter(has);
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
    of_cloud(object).filter(|_| reference.role == Role::IngressServer)
}

/// The same, whatever the object refers to.
pub fn of_cloud(object: &Object) -> Option<&'static str> {
    let known = [
        "networking.gke.io/managed-certificates",
        "ingress.gcp.kubernetes.io/pre-shared-cert",
        "appgw.ingress.kubernetes.io/appgw-ssl-certificate",
        "alb.ingress.kubernetes.io/certificate-arn",
    ];
    let has = |name: &&str| object.annotation(name).is_some_and(|value| !value.is_empty());
    known.into_iter().find(has)
}
