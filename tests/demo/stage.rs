//! Where the story plays: the demo in the part of the API server, or a real one with kubectl.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use lasthop_tests::curl::Curl;
use lasthop_tests::process::{Program, Running};
use serde_json::{Value, json};

use crate::cast::{Cast, NAMESPACE};
use crate::live::Live;
use crate::terminal::Terminal;

/// What kubectl prints, and whether the object was taken.
pub(crate) struct Answer {
    pub(crate) text: String,
    pub(crate) admitted: bool,
}

impl Answer {
    /// Adds what kubectl prints of one object.
    fn add(&mut self, file: &Path, object: &Value, response: &Value) {
        let mut lines: Vec<String> = Vec::new();
        for warning in response["warnings"].as_array().into_iter().flatten() {
            lines.push(format!("Warning: {}", warning.as_str().unwrap_or_default()));
        }
        if response["allowed"] == true {
            lines.push(format!("{} created", named(object)));
        } else {
            self.admitted = false;
            let file = file.display();
            let message = response["status"]["message"].as_str().unwrap_or_default();
            lines.push(format!(
                "Error from server (Forbidden): error when creating \"{file}\": admission webhook \
                 \"references.check.lasthop.dev\" denied the request: {message}"
            ));
        }
        self.text.push_str(&lines.join("\n"));
        self.text.push('\n');
    }
}

/// Where the story plays.
pub(crate) enum Stage {
    /// `lasthop serve --surroundings`, with the demo asking in the API server's place.
    Embedded { webhook: Running, address: SocketAddr, ca: PathBuf, folder: PathBuf },
    /// A real API server.
    Cluster(Box<Live>),
}

impl Stage {
    /// Starts what the story needs: a webhook that answers from files, or a real API server.
    pub(crate) fn raise(
        terminal: &Terminal,
        folder: &Path,
        cast: &Cast,
        on_cluster: bool,
    ) -> Result<Self> {
        if on_cluster {
            return Ok(Self::Cluster(Box::new(Live::raise(terminal, cast)?)));
        }
        let surroundings = folder.join("surroundings");
        fs::create_dir_all(&surroundings)?;
        for (number, object) in surrounding_objects(cast).iter().enumerate() {
            fs::write(surroundings.join(format!("{number}.json")), serde_json::to_vec(object)?)?;
        }
        let ca = folder.join("webhook-ca.crt");
        terminal.say("No cluster: the demo plays the API server, the webhook answers from files.");
        terminal.command("lasthop serve --surroundings ./surroundings --listen 127.0.0.1:0");
        let mut webhook = Program::ours("lasthop")
            .args(["serve", "--listen", "127.0.0.1:0", "--surroundings"])
            .arg(&surroundings)
            .arg("--ca-file")
            .arg(&ca)
            .start();
        let address = webhook.address("webhook");
        Ok(Self::Embedded { webhook, address, ca, folder: folder.to_owned() })
    }

    /// Puts away what the story needed.
    pub(crate) fn strike(self) {
        match self {
            Self::Embedded { webhook, .. } => {
                webhook.terminate();
                drop(webhook.finish());
            }
            Self::Cluster(live) => drop(live),
        }
    }

    /// `kubectl apply -f FILE`.
    pub(crate) fn apply(&self, file: &Path) -> Result<Answer> {
        match self {
            Self::Cluster(live) => {
                let finished = live.kubectl(&["apply", "-f"]).arg(file).run();
                let text = format!("{}{}", finished.stderr, finished.stdout);
                Ok(Answer { text, admitted: finished.status.success() })
            }
            Self::Embedded { .. } => {
                let mut answer = Answer { text: String::new(), admitted: true };
                for object in documents(file)? {
                    let response = self.review("validate", &object)?;
                    answer.add(file, &object, &response);
                }
                Ok(answer)
            }
        }
    }

