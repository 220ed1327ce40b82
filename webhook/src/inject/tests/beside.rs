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
    let of_probes = |pod: &Object| -> Vec<String> {
        told(pod).into_iter().filter(|it| it.starts_with("LH326")).collect()
    };
    let loopback = json!({ "require-loopback": "true" });
    let told_of = performed(8080, &loopback);
    assert_eq!(of_probes(&told_of), ["LH326 warning spec.containers[0].readinessProbe.httpGet"]);
    let help =
        &run(&told_of).findings().iter().find(|it| it.code == code::PROBE).unwrap().help.clone();
    assert!(help.contains("rewriteAppHTTPProbers") && help.contains("\"8443,15443\""), "{help}");
    assert_eq!(of_probes(&performed(8080, &json!({}))), Vec::<String>::new());
    // The probe of another port, which is reached.
    assert_eq!(of_probes(&performed(9090, &loopback)), Vec::<String>::new());
}

#[test]
fn the_ports_that_istio_is_to_leave_alone_are_told_until_it_does() {
    let at = "LH343 warning metadata.annotations[lasthop.dev/inject]";
    let pod = |annotations: &Value| pod(annotations);
    let labelled = |value: &str, annotations: Value| {
        let mut pod = pod(&json!({ "redirect-port": "8081" }));
        pod.0["metadata"]["labels"] = json!({ "sidecar.istio.io/inject": value });
        for (key, value) in annotations.as_object().unwrap() {
            let key = format!("traffic.sidecar.istio.io/{key}");
            pod.0["metadata"]["annotations"][key] = value.clone();
        }
        pod
    };
    let asks = labelled("true", json!({ "excludeInboundPorts": "9090, 8443" }));
    assert_eq!(told(&asks), [at]);
    let help = run(&asks).findings()[0].help.clone();
    assert!(help.contains("excludeInboundPorts: \"9090,8443,8081,15443\"`"), "{help}");
    let silent = [
        labelled("false", json!({})),
        labelled("true", json!({ "excludeInboundPorts": "8443,15443,8081" })),
        labelled("true", json!({ "includeInboundPorts": "8080" })),
        labelled("true", json!({ "includeInboundPorts": "" })),
        pod(&json!({})),
    ];
    for silent in silent {
        assert_eq!(told(&silent), Vec::<String>::new());
    }
    assert_eq!(told(&labelled("true", json!({ "includeInboundPorts": "*" }))), [at]);

    let labels = |label| BTreeMap::from([(name::INJECT, "enabled"), label]);
    let findings = |label| {
        inject(&pod(&json!({})), "shop", Some(&labels(label)), &Options::default()).findings().len()
    };
    assert_eq!(findings(("istio-injection", "enabled")), 1);
    assert_eq!(findings(("istio.io/rev", "canary")), 1);
    assert_eq!(findings(("istio-injection", "disabled")), 0);
}

/// Where Istio came after, its agent asks the sidecar in kubelet's stead, also past a policy of `STRICT`.
#[test]
fn what_istios_agent_asks_the_sidecar_stays_with_it() {
    let asked = |kept: &Value| {
        let mut pod = injected(&pod(&json!({})));
        let proxy = json!({
            "name": "istio-proxy", "image": "proxy", "restartPolicy": "Always",
            "env": [{ "name": "ISTIO_KUBE_APP_PROBERS", "value": kept.to_string() }],
        });
        let sidecar = &mut pod.0["spec"]["initContainers"][0];
        for (probe, word) in
            [("startupProbe", "startupz"), ("livenessProbe", "livez"), ("readinessProbe", "readyz")]
        {
            sidecar[probe]["httpGet"] = json!({ "path": format!("/app-health/lasthop/{word}"), "port": 15020, "scheme": "HTTP" });
        }
        with(pod, "/spec/initContainers/0", proxy)
    };
    let prober = |path: &str, port: u16| json!({ "httpGet": { "path": path, "port": port } });
    let honest = asked(&json!({
        "/app-health/lasthop/startupz": prober("/readyz", 15443),
        "/app-health/lasthop/livez": prober("/livez", 15443),
        "/app-health/lasthop/readyz": prober("/readyz", 15443),
    }));
    let Outcome::Injected { patch, findings } = run(&honest) else { panic!("{:?}", run(&honest)) };
    assert!(patch.0.is_empty() && findings.is_empty(), "{patch} {findings:?}");
    let elsewhere = asked(&json!({
        "/app-health/lasthop/startupz": prober("/readyz", 15443),
        "/app-health/lasthop/livez": prober("/livez", 8080),
        "/app-health/lasthop/readyz": prober("/anything", 15443),
    }));
    let after = injected(&elsewhere);
    let own = pod::own(&after).unwrap().value;
    let ports = ["startupProbe", "livenessProbe", "readinessProbe"]
        .map(|probe| own[probe]["httpGet"]["port"].as_u64().unwrap());
    assert_eq!(ports, [15020, 15443, 15443]);
}
