//! What an object refers to: the cluster around it, or the other documents beside it.
//!
//! A look has three answers. [`Sighting::Unknown`] is never an error about the user's input: live, the
//! API server did not answer; offline, the files do not hold it.

use crate::object::{Object, Secret};

mod files;

pub use files::{Completeness, Files};

/// What came of a look.
#[derive(Clone, Debug, PartialEq)]
pub enum Sighting<T> {
    /// It is there.
    Found(T),
    /// It is not there, and whoever was asked would know.
    Missing,
    /// Nobody could say; why, in words that fit behind "could not look: ".
    Unknown(String),
}

impl<T> Sighting<T> {
    /// What was found.
    pub fn found(&self) -> Option<&T> {
        match self {
            Self::Found(it) => Some(it),
            Self::Missing | Self::Unknown(_) => None,
        }
    }
}

/// The kinds that are listed around an object, one namespace at a time.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Listed {
    /// `cert-manager.io` Certificates: makers of Secrets.
    Certificates,
    /// `external-secrets.io` ExternalSecrets: makers of Secrets.
    ExternalSecrets,
    /// `getambassador.io` Hosts: references, and makers with an ACME provider.
    Hosts,
    /// `networking.k8s.io` Ingresses.
    Ingresses,
    /// Pods.
    Pods,
    /// `bitnami.com` SealedSecrets: makers of Secrets.
    SealedSecrets,
    /// Services.
    Services,
    /// Deployments, StatefulSets, DaemonSets, ReplicaSets, Jobs and CronJobs.
    Workloads,
}

/// Where an object's surroundings come from.
#[derive(Clone, Debug)]
pub enum Surroundings {
    /// Documents: `lasthop check -f`, and `lasthop serve --surroundings`.
    Files(Files),
}

impl Surroundings {
    /// The Secret `namespace/name`.
    pub async fn secret(&self, namespace: &str, name: &str) -> Sighting<Secret> {
        match self {
            Self::Files(files) => files.secret(namespace, name),
        }
    }

    /// The namespace itself, for its labels.
    pub async fn namespace(&self, name: &str) -> Sighting<Object> {
        match self {
            Self::Files(files) => files.namespace(name),
        }
    }

    /// All objects of a kind in a namespace.
    pub async fn list(&self, kind: Listed, namespace: &str) -> Sighting<Vec<Object>> {
        match self {
            Self::Files(files) => files.list(kind, namespace),
        }
    }

    /// Names of Secrets in a namespace that are known without asking for them: for "did you mean".
    pub async fn secret_names(&self, namespace: &str) -> Vec<String> {
        match self {
            Self::Files(files) => files.secret_names(namespace),
        }
    }
}
