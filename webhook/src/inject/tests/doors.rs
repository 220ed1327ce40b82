//! The doors of a pod: sockets, next tiers, PROXY headers, and the plaintext door beside the sidecar.

use lasthop_contract::sidecar_config::{
    Forward, KeyLog, Originate, PlaintextDoor, ProxyAccept, ProxyVersion, Terminate,
};

use super::*;

fn terminates(pod: &Object) -> Vec<Terminate> {
    let terminate = |listener| match listener {
        Listener::Terminate(terminate) => Some(terminate),
        Listener::Redirect(_) | Listener::Originate(_) => None,
    };
    config(&injected(pod)).listeners.into_iter().filter_map(terminate).collect()
}

fn originates(pod: &Object) -> Vec<Originate> {
    let originate = |listener| match listener {
        Listener::Originate(originate) => Some(originate),
        Listener::Redirect(_) | Listener::Terminate(_) => None,
    };
    config(&injected(pod)).listeners.into_iter().filter_map(originate).collect()
}

const CLIENTS: [(&str, &str); 2] =
    [("client-ca-secret", "ca"), ("allowed-clients", "dns:alb.example.com")];

/// With client authentication, and these annotations.
fn guarded(annotations: &Value) -> Object {
    let mut all = annotations.clone();
    for (key, value) in CLIENTS {
        all[key] = json!(value);
    }
    pod(&all)
}

#[test]
fn behind_client_authentication_the_app_is_to_be_on_loopback_alone_unless_somebody_says_otherwise()
{
    let door = |pod: &Object| config(&injected(pod)).plaintext_door;
    assert_eq!(door(&pod(&json!({}))), PlaintextDoor::Told);
    assert_eq!(door(&guarded(&json!({}))), PlaintextDoor::NotReady);
    assert_eq!(door(&guarded(&json!({ "require-loopback": "false" }))), PlaintextDoor::Told);
    assert_eq!(door(&pod(&json!({ "require-loopback": "true" }))), PlaintextDoor::NotReady);
    let one_of_two = json!({ "ports": "8443:8080,9443:9090", "client-auth.9443": "none" });
    assert_eq!(door(&guarded(&one_of_two)), PlaintextDoor::NotReady);
    assert_eq!(codes(&pod(&json!({ "require-loopback": "yes" }))), [code::VALUE]);
}

#[test]
fn a_port_of_the_node_is_a_door_beside_the_sidecar() {
    let mut open = pod(&json!({}));
    open.0["spec"]["containers"][0]["ports"][0]["hostPort"] = json!(80);
    assert_eq!(told(&open), ["LH336 error spec.containers[0].ports[0].hostPort"]);
    assert!(!run(&open).findings()[0].message.contains("nowhere"), "{:?}", run(&open));
    let mut open = guarded(&json!({}));
    open.0["spec"]["containers"][0]["ports"][0]["hostPort"] = json!(80);
    assert_eq!(told(&open), ["LH336 error spec.containers[0].ports[0].hostPort"]);
    assert!(run(&open).findings()[0].message.contains("nowhere"), "{:?}", run(&open));
    let owner = json!([{"kind": "ReplicaSet", "controller": true}]);
    let owned = with(open.clone(), "/metadata/ownerReferences", owner);
    assert!(matches!(run(&owned), Outcome::Injected { .. }));
    // Who says why goes on, as in `check`; who does not say why, or ignores what is safety, does not.
    open.0["metadata"]["annotations"][name::IGNORE] = json!("LH336: the node is behind a firewall");
    assert_eq!(told(&open), Vec::<String>::new());
    assert!(matches!(run(&open), Outcome::Injected { .. }));
    open.0["metadata"]["annotations"][name::IGNORE] = json!("LH336");
    assert!(matches!(run(&open), Outcome::Refused { .. }));
    let mut node = with(open, "/spec/hostNetwork", json!(true));
    node.0["metadata"]["annotations"][name::IGNORE] = json!("LH320: x, LH336: y");
    assert_eq!(told(&node), ["LH320 error spec.hostNetwork"]);
    let mut other = pod(&json!({ "ports": "8443:9090" }));
    let datagrams = json!({ "containerPort": 9090, "hostPort": 81, "protocol": "UDP" });
    other.0["spec"]["containers"][0]["ports"] =
        json!([{ "containerPort": 9100, "hostPort": 80 }, { "containerPort": 9090 }, datagrams]);
    assert_eq!(told(&other), Vec::<String>::new());
}

