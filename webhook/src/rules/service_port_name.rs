//! LH334: a Service that names a port of the sidecar which is none.

use lasthop_contract::text::escape;

use super::Rule;
use super::plaintext_service::{Pair, each};
use crate::check::Scene;
use crate::finding::Finding;
use crate::inject::code;
use crate::inject::service::{Astray, Lead};
use crate::symptom::At;

pub(crate) static RULE: Rule = Rule {
    code: code::SERVICE_PORT_NAME,
    name: "service-port-name",
    summary: "a Service names a port of the sidecar that no listener has",
    why: "The sidecar's ports are called `lasthop-` and the port that the listener has. A Service that names another one \
          gets no endpoints, and who calls it is refused the connection.",
    symptoms: &[
        At::Kubernetes.shows("`kubectl get endpointslices` shows the Service without endpoints"),
        At::IngressNginx
            .shows("answers 503 and logs \"Service ... does not have any active Endpoint\""),
        At::Curl.shows("\"Connection refused\" at the Service's address"),
    ],
    example: "\
kind: Service
spec:
  ports:
  - port: 443
    targetPort: lasthop-9443 # the sidecar listens on 8443",
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
        let Lead::Nowhere(name) = astray.lead else { return None };
        let message = format!(
            "port {} of Service `{}` leads to `{}`, which no listener of {} has",
            astray.port,
            pair.service_name(),
            escape(&name),
            pair.workload
        );
        let finding = RULE.warning(scene, astray.path, message);
        let finding = match astray.target {
            Some(target) => finding.help(format!("write `targetPort: {target}`")),
            None => finding.help("name a port of `lasthop.dev/ports`, behind `lasthop-`"),
        };
        Some(pair.place(finding))
    };
    each(scene, finding)
}
