//! LH215: a Secret goes that something still names.

use lasthop_contract::problem::Code;
use lasthop_contract::text::escape;

use super::Rule;
use crate::check::{Operation, Scene};
use crate::finding::Finding;
use crate::path::FieldPath;
use crate::symptom::At;

pub(crate) static RULE: Rule = Rule {
    code: Code(215),
    name: "secret-in-use",
    summary: "a Secret is being deleted that something still names",
    why: "Controllers notice at once and serve their default certificate for the hosts; running pods keep what they have \
          mounted, and new ones hang in `ContainerCreating`. To replace a Secret, apply the new one over \
          it: deleting and creating leaves a gap.",
    symptoms: &[
        At::IngressNginx
            .shows("serves its \"Kubernetes Ingress Controller Fake Certificate\" for the hosts"),
        At::Istio.shows("istiod warns \"secret ... not found\"; new gateways cut clients off"),
        At::GatewayApi.shows("`ResolvedRefs: False`, reason `InvalidCertificateRef`"),
        At::Kubernetes.shows("new pods stay in `ContainerCreating`, event `FailedMount`"),
    ],
    example: "\
$ kubectl delete secret shop-tls",
    cure: "Delete or change what names the Secret first. To replace its contents: `kubectl create secret tls shop-tls \
           --cert=FILE --key=FILE --dry-run=client -o yaml | kubectl apply -f -`. Where a namespace has \
           `lasthop.dev/missing-secret: enforce`, the deletion is refused.",
    judge: Some(judge),
};

fn judge(scene: &Scene) -> Vec<Finding> {
    if scene.operation != Operation::Delete {
        return Vec::new();
    }
    let users = scene.users.found().into_iter().flatten();
    users
        .map(|user| {
            let hosts = user.hosts();
            let hosts = match &hosts[..] {
                [] => String::new(),
                hosts => format!(" for {}", lasthop_contract::text::list(hosts, 3)),
            };
            let message = format!(
                "Secret `{}` is still named by {} at `{}`{hosts}",
                escape(scene.object.name()),
                user.object,
                user.reference.path
            );
            RULE.warning(scene, FieldPath::of(["metadata", "name"]), message)
                .help("change what names it first; to replace its contents, apply the new one over it")
                .about(user.object.clone())
        })
        .collect()
}
