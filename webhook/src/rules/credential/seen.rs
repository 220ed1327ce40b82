//! What is seen of a credential's problems, page by page.

use crate::symptom::{At, Symptom};

const ENDS: Symptom = At::Sidecar.shows(
    "ends with \"a Secret cannot be used\", or goes on with the pair that it had and has \
     `lasthop_credential_failing` at 1",
);
const ISTIO_MISMATCH: Symptom = At::Istio.shows(
    "istiod sends it on, the gateway logs \"Failed to load private key\" with \
     \"KEY_VALUES_MISMATCH\" and cuts clients off",
);
const ISTIO_NO_PEM: Symptom = At::Istio.shows(
    "istiod warns \"invalid certificates\" with \"pem decode failed\", the gateway logs \
     \"Failed to load certificate chain\" and cuts clients off; `istioctl analyze` says \
     IST0161",
);
const ISTIO_SERVES_IT: Symptom = At::Istio.shows("serves it without a word");
const NGINX_MISMATCH: Symptom = At::IngressNginx.shows(
    "logs \"unexpected error creating SSL Cert: certificate and private key does not have a \
     matching public key: tls: private key does not match public key\" and serves its \
     \"Kubernetes Ingress Controller Fake Certificate\"",
);
const NGINX_NO_PEM: Symptom = At::IngressNginx.shows(
    "logs \"unexpected error creating SSL Cert: no certificate PEM data found, make sure \
     certificate content starts with 'BEGIN CERTIFICATE'\" and serves its \"Kubernetes Ingress \
     Controller Fake Certificate\"",
);
const NGINX_SERVES_IT: Symptom = At::IngressNginx.shows("serves it without a word");
const TRAEFIK_MISMATCH: Symptom = At::Traefik.shows(
    "logs \"Unable to parse certificate\" with \"tls: private key does not match public key\" \
     and serves \"TRAEFIK DEFAULT CERT\"",
);
const TRAEFIK_NO_PEM: Symptom = At::Traefik.shows(
    "logs \"Unable to parse certificate\" with \"tls: failed to find any PEM data in \
     certificate input\" and serves \"TRAEFIK DEFAULT CERT\"",
);

pub(super) const KEY_MISSING: &[Symptom] = &[
    At::IngressNginx.shows(
        "logs \"secret ... contains no keypair or CA certificate\" and serves its \"Kubernetes \
         Ingress Controller Fake Certificate\"",
    ),
    At::Traefik.shows(
        "logs \"Error loading TLS certificates, defaulting to default certificate\" and serves \
         \"TRAEFIK DEFAULT CERT\"",
    ),
    At::Istio.shows(
        "istiod warns \"found secret, but didn't have expected keys\", the listener has no \
         certificate and cuts clients off; `istioctl analyze` says IST0161",
    ),
    ENDS,
];
pub(super) const KEY_EMPTY: &[Symptom] = &[
    At::IngressNginx.shows(
        "logs \"unexpected error creating SSL Cert: no valid PEM formatted block found\" and \
         serves its \"Kubernetes Ingress Controller Fake Certificate\"",
    ),
    At::Traefik
        .shows("logs \"secret contains an empty certificate\" and serves \"TRAEFIK DEFAULT CERT\""),
    At::Istio.shows(
        "istiod warns that it found the keys, \"but they were empty\", and clients are cut off",
    ),
    ENDS,
];
pub(super) const VALUE_PLACEHOLDER: &[Symptom] = &[
    At::Apply.shows(
        "\"illegal base64 data at input byte ...\" where it stands under `data` and is none",
    ),
    NGINX_NO_PEM,
    ISTIO_NO_PEM,
    ENDS,
];
pub(super) const ENCODED_TWICE: &[Symptom] =
    &[NGINX_NO_PEM, TRAEFIK_NO_PEM, ISTIO_NO_PEM, At::OpenSsl.shows("\"no start line\""), ENDS];
