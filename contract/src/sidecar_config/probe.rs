//! Probes of the application that the status listener performs in kubelet's stead.

use serde::{Deserialize, Serialize};

/// A probe that kubelet sends to the status listener, at [`Probe::path`], and the sidecar performs on
/// localhost.
///
/// <https://kubernetes.io/docs/concepts/configuration/liveness-readiness-startup-probes/>
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Probe {
    /// Where the status listener answers for it, `/probes/CONTAINER/KIND`.
    pub path: String,
    /// What is done.
    pub action: ProbeAction,
    /// Seconds after which it has failed, as kubelet counts them.
    #[serde(default = "default_timeout")]
    pub timeout_seconds: u32,
}

/// What a probe does on localhost.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase", deny_unknown_fields)]
pub enum ProbeAction {
    /// A GET; a status from 200 to 399 is success.
    HttpGet {
        /// The application's port.
        port: u16,
        /// Path and query.
        path: String,
        /// Whether the application itself speaks TLS there; its certificate is not verified, as
        /// kubelet does not.
        #[serde(default)]
        scheme: ProbeScheme,
        /// Headers, in order. `Host` replaces the default.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        headers: Vec<(String, String)>,
    },
    /// A connection that is taken is success.
    TcpSocket {
        /// The application's port.
        port: u16,
    },
    /// `grpc.health.v1.Health/Check`; `SERVING` is success.
    Grpc {
        /// The application's port.
        port: u16,
        /// The service asked for; empty: the server as a whole.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        service: String,
    },
}

/// Whether an HTTP probe is in the clear.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub enum ProbeScheme {
    /// Plain HTTP.
    #[default]
    #[serde(rename = "HTTP")]
    Http,
    /// HTTP in TLS.
    #[serde(rename = "HTTPS")]
    Https,
}

fn default_timeout() -> u32 {
    1
}
