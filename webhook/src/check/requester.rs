//! Who asks.

use std::collections::BTreeMap;

/// The `userInfo` of a review.
///
/// <https://kubernetes.io/docs/reference/access-authn-authz/authentication/>
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Requester {
    /// `system:serviceaccount:NAMESPACE:NAME` for a service account; empty on the command line.
    pub name: String,
    /// The unique id, where the authenticator knows one.
    pub uid: String,
    /// The groups.
    pub groups: Vec<String>,
    /// What else the authenticator says.
    pub extra: BTreeMap<String, Vec<String>>,
}

impl Requester {
    /// Whether this is a person (or the command line), as opposed to a program of the cluster.
    pub fn is_person(&self) -> bool {
        let programs =
            ["system:serviceaccount:", "system:node:", "system:kube-", "system:apiserver"];
        !programs.iter().any(|prefix| self.name.starts_with(prefix))
    }

    /// Whether this is one of the controllers that empty a namespace or collect garbage, which must
    /// never be held up.
    pub fn clears_away(&self) -> bool {
        matches!(
            self.name.as_str(),
            "system:serviceaccount:kube-system:namespace-controller"
                | "system:serviceaccount:kube-system:generic-garbage-collector"
                | "system:kube-controller-manager"
        )
    }
}
