//! A pod that the API server stored, running on this machine: its volumes laid out as kubelet does,
//! the sidecar with exactly the configuration in the pod, the application behind it.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};

use anyhow::{Context as _, Result};
use serde_json::Value;
use tempfile::TempDir;

use crate::app::App;
use crate::kubelet::{Kubelet, sidecar_of, variable};
use crate::process::{Program, Running};
use crate::sidecar::sum_of;

/// Where the sidecar's Secrets are mounted in a pod.
pub const MOUNT_ROOT: &str = "/var/run/secrets/lasthop.dev";

/// Ports of this machine for a pod.
#[derive(Clone, Copy, Debug)]
pub struct Ports {
    /// TLS from clients.
    pub tls: u16,
    /// Plain HTTP that is redirected.
    pub redirect: u16,
    /// Health and metrics.
    pub status: u16,
    /// The application's.
    pub app: u16,
}

impl Ports {
    /// Free ports, `wishes` where they are free.
    pub fn choose(wishes: Self) -> Self {
        let mut held = Vec::new();
        let mut choose = |wish: u16| {
            let bind = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port));
            let listener =
                bind(wish).or_else(|_taken| bind(0)).expect("this machine has a free port");
            let port = listener.local_addr().expect("a bound socket has an address").port();
            held.push(listener);
            port
        };
        Self {
            tls: choose(wishes.tls),
            redirect: choose(wishes.redirect),
            status: choose(wishes.status),
            app: choose(wishes.app),
        }
    }

    /// Free ports.
    pub fn free() -> Self {
        Self::choose(Self { tls: 0, redirect: 0, status: 0, app: 0 })
    }

    /// Writes the ports into a pod template's first container and, where they are not what they are
    /// without, into its annotations.
    pub fn write_into(self, template: &mut Value) {
        let annotations = &mut template["metadata"]["annotations"];
        if self.tls != 8443 {
            annotations["lasthop.dev/ports"] = format!("{}:{}", self.tls, self.app).into();
        }
        if self.status != 15443 {
            annotations["lasthop.dev/status-port"] = self.status.to_string().into();
        }
        if annotations.get("lasthop.dev/redirect-port").is_some() {
            annotations["lasthop.dev/redirect-port"] = self.redirect.to_string().into();
        }
        template["spec"]["containers"][0]["ports"][0]["containerPort"] = self.app.into();
    }
}

/// A pod, running on this machine.
#[derive(Debug)]
pub struct PodOnHost {
    /// The sidecar.
    pub sidecar: Running,
    /// Its volumes.
    pub kubelet: Kubelet,
    /// The application behind it.
    pub app: App,
    /// Where TLS is ended.
    pub tls: SocketAddr,
    /// Where plain HTTP is redirected, if the pod asks for that.
    pub redirect: Option<SocketAddr>,
    /// Where health and metrics are answered.
    pub status: SocketAddr,
    _home: TempDir,
}

impl PodOnHost {
    /// Starts what `pod` describes; `find` gives `("Secret" | "ConfigMap", name)`.
    pub fn start(pod: &Value, find: impl Fn(&str, &str) -> Option<Value>) -> Result<Self> {
        let container = sidecar_of(pod)?;
        let document = variable(container, "LASTHOP_CONFIG")?;
        let config: Value = serde_json::from_str(document)?;
        let home = TempDir::with_prefix("lasthop-pod-")?;
        let mut kubelet = Kubelet::new(pod, container, MOUNT_ROOT, home.path())?;
        kubelet.sync(find)?;

        let tls = listener(&config, "terminate").context("the pod has no TLS listener")?;
        let redirect = listener(&config, "redirect");
        let forward = config["listeners"].as_array().into_iter().flatten();
        let port = forward.filter_map(|it| it["forward"].as_u64()).min();
        let port = u16::try_from(port.context("the pod forwards to no port")?)?;
        let app = App::start_at(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
        let mut sidecar = Program::ours("lasthop-sidecar")
            .env("LASTHOP_CONFIG", document)
            .arg("--secrets-root")
            .arg(home.path())
            .args(["--bind", "127.0.0.1"])
            .start();
        let listening = |line: &str| line.contains("listening") && line.contains(&tls.to_string());
        sidecar.wait_for_line(listening);
        let status = config["statusListen"].as_str().context("the pod has no status listener")?;
        let status = on_this_machine(status).context("the status address cannot be read")?;
        Ok(Self { sidecar, kubelet, app, tls, redirect, status, _home: home })
    }
}

impl PodOnHost {
    /// The sum of all samples of a metric whose labels hold all of `labels`.
    #[track_caller]
    pub fn metric(&self, name: &str, labels: &[&str]) -> f64 {
        sum_of(&self.metrics(), name, labels)
    }

    /// What `/metrics` answers, head and body.
    #[track_caller]
    pub fn metrics(&self) -> String {
        let mut stream = TcpStream::connect(self.status).expect("the status listener is there");
        let request = b"GET /metrics HTTP/1.1\r\nHost: status\r\n\r\n";
        stream.write_all(request).expect("the status listener reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("the status listener answers");
        answer
    }
}

fn listener(config: &Value, mode: &str) -> Option<SocketAddr> {
    let mut listeners = config["listeners"].as_array()?.iter();
    on_this_machine(listeners.find(|it| it["mode"] == mode)?["listen"].as_str()?)
}

/// The address that `--bind 127.0.0.1` makes of one in the configuration.
fn on_this_machine(address: &str) -> Option<SocketAddr> {
    let address: SocketAddr = address.parse().ok()?;
    Some(SocketAddr::from((Ipv4Addr::LOCALHOST, address.port())))
}

/// The pod that a Deployment's controller would create.
pub fn pod_of(deployment: &Value) -> Value {
    let template = &deployment["spec"]["template"];
    let mut metadata = template["metadata"].clone();
    let name = deployment["metadata"]["name"].as_str().unwrap_or_default();
    metadata["generateName"] = format!("{name}-").into();
    metadata["namespace"] = deployment["metadata"]["namespace"].clone();
    serde_json::json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"],
    })
}
