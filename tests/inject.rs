//! `lasthop inject`: manifests of real-life shapes, before and after.

use std::path::{Path, PathBuf};

use lasthop_tests::golden;
use lasthop_tests::kubernetes::Cluster;
use lasthop_tests::process::{Finished, Program};
use serde_json::{Value, json};

/// The manifests in `cases/inject`, each with the one that it becomes beside it.
fn cases() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("cases/inject");
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let is_input = |path: &PathBuf| {
        let name = path.to_string_lossy();
        name.ends_with(".yaml") && !name.ends_with(".injected.yaml")
    };
    let mut cases: Vec<PathBuf> = entries.filter(is_input).collect();
    cases.sort();
    assert!(cases.len() >= 12, "{cases:?}");
    cases
}

fn inject(arguments: &[&str], input: &str) -> Finished {
    Program::ours("lasthop").args(["inject", "-f", "-"]).args(arguments).input(input).run()
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap()
}

#[test]
fn manifests_become_what_a_person_has_read() {
    for case in cases() {
        let output = inject(&[], &read(&case)).expect_success().stdout;
        golden::check(case.with_extension("injected.yaml"), &output, &[]);
    }
}

#[test]
fn a_second_injection_changes_not_a_byte() {
    for case in cases() {
        let once = inject(&[], &read(&case)).expect_success().stdout;
        let twice = inject(&[], &once).expect_success().stdout;
        assert!(once == twice, "{}\n{}", case.display(), golden::diff(&once, &twice));
    }
}

const POD: &str = "\
apiVersion: v1
kind: Pod
metadata:
  name: web
  annotations:
    lasthop.dev/inject: \"true\"
    lasthop.dev/tls-secret: web-tls
spec:
  containers:
  - name: app
    image: app:1
    ports:
    - containerPort: 8080
";

#[test]
fn the_diff_shows_what_is_added_and_takes_nothing_away() {
    let diff = inject(&["-o", "diff"], POD).expect_success().stdout;
    assert!(
        diff.starts_with("--- Pod default/web as it is\n+++ Pod default/web with the sidecar\n")
    );
    assert!(diff.contains("\n+  - name: lasthop\n"), "{diff}");
    assert!(!diff.lines().skip(2).any(|line| line.starts_with('-')), "{diff}");
}

#[test]
fn the_patch_makes_the_object_that_is_printed_as_json() {
    let patches: Value =
        serde_json::from_str(&inject(&["-o", "patch"], POD).expect_success().stdout).unwrap();
    assert_eq!(
        patches[0]["object"],
        json!({"apiVersion": "v1", "kind": "Pod", "namespace": "default", "name": "web"})
    );
    let patch: json_patch::Patch = serde_json::from_value(patches[0]["patch"].clone()).unwrap();
    let mut pod: Value = serde_saphyr::from_str(POD).unwrap();
    json_patch::patch(&mut pod, &patch).unwrap();
    let printed = inject(&["-o", "json"], POD).expect_success().stdout;
    assert_eq!(pod, serde_json::from_str::<Value>(&printed).unwrap());
}

#[test]
fn a_pod_that_cannot_have_the_sidecar_prints_nothing_but_why() {
    let node = POD.replace("spec:\n", "spec:\n  hostNetwork: true\n");
    let refused = inject(&[], &format!("{POD}---\n{node}"));
    assert_eq!((refused.code(), refused.stdout.as_str()), (1, ""));
    assert!(refused.stderr.contains("error[LH320]"), "{}", refused.stderr);
    assert!(refused.stderr.contains("<stdin>:23:16"), "{}", refused.stderr);
}

#[test]
fn what_cannot_be_read_is_no_manifest() {
    for input in ["", "a: [", "just text", "# nothing\n", "a: 1\n"] {
        let finished = inject(&[], input);
        assert_eq!((finished.code(), finished.stdout.as_str()), (2, ""), "{input}");
        assert!(finished.stderr.starts_with("error: "), "{}", finished.stderr);
    }
    let missing = Program::ours("lasthop").args(["inject", "-f", "/nowhere/x.yaml"]).run();
    assert_eq!(missing.code(), 2);
    let flag = inject(&["--sidecar-memory-limit", "128m"], POD);
    assert_eq!(flag.code(), 2);
}

#[test]
fn the_flags_of_the_operator_hold_for_every_sidecar() {
    let flags = [
        "-o",
        "json",
        "--sidecar-image",
        "registry.example.com/sidecar:2",
        "--sidecar-native=false",
        "--sidecar-cpu-request=25m",
        "--sidecar-drain-delay=9s",
    ];
    let pod: Value = serde_json::from_str(&inject(&flags, POD).expect_success().stdout).unwrap();
    let sidecar = &pod["spec"]["containers"][1];
    assert_eq!(sidecar["image"], "registry.example.com/sidecar:2");
    assert_eq!(sidecar["resources"]["requests"]["cpu"], "25m");
    let document = sidecar["env"][0]["value"].as_str().unwrap();
    let config: Value = serde_json::from_str(document).unwrap();
    assert_eq!(config["drain"]["delaySeconds"], 9);
}

/// The namespace of an object, and the labels that its own manifest gives it.
fn namespaces(manifests: &str) -> Vec<(String, Vec<String>)> {
    let objects: Value =
        serde_json::from_str(&inject(&["-o", "json"], manifests).expect_success().stdout).unwrap();
    let objects = match objects["items"].as_array() {
        Some(items) => items.clone(),
        None => vec![objects],
    };
    let mut found: Vec<(String, Vec<String>)> = Vec::new();
    for object in objects {
        let (name, labels) = match object["kind"].as_str() {
            Some("Namespace") => (&object["metadata"]["name"], &object["metadata"]["labels"]),
            _ => (&object["metadata"]["namespace"], &Value::Null),
        };
        let labels = labels.as_object().into_iter().flatten();
        let labels =
            labels.map(|(key, value)| format!("{key}={}", value.as_str().unwrap())).collect();
        let name = name.as_str().unwrap_or("default").to_owned();
        if found.iter().all(|(other, _)| *other != name) {
            found.push((name, labels));
        }
    }
    found
}

/// The API server fills in defaults, and is strict about fields that it does not know.
#[test]
fn what_is_injected_is_valid_and_stays_so_after_the_api_server_has_filled_in_defaults() {
    let Some(cluster) = Cluster::shared() else { return };
    for case in cases() {
        let name = case.file_name().unwrap().to_string_lossy().into_owned();
        // Fields that the API server does not know; a file with a document that is no object; and
        // one in which nothing is injected.
        let others = ["fields-of-tomorrow", "comments-beside", "namespace-not-labelled"];
        if others.iter().any(|other| name.starts_with(other)) {
            continue;
        }
        let manifests = read(&case);
        for (namespace, labels) in namespaces(&manifests) {
            if namespace != "default" {
                let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
                cluster.namespace(&namespace, &labels);
            }
        }
        let injected = inject(&[], &manifests).expect_success().stdout;
        let create = ["create", "--dry-run=server", "--validate=strict", "-o", "json", "-f", "-"];
        let objects: Vec<String> = injected
            .split("\n---\n")
            .filter(|document| !document.contains("kind: Namespace"))
            .map(|document| cluster.kubectl(&create).input(document).run().expect_success())
            .map(|created| {
                assert!(created.stderr.is_empty(), "{name}: {}", created.stderr);
                created.stdout
            })
            .collect();
        for object in objects {
            let again = inject(&["-o", "patch"], &object).expect_success();
            assert_eq!(again.stdout.trim(), "[]", "{name}");
        }
    }
}
