//! LH201: the Secret is not there.

use lasthop_contract::problem::Code;
use lasthop_contract::text::escape;

use super::Rule;
use crate::check::{Nearest, Scene, Setting, Sight};
use crate::finding::Finding;
use crate::path::Step;
use crate::reference::{self, Holder, Role, Weight, istio_gateway};
use crate::surroundings::Sighting;
use crate::symptom::At;

pub(crate) static RULE: Rule = Rule {
    code: Code(201),
    name: "secret-missing",
    summary: "the Secret that is named does not exist",
    why: "The API server stores an Ingress without looking at its Secrets, and the controller finds none. A Secret \
          is looked for in the namespace of the object that names it, never in another one.",
    symptoms: &[
        At::IngressNginx.shows(
            "logs \"Error getting SSL certificate ...: local SSL certificate ... was not found. \
             Using default certificate\" and serves its \"Kubernetes Ingress Controller Fake \
             Certificate\"",
        ),
        At::Traefik.shows(
            "logs \"Error loading TLS certificates, defaulting to default certificate\" and \
             serves \"TRAEFIK DEFAULT CERT\"",
        ),
        At::Istio.shows(
            "istiod warns \"secret ... not found\", clients are cut off; `istioctl analyze` says \
             IST0101",
        ),
        At::GatewayApi.shows("`ResolvedRefs: False`, reason `InvalidCertificateRef`"),
        At::Avi.shows("the virtual service for the host is not made"),
        At::Kubernetes
            .shows("a pod that mounts it stays in `ContainerCreating`, event `FailedMount`"),
    ],
    example: "\
# Secret app-router-tls in namespace application, Ingress in namespace web:
spec:
  tls:
  - hosts: [shop.example.com]
    secretName: router-tls",
    cure: "Write the name of a Secret of the same namespace, or make the Secret first: `kubectl create secret \
           tls router-tls -n web --cert=FILE --key=FILE`. Where something makes it that lasthop does not \
           know, `lasthop.dev/missing-secret: warn` on the Ingress or its namespace turns the error into \
           a warning. In a dry-run it is a warning already: the same apply may bring the Secret. So it is \
           where an annotation of a cloud's controller names a certificate that is no Secret.",
    judge: Some(judge),
};

fn judge(scene: &Scene) -> Vec<Finding> {
    scene.references.iter().filter_map(|sight| judge_one(scene, sight)).collect()
}

fn judge_one(scene: &Scene, sight: &Sight) -> Option<Finding> {
    let reference = &sight.reference;
    let (called, namespace) = (reference.called(), escape(&reference.namespace));
    if super::placeholder::is_placeholder(&reference.secret)
        || super::secret_name::fault(sight).is_some()
        // The rule mutual-without-ca knows whether it has to be there.
        || reference.role == Role::GatewayClientCa
    {
        return None;
    }
    let path = reference.path.clone();
    let finding = match (&sight.secret, &sight.maker) {
        (Sighting::Found(_), _) | (_, Sighting::Found(_)) => return None,
        (Sighting::Missing, Sighting::Missing) => {
            let message = format!("{called} does not exist in namespace `{namespace}`");
            match reference::cloud_certificate(&scene.object, reference) {
                Some(annotation) => RULE.warning(
                    scene,
                    path,
                    format!(
                        "{message}; the certificate that annotation `{annotation}` names is served \
                         where the controller knows it"
                    ),
                ),
                None if only_warns(scene, sight) => RULE.warning(scene, path, message),
                None => RULE.error(scene, path, message),
            }
        }
        (Sighting::Missing, Sighting::Unknown(why)) => RULE.warning(
            scene,
            path,
            format!(
                "{called} does not exist in namespace `{namespace}`, and whether something \
                 makes it could not be found out: {why}"
            ),
        ),
        // Nobody knows whether it is there, but a slip of the pen is likely.
        (Sighting::Unknown(_), _) if sight.nearest.is_some() && scene.setting == Setting::Files => {
            let message = format!("{called} of namespace `{namespace}` is not among the files");
            RULE.warning(scene, path, message)
        }
        (Sighting::Unknown(_), _) => return None,
    };
    let finding = finding.help(help(scene, sight));
    match (&sight.nearest, reference.path.steps().last()) {
        (Some(Nearest { namespace, name }), Some(Step::Key(field)))
            if *namespace == reference.namespace
                && matches!(field.as_str(), "secretName" | "credentialName") =>
        {
            Some(finding.suggest(format!("{field}: {}", escape(name))))
        }
        _ => Some(finding),
    }
}

