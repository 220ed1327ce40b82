//! LH210: text that a template engine should have replaced.

use lasthop_contract::problem::Code;
use lasthop_contract::text::escape;

use super::Rule;
use crate::check::{Scene, Setting};
use crate::finding::Finding;
use crate::path::FieldPath;
use crate::reference::Role;
use crate::reference::certificate::is_certificate;
use crate::reference::ingress::Ingress;
use crate::reference::ingress_annotations::nginx;
use crate::symptom::At;

pub(crate) static RULE: Rule = Rule {
    code: Code(210),
    name: "placeholder",
    summary: "a host or Secret name is still a placeholder",
    why: "`${NAME}`, `{{ .Values.name }}` and `<your-host>` are for a tool that runs before `kubectl apply`, such \
          as envsubst or Helm. It did not run, or did not know the name. The API server refuses such a host with \
          words that say nothing of the cause.",
    symptoms: &[
        At::Apply.shows(
            "\"a lowercase RFC 1123 subdomain must consist of lower case alphanumeric \
             characters\" for a host",
        ),
        At::IngressNginx.shows(
            "logs \"Error getting SSL certificate ...: local SSL certificate ... was not found. \
             Using default certificate\" and serves its \"Kubernetes Ingress Controller Fake \
             Certificate\", for the name of a Secret",
        ),
    ],
    example: "\
spec:
  tls:
  - hosts:
    - ${YOUR_CERTIFICATE_COMMON_NAME}
    secretName: router-tls",
    cure: "Write the host itself, or run the tool first: `envsubst < ingress.yaml | kubectl apply -f -`. Where a \
           Kustomization of Flux with `postBuild` is among the files, `${NAME}` is only warned of; so is `$(NAME)` in files, which \
           `kubectl kustomize` fills in.",
    judge: Some(judge),
};

/// Whether `text` is a placeholder, or holds one.
pub(crate) fn is_placeholder(text: &str) -> bool {
    let marked = |open: &str, close: &str| {
        text.split_once(open).is_some_and(|(_, rest)| rest.contains(close))
    };
    marked("${", "}") || marked("{{", "}}") || marked("$(", ")") || marked("<", ">")
}

/// Whether it is a placeholder of the kind that Flux replaces, and of no other.
pub(crate) fn is_variable(text: &str) -> bool {
    let without = text.replace("${", "");
    text.contains("${") && is_placeholder(text) && !is_placeholder(&without)
}

/// Whether it is a variable of kustomize, which the `vars` of a Kustomization replace.
fn is_kustomize_variable(text: &str) -> bool {
    let without = text.replace("$(", "");
    text.contains("$(") && is_placeholder(text) && !is_placeholder(&without)
}

fn judge(scene: &Scene) -> Vec<Finding> {
    let mut fields = match Ingress::read(&scene.object) {
        Some(ingress) => of_ingress(scene, ingress),
        None => of_others(scene),
    };
    fields.retain(|(_, text)| is_placeholder(text));
    fields.dedup();
    fields
        .into_iter()
        .map(|(path, text)| {
            if let Some(by) = scene.substitutes.as_ref().filter(|_| is_variable(&text)) {
                let message = format!("`{}` is not known before {by} fills it in", escape(&text));
                return RULE.warning(scene, path, message).help(
                    "check what comes of it: `flux build kustomization NAME --path DIR | lasthop check -f -`",
                );
            }
            if scene.setting == Setting::Files && is_kustomize_variable(&text) {
                let message = format!("`{}` is not known before kustomize fills it in", escape(&text));
                return RULE
                    .warning(scene, path, message)
                    .help("check what comes of it: `kubectl kustomize DIR | lasthop check -f -`");
            }
            let message = format!("`{}` is a placeholder that nothing has replaced", escape(&text));
            RULE.error(scene, path, message).help(
                "write the value itself, or run the tool that fills it in, such as `envsubst < FILE`",
            )
        })
        .collect()
}

fn of_ingress(scene: &Scene, ingress: Ingress) -> Vec<(FieldPath, String)> {
    let mut fields: Vec<(FieldPath, String)> = Vec::new();
    for item in ingress.tls {
        fields.extend(item.hosts.into_iter().map(|at| (at.path, at.host)));
        fields.extend(item.secret.map(|name| (item.path.key("secretName"), name)));
    }
    fields.extend(ingress.rules.into_iter().map(|at| (at.path, at.host)));
    let annotations = ["proxy-ssl-secret", "proxy-ssl-name", "auth-tls-secret"];
    let annotations = annotations.into_iter().filter_map(|name| nginx(&scene.object, name));
    fields.extend(annotations.map(|at| (at.path, at.value)));
    fields
}

/// The hosts and Secrets of Gateways, Hosts and the like, and what a Certificate asks for. A wrong
/// annotation of a pod is told as such.
fn of_others(scene: &Scene) -> Vec<(FieldPath, String)> {
    let mut fields: Vec<(FieldPath, String)> = Vec::new();
    let of_pod = |role| {
        matches!(
            role,
            Role::SidecarServer
                | Role::SidecarClientCa
                | Role::SidecarClientCrl
                | Role::SidecarUpstreamClient
                | Role::SidecarUpstreamCa
        )
    };
    for reference in scene.references.iter().map(|it| &it.reference).filter(|it| !of_pod(it.role)) {
        let hosts = reference.hosts.iter();
        fields.extend(hosts.map(|at| (at.path.clone(), at.host.clone())));
        // The companion of a credential is written nowhere.
        if reference.role != Role::GatewayClientCa {
            fields.push((reference.path.clone(), reference.secret.clone()));
        }
    }
    if is_certificate(&scene.object) {
        let spec = FieldPath::of(["spec"]);
        let names = scene.object.list("/spec/dnsNames").len();
        let names = (0..names).map(|at| spec.key("dnsNames").index(at));
        let all = [spec.key("secretName"), spec.key("commonName")].into_iter().chain(names);
        fields.extend(all.filter_map(|path| {
            let text = path.find(&scene.object.0)?.as_str()?.to_owned();
            Some((path, text))
        }));
    }
    fields
}
