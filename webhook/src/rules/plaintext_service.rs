//! LH330: a Service that leads past the sidecar.

use lasthop_contract::text::escape;

use super::Rule;
use crate::check::{Scene, Setting};
use crate::finding::Finding;
use crate::inject::service::{Astray, Behind, Lead, astray, request_of, selects};
use crate::inject::{self, Maker, code};
use crate::object::{Object, ObjectRef};
use crate::symptom::At;

pub(crate) static RULE: Rule = Rule {
    code: code::PLAINTEXT_SERVICE,
    name: "plaintext-service",
    summary: "a Service leads to the application's plaintext port, past the sidecar",
    why: "The sidecar listens on a port of its own; lasthop never edits Services. One that still names the \
          application's port carries plaintext as before, and who calls it is asked for no certificate. Balancers \
          that speak TLS to it fail with \"wrong version number\".",
    symptoms: &[
        At::IngressNginx.shows(
            "with `backend-protocol: HTTPS` 502 and \"SSL_do_handshake() failed (...:wrong \
             version number)\"; with plaintext nothing",
        ),
        At::Traefik.shows(
            "logs \"tls: first record does not look like a TLS handshake\", and answers 500 or \
             502",
        ),
        At::Curl.shows("\"wrong version number\""),
        At::Sidecar.shows(
            "`lasthop_plaintext_door` is 1 where the application answers on the pod's address",
        ),
    ],
    example: "\
kind: Service
spec:
  ports:
  - port: 443
    targetPort: 8080 # the application",
    cure: "\
kind: Service
spec:
  ports:
  - port: 443
    targetPort: lasthop-8443 # before Kubernetes 1.33: 8443",
    judge: Some(judge),
};

fn judge(scene: &Scene) -> Vec<Finding> {
    let finding = |pair: &Pair<'_>, astray: Astray| {
        let Lead::Application(port) = astray.lead else { return None };
        // The warning on the workload names no other object: the message has to.
        let message = format!(
            "port {} of Service `{}` leads to port {port} of {}, in plaintext past the sidecar",
            astray.port,
            pair.service_name(),
            pair.workload
        );
        let help = if pair.is_headless() {
            // Its name leads to the pods themselves, at whichever port a client asks for.
            // https://kubernetes.io/docs/concepts/services-networking/service/#headless-services
            let listen = astray.listen?;
            format!(
                "the Service is headless, so clients connect to the pods at the port they choose: let them connect \
                 to {listen}, and write `port: {listen}`"
            )
        } else {
            format!("write `targetPort: {}`", astray.target?)
        };
        Some(pair.place(RULE.warning(scene, astray.path, message).help(help)))
    };
    each(scene, finding)
}

/// A Service and a workload whose pods it selects.
pub(super) struct Pair<'a> {
    service: &'a Object,
    namespace: &'a str,
    /// The workload.
    pub(super) workload: ObjectRef,
}

impl Pair<'_> {
    /// The Service's name, to be printed.
    pub(super) fn service_name(&self) -> String {
        escape(self.service.name())
    }

    /// Whether the Service has no address of its own.
    fn is_headless(&self) -> bool {
        self.service.text("/spec/clusterIP") == "None"
    }

    /// The finding at the Service, which is what has to change, whichever of the two is in question.
    pub(super) fn place(&self, mut finding: Finding) -> Finding {
        finding.object = self.service.reference(self.namespace);
        finding.about(self.workload.clone())
    }
}

/// A finding for every port astray of every Service and workload of which one is in question. Among
/// files it is told once, from the side of the Service.
pub(super) fn each(
    scene: &Scene,
    finding: impl Fn(&Pair<'_>, Astray) -> Option<Finding>,
) -> Vec<Finding> {
    // Without sidecars every port is plaintext, which is said of the workload.
    if !inject::is_switched_on_in(&scene.home) {
        return Vec::new();
    }
    let is_service = scene.object.is("", "Service");
    let others = match (&scene.around, scene.setting) {
        (_, Setting::Files) if !is_service => return Vec::new(),
        (around, _) => around.found().map_or(&[][..], Vec::as_slice),
    };
    let mut findings = Vec::new();
    for other in others {
        let (service, workload) =
            if is_service { (&scene.object, other) } else { (other, &scene.object) };
        let Some((pod, request)) = request_of(workload) else { continue };
        if workload.is_being_deleted()
            || Maker::of(workload) == Maker::Controller
            || !selects(service, &pod)
        {
            continue;
        }
        let namespace = &scene.namespace;
        let pair = Pair { service, namespace, workload: workload.reference(namespace) };
        let naming = scene.sidecar.naming_for(&request.knobs);
        let all = astray(service, Behind { pod: &pod, request: &request, naming }).into_iter();
        findings.extend(all.filter_map(|astray| finding(&pair, astray)));
    }
    findings
}