/// Below `enforce` a namespace gets the sidecar and a warning of what breaks; what is about lasthop's own
/// safety refuses at every level.
#[test]
fn the_level_of_the_namespace_lowers_what_breaks_and_not_what_is_safety() {
    use crate::check::Validate;
    let at = |level, pod: &Object| inject_at(level, pod, "shop", None, &Options::default());
    let mut open = guarded(&json!({}));
    open.0["spec"]["containers"][0]["ports"][0]["hostPort"] = json!(80);
    assert!(matches!(at(Validate::Enforce, &open), Outcome::Refused { .. }));
    let Outcome::Injected { findings, .. } = at(Validate::Warn, &open) else { panic!() };
    assert_eq!(findings[0].severity, Severity::Warning);
    let Outcome::Injected { findings, .. } = at(Validate::Off, &open) else { panic!() };
    assert!(findings.is_empty(), "{findings:?}");
    for unsafe_pod in [
        pod(&json!({ "client-ca-secret": "ca" })),
        pod(&json!({ "prots": "8443:8080" })),
        pod(&json!({ "ports": "8080:8080" })),
        with(pod(&json!({})), "/spec/hostNetwork", json!(true)),
    ] {
        for level in [Validate::Enforce, Validate::Warn, Validate::Off] {
            let outcome = at(level, &unsafe_pod);
            let Outcome::Refused { findings } = outcome else { panic!("{level:?} {outcome:?}") };
            assert_eq!(findings[0].severity, Severity::Error, "{findings:?}");
        }
    }
}

#[test]
fn exempt_paths_need_a_certificate_to_be_exempt_from() {
    let exempt = json!({ "client-auth-exempt-paths": "/healthz,/readyz" });
    assert_eq!(terminates(&guarded(&exempt))[0].clients.exempt_paths, ["/healthz", "/readyz"]);
    assert_eq!(codes(&pod(&exempt)), [code::CONFLICT]);
    let mut bytes = exempt.clone();
    bytes["protocol"] = json!("tcp");
    assert_eq!(codes(&guarded(&bytes)), [code::CONFLICT]);
    let mut optional = exempt;
    optional["client-auth"] = json!("optional");
    assert_eq!(
        told(&guarded(&optional)),
        ["LH306 warning metadata.annotations[lasthop.dev/client-auth-exempt-paths]"]
    );
    let wrong = json!({ "client-auth-exempt-paths": "healthz,/a%2f" });
    assert_eq!(codes(&guarded(&wrong)), [code::VALUE, code::VALUE]);
}

#[test]
fn proxy_headers_are_taken_from_networks_alone() {
    let both = json!({
        "proxy-protocol": "accept,send", "trusted-proxies": "10.0.0.0/8", "protocol": "tcp",
    });
    let listener = &terminates(&pod(&both))[0];
    assert_eq!(listener.proxy_protocol.accept, ProxyAccept::FromTrusted);
    assert_eq!(listener.proxy_protocol.send, Some(ProxyVersion::V2));
    let bytes = json!({
        "proxy-protocol": "accept", "trusted-proxies": "10.0.0.0/8", "protocol": "tcp",
    });
    assert_eq!(terminates(&pod(&bytes))[0].trusted_proxies, ["10.0.0.0/8"]);
    let conflict = |annotations: Value| assert_eq!(codes(&pod(&annotations)), [code::CONFLICT]);
    conflict(json!({ "proxy-protocol": "accept" }));
    conflict(json!({ "proxy-protocol": "send" }));
    conflict(json!({ "proxy-protocol": "send", "protocol": "h2c" }));
    let of_two = json!({
        "ports": "8443:8080,9443:9090", "proxy-protocol": "send", "protocol": "tcp",
        "protocol.9443": "http",
    });
    let sends =
        terminates(&pod(&of_two)).iter().map(|it| it.proxy_protocol.send).collect::<Vec<_>>();
    assert_eq!(sends, [Some(ProxyVersion::V2), None]);
    conflict(json!({ "trusted-proxies": "10.0.0.0/8", "protocol": "tcp" }));
    let named = json!({ "proxy-protocol": "accept", "trusted-proxies": "allowed-clients" });
    assert_eq!(codes(&guarded(&named)), [code::CONFLICT]);
    assert_eq!(terminates(&pod(&json!({ "proxy-protocol": "off" }))).len(), 1);
}

