//! Pods that nobody has written by hand: generated ones, those that Pod Security itself is tested with, and
//! those with every field that Kubernetes has. What a real API server takes without the sidecar, it takes
//! with it, at the same level and with everything else in its place.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use lasthop_tests::kubernetes::Cluster;
use lasthop_tests::process::{Finished, Program};
use lasthop_tests::suite;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use serde_json::{Map, Value, json};

/// What a container of the level `restricted` says.
fn restricted_container() -> Value {
    json!({ "allowPrivilegeEscalation": false, "capabilities": { "drop": ["ALL"] } })
}

/// What a pod of the level `restricted` says.
fn restricted_pod() -> Value {
    json!({ "runAsNonRoot": true, "seccompProfile": { "type": "RuntimeDefault" } })
}

/// A value or nothing at all.
fn maybe(value: Value) -> impl Strategy<Value = Value> {
    option::of(Just(value)).prop_map(Option::unwrap_or_default)
}

fn one_of(values: Vec<Value>) -> impl Strategy<Value = Value> {
    prop::sample::select(values)
}

/// The members that are there.
fn object(members: Vec<(&str, Value)>) -> Value {
    let there = members.into_iter().filter(|(_, value)| !value.is_null());
    there.map(|(key, value)| (key.to_owned(), value)).collect::<Map<_, _>>().into()
}

fn container_resources() -> impl Strategy<Value = Value> {
    let amounts = |cpu: &str, memory: &str| json!({ "cpu": cpu, "memory": memory });
    one_of(vec![
        Value::Null,
        json!({ "requests": { "cpu": "50m" } }),
        json!({ "requests": amounts("100m", "64Mi"), "limits": amounts("200m", "128Mi") }),
        json!({ "limits": amounts("100m", "64Mi") }),
        json!({ "requests": amounts("100m", "64Mi"), "limits": amounts("100m", "64Mi") }),
        json!({ "limits": { "memory": "64Mi", "ephemeral-storage": "1Gi" } }),
    ])
}

/// For all containers together; more than they ask for.
fn pod_resources() -> impl Strategy<Value = Value> {
    let amounts = json!({ "cpu": "800m", "memory": "512Mi" });
    one_of(vec![
        Value::Null,
        Value::Null,
        json!({ "limits": amounts }),
        json!({ "requests": amounts, "limits": amounts }),
        json!({ "requests": amounts }),
        json!({ "limits": { "memory": "512Mi" } }),
    ])
}

fn probe() -> impl Strategy<Value = Value> {
    one_of(vec![
        Value::Null,
        json!({ "httpGet": { "path": "/healthz", "port": 7070 }, "periodSeconds": 3 }),
        json!({ "tcpSocket": { "port": 7070 } }),
        json!({ "grpc": { "port": 7070, "service": "up" } }),
        json!({ "exec": { "command": ["true"] }, "initialDelaySeconds": 1 }),
    ])
}

fn volume() -> impl Strategy<Value = Value> {
    let claim = json!({ "spec": { "accessModes": ["ReadWriteOnce"], "resources": { "requests": { "storage": "1Gi" } } } });
    one_of(vec![
        json!({ "emptyDir": { "medium": "Memory", "sizeLimit": "16Mi" } }),
        json!({ "configMap": { "name": "settings", "optional": true } }),
        json!({ "secret": { "secretName": "web-tls", "items": [{ "key": "tls.crt", "path": "a" }] } }),
        json!({ "downwardAPI": { "items": [{ "path": "l", "fieldRef": { "fieldPath": "metadata.labels" } }] } }),
        json!({ "projected": { "sources": [{ "secret": { "name": "a" } }, { "configMap": { "name": "b" } }] } }),
        json!({ "ephemeral": { "volumeClaimTemplate": claim } }),
    ])
}

fn container() -> impl Strategy<Value = Value> {
    let ports = option::of(prop::sample::select(vec!["TCP", "UDP", "SCTP"]));
    let environment = one_of(vec![
        Value::Null,
        json!([{ "name": "A", "value": "$(B) $$" }]),
        json!([{ "name": "IP", "valueFrom": { "fieldRef": { "fieldPath": "status.podIP" } } }]),
    ]);
    let hook = maybe(json!({ "preStop": { "sleep": { "seconds": 1 } } }));
    (container_resources(), ports, [probe(), probe(), probe()], environment, hook).prop_map(
        |(resources, protocol, [startup, readiness, liveness], environment, hook)| {
            let port = |it| json!([{ "name": "extra", "containerPort": 7070, "protocol": it }]);
            object(vec![
                ("image", json!("registry.example.com/app:1")),
                ("ports", protocol.map(port).unwrap_or_default()),
                ("resources", resources),
                ("startupProbe", startup),
                ("readinessProbe", readiness),
                ("livenessProbe", liveness),
                ("env", environment),
                ("lifecycle", hook),
                ("securityContext", restricted_container()),
            ])
        },
    )
}

