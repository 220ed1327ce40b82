//! What a cluster is given: the overlays on a real API server, each with the rights that it gives and no
//! more; the page about rights; the dashboards.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Instant;

use lasthop_tests::kubernetes::{Cluster, exclusively, root, secret_manifest};
use lasthop_tests::pki::Pki;
use lasthop_tests::process::{PATIENCE, Program, Running};
use lasthop_tests::secret_dir::SecretDir;
use lasthop_tests::webhook::{pointed, rendered};
use serde_json::{Value, json};
use tempfile::TempDir;

const SYSTEM: &str = "lasthop-system";
const ACCOUNT: &str = "--as=system:serviceaccount:lasthop-system:lasthop";
const CONFIGURATIONS: &str = "mutatingwebhookconfiguration,validatingwebhookconfiguration";

/// An overlay whose rights are in the cluster.
struct Overlay {
    cluster: &'static Cluster,
    objects: Vec<Value>,
    home: TempDir,
}

impl Overlay {
    /// Gives the rights of an overlay, and takes those of the last one.
    fn install(cluster: &'static Cluster, folder: &str) -> Self {
        let roles = "clusterrole,clusterrolebinding,role,rolebinding";
        for kinds in [roles, CONFIGURATIONS] {
            let gone = ["delete", kinds, "-n", SYSTEM, "-l", "app.kubernetes.io/part-of=lasthop"];
            cluster.kubectl(&gone).run().expect_success();
        }
        Self::over(cluster, folder)
    }

    /// Gives the rights of an overlay beside those that are there, as `kubectl apply -k` does.
    fn over(cluster: &'static Cluster, folder: &str) -> Self {
        let objects = rendered(&|arguments| cluster.kubectl(arguments), folder).unwrap();
        for kind in ["Namespace", "ServiceAccount", "ClusterRole", "Role"] {
            let of_kind = |it: &&Value| it["kind"].as_str().is_some_and(|it| it.starts_with(kind));
            for object in objects.iter().filter(of_kind) {
                cluster.admitted(&object.to_string());
            }
        }
        let home = TempDir::with_prefix("lasthop-overlay-").unwrap();
        cluster.kubeconfig_of(SYSTEM, "lasthop", &home.path().join("kubeconfig"));
        Self { cluster, objects, home }
    }

    fn of_kind(&self, kind: &str) -> &Value {
        self.objects.iter().find(|it| it["kind"] == kind).expect("it is in the manifests")
    }

    /// What the Deployment starts `lasthop` with, as far as it is not about this machine.
    fn arguments(&self) -> Vec<String> {
        let deployment = self.of_kind("Deployment");
        let arguments = &deployment["spec"]["template"]["spec"]["containers"][0]["args"];
        let arguments = arguments.as_array().unwrap().iter().map(|it| it.as_str().unwrap());
        let elsewhere = |it: &&str| !it.starts_with("--listen") && !it.starts_with("--tls-dir");
        arguments.filter(elsewhere).map(str::to_owned).collect()
    }

    /// Runs `lasthop` as the Deployment does, with the rights of its service account.
    fn serve(&self, more: &[&str]) -> (Running, SocketAddr) {
        let mut running = Program::ours("lasthop")
            .args(self.arguments())
            .args(["--listen", "127.0.0.1:0", "--kubeconfig"])
            .arg(self.home.path().join("kubeconfig"))
            .args(more)
            .start();
        let address = running.address("webhook");
        (running, address)
    }

    /// The same, and the API server asks it, with the `caBundle` that it publishes.
    fn installed(&self) -> Running {
        let (running, address) = self.serve(&[]);
        for configuration in pointed(&self.objects, address, b"") {
            self.cluster.admitted(&configuration.to_string());
        }
        running
    }

    /// Whether the service account may do this.
    fn may(&self, question: &[&str]) -> bool {
        let asked = [&["auth", "can-i", ACCOUNT], question].concat();
        let answer = self.cluster.kubectl(&asked).run().stdout;
        assert!(["yes", "no"].contains(&answer.trim()), "{answer}");
        answer.trim() == "yes"
    }

