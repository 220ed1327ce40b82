//! The kinds of objects that can lie on the way of a request.

use super::super::Collection;

const fn collection(
    group: &'static str,
    versions: &'static [&'static str],
    (resource, kind): (&'static str, &'static str),
) -> Collection {
    Collection { group, versions, resource, kind }
}

const GATEWAY_API: &str = "gateway.networking.k8s.io";
const ISTIO: &str = "networking.istio.io";
const AMBASSADOR: &str = "getambassador.io";

/// All of them. Secrets are looked at one by one.
pub(super) static COLLECTIONS: [Collection; 15] = [
    collection("", &["v1"], ("services", "Service")),
    collection("apps", &["v1"], ("daemonsets", "DaemonSet")),
    collection("apps", &["v1"], ("deployments", "Deployment")),
    collection("apps", &["v1"], ("statefulsets", "StatefulSet")),
    collection("networking.k8s.io", &["v1"], ("ingresses", "Ingress")),
    collection(GATEWAY_API, &["v1", "v1beta1"], ("gateways", "Gateway")),
    collection(GATEWAY_API, &["v1", "v1beta1"], ("httproutes", "HTTPRoute")),
    collection(GATEWAY_API, &["v1", "v1alpha3"], ("backendtlspolicies", "BackendTLSPolicy")),
    collection(ISTIO, &["v1", "v1beta1", "v1alpha3"], ("gateways", "Gateway")),
    collection(ISTIO, &["v1", "v1beta1", "v1alpha3"], ("virtualservices", "VirtualService")),
    collection(ISTIO, &["v1", "v1beta1", "v1alpha3"], ("destinationrules", "DestinationRule")),
    collection(AMBASSADOR, &["v3alpha1", "v2"], ("hosts", "Host")),
    collection(AMBASSADOR, &["v3alpha1", "v2"], ("mappings", "Mapping")),
    collection(AMBASSADOR, &["v3alpha1", "v2"], ("tlscontexts", "TLSContext")),
    collection("traefik.io", &["v1alpha1"], ("serverstransports", "ServersTransport")),
];