fn init_container() -> impl Strategy<Value = Value> {
    let more = one_of(vec![json!({}), json!({ "restartPolicy": "Always" })]);
    (container_resources(), more).prop_map(|(resources, mut container)| {
        container["image"] = "registry.example.com/init:1".into();
        container["securityContext"] = restricted_container();
        if !resources.is_null() {
            container["resources"] = resources;
        }
        container
    })
}

/// Fields of a pod that are no business of an injector.
fn beside() -> impl Strategy<Value = Value> {
    let spread = json!([{
        "maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": { "matchLabels": { "app": "web" } },
    }]);
    let term = json!({ "topologyKey": "host", "labelSelector": {}, "namespaces": ["other"] });
    let affinity =
        json!({ "podAntiAffinity": { "requiredDuringSchedulingIgnoredDuringExecution": [term] } });
    (
        [maybe(json!("Never")), maybe(spread), maybe(affinity)],
        maybe(json!([{ "name": "example.com/wait" }])),
        maybe(json!([{ "ip": "10.0.0.1", "hostnames": ["db"] }])),
        maybe(json!({ "nameservers": ["10.0.0.10"], "options": [{ "name": "ndots", "value": "2" }] })),
        maybe(json!([{ "key": "x", "operator": "Exists", "tolerationSeconds": 5, "effect": "NoExecute" }])),
        [maybe(json!(false)), maybe(json!({ "name": "linux" })), maybe(json!(60))],
    )
        .prop_map(|(scheduling, gates, aliases, names, tolerations, others)| {
            let [restart, spread, affinity] = scheduling;
            let [links, system, grace] = others;
            object(vec![
                ("restartPolicy", restart),
                ("topologySpreadConstraints", spread),
                ("affinity", affinity),
                ("schedulingGates", gates),
                ("hostAliases", aliases),
                ("dnsConfig", names),
                ("tolerations", tolerations),
                ("enableServiceLinks", links),
                ("os", system),
                ("terminationGracePeriodSeconds", grace),
            ])
        })
}

/// What is asked of the sidecar.
fn wishes() -> impl Strategy<Value = Value> {
    let ca = one_of(vec![
        json!({}),
        json!({ "client-ca-secret": "ca", "allowed-clients": "dns:a.example.com" }),
        json!({ "client-ca-secret": "configmap/roots", "allowed-clients": "*", "client-crl-secret": "l" }),
    ]);
    let ports = one_of(vec![json!("8443:8080"), json!("8443:8080,9443:9090"), json!("443:8080")]);
    let more = one_of(vec![
        json!({}),
        json!({ "redirect-port": "8081", "identity-headers": "rfc9440" }),
        json!({ "upstreams": "9001=https://db.example.com:443", "upstream-client-secret": "me" }),
        json!({ "sidecar-memory-limit": "64Mi", "sidecar-cpu-request": "20m" }),
        json!({ "tls-secret": "web-tls,other.example.com", "protocol": "h2c" }),
        json!({ "require-loopback": "true", "status-port": "15500" }),
    ]);
    (ca, ports, more).prop_map(|(ca, ports, more)| {
        let mut annotations = json!({ "example.com/other": "stays" });
        let basis = json!({ "inject": "true", "tls-secret": "web-tls", "ports": ports });
        for (key, value) in [basis, ca, more].iter().filter_map(Value::as_object).flatten() {
            annotations[format!("lasthop.dev/{key}")] = value.clone();
        }
        annotations
    })
}

