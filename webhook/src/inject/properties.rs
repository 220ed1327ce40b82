//! What holds for every pod, tried on many.

use std::collections::BTreeSet;

use lasthop_contract::sidecar_config::SidecarConfig;
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

/// Fields that nobody here knows.
fn unknown() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "[ -~äß]{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(2, 6, 3, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..3).prop_map(Value::from),
            btree_map("[a-z]{1,4}", inner, 0..3).prop_map(|it| json!(it)),
        ]
    })
}

fn port() -> impl Strategy<Value = u16> {
    prop::sample::select(vec![80, 8080, 8081, 8443, 8444, 9090, 9443, 15443])
}

/// A probe or hook, the action at its end.
fn probe() -> impl Strategy<Value = (&'static str, Value)> {
    let spots = prop::sample::select(vec!["livenessProbe", "readinessProbe", "lifecycle"]);
    let actions = prop::sample::select(vec!["tcpSocket", "httpGet", "grpc", "exec"]);
    (spots, actions, port(), any::<bool>()).prop_map(|(spot, action, port, is_tls)| {
        let action = if spot == "lifecycle" { "httpGet" } else { action };
        let what = match action {
            "httpGet" if is_tls => json!({"port": port, "scheme": "HTTPS"}),
            "httpGet" => json!({"path": "/healthz", "port": port}),
            "exec" => json!({"command": ["true"]}),
            _ => json!({"port": port}),
        };
        let probe = json!({"novelty": is_tls, action: what});
        let probe = if spot == "lifecycle" { json!({"preStop": probe}) } else { probe };
        (spot, probe)
    })
}

fn container() -> impl Strategy<Value = Value> {
    let ports = vec((port(), prop::sample::select(vec!["TCP", "UDP"])), 0..3);
    let mounts = option::of(vec("[a-z]{1,3}", 0..2));
    let user = option::of(0..3_u64);
    let probe = option::of(probe());
    (ports, mounts, user, probe, unknown()).prop_map(|(ports, mounts, user, probe, novelty)| {
        let ports: Vec<Value> = ports
            .into_iter()
            .map(|(port, protocol)| json!({"containerPort": port, "protocol": protocol}))
            .collect();
        let mut container = json!({"image": "x", "ports": ports, "novelty": novelty});
        let fields = container.as_object_mut().unwrap();
        if let Some(mounts) = mounts {
            let mount = |name| json!({"name": name, "mountPath": format!("/{name}")});
            fields.insert("volumeMounts".into(), mounts.into_iter().map(mount).collect());
        }
        if let Some(user) = user {
            fields.insert("securityContext".into(), json!({"runAsUser": user}));
        }
        if let Some((kind, probe)) = probe {
            fields.insert(kind.into(), probe);
        }
        container
    })
}

/// A list that may be absent or null, with names of its own.
fn list(
    prefix: &'static str,
    item: impl Strategy<Value = Value>,
) -> impl Strategy<Value = Option<Value>> {
    let named = move |items: Vec<Value>| {
        let named = items.into_iter().enumerate().map(|(index, mut item)| {
            item["name"] = format!("{prefix}{index}").into();
            item
        });
        Some(named.collect())
    };
    prop_oneof![Just(None), Just(Some(Value::Null)), vec(item, 0..3).prop_map(named)]
}

/// Annotations that mostly fit together.
fn annotations() -> impl Strategy<Value = Vec<(String, String)>> {
    let choose = |name: &'static str, values: Vec<&'static str>| {
        option::of(prop::sample::select(values))
            .prop_map(move |value| value.map(|it| (format!("lasthop.dev/{name}"), it.to_owned())))
    };
    let ca = option::of((
        prop::sample::select(vec![
            "web-tls",
            "ca",
            "configmap/roots",
            "a.very.long.name-0123456789",
        ]),
        prop::sample::select(vec!["*", "dns:a.example.com,uri:x://$(A)/$$"]),
    ))
    .prop_map(|ca| match ca {
        Some((ca, allowed)) => vec![
            ("lasthop.dev/client-ca-secret".to_owned(), ca.to_owned()),
            ("lasthop.dev/allowed-clients".to_owned(), allowed.to_owned()),
        ],
        None => Vec::new(),
    });
    (
        choose("ports", vec!["8443:8080", "8443:8080,9443:9090", "8444:80"]),
        choose("tls-secret", vec!["web-tls", "web-tls,b.c", "x,y"]),
        choose("redirect-port", vec!["8081", "8085"]),
        choose("hsts", vec!["max-age=60", "max-age=31536000; includeSubDomains"]),
        choose("protocol", vec!["h2c", "http"]),
        choose("sidecar-native", vec!["true", "false"]),
        choose("sidecar-memory-request", vec!["16Mi", "1Gi"]),
        choose("require-loopback", vec!["true", "false"]),
        choose("upstreams", vec!["9001=https://a:443", "9002=tls://b:1,9003=tls://[::1]:2"]),
        ca,
    )
        .prop_map(|(a, b, c, hsts, d, e, f, g, h, ca)| {
            let identity = h.is_some().then(|| {
                let ca = [("upstream-ca-secret", "ca"), ("upstream-client-secret", "web-tls")];
                ca.map(|(key, value)| (format!("lasthop.dev/{key}"), value.to_owned()))
            });
            let identity = identity.into_iter().flatten();
            [a, b, c, hsts, d, e, f, g, h].into_iter().flatten().chain(ca).chain(identity).collect()
        })
}

