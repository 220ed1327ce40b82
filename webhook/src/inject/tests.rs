use std::collections::BTreeMap;

use lasthop_contract::problem::Code;
use lasthop_contract::sidecar_config::{Listener, SidecarConfig};
use serde_json::{Value, json};

use super::*;
use crate::finding::Scope;

mod beside;
mod doors;
mod redirects;

/// A pod as a person writes it, with these annotations beside `lasthop.dev/inject`.
fn pod(annotations: &Value) -> Object {
    let mut all = json!({ name::INJECT: "true", name::TLS_SECRET: "web-tls" });
    let fields = all.as_object_mut().unwrap();
    for (key, value) in annotations.as_object().unwrap() {
        if value.is_null() {
            fields.remove(&format!("{}{key}", name::PREFIX));
        } else {
            fields.insert(format!("{}{key}", name::PREFIX), value.clone());
        }
    }
    Object(json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": "web", "annotations": all },
        "spec": { "containers": [
            { "name": "app", "image": "app:1", "ports": [{ "containerPort": 8080 }] },
        ] },
    }))
}

fn with(mut pod: Object, pointer: &str, value: Value) -> Object {
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    let parent = pod.0.pointer_mut(parent).unwrap();
    match parent {
        Value::Array(list) => list.insert(key.parse().unwrap(), value),
        Value::Object(fields) => {
            fields.insert(key.to_owned(), value);
        }
        _ => panic!("{pointer}"),
    }
    pod
}

fn run(object: &Object) -> Outcome {
    inject(object, "shop", None, &Options::default())
}

fn injected(object: &Object) -> Object {
    let Outcome::Injected { patch, .. } = run(object) else {
        panic!("not injected: {:#?}", run(object))
    };
    let mut value = object.0.clone();
    json_patch::patch(&mut value, &patch).unwrap();
    Object(value)
}

fn config(object: &Object) -> SidecarConfig {
    let env = pod::own(object).unwrap().value.pointer("/env/0/value").unwrap();
    SidecarConfig::parse(env.as_str().unwrap()).unwrap()
}

/// The findings as `LH301 error metadata.annotations[…]`.
fn told(object: &Object) -> Vec<String> {
    run(object)
        .findings()
        .iter()
        .map(|it| format!("{} {} {}", it.code, it.severity.word(), it.path))
        .collect()
}

fn codes(object: &Object) -> Vec<Code> {
    run(object).findings().iter().map(|finding| finding.code).collect()
}

