//! `lasthop serve` on this machine, asked by a real API server: the webhook configurations of
//! `manifests/base`, pointed at its address.

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::kubernetes::{Cluster, root};
use crate::pki::Pki;
use crate::process::{PATIENCE, Program, Running};
use crate::sidecar::Sidecar;

/// A running webhook.
#[derive(Debug)]
pub struct Webhook {
    running: Running,
    address: SocketAddr,
    home: TempDir,
}

impl Webhook {
    /// Starts the webhook and points the cluster's webhook configurations at it.
    pub fn on(cluster: &Cluster, arguments: &[&str]) -> Self {
        let kubectl = |arguments: &[&str]| cluster.kubectl(arguments);
        Self::start(&kubectl, Some(cluster.kubeconfig()), arguments)
            .unwrap_or_else(|error| panic!("the webhook cannot be installed: {error:#}"))
    }

    /// The same with any `kubectl`, for a cluster that others started.
    pub fn start(
        kubectl: &dyn Fn(&[&str]) -> Program,
        kubeconfig: Option<&Path>,
        arguments: &[&str],
    ) -> Result<Self> {
        let home = TempDir::with_prefix("lasthop-webhook-")?;
        let ca = home.path().join("ca.crt");
        let own = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "lasthop-system" } });
        apply(kubectl, &own)?;
        let mut program = Program::ours("lasthop")
            .args(["serve", "--listen", "127.0.0.1:0", "--tls-san", "127.0.0.1", "--ca-file"])
            .arg(&ca)
            .args(arguments)
            // Nobody is asking any more when a test stops it.
            .env("LASTHOP_DRAIN_DELAY", "0");
        if let Some(kubeconfig) = kubeconfig {
            program = program.env("KUBECONFIG", kubeconfig);
        }
        let mut running = program.start();
        let address = running.address("webhook");
        let bundle = std::fs::read(&ca).context("the webhook wrote no CA")?;
        for configuration in configurations(kubectl, address, &bundle)? {
            apply(kubectl, &configuration)?;
        }
        wait_until_asked(kubectl)?;
        Ok(Self { running, address, home })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What `/metrics` says.
    #[track_caller]
    pub fn metrics(&self) -> String {
        let ca = self.home.path().join("ca.crt");
        let url = format!("https://{}/metrics", self.address);
        crate::curl::Curl::get(&url).trust(&ca).run().expect(200).text()
    }

    /// The process.
    pub fn process(&mut self) -> &mut Running {
        &mut self.running
    }

    /// Asks it to end and waits for that.
    pub fn stop(self) {
        self.running.terminate();
        drop(self.running.finish());
    }
}

/// A plaintext server of a test in the place of a webhook, behind TLS, which is what lasthop is there for.
#[derive(Debug)]
pub struct Elsewhere {
    sidecar: Sidecar,
    root: Vec<u8>,
}

impl Elsewhere {
    /// Starts TLS before `server`.
    pub fn before(pki: &Pki, server: SocketAddr) -> Self {
        let authority = pki.authority("webhooks");
        let leaf = authority.leaf().dns("localhost").issue();
        let root = authority.root_pem().into_bytes();
        Self { sidecar: Sidecar::before(server).serving(&leaf).start(), root }
    }

    /// Where the API server finds `path` of it.
    pub fn client_config(&self, path: &str) -> Value {
        let url = format!("https://localhost:{}{path}", self.sidecar.tls.port());
        json!({ "url": url, "caBundle": STANDARD.encode(&self.root) })
    }
}

fn apply(kubectl: &dyn Fn(&[&str]) -> Program, object: &Value) -> Result<()> {
    let applied = kubectl(&["apply", "-f", "-"]).input(object.to_string()).run();
    ensure!(applied.status.success(), "{applied}");
    Ok(())
}

/// A fresh webhook configuration takes the API server a moment, and the two kinds of it are not
/// taken up together: asks, without storing anything, until both answer.
fn wait_until_asked(kubectl: &dyn Fn(&[&str]) -> Program) -> Result<()> {
    let labels = json!({ "lasthop.dev/inject": "enabled", "lasthop.dev/validate": "enforce" });
    apply(
        kubectl,
        &json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": PROBE, "labels": labels } }),
    )?;
    let deadline = Instant::now() + PATIENCE;
    let try_out = |object: &Value| {
        kubectl(&["create", "--dry-run=server", "-o", "json", "-f", "-"])
            .input(object.to_string())
            .run()
    };
    while try_out(&broken_ingress()).status.success() {
        ensure!(
            Instant::now() < deadline,
            "the API server does not ask the webhook about an Ingress"
        );
        std::thread::sleep(Duration::from_millis(50));
    }
    loop {
        let created = try_out(&annotated_pod());
        if created.stdout.contains("LASTHOP_CONFIG") {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "the webhook does not inject: {created}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

const PROBE: &str = "lasthop-probe";

fn broken_ingress() -> Value {
    json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": { "name": "probe", "namespace": PROBE },
        "spec": {
            "tls": [{ "hosts": ["probe.example"] }, { "secretName": "probe" }],
            "rules": [{ "host": "probe.example" }],
        },
    })
}

fn annotated_pod() -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": "probe",
            "namespace": PROBE,
            "annotations": { "lasthop.dev/inject": "true", "lasthop.dev/tls-secret": "probe" },
        },
        "spec": { "containers": [{
            "name": "app", "image": "app:1", "ports": [{ "containerPort": 8080 }],
        }] },
    })
}

/// The webhook configurations of `manifests/base`, with the URL of a webhook outside the cluster.
pub fn configurations(
    kubectl: &dyn Fn(&[&str]) -> Program,
    address: SocketAddr,
    ca_bundle: &[u8],
) -> Result<Vec<Value>> {
    let configurations = pointed(&rendered(kubectl, "manifests/base")?, address, ca_bundle);
    ensure!(!configurations.is_empty(), "manifests/base holds no webhook configuration");
    Ok(configurations)
}

/// What `kubectl kustomize` makes of a folder of the repository.
pub fn rendered(kubectl: &dyn Fn(&[&str]) -> Program, folder: &str) -> Result<Vec<Value>> {
    let rendered = kubectl(&["kustomize"]).arg(root().join(folder)).run();
    ensure!(rendered.status.success(), "{rendered}");
    Ok(serde_saphyr::from_multiple(&rendered.stdout)?)
}

/// The webhook configurations among `objects`, with the URL of a webhook outside the cluster; without a
/// CA bundle, they have none.
pub fn pointed(objects: &[Value], address: SocketAddr, ca_bundle: &[u8]) -> Vec<Value> {
    let mut configurations = Vec::new();
    for object in objects {
        let path = match object["kind"].as_str().unwrap_or_default() {
            "MutatingWebhookConfiguration" => "mutate",
            "ValidatingWebhookConfiguration" => "validate",
            _ => continue,
        };
        let mut object = object.clone();
        for webhook in object["webhooks"].as_array_mut().into_iter().flatten() {
            webhook["clientConfig"] = json!({ "url": format!("https://{address}/{path}") });
            if !ca_bundle.is_empty() {
                webhook["clientConfig"]["caBundle"] = STANDARD.encode(ca_bundle).into();
            }
        }
        configurations.push(object);
    }
    configurations
}
