//! `lasthop serve`: the admission webhook.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use serde_json::Value;

use crate::certificate::{Managed, ServedName, Source};
use crate::check::{Mode, Validate};
use crate::documents::Documents;
use crate::hardening;
use crate::inject;
use crate::object::Object;
use crate::serve::{self, DrainTimes, Options, VersionSource};
use crate::surroundings::{ApiServer, Cluster, Completeness, Files, NameSource, Surroundings};
use crate::telemetry::{self, LogLevel, Metrics};

/// Answer the API server's admission reviews
///
/// Serves /validate and /mutate to the API server, and /livez, /readyz and /metrics to whoever looks
/// after lasthop, all over TLS. `kubectl apply -k manifests/base` runs it in a cluster. To try it
/// without one:
///
///   `lasthop serve --listen 127.0.0.1:8443 --surroundings manifests/ --ca-file ca.crt`
///   `curl --cacert ca.crt https://127.0.0.1:8443/validate --data @review.json`
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// Where to listen for the API server; port 0 takes a free one, and the log says which
    #[arg(long, value_name = "ADDR:PORT", default_value = "0.0.0.0:8443", env = "LASTHOP_LISTEN")]
    listen: SocketAddr,

    #[command(flatten)]
    cluster: ClusterArgs,

    #[command(flatten)]
    certificate: CertificateArgs,

    #[command(flatten)]
    judging: JudgingArgs,

    #[command(flatten)]
    sidecar: inject::Options,

    #[command(flatten)]
    process: ProcessArgs,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Cluster")]
struct ClusterArgs {
    /// The kubeconfig with the way to the API server; without it KUBECONFIG, ~/.kube/config, or the
    /// service account of the pod, as with kubectl
    #[arg(long, value_name = "FILE", conflicts_with = "surroundings")]
    kubeconfig: Option<PathBuf>,

    /// Answer from these files and directories instead of a cluster: for demos, tests and trials
    /// without a network. They stand for the whole cluster: what they do not hold is missing
    #[arg(
        long, value_name = "PATH", num_args = 1.., value_delimiter = ',',
        env = "LASTHOP_SURROUNDINGS"
    )]
    surroundings: Vec<PathBuf>,

    /// List the names of a namespace's Secrets to find the one that was meant. Needs the right to
    /// list Secrets, which is the right to read them all; grant it first
    #[arg(long, env = "LASTHOP_NEAREST_NAME_LIST")]
    nearest_name_list: bool,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Serving certificate")]
struct CertificateArgs {
    /// Serve with `tls.crt` and `tls.key` of this directory, read again when they change, and leave
    /// the caBundle to whoever makes them. Without it, lasthop makes and renews its own certificate
    /// and publishes the CA behind it
    #[arg(long, value_name = "DIR", env = "LASTHOP_TLS_DIR")]
    tls_dir: Option<PathBuf>,

    /// Further names or addresses in the certificate that lasthop makes, for an API server that
    /// calls by URL
    #[arg(long, value_name = "NAME", value_delimiter = ',', env = "LASTHOP_TLS_SAN")]
    tls_san: Vec<String>,

    /// Write the certificates of the CA behind the certificate that lasthop makes to this file, so
    /// that other clients than the API server can verify it
    #[arg(long, value_name = "FILE", conflicts_with = "tls_dir", env = "LASTHOP_CA_FILE")]
    ca_file: Option<PathBuf>,

    /// The name of the two webhook configurations whose caBundle lasthop looks after
    #[arg(long, value_name = "NAME", default_value = "lasthop", env = "LASTHOP_WEBHOOK_NAME")]
    webhook_name: String,

    /// The Service by which the API server calls
    #[arg(long, value_name = "NAME", default_value = "lasthop", env = "LASTHOP_SERVICE_NAME")]
    service_name: String,

    /// The namespace of that Service and of the Secret `lasthop-ca`, which all replicas share;
    /// without it, the one of the pod, and outside of a cluster `lasthop-system`
    #[arg(long, value_name = "NAME", env = "LASTHOP_NAMESPACE")]
    namespace: Option<String>,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "What findings do")]
struct JudgingArgs {
    /// What findings do in a namespace without the label `lasthop.dev/validate`
    #[arg(long, value_name = "MODE", default_value = "enforce", env = "LASTHOP_DEFAULT_VALIDATE")]
    default_validate: Validate,

    /// The floor below which no label of a namespace can go
    #[arg(long, value_name = "MODE", default_value = "off", env = "LASTHOP_MINIMUM_VALIDATE")]
    minimum_validate: Validate,

    /// An annotation on Ingresses and the like which says that something makes the Secret that they
    /// name, beside those of cert-manager: then a missing Secret is a warning
    #[arg(long, value_name = "NAME", value_delimiter = ',', env = "LASTHOP_MAKER_ANNOTATION")]
    maker_annotation: Vec<String>,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Process")]
struct ProcessArgs {
    /// How much is logged, as JSON on standard output
    #[arg(
        long = "log-level",
        id = "own_log_level",
        value_name = "LEVEL",
        default_value = "info",
        env = "LASTHOP_LOG_LEVEL"
    )]
    log_level: LogLevel,

    /// Seconds for which connections are still taken after SIGTERM, until every API server has
    /// heard that this replica goes
    #[arg(
        long = "drain-delay",
        id = "own_drain_delay",
        value_name = "SECONDS",
        default_value_t = 5,
        env = "LASTHOP_DRAIN_DELAY"
    )]
    drain_delay: u16,

    /// Seconds after that delay until what is still open is cut
    #[arg(
        long = "drain-timeout",
        id = "own_drain_timeout",
        value_name = "SECONDS",
        default_value_t = 20,
        env = "LASTHOP_DRAIN_TIMEOUT"
    )]
    drain_timeout: u16,
}

