//! A real API server (`scripts/cluster up api`), one for all the tests of a file, or a real node, and
//! kubectl.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, OnceLock, PoisonError};

use serde_json::Value;

use crate::process::{Finished, Program, Running};
use crate::skip;

/// The API server of this test binary.
#[derive(Debug)]
pub struct Cluster {
    kubeconfig: PathBuf,
    kubectl: PathBuf,
    _undertaker: Undertaker,
}

static CLUSTER: OnceLock<Result<Cluster, String>> = OnceLock::new();

impl Cluster {
    /// The API server that all tests of this binary share, started at the first call. [`None`]: it
    /// cannot run here, and the calling test was noted as skipped.
    pub fn shared() -> Option<&'static Self> {
        if let Some(reason) = cannot_run() {
            skip::this_test(&reason);
            return None;
        }
        match CLUSTER.get_or_init(|| Self::start("api")) {
            Ok(cluster) => Some(cluster),
            Err(reason) => panic!("{reason}"),
        }
    }

    /// A whole node, for the one test that asks for it: only one fits on a machine. [`None`]: it
    /// cannot run here, and the calling test was noted as skipped.
    pub fn node() -> Option<Self> {
        if let Some(reason) = cannot_run() {
            skip::this_test(&reason);
            return None;
        }
        if skip::lacks_root() || skip::lacks(&["containerd", "runc", "nft", "conntrack", "ip"]) {
            return None;
        }
        Some(Self::start("node").unwrap_or_else(|reason| panic!("{reason}")))
    }

    /// The name by which `scripts/cluster` knows it.
    pub fn name() -> String {
        format!("test-{}", std::process::id())
    }

    fn start(mode: &str) -> Result<Self, String> {
        let name = Self::name();
        let script = root().join("scripts/cluster");
        // Before the cluster, so that there is no moment in which nobody would take it down.
        let undertaker = Undertaker::start(&script, &name);
        let up = Command::new(&script)
            .args(["up", mode, "--name", &name])
            .stdin(Stdio::null())
            .stderr(Stdio::inherit()) // the first time it builds Kubernetes, and shows how far it is
            .output()
            .map_err(|error| format!("{} cannot be started: {error}", script.display()))?;
        let stdout = String::from_utf8_lossy(&up.stdout).into_owned();
        let Some(kubeconfig) = stdout.lines().last().filter(|_| up.status.success()) else {
            return Err(format!(
                "`scripts/cluster up {mode}` failed with {}:\n{stdout}",
                up.status
            ));
        };
        let kubeconfig = PathBuf::from(kubeconfig);
        let kubectl = kubectl(&kubeconfig)?;
        Ok(Self { kubeconfig, kubectl, _undertaker: undertaker })
    }

    /// The kubeconfig of an administrator.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// kubectl with these arguments, to be given input and run.
    pub fn kubectl(&self, arguments: &[&str]) -> Program {
        Program::at(&self.kubectl)
            .env("KUBECONFIG", &self.kubeconfig)
            .env("HOME", self.kubeconfig.parent().unwrap_or_else(|| Path::new("/")))
            .args(arguments)
    }

    /// Starts the controllers that make Pods of a Deployment or a Job, which stay Pending; they end when what
    /// is returned is dropped. [`None`]: the cluster came without them, and the calling test was noted as
    /// skipped.
    pub fn controllers(&self) -> Option<Running> {
        let program = self.kubectl.with_file_name("kube-controller-manager");
        if !program.is_file() {
            skip::this_test("there is no kube-controller-manager beside kubectl");
            return None;
        }
        let program = Program::at(program)
            .arg("--controllers=deployment-controller,replicaset-controller,job-controller")
            .args(["--leader-elect=false", "--secure-port=0", "--kube-api-qps=500"])
            .arg("--kube-api-burst=1000");
        let from = ["kubeconfig", "authentication-kubeconfig", "authorization-kubeconfig"];
        let kubeconfig = self.kubeconfig.display();
        Some(program.args(from.map(|flag| format!("--{flag}={kubeconfig}"))).start())
    }

    /// Writes a kubeconfig for a service account, good for an hour, to `file`.
    #[track_caller]
    pub fn kubeconfig_of(&self, namespace: &str, service_account: &str, file: &Path) {
        let token = self.kubectl(&["create", "token", service_account, "-n", namespace]).run();
        let token = token.expect_success().stdout;
        let view = self.kubectl(&["config", "view", "--raw", "--minify", "-o", "json"]).run();
        let mut config: Value =
            serde_json::from_str(&view.expect_success().stdout).expect("kubectl prints JSON");
        config["users"][0]["user"] = serde_json::json!({ "token": token.trim() });
        std::fs::write(file, config.to_string()).expect("a file can be written");
    }

    /// Makes a namespace with these labels, such as `lasthop.dev/inject=enabled`.
    #[track_caller]
    pub fn namespace(&self, name: &str, labels: &[&str]) {
        self.kubectl(&["create", "namespace", name]).run().expect_success();
        if !labels.is_empty() {
            let arguments = [&["label", "namespace", name], labels].concat();
            self.kubectl(&arguments).run().expect_success();
        }
    }

    /// `kubectl apply -f -`, whatever comes of it.
    pub fn apply(&self, manifests: &str) -> Finished {
        self.kubectl(&["apply", "-f", "-"]).input(manifests).run()
    }

    /// Applies manifests that must be admitted; the result has warnings on standard error.
    #[track_caller]
    pub fn admitted(&self, manifests: &str) -> Finished {
        let finished = self.apply(manifests);
        assert!(finished.status.success(), "was to be admitted:\n{manifests}\n{finished}");
        finished
    }

    /// Applies manifests that must be refused and returns what kubectl printed on standard error.
    #[track_caller]
    pub fn refused(&self, manifests: &str) -> String {
        let finished = self.apply(manifests);
        assert!(!finished.status.success(), "was to be refused:\n{manifests}\n{finished}");
        finished.stderr
    }

    /// An object as JSON, such as `&["pod", "web", "-n", "shop"]`.
    #[track_caller]
    pub fn get(&self, what: &[&str]) -> Value {
        let arguments = [&["get", "-o", "json"], what].concat();
        let finished = self.kubectl(&arguments).run().expect_success();
        serde_json::from_str(&finished.stdout).expect("kubectl prints JSON")
    }
}

