//! Documents as surroundings.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use serde_json::Value;

use super::{Cluster, Listed, Sighting, makers};
use crate::inject;
use crate::object::{Object, ObjectRef, Secret};
use crate::reference::ingress_hosts::Bringers;
use crate::reference::{self, Holder, gateway_api, istio_gateway};

/// Whether documents are all there is, or a part of it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Completeness {
    /// They stand for the whole cluster (`serve --surroundings`): what they do not hold is missing.
    Whole,
    /// There may be more in the cluster (`check -f`): what they do not hold is unknown.
    Part,
}

/// Whether the Secrets of a namespace are among what was listed of it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum SecretListing {
    /// All of them.
    Complete,
    /// None of them; why, in words that fit behind "could not look: ".
    Withheld(String),
}

/// A namespace of which everything was listed, but for what was withheld.
#[derive(Clone, Debug)]
struct Audited {
    namespace: String,
    secrets: SecretListing,
    /// Why not everything that makes Secrets could be listed, where it could not.
    makers: Option<String>,
    /// Where to look for what is of another namespace.
    beyond: Cluster,
}

/// A set of documents.
#[derive(Clone, Debug)]
pub struct Files {
    index: Arc<Index>,
    completeness: Completeness,
    audited: Option<Arc<Audited>>,
    /// How many more names may be compared.
    comparisons: Arc<AtomicUsize>,
}

/// A namespace and a name in it.
type Named = (String, String);

/// Documents by what is asked about them, so that many of them take linear time.
#[derive(Debug, Default)]
struct Index {
    documents: Vec<Object>,
    namespaces: BTreeMap<String, usize>,
    secrets: BTreeMap<Named, usize>,
    config_maps: BTreeMap<Named, usize>,
    readers: OnceLock<BTreeMap<Named, Vec<usize>>>,
    bringers: OnceLock<Arc<Bringers>>,
    listed: BTreeMap<(Listed, String), Vec<usize>>,
    /// The namespaces with pods that ask for a sidecar.
    sidecars: OnceLock<BTreeSet<String>>,
    makers: BTreeMap<Named, usize>,
    /// By the name alone.
    makers_anywhere: BTreeMap<String, usize>,
    /// The Kustomization of Flux that fills in variables, the first by name.
    substitutes: Option<ObjectRef>,
}

/// How many names are compared with those of missing Secrets before that ends.
const COMPARISONS: usize = 10_000_000;

/// Which of two makers of a Secret is told, by their positions.
fn first_maker(documents: &[Object], one: usize, other: usize) -> usize {
    let rank = |at: &usize| documents.get(*at).map(makers::rank);
    [one, other].into_iter().min_by_key(rank).unwrap_or(one)
}

impl Files {
    /// Surroundings made of `documents`, each with its namespace filled in. Of two documents with
    /// one name the later counts, as it does for `kubectl apply`.
    pub fn new(documents: Vec<Object>, completeness: Completeness) -> Self {
        let mut index = Index::default();
        for (position, document) in documents.iter().enumerate() {
            let named = |name: &str| (document.namespace().to_owned(), name.to_owned());
            if let Some(kind) = listed_as(document) {
                let of_kind = index.listed.entry((kind, document.namespace().to_owned()));
                of_kind.or_default().push(position);
            }
            if document.is("", "Secret") {
                index.secrets.insert(named(document.name()), position);
            } else if document.is("", "ConfigMap") {
                index.config_maps.insert(named(document.name()), position);
            } else if document.is("", "Namespace") {
                index.namespaces.insert(document.name().to_owned(), position);
            } else {
                for secret in makers::makes(document).into_iter().map(named) {
                    let maker = index.makers.entry(secret).or_insert(position);
                    *maker = first_maker(&documents, *maker, position);
                }
            }
            if let Some(secret) = makers::makes_anywhere(document) {
                index.makers_anywhere.insert(secret.to_owned(), position);
            }
        }
        index.substitutes = documents.iter().filter_map(substitutes).min();
        index.documents = documents;
        let comparisons = Arc::new(AtomicUsize::new(COMPARISONS));
        Self { index: Arc::new(index), completeness, audited: None, comparisons }
    }

    /// Everything that `namespace` of a cluster holds: what is not there is missing. What is of
    /// another namespace is looked for in the cluster `beyond`. What makes a Secret is unknown where
    /// `makers` says why not all of that could be listed.
    pub fn of_namespace(
        objects: Vec<Object>,
        namespace: &str,
        secrets: SecretListing,
        makers: Option<String>,
        beyond: Cluster,
    ) -> Self {
        let namespace = namespace.to_owned();
        let audited = Arc::new(Audited { namespace, secrets, makers, beyond });
        Self { audited: Some(audited), ..Self::new(objects, Completeness::Part) }
    }

    /// The same documents for another question.
    pub(super) fn anew(&self) -> Self {
        let comparisons = Arc::new(AtomicUsize::new(COMPARISONS));
        Self { comparisons, ..self.clone() }
    }

