//! One real node: our images, `kubectl apply -k`, a namespace with Pod Security `restricted`, a
//! Deployment whose pod gets the native sidecar, and the balancer's certificate at the Service.

use std::net::SocketAddr;

use lasthop_tests::curl::Curl;
use lasthop_tests::kubernetes::{Cluster, root, secret_manifest};
use lasthop_tests::pki::{Issued, Pki};
use lasthop_tests::process::{Finished, Program};
use serde_json::{Value, json};

const NAMESPACE: &str = "httptools";
const GATEWAY: &str = "mycluster-a1b2c3-0001.us-south.containers.appdomain.cloud";
const ALB: &str = "*.mycluster-a1b2c3-0000.us-south.containers.appdomain.cloud";

#[test]
fn on_a_real_node_the_balancer_reaches_the_restricted_pod_and_a_stranger_does_not() {
    let Some(cluster) = Cluster::node() else { return };
    load_images();
    install(&cluster);

    cluster.namespace(
        NAMESPACE,
        &[
            "lasthop.dev/inject=enabled",
            "lasthop.dev/validate=enforce",
            "pod-security.kubernetes.io/enforce=restricted",
        ],
    );
    let pki = Pki::new();
    let public = pki.public_authority();
    let gateway = public.leaf().dns(GATEWAY).server_only().issue();
    let alb = public.leaf().dns(ALB).server_only().issue();
    let stranger = public.leaf().dns("stranger.example.net").server_only().issue();
    let secrets = [
        ("gateway-secret", "kubernetes.io/tls", gateway.secret()),
        ("gateway-secret-cacert", "Opaque", public.ca_secret()),
    ];
    for (name, kind, data) in secrets {
        cluster.admitted(&secret_manifest(NAMESPACE, name, kind, &data));
    }

    cluster.admitted(&deployment().to_string());
    cluster.admitted(&service().to_string());
    expect(
        &cluster,
        &["rollout", "status", "deployment/httpbin", "-n", NAMESPACE, "--timeout=120s"],
    );
    the_pod_is_as_it_should_be(&cluster);

    let address = cluster_ip(&cluster);
    let call = |client: Option<&Issued>| {
        let curl = Curl::get(&format!("https://{GATEWAY}/headers"))
            .at(address)
            .trust(gateway.files().root);
        match client {
            Some(client) => curl.client(&client.files()).run(),
            None => curl.run(),
        }
    };
    let told = call(Some(&alb)).expect(200).text();
    assert!(told.contains(&alb.fingerprint()), "the application knows the client: {told}");
    call(Some(&stranger)).expect_refused();
    call(None).expect_refused();
    let log = ["logs", "deployment/httpbin", "-c", "lasthop", "-n", NAMESPACE];
    let log = expect(&cluster, &log).stdout;
    assert!(log.contains("LH511") && log.contains("LH501"), "{log}");

    a_broken_ingress_is_refused(&cluster);
}

fn load_images() {
    let script = |name: &str| Program::at(root().join("scripts").join(name));
    // Built for minutes the first time; its own output is the progress.
    let built = std::process::Command::new(root().join("scripts/image"))
        .args(["--debug", "--testapp"])
        .stderr(std::process::Stdio::inherit())
        .output()
        .expect("scripts/image can be started");
    assert!(built.status.success(), "scripts/image failed with {}", built.status);
    let archives = String::from_utf8_lossy(&built.stdout).into_owned();
    let archives = archives.lines(); // their paths, and nothing else
    script("cluster")
        .arg("load")
        .args(archives)
        .args(["--name", &Cluster::name()])
        .run()
        .expect_success();
}

fn install(cluster: &Cluster) {
    let base = root().join("manifests/base").display().to_string();
    expect(cluster, &["apply", "-k", &base]);
    let rollout =
        ["rollout", "status", "deployment/lasthop", "-n", "lasthop-system", "--timeout=120s"];
    let finished = cluster.kubectl(&rollout).run();
    if !finished.status.success() {
        let pods = cluster.kubectl(&["describe", "pods", "-n", "lasthop-system"]).run().stdout;
        let logs =
            ["logs", "-n", "lasthop-system", "-l", "app.kubernetes.io/name=lasthop", "--tail=40"];
        panic!("lasthop is not ready: {finished}\n{pods}\n{}", cluster.kubectl(&logs).run());
    }
}