/// Whether the absence only warns: as the reference weighs, unless it is absent in every namespace
/// where the pods of an Istio Gateway are.
fn only_warns(scene: &Scene, sight: &Sight) -> bool {
    let this = &sight.reference;
    // A ConfigMap is made by whoever distributes CAs, in every namespace and after the fact.
    if this.holder == Holder::ConfigMap {
        return true;
    }
    if this.weight == Weight::Refuses {
        return false;
    }
    let is_gateway = matches!(this.role, Role::GatewayServer | Role::MutualGatewayServer);
    let mut same = scene.references.iter().filter(|other| {
        let other = &other.reference;
        other.path == this.path && other.secret == this.secret && other.role == this.role
    });
    let all = same.clone().count();
    let absent =
        |it: &Sight| matches!((&it.secret, &it.maker), (Sighting::Missing, Sighting::Missing));
    !(is_gateway && (2..istio_gateway::MOST_NAMESPACES).contains(&all) && same.all(absent))
}

/// The kind and the contents of a Secret for this role, as `kubectl create secret` takes them.
fn creation(role: Role, name: &str) -> (String, &'static str) {
    match role {
        Role::IngressServer
        | Role::SidecarServer
        | Role::SidecarUpstreamClient
        | Role::GatewayServer
        | Role::ListenerServer
        | Role::GatewayBackendClient
        | Role::ControllerServer => (format!("tls {name}"), "--cert=FILE --key=FILE"),
        Role::BackendClient | Role::VerifyingBackendClient => (
            format!("generic {name}"),
            "--from-file=tls.crt=FILE --from-file=tls.key=FILE --from-file=ca.crt=FILE",
        ),
        Role::AlbClient => (
            format!("generic {name}"),
            "--from-file=client.crt=FILE --from-file=client.key=FILE --from-file=trusted.crt=FILE",
        ),
        Role::MutualGatewayServer => (
            format!("generic {name}"),
            "--from-file=cert=FILE --from-file=key=FILE --from-file=cacert=FILE",
        ),
        Role::HostClientCa => (format!("generic {name}"), "--from-file=tls.crt=FILE"),
        Role::GatewayClientCa
        | Role::ListenerClientCa
        | Role::GatewayBackendCa
        | Role::IngressClientCa
        | Role::SidecarClientCa
        | Role::SidecarUpstreamCa => (format!("generic {name}"), "--from-file=ca.crt=FILE"),
        Role::SidecarClientCrl => (format!("generic {name}"), "--from-file=ca.crl=FILE"),
    }
}

fn help(scene: &Scene, sight: &Sight) -> String {
    let reference = &sight.reference;
    let (name, namespace) = (escape(&reference.secret), escape(&reference.namespace));
    let kind = escape(scene.object.kind());
    match &sight.nearest {
        Some(near) if near.namespace == reference.namespace => {
            format!("did you mean `{}`?", escape(&near.name))
        }
        Some(near) if near.namespace == scene.namespace => {
            let (here, near) = (escape(&near.namespace), escape(&near.name));
            format!(
                "there is `{near}` in namespace `{here}`, but it is read from namespace `{namespace}`: \
                 create it there"
            )
        }
        Some(near) => {
            let (there, near) = (escape(&near.namespace), escape(&near.name));
            format!(
                "there is `{near}` in namespace `{there}`, but this {kind} reads Secrets of namespace \
                 `{namespace}` only: create `{name}` there, or move the {kind} to namespace `{there}` and \
                 name `{near}`"
            )
        }
        None if reference.holder == Holder::ConfigMap => format!(
            "create it: `kubectl create configmap {name} -n {namespace} --from-file=ca.crt=FILE`"
        ),
        None => format!(
            "create it first, or apply again once it is there: \
             `kubectl create secret {} -n {namespace} {}`; where something makes it that lasthop does \
             not know, annotate `lasthop.dev/missing-secret: warn`",
            creation(reference.role, &name).0,
            creation(reference.role, &name).1,
        ),
    }
}
