//! A pod with any annotations of ours: a sidecar or a reason, and a second look changes nothing.
#![no_main]

use lasthop::inject::{self, Outcome};
use lasthop::object::Object;
use libfuzzer_sys::fuzz_target;
use serde_json::{Map, Value, json};

// Lines of `name=value`.
fuzz_target!(|text: &str| {
    let mut annotations = Map::new();
    annotations.insert("lasthop.dev/inject".to_owned(), "true".into());
    annotations.insert("lasthop.dev/tls-secret".to_owned(), "web".into());
    for line in text.split('\n') {
        let (name, value) = line.split_once('=').unwrap_or((line, ""));
        annotations.insert(format!("lasthop.dev/{name}"), Value::from(value));
    }
    let mut pod = Object(json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": "web", "annotations": annotations },
        "spec": { "containers": [{ "name": "app", "image": "app", "ports": [{ "containerPort": 8080 }] }] },
    }));
    let options = inject::Options::default();
    let Outcome::Injected { patch, .. } = inject::inject(&pod, "shop", None, &options) else { return };
    json_patch::patch(&mut pod.0, &patch).expect("the patch fits");
    match inject::inject(&pod, "shop", None, &options) {
        Outcome::Injected { patch, .. } => assert!(patch.0.is_empty(), "{patch}"),
        _ => panic!("what was injected is refused"),
    }
});