/// A pod of the level `restricted` that the API server takes.
fn pods() -> impl Strategy<Value = Value> {
    let parts = (
        vec(container(), 1..4),
        vec(init_container(), 0..3),
        vec(volume(), 0..4),
        pod_resources(),
        beside(),
        wishes(),
    );
    parts.prop_map(|(containers, inits, volumes, resources, mut spec, annotations)| {
        let named = |prefix: &str, list: Vec<Value>| -> Vec<Value> {
            let named = list.into_iter().enumerate().map(|(index, mut it)| {
                it["name"] = format!("{prefix}{index}").into();
                it
            });
            named.collect()
        };
        let volumes = named("volume", volumes);
        let mounts = volumes.iter().map(|volume| {
            let name = volume["name"].as_str().unwrap();
            json!({ "name": name, "mountPath": format!("/data/{name}"), "readOnly": true })
        });
        let mounts: Vec<Value> = mounts.collect();
        let mut containers = named("app", containers);
        containers[0]["volumeMounts"] = mounts.into();
        spec["containers"] = containers.into();
        spec["initContainers"] = named("init", inits).into();
        spec["volumes"] = volumes.into();
        spec["securityContext"] = restricted_pod();
        if !resources.is_null() {
            spec["resources"] = resources;
        }
        let metadata = json!({ "labels": { "app": "web" }, "annotations": annotations });
        json!({ "apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec })
    })
}

fn inject(arguments: &[&str], objects: &[Value]) -> Finished {
    let documents: Vec<String> = objects.iter().map(Value::to_string).collect();
    Program::ours("lasthop")
        .args(["inject", "-f", "-"])
        .args(arguments)
        .input(documents.join("\n---\n"))
        .run()
}

fn list(objects: &[Value]) -> Value {
    json!({ "apiVersion": "v1", "kind": "List", "items": objects })
}

/// The objects as they are after injection.
fn injected(objects: &[Value]) -> Vec<Value> {
    let printed = inject(&["-o", "json"], objects).expect_success().stdout;
    let all: Value = serde_json::from_str(&printed).unwrap();
    all["items"].as_array().cloned().unwrap_or_else(|| vec![all])
}

/// The pods that the API server would take in `namespace`, as it would store them, and what it says of
/// the others.
fn taken(
    cluster: &Cluster,
    namespace: &str,
    pods: &[Value],
    validate: &str,
) -> (BTreeMap<String, Value>, String) {
    let validate = format!("--validate={validate}");
    let create =
        ["create", "--dry-run=server", validate.as_str(), "-n", namespace, "-o", "json", "-f", "-"];
    let (mut named, mut said) = (BTreeMap::new(), String::new());
    // Few enough at once that kubectl ends in its time.
    for some in pods.chunks(150) {
        let created = cluster.kubectl(&create).input(list(some).to_string()).run();
        let stored = serde_json::Deserializer::from_str(&created.stdout).into_iter::<Value>();
        let stored = stored.map(Result::unwrap).flat_map(|it| match it["items"].as_array() {
            Some(items) => items.clone(),
            None => vec![it],
        });
        named.extend(stored.map(|it| (it["metadata"]["name"].as_str().unwrap().to_owned(), it)));
        said += &created.stderr;
    }
    (named, said)
}

/// A pod of a dry-run without what differs each time, and without the sidecar's own parts.
fn without_ours(pod: &Value) -> Value {
    let mut pod = pod.clone();
    let metadata = pod["metadata"].as_object_mut().unwrap();
    metadata.retain(|key, _| !["uid", "creationTimestamp", "namespace"].contains(&key.as_str()));
    let annotations = metadata["annotations"].as_object_mut().unwrap();
    let own = ["lasthop.dev/status", "kubectl.kubernetes.io/default-container"];
    annotations.retain(|key, _| !own.contains(&key.as_str()));
    let spec = pod["spec"].as_object_mut().unwrap();
    for field in ["containers", "initContainers", "volumes"] {
        let Some(list) = spec.get_mut(field).and_then(Value::as_array_mut) else { continue };
        list.retain(|it| {
            let name = it["name"].as_str().unwrap();
            name != "lasthop" && !name.starts_with("lasthop-")
        });
        if list.is_empty() {
            spec.shift_remove(field);
        }
    }
    without_status(&pod)
}

/// As a person would send it; the API server takes over a class of service that stands there.
fn without_status(pod: &Value) -> Value {
    let mut pod = pod.clone();
    pod.as_object_mut().unwrap().shift_remove("status");
    pod
}

/// Whether everything in `there` is in `amounts`, too.
#[track_caller]
fn assert_holds(amounts: &Value, there: &Value) {
    for side in ["requests", "limits"] {
        for (resource, amount) in there[side].as_object().into_iter().flatten() {
            assert_eq!(&amounts[side][resource], amount, "{amounts} {there}");
        }
    }
}

/// The sidecar's ports and mounts are its own.
fn assert_nothing_twice(pod: &Value) {
    let lists = ["initContainers", "containers"].map(|list| pod["spec"][list].as_array());
    let containers: Vec<&Value> = lists.into_iter().flatten().flatten().collect();
    let members = |list: &str, field: &str| -> Vec<String> {
        let all = containers.iter().filter_map(|it| it[list].as_array()).flatten();
        all.map(|member| member[field].to_string()).collect()
    };
    let names: BTreeSet<&str> = containers.iter().map(|it| it["name"].as_str().unwrap()).collect();
    assert_eq!(names.len(), containers.len(), "{pod:#}");
    let own: Vec<&&Value> = containers.iter().filter(|it| it["name"] == "lasthop").collect();
    let [own] = own[..] else { panic!("{pod:#}") };
    let ports = members("ports", "containerPort");
    for port in own["ports"].as_array().unwrap() {
        let number = port["containerPort"].to_string();
        assert_eq!(ports.iter().filter(|it| **it == number).count(), 1, "{pod:#}");
    }
    let mounts = own["volumeMounts"].as_array().unwrap();
    let distinct: BTreeSet<String> = mounts.iter().map(|it| it["mountPath"].to_string()).collect();
    assert_eq!(distinct.len(), mounts.len(), "{pod:#}");
}

fn assert_all(taken: &(BTreeMap<String, Value>, String), pods: &[Value]) {
    let refused: Vec<&Value> = pods
        .iter()
        .filter(|pod| !taken.0.contains_key(pod["metadata"]["name"].as_str().unwrap()))
        .collect();
    if let Some(first) = refused.first() {
        panic!("{} of {} are refused: {}\n{first:#}", refused.len(), pods.len(), taken.1);
    }
}

#[test]
fn every_generated_pod_stays_valid_and_restricted_and_keeps_all_that_it_had() {
    let Some(cluster) = Cluster::shared() else { return };
    let namespace = "generated";
    cluster.namespace(namespace, &["pod-security.kubernetes.io/enforce=restricted"]);
    let mut runner = TestRunner::default();
    let pods: Vec<Value> = (0..runner.config().cases)
        .map(|number| {
            let mut pod = pods().new_tree(&mut runner).unwrap().current();
            pod["metadata"]["name"] = format!("pod-{number}").into();
            pod
        })
        .collect();
    let before = taken(cluster, namespace, &pods, "strict");
    assert_all(&before, &pods);
    // In this order the API server does it: defaults, the webhook, defaults again. And as the command
    // line does it, to manifests without defaults.
    let stored: Vec<Value> = before.0.values().map(without_status).collect();
    for (order, injected) in [("live", injected(&stored)), ("offline", injected(&pods))] {
        let after = taken(cluster, namespace, &injected, "strict");
        assert_all(&after, &injected);
        for (name, pod) in &after.0 {
            assert_nothing_twice(pod);
            let (was, is) = (&before.0[name]["status"], &pod["status"]["qosClass"]);
            let was = &was["qosClass"];
            let kept = if was == "BestEffort" { &json!("Burstable") } else { was };
            assert_eq!(kept, is, "{order}: {pod:#}");
            let stood = &before.0[name]["spec"]["resources"];
            // Of a resource that the pod does not bound, the API server writes down the sum; without the
            // defaults that it filled in before, this holds for requests below the limit, too.
            let mut kept = stood.clone();
            if order == "offline"
                && let Some(requests) = kept["requests"].as_object_mut()
            {
                requests.retain(|resource, amount| stood["limits"][resource] == *amount);
            }
            assert_holds(&pod["spec"]["resources"], &kept);
            if order == "live" {
                let (mut was, mut is) = (without_ours(&before.0[name]), without_ours(pod));
                was["spec"]["resources"].take();
                is["spec"]["resources"].take();
                assert_eq!(was, is, "{name}");
            }
        }
        let again: Vec<Value> = after.0.into_values().collect();
        let again = inject(&["-o", "patch"], &again).expect_success();
        assert_eq!(again.stdout.trim(), "[]", "{order}");
    }
    let quality =
        |wanted: &str| before.0.values().filter(|pod| pod["status"]["qosClass"] == wanted).count();
    // Pods without any amounts are rare among these.
    assert!(quality("Guaranteed") > 0 && quality("Burstable") > 0);
}

/// The pods that Pod Security is tested with, each of which is to pass or fail at a level.
fn fixtures() -> Option<Vec<Value>> {
    let folder = suite::module("k8s.io/pod-security-admission")?.join("test/testdata");
    let mut pods = Vec::new();
    for set in [
        "baseline/v1.34/pass",
        "baseline/v1.34/fail",
        "restricted/v1.34/pass",
        "restricted/v1.34/fail",
    ] {
        for file in files(&folder.join(set)) {
            let text = std::fs::read_to_string(&file).unwrap();
            let mut pod: Value = serde_saphyr::from_str(&text).unwrap();
            pod["metadata"]["name"] = format!("pod-{}", pods.len()).into();
            for (key, value) in
                [("inject", "true"), ("tls-secret", "web-tls"), ("ports", "8443:8080")]
            {
                pod["metadata"]["annotations"][format!("lasthop.dev/{key}")] = value.into();
            }
            pods.push(pod);
        }
    }
    assert!(pods.len() >= 140, "{} in {}", pods.len(), folder.display());
    Some(pods)
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> = entries.collect();
    files.sort();
    files
}

#[test]
fn the_pods_that_pod_security_is_tested_with_keep_their_level() {
    let Some(cluster) = Cluster::shared() else { return };
    let Some(pods) = fixtures() else { return };
    let (mut bare, mut with) = (Vec::new(), Vec::new());
    for pod in pods {
        let printed = inject(&["-o", "json"], std::slice::from_ref(&pod));
        if printed.status.success() {
            with.push(serde_json::from_str(&printed.stdout).unwrap());
            bare.push(pod);
        } else {
            // The network of the node, and Windows, which go with it.
            let why = ["LH320", "LH321"].iter().any(|code| printed.stderr.contains(code));
            assert!(why && printed.stdout.is_empty(), "{pod:#} {printed}");
        }
    }
    let mut kept = BTreeMap::new();
    for level in ["restricted", "baseline", "privileged"] {
        let namespace = format!("fixtures-{level}");
        cluster.namespace(&namespace, &[&format!("pod-security.kubernetes.io/enforce={level}")]);
        let names = |pods: &[Value]| -> BTreeSet<String> {
            taken(cluster, &namespace, pods, "ignore").0.into_keys().collect()
        };
        let (before, after) = (names(&bare), names(&with));
        assert_eq!(before, after, "{level}");
        kept.insert(level, after.len());
    }
    assert!(kept["restricted"] >= 10 && kept["baseline"] > kept["restricted"], "{kept:?}");
    assert!(kept["privileged"] > kept["baseline"] && bare.len() >= 120, "{kept:?} {}", bare.len());
}

#[test]
fn of_the_objects_with_every_field_that_kubernetes_has_nothing_is_lost() {
    let Some(module) = suite::module("k8s.io/api") else { return };
    let folder = module.join("testdata/HEAD");
    let kinds = [
        ("core.v1.Pod", ""),
        ("core.v1.ReplicationController", "/spec/template"),
        ("apps.v1.DaemonSet", "/spec/template"),
        ("apps.v1.Deployment", "/spec/template"),
        ("apps.v1.ReplicaSet", "/spec/template"),
        ("apps.v1.StatefulSet", "/spec/template"),
        ("batch.v1.Job", "/spec/template"),
        ("batch.v1.CronJob", "/spec/jobTemplate/spec/template"),
    ];
    for (kind, at) in kinds {
        let text = std::fs::read_to_string(folder.join(format!("{kind}.json"))).unwrap();
        let mut object: Value = serde_json::from_str(&text).unwrap();
        let pod = object.pointer_mut(at).unwrap();
        // What cannot have a sidecar, or would share its processes with root.
        pod["spec"]["hostNetwork"] = false.into();
        pod["spec"]["shareProcessNamespace"] = false.into();
        for (key, value) in [("inject", "true"), ("tls-secret", "web-tls"), ("ports", "8443:8080")]
        {
            pod["metadata"]["annotations"][format!("lasthop.dev/{key}")] = value.into();
        }
        let [after] = injected(std::slice::from_ref(&object)).try_into().unwrap();
        let mut after: Value = after;
        let pod = after.pointer(at).unwrap();
        assert!(pod["spec"]["initContainers"][0].to_string().contains("LASTHOP_CONFIG"), "{kind}");
        let fields = pod["spec"].as_object().unwrap().len();
        assert!(fields > 35, "{kind} has {fields} fields");
        *after.pointer_mut(at).unwrap() = without_ours(pod);
        let mut before = object.clone();
        *before.pointer_mut(at).unwrap() = without_ours(object.pointer(at).unwrap());
        assert_eq!(after.to_string(), before.to_string(), "{kind}");
    }
}