#[test]
fn a_pod_that_asks_gets_a_sidecar_that_can_start() {
    let pod = pod(&json!({
        "client-ca-secret": "alb-ca",
        "allowed-clients": "dns:*.alb.example.com",
        "redirect-port": "8081",
    }));
    let injected = injected(&pod);
    let own = pod::own(&injected).unwrap();
    assert_eq!((own.list, own.index), (pod::List::Init, 0));
    let config = config(&injected);
    let Listener::Terminate(listener) = &config.listeners[0] else { panic!("{config:?}") };
    assert_eq!(listener.tls_secrets, ["tls/web-tls"]);
    assert_eq!(listener.clients.ca_secret.as_deref(), Some("client-ca/alb-ca"));
    assert_eq!(listener.clients.allowed, ["dns:*.alb.example.com"]);
    assert_eq!(config.listeners[1].listen().port(), 8081);
    let mounts: Vec<&str> = own.value["volumeMounts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|mount| mount["mountPath"].as_str().unwrap())
        .collect();
    assert_eq!(
        mounts,
        [
            "/var/run/secrets/lasthop.dev/tls/web-tls",
            "/var/run/secrets/lasthop.dev/client-ca/alb-ca"
        ]
    );
    assert_eq!(injected.annotation(pod::DEFAULT_CONTAINER), Some("app"));
}

#[test]
fn a_second_injection_does_nothing() {
    let once = injected(&pod(&json!({})));
    let Outcome::Injected { patch, findings } = run(&once) else { panic!("not injected") };
    assert!(patch.0.is_empty() && findings.is_empty(), "{patch} {findings:?}");
}

#[test]
fn a_volume_of_cas_holds_no_private_key() {
    let pod = pod(&json!({ "client-ca-secret": "web-tls", "allowed-clients": "*" }));
    let injected = injected(&pod);
    let volume = &injected.0["spec"]["volumes"][1]["secret"];
    let keys: Vec<&str> = volume["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| item["key"].as_str().unwrap())
        .collect();
    assert_eq!(keys, ["ca.crt", "cacert", "trusted.crt"]);
    assert_eq!(volume["optional"], true);
}

#[test]
fn every_wrong_annotation_is_told_at_once() {
    let pod = pod(&json!({
        "tls-secret": null,
        "client-auth": "requierd",
        "prots": "8443:8080",
        "upstreams": "9001=https://db",
        "protocol.9443": "h2c",
        "sidecar-cpu-limit.8443": "1",
        "status-port": 15444,
    }));
    assert_eq!(
        told(&pod),
        [
            "LH302 error metadata.annotations[lasthop.dev/client-auth]",
            "LH307 error metadata.annotations[lasthop.dev/protocol.9443]",
            "LH301 error metadata.annotations[lasthop.dev/prots]",
            "LH307 error metadata.annotations[lasthop.dev/sidecar-cpu-limit.8443]",
            "LH302 error metadata.annotations[lasthop.dev/status-port]",
            "LH304 error metadata.annotations[lasthop.dev/tls-secret]",
            "LH302 error metadata.annotations[lasthop.dev/upstreams]",
        ]
    );
    let findings = run(&pod);
    assert!(findings.findings()[2].help.contains("lasthop.dev/ports"));
}

#[test]
fn a_ca_without_allowed_clients_is_never_let_through() {
    for pod in [
        pod(&json!({ "client-ca-secret": "ca" })),
        pod(&json!({ "client-ca-secret": "ca", "allowed-clients": " , " })),
    ] {
        let Outcome::Refused { findings } = run(&pod) else { panic!("{:?}", run(&pod)) };
        assert_eq!((findings[0].code, findings[0].scope), (code::ALLOWED_CLIENTS, Scope::Safety));
    }
}

#[test]
fn what_does_nothing_together_is_told() {
    let conflict = |annotations: Value| assert_eq!(codes(&pod(&annotations)), [code::CONFLICT]);
    conflict(json!({ "client-auth": "required" }));
    conflict(json!({ "allowed-clients": "*" }));
    conflict(json!({ "client-ca-secret": "ca", "client-auth": "none" }));
    conflict(json!({ "protocol": "tcp", "identity-headers": "xfcc" }));
    conflict(json!({ "trusted-proxies": "allowed-clients" }));
    conflict(
        json!({ "client-ca-secret": "ca", "allowed-clients": "*", "client-crl-expired": "refuse" }),
    );
    // One listener taken out of what is said to all of them is on purpose.
    let pod = pod(&json!({
        "ports": "8443:8080,9443:9090", "client-ca-secret": "ca", "allowed-clients": "dns:a.example.com",
        "client-auth.9443": "none", "protocol.9443": "tcp", "trusted-proxies": "allowed-clients",
    }));
    let pod = with(pod, "/spec/containers/0/ports/1", json!({ "containerPort": 9090 }));
    assert_eq!(told(&pod), Vec::<String>::new());
    let config = config(&injected(&pod));
    let Listener::Terminate(second) = &config.listeners[1] else { panic!("{config:?}") };
    assert_eq!(second.clients, lasthop_contract::sidecar_config::Clients::default());
}

#[test]
fn what_is_said_to_all_listeners_holds_as_far_as_it_can_at_an_excepted_one() {
    let pod = pod(&json!({
        "ports": "8443:8080,9443:9090", "client-ca-secret": "ca", "allowed-clients": "dns:a.example.com",
        "trusted-proxies": "10.0.0.0/8,allowed-clients", "client-auth.9443": "none",
    }));
    let config = config(&injected(&pod));
    let proxies: Vec<&Vec<String>> = config
        .listeners
        .iter()
        .map(|listener| match listener {
            Listener::Terminate(listener) => &listener.trusted_proxies,
            Listener::Redirect(_) | Listener::Originate(_) => panic!("{config:?}"),
        })
        .collect();
    assert_eq!(*proxies[0], ["10.0.0.0/8", "allowed-clients"]);
    assert_eq!(*proxies[1], ["10.0.0.0/8"]);
}

/// A pod that goes to nodes of these terms alone.
fn bound_to(terms: &Value) -> Object {
    let required =
        json!({"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}});
    with(pod(&json!({})), "/spec/affinity", json!({"nodeAffinity": required}))
}

#[test]
fn a_pod_that_cannot_be_served_is_refused() {
    let refused = |pod: Object, code: Code| {
        let Outcome::Refused { findings } = run(&pod) else { panic!("{:?}", run(&pod)) };
        assert!(
            findings.iter().any(|it| it.code == code && it.scope == Scope::Safety),
            "{findings:?}"
        );
    };
    let plain = || pod(&json!({}));
    refused(with(plain(), "/spec/hostNetwork", json!(true)), code::HOST_NETWORK);
    refused(with(plain(), "/spec/os", json!({"name": "windows"})), code::WINDOWS);
    let selector = json!({"kubernetes.io/os": "windows"});
    refused(with(plain(), "/spec/nodeSelector", selector), code::WINDOWS);
    let windows = json!({"key": "kubernetes.io/os", "operator": "In", "values": ["windows"]});
    refused(bound_to(&json!([{"matchExpressions": [windows]}])), code::WINDOWS);
    let either = json!([{"matchExpressions": [windows]}, {"matchFields": []}]);
    assert!(matches!(run(&bound_to(&either)), Outcome::Injected { .. }));
    let other = json!({"name": "b", "ports": [{"containerPort": 8443}]});
    refused(
        with(pod(&json!({"ports": "8443:8080"})), "/spec/containers/1", other),
        code::PORT_CLASH,
    );
    refused(with(plain(), "/spec/shareProcessNamespace", json!(true)), code::SHARED_PROCESSES);
    let lasthop = json!({"name": "lasthop", "image": "mine"});
    refused(with(plain(), "/spec/containers/1", lasthop), code::CONTAINER_NAME);
    let volume = json!([{"name": "lasthop-tls-web-tls", "emptyDir": {}}]);
    refused(with(plain(), "/spec/volumes", volume), code::VOLUME_NAME);
    refused(with(plain(), "/spec/containers", json!([])), code::SHAPE);
    refused(pod(&json!({"sidecar-image": "evil"})), code::IMAGE);
    refused(pod(&json!({"status-port": "8443"})), code::PORT_CLASH);
    let job = with(pod(&json!({"sidecar-native": "false"})), "/spec/restartPolicy", json!("Never"));
    refused(job, code::JOB);
}

#[test]
fn a_port_clash_names_the_next_free_one() {
    let other = json!({"name": "b", "ports": [{"containerPort": 8443}, {"containerPort": 8444}]});
    let pod = with(pod(&json!({"ports": "8443:8080"})), "/spec/containers/1", other);
    assert!(run(&pod).findings()[0].help.contains("8445:8080"), "{:?}", run(&pod));
}

#[test]
fn the_only_port_of_the_app_is_found_or_asked_for() {
    let none = with(pod(&json!({})), "/spec/containers/0", json!({"name": "quiet"}));
    assert_eq!(config(&injected(&none)).listeners.len(), 1);
    let other = json!({"name": "b", "ports": [{"containerPort": 9090}]});
    let two = with(pod(&json!({})), "/spec/containers/1", other);
    assert_eq!(codes(&two), [code::APP_PORT]);
    let mut named = two;
    named.0["metadata"]["annotations"][pod::DEFAULT_CONTAINER] = json!("app");
    assert!(matches!(run(&named), Outcome::Injected { .. }));
}

#[test]
fn another_injector_may_follow_and_nothing_is_lost() {
    let mut once = injected(&pod(&json!({})));
    // As a mesh does it: a container in front, a token in ours, an init container before ours.
    let proxy = json!({"name": "proxy", "ports": [{"containerPort": 15090}]});
    once = with(once, "/spec/containers/0", proxy);
    once = with(once, "/spec/initContainers/0", json!({"name": "proxy-init"}));
    let token = json!({"name": "kube-api-access-x", "readOnly": true,
        "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"});
    once = with(once, "/spec/initContainers/1/volumeMounts/0", token);
    let twice = injected(&once);
    assert_eq!(twice.0["spec"]["containers"], once.0["spec"]["containers"]);
    assert_eq!(twice.0["spec"]["initContainers"][0]["name"], "proxy-init");
    let mounts = twice.0["spec"]["initContainers"][1]["volumeMounts"].as_array().unwrap();
    assert_eq!(mounts.len(), 2);
    let Outcome::Injected { patch, .. } = run(&twice) else { panic!() };
    assert!(patch.0.is_empty(), "{patch}");
}

#[test]
fn a_forged_sidecar_is_replaced() {
    let real = injected(&pod(&json!({})));
    let mut forged = real.clone();
    let own = forged.0.pointer_mut("/spec/initContainers/0").unwrap();
    own["image"] = json!("evil");
    own["command"] = json!(["/bin/sh"]);
    own["securityContext"]["privileged"] = json!(true);
    own["env"].as_array_mut().unwrap().push(json!({"name": "LASTHOP_KEY_LOG", "value": "/x"}));
    let mount = json!({"name": "v", "mountPath": "/var/run/secrets/lasthop.dev/tls/web-tls"});
    own["volumeMounts"].as_array_mut().unwrap().push(mount);
    assert_eq!(injected(&forged).0["spec"], real.0["spec"]);
}

#[test]
fn a_change_of_annotations_changes_our_parts_alone() {
    let ca = json!({ "client-ca-secret": "ca", "allowed-clients": "*" });
    let first = injected(&pod(&ca));
    let mut second = first;
    let annotations = second.0["metadata"]["annotations"].as_object_mut().unwrap();
    annotations.remove(name::CLIENT_CA_SECRET);
    annotations.remove(name::ALLOWED_CLIENTS);
    annotations.insert(name::SIDECAR_NATIVE.to_owned(), json!("false"));
    let second = injected(&second);
    assert_eq!(second.0["spec"]["volumes"].as_array().unwrap().len(), 1);
    assert_eq!(second.0["spec"]["initContainers"], json!([]));
    assert_eq!(second.0["spec"]["containers"][1]["name"], "lasthop");
    assert!(second.0["spec"]["containers"][1].get("restartPolicy").is_none());
}

#[test]
fn a_probe_that_nobody_can_perform_breaks_and_a_controller_goes_on() {
    let probe = json!({"httpGet": {"port": 15443, "path": "/probes/app/liveness"}});
    let pod = with(pod(&json!({})), "/spec/containers/0/livenessProbe", probe);
    assert_eq!(told(&pod), ["LH326 error spec.containers[0].livenessProbe.httpGet"]);
    let owner = json!([{"kind": "ReplicaSet", "controller": true}]);
    let owned = with(pod, "/metadata/ownerReferences", owner);
    let Outcome::Injected { findings, .. } = run(&owned) else { panic!("{:?}", run(&owned)) };
    assert_eq!(findings[0].severity, Severity::Warning);
}

#[test]
fn a_namespace_switches_on_and_requires() {
    let labels = |value| BTreeMap::from([(name::INJECT, value)]);
    let options = Options::default();
    let asks = pod(&json!({}));
    let quiet = pod(&json!({"inject": null, "tls-secret": null}));
    let never = pod(&json!({"inject": "false"}));
    let run = |pod: &Object, value| inject(pod, "shop", Some(&labels(value)), &options);
    assert!(matches!(run(&asks, "enabled"), Outcome::Injected { .. }));
    assert!(matches!(run(&asks, "true"), Outcome::Injected { .. }));
    assert!(matches!(run(&asks, "required"), Outcome::Injected { .. }));
    assert!(matches!(run(&quiet, "enabled"), Outcome::NotAsked { .. }));
    assert!(matches!(run(&quiet, "required"), Outcome::Refused { .. }));
    assert!(matches!(run(&never, "required"), Outcome::Refused { .. }));
    for (outcome, word) in [
        (run(&asks, "yes"), "inject: yes"),
        (inject(&asks, "shop", Some(&BTreeMap::new()), &options), "kubectl label namespace shop"),
    ] {
        let Outcome::NotAsked { reason: Reason::NamespaceUnlabelled, findings } = outcome else {
            panic!("{outcome:?}")
        };
        let text = format!("{} {}", findings[0].message, findings[0].help);
        assert!(text.contains(word), "{text}");
    }
}

#[test]
fn an_unreadable_wish_is_refused_not_passed_over() {
    for value in [json!("yes"), json!(true), json!(1)] {
        let pod = pod(&json!({ "inject": value }));
        assert_eq!(codes(&pod), [code::VALUE]);
    }
}

#[test]
fn templates_are_judged_and_misplaced_annotations_are_moved() {
    let pod = pod(&json!({"client-auth": "x"}));
    let template = json!({"metadata": pod.0["metadata"], "spec": pod.0["spec"]});
    let job = json!({"spec": {"template": template}});
    let cron = Object(json!({
        "apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "n"},
        "spec": {"jobTemplate": job},
    }));
    assert_eq!(
        told(&cron),
        [
            "LH302 error spec.jobTemplate.spec.template.metadata.annotations[lasthop.dev/client-auth]"
        ]
    );
    let deployment = Object(json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "web", "annotations": {"lasthop.dev/inject": "true"}},
        "spec": {"template": {"spec": {"containers": [{"name": "app"}]}}},
    }));
    let outcome = run(&deployment);
    assert_eq!(outcome.findings().len(), 1);
    let finding = &outcome.findings()[0];
    assert_eq!((finding.code, finding.severity), (code::MISPLACED, Severity::Error));
    assert!(
        finding.help.contains(
            r#"`kubectl patch deployment web -n shop --type merge -p '{"spec":{"template":{"metadata":{"annotations":{"lasthop.dev/inject":"true"}}}}}'`"#
        ),
        "{}",
        finding.help
    );
}

#[test]
fn a_wish_that_is_a_label_is_told_where_it_belongs() {
    let labelled = |value: &str| {
        let quiet = pod(&json!({ "inject": null, "tls-secret": null }));
        with(quiet, "/metadata/labels", json!({ name::INJECT: value }))
    };
    assert_eq!(told(&labelled("true")), ["LH308 error metadata.labels[lasthop.dev/inject]"]);
    assert!(run(&labelled("true")).findings()[0].help.contains("`metadata.annotations`"));
    assert_eq!(told(&labelled("false")), Vec::<String>::new());
    let both = with(pod(&json!({})), "/metadata/labels", json!({ name::INJECT: "true" }));
    assert!(matches!(run(&both), Outcome::Injected { .. }));
    let owner = json!([{"kind": "ReplicaSet", "controller": true}]);
    assert_eq!(
        told(&with(labelled("true"), "/metadata/ownerReferences", owner)),
        Vec::<String>::new()
    );
}

#[test]
fn a_dollar_reaches_the_sidecar_and_not_kubelet() {
    let pod = pod(&json!({ "client-ca-secret": "ca", "allowed-clients": "uri:x://$(HOME)$$/y" }));
    let injected = injected(&pod);
    let raw = pod::own(&injected).unwrap().value.pointer("/env/0/value").unwrap();
    assert!(!raw.as_str().unwrap().contains('$'));
    let Listener::Terminate(listener) = &config(&injected).listeners[0] else { panic!() };
    assert_eq!(listener.clients.allowed, ["uri:x://$(HOME)$$/y"]);
}

#[test]
fn root_in_the_pod_is_not_root_in_the_sidecar() {
    let context = |uid: u64| {
        let pod = with(pod(&json!({})), "/spec/securityContext", json!({"runAsUser": uid}));
        pod::own(&injected(&pod)).unwrap().value["securityContext"].clone()
    };
    assert_eq!(context(0)["runAsUser"], 65_532);
    assert!(context(1000).get("runAsUser").is_none());
}

/// The API server takes a quarter of a MiB of annotations.
#[test]
fn a_quarter_of_a_mebibyte_of_annotations_is_judged_at_once() {
    let started = std::time::Instant::now();
    let most = 256 * 1024;
    for (name, entry) in [
        ("ports", "1:1,"),
        ("ports", "x,"),
        ("tls-secret", "a,"),
        ("tls-secret", "A,"),
        ("allowed-clients", "x,"),
        ("allowed-clients", "dns:a.b,"),
        ("trusted-proxies", "1/1,"),
        ("identity-headers", "x,"),
        ("identity-headers", "xfcc,"),
        ("client-auth-exempt-paths", "/a,"),
        ("client-auth-exempt-paths", "a,"),
        ("proxy-protocol", "x,"),
        ("upstreams", "x,"),
        ("upstreams", "1=tls://a:1,"),
        ("upstream-server-names", "x,"),
    ] {
        let pod = pod(&json!({ "client-ca-secret": "ca", name: entry.repeat(most / entry.len()) }));
        assert!(run(&pod).findings().len() < 30, "{name}");
    }
    let unknown: serde_json::Map<String, Value> =
        (0..most / 16).map(|number| (format!("x{number}"), json!(""))).collect();
    assert!(run(&pod(&Value::Object(unknown))).findings().len() < 30);
    let ports: Vec<String> = (1..=32).map(|port| format!("{port}:40000")).collect();
    let clients = "dns:a.b,".repeat(4096);
    let many = pod(
        &json!({"client-ca-secret": "ca", "ports": ports.join(","), "allowed-clients": clients}),
    );
    // 32 ports below 1024, and one of the app that nobody declares.
    assert_eq!(run(&many).findings().len(), 33);
    // Unoptimised and beside other tests; what grows with the square would need many minutes.
    assert!(started.elapsed().as_secs() < 120, "{:?}", started.elapsed());
}
