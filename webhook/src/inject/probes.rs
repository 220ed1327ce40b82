//! Probes and hooks that would break beside the sidecar: kubelet sends them to its status port, and the
//! sidecar performs them on localhost.
//!
//! Such are those of an app that is on loopback alone, which kubelet does not reach, and those that aim at
//! a port of the sidecar, which wants TLS. What they were is kept in an annotation. It is read back as if
//! it stood in the probe itself, and judged anew: who forges it gets no more than who writes that probe.

use std::collections::BTreeSet;

use lasthop_contract::annotation::ORIGINAL_PROBES;
use lasthop_contract::client_policy::ClientAuth;
use lasthop_contract::sidecar_config::{PlaintextDoor, Probe, ProbeScheme};
use lasthop_contract::text::escape;
use serde_json::{Map, Value, json};

use super::annotations::{App, Request, Terminate};
use super::objection::{Bearing, Objection};
use super::pod::{self, CONTAINER, ContainerAt};
use super::{code, istio, plan};
use crate::object::Object;
use crate::path::FieldPath;

mod action;

use action::{Action, Kind};

/// What the sidecar takes over.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Takeover {
    /// What it performs, for its configuration.
    pub(super) probes: Vec<Probe>,
    /// What changes in the containers.
    pub(super) changes: Vec<Change>,
    /// The value of `lasthop.dev/original-probes`, where there is something to keep.
    pub(super) originals: Option<String>,
}

/// An action of a probe or hook, in the place of the one that stands there.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Change {
    /// The probe or hook.
    pub(super) path: FieldPath,
    /// The field of the action that stands there.
    pub(super) before: Kind,
    /// The field of the action that is to stand there.
    pub(super) after: Kind,
    /// That action.
    pub(super) value: Value,
}

/// Decides about every probe and hook of the user's containers.
pub(super) fn take_over(pod: &Object, request: &Request) -> (Takeover, Vec<Objection>) {
    let kept = pod.annotation(ORIGINAL_PROBES).and_then(|text| serde_json::from_str(text).ok());
    let mut work = Work {
        pod,
        request,
        kept: kept.unwrap_or_default(),
        takeover: Takeover::default(),
        originals: Map::new(),
        objections: Vec::new(),
    };
    let mut seen = BTreeSet::new();
    for container in pod::containers(pod) {
        // Of two containers with one name the API server takes neither.
        if is_label(container.name()) && seen.insert(container.name()) {
            for spot in &SPOTS {
                work.spot(container, spot);
            }
        }
    }
    let Work { mut takeover, originals, objections, .. } = work;
    takeover.originals = (!originals.is_empty()).then(|| Value::Object(originals).to_string());
    (takeover, objections)
}

/// Where a container has a probe or hook.
struct Spot {
    /// The word in the path of the status port.
    word: &'static str,
    /// The fields from the container.
    fields: &'static [&'static str],
}

const SPOTS: [Spot; 5] = [
    Spot { word: "liveness", fields: &["livenessProbe"] },
    Spot { word: "readiness", fields: &["readinessProbe"] },
    Spot { word: "startup", fields: &["startupProbe"] },
    Spot { word: "post-start", fields: &["lifecycle", "postStart"] },
    Spot { word: "pre-stop", fields: &["lifecycle", "preStop"] },
];

impl Spot {
    /// Seconds that kubelet waits; a hook has the time that the pod has to end.
    fn timeout(&self, pod: &Object, handler: &Value) -> u32 {
        let (written, default) = match self.fields {
            ["lifecycle", ..] => (pod.0.pointer("/spec/terminationGracePeriodSeconds"), 30),
            _ => (handler.get("timeoutSeconds"), 1),
        };
        let seconds = written.and_then(Value::as_u64).and_then(|it| u32::try_from(it).ok());
        seconds.filter(|seconds| *seconds > 0).unwrap_or(default)
    }
}

struct Work<'a> {
    pod: &'a Object,
    request: &'a Request,
    kept: Map<String, Value>,
    takeover: Takeover,
    originals: Map<String, Value>,
    objections: Vec<Objection>,
}

