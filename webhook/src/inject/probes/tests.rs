use lasthop_contract::annotation as name;
use lasthop_contract::sidecar_config::{ProbeAction, SidecarConfig};
use serde_json::{Value, json};

use super::*;
use crate::inject::{Options, Outcome, inject};

/// A pod behind client authentication, with these fields in its container.
fn pod(fields: &Value) -> Object {
    let mut container = json!({
        "name": "app", "image": "app:1",
        "ports": [{ "name": "web", "containerPort": 8080 }, { "name": "admin", "containerPort": 9090 }],
    });
    for (key, value) in fields.as_object().unwrap() {
        container[key] = value.clone();
    }
    Object(json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": "web", "annotations": {
            name::INJECT: "true", name::TLS_SECRET: "web-tls", name::PORTS: "8443:8080",
            name::CLIENT_CA_SECRET: "ca", name::ALLOWED_CLIENTS: "dns:alb.example.com",
        } },
        "spec": { "containers": [container] },
    }))
}

fn annotated(mut pod: Object, key: &str, value: &str) -> Object {
    pod.0["metadata"]["annotations"][key] = json!(value);
    pod
}

fn run(pod: &Object) -> (Object, Vec<String>) {
    let outcome = inject(pod, "shop", None, &Options::default());
    let told = outcome.findings().iter().map(|it| format!("{} {}", it.code, it.path)).collect();
    let Outcome::Injected { patch, .. } = outcome else { return (pod.clone(), told) };
    let mut value = pod.0.clone();
    json_patch::patch(&mut value, &patch).unwrap();
    (Object(value), told)
}

fn injected(pod: &Object) -> Object {
    let (injected, told) = run(pod);
    assert!(told.is_empty(), "{told:?}");
    let (again, _) = run(&injected);
    assert_eq!(again, injected);
    injected
}

fn container(pod: &Object) -> &Value {
    &pod.0["spec"]["containers"][0]
}

fn performed(pod: &Object) -> Vec<Probe> {
    let document = pod::own(pod).unwrap().value.pointer("/env/0/value").unwrap();
    SidecarConfig::parse(document.as_str().unwrap()).unwrap().probes
}

fn asks(word: &str) -> Value {
    json!({ "path": format!("/probes/app/{word}"), "port": 15443, "scheme": "HTTP" })
}

#[test]
fn the_sidecar_performs_what_kubelet_cannot_reach() {
    let hook = json!({ "httpGet": { "port": 8080, "path": "/drain" } });
    let plain = pod(&json!({
        "livenessProbe": { "tcpSocket": { "port": "web" }, "periodSeconds": 7 },
        "readinessProbe": {
            "timeoutSeconds": 3,
            "httpGet": {
                "path": "healthz?deep=1", "port": "web", "scheme": "HTTPS",
                "httpHeaders": [{ "name": "Host", "value": "web.example.com" }],
            },
        },
        "startupProbe": { "grpc": { "port": 8080, "service": "web" }, "failureThreshold": 30 },
        "lifecycle": { "preStop": hook },
    }));
    let injected = injected(&plain);
    let container = container(&injected);
    assert_eq!(
        container["livenessProbe"],
        json!({ "periodSeconds": 7, "httpGet": asks("liveness") })
    );
    assert_eq!(
        container["readinessProbe"],
        json!({ "timeoutSeconds": 3, "httpGet": asks("readiness") })
    );
    assert_eq!(container["startupProbe"]["httpGet"], asks("startup"));
    assert_eq!(container["lifecycle"]["preStop"], json!({ "httpGet": asks("pre-stop") }));
    let at = |word: &str, action, timeout_seconds| Probe {
        path: format!("/probes/app/{word}"),
        action,
        timeout_seconds,
    };
    let get = |path: &str, scheme, headers| ProbeAction::HttpGet {
        port: 8080,
        path: path.to_owned(),
        scheme,
        headers,
    };
    let host = vec![("Host".to_owned(), "web.example.com".to_owned())];
    assert_eq!(
        performed(&injected),
        [
            at("liveness", ProbeAction::TcpSocket { port: 8080 }, 1),
            at("readiness", get("/healthz?deep=1", ProbeScheme::Https, host), 3),
            at("startup", ProbeAction::Grpc { port: 8080, service: "web".to_owned() }, 1),
            at("pre-stop", get("/drain", ProbeScheme::Http, Vec::new()), 30),
        ]
    );
    let originals: Value =
        serde_json::from_str(injected.annotation(ORIGINAL_PROBES).unwrap()).unwrap();
    assert_eq!(originals["app"]["liveness"], json!({ "tcpSocket": { "port": "web" } }));
}

#[test]
fn other_probes_stay_as_they_are() {
    let fields = json!({
        "livenessProbe": { "exec": { "command": ["true"] } },
        "readinessProbe": { "httpGet": { "path": "/", "port": "admin" } },
        "startupProbe": { "httpGet": { "path": "/", "port": 8080, "host": "10.0.0.1" } },
        "lifecycle": { "preStop": { "sleep": { "seconds": 5 } }, "postStart": { "exec": {} } },
    });
    let elsewhere = pod(&fields);
    let after = injected(&elsewhere);
    assert_eq!(container(&after), container(&elsewhere));
    assert_eq!(after.annotation(ORIGINAL_PROBES), None);
    // An app that is on all addresses is reached by kubelet itself.
    let open = json!({ "readinessProbe": { "httpGet": { "path": "/", "port": 8080 } } });
    let open = annotated(pod(&open), name::REQUIRE_LOOPBACK, "false");
    assert_eq!(container(&injected(&open)), container(&open));
}