    /// Creates a Pod; what the API server stores, after every webhook.
    pub(crate) fn create_pod(&self, pod: &Value) -> Result<Value> {
        match self {
            Self::Cluster(live) => {
                let created =
                    live.kubectl(&["create", "-o", "json", "-f", "-"]).input(pod.to_string()).run();
                ensure!(created.status.success(), "the pod was not created: {created}");
                Ok(serde_json::from_str(&created.stdout)?)
            }
            Self::Embedded { .. } => {
                let response = self.review("mutate", pod)?;
                ensure!(response["allowed"] == true, "the pod was refused: {response}");
                let patch = response["patch"].as_str().context("the answer holds no patch")?;
                let patch: json_patch::Patch = serde_json::from_slice(&STANDARD.decode(patch)?)?;
                let mut patched = pod.clone();
                json_patch::patch(&mut patched, &patch)?;
                Ok(patched)
            }
        }
    }

    /// The pod to hold the stored one against: the API server fills in defaults of its own, which
    /// are no work of the webhook.
    pub(crate) fn without_sidecar(&self, asked: &Value) -> Value {
        match self {
            Self::Embedded { .. } => asked.clone(),
            Self::Cluster(live) => live.create_dry_without_webhook(asked),
        }
    }

    /// Asks as the API server does: an AdmissionReview v1 over HTTPS, with the CA of the webhook
    /// configuration.
    fn review(&self, path: &str, object: &Value) -> Result<Value> {
        let Self::Embedded { address, ca, folder, .. } = self else {
            bail!("a real API server asks the webhook by itself")
        };
        let body = folder.join("review.json");
        fs::write(&body, serde_json::to_vec(&review_of(object))?)?;
        let answer = Curl::get(&format!("https://{address}/{path}?timeout=5s"))
            .trust(ca)
            .header("Content-Type: application/json")
            .body_file(body)
            .run()
            .expect(200);
        Ok(answer.json()["response"].take())
    }
}

fn review_of(object: &Value) -> Value {
    let (group, version) = match object["apiVersion"].as_str().unwrap_or_default().split_once('/') {
        Some((group, version)) => (group, version),
        None => ("", "v1"),
    };
    let kind = object["kind"].as_str().unwrap_or_default();
    let plural = match kind {
        "Ingress" => "ingresses".to_owned(),
        other => format!("{}s", other.to_lowercase()),
    };
    json!({
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": "705ab4f5-6393-11e8-b7cc-42010a800002",
            "kind": { "group": group, "version": version, "kind": kind },
            "resource": { "group": group, "version": version, "resource": plural },
            "name": object["metadata"]["name"],
            "namespace": object["metadata"]["namespace"].as_str().unwrap_or("default"),
            "operation": "CREATE",
            "userInfo": { "username": "kubernetes-admin", "groups": ["system:masters", "system:authenticated"] },
            "object": object,
            "oldObject": null,
            "dryRun": false,
            "options": { "apiVersion": "meta.k8s.io/v1", "kind": "CreateOptions" }
        }
    })
}

/// `ingress.networking.k8s.io/web`, as kubectl names objects.
fn named(object: &Value) -> String {
    let kind = object["kind"].as_str().unwrap_or_default().to_lowercase();
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    match object["apiVersion"].as_str().unwrap_or_default().split_once('/') {
        Some((group, _version)) => format!("{kind}.{group}/{name}"),
        None => format!("{kind}/{name}"),
    }
}

/// The objects of a YAML file.
pub(crate) fn documents(file: &Path) -> Result<Vec<Value>> {
    let text = fs::read_to_string(file).with_context(|| file.display().to_string())?;
    let objects: Vec<Value> =
        serde_saphyr::from_multiple(&text).with_context(|| file.display().to_string())?;
    Ok(objects.into_iter().filter(|object| !object.is_null()).collect())
}

/// What is in the cluster before the story begins.
pub(crate) fn surrounding_objects(cast: &Cast) -> Vec<Value> {
    let namespace = |name: &str| {
        json!({
            "apiVersion": "v1", "kind": "Namespace",
            "metadata": { "name": name, "labels": { "lasthop.dev/inject": "enabled", "lasthop.dev/validate": "enforce" } },
        })
    };
    let mut objects = vec![namespace("application"), namespace(NAMESPACE)];
    objects.extend(cast.secrets().iter().cloned());
    objects
}
