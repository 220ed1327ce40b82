//! Where a listener stands in the manifests, for who has to change it.

use lasthop_contract::annotation as name;
use lasthop_contract::sidecar_config::{Listener as Configured, Originate, Terminate};
use lasthop_contract::text::list;

use super::listener::Called;
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
    written: Written,
}

/// An originating listener, and the annotations that it was made of.
#[derive(Clone, Debug)]
pub struct Outlet {
    /// The workload, or the Pod.
    pub workload: ObjectRef,
    /// What the sidecar is told of the listener.
    pub originate: Originate,
    written: Written,
}

/// The pod whose annotations a listener was made of.
#[derive(Clone, Debug)]
struct Written {
    /// The way to the pod in the workload.
    prefix: FieldPath,
    pod: Object,
}

impl Written {
    /// The name of the annotation `base` that holds for the listener at `port`: its own, else the one of
    /// all listeners, be it written or not.
    fn annotation(&self, base: &str, port: u16) -> String {
        let own = format!("{base}.{port}");
        if self.pod.annotation(&own).is_some() { own } else { base.to_owned() }
    }

    fn field(&self, annotation: &str) -> FieldPath {
        self.prefix.join(&FieldPath::annotation(annotation))
    }
}

/// The listeners of the pods that `workload` makes, in the order in which they were written. None where
/// it asks for no sidecar, or not in a way that can be served.
fn listeners(workload: &Object) -> Option<(Written, Vec<Configured>)> {
    let (prefix, pod) = inject::pod_of(workload)?;
    let (_, request) = inject::service::request_of(workload)?;
    Some((Written { prefix, pod }, inject::listeners(&request)))
}

impl Place {
    /// Every terminating listener of `workload`.
    pub fn all(workload: &Object, namespace: &str) -> Vec<Self> {
        let Some((written, listeners)) = listeners(workload) else { return Vec::new() };
        let terminating = listeners.into_iter().filter_map(|listener| match listener {
            Configured::Terminate(terminate) => Some(terminate),
            _ => None,
        });
        let workload = workload.reference(namespace);
        let place =
            |terminate| Self { workload: workload.clone(), terminate, written: written.clone() };
        terminating.map(place).collect()
    }

    /// Whether both are the same listener.
    pub fn is_same(&self, other: &Self) -> bool {
        self.workload == other.workload && self.port() == other.port()
    }

    /// The port that clients connect to.
    pub fn port(&self) -> u16 {
        self.terminate.listen.port()
    }

    /// The field of the annotation `base` that holds for this listener.
    pub fn field(&self, base: &str) -> FieldPath {
        self.written.field(&self.annotation(base))
    }

    /// The name of that annotation: the listener's own, else the one of all listeners, be it written or
    /// not.
    pub fn annotation(&self, base: &str) -> String {
        self.written.annotation(base, self.port())
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

impl Outlet {
    /// Every originating listener of `workload`.
    pub fn all(workload: &Object, namespace: &str) -> Vec<Self> {
        let Some((written, listeners)) = listeners(workload) else { return Vec::new() };
        let originating = listeners.into_iter().filter_map(|listener| match listener {
            Configured::Originate(originate) => Some(originate),
            _ => None,
        });
        let workload = workload.reference(namespace);
        let outlet =
            |originate| Self { workload: workload.clone(), originate, written: written.clone() };
        originating.map(outlet).collect()
    }

    /// The field of the annotation `base` that holds for this listener, where it is written; else the
    /// one that names the next tier.
    pub fn field(&self, base: &str) -> FieldPath {
        let annotation = self.annotation(base);
        match self.written.pod.annotation(&annotation) {
            Some(_) => self.written.field(&annotation),
            None => self.written.field(name::UPSTREAMS),
        }
    }

    /// The name of that annotation: the listener's own, else the one of all listeners, be it written or
    /// not.
    pub fn annotation(&self, base: &str) -> String {
        self.written.annotation(base, self.originate.listen.port())
    }

    /// Where the CAs of the next tier are kept.
    pub fn authority(&self) -> String {
        let mount = self.originate.ca_secret.as_deref().and_then(Mount::of_directory);
        match mount {
            Some(mount) => format!("the CAs in {}", Called(&mount)),
            None => "the roots of Mozilla".to_owned(),
        }
    }
}