    /// The same documents for one of `parts` parts of the work, with its share of the comparisons.
    #[must_use]
    pub fn share(&self, parts: usize) -> Self {
        let comparisons = Arc::new(AtomicUsize::new(COMPARISONS / parts.max(1)));
        Self { comparisons, ..self.clone() }
    }

    /// The cluster to ask about `namespace`, where these are all documents of another one.
    pub(super) fn beyond(&self, namespace: &str) -> Option<&Cluster> {
        let audited = self.audited.as_deref().filter(|it| it.namespace != namespace);
        audited.map(|it| &it.beyond)
    }

    /// The cluster to ask about all namespaces, where these are the documents of one.
    pub(super) fn cluster(&self) -> Option<&Cluster> {
        self.audited.as_deref().map(|it| &it.beyond)
    }

    /// The Secret `namespace/name`.
    pub fn secret(&self, namespace: &str, name: &str) -> Sighting<Secret> {
        let key = (namespace.to_owned(), name.to_owned());
        let found = self.index.secrets.get(&key).and_then(|at| self.index.documents.get(*at));
        match found {
            Some(document) => Sighting::Found(Secret::read(document.clone())),
            None => match self.audited.as_deref() {
                Some(Audited { secrets: SecretListing::Withheld(why), .. }) => {
                    Sighting::Unknown(why.clone())
                }
                _ => self.absent(namespace),
            },
        }
    }

    /// The data of the `ConfigMap` `namespace/name`.
    pub fn config_map(&self, namespace: &str, name: &str) -> Sighting<Secret> {
        let key = (namespace.to_owned(), name.to_owned());
        let found = self.index.config_maps.get(&key).and_then(|at| self.index.documents.get(*at));
        match found {
            Some(document) => Sighting::Found(Secret::of_config_map(document.clone())),
            None => self.absent(namespace),
        }
    }

    /// The namespace itself.
    pub fn namespace(&self, name: &str) -> Sighting<Object> {
        let found = self.index.namespaces.get(name).and_then(|at| self.index.documents.get(*at));
        match found {
            Some(document) => Sighting::Found(document.clone()),
            None => self.absent(name),
        }
    }

    /// All documents of a kind in a namespace.
    pub fn list(&self, kind: Listed, namespace: &str) -> Sighting<Vec<Object>> {
        let positions = self.index.listed.get(&(kind, namespace.to_owned()));
        let documents = positions.into_iter().flatten();
        let documents = documents.filter_map(|at| self.index.documents.get(*at));
        let found: Vec<Object> = documents.cloned().collect();
        // A grant is kept with the Secret, often in files of other people.
        if kind == Listed::Grants && found.is_empty() {
            return self.absent(namespace);
        }
        Sighting::Found(found)
    }

    /// The documents of a kind that `keep` wants.
    pub(super) fn everywhere(&self, kind: Listed, keep: impl Fn(&Object) -> bool) -> Vec<Object> {
        let from = (kind, String::new());
        let of_kind = self.index.listed.range(from..).take_while(|((it, _), _)| *it == kind);
        let positions = of_kind.flat_map(|(_, positions)| positions);
        let found = positions.filter_map(|at| self.index.documents.get(*at));
        found.filter(|it| keep(it)).cloned().collect()
    }

    /// The namespaces of the pods, and of the workloads whose pods, have all these labels.
    pub(super) fn namespaces_of_pods(&self, selector: &BTreeMap<&str, &str>) -> BTreeSet<String> {
        namespaces_of_pods(&self.index.documents, selector)
    }

    /// The names of the Secrets in a namespace.
    pub fn secret_names(&self, namespace: &str) -> Vec<String> {
        let from = (namespace.to_owned(), String::new());
        let of_it = self.index.secrets.range(from..).take_while(|((of, _), _)| of == namespace);
        of_it.map(|((_, name), _)| name.clone()).collect()
    }

    /// Whether there is still work to be spent on near names: every missing name is compared with
    /// every other, and of thousands of slips nobody reads them all.
    pub(super) fn may_compare(&self) -> bool {
        let cost = self.index.secrets.len().max(1);
        let take = |left: usize| left.checked_sub(cost);
        self.comparisons.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
    }

    /// The Secrets of other namespaces.
    pub(super) fn secrets_elsewhere(&self, namespace: &str) -> Vec<(String, String)> {
        self.index.secrets.keys().filter(|(of, _)| of != namespace).cloned().collect()
    }

    /// The documents that name a Secret.
    pub(super) fn readers(&self, namespace: &str, secret: &str) -> Vec<Object> {
        let readers = self.index.readers.get_or_init(|| readers(&self.index.documents));
        let positions = readers.get(&(namespace.to_owned(), secret.to_owned()));
        let documents = positions.into_iter().flatten();
        documents.filter_map(|at| self.index.documents.get(*at)).cloned().collect()
    }

    /// The Ingresses by the hosts for which they bring certificates.
    pub(super) fn bringers(&self) -> Arc<Bringers> {
        let bringers = || Arc::new(Bringers::of(&self.index.documents));
        Arc::clone(self.index.bringers.get_or_init(bringers))
    }