/// The container mounts these.
fn mounting(annotations: &Value, mounts: Value) -> Object {
    let volumes = json!([{ "name": "run", "emptyDir": { "medium": "Memory" } }]);
    let pod = with(pod(annotations), "/spec/volumes", volumes);
    with(pod, "/spec/containers/0/volumeMounts", mounts)
}

#[test]
fn the_folder_of_a_socket_is_shown_to_the_sidecar_and_not_given() {
    let socket = json!({ "app-socket": "/run/app/http/app.sock" });
    let mounts = json!([
        { "name": "root", "mountPath": "/run" },
        { "name": "run", "mountPath": "/run/app/", "subPath": "a", "mountPropagation": "None" },
        { "name": "other", "mountPath": "/run/app/htt" },
    ]);
    let injected = injected(&mounting(&socket, mounts));
    let own = pod::own(&injected).unwrap().value;
    let shown =
        json!({ "name": "run", "mountPath": "/run/app/", "subPath": "a", "readOnly": true });
    assert_eq!(own["volumeMounts"][1], shown);
    let Listener::Terminate(listener) = &config(&injected).listeners[0] else { panic!() };
    assert_eq!(listener.listen.port(), 8443);
    let Forward::Socket(path) = &listener.forward else { panic!("{listener:?}") };
    assert_eq!(path.path().to_str(), Some("/run/app/http/app.sock"));
    let Outcome::Injected { patch, .. } = run(&injected) else { panic!("{:?}", run(&injected)) };
    assert!(patch.0.is_empty(), "{patch}");
}

#[test]
fn a_socket_that_no_volume_holds_is_told_with_the_way_out() {
    let socket = json!({ "app-socket": "/run/app/app.sock" });
    for mounts in [
        json!([]),
        json!([{ "name": "run", "mountPath": "/run/ap" }]),
        json!([{ "name": "run", "mountPath": "/run/app", "subPathExpr": "$(NAME)" }]),
    ] {
        let pod = mounting(&socket, mounts);
        let Outcome::Refused { findings } = run(&pod) else { panic!("{:?}", run(&pod)) };
        assert_eq!(findings[0].code, code::APP_SOCKET, "{findings:?}");
    }
    let secrets = json!({ "app-socket": "/var/run/secrets/lasthop.dev/tls/app.sock" });
    let mounts = json!([{ "name": "run", "mountPath": "/var/run/secrets/lasthop.dev/tls" }]);
    assert_eq!(codes(&mounting(&secrets, mounts)), [code::APP_SOCKET]);
}

#[test]
fn a_listener_has_one_app() {
    let mounts = json!([{ "name": "run", "mountPath": "/run/app" }]);
    let both = json!({ "app-socket": "/run/app/app.sock", "ports": "8443:8080" });
    assert_eq!(codes(&mounting(&both, mounts.clone())), [code::CONFLICT]);
    let neither = json!({ "ports": "8443:8080,9443" });
    assert_eq!(codes(&pod(&neither)), [code::APP_PORT]);
    let each = json!({ "ports": "8443:8080,9443", "app-socket.9443": "/run/app/app.sock" });
    let listeners = terminates(&mounting(&each, mounts));
    assert_eq!(listeners[0].forward, Forward::Port(8080));
    assert!(matches!(listeners[1].forward, Forward::Socket(_)));
}