    /// What kubectl says of an Ingress once `wanted` is in it: the API server takes up new webhooks
    /// after a moment, and until then it is admitted without a word.
    #[track_caller]
    fn told(&self, namespace: &str, secret: &str, wanted: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let applied = self.cluster.apply(&ingress(namespace, secret));
            if applied.stderr.contains(wanted) {
                return applied.stderr;
            }
            assert!(Instant::now() < deadline, "`{wanted}` was not said: {applied}");
            let gone = ["delete", "ingress", "web", "-n", namespace, "--ignore-not-found"];
            self.cluster.kubectl(&gone).run().expect_success();
        }
    }
}

fn ingress(namespace: &str, secret: &str) -> String {
    let backend = json!({ "service": { "name": "web", "port": { "number": 80 } } });
    let paths = json!([{ "path": "/", "pathType": "Prefix", "backend": backend }]);
    json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": { "namespace": namespace, "name": "web" },
        "spec": {
            "tls": [{ "hosts": ["web.example.com"], "secretName": secret }],
            "rules": [{ "host": "web.example.com", "http": { "paths": paths } }],
        },
    })
    .to_string()
}

fn secret(namespace: &str, name: &str) -> String {
    let leaf = Pki::new().authority("web").leaf().dns("web.example.com").issue();
    secret_manifest(namespace, name, "kubernetes.io/tls", &leaf.secret())
}

#[test]
fn observe_warns_until_a_namespace_says_otherwise() {
    let Some(cluster) = Cluster::shared() else { return };
    let _turn = exclusively();
    let overlay = Overlay::install(cluster, "manifests/overlays/observe");
    cluster.namespace("observed", &[]);
    let _webhook = overlay.installed();
    let told = overlay.told("observed", "nowhere-tls", "Warning: LH201");
    assert!(!told.contains("denied"), "{told}");
    cluster.get(&["ingress", "web", "-n", "observed"]);

    cluster.namespace("enforced", &["lasthop.dev/validate=enforce"]);
    let told = cluster.refused(&ingress("enforced", "nowhere-tls"));
    assert!(told.contains("LH201"), "{told}");
}

#[test]
fn nearest_name_knows_secrets_that_no_review_has_shown() {
    let Some(cluster) = Cluster::shared() else { return };
    let _turn = exclusively();
    let base = Overlay::install(cluster, "manifests/base");
    cluster.namespace("named", &[]);
    cluster.admitted(&secret("named", "there-before-lasthop"));
    assert!(!base.may(&["list", "secrets", "-n", "named"]));
    let webhook = base.installed();
    let told = base.told("named", "there-before-lastop", "denied the request");
    assert!(told.contains("LH201") && !told.contains("there-before-lasthop"), "{told}");
    drop(webhook);

    let overlay = Overlay::install(cluster, "manifests/overlays/nearest-name");
    assert!(overlay.may(&["list", "secrets", "-n", "named"]));
    let _webhook = overlay.installed();
    let told = overlay.told("named", "there-before-lastop", "denied the request");
    assert!(told.contains("LH201") && told.contains("`there-before-lasthop`"), "{told}");
}

#[test]
fn namespaced_secrets_are_read_where_a_namespace_lets_them_be_read() {
    let Some(cluster) = Cluster::shared() else { return };
    let _turn = exclusively();
    let overlay = Overlay::install(cluster, "manifests/overlays/namespaced-secrets");
    for name in ["open", "closed"] {
        cluster.namespace(name, &[]);
    }
    let rights = root().join("manifests/overlays/namespaced-secrets/for-a-namespace.yaml");
    cluster.kubectl(&["apply", "-n", "open", "-f"]).arg(rights).run().expect_success();
    assert!(overlay.may(&["get", "secrets", "-n", "open"]));
    assert!(!overlay.may(&["get", "secrets", "-n", "closed"]));
    assert!(!overlay.may(&["get", "secrets", "-n", "kube-system"]));

    let _webhook = overlay.installed();
    let told = overlay.told("open", "nowhere-tls", "denied the request");
    assert!(told.contains("LH201"), "{told}");
    let told = overlay.told("closed", "nowhere-tls", "Warning: LH901");
    assert!(told.contains("no right") && !told.contains("denied"), "{told}");
}

