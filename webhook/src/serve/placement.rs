//! Whether sidecars are init containers that restart: only where the API server and every kubelet
//! know them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::lifecycle::Lifecycle;
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

/// Whether native sidecars can be used at this moment.
#[derive(Clone, Debug)]
pub(super) struct NativeSidecars(Arc<AtomicBool>);

impl NativeSidecars {
    /// Asks for the version, and goes on asking where it can change. Not ready until the first
    /// answer, or the first failure: then the last answer holds.
    pub(super) fn start(source: VersionSource, lifecycle: &Arc<Lifecycle>) -> Self {
        let native = Self(Arc::new(AtomicBool::new(true)));
        match source {
            VersionSource::Told(version) => {
                native.set(placement(version >= Version::NATIVE_SIDECARS));
            }
            VersionSource::Asked(api) => {
                lifecycle.not_ready(PART, "it has not been asked for yet");
                lifecycle.tasks.spawn(native.clone().keep_asking(api, Arc::clone(lifecycle)));
            }
            VersionSource::Assumed => {}
        }
        native
    }

    /// What becomes of the placement that was asked for.
    pub(super) fn limit(&self, wanted: Placement) -> Placement {
        if self.0.load(Ordering::Relaxed) { wanted } else { Placement::Ordinary }
    }

    fn set(&self, best: Placement) {
        self.0.store(best == Placement::Native, Ordering::Relaxed);
    }

    async fn keep_asking(self, api: ApiServer, lifecycle: Arc<Lifecycle>) {
        let mut last = None;
        loop {
            match Versions::of(&api).await {
                Ok(versions) => {
                    let known = versions.all_are(Version::NATIVE_SIDECARS);
                    if last.replace(versions) != Some(versions) {
                        tracing::info!(
                            api_server = %versions.api_server,
                            oldest_kubelet = versions.oldest_kubelet.map(|it| it.to_string()),
                            native_sidecars = known,
                            "the versions of the cluster"
                        );
                    }
                    self.set(placement(known));
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

fn placement(known_to_all: bool) -> Placement {
    if known_to_all { Placement::Native } else { Placement::Ordinary }
}
