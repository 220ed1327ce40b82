//! LH335: a Service that names a port of a native sidecar in a cluster where Services do not see it.

use lasthop_contract::text::escape;

use super::Rule;
use super::plaintext_service::{Pair, each};
use crate::check::Scene;
use crate::finding::Finding;
use crate::inject::code;
use crate::inject::service::{Astray, Lead};
use crate::symptom::At;

pub(crate) static RULE: Rule = Rule {
    code: code::SERVICE_PORT_UNSEEN,
    name: "service-port-unseen",
    summary: "a Service names a port of the sidecar, which it cannot before Kubernetes 1.33",
    why: "A native sidecar is an init container, and before Kubernetes 1.33 a Service looks for the names of ports among \
          the other containers alone: it gets no endpoints, and who calls it is refused the connection. A number \
          leads to the sidecar in every version.",
    symptoms: &[
        At::Kubernetes.shows("`kubectl get endpointslices` shows the Service without endpoints"),
        At::IngressNginx
            .shows("answers 503 and logs \"Service ... does not have any active Endpoint\""),
        At::Curl.shows("\"Connection refused\" at the Service's address"),
    ],
    example: "\
kind: Service # in Kubernetes 1.32
spec:
  ports:
  - port: 443
    targetPort: lasthop-8443",
    cure: "\
kind: Service
spec:
  ports:
  - port: 443
    targetPort: 8443",
    judge: Some(judge),
};

fn judge(scene: &Scene) -> Vec<Finding> {
    let version = scene.sidecar.cluster_version.map(|it| it.to_string()).unwrap_or_default();
    let finding = |pair: &Pair<'_>, astray: Astray| {
        let Lead::Unseen(name) = astray.lead else { return None };
        let message = format!(
            "port {} of Service `{}` leads nowhere: in Kubernetes {version} a Service does not see \
             `{}`, a port of the native sidecar of {}",
            astray.port,
            pair.service_name(),
            escape(&name),
            pair.workload
        );
        let help = format!("write `targetPort: {}`", astray.target?);
        Some(pair.place(RULE.warning(scene, astray.path, message).help(help)))
    };
    each(scene, finding)
}
