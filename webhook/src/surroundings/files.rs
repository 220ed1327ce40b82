//! Documents as surroundings.

use std::sync::Arc;

use super::{Listed, Sighting};
use crate::object::{Object, Secret};

/// Whether documents are all there is, or a part of it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Completeness {
    /// They stand for the whole cluster (`serve --surroundings`): what they do not hold is missing.
    Whole,
    /// There may be more in the cluster (`check -f`): what they do not hold is unknown.
    Part,
}

/// A set of documents.
#[derive(Clone, Debug)]
pub struct Files {
    documents: Arc<Vec<Object>>,
    completeness: Completeness,
}

impl Files {
    /// Surroundings made of `documents`, each with its namespace filled in.
    pub fn new(documents: Vec<Object>, completeness: Completeness) -> Self {
        Self { documents: Arc::new(documents), completeness }
    }

    /// The Secret `namespace/name`.
    pub fn secret(&self, namespace: &str, name: &str) -> Sighting<Secret> {
        let found = self.documents.iter().rfind(|document| {
            document.is("", "Secret")
                && document.namespace() == namespace
                && document.name() == name
        });
        match found {
            Some(document) => Sighting::Found(Secret::read(document.clone())),
            None => self.absent(),
        }
    }

    /// The namespace itself.
    pub fn namespace(&self, name: &str) -> Sighting<Object> {
        let found = self
            .documents
            .iter()
            .rfind(|document| document.is("", "Namespace") && document.name() == name);
        match found {
            Some(document) => Sighting::Found(document.clone()),
            None => self.absent(),
        }
    }

    /// All documents of a kind in a namespace.
    pub fn list(&self, kind: Listed, namespace: &str) -> Sighting<Vec<Object>> {
        let of_kind = |document: &&Object| {
            document.namespace() == namespace
                && match kind {
                    Listed::Certificates => document.is("cert-manager.io", "Certificate"),
                    Listed::ExternalSecrets => document.is("external-secrets.io", "ExternalSecret"),
                    Listed::Hosts => document.is("getambassador.io", "Host"),
                    Listed::Ingresses => document.is("networking.k8s.io", "Ingress"),
                    Listed::Pods => document.is("", "Pod"),
                    Listed::SealedSecrets => document.is("bitnami.com", "SealedSecret"),
                    Listed::Services => document.is("", "Service"),
                    Listed::Workloads => {
                        matches!(document.group(), "apps" | "batch")
                            || document.is("", "ReplicationController")
                    }
                }
        };
        Sighting::Found(self.documents.iter().filter(of_kind).cloned().collect())
    }

    /// The names of the Secrets in a namespace.
    pub fn secret_names(&self, namespace: &str) -> Vec<String> {
        let secrets = self.documents.iter();
        secrets
            .filter(|document| document.is("", "Secret") && document.namespace() == namespace)
            .map(|document| document.name().to_owned())
            .collect()
    }

    fn absent<T>(&self) -> Sighting<T> {
        match self.completeness {
            Completeness::Whole => Sighting::Missing,
            Completeness::Part => Sighting::Unknown("it is not among the files".to_owned()),
        }
    }
}
