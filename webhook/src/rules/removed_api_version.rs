//! LH211: an API version of Ingress that is no longer served.

use lasthop_contract::problem::Code;
use lasthop_contract::text::escape;
use serde_json::{Map, Value, json};

use super::Rule;
use crate::check::Scene;
use crate::finding::Finding;
use crate::object::Object;
use crate::path::FieldPath;
use crate::reference::ingress::is_ingress;
use crate::symptom::At;

pub(crate) static RULE: Rule = Rule {
    code: Code(211),
    name: "removed-api-version",
    summary: "the API version of the Ingress was removed from Kubernetes",
    why: "Since Kubernetes 1.22 (2021) an Ingress is `networking.k8s.io/v1`; `extensions/v1beta1` and \
          `networking.k8s.io/v1beta1` are gone. It never reaches an admission webhook, so only `lasthop check` \
          finds it.",
    symptoms: &[At::Apply.shows(
        "`no matches for kind \"Ingress\" in version \"extensions/v1beta1\"`; no controller \
             sees it",
    )],
    example: "\
apiVersion: extensions/v1beta1
kind: Ingress
spec:
  rules:
  - http:
      paths:
      - backend:
          serviceName: web
          servicePort: 80",
    cure: "\
apiVersion: networking.k8s.io/v1
kind: Ingress
spec:
  rules:
  - http:
      paths:
      - path: /
        pathType: ImplementationSpecific
        backend:
          service:
            name: web
            port:
              number: 80",
    judge: Some(judge),
};

fn judge(scene: &Scene) -> Vec<Finding> {
    let object = &scene.object;
    if !is_ingress(object) || object.api_version() == "networking.k8s.io/v1" {
        return Vec::new();
    }
    let version = escape(object.api_version());
    let message = format!("`{version}` is not served by Kubernetes 1.22 and later");
    let finding = RULE
        .error(scene, FieldPath::of(["apiVersion"]), message)
        .help("write `networking.k8s.io/v1`, where backends and paths look different");
    vec![match serde_saphyr::to_string(&v1(object)) {
        Ok(yaml) => finding.suggest(yaml.trim_end()),
        Err(_unprintable) => finding,
    }]
}

/// The object as `networking.k8s.io/v1` has it.
///
/// <https://kubernetes.io/docs/reference/using-api/deprecation-guide/#ingress-v122>
fn v1(object: &Object) -> Value {
    let mut value = object.0.clone();
    if let Some(fields) = value.as_object_mut() {
        fields.insert("apiVersion".to_owned(), json!("networking.k8s.io/v1"));
        fields.shift_remove("status");
    }
    let class = "kubernetes.io/ingress.class";
    let annotations = value.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut);
    let class = annotations.and_then(|annotations| annotations.shift_remove(class));
    if value.pointer("/metadata/annotations") == Some(&json!({}))
        && let Some(metadata) = value.get_mut("metadata").and_then(Value::as_object_mut)
    {
        metadata.shift_remove("annotations");
    }
    let Some(spec) = value.get_mut("spec").and_then(Value::as_object_mut) else { return value };
    let class = class.filter(|_| !spec.contains_key("ingressClassName"));
    let backend = spec.shift_remove("backend").map(|backend| backend_v1(&backend));
    let rest = std::mem::take(spec);
    spec.extend(class.map(|class| ("ingressClassName".to_owned(), class)));
    spec.extend(backend.map(|backend| ("defaultBackend".to_owned(), backend)));
    spec.extend(rest);
    for rule in spec.get_mut("rules").and_then(Value::as_array_mut).into_iter().flatten() {
        let paths = rule.pointer_mut("/http/paths").and_then(Value::as_array_mut);
        for path in paths.into_iter().flatten() {
            *path = path_v1(path);
        }
    }
    value
}

fn path_v1(path: &Value) -> Value {
    let Some(fields) = path.as_object() else { return path.clone() };
    let mut ordered = Map::new();
    ordered.insert("path".to_owned(), fields.get("path").cloned().unwrap_or_else(|| json!("/")));
    let kind = fields.get("pathType").cloned();
    ordered.insert("pathType".to_owned(), kind.unwrap_or_else(|| json!("ImplementationSpecific")));
    if let Some(backend) = fields.get("backend") {
        ordered.insert("backend".to_owned(), backend_v1(backend));
    }
    Value::Object(ordered)
}

fn backend_v1(backend: &Value) -> Value {
    let Some(name) = backend.get("serviceName") else { return backend.clone() };
    let port = match backend.get("servicePort") {
        Some(Value::String(name)) => match name.parse::<u16>() {
            Ok(number) => json!({ "number": number }),
            Err(_name) => json!({ "name": name }),
        },
        Some(number) => json!({ "number": number }),
        None => json!({}),
    };
    json!({ "service": { "name": name, "port": port } })
}
