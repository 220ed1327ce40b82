//! `lasthop inject`: manifests of real-life shapes, before and after.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use lasthop_tests::curl::Curl;
use lasthop_tests::golden;
use lasthop_tests::kubelet::{Kubelet, sidecar_of, variable};
use lasthop_tests::kubernetes::{Cluster, secret_manifest};
use lasthop_tests::pki::{Authority, Pki, Validity};
use lasthop_tests::pod::MOUNT_ROOT;
use lasthop_tests::process::{Finished, Program};
use lasthop_tests::review::Review;
use lasthop_tests::skip;
use serde_json::{Value, json};
use tempfile::TempDir;

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
    assert!(cases.len() >= 48, "{cases:?}");
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

/// The objects of manifests as they are after injection.
fn injected(manifests: &str) -> Vec<Value> {
    let printed = inject(&["-o", "json"], manifests).expect_success().stdout;
    let objects: Value = serde_json::from_str(&printed).unwrap();
    match objects["items"].as_array() {
        Some(items) => items.clone(),
        None => vec![objects],
    }
}

/// The pod that an object is or makes.
fn pod_of(object: &Value) -> Option<&Value> {
    let spec = &object["spec"];
    [&spec["jobTemplate"]["spec"]["template"], &spec["template"], object]
        .into_iter()
        .find(|pod| pod["spec"]["containers"].is_array())
}

/// A Secret or `ConfigMap` that serves every purpose.
fn anything(kind: &str, name: &str, authority: &Authority) -> Value {
    if kind == "ConfigMap" {
        return json!({ "data": { "ca.crt": authority.root_pem() } });
    }
    let mut data = authority.leaf().dns("web.example.com").issue().secret();
    data.insert("cacert".to_owned(), authority.root_pem().into_bytes());
    let list = authority.revocation_list(&[], Validity::days(-1, 30));
    data.insert("ca.crl".to_owned(), list.into_bytes());
    serde_json::from_str(&secret_manifest("default", name, "Opaque", &data)).unwrap()
}

#[test]
fn every_configuration_that_is_written_is_one_that_the_sidecar_takes() {
    let pki = Pki::new();
    let authority = pki.authority("own");
    let mut sidecars = 0;
    for object in cases().iter().flat_map(|case| injected(&read(case))) {
        let Some(pod) = pod_of(&object) else { continue };
        let Ok(container) = sidecar_of(pod) else { continue };
        let home = TempDir::with_prefix("lasthop-inject-").unwrap();
        let mut kubelet = Kubelet::new(pod, container, MOUNT_ROOT, home.path()).unwrap();
        kubelet.sync(|kind, name| Some(anything(kind, name, &authority))).unwrap();
        let _fine = Program::ours("lasthop-sidecar")
            .env("LASTHOP_CONFIG", variable(container, "LASTHOP_CONFIG").unwrap())
            .args(["--check-config", "--secrets-root"])
            .arg(home.path())
            .run()
            .expect_success();
        sidecars += 1;
    }
    assert!(sidecars >= 47, "{sidecars}");
}

#[test]
fn the_webhook_makes_the_same_of_a_pod_as_the_command_line() {
    if skip::lacks(&["curl"]) {
        return;
    }
    let home = TempDir::with_prefix("lasthop-inject-").unwrap();
    let (nothing, ca) = (home.path().join("nothing.yaml"), home.path().join("ca.crt"));
    std::fs::write(&nothing, r#"{"apiVersion": "v1", "kind": "List", "items": []}"#).unwrap();
    let mut webhook = Program::ours("lasthop")
        .args(["serve", "--listen", "127.0.0.1:0", "--surroundings"])
        .args([nothing.as_os_str(), "--ca-file".as_ref(), ca.as_os_str()])
        .start();
    let address = webhook.address("webhook");
    let mutate = |pod: &Value| {
        let curl = Curl::get(&format!("https://{address}/mutate")).trust(&ca);
        Review::create(pod.clone()).ask(curl).expect_allowed().patched(pod)
    };
    let mut pods = 0;
    for case in cases() {
        let manifests = read(&case);
        let documents = manifests.split("\n---\n").map(serde_saphyr::from_str::<Value>);
        for object in documents.map(Result::unwrap) {
            let Some(template) = pod_of(&object) else { continue };
            let mut pod = json!({"apiVersion": "v1", "kind": "Pod"});
            pod["metadata"] = template["metadata"].clone();
            pod["spec"] = template["spec"].clone();
            let once = mutate(&pod);
            assert_eq!(
                injected(&pod.to_string()),
                std::slice::from_ref(&once),
                "{}",
                case.display()
            );
            assert_eq!(mutate(&once), once, "{}", case.display());
            pods += usize::from(sidecar_of(&once).is_ok());
        }
    }
    assert!(pods >= 44, "{pods}");
}

/// The namespace of an object, and the labels that its own manifest gives it.
fn namespaces(manifests: &str) -> Vec<(String, Vec<String>)> {
    let mut found: Vec<(String, Vec<String>)> = Vec::new();
    for object in injected(manifests) {
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
    let mut there = BTreeSet::from(["default".to_owned()]);
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
            if there.insert(namespace.clone()) {
                let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
                cluster.namespace(&namespace, &labels);
            }
        }
        let injected = inject(&[], &manifests).expect_success().stdout;
        let create = ["create", "--validate=strict", "-o", "json", "-f", "-"];
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

/// A pod that a controller would make of a template, under a name of its own in `namespace`.
fn pod_in(namespace: &str, name: &str, template: &Value) -> Value {
    let metadata = &template["metadata"];
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "namespace": namespace, "name": name,
            "labels": metadata["labels"], "annotations": metadata["annotations"],
        },
        "spec": template["spec"],
    })
}

