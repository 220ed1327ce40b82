//! A real API server, asked with kubectl: the one of the current kubeconfig, or one of our own.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};
use lasthop_tests::process::Program;
use lasthop_tests::skip;
use lasthop_tests::webhook::Webhook;
use serde_json::Value;

use crate::cast::Cast;
use crate::stage::surrounding_objects;
use crate::terminal::Terminal;

/// A real API server with lasthop in front of it.
pub(crate) struct Live {
    kubectl: PathBuf,
    /// [`None`]: kubectl finds it as it always does.
    kubeconfig: Option<PathBuf>,
    /// The webhook, where it runs on this machine and not in the cluster.
    webhook: Option<Webhook>,
    /// The cluster to take down at the end.
    own: Option<String>,
    /// The namespaces that the story made in a cluster of somebody's.
    made: Vec<String>,
}

impl Live {
    /// Finds or starts an API server, and puts the story's namespaces and Secrets into it.
    pub(crate) fn raise(terminal: &Terminal, cast: &Cast) -> Result<Self> {
        let mut live = if has_kubeconfig() { Self::current()? } else { Self::own(terminal)? };
        if live.is_installed() {
            terminal.say("lasthop is installed in this cluster.");
        } else if live.is_on_this_machine() {
            live.start_webhook(terminal)?;
        } else {
            bail!("lasthop is not installed in this cluster: kubectl apply -k manifests/base");
        }
        for object in surrounding_objects(cast) {
            let name = object["metadata"]["name"].as_str().unwrap_or_default();
            if object["kind"] == "Namespace" && live.has_namespace(name) {
                bail!("this cluster has a namespace `{name}` already, which the demo would change");
            }
            let applied = live.kubectl(&["apply", "-f", "-"]).input(object.to_string()).run();
            ensure!(applied.status.success(), "{applied}");
            if object["kind"] == "Namespace" {
                live.made.push(name.to_owned());
            }
        }
        Ok(live)
    }

    fn current() -> Result<Self> {
        let kubectl = skip::find("kubectl").context("there is no kubectl here")?;
        Ok(Self { kubectl, kubeconfig: None, webhook: None, own: None, made: Vec::new() })
    }

    fn own(terminal: &Terminal) -> Result<Self> {
        let name = format!("demo-{}", std::process::id());
        terminal.command(&format!("scripts/cluster up api --name {name}"));
        let up = Command::new("scripts/cluster")
            .args(["up", "api", "--name", &name])
            .stderr(Stdio::inherit()) // the first time it builds Kubernetes, and shows how far it is
            .output()?;
        ensure!(up.status.success(), "scripts/cluster up api failed with {}", up.status);
        let stdout = String::from_utf8_lossy(&up.stdout).into_owned();
        let kubeconfig = PathBuf::from(stdout.lines().last().context("no kubeconfig was printed")?);
        let beside = kubeconfig.parent().map(|folder| folder.join("bin/kubectl"));
        let kubectl = beside
            .filter(|path| path.is_file())
            .or_else(|| skip::find("kubectl"))
            .context("there is no kubectl here")?;
        Ok(Self {
            kubectl,
            kubeconfig: Some(kubeconfig),
            webhook: None,
            own: Some(name),
            made: Vec::new(),
        })
    }

    /// kubectl with these arguments.
    pub(crate) fn kubectl(&self, arguments: &[&str]) -> Program {
        let program = Program::at(&self.kubectl).args(arguments);
        match &self.kubeconfig {
            Some(kubeconfig) => program.env("KUBECONFIG", kubeconfig),
            None => program,
        }
    }

    fn is_installed(&self) -> bool {
        let found = self.kubectl(&["get", "mutatingwebhookconfiguration", "lasthop", "-o", "name"]);
        found.run().status.success()
    }

    fn has_namespace(&self, name: &str) -> bool {
        self.kubectl(&["get", "namespace", name]).run().status.success()
    }

    /// Whether `scripts/cluster` started it: such an API server reaches a webhook on 127.0.0.1. One in
    /// a container on this machine has another loopback.
    fn is_on_this_machine(&self) -> bool {
        let named = std::env::var_os("KUBECONFIG").map(PathBuf::from);
        let file = self.kubeconfig.clone().or(named);
        let state = format!("lasthop-cluster-{}", skip::uid());
        file.is_some_and(|file| file.components().any(|part| part.as_os_str() == state.as_str()))
    }

    /// Runs the webhook on this machine, with the configurations of manifests/base pointed at it.
    fn start_webhook(&mut self, terminal: &Terminal) -> Result<()> {
        terminal.say("An API server without lasthop, on this machine: the webhook runs beside it.");
        terminal.command("lasthop serve --listen 127.0.0.1:0 --tls-san 127.0.0.1");
        let kubectl = |arguments: &[&str]| self.kubectl(arguments);
        self.webhook = Some(Webhook::start(&kubectl, self.kubeconfig.as_deref(), &[])?);
        Ok(())
    }

    /// What the API server would store of `asked` if it did not ask for the sidecar: its defaults are
    /// no work of lasthop.
    pub(crate) fn create_dry_without_webhook(&self, asked: &Value) -> Value {
        let mut plain = asked.clone();
        plain["metadata"]["annotations"] = Value::Null;
        let answer = self
            .kubectl(&["create", "--dry-run=server", "-o", "json", "-f", "-"])
            .input(plain.to_string())
            .run();
        let mut answer: Value =
            serde_json::from_str(&answer.stdout).unwrap_or_else(|_| asked.clone());
        answer["metadata"]["annotations"] = asked["metadata"]["annotations"].clone();
        answer
    }
}

/// However the story ends: what was started ends, and what was put into somebody's cluster goes.
impl Drop for Live {
    fn drop(&mut self) {
        if let Some(name) = &self.own {
            drop(Command::new("scripts/cluster").args(["down", "--name", name]).status());
        } else {
            if self.webhook.is_some() {
                let configurations = "validatingwebhookconfiguration,mutatingwebhookconfiguration";
                drop(self.kubectl(&["delete", configurations, "lasthop"]).run());
                self.made.extend(["lasthop-probe", "lasthop-system"].map(ToOwned::to_owned));
            }
            for namespace in &self.made {
                drop(self.kubectl(&["delete", "namespace", namespace, "--wait=false"]).run());
            }
        }
        if let Some(webhook) = self.webhook.take() {
            webhook.stop();
        }
    }
}

fn has_kubeconfig() -> bool {
    let home = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".kube/config"));
    std::env::var_os("KUBECONFIG").is_some() || home.is_some_and(|file| file.is_file())
}
