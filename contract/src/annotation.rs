//! Names of the labels and annotations that users write. Promises: extend, never rename.

/// Everything of ours begins with this.
pub const PREFIX: &str = "lasthop.dev/";

macro_rules! names {
    ($($(#[$doc:meta])* $constant:ident = $name:literal;)*) => {
        $($(#[$doc])* pub const $constant: &str = concat!("lasthop.dev/", $name);)*
    };
}

names! {
    /// On namespaces and pods: switches injection.
    INJECT = "inject";
    /// On namespaces: what findings do here.
    VALIDATE = "validate";
    /// On namespaces and referencing objects: what a missing Secret does.
    MISSING_SECRET = "missing-secret";
    /// On namespaces: TLS secrets of sidecars may be logged here.
    ALLOW_KEY_LOG = "allow-key-log";
    /// On any object: finding codes that are not wanted here, each with a reason.
    IGNORE = "ignore";
    /// On pods, written by the webhook: what was injected.
    STATUS = "status";
    /// On pods, written by the webhook: probes as they were before the sidecar took them over.
    ORIGINAL_PROBES = "original-probes";
    TLS_SECRET = "tls-secret";
    PORTS = "ports";
    PROTOCOL = "protocol";
    CLIENT_AUTH = "client-auth";
    CLIENT_CA_SECRET = "client-ca-secret";
    ALLOWED_CLIENTS = "allowed-clients";
    CLIENT_EKU = "client-eku";
    CLIENT_CRL_SECRET = "client-crl-secret";
    CLIENT_CRL_EXPIRED = "client-crl-expired";
    CLIENT_CRL_UNKNOWN = "client-crl-unknown";
    CLIENT_CRL_DEPTH = "client-crl-depth";
    CLIENT_AUTH_EXEMPT_PATHS = "client-auth-exempt-paths";
    TRUSTED_PROXIES = "trusted-proxies";
    IDENTITY_HEADERS = "identity-headers";
    PROXY_PROTOCOL = "proxy-protocol";
    ALPN = "alpn";
    REDIRECT_PORT = "redirect-port";
    REDIRECT_STATUS = "redirect-status";
    REDIRECT_HTTPS_PORT = "redirect-https-port";
    HSTS = "hsts";
    UPSTREAMS = "upstreams";
    UPSTREAM_CLIENT_SECRET = "upstream-client-secret";
    UPSTREAM_CA_SECRET = "upstream-ca-secret";
    UPSTREAM_SERVER_NAMES = "upstream-server-names";
    UPSTREAM_SNI = "upstream-sni";
    REQUIRE_LOOPBACK = "require-loopback";
    STATUS_PORT = "status-port";
    APP_SOCKET = "app-socket";
    SIDECAR_IMAGE = "sidecar-image";
    SIDECAR_IMAGE_PULL_POLICY = "sidecar-image-pull-policy";
    SIDECAR_CPU_REQUEST = "sidecar-cpu-request";
    SIDECAR_CPU_LIMIT = "sidecar-cpu-limit";
    SIDECAR_MEMORY_REQUEST = "sidecar-memory-request";
    SIDECAR_MEMORY_LIMIT = "sidecar-memory-limit";
    SIDECAR_LOG_LEVEL = "sidecar-log-level";
    SIDECAR_DRAIN_DELAY = "sidecar-drain-delay";
    SIDECAR_DRAIN_TIMEOUT = "sidecar-drain-timeout";
    SIDECAR_NATIVE = "sidecar-native";
}