#[test]
fn a_probe_of_the_sidecars_port_goes_to_the_app_unless_it_works() {
    let aims = |get: Value| pod(&json!({ "readinessProbe": { "httpGet": get } }));
    let app = |path: &str| ProbeAction::HttpGet {
        port: 8080,
        path: path.to_owned(),
        scheme: ProbeScheme::Http,
        headers: Vec::new(),
    };
    for port in [json!(8443), json!("lasthop-8443")] {
        for scheme in ["HTTP", "HTTPS"] {
            let probe = aims(json!({ "path": "/a", "port": port, "scheme": scheme }));
            assert_eq!(performed(&injected(&probe))[0].action, app("/a"), "{port} {scheme}");
        }
    }
    let tls = aims(json!({ "path": "/healthz?x", "port": 8443, "scheme": "HTTPS" }));
    let exempt = annotated(
        tls.clone(),
        name::CLIENT_AUTH_EXEMPT_PATHS,
        "/healthz?x".split('?').next().unwrap(),
    );
    assert_eq!(container(&injected(&exempt)), container(&exempt), "this path needs no certificate");
    let mut anybody = tls;
    for key in [name::CLIENT_CA_SECRET, name::ALLOWED_CLIENTS] {
        anybody.0["metadata"]["annotations"].as_object_mut().unwrap().remove(key);
    }
    assert_eq!(container(&injected(&anybody)), container(&anybody), "nobody needs one");
}

#[test]
fn what_was_taken_over_is_given_back_where_it_is_not_needed_any_more() {
    let probe = json!({ "tcpSocket": { "port": 8080 }, "periodSeconds": 3 });
    let plain = pod(&json!({ "readinessProbe": probe }));
    let once = injected(&plain);
    let open = injected(&annotated(once.clone(), name::REQUIRE_LOOPBACK, "false"));
    assert_eq!(container(&open)["readinessProbe"], probe);
    assert_eq!(open.annotation(ORIGINAL_PROBES), None);
    // Another status port, another port of the app: worked out anew, from the original.
    let moved = injected(&annotated(once.clone(), name::STATUS_PORT, "15444"));
    assert_eq!(container(&moved)["readinessProbe"]["httpGet"]["port"], 15444);
    let edited = annotated(once.clone(), name::PORTS, "8443:9090");
    assert_eq!(container(&injected(&edited))["readinessProbe"], probe);
    // A person writes another probe over it.
    let mut rewritten = once;
    rewritten.0["spec"]["containers"][0]["readinessProbe"] =
        json!({ "httpGet": { "port": 8080, "path": "/new" } });
    let rewritten = injected(&rewritten);
    assert!(rewritten.annotation(ORIGINAL_PROBES).unwrap().contains("/new"));
}

#[test]
fn who_forges_an_original_gets_what_the_probe_itself_would_have_got() {
    let forged = |original: Value| {
        let asks = json!({ "readinessProbe": { "httpGet": asks("readiness") } });
        let kept = json!({ "app": { "readiness": original } }).to_string();
        annotated(pod(&asks), ORIGINAL_PROBES, &kept)
    };
    let written = |original: &Value| pod(&json!({ "readinessProbe": original }));
    for original in [
        json!({ "httpGet": { "port": 8080, "path": "/a" } }),
        json!({ "httpGet": { "port": 9090, "path": "/admin" } }),
        json!({ "httpGet": { "port": 22, "path": "/", "host": "169.254.169.254" } }),
        json!({ "tcpSocket": { "port": "web" } }),
        json!({ "tcpSocket": { "port": 15000 } }),
    ] {
        let (forged, written) =
            (injected(&forged(original.clone())), injected(&written(&original)));
        assert_eq!(container(&forged), container(&written), "{original}");
        assert_eq!(performed(&forged), performed(&written), "{original}");
    }
}

#[test]
fn a_probe_that_nobody_remembers_is_told() {
    let asks = json!({ "readinessProbe": { "httpGet": asks("readiness") } });
    for kept in ["", "{}", "[]", "{\"app\":1}", "{\"app\":{\"readiness\":{\"exec\":{}}}}"] {
        let pod = annotated(pod(&asks), ORIGINAL_PROBES, kept);
        assert_eq!(run(&pod).1, ["LH326 spec.containers[0].readinessProbe.httpGet"], "{kept}");
    }
    // The same path on a port of the app is the app's.
    let own = json!({ "readinessProbe": { "httpGet": { "path": "/probes/app/readiness", "port": 9090 } } });
    assert_eq!(container(&injected(&pod(&own))), container(&pod(&own)));
}

#[test]
fn who_takes_a_probe_over_after_us_still_gets_an_answer() {
    let plain = pod(&json!({ "readinessProbe": { "httpGet": { "port": 8080, "path": "/a" } } }));
    let mut meshed = injected(&plain);
    let of_mesh = json!({ "path": "/app-health/app/readyz", "port": 15020, "scheme": "HTTP" });
    meshed.0["spec"]["containers"][0]["readinessProbe"]["httpGet"] = of_mesh.clone();
    let again = injected(&meshed);
    assert_eq!(container(&again)["readinessProbe"]["httpGet"], of_mesh);
    assert_eq!(performed(&again), performed(&injected(&plain)));
}

#[test]
fn an_app_on_a_socket_has_no_port_to_be_probed_at() {
    let mounts = json!([{ "name": "run", "mountPath": "/run/app" }]);
    let probe = json!({ "httpGet": { "port": 8443, "path": "/" } });
    let socket = pod(&json!({ "volumeMounts": mounts, "readinessProbe": probe }));
    let socket = annotated(socket, name::PORTS, "8443");
    let socket = annotated(socket, name::APP_SOCKET, "/run/app/app.sock");
    assert_eq!(run(&socket).1, ["LH326 spec.containers[0].readinessProbe.httpGet.port"]);
}
