//! What the five have in common.

use lasthop_tests::curl::Curl;
use lasthop_tests::kubernetes::{Cluster, root, secret_manifest};
use lasthop_tests::pki::{Issued, SecretData};
use lasthop_tests::pod::{PodOnHost, Ports, pod_of};
use lasthop_tests::process::Program;
use serde_json::Value;

/// A file of `manifests/examples`.
pub(super) fn example(path: &str) -> String {
    let file = root().join("manifests/examples").join(path);
    std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

/// The first object of that kind in a file of `manifests/examples`.
pub(super) fn object(path: &str, kind: &str) -> Value {
    let objects: Vec<Value> =
        serde_saphyr::from_multiple(&example(path)).expect("an example is YAML");
    let found = objects.into_iter().find(|object| object["kind"] == kind);
    found.unwrap_or_else(|| panic!("{path} holds no {kind}"))
}

/// Stores a Secret, which must be admitted; the result has warnings on standard error.
pub(super) fn store(
    cluster: &Cluster,
    place: (&str, &str),
    kind: &str,
    data: &SecretData,
) -> String {
    let (namespace, name) = place;
    cluster.admitted(&secret_manifest(namespace, name, kind, data)).stderr
}

/// `scripts/create-secret` with these arguments, against the cluster.
pub(super) fn create_secret(cluster: &Cluster, arguments: &[&str]) -> String {
    let finished = Program::at(root().join("scripts/create-secret"))
        .args(arguments)
        .env("KUBECONFIG", cluster.kubeconfig())
        .env("PATH", path_with_kubectl(cluster))
        .run()
        .expect_success();
    format!("{}{}", finished.stdout, finished.stderr)
}

fn path_with_kubectl(cluster: &Cluster) -> String {
    let beside = cluster.kubeconfig().parent().map(|state| state.join("bin").display().to_string());
    let assets = std::env::var("KUBEBUILDER_ASSETS").ok();
    let path = std::env::var("PATH").unwrap_or_default();
    [beside, assets, Some(path)].into_iter().flatten().collect::<Vec<_>>().join(":")
}

/// Applies the Deployment, which must be admitted, and creates the pod that its controller would
/// create (this API server has no controllers). The pod gets ports of this machine.
pub(super) fn create_pod(cluster: &Cluster, mut deployment: Value) -> Value {
    Ports::free().write_into(&mut deployment["spec"]["template"]);
    cluster.admitted(&deployment.to_string());
    let pod = pod_of(&deployment).to_string();
    let created = cluster.kubectl(&["create", "-o", "json", "-f", "-"]).input(pod).run();
    serde_json::from_str(&created.expect_success().stdout).expect("kubectl prints JSON")
}

/// Runs a stored pod on this machine, with the Secrets of its namespace as they are in the cluster.
pub(super) fn run(cluster: &Cluster, pod: &Value) -> PodOnHost {
    PodOnHost::start(pod, |kind, name| stored(cluster, pod, kind, name))
        .unwrap_or_else(|error| panic!("the pod cannot run: {error:#}\n{pod:#}"))
}

/// What kubelet does when a Secret of the pod changed.
pub(super) fn sync(cluster: &Cluster, pod: &Value, running: &mut PodOnHost) {
    let synced = running.kubelet.sync(|kind, name| stored(cluster, pod, kind, name));
    synced.unwrap_or_else(|error| panic!("the volumes cannot be written: {error:#}"));
}

fn stored(cluster: &Cluster, pod: &Value, kind: &str, name: &str) -> Option<Value> {
    let namespace = pod["metadata"]["namespace"].as_str().expect("a pod has a namespace");
    let found = cluster.kubectl(&["get", kind, name, "-n", namespace, "-o", "json"]).run();
    found
        .status
        .success()
        .then(|| serde_json::from_str(&found.stdout).expect("kubectl prints JSON"))
}

/// A request to the pod that trusts `server`'s root and asks for `host`.
pub(super) fn request(pod: &PodOnHost, host: &str, server: &Issued) -> Curl {
    Curl::get(&format!("https://{host}/headers")).at(pod.tls).trust(server.files().root)
}
