//! LH202: the Secret is not there yet, and something will make it.

use lasthop_contract::problem::Code;
use lasthop_contract::text::escape;

use super::Rule;
use crate::check::{Maker, Scene, Sight};
use crate::finding::Finding;
use crate::object::ObjectRef;
use crate::reference::{AZURE_KEY_VAULT, TRAEFIK_RESOLVER};
use crate::surroundings::Sighting;
use crate::symptom::At;

pub(crate) static RULE: Rule = Rule {
    code: Code(202),
    name: "secret-awaited",
    summary: "the Secret does not exist yet, and something will make it",
    why: "cert-manager needs the Ingress or Gateway before it makes the Secret, so that is let in. Where the \
          issuer never succeeds the hosts stay without a certificate.",
    symptoms: &[
        At::IngressNginx.shows(
            "logs \"Error getting SSL certificate ...: local SSL certificate ... was not found. \
             Using default certificate\" and serves its \"Kubernetes Ingress Controller Fake \
             Certificate\"",
        ),
        At::Istio.shows("clients are cut off until the Secret is there"),
        At::GatewayApi.shows("`ResolvedRefs: False` until then"),
        At::CertManager.shows("`kubectl get certificate` shows `READY False`"),
    ],
    example: "\
metadata:
  annotations:
    cert-manager.io/cluster-issuer: letsencrypt
spec:
  tls:
  - hosts: [shop.example.com]
    secretName: shop-tls # not there yet",
    cure: "Wait. Where cert-manager makes it, `kubectl get certificate,certificaterequest,order,challenge` shows how \
           far it is; where something else does, the object that the message names. `kubectl describe` of the one that \
           is not ready says what keeps it.",
    judge: Some(judge),
};

fn judge(scene: &Scene) -> Vec<Finding> {
    scene.references.iter().filter_map(|sight| judge_one(scene, sight)).collect()
}

fn judge_one(scene: &Scene, sight: &Sight) -> Option<Finding> {
    let (Sighting::Missing, Sighting::Found(maker)) = (&sight.secret, &sight.maker) else {
        return None;
    };
    let reference = &sight.reference;
    let name = escape(&reference.secret);
    let message = match maker {
        Maker::Annotation(resolver) if resolver == TRAEFIK_RESOLVER => format!(
            "Secret `{name}` does not exist, and annotation `{resolver}` has Traefik get the certificate itself"
        ),
        _ => format!("Secret `{name}` does not exist yet; {}", words(maker)),
    };
    let namespace = escape(&reference.namespace);
    let help = match maker {
        Maker::Annotation(name) if name == AZURE_KEY_VAULT => {
            format!("`kubectl get secretproviderclass -n {namespace}` shows how far it is")
        }
        Maker::Annotation(name) if name == TRAEFIK_RESOLVER => {
            "Traefik keeps it in no Secret, so leave `secretName` out; its log shows how far it is"
                .to_owned()
        }
        Maker::Annotation(_) => of_cert_manager(&namespace),
        Maker::Object(object) if is_asker(object) => of_cert_manager(&namespace),
        Maker::Object(ObjectRef { kind, name, .. }) => format!(
            "`kubectl describe {} {} -n {namespace}` shows how far it is",
            escape(&kind.to_ascii_lowercase()),
            escape(name)
        ),
    };
    Some(RULE.warning(scene, reference.path.clone(), message).help(help))
}

/// What makes the Secret, in a phrase.
fn words(maker: &Maker) -> String {
    match maker {
        Maker::Annotation(name) => format!("annotation `{}` asks for it", escape(name)),
        Maker::Object(object) if is_asker(object) => {
            format!("{} asks for it by annotation", escape(&object.to_string()))
        }
        Maker::Object(object) => format!("{} makes it", escape(&object.to_string())),
    }
}

/// Whether cert-manager or the like makes the Secret because of the object.
fn is_asker(object: &ObjectRef) -> bool {
    matches!(object.kind.as_str(), "Gateway" | "Ingress")
}

fn of_cert_manager(namespace: &str) -> String {
    format!("`kubectl get certificate -n {namespace}` shows how far it is")
}
