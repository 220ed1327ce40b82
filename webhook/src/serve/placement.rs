//! What the versions of the cluster mean for sidecars: whether they are init containers that restart,
//! which API server and every kubelet have to know, and how Services call their ports.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use super::lifecycle::Lifecycle;
use crate::inject;
use crate::inject::options::Placement;
use crate::surroundings::{ApiServer, Version, Versions};

/// Nodes come and go, and are rarely older than those that are there.
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
                lifecycle.tasks.spawn(known.clone().keep_asking(api, Arc::clone(lifecycle)));
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

    async fn keep_asking(self, api: ApiServer, lifecycle: Arc<Lifecycle>) {
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
                () = tokio::time::sleep(INTERVAL) => {}
            }
        }
    }
}