#[test]
fn a_pod_may_only_originate() {
    let only = pod(&json!({
        "tls-secret": null,
        "upstreams": "9001=https://db.example.com:443,9002=tls://10.0.0.1:5432",
        "upstream-client-secret": "identity",
        "upstream-ca-secret.9002": "configmap/db-ca",
        "upstream-server-names.9002": "db.example.com,uri:spiffe://x/db",
        "upstream-sni.9002": "db.example.com",
    }));
    let upstreams = originates(&only);
    assert_eq!(upstreams[0].listen.to_string(), "127.0.0.1:9001");
    assert_eq!(upstreams[0].upstream.to_string(), "https://db.example.com:443");
    assert_eq!(upstreams[0].client_secret.as_deref(), Some("tls/identity"));
    assert_eq!(upstreams[0].ca_secret, None);
    assert_eq!(upstreams[1].ca_secret.as_deref(), Some("upstream-ca-configmap/db-ca"));
    assert_eq!(upstreams[1].server_names, ["dns:db.example.com", "uri:spiffe://x/db"]);
    assert_eq!(upstreams[1].sni.as_deref(), Some("db.example.com"));
    let injected = injected(&only);
    let own = pod::own(&injected).unwrap();
    let ports: Vec<u16> = own.ports().map(|port| port.number).collect();
    assert_eq!(ports, [15443], "what listens on loopback is no port of the pod");
    assert_eq!(own.value["volumeMounts"].as_array().unwrap().len(), 2);
    // As soon as something is said of a listener, there is to be one.
    let half = json!({ "tls-secret": null, "upstreams": "9001=tls://a:1", "client-auth": "none" });
    assert_eq!(codes(&pod(&half)), [code::REQUIRED]);
}

#[test]
fn next_tiers_are_told_apart_and_judged_together() {
    let both = json!({ "upstreams": "9001=tls://a:1" });
    assert_eq!((terminates(&pod(&both)).len(), originates(&pod(&both)).len()), (1, 1));
    let alone = |annotations: Value, code: Code| assert_eq!(codes(&pod(&annotations)), [code]);
    alone(json!({ "upstream-sni": "a.example.com" }), code::CONFLICT);
    alone(json!({ "upstream-sni.9001": "a.example.com" }), code::CONFLICT);
    alone(
        json!({ "upstreams": "9001=tls://a:1", "upstream-sni.9002": "a.example.com" }),
        code::LISTENER,
    );
    alone(json!({ "upstreams": "9001=tls://a:1", "protocol.9001": "tcp" }), code::LISTENER);
    alone(json!({ "upstreams": "8080=tls://a:1" }), code::PORT_CLASH);
    alone(json!({ "upstreams": "8443=tls://a:1" }), code::PORT_CLASH);
    alone(json!({ "upstreams": "9001=tls://a:1", "upstream-server-names": "*" }), code::VALUE);
    let clash = run(&pod(&json!({ "upstreams": "8080=tls://a:1" })));
    assert!(clash.findings()[0].help.contains("\"8081=tls://a:1\""), "{clash:?}");
}

#[test]
fn the_namespace_alone_lets_keys_be_logged() {
    let key_log = |value: Option<&str>| {
        let labels = [(name::INJECT, Some("enabled")), (name::ALLOW_KEY_LOG, value)];
        let labels = labels.into_iter().filter_map(|(key, value)| Some((key, value?))).collect();
        let pod = pod(&json!({}));
        let outcome = inject(&pod, "shop", Some(&labels), &Options::default());
        let Outcome::Injected { patch, .. } = outcome else { panic!("{outcome:?}") };
        let mut value = pod.0;
        json_patch::patch(&mut value, &patch).unwrap();
        config(&Object(value)).key_log
    };
    assert_eq!(key_log(Some("true")), KeyLog::OnDemand);
    assert_eq!(key_log(Some("yes")), KeyLog::Refused);
    assert_eq!(key_log(None), KeyLog::Refused);
    let annotated = json!({ "allow-key-log": "true" });
    assert_eq!(codes(&pod(&annotated)), [code::UNKNOWN]);
}

#[test]
fn ports_that_are_offered_are_free_and_the_right_way_round() {
    let help = |annotations: &Value, ports: Value| {
        let pod = with(pod(annotations), "/spec/containers/0/ports", ports);
        let outcome = run(&pod);
        outcome.findings().iter().map(|it| it.help.clone()).collect::<Vec<_>>().join("; ")
    };
    let both = json!([{"containerPort": 8080}, {"containerPort": 8443}]);
    assert!(help(&json!({}), both).contains("\"8444:8080\""));
    let one = json!([{"containerPort": 8080}]);
    let told = help(&json!({"ports": "8080:8443"}), one.clone());
    assert!(told.contains("did you mean `lasthop.dev/ports: \"8443:8080\"`"), "{told}");
    let told = help(&json!({"ports": "8443:8080", "redirect-port": "80"}), one);
    assert!(told.contains("`port: 80`, `targetPort: 8081`"), "{told}");
}