impl Work<'_> {
    fn spot(&mut self, container: ContainerAt<'_>, spot: &Spot) {
        let path = spot.fields.iter().fold(container.path(), |path, field| path.key(field));
        let Some(handler) = path.find(&self.pod.0) else { return };
        let Some(current) = Action::of(handler) else { return };
        let status_path = format!("/probes/{}/{}", container.name(), spot.word);
        let kept = self.kept.get(container.name()).and_then(|it| it.get(spot.word));
        let kept = kept.and_then(Action::of);
        let asks_status_port = current.port_number() == Some(self.request.status_port);
        let is_ours = current.is_get_of(&status_path) && (kept.is_some() || asks_status_port);
        if kept.is_none() && self.is_performed_by_istio(&current) {
            return self.istio(&path);
        }
        let aim = |action: &Action| self.aim(action, container);
        let original = match kept {
            Some(kept) if is_ours => kept,
            None if is_ours => return self.forgotten(&path),
            // Whoever took the probe over after us asks the status port for it.
            Some(kept)
                if pod::own(self.pod).is_some() && matches!(aim(&current), Aim::Elsewhere) =>
            {
                if let Aim::At(port, scheme) = aim(&kept)
                    && let Some(action) = kept.performed(port, scheme)
                {
                    let timeout_seconds = spot.timeout(self.pod, handler);
                    let probe = Probe { path: status_path, action, timeout_seconds };
                    self.perform(container, spot, &kept, probe);
                }
                return;
            }
            Some(_) | None => current.clone(),
        };
        let performed = match aim(&original) {
            Aim::At(port, scheme) => original.performed(port, scheme),
            Aim::Elsewhere => None,
            Aim::Broken(trouble) => {
                self.broken(&path.key(original.kind.field()), trouble);
                None
            }
        };
        let after = match performed {
            Some(action) => {
                let timeout_seconds = spot.timeout(self.pod, handler);
                let probe = Probe { path: status_path.clone(), action, timeout_seconds };
                self.perform(container, spot, &original, probe);
                Action::get(&status_path, self.request.status_port)
            }
            None => original,
        };
        if after != current {
            let Action { kind, value } = after;
            self.takeover.changes.push(Change { path, before: current.kind, after: kind, value });
        }
    }

    /// The sidecar performs `probe` in the stead of `original`.
    fn perform(
        &mut self,
        container: ContainerAt<'_>,
        spot: &Spot,
        original: &Action,
        probe: Probe,
    ) {
        self.takeover.probes.push(probe);
        let of_container = self.originals.entry(container.name()).or_insert_with(|| json!({}));
        if let Some(spots) = of_container.as_object_mut() {
            spots.insert(spot.word.to_owned(), json!({ original.kind.field(): original.value }));
        }
    }

    /// Where an action aims, seen from the containers of this pod.
    fn aim(&self, action: &Action, container: ContainerAt<'_>) -> Aim {
        if action.has_host() {
            return Aim::Elsewhere;
        }
        let Some(port) = self.port(action, container) else { return Aim::Elsewhere };
        let listeners = &self.request.listeners;
        let is_app = listeners.iter().any(|listener| listener.app.port() == Some(port));
        if is_app && self.request.plaintext_door == PlaintextDoor::NotReady {
            return Aim::At(port, action.scheme());
        }
        let Some(listener) = listeners.iter().find(|it| it.listen == port).filter(|_| !is_app)
        else {
            return Aim::Elsewhere;
        };
        match (trouble(action, listener), &listener.app) {
            (None, _) => Aim::Elsewhere,
            // The sidecar ends TLS: behind it there is none.
            (Some(_), App::Port(app)) => Aim::At(*app, ProbeScheme::Http),
            (Some(trouble), App::Socket(_)) => Aim::Broken(format!(
                "the probe aims at port {port} of the sidecar: {trouble}, and the app is on a socket"
            )),
        }
    }

    /// The number of the port, which the container itself may have given a name.
    ///
    /// <https://github.com/kubernetes/kubernetes/blob/v1.34.1/pkg/probe/util.go>, `ResolveContainerPort`
    fn port(&self, action: &Action, container: ContainerAt<'_>) -> Option<u16> {
        if let Some(number) = action.port_number() {
            return Some(number);
        }
        let name = action.port_name()?;
        let declared = container.ports().find(|port| port.name == name).map(|port| port.number);
        let of_sidecar = || {
            let mut listening = self.request.listeners.iter().map(|listener| listener.listen);
            listening.find(|listen| plan::port_name(*listen) == name)
        };
        declared.or_else(of_sidecar)
    }

    fn broken(&mut self, path: &FieldPath, message: String) {
        self.objections.push(Objection {
            code: code::PROBE,
            bearing: Bearing::Breaks,
            path: path.key("port"),
            message,
            help: "probe the app itself, from inside of its container: `exec`".to_owned(),
        });
    }

    /// Whether Istio's agent, which was here first, performs the probe, at the pod's own address, where an
    /// app on loopback does not answer.
    fn is_performed_by_istio(&self, action: &Action) -> bool {
        if self.request.plaintext_door != PlaintextDoor::NotReady
            || !istio::performs(&action.value, "")
        {
            return false;
        }
        let aimed = istio::aim(self.pod, &action.value);
        let app = |port| self.request.listeners.iter().any(|it| it.app.port() == Some(port));
        aimed.is_none_or(app)
    }

    fn istio(&mut self, path: &FieldPath) {
        self.objections.push(Objection {
            code: code::PROBE,
            bearing: Bearing::Warns,
            path: path.key("httpGet"),
            message: "Istio's agent performs this probe at the pod's own address, where an app on loopback does not \
                      answer: the pod never gets ready"
                .to_owned(),
            help: format!(
                "annotate the pod `sidecar.istio.io/rewriteAppHTTPProbers: \"false\"` and \
                 `{}: \"{}\"`: the sidecar performs it then",
                istio::EXCLUDED,
                istio::excluded(self.pod, self.request).1
            ),
        });
    }

    fn forgotten(&mut self, path: &FieldPath) {
        self.objections.push(Objection {
            code: code::PROBE,
            bearing: Bearing::Breaks,
            path: path.key("httpGet"),
            message: format!(
                "the probe asks the container `{CONTAINER}` for one that nobody knows: `{}` does not hold it",
                escape(ORIGINAL_PROBES)
            ),
            help: "write the probe of the app itself; what becomes of it is worked out anew".to_owned(),
        });
    }
}

