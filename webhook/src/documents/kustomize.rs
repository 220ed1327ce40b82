//! Patches among manifests: they have the kind and the name of an object, and are but a part of it.
//!
//! <https://kubectl.docs.kubernetes.io/references/kustomize/kustomization/>

use std::path::{Component, Path, PathBuf};

use serde_json::Value;

/// The names under which kustomize looks for its own file; kind and version may be left out there.
const NAMES: [&str; 3] = ["kustomization.yaml", "kustomization.yml", "Kustomization"];

/// The files that `value`, read from `file`, has kustomize apply as patches.
pub(super) fn patches_of(file: &str, value: &Value) -> Vec<PathBuf> {
    let path = Path::new(file);
    let is_named = path.file_name().is_some_and(|name| NAMES.iter().any(|it| name == *it));
    let version = value.get("apiVersion").and_then(Value::as_str).unwrap_or_default();
    if !is_named && !version.starts_with("kustomize.config.k8s.io/") {
        return Vec::new();
    }
    let list = |key: &str| value.get(key).and_then(Value::as_array).into_iter().flatten();
    let with_path = list("patches").chain(list("patchesJson6902"));
    let with_path = with_path.filter_map(|it| it.get("path")?.as_str());
    // A patch may also stand there itself, which is no path to anything.
    let bare = list("patchesStrategicMerge").filter_map(Value::as_str);
    let beside = path.parent().unwrap_or_else(|| Path::new(""));
    with_path.chain(bare).map(|patch| plain(&beside.join(patch))).collect()
}

/// Whether `file` is one of the `patches`.
pub(super) fn is_among(patches: &[PathBuf], file: &str) -> bool {
    !patches.is_empty() && patches.contains(&plain(Path::new(file)))
}

/// Whether an object says itself that it is to be merged into another.
///
/// <https://github.com/kubernetes/community/blob/master/contributors/devel/sig-api-machinery/strategic-merge-patch.md>
pub(super) fn is_patch(value: &Value) -> bool {
    match value {
        Value::Object(members) => members.iter().any(|(key, value)| {
            let words = ["$patch", "$retainKeys"];
            let starts = ["$setElementOrder/", "$deleteFromPrimitiveList/"];
            words.contains(&key.as_str())
                || starts.iter().any(|it| key.starts_with(it))
                || is_patch(value)
        }),
        Value::Array(items) => items.iter().any(is_patch),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

/// The path without `.`, and without `..` behind a name.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir
                if matches!(plain.components().next_back(), Some(Component::Normal(_))) =>
            {
                plain.pop();
            }
            other => plain.push(other),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_way_to_name_a_patch_is_known() {
        let value = json!({
            "patches": [{"path": "a.yaml"}, {"patch": "- op: remove"}, 7],
            "patchesStrategicMerge": ["./sub/../b.yaml", "kind: Ingress\n"],
            "patchesJson6902": [{"target": {}, "path": "../c.yaml"}],
        });
        let patches = patches_of("overlays/prod/kustomization.yaml", &value);
        for file in ["overlays/prod/a.yaml", "./overlays/prod/b.yaml", "overlays/c.yaml"] {
            assert!(is_among(&patches, file), "{file}: {patches:?}");
        }
        assert!(!is_among(&patches, "overlays/prod/other.yaml"));
        assert!(patches_of("overlays/prod/values.yaml", &value).is_empty());
        let component = json!({
            "apiVersion": "kustomize.config.k8s.io/v1alpha1", "kind": "Component",
            "patches": [{"path": "a.yaml"}],
        });
        assert_eq!(patches_of("tls.yaml", &component), [PathBuf::from("a.yaml")]);
    }

    #[test]
    fn a_directive_anywhere_makes_a_patch() {
        assert!(is_patch(&json!({"spec": {"tls": [{"$patch": "delete", "hosts": ["a"]}]}})));
        assert!(is_patch(&json!({"spec": {"$setElementOrder/tls": []}})));
        assert!(!is_patch(&json!({"spec": {"tls": [{"hosts": ["$patch"]}]}})));
    }
}
