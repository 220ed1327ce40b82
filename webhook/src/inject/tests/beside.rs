//! What else there is in a pod: meshes, and the time that it has to end.

use super::*;

#[test]
fn a_port_of_a_mesh_is_never_taken_for_the_apps() {
    for proxy in ["istio-proxy", "linkerd-proxy"] {
        let mesh = json!({"name": proxy, "ports": [{"containerPort": 15090}]});
        let beside = with(pod(&json!({})), "/spec/containers/0", mesh.clone());
        let Listener::Terminate(listener) = config(&injected(&beside)).listeners.remove(0) else {
            panic!("{proxy}")
        };
        assert_eq!(listener.forward, lasthop_contract::sidecar_config::Forward::Port(8080));
        assert_eq!(injected(&beside).annotation(pod::DEFAULT_CONTAINER), Some("app"));
        let mut quiet = beside;
        quiet.0["spec"]["containers"][1]["ports"] =
            json!([{"containerPort": 8080}, {"containerPort": 9090}]);
        let outcome = run(&quiet);
        let told = &outcome.findings()[0];
        assert_eq!(told.code, code::APP_PORT);
        let text = format!("{} {}", told.message, told.help);
        assert!(text.contains("9090") && !text.contains("15090"), "{text}");
    }
}

#[test]
fn the_sidecar_has_to_be_done_before_the_pod_is() {
    let delay = pod(&json!({ "sidecar-drain-delay": "40s" }));
    assert_eq!(told(&delay), ["LH302 error metadata.annotations[lasthop.dev/sidecar-drain-delay]"]);
    let timeout = pod(&json!({ "sidecar-drain-timeout": "3s" }));
    assert_eq!(
        told(&timeout),
        ["LH302 error metadata.annotations[lasthop.dev/sidecar-drain-timeout]"]
    );
    let grace = |pod: Object, seconds: u32| {
        with(pod, "/spec/terminationGracePeriodSeconds", json!(seconds))
    };
    let long = pod(&json!({ "sidecar-drain-timeout": "60s" }));
    let at = "LH302 warning metadata.annotations[lasthop.dev/sidecar-drain-timeout]";
    assert_eq!(told(&long), [at]);
    assert!(run(&long).findings()[0].help.contains("terminationGracePeriodSeconds: 65"));
    assert_eq!(told(&grace(long.clone(), 60)), [at]);
    assert_eq!(told(&grace(long, 61)), Vec::<String>::new());
    let short = grace(pod(&json!({})), 10);
    assert_eq!(told(&short), ["LH302 warning spec.terminationGracePeriodSeconds"]);
}

#[test]
fn probes_that_istio_performs_at_the_pods_address_are_told() {
    let performed = |app: u16, annotations: &Value| {
        let probe =
            json!({"httpGet": {"path": "/app-health/app/readyz", "port": 15020, "scheme": "HTTP"}});
        let probers =
            json!({"/app-health/app/readyz": {"httpGet": {"path": "/ready", "port": app}}});
        let env = json!([{"name": "ISTIO_KUBE_APP_PROBERS", "value": probers.to_string()}]);
        let proxy = json!({"name": "istio-proxy", "image": "proxy", "env": env});
        let pod = with(pod(annotations), "/spec/containers/0/readinessProbe", probe);
        with(pod, "/spec/containers/1", proxy)
    };
    let loopback = json!({ "require-loopback": "true" });
    let told_of = performed(8080, &loopback);
    assert_eq!(told(&told_of), ["LH326 warning spec.containers[0].readinessProbe.httpGet"]);
    assert!(run(&told_of).findings()[0].help.contains("rewriteAppHTTPProbers"));
    assert_eq!(told(&performed(8080, &json!({}))), Vec::<String>::new());
    // The probe of another port, which is reached.
    assert_eq!(told(&performed(9090, &loopback)), Vec::<String>::new());
}