/// Where an action aims.
enum Aim {
    /// Where it finds what it looks for without our help.
    Elsewhere,
    /// At this port of the app, which kubelet does not reach.
    At(u16, ProbeScheme),
    /// Where nothing answers it; why.
    Broken(String),
}

/// What goes wrong with an action that aims at the port of `listener`: kubelet shows no client
/// certificate, and speaks no TLS unless told.
fn trouble(action: &Action, listener: &Terminate) -> Option<&'static str> {
    let clients = listener.clients.as_ref();
    let wants_certificate = clients.is_some_and(|clients| {
        let asked = action.path();
        let asked = asked.split('?').next().unwrap_or_default();
        let is_exempt = clients.exempt_paths.iter().any(|path| path == asked);
        clients.auth == ClientAuth::Required && !is_exempt
    });
    match (action.kind, action.scheme()) {
        (Kind::HttpGet, ProbeScheme::Https) if wants_certificate => {
            Some("kubelet has no client certificate")
        }
        (Kind::HttpGet, ProbeScheme::Https) => None,
        (Kind::HttpGet | Kind::Grpc, _) => Some("it speaks no TLS"),
        (Kind::TcpSocket, _) => {
            Some("it succeeds whenever the sidecar runs, also where the app does not")
        }
    }
}

/// A DNS label, as names of containers are.
fn is_label(name: &str) -> bool {
    !name.is_empty()
        && name.bytes().all(|it| it.is_ascii_lowercase() || it.is_ascii_digit() || it == b'-')
}

#[cfg(test)]
mod tests;