/// Waits until this process has gone, for then the pipe to it is closed, and takes the cluster
/// down. A drop would not do: a test binary ends without dropping what is shared by its tests. Its
/// own process group keeps Ctrl-C from reaching it.
#[derive(Debug)]
struct Undertaker {
    _child: Child,
}

impl Undertaker {
    fn start(script: &Path, name: &str) -> Self {
        use std::os::unix::process::CommandExt as _;
        let child = Command::new("sh")
            .args(["-c", "cat >/dev/null; exec \"$0\" down --name \"$1\" >/dev/null 2>&1"])
            .arg(script)
            .arg(name)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .expect("there is a shell");
        Self { _child: child }
    }
}

fn kubectl(kubeconfig: &Path) -> Result<PathBuf, String> {
    let beside = kubeconfig.parent().map(|state| state.join("bin/kubectl"));
    let assets =
        std::env::var_os("KUBEBUILDER_ASSETS").map(|dir| PathBuf::from(dir).join("kubectl"));
    beside
        .into_iter()
        .chain(assets)
        .find(|path| path.is_file())
        .or_else(|| skip::find("kubectl"))
        .ok_or_else(|| "there is no kubectl".to_owned())
}

/// Why there can be no API server here, if so.
fn cannot_run() -> Option<String> {
    if skip::find("openssl").is_none() {
        return Some("there is no openssl here".to_owned());
    }
    let has_assets = std::env::var_os("KUBEBUILDER_ASSETS").is_some();
    (!has_assets && skip::find("go").is_none() && !is_built()).then(|| {
        "there is neither Go to build Kubernetes with nor a KUBEBUILDER_ASSETS that holds it"
            .to_owned()
    })
}

/// Whether `scripts/cluster build` has left something in the cache folder.
fn is_built() -> bool {
    let entries = std::fs::read_dir(cache()).ok().into_iter().flatten();
    entries
        .filter_map(Result::ok)
        .any(|entry| entry.file_name().to_string_lossy().starts_with("kubernetes-"))
}

/// The folder for what takes long to build, the one of `scripts/cluster`.
pub fn cache() -> PathBuf {
    let from = |variable| std::env::var_os(variable).filter(|it| !it.is_empty()).map(PathBuf::from);
    from("LASTHOP_CACHE").unwrap_or_else(|| {
        let home = || from("HOME").unwrap_or_else(|| PathBuf::from("/root")).join(".cache");
        from("XDG_CACHE_HOME").unwrap_or_else(home).join("lasthop")
    })
}

/// The directory of the workspace.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate lies in the workspace")
}

/// A Secret as a manifest, its values base64-encoded.
pub fn secret_manifest(
    namespace: &str,
    name: &str,
    kind: &str,
    data: &crate::pki::SecretData,
) -> String {
    use base64::Engine as _;
    let encode = |bytes: &Vec<u8>| base64::engine::general_purpose::STANDARD.encode(bytes);
    let data: serde_json::Map<String, Value> =
        data.iter().map(|(key, bytes)| (key.clone(), Value::from(encode(bytes)))).collect();
    serde_json::json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": { "namespace": namespace, "name": name },
        "type": kind,
        "data": data,
    })
    .to_string()
}

/// Serialises tests that change what belongs to the whole cluster, such as webhook configurations.
pub fn exclusively() -> impl Drop {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}