/// `kubectl apply -k` takes nothing away: the page has the lines that do, and these are they.
#[test]
fn what_the_base_leaves_behind_goes_with_the_lines_of_the_page() {
    let Some(cluster) = Cluster::shared() else { return };
    let _turn = exclusively();
    let page = std::fs::read_to_string(root().join("docs/rbac.md")).unwrap();
    let gone: Vec<&str> =
        page.lines().filter_map(|it| it.strip_prefix("    kubectl delete ")).collect();
    let (of_secrets, of_ca): (Vec<&str>, Vec<&str>) =
        gone.into_iter().partition(|line| line.contains("lasthop-secrets"));
    let cases = [
        ("namespaced-secrets", of_secrets, vec!["get", "secrets", "-n", "default"]),
        ("cert-manager-ca", of_ca, vec!["patch", "mutatingwebhookconfigurations/lasthop"]),
    ];
    for (overlay, lines, question) in cases {
        Overlay::install(cluster, "manifests/base");
        let narrow = Overlay::over(cluster, &format!("manifests/overlays/{overlay}"));
        assert!(narrow.may(&question), "{overlay}: else there is nothing to delete");
        assert!(!lines.is_empty(), "{overlay}");
        for line in lines {
            let line = line.split('#').next().unwrap_or_default();
            let arguments: Vec<&str> =
                ["delete"].into_iter().chain(line.split_whitespace()).collect();
            cluster.kubectl(&arguments).run().expect_success();
        }
        assert!(!narrow.may(&question), "{overlay}");
    }
    assert!(
        !Overlay::over(cluster, "manifests/overlays/cert-manager-ca")
            .may(&["create", "secrets", "-n", SYSTEM,])
    );
}

/// There is no cert-manager here: the test makes the Secret and the caBundle, which are its part.
#[test]
fn with_cert_manager_lasthop_has_no_right_on_webhook_configurations() {
    let Some(cluster) = Cluster::shared() else { return };
    let _turn = exclusively();
    let overlay = Overlay::install(cluster, "manifests/overlays/cert-manager-ca");
    cluster.namespace("certified", &[]);
    for configuration in CONFIGURATIONS.split(',') {
        let one = format!("{configuration}s/lasthop");
        for verb in ["get", "patch", "update", "delete"] {
            assert!(!overlay.may(&[verb, &one]), "{verb} {one}");
        }
    }
    assert!(!overlay.may(&["create", "secrets", "-n", SYSTEM]));
    assert!(!overlay.may(&["update", "secrets/lasthop-ca", "-n", SYSTEM]));

    // The name that the API server calls by, the Secret and its mount fit each other.
    let named = |name: &str| {
        overlay
            .objects
            .iter()
            .find(|it| it["kind"] == "Certificate" && it["metadata"]["name"] == name)
    };
    let serving = named("lasthop-serving").unwrap();
    let service = overlay.of_kind("Service");
    let name = format!("{}.{SYSTEM}.svc", service["metadata"]["name"].as_str().unwrap());
    assert_eq!(serving["spec"]["dnsNames"], json!([name]));
    let pod = &overlay.of_kind("Deployment")["spec"]["template"]["spec"];
    assert_eq!(pod["volumes"][0]["secret"]["secretName"], serving["spec"]["secretName"]);
    let mount = pod["containers"][0]["volumeMounts"][0]["mountPath"].as_str().unwrap();
    let arguments = pod["containers"][0]["args"].to_string();
    assert!(arguments.contains(&format!("--tls-dir={mount}\"")), "{arguments}");

    let authority = Pki::new().authority("lasthop-serving-ca");
    let leaf = authority.leaf().dns(&name).ip([127, 0, 0, 1]).server_only().issue();
    let mounted = SecretDir::new(&leaf.secret());
    let (_webhook, address) = overlay.serve(&["--tls-dir", &mounted.path().display().to_string()]);
    for configuration in pointed(&overlay.objects, address, authority.root_pem().as_bytes()) {
        let source = &configuration["metadata"]["annotations"]["cert-manager.io/inject-ca-from"];
        assert_eq!(*source, json!(format!("{SYSTEM}/lasthop-serving")));
        cluster.admitted(&configuration.to_string());
    }
    let told = overlay.told("certified", "nowhere-tls", "denied the request");
    assert!(told.contains("LH201"), "{told}");
}