#[track_caller]
fn expect(cluster: &Cluster, arguments: &[&str]) -> Finished {
    let finished = cluster.kubectl(arguments).run();
    if !finished.status.success() {
        let pods = cluster.kubectl(&["describe", "pods", "-n", NAMESPACE]).run().stdout;
        panic!("kubectl {}: {finished}\n{pods}", arguments.join(" "));
    }
    finished
}

/// An application that is restricted by itself and listens on loopback alone, where kubelet does not
/// reach it: without the sidecar's help its probes would fail.
fn deployment() -> Value {
    let annotations = json!({
        "lasthop.dev/inject": "true",
        "lasthop.dev/tls-secret": "gateway-secret",
        "lasthop.dev/client-ca-secret": "gateway-secret-cacert",
        "lasthop.dev/allowed-clients": format!("dns:{ALB}"),
    });
    let security = json!({
        "runAsNonRoot": true,
        "allowPrivilegeEscalation": false,
        "capabilities": { "drop": ["ALL"] },
        "seccompProfile": { "type": "RuntimeDefault" },
    });
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": { "name": "httpbin", "namespace": NAMESPACE },
        "spec": {
            "replicas": 1,
            "selector": { "matchLabels": { "app": "httpbin" } },
            "template": {
                "metadata": { "labels": { "app": "httpbin" }, "annotations": annotations },
                "spec": { "containers": [{
                    "name": "httpbin",
                    "image": "localhost/lasthop-testapp:1",
                    "args": ["--listen", "127.0.0.1:8080"],
                    "ports": [{ "name": "http", "containerPort": 8080 }],
                    "startupProbe": { "tcpSocket": { "port": "http" }, "periodSeconds": 1 },
                    "readinessProbe": { "httpGet": { "path": "/status/204", "port": "http" } },
                    "livenessProbe": { "httpGet": { "path": "/status/200", "port": 8080 } },
                    "securityContext": security,
                }] },
            },
        },
    })
}

fn service() -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": { "name": "httpbin", "namespace": NAMESPACE },
        "spec": {
            "selector": { "app": "httpbin" },
            "ports": [{ "name": "https", "port": 443, "targetPort": "lasthop-8443" }],
        },
    })
}

fn the_pod_is_as_it_should_be(cluster: &Cluster) {
    let pods = cluster.get(&["pods", "-n", NAMESPACE, "-l", "app=httpbin"]);
    let pod = &pods["items"][0];
    let sidecar = &pod["spec"]["initContainers"][0];
    assert_eq!(sidecar["name"], "lasthop", "{pod:#}");
    assert_eq!(sidecar["restartPolicy"], "Always", "a native sidecar: {sidecar:#}");
    let probe = &pod["spec"]["containers"][0]["readinessProbe"]["httpGet"];
    assert_eq!(probe["path"], "/probes/httpbin/readiness", "{pod:#}");
    let application = &pod["status"]["containerStatuses"][0];
    assert_eq!((&application["ready"], &application["restartCount"]), (&json!(true), &json!(0)));
    let status = &pod["status"]["initContainerStatuses"][0];
    assert_eq!(status["ready"], true, "{status:#}");
    assert_eq!(status["restartCount"], 0, "{status:#}");
}

fn cluster_ip(cluster: &Cluster) -> SocketAddr {
    let service = cluster.get(&["service", "httpbin", "-n", NAMESPACE]);
    let address = service["spec"]["clusterIP"].as_str().expect("a Service has an address");
    SocketAddr::new(address.parse().expect("it is an address"), 443)
}

/// The webhook is asked by the API server through its Service.
fn a_broken_ingress_is_refused(cluster: &Cluster) {
    let ingress = json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": { "name": "alb", "namespace": NAMESPACE },
        "spec": {
            "tls": [{ "hosts": ["web.example.com"], "secretName": "gateway-secert" }],
            "rules": [{ "host": "web.example.com" }],
        },
    });
    let said = cluster.refused(&ingress.to_string());
    assert!(said.contains("LH201") && said.contains("gateway-secret"), "{said}");
}
