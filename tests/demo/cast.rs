//! Who plays: certificates of a public CA, made in the run by `scripts/create-secret`.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

/// The namespace of the application.
pub(crate) const NAMESPACE: &str = "httptools";
/// The host that users ask the balancer for.
pub(crate) const ALB_HOST: &str =
    "httpbin.mycluster-a1b2c3-0000.us-south.containers.appdomain.cloud";
/// The name that the balancer connects to.
pub(crate) const GATEWAY: &str = "mycluster-a1b2c3-0001.us-south.containers.appdomain.cloud";
/// The Secret with the certificate of [`GATEWAY`].
pub(crate) const GATEWAY_SECRET: &str = "gateway-secret";

const ALB_SUBDOMAIN: &str = "mycluster-a1b2c3-0000.us-south.containers.appdomain.cloud";
const PUBLIC_CA: &str = "lets-pretend";

/// A certificate and its key, as files.
pub(crate) struct Pair {
    pub(crate) chain: PathBuf,
    pub(crate) key: PathBuf,
}

/// Everybody's certificates, all of one public CA.
pub(crate) struct Cast {
    folder: PathBuf,
    /// The balancer: its public *server* certificate, a wildcard.
    pub(crate) alb: Pair,
    /// Somebody else with a certificate of the same CA.
    pub(crate) stranger: Pair,
    secrets: Vec<Value>,
}

impl Cast {
    /// Makes everybody's certificates below `folder`.
    pub(crate) fn prepare(folder: &Path) -> Result<Self> {
        let folder = folder.join("pki");
        std::fs::create_dir_all(&folder)?;
        let gateway = create_secret(&folder, GATEWAY_SECRET, GATEWAY, NAMESPACE)?;
        let alb = create_secret(&folder, "alb", &format!("*.{ALB_SUBDOMAIN}"), NAMESPACE)?;
        create_secret(&folder, "stranger", "stranger.example.net", NAMESPACE)?;
        let router = create_secret(&folder, "app-router-tls", "web.example.com", "application")?;
        let pair = |name: &str| Pair {
            chain: folder.join(format!("{name}.crt")),
            key: folder.join(format!("{name}.key")),
        };
        let root = std::fs::read_to_string(folder.join("ca").join(PUBLIC_CA).join("ca.crt"))?;
        let companion = serde_json::json!({
            "apiVersion": "v1", "kind": "Secret", "type": "Opaque",
            "metadata": { "namespace": NAMESPACE, "name": format!("{GATEWAY_SECRET}-cacert") },
            "data": { "ca.crt": base64(root.as_bytes()) },
        });
        let secrets = vec![gateway, alb, router, companion];
        Ok(Self { alb: pair("alb"), stranger: pair("stranger"), folder, secrets })
    }

    /// The public root.
    pub(crate) fn public_root(&self) -> PathBuf {
        self.folder.join("ca").join(PUBLIC_CA).join("ca.crt")
    }

    /// The Secrets as they stand in the cluster.
    pub(crate) fn secrets(&self) -> &[Value] {
        &self.secrets
    }

    /// One of the application's Secrets, as kubelet asks for it.
    pub(crate) fn secret(&self, kind: &str, name: &str) -> Option<Value> {
        let found = self.secrets.iter().find(|secret| {
            secret["kind"] == kind
                && secret["metadata"]["name"] == name
                && secret["metadata"]["namespace"] == NAMESPACE
        });
        found.cloned()
    }

    /// The gateway's Secret with a certificate issued anew.
    pub(crate) fn renewed_gateway(&self) -> Result<Value> {
        create_secret(&self.folder, GATEWAY_SECRET, GATEWAY, NAMESPACE)
    }
}

/// What a user types, with the Secret printed instead of applied.
fn create_secret(folder: &Path, name: &str, host: &str, namespace: &str) -> Result<Value> {
    let output = Command::new("scripts/create-secret")
        .args([name, &format!("/CN={}", host.trim_start_matches("*.")), namespace])
        .args(["--san", &format!("DNS:{host}"), "--ca", PUBLIC_CA, "--secret-name", name])
        .args(["-o", "yaml", "--out"])
        .arg(folder)
        .output()
        .context("scripts/create-secret")?;
    let problem = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "scripts/create-secret {name} failed: {problem}");
    Ok(serde_saphyr::from_slice(&output.stdout)?)
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}