#[test]
fn a_pod_keeps_its_pod_security_level_and_is_really_created() {
    let Some(cluster) = Cluster::shared() else { return };
    let levels = ["restricted", "baseline", "privileged"];
    for level in levels {
        let enforce = format!("pod-security.kubernetes.io/enforce={level}");
        cluster.namespace(&format!("level-{level}"), &[&enforce]);
    }
    let create = |pod: &Value, more: &[&str]| {
        let arguments = [&["create", "--validate=ignore", "-o", "json", "-f", "-"], more].concat();
        cluster.kubectl(&arguments).input(pod.to_string()).run()
    };
    let mut kept: BTreeMap<&str, usize> = BTreeMap::new();
    for (number, case) in cases().iter().enumerate() {
        for (index, document) in read(case).split("\n---\n").enumerate() {
            let Ok(object) = serde_saphyr::from_str::<Value>(document) else { continue };
            let Some(template) = pod_of(&object) else { continue };
            for level in levels {
                let pod =
                    pod_in(&format!("level-{level}"), &format!("p{number}-{index}"), template);
                if !create(&pod, &["--dry-run=server"]).status.success() {
                    continue;
                }
                let [with] = injected(&pod.to_string()).try_into().unwrap();
                let created = create(&with, &[]);
                assert!(created.status.success(), "{}, {level}: {created}", case.display());
                let stored: Value = serde_json::from_str(&created.stdout).unwrap();
                let again = inject(&["-o", "patch"], &stored.to_string()).expect_success();
                assert_eq!(again.stdout.trim(), "[]", "{}", case.display());
                *kept.entry(level).or_default() += usize::from(sidecar_of(&stored).is_ok());
            }
        }
    }
    assert!(kept["restricted"] >= 4 && kept["privileged"] >= 43, "{kept:?}");
}

#[test]
fn the_network_policy_lets_in_what_is_declared_but_the_port_of_the_app() {
    let manifests = read(
        &cases().into_iter().find(|it| it.ends_with("mutual-tls-with-every-probe.yaml")).unwrap(),
    );
    let printed = inject(&["--network-policy"], &manifests).expect_success().stdout;
    let policy: Value = serde_saphyr::from_str(&printed).unwrap();
    assert_eq!(policy["metadata"], json!({ "name": "checkout-lasthop", "namespace": "shop" }));
    let ports = policy["spec"]["ingress"][0]["ports"].as_array().unwrap();
    let numbers: Vec<u64> = ports.iter().map(|port| port["port"].as_u64().unwrap()).collect();
    assert_eq!(numbers, [8443, 15443, 9090, 9100]);
    let selector = &policy["spec"]["podSelector"]["matchLabels"];
    assert_eq!(*selector, json!({ "app": "checkout" }));
    let nothing =
        inject(&["--network-policy"], &POD.replace("inject: \"true\"", "inject: \"false\""));
    assert_eq!(nothing.expect_success().stdout, "");
    assert_eq!(inject(&["--network-policy"], POD).code(), 1, "a pod without labels");
    assert_eq!(inject(&["--network-policy", "-o", "json"], POD).code(), 2);
    if let Some(cluster) = Cluster::shared() {
        let arguments = ["create", "--dry-run=server", "--validate=strict", "-f", "-"];
        cluster.namespace("policies", &[]);
        let here = printed.replace("namespace: shop", "namespace: policies");
        let _valid = cluster.kubectl(&arguments).input(here).run().expect_success();
    }
}
