//! A certificate that somebody else keeps fresh in a directory, such as a mounted Secret.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use lasthop_contract::credential::{self, SecretData};
use lasthop_contract::problem::Problem;

use super::Keeper;

/// kubelet brings a changed Secret within about a minute; reading two small files is nothing.
const INTERVAL: Duration = Duration::from_secs(5);

/// Reads `directory` and goes on reading it.
///
/// # Errors
/// There is no usable certificate in it.
pub(super) fn start(directory: PathBuf, keeper: Keeper) -> anyhow::Result<()> {
    let first = load(&directory)?;
    serve(&first, &directory, &keeper)?;
    let tasks = keeper.lifecycle.tasks.clone();
    tasks.spawn(watch(directory, first, keeper));
    Ok(())
}

/// Puts what has changed to use. What cannot be used is told once, and the last good one stays.
async fn watch(directory: PathBuf, mut last: SecretData, keeper: Keeper) {
    while keeper.sleep(INTERVAL).await.is_ok() {
        let outcome = load(&directory).and_then(|now| {
            if now == last {
                return Ok(());
            }
            last = now;
            serve(&last, &directory, &keeper)
        });
        if let Err(error) = outcome {
            let error = format!("{error:#}");
            tracing::error!(error, "the new certificate cannot be used, the last one stays");
        }
    }
}

fn load(directory: &Path) -> anyhow::Result<SecretData> {
    let mut data = BTreeMap::new();
    for name in ["tls.crt", "tls.key"] {
        let path = directory.join(name);
        let bytes =
            std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        data.insert(name.to_owned(), bytes);
    }
    Ok(data)
}

fn serve(data: &SecretData, directory: &Path, keeper: &Keeper) -> anyhow::Result<()> {
    let reading = credential::read(data);
    let Some(credential) = reading.credential else {
        let problems: Vec<_> = reading.problems.iter().map(Problem::message).collect();
        bail!(
            "the certificate in {} cannot be served: {}",
            directory.display(),
            problems.join("; ")
        );
    };
    keeper.put(&credential);
    Ok(())
}
