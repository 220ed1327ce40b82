//! LH210: text that a template engine should have replaced.

use lasthop_contract::problem::Code;
use lasthop_contract::text::escape;

use super::Rule;
use crate::check::Scene;
use crate::finding::Finding;
use crate::path::FieldPath;
use crate::reference::ingress::Ingress;
use crate::reference::ingress_annotations::nginx;

pub(crate) static RULE: Rule = Rule {
    code: Code(210),
    name: "placeholder",
    summary: "a host or Secret name is still a placeholder",
    why: "`${NAME}`, `{{ .Values.name }}` and `<your-host>` are for a tool that runs before `kubectl apply`, such as \
          envsubst or Helm. It did not run, or did not know the name. The API server refuses a host of \
          that kind as \"a lowercase RFC 1123 subdomain must consist of lower case alphanumeric \
          characters\", which says nothing of the cause.",
    example: "\
spec:
  tls:
  - hosts:
    - ${YOUR_CERTIFICATE_COMMON_NAME}
    secretName: router-tls",
    cure: "Write the host itself, or run the tool first: `envsubst < ingress.yaml | kubectl apply -f -`.",
    judge: Some(judge),
};

/// Whether `text` is a placeholder, or holds one.
pub(crate) fn is_placeholder(text: &str) -> bool {
    let marked = |open: &str, close: &str| {
        text.split_once(open).is_some_and(|(_, rest)| rest.contains(close))
    };
    marked("${", "}") || marked("{{", "}}") || marked("$(", ")") || marked("<", ">")
}

fn judge(scene: &Scene) -> Vec<Finding> {
    let Some(ingress) = Ingress::read(&scene.object) else { return Vec::new() };
    let mut fields: Vec<(FieldPath, String)> = Vec::new();
    for item in ingress.tls {
        fields.extend(item.hosts.into_iter().map(|at| (at.path, at.host)));
        fields.extend(item.secret.map(|name| (item.path.key("secretName"), name)));
    }
    fields.extend(ingress.rules.into_iter().map(|at| (at.path, at.host)));
    let annotations = ["proxy-ssl-secret", "proxy-ssl-name", "auth-tls-secret"];
    let annotations = annotations.into_iter().filter_map(|name| nginx(&scene.object, name));
    fields.extend(annotations.map(|at| (at.path, at.value)));
    let left = fields.into_iter().filter(|(_, text)| is_placeholder(text));
    left.map(|(path, text)| {
        let message = format!("`{}` is a placeholder that nothing has replaced", escape(&text));
        RULE.error(scene, path, message).help(
            "write the value itself, or run the tool that fills it in, such as `envsubst < FILE`",
        )
    })
    .collect()
}