fn pods() -> impl Strategy<Value = Object> {
    let spec = (
        vec(container(), 1..4),
        list("init", container()),
        list("v", unknown().prop_map(|novelty| json!({"emptyDir": {}, "novelty": novelty}))),
        option::of(0..2_u64),
        unknown(),
    );
    (spec, annotations(), unknown()).prop_map(|(spec, annotations, novelty)| {
        let (containers, init, volumes, user, more) = spec;
        let mut pod = json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "generateName": "web-",
                "annotations": {"other": "x", "lasthop.dev/inject": "true"},
                "novelty": novelty,
            },
            "spec": { "novelty": more },
        });
        let named = containers.into_iter().enumerate().map(|(index, mut container)| {
            container["name"] = format!("app{index}").into();
            container
        });
        pod["spec"]["containers"] = named.collect();
        for (field, value) in [("initContainers", init), ("volumes", volumes)] {
            if let Some(value) = value {
                pod["spec"][field] = value;
            }
        }
        if let Some(user) = user {
            pod["spec"]["securityContext"] = json!({"runAsUser": user});
        }
        for (key, value) in annotations {
            pod["metadata"]["annotations"][key] = value.into();
        }
        Object(pod)
    })
}

fn apply(pod: &Object, patch: &Patch) -> Object {
    let mut value = pod.0.clone();
    json_patch::patch(&mut value, patch).unwrap();
    Object(value)
}

fn run(pod: &Object) -> Outcome {
    inject(pod, "shop", None, &Options::default())
}

/// `injected` with our parts taken out, and lists that are empty then as they were in `original`.
fn without_ours(injected: &Object, original: &Object) -> Value {
    let mut value = injected.0.clone();
    let annotations = value["metadata"]["annotations"].as_object_mut().unwrap();
    let originals = annotations.get(name::ORIGINAL_PROBES).and_then(Value::as_str);
    let originals: Value = serde_json::from_str(originals.unwrap_or("{}")).unwrap();
    for key in [name::STATUS, name::ORIGINAL_PROBES, pod::DEFAULT_CONTAINER] {
        if original.annotation(key).is_none() {
            annotations.shift_remove(key);
        }
    }
    let spec = value["spec"].as_object_mut().unwrap();
    for field in ["initContainers", "containers", "volumes"] {
        let is_ours = |it: &Value| {
            it["name"] == pod::CONTAINER
                || field == "volumes" && it["name"].as_str().unwrap_or("").starts_with("lasthop-")
        };
        if let Some(list) = spec.get_mut(field).and_then(Value::as_array_mut) {
            list.retain(|it| !is_ours(it));
            for container in list {
                give_back(container, &originals);
            }
        }
        let is_empty = spec.get(field) == Some(&json!([]));
        match original.0["spec"].get(field) {
            None if is_empty => {
                spec.shift_remove(field);
            }
            Some(Value::Null) if is_empty => {
                spec[field] = Value::Null;
            }
            _ => {}
        }
    }
    value
}

/// Puts the probes of `container` back as they were.
fn give_back(container: &mut Value, originals: &Value) {
    let name = container["name"].as_str().unwrap_or("").to_owned();
    let spots = [
        ("liveness", "/livenessProbe"),
        ("readiness", "/readinessProbe"),
        ("pre-stop", "/lifecycle/preStop"),
    ];
    for (word, pointer) in spots {
        let Some(original) = originals[&name][word].as_object() else { continue };
        let probe = container.pointer_mut(pointer).unwrap().as_object_mut().unwrap();
        probe.shift_remove("httpGet").unwrap();
        probe.extend(original.clone());
    }
}