/// Every resource with the verbs that some role of lasthop has on it.
fn rights(files: &[PathBuf]) -> BTreeMap<String, BTreeSet<String>> {
    let mut rights: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for file in files {
        let objects: Vec<Value> =
            serde_saphyr::from_multiple(&std::fs::read_to_string(file).unwrap()).unwrap();
        for rule in objects.iter().filter_map(|it| it["rules"].as_array()).flatten() {
            let words = |field: &str| {
                let words = rule[field].as_array().unwrap().iter();
                words.map(|it| it.as_str().unwrap().to_owned()).collect::<Vec<_>>()
            };
            for resource in words("resources") {
                rights.entry(resource).or_default().extend(words("verbs"));
            }
        }
    }
    rights
}

#[test]
fn every_right_is_on_the_page_and_nothing_else() {
    let page = std::fs::read_to_string(root().join("docs/rbac.md")).unwrap();
    let mut told: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for row in page.lines().filter_map(|line| line.strip_prefix("| `")) {
        let mut cells = row.split('|');
        let words = |cell: &str| -> Vec<String> {
            let words = cell.split([' ', ',', '`']).filter(|it| !it.is_empty());
            words.map(str::to_owned).collect()
        };
        let (verbs, resources) = (words(cells.next().unwrap()), words(cells.next().unwrap()));
        for resource in resources {
            told.entry(resource).or_default().extend(verbs.clone());
        }
    }
    let manifests: &Path = &root().join("manifests");
    let given = rights(&[
        manifests.join("base/rbac.yaml"),
        manifests.join("overlays/nearest-name/rbac.yaml"),
    ]);
    assert_eq!(told, given);
}

/// The expressions and variables of a dashboard.
fn queries(value: &Value) -> Vec<&str> {
    match value {
        Value::Array(items) => items.iter().flat_map(queries).collect(),
        Value::Object(fields) => {
            let own = ["expr", "query"].iter().filter_map(|name| fields.get(*name)?.as_str());
            own.chain(fields.values().flat_map(queries)).collect()
        }
        _ => Vec::new(),
    }
}

/// The pages are held against what the programs tell, by their own tests.
#[test]
fn every_metric_of_a_dashboard_is_told_by_its_program() {
    for (name, page) in [("webhook", "docs/webhook.md"), ("sidecar", "docs/sidecar.md")] {
        let page = std::fs::read_to_string(root().join(page)).unwrap();
        let file = root().join(format!("manifests/dashboards/{name}.json"));
        let dashboard: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
        let mut found = BTreeSet::new();
        for query in queries(&dashboard) {
            let words = query.split(|it: char| !it.is_ascii_alphanumeric() && it != '_');
            found.extend(words.filter(|word| word.starts_with("lasthop_")));
        }
        assert!(found.len() > 8, "{name}: {found:?}");
        for metric in found {
            let plain = metric.strip_suffix("_bucket").unwrap_or(metric);
            assert!(page.contains(&format!("`{plain}`")), "{metric} is no metric of the {name}");
        }
    }
}
