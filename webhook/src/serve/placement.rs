//! What the versions of the cluster mean for sidecars: whether they are init containers that restart,
//! which API server and every kubelet have to know, and how Services call their ports.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use super::lifecycle::Lifecycle;
use crate::inject;
use crate::inject::options::Placement;
use crate::surroundings::{ApiServer, Version, Versions};

/// How often the versions are asked for: nodes come and go, and are rarely older than those that are there.
const INTERVAL: Duration = Duration::from_secs(300);

/// The part of readiness that this is.
const PART: &str = "cluster version";

/// Who knows which version the cluster has.
#[derive(Debug)]
pub enum VersionSource {
    /// Whoever started lasthop.
    Told(Version),
    /// The cluster, asked now and then.
    Asked(ApiServer),
    /// Nobody: any version that lasthop supports has native sidecars.
    Assumed,
}

/// The versions as they are known at this moment.
#[derive(Clone, Debug, Default)]
pub(super) struct KnownVersions(Arc<RwLock<Option<Versions>>>);

impl KnownVersions {
    /// Asks for the versions, and goes on asking where they can change. Not ready until the first
    /// answer, or the first failure: then the last answer holds.
    pub(super) fn start(source: VersionSource, lifecycle: &Arc<Lifecycle>) -> Self {
        let known = Self::default();
        match source {
            VersionSource::Told(api_server) => {
                known.set(Versions { api_server, oldest_kubelet: None });
            }
            VersionSource::Asked(api) => {
                lifecycle.not_ready(PART, "it has not been asked for yet");
                let asking = known.clone().keep_asking(api, Arc::clone(lifecycle), INTERVAL);
                lifecycle.tasks.spawn(asking);
            }
            VersionSource::Assumed => {}
        }
        known
    }

    /// Writes what is known into the options of the operator.
    pub(super) fn settle(&self, sidecar: &mut inject::Options) {
        let Some(versions) = *self.0.read().unwrap_or_else(PoisonError::into_inner) else { return };
        sidecar.cluster_version = Some(versions.api_server);
        if !versions.all_are(Version::NATIVE_SIDECARS) {
            sidecar.placement = Placement::Ordinary;
        }
    }

    fn set(&self, versions: Versions) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Some(versions);
    }

    async fn keep_asking(self, api: ApiServer, lifecycle: Arc<Lifecycle>, interval: Duration) {
        let mut last = None;
        loop {
            match Versions::of(&api).await {
                Ok(versions) => {
                    if last.replace(versions) != Some(versions) {
                        tracing::info!(
                            api_server = %versions.api_server,
                            oldest_kubelet = versions.oldest_kubelet.map(|it| it.to_string()),
                            native_sidecars = versions.all_are(Version::NATIVE_SIDECARS),
                            "the versions of the cluster"
                        );
                    }
                    self.set(versions);
                }
                Err(error) => tracing::warn!(%error, "cannot ask for the version of the cluster"),
            }
            lifecycle.ready(PART);
            tokio::select! {
                () = lifecycle.draining().cancelled() => return,
                () = tokio::time::sleep(interval) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use http::StatusCode;
    use serde_json::{Value, json};

    use super::*;

    #[tokio::test]
    async fn nodes_that_come_and_go_change_what_is_injected_next() {
        let nodes = Arc::new(Mutex::new(Some(vec!["v1.34.4"])));
        let lifecycle = Arc::new(Lifecycle::default());
        let known = KnownVersions::default();
        let api = cluster_of("v1.34.4", Arc::clone(&nodes));
        let interval = Duration::from_millis(5);
        lifecycle.tasks.spawn(known.clone().keep_asking(api, Arc::clone(&lifecycle), interval));
        let placed = async |expected: Placement| {
            let placement = || {
                let mut options = inject::Options::default();
                known.settle(&mut options);
                options.cluster_version.map(|_known| options.placement)
            };
            while placement() != Some(expected) {
                tokio::time::sleep(interval).await;
            }
        };
        placed(Placement::Native).await;
        *nodes.lock().unwrap() = Some(vec!["v1.34.4", "v1.28.15-distro.1"]);
        placed(Placement::Ordinary).await;
        *nodes.lock().unwrap() = Some(vec!["v1.34.4", "v1.29.0"]);
        placed(Placement::Native).await;
        // Whoever may not list nodes goes by the API server alone.
        *nodes.lock().unwrap() = Some(vec!["v1.28.0"]);
        placed(Placement::Ordinary).await;
        *nodes.lock().unwrap() = None;
        placed(Placement::Native).await;
    }

    /// An API server of this version with these kubelets, or one that does not list nodes.
    fn cluster_of(
        version: &'static str,
        kubelets: Arc<Mutex<Option<Vec<&'static str>>>>,
    ) -> ApiServer {
        ApiServer::scripted(move |_method, path| match (path, &*kubelets.lock().unwrap()) {
            ("/version", _) => Ok(json!({ "gitVersion": version })),
            ("/api/v1/nodes", Some(kubelets)) => {
                let node =
                    |kubelet| json!({ "status": { "nodeInfo": { "kubeletVersion": kubelet } } });
                let items: Vec<Value> = kubelets.iter().map(node).collect();
                Ok(
                    json!({ "apiVersion": "v1", "kind": "NodeList", "metadata": {}, "items": items }),
                )
            }
            _ => Err(StatusCode::FORBIDDEN),
        })
    }
}