    /// The document that has variables filled in before others are applied.
    pub(super) fn substitutes(&self) -> Option<ObjectRef> {
        self.index.substitutes.clone()
    }

    /// Whether a pod of `namespace` asks for a sidecar.
    pub(super) fn asks_for_sidecars(&self, namespace: &str) -> bool {
        let asking = || {
            let asks = |it: &&Object| inject::service::request_of(it).is_some();
            let asking = self.index.documents.iter().filter(asks);
            asking.map(|it| it.namespace().to_owned()).collect()
        };
        self.index.sidecars.get_or_init(asking).contains(namespace)
    }

    /// The documents that make some Secrets of a namespace.
    pub(super) fn makers(
        &self,
        namespace: &str,
        secrets: &BTreeSet<&str>,
    ) -> Sighting<BTreeMap<String, ObjectRef>> {
        let maker = |secret: &str| {
            let here = self.index.makers.get(&(namespace.to_owned(), secret.to_owned()));
            let at = here.or_else(|| self.index.makers_anywhere.get(secret))?;
            let maker = self.index.documents.get(*at)?;
            let of = match (here, maker.kind()) {
                (Some(_), _) => namespace,
                (None, "Bundle" | "ClusterExternalSecret") => "",
                (None, _) => maker.namespace(),
            };
            Some((secret.to_owned(), maker.reference(of)))
        };
        let found: BTreeMap<_, _> = secrets.iter().filter_map(|secret| maker(secret)).collect();
        match self.audited.as_ref().and_then(|audited| audited.makers.as_ref()) {
            Some(why) if found.len() < secrets.len() => Sighting::Unknown(why.clone()),
            _ => Sighting::Found(found),
        }
    }

    fn absent<T>(&self, namespace: &str) -> Sighting<T> {
        match (&self.audited, self.completeness) {
            (Some(audited), _) if audited.namespace == namespace => Sighting::Missing,
            (Some(_), _) => Sighting::Unknown("it is of another namespace".to_owned()),
            (None, Completeness::Whole) => Sighting::Missing,
            (None, Completeness::Part) => Sighting::Unknown("it is not among the files".to_owned()),
        }
    }
}

/// Names `document` where it has Flux replace `${NAME}` in what it applies.
/// <https://fluxcd.io/flux/components/kustomize/kustomizations/#post-build-variable-substitution>
fn substitutes(document: &Object) -> Option<ObjectRef> {
    let is_flux = document.is("kustomize.toolkit.fluxcd.io", "Kustomization");
    (is_flux && document.0.pointer("/spec/postBuild").is_some_and(Value::is_object))
        .then(|| document.reference(document.namespace()))
}

fn namespaces_of_pods(documents: &[Object], selector: &BTreeMap<&str, &str>) -> BTreeSet<String> {
    let is_meant = |document: &&Object| {
        inject::pod_of(document).is_some_and(|(_, pod)| {
            let labels = pod.labels();
            selector.iter().all(|(key, value)| labels.get(key) == Some(value))
        })
    };
    let namespaces = documents.iter().filter(is_meant).map(Object::namespace);
    namespaces.filter(|namespace| !namespace.is_empty()).map(str::to_owned).collect()
}

/// The list that a document is in.
fn listed_as(document: &Object) -> Option<Listed> {
    match (document.group(), document.kind()) {
        ("networking.k8s.io" | "extensions", "Ingress") => Some(Listed::Ingresses),
        ("", "LimitRange" | "ResourceQuota") => Some(Listed::Limits),
        (gateway_api::GROUP, "ReferenceGrant") => Some(Listed::Grants),
        ("networking.istio.io", "Gateway") => Some(Listed::IstioGateways),
        ("getambassador.io", "TLSContext") => Some(Listed::TlsContexts),
        ("traefik.io", "ServersTransport") => Some(Listed::Transports),
        ("", "Pod") => Some(Listed::Pods),
        ("", "Service") => Some(Listed::Services),
        ("apps" | "batch", _) | ("", "ReplicationController") => Some(Listed::Workloads),
        _ => None,
    }
}

fn readers(documents: &[Object]) -> BTreeMap<Named, Vec<usize>> {
    let mut readers: BTreeMap<Named, Vec<usize>> = BTreeMap::new();
    let mut pods: BTreeMap<BTreeMap<&str, &str>, BTreeSet<String>> = BTreeMap::new();
    for (position, document) in documents.iter().enumerate() {
        let mut references = reference::of(document, document.namespace());
        if let Some(selector) = istio_gateway::selector(document).filter(|it| !it.is_empty()) {
            let found = |selector: &_| namespaces_of_pods(documents, selector);
            let namespaces = pods.entry(selector).or_insert_with_key(found);
            references = istio_gateway::placed(document, references, namespaces);
        }
        for reference in references.into_iter().filter(|it| it.holder == Holder::Secret) {
            let positions = readers.entry((reference.namespace, reference.secret)).or_default();
            if positions.last() != Some(&position) {
                positions.push(position);
            }
        }
    }
    readers
}