#[test]
fn protocols_are_agreed_on_by_alpn_where_nobody_else_knows_them() {
    let alpn = |annotations: Value| -> Vec<Vec<String>> {
        let names = |it: Terminate| it.alpn.iter().map(ToString::to_string).collect();
        terminates(&pod(&annotations)).into_iter().map(names).collect()
    };
    let tcp = json!({ "protocol": "tcp", "alpn": "mqtt, h2" });
    assert_eq!(alpn(tcp), [["mqtt", "h2"]]);
    let mixed = json!({
        "ports": "8443:8080,9443:9090", "alpn": "mqtt", "protocol": "tcp", "protocol.9443": "http",
    });
    assert_eq!(alpn(mixed), [vec!["mqtt"], vec![]]);
    for (annotations, code) in [
        (json!({ "alpn": "mqtt" }), code::CONFLICT),
        (json!({ "alpn": "h2,h2", "protocol": "tcp" }), code::VALUE),
        (json!({ "alpn": "h\u{e9}", "protocol": "tcp" }), code::VALUE),
        (json!({ "alpn": "", "protocol": "tcp" }), code::VALUE),
    ] {
        assert_eq!(run(&pod(&annotations)).findings()[0].code, code, "{annotations}");
    }
}

#[test]
fn a_port_that_nobody_declares_is_told_where_others_are_declared() {
    let told_of = |annotations: &Value, containers: Value| {
        let pod = with(pod(annotations), "/spec/containers", containers);
        let outcome = run(&pod);
        assert!(matches!(outcome, Outcome::Injected { .. }), "{outcome:?}");
        let mut told = outcome.findings().iter();
        told.next().map(|it| {
            assert_eq!(
                (it.code, it.severity),
                (code::UNDECLARED_PORT, Severity::Warning),
                "{it:?}"
            );
            format!("{}; {}", it.message, it.help)
        })
    };
    let declaring = |ports: &[u16]| {
        let ports: Vec<Value> = ports.iter().map(|it| json!({ "containerPort": it })).collect();
        json!([{ "name": "app", "image": "app:1", "ports": ports }])
    };
    let slip = json!({ "ports": "9443:9999" });
    let told = told_of(&slip, declaring(&[8080])).unwrap();
    let fact = "forwards to 9999, which no container declares; they declare 8080";
    assert!(told.contains(fact), "{told}");
    assert!(told.contains("did you mean `lasthop.dev/ports: \"9443:8080\"`?"), "{told}");
    assert!(told.contains("`containerPort: 9999`"), "{told}");
    // Several come into question, or one is another listener's.
    let told = told_of(&slip, declaring(&[8080, 9090])).unwrap();
    assert!(told.contains("they declare 8080, 9090") && !told.contains("did you mean"), "{told}");
    let two = json!({ "ports": "8443:8080,9443:9999" });
    let told = told_of(&two, declaring(&[8080, 9090])).unwrap();
    assert!(told.contains("did you mean `lasthop.dev/ports: \"8443:8080,9443:9090\"`?"), "{told}");
    assert!(!told_of(&two, declaring(&[8080])).unwrap().contains("did you mean"));
    // The wrong way round, with nothing declared that would say so.
    let swapped = told_of(&json!({ "ports": "8080:8443" }), declaring(&[])).unwrap();
    assert!(swapped.contains("did you mean `lasthop.dev/ports: \"8443:8080\"`?"), "{swapped}");

    // Nothing has to be declared; a probe says as much.
    assert_eq!(told_of(&slip, declaring(&[])), None);
    for probe in [json!({ "httpGet": { "port": 9999 } }), json!({ "grpc": { "port": 9999 } })] {
        let mut probed = declaring(&[8080]);
        probed[0]["readinessProbe"] = probe;
        assert_eq!(told_of(&slip, probed.clone()), None);
        // Also when the sidecar performs it.
        let pod = with(guarded(&slip), "/spec/containers", probed);
        assert_eq!(self::told(&injected(&pod)), Vec::<String>::new());
    }
}