pub(super) const DER_NOT_PEM: &[Symptom] = &[
    NGINX_NO_PEM,
    TRAEFIK_NO_PEM,
    ISTIO_NO_PEM,
    At::OpenSsl
        .shows("nginx and others that use it say \"no start line:Expecting: TRUSTED CERTIFICATE\""),
    ENDS,
];
pub(super) const BYTE_ORDER_MARK: &[Symptom] = &[
    NGINX_NO_PEM,
    TRAEFIK_NO_PEM,
    ISTIO_NO_PEM,
    At::OpenSsl.shows(
        "nothing: OpenSSL 3 passes over the mark, so a trial with openssl or a plain nginx \
         works",
    ),
    ENDS,
];
pub(super) const NO_PEM_BLOCK: &[Symptom] = &[
    NGINX_NO_PEM,
    At::Traefik.shows(
        "logs \"Unable to parse certificate\" with the kinds of blocks that it found instead, \
         and serves \"TRAEFIK DEFAULT CERT\"",
    ),
    At::Istio.shows(
        "the gateway logs \"Failed to load certificate chain\" and cuts clients off; `istioctl \
         analyze` says IST0161",
    ),
    At::OpenSsl.shows("\"no start line:Expecting: TRUSTED CERTIFICATE\""),
    ENDS,
];
pub(super) const BROKEN_PEM: &[Symptom] = &[
    NGINX_NO_PEM,
    TRAEFIK_NO_PEM,
    ISTIO_NO_PEM,
    At::OpenSsl.shows(
        "\"bad base64 decode\", \"no start line\" or \"bad end line\", by where it is damaged",
    ),
    ENDS,
];
pub(super) const SWAPPED: &[Symptom] = &[
    NGINX_NO_PEM,
    At::Traefik.shows(
        "logs \"Unable to parse certificate\" with \"did find a private key; PEM inputs may \
         have been switched\" and serves \"TRAEFIK DEFAULT CERT\"",
    ),
    At::Istio.shows(
        "the gateway logs \"Failed to load certificate chain\" and cuts clients off; `istioctl \
         analyze` says IST0161",
    ),
    At::OpenSsl.shows("\"no start line:Expecting: TRUSTED CERTIFICATE\""),
    ENDS,
];
pub(super) const ENCRYPTED_KEY: &[Symptom] = &[
    At::IngressNginx.shows(
        "logs \"unexpected error creating SSL Cert: certificate and private key does not have \
         a matching public key: tls: failed to parse private key\" and serves its \"Kubernetes \
         Ingress Controller Fake Certificate\"",
    ),
    At::Traefik.shows(
        "logs \"Unable to parse certificate\" with \"tls: failed to parse private key\" and \
         serves \"TRAEFIK DEFAULT CERT\"",
    ),
    At::Istio.shows(
        "istiod sends it on, the gateway logs \"Failed to load private key\" with \
         \"BAD_PASSWORD_READ\" and cuts clients off",
    ),
    ENDS,
];
pub(super) const SEVERAL_KEYS: &[Symptom] = &[
    At::IngressNginx.shows(
        "logs \"unexpected error creating SSL Cert: certificate and private key does not have \
         a matching public key\" and serves its \"Kubernetes Ingress Controller Fake \
         Certificate\"",
    ),
    TRAEFIK_MISMATCH,
    ISTIO_MISMATCH,
    At::OpenSsl.shows("\"key values mismatch\", where the first key is the wrong one"),
    ENDS,
];
pub(super) const BROKEN_KEY: &[Symptom] = &[
    At::IngressNginx.shows(
        "logs \"certificate and private key does not have a matching public key\" with what is \
         wrong, or \"x509: unsupported elliptic curve\", and serves its \"Kubernetes Ingress \
         Controller Fake Certificate\"",
    ),
    At::Traefik.shows(
        "logs \"Unable to parse certificate\" with \"tls: failed to parse private key\" and \
         serves \"TRAEFIK DEFAULT CERT\"",
    ),
    At::Istio.shows("the gateway logs \"Failed to load private key\" and cuts clients off"),
    ENDS,
];
pub(super) const BROKEN_CERTIFICATE: &[Symptom] = &[
    At::IngressNginx.shows(
        "logs \"unexpected error creating SSL Cert: x509: malformed certificate\" and serves \
         its \"Kubernetes Ingress Controller Fake Certificate\"",
    ),
    At::Traefik.shows(
        "logs \"Unable to parse certificate\" with \"x509: malformed certificate\" and serves \
         \"TRAEFIK DEFAULT CERT\"",
    ),
    At::Istio.shows(
        "istiod warns \"invalid certificates\" with \"x509: malformed certificate\", the \
         gateway logs \"Failed to load certificate chain\" and cuts clients off; `istioctl \
         analyze` says IST0161",
    ),
    At::OpenSsl
        .shows("\"asn1 encoding routines\" with \"too long\", \"bad object header\" or the like"),
    ENDS,
];
pub(super) const TOO_MANY_CERTIFICATES: &[Symptom] = &[
    At::IngressNginx.shows("serves it; each handshake sends some hundred KiB"),
    At::Clients.shows(
        "OpenSSL, and so curl, says \"excessive message size\", Go \"tls: handshake message \
         ... exceeds maximum\"",
    ),
    ENDS,
];
pub(super) const KEY_MISMATCH: &[Symptom] = &[
    NGINX_MISMATCH,
    TRAEFIK_MISMATCH,
    ISTIO_MISMATCH,
    At::Apply.shows(
        "a warning for a Secret of type `kubernetes.io/tls`: \"tls: private key does not match \
         public key\"",
    ),
    At::OpenSsl.shows("\"key values mismatch\""),
    ENDS,
];
pub(super) const LEAF_NOT_FIRST: &[Symptom] = &[
    NGINX_MISMATCH,
    TRAEFIK_MISMATCH,
    ISTIO_MISMATCH,
    At::OpenSsl.shows("\"key values mismatch\""),
    ENDS,
];
pub(super) const CHAIN_ORDER: &[Symptom] = &[
    At::IngressNginx.shows("serves it as it is, without a word"),
    At::Istio.shows("serves it as it is, without a word"),
    At::Clients.shows(
        "some work and some do not: OpenSSL and Go sort the chain, where nothing is missing; \
         strict ones say \"unable to get local issuer certificate\" or \"unknown ca\"",
    ),
];
pub(super) const CA_AS_LEAF: &[Symptom] = &[
    NGINX_SERVES_IT,
    ISTIO_SERVES_IT,
    At::Curl.shows("\"self-signed certificate\", unless it is trusted itself"),
    At::Clients.shows("those built on webpki (rustls) refuse it as CaUsedAsEndEntity"),
];
pub(super) const X509_VERSION_1: &[Symptom] = &[
    At::IngressNginx.shows(
        "logs \"does not contain a Common Name or Subject Alternative Name for server\" or \
         serves it, by its CN",
    ),
    ISTIO_SERVES_IT,
    At::Go.shows("\"certificate relies on legacy Common Name field, use SANs instead\""),
    At::Clients.shows(
        "those built on webpki (rustls) say UnsupportedCertVersion; curl goes by the CN and \
         works",
    ),
];
pub(super) const COMMON_NAME_ONLY: &[Symptom] = &[
    At::IngressNginx.shows(
        "logs \"Unexpected error validating SSL certificate\", goes by the CN, and serves it",
    ),
    ISTIO_SERVES_IT,
    At::Browsers.shows("`NET::ERR_CERT_COMMON_NAME_INVALID`"),
    At::Go.shows("\"certificate relies on legacy Common Name field, use SANs instead\""),
    At::Curl.shows("nothing: it goes by the CN"),
];
pub(super) const SELF_SIGNED: &[Symptom] = &[
    At::Browsers.shows("`NET::ERR_CERT_AUTHORITY_INVALID`"),
    At::Curl.shows("\"SSL certificate problem: self-signed certificate\""),
    At::Go.shows("\"x509: certificate signed by unknown authority\""),
    At::IngressNginx.shows(
        "in front of an application with such a one, where it verifies: 502 and \"upstream SSL \
         certificate verify error: (18:self-signed certificate)\"",
    ),
    At::Istio.shows(
        "in front of an application with such a one, where it verifies: 503 and \
         \"CERTIFICATE_VERIFY_FAILED\"",
    ),
];
pub(super) const NOT_FOR_PRODUCTION: &[Symptom] = &[
    NGINX_SERVES_IT,
    ISTIO_SERVES_IT,
    At::Browsers
        .shows("`NET::ERR_CERT_AUTHORITY_INVALID`, with \"(STAGING)\" in the name of the issuer"),
    At::Curl.shows("\"unable to get local issuer certificate\""),
];
pub(super) const EXPIRED: &[Symptom] = &[
    At::IngressNginx.shows(
        "logs \"SSL certificate for server ... expired\" and serves it all the same; in front \
         of an application with such a one, where it verifies: 502 and \"upstream SSL \
         certificate verify error: (10:certificate has expired)\"",
    ),
    At::Istio.shows(
        "istiod warns \"certificate is expired or not yet valid\" and serves it; `istioctl \
         analyze` says IST0161; towards an application 503 and \"CERTIFICATE_VERIFY_FAILED\"",
    ),
    At::Browsers.shows("`NET::ERR_CERT_DATE_INVALID`"),
    At::Curl.shows("\"SSL certificate problem: certificate has expired\""),
    At::Go.shows("\"x509: certificate has expired or is not yet valid\""),
];
pub(super) const NOT_YET_VALID: &[Symptom] = &[
    NGINX_SERVES_IT,
    At::Istio.shows(
        "istiod warns \"certificate is expired or not yet valid\" and serves it; `istioctl \
         analyze` says IST0161",
    ),
    At::Browsers.shows("`NET::ERR_CERT_DATE_INVALID`"),
    At::Curl.shows("\"SSL certificate problem: certificate is not yet valid\""),
    At::Go.shows(
        "\"x509: certificate has expired or is not yet valid: current time ... is before ...\"",
    ),
];
pub(super) const EXPIRES_SOON: &[Symptom] = &[
    At::IngressNginx
        .shows("logs \"SSL certificate for server ... is about to expire\" in its last ten days"),
    At::Istio.shows("nothing before the day"),
    At::CertManager.shows(
        "the condition `Ready` of the Certificate is `False`, or its renewal time lies in the \
         past",
    ),
    At::Sidecar.shows("`lasthop_credential_not_after_timestamp_seconds` comes near to now"),
];
pub(super) const WEAK_KEY: &[Symptom] = &[
    At::OpenSsl
        .shows("nginx and others that use it say \"ee key too small\" for RSA below 2048 bits"),
    At::Istio.shows(
        "the gateway logs \"Failed to load certificate chain\", for RSA with \"only RSA \
         certificates with 2048-bit or larger keys are supported\", and cuts clients off",
    ),
    At::Curl.shows("\"sslv3 alert handshake failure\", with a curve that clients do not have"),
    ENDS,
];
pub(super) const WEAK_SIGNATURE: &[Symptom] = &[
    At::OpenSsl.shows("nginx and others that use it say \"ca md too weak\" and do not load it"),
    ISTIO_SERVES_IT,
    At::Go.shows(
        "\"x509: certificate signed by unknown authority\", with \"insecure algorithm\" behind \
         it",
    ),
    At::Sidecar.shows("logs it as an error and serves it; clients refuse it"),
];
pub(super) const WRONG_PURPOSE: &[Symptom] = &[
    At::IngressNginx.shows(
        "serves it without a word; in front of an application with such a one, where it \
         verifies: 502 and \"upstream SSL certificate verify error: (26:unsupported \
         certificate purpose)\"",
    ),
    ISTIO_SERVES_IT,
    At::Browsers.shows("`NET::ERR_CERT_INVALID`"),
    At::Curl.shows(
        "\"unsuitable certificate purpose\" or \"unsupported certificate purpose\", by its \
         version",
    ),
    At::Go.shows("\"x509: certificate specifies an incompatible key usage\""),
];
pub(super) const NO_CA_IN_BUNDLE: &[Symptom] = &[
    At::IngressNginx.shows(
        "answers every client with 400, \"The SSL certificate error\" (`auth-tls-secret`); \
         with `proxy-ssl-verify: \"on\"` 502 and \"upstream SSL certificate verify error\"",
    ),
    At::Istio.shows(
        "clients are refused with the alert `unknown_ca`; as client the gateway answers 503 \
         and logs \"CERTIFICATE_VERIFY_FAILED\"",
    ),
    ENDS,
];
pub(super) const NOT_A_CA: &[Symptom] = &[
    At::IngressNginx.shows("nothing: it trusts the rest"),
    At::Istio.shows("nothing: it trusts the rest"),
    At::Clients.shows("whoever was to be let in by it gets the alert `unknown_ca`"),
];
pub(super) const CA_EXPIRED: &[Symptom] = &[
    At::IngressNginx
        .shows("answers clients with 400, \"The SSL certificate error\" (`auth-tls-secret`)"),
    At::Istio.shows(
        "istiod warns \"certificate is expired or not yet valid\"; clients are refused with an \
         alert",
    ),
    At::Curl.shows("\"alert certificate expired\" or \"alert unknown ca\""),
    At::Sidecar
        .shows("goes on, since a trust anchor's own dates need not be looked at (RFC 5280, 6.1)"),
];
pub(super) const KEY_IN_CA_BUNDLE: &[Symptom] = &[
    At::IngressNginx.shows(
        "nothing goes wrong, or \"x509: malformed certificate\" where it parses the key as a \
         certificate",
    ),
    At::Istio.shows("nothing goes wrong"),
    At::Sidecar.shows("logs it, and uses the certificates beside it"),
];
pub(super) const BROKEN_CRL: &[Symptom] = &[
    At::IngressNginx.shows(
        "logs \"CRL file ... contains invalid data\" or \"no valid PEM formatted block found \
         in CRL\", and answers 503 with `auth-tls-secret`",
    ),
    At::Sidecar
        .shows("ends with \"a Secret cannot be used\", or goes on with the list that it had"),
];
pub(super) const CRL_EXPIRED: &[Symptom] = &[
    At::IngressNginx.shows(
        "answers every client with 400, \"The SSL certificate error\"; nginx logs \"client SSL \
         certificate verify error: (12:CRL has expired)\"",
    ),
    At::Sidecar.shows(
        "goes on and counts it; with `client-crl-expired: refuse` it logs LH509, and clients \
         get an alert",
    ),
];
pub(super) const PUBLIC_CA: &[Symptom] = &[
    At::Sidecar
        .shows("nothing goes wrong: who is not named is refused with `access_denied` (LH511)"),
    At::IngressNginx.shows(
        "with such a CA in `auth-tls-secret`, everybody who has a certificate for clients from \
         it comes in",
    ),
];
pub(super) const NOT_BASE64: &[Symptom] = &[At::Apply.shows(
    "\"illegal base64 data at input byte 0\"; the Secret is not stored, so no controller \
         sees it",
)];
pub(super) const MISSING_INTERMEDIATE: &[Symptom] = &[
    At::IngressNginx.shows(
        "serves it without a word; in front of an application with such a one, where it \
         verifies: 502 and \"upstream SSL certificate verify error: (20:unable to get local \
         issuer certificate)\"",
    ),
    ISTIO_SERVES_IT,
    At::Browsers.shows("mostly nothing"),
    At::Curl.shows("\"SSL certificate problem: unable to get local issuer certificate\""),
    At::Go.shows("\"x509: certificate signed by unknown authority\""),
];
pub(super) const SEVERAL_LEAVES: &[Symptom] = &[
    At::IngressNginx.shows("serves the first to everybody, without a word"),
    At::Istio.shows("serves the first to everybody, without a word"),
    At::Browsers.shows("`NET::ERR_CERT_COMMON_NAME_INVALID` for the host of the second"),
];
