//! Where a listener stands in the manifests, for who has to change it.

use lasthop_contract::annotation as name;
use lasthop_contract::sidecar_config::{Listener as Configured, Terminate};
use lasthop_contract::text::list;

use super::listener::Called;
use crate::inject::annotations::Request;
use crate::inject::{self, Mount};
use crate::object::{Object, ObjectRef};
use crate::path::FieldPath;

/// A terminating listener, and the annotations that it was made of.
#[derive(Clone, Debug)]
pub struct Place {
    /// The workload, or the Pod.
    pub workload: ObjectRef,
    /// What the sidecar is told of the listener.
    pub terminate: Terminate,
    /// The way to the pod in the workload.
    prefix: FieldPath,
    pod: Object,
}

impl Place {
    /// Every terminating listener of the pods that `workload` makes, in the order in which they were
    /// written. None where it asks for no sidecar, or not in a way that can be served.
    pub fn all(workload: &Object, namespace: &str) -> Vec<Self> {
        let Some((prefix, pod)) = inject::pod_of(workload) else { return Vec::new() };
        let Some((_, request)) = inject::service::request_of(workload) else { return Vec::new() };
        Self::of_request(&request)
            .into_iter()
            .map(|terminate| Self {
                workload: workload.reference(namespace),
                terminate,
                prefix: prefix.clone(),
                pod: pod.clone(),
            })
            .collect()
    }

    fn of_request(request: &Request) -> Vec<Terminate> {
        let listeners = inject::listeners(request).into_iter();
        let terminating = listeners.filter_map(|listener| match listener {
            Configured::Terminate(terminate) => Some(terminate),
            _ => None,
        });
        terminating.collect()
    }

    /// Whether both are the same listener.
    pub fn is_same(&self, other: &Self) -> bool {
        self.workload == other.workload && self.port() == other.port()
    }

    /// The port that clients connect to.
    pub fn port(&self) -> u16 {
        self.terminate.listen.port()
    }

    /// The field of the annotation `base` that holds for this listener: its own, else the one of all
    /// listeners, be it written or not.
    pub fn field(&self, base: &str) -> FieldPath {
        self.prefix.join(&FieldPath::annotation(&self.annotation(base)))
    }

    /// The name of that annotation.
    pub fn annotation(&self, base: &str) -> String {
        let own = format!("{base}.{}", self.port());
        if self.pod.annotation(&own).is_some() { own } else { base.to_owned() }
    }

    /// Where the CAs of its clients are kept.
    pub fn authority(&self) -> String {
        let mount = self.terminate.clients.ca_secret.as_deref().and_then(Mount::of_directory);
        mount.map(|mount| Called(&mount).to_string()).unwrap_or_default()
    }

    /// The allowed clients, as written.
    pub fn allowed(&self) -> String {
        list(&self.terminate.clients.allowed, 4)
    }

    /// The value that lets in `entry`, too.
    pub(super) fn allowing(&self, entry: &str) -> String {
        let allowed = &self.terminate.clients.allowed;
        let all: Vec<&str> = allowed.iter().map(String::as_str).chain([entry]).collect();
        let whole = all.join(",");
        // What is too long to be read is not to be copied.
        let value = if whole.len() <= 120 { whole } else { format!("...,{entry}") };
        format!("{}: \"{value}\"", self.annotation(name::ALLOWED_CLIENTS))
    }
}