impl Args {
    /// Serves until a signal ends it.
    pub fn run(self) -> ExitCode {
        telemetry::init_log(self.process.log_level);
        if let Err(refused) = hardening::apply() {
            tracing::warn!(
                refused,
                "the memory with keys in it is less protected than it could be"
            );
        }
        match self.serve() {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                // The log is where the reader of a container looks.
                tracing::error!(error = format!("{error:#}"), "lasthop cannot serve");
                ExitCode::FAILURE
            }
        }
    }

    fn serve(self) -> anyhow::Result<()> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .context("cannot start threads")?;
        let result = runtime.block_on(async { serve::run(self.options().await?).await });
        // Threads that hang in a system call are no reason to stay.
        runtime.shutdown_timeout(Duration::from_secs(1));
        result
    }

    async fn options(self) -> anyhow::Result<Options> {
        let Self { listen, cluster, certificate, judging, sidecar, process } = self;
        let JudgingArgs { default_validate, minimum_validate, maker_annotation } = judging;
        let ProcessArgs { log_level: _, drain_delay, drain_timeout } = process;
        let ClusterArgs { kubeconfig, surroundings, nearest_name_list } = cluster;
        let metrics = Arc::new(Metrics::new());
        let api = if surroundings.is_empty() {
            Some(ApiServer::connect(kubeconfig.as_deref()).await?)
        } else {
            None
        };
        Ok(Options {
            listen,
            certificate: certificate.source(api.clone())?,
            version: match (sidecar.cluster_version, &api) {
                (Some(version), _) => VersionSource::Told(version),
                (None, Some(api)) => VersionSource::Asked(api.clone()),
                (None, None) => VersionSource::Assumed,
            },
            surroundings: match api {
                Some(api) => {
                    let names =
                        if nearest_name_list { NameSource::Listed } else { NameSource::Seen };
                    Surroundings::Cluster(Cluster::new(api, names, Some(Arc::clone(&metrics))))
                }
                None => Surroundings::Files(read_files(&surroundings)?),
            },
            mode: Mode {
                default_validate,
                minimum_validate,
                maker_annotations: maker_annotation,
                sidecar,
                ..Mode::review()
            },
            drain: DrainTimes {
                delay: Duration::from_secs(drain_delay.into()),
                timeout: Duration::from_secs(drain_timeout.into()),
            },
            metrics,
        })
    }
}

impl CertificateArgs {
    fn source(self, api: Option<ApiServer>) -> anyhow::Result<Source> {
        let Self { tls_dir, tls_san, ca_file, webhook_name, service_name, namespace } = self;
        if let Some(directory) = tls_dir {
            return Ok(Source::Directory(directory));
        }
        let namespace = namespace.unwrap_or_else(own_namespace);
        for name in [&webhook_name, &service_name, &namespace] {
            if !crate::surroundings::is_name(name) {
                bail!("`{name}` is no name of a Kubernetes object");
            }
        }
        let service = format!("{service_name}.{namespace}.svc");
        let names = [service.clone(), format!("{service}.cluster.local")];
        let local = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
        // The first one is the one that the API server asks for.
        let names = names.into_iter().chain(local).chain(tls_san);
        let names = names.map(|name| ServedName::parse(&name)).collect();
        Ok(match api {
            None => Source::OwnAuthority { names, ca_file },
            Some(api) => Source::Managed(Managed {
                api,
                namespace,
                secret: "lasthop-ca".to_owned(),
                configuration: webhook_name,
                names,
                ca_file,
            }),
        })
    }
}

/// The namespace of the pod's service account, where there is one.
///
/// <https://kubernetes.io/docs/tasks/run-application/access-api-from-pod/>
fn own_namespace() -> String {
    let file = Path::new("/var/run/secrets/kubernetes.io/serviceaccount/namespace");
    let read = std::fs::read_to_string(file).unwrap_or_default();
    match read.trim() {
        "" => "lasthop-system".to_owned(),
        namespace => namespace.to_owned(),
    }
}

/// The documents of `paths`. Without `metadata.namespace` they are in `default`, as for kubectl.
fn read_files(paths: &[PathBuf]) -> anyhow::Result<Files> {
    let read = Documents::read(paths).without_patches();
    if !read.failures.is_empty() {
        let failures = read.failures.iter().map(|failure| match failure.place {
            Some((line, column)) => {
                format!("{}:{line}:{column}: {}", failure.file, failure.message)
            }
            None => format!("{}: {}", failure.file, failure.message),
        });
        bail!("cannot read the surroundings: {}", failures.collect::<Vec<_>>().join("; "));
    }
    tracing::info!(files = read.files, documents = read.documents.len(), "read the surroundings");
    let objects = read.documents.into_iter().map(|document| in_namespace(document.object));
    Ok(Files::new(objects.collect(), Completeness::Whole))
}

fn in_namespace(mut object: Object) -> Object {
    if object.namespace().is_empty()
        && !object.is("", "Namespace")
        && let Some(Value::Object(metadata)) = object.0.get_mut("metadata")
    {
        metadata.insert("namespace".to_owned(), "default".into());
    }
    object
}
