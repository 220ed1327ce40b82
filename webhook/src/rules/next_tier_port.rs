//! LH606: a next tier at a port that its Service does not have.

use lasthop_contract::annotation as name;
use lasthop_contract::problem::Code;
use lasthop_contract::text::escape;

use super::Rule;
use crate::check::{Portless, Scene};
use crate::finding::Finding;
use crate::inject;
use crate::path::FieldPath;
use crate::symptom::At;

pub(crate) static RULE: Rule = Rule {
    code: Code(606),
    name: "next-tier-port",
    summary: "`lasthop.dev/upstreams` names a port that the Service of the next tier does not have",
    why: "A Service passes on its own ports and no other, whichever the pods behind it listen at: nobody answers at the \
          port. A Service without an address of its own (`clusterIP: None`) is asked for no port: there the pods are \
          reached at whichever is named.",
    symptoms: &[
        At::Application.shows("gets 502 or 504 from its own sidecar"),
        At::Sidecar
            .shows("logs \"the next tier failed\" with the code for one that cannot be reached"),
    ],
    example: "\
kind: Deployment
spec:
  template:
    metadata:
      annotations:
        lasthop.dev/upstreams: 9001=https://orders.shop.svc:8443
---
kind: Service
metadata:
  name: orders
spec:
  ports:
  - port: 443
    targetPort: lasthop-8443",
    cure: "\
kind: Deployment
spec:
  template:
    metadata:
      annotations:
        lasthop.dev/upstreams: 9001=https://orders.shop.svc:443",
    judge: Some(judge),
};

fn judge(scene: &Scene) -> Vec<Finding> {
    scene.portless.iter().filter(|it| has_sidecar(scene, it)).map(|it| finding(scene, it)).collect()
}

/// Without the label there is no sidecar that connects, which is said of the workload.
fn has_sidecar(scene: &Scene, portless: &Portless) -> bool {
    portless.outlet.workload.namespace != scene.namespace || inject::is_switched_on_in(&scene.home)
}

fn finding(scene: &Scene, Portless { outlet, service, ports, severity }: &Portless) -> Finding {
    let originate = &outlet.originate;
    let (upstream, listen) = (&originate.upstream, originate.listen.port());
    let has: Vec<String> = ports.iter().map(ToString::to_string).collect();
    let has = match has.as_slice() {
        [] => "none for TCP".to_owned(),
        [one] => format!("{one} alone"),
        [.., _] => has.join(", "),
    };
    let port = upstream.port();
    let at_service = *service == scene.name();
    let (path, message) = if at_service {
        let message = format!(
            "{} connects to port {port} as `{}`, and the Service has {has}",
            outlet.workload,
            outlet.annotation(name::UPSTREAMS)
        );
        (FieldPath::of(["spec", "ports"]), message)
    } else {
        let message = format!("the next tier is port {port} of {service}, which has {has}");
        (outlet.field(name::UPSTREAMS), message)
    };
    let help = match ports.as_slice() {
        [one] if !at_service => {
            let whole = upstream.to_string();
            let host = whole.rsplit_once(':').map_or("", |(host, _)| host);
            format!("write `{listen}={}:{one}`, or give the Service that port", escape(host))
        }
        _ if at_service => format!("add `port: {port}` to the Service, or change the annotation"),
        _ => "name one of these ports, or give the Service that one".to_owned(),
    };
    Finding::new(RULE.code, *severity, scene.name(), path, message).help(help)
}
