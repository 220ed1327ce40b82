//! Which Kubernetes this is.

use std::fmt;

use serde_json::Value;

use super::{ApiError, ApiServer};

/// The minor version of Kubernetes 1.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Version(u16);

impl Version {
    /// From here on init containers may restart (on by default; stable since 1.33).
    pub const NATIVE_SIDECARS: Self = Self(29);

    /// From here on a Service can name a port of an init container that restarts; before, it gets no
    /// endpoints (<https://github.com/kubernetes/kubernetes/blob/master/CHANGELOG/CHANGELOG-1.33.md>).
    pub const NAMED_SIDECAR_PORTS: Self = Self(33);

    /// Reads `1.29`, `v1.29.4`, `1.29+` or `v1.29.4-eks-36c1b0a`.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.trim().trim_start_matches('v').split('.');
        if parts.next()? != "1" {
            return None;
        }
        let minor = parts.next()?;
        let digits = minor.find(|c: char| !c.is_ascii_digit()).unwrap_or(minor.len());
        minor.get(..digits)?.parse().ok().map(Self)
    }

    /// The same for the command line.
    ///
    /// # Errors
    /// What to write, where `text` is no version.
    pub fn of_flag(text: &str) -> Result<Self, String> {
        Self::parse(text).ok_or_else(|| "a version is written like 1.33".to_owned())
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "1.{}", self.0)
    }
}

/// The versions of a cluster.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Versions {
    /// The API server's.
    pub api_server: Version,
    /// The oldest kubelet's; [`None`] where there is none, or where they cannot be listed.
    pub oldest_kubelet: Option<Version>,
}

impl Versions {
    /// Asks the API server.
    ///
    /// # Errors
    /// The API server does not tell its own version. That nodes cannot be listed is logged.
    pub async fn of(api: &ApiServer) -> Result<Self, ApiError> {
        let told = api.get("/version").await?;
        let api_server = Version::parse(told.text("/gitVersion")).ok_or_else(|| {
            ApiError::Unreachable("the API server tells no version of Kubernetes".to_owned())
        })?;
        let oldest_kubelet = match api.list("/api/v1/nodes", "v1", "Node").await {
            Ok(nodes) => {
                let version = |node: &Value| {
                    Version::parse(node.pointer("/status/nodeInfo/kubeletVersion")?.as_str()?)
                };
                nodes.iter().filter_map(|node| version(&node.0)).min()
            }
            Err(error) => {
                tracing::warn!(%error, "cannot list nodes, the API server's version decides alone");
                None
            }
        };
        Ok(Self { api_server, oldest_kubelet })
    }

    /// Whether everybody concerned is as new as `version`.
    pub fn all_are(&self, version: Version) -> bool {
        self.api_server >= version && self.oldest_kubelet.is_none_or(|it| it >= version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_versions_as_distributions_write_them() {
        for text in ["1.29", "v1.29.4", "1.29+", "v1.29.4-eks-36c1b0a", "v1.29.1+k3s1", " 1.29 "] {
            assert_eq!(Version::parse(text), Some(Version(29)), "{text}");
        }
        for text in ["", "1", "2.1", "v", "1.x", "latest", "1."] {
            assert_eq!(Version::parse(text), None, "{text}");
        }
    }

    #[test]
    fn the_oldest_decides() {
        let versions = |oldest| Versions { api_server: Version(30), oldest_kubelet: oldest };
        assert!(versions(None).all_are(Version::NATIVE_SIDECARS));
        assert!(versions(Some(Version(29))).all_are(Version::NATIVE_SIDECARS));
        assert!(!versions(Some(Version(28))).all_are(Version::NATIVE_SIDECARS));
    }
}