fn assert_distinct<T: Ord + std::fmt::Debug>(all: Vec<T>) {
    let count = all.len();
    let distinct: BTreeSet<T> = all.into_iter().collect();
    assert_eq!(distinct.len(), count, "{distinct:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn the_patch_adds_our_parts_and_touches_nothing_else(pod in pods()) {
        let Outcome::Injected { patch, .. } = run(&pod) else { return Ok(()) };
        let injected = apply(&pod, &patch);
        prop_assert_eq!(without_ours(&injected, &pod).to_string(), pod.0.to_string());
    }

    #[test]
    fn a_second_injection_is_empty(pod in pods()) {
        let Outcome::Injected { patch, findings } = run(&pod) else { return Ok(()) };
        let injected = apply(&pod, &patch);
        let Outcome::Injected { patch: second, findings: again } = run(&injected) else {
            panic!("{:?}", run(&injected))
        };
        prop_assert!(second.0.is_empty(), "{}", second);
        prop_assert_eq!(again.len(), findings.len());
    }

    #[test]
    fn names_ports_and_mounts_stay_distinct(pod in pods()) {
        let Outcome::Injected { patch, .. } = run(&pod) else { return Ok(()) };
        let injected = apply(&pod, &patch);
        let texts = |list: &[Value], field: &str| -> Vec<String> {
            list.iter().map(|it| it[field].to_string()).collect()
        };
        assert_distinct(pod::all_containers(&injected).map(|it| it.name().to_owned()).collect());
        assert_distinct(texts(injected.list("/spec/volumes"), "name"));
        let own = pod::own(&injected).unwrap();
        assert_distinct(texts(own.value["volumeMounts"].as_array().unwrap(), "mountPath"));
        let ours: BTreeSet<u16> = own.ports().map(|port| port.number).collect();
        assert_distinct(own.ports().map(|port| port.number).collect());
        assert_distinct(own.ports().map(|port| port.name.to_owned()).collect());
        for container in pod::containers(&injected) {
            prop_assert!(container.ports().all(|it| !it.is_tcp || !ours.contains(&it.number)));
        }
        // Every mount has its volume, every path of the configuration its mount.
        let volumes = texts(injected.list("/spec/volumes"), "name");
        let mounts = own.value["volumeMounts"].as_array().unwrap();
        prop_assert!(texts(mounts, "name").iter().all(|name| volumes.contains(name)));
        let document = own.value["env"][0]["value"].as_str().unwrap();
        prop_assert!(!document.contains('$'));
        let config = SidecarConfig::parse(document).unwrap();
        let paths: Vec<String> = texts(mounts, "mountPath");
        for listener in &config.listeners {
            use lasthop_contract::sidecar_config::Listener;
            let named: Vec<&String> = match listener {
                Listener::Terminate(it) => {
                    let clients = it.clients.ca_secret.iter().chain(&it.clients.crl_secret);
                    it.tls_secrets.iter().chain(clients).collect()
                }
                Listener::Originate(it) => it.client_secret.iter().chain(&it.ca_secret).collect(),
                Listener::Redirect(_) => Vec::new(),
            };
            for path in named {
                let mount = json!(format!("/var/run/secrets/lasthop.dev/{path}")).to_string();
                prop_assert!(paths.contains(&mount), "{mount}");
            }
        }
    }

    #[test]
    fn no_annotation_makes_a_panic_or_a_quiet_sidecar(
        name in prop::sample::select(table::TABLE),
        port in option::of("[0-9a-z.]{0,6}"),
        value in "\\PC{0,24}",
    ) {
        let key = format!("{}{}", name.name, port.map(|it| format!(".{it}")).unwrap_or_default());
        let mut pod = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"annotations": {"lasthop.dev/inject": "true", "lasthop.dev/tls-secret": "t"}},
            "spec": {"containers": [{"name": "app", "ports": [{"containerPort": 8080}]}]},
        });
        pod["metadata"]["annotations"][&key] = value.into();
        let pod = Object(pod);
        match run(&pod) {
            Outcome::Injected { patch, .. } => {
                prop_assert!(pod::own(&apply(&pod, &patch)).is_some());
            }
            Outcome::Refused { findings } => prop_assert!(!findings.is_empty()),
            Outcome::NotAsked { reason, .. } => prop_assert_eq!(reason, Reason::OptedOut),
        }
    }
}

#[test]
fn most_of_the_pods_that_are_tried_are_injected() {
    use proptest::strategy::ValueTree as _;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let injected = (0..400)
        .filter(|_| {
            let pod = pods().new_tree(&mut runner).unwrap().current();
            matches!(run(&pod), Outcome::Injected { .. })
        })
        .count();
    assert!(injected > 40, "only {injected} of 400 pods say anything");
}
