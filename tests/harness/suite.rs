//! Test suites of other makes, built from their published Go modules (`tests/suites/go.mod`) the first
//! time, in about a minute, and kept in the cache folder.

use std::collections::hash_map::DefaultHasher;
use std::fs;
use std::hash::{Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use crate::kubernetes::{cache, root};
use crate::skip;

static BUILT: OnceLock<Result<PathBuf, String>> = OnceLock::new();

/// The program with this name, the last word of its package: `h2spec`, `client` and `server` of
/// gRPC's interoperability tests, `h2websocket` or `websocket`. [`None`]: there is no Go to build it with, and the calling test was
/// noted as skipped.
#[track_caller]
pub fn program(name: &str) -> Option<PathBuf> {
    let folder = folder();
    if !folder.is_dir() && skip::lacks(&["go"]) {
        return None;
    }
    match BUILT.get_or_init(|| build(&folder)) {
        Ok(folder) => Some(folder.join(name)),
        Err(reason) => panic!("the suites were not built: {reason}"),
    }
}

/// The folder of a Go module, in the version that the Kubernetes of `scripts/cluster` is built with: test data
/// of Kubernetes itself. [`None`]: there is no Go to fetch it with, and the calling test was noted as skipped.
#[track_caller]
pub fn module(name: &str) -> Option<PathBuf> {
    if skip::lacks(&["go"]) {
        return None;
    }
    let fetched = Command::new("go")
        .arg("-C")
        .arg(root().join("tests/cluster"))
        .args(["mod", "download", "-json", name])
        .stdin(Stdio::null())
        .output()
        .expect("there is Go");
    let module: serde_json::Value = serde_json::from_slice(&fetched.stdout).unwrap_or_default();
    match module["Dir"].as_str() {
        Some(folder) => Some(PathBuf::from(folder)),
        None => panic!("{name} was not fetched: {}", String::from_utf8_lossy(&fetched.stderr)),
    }
}

/// Runs a suite to its end, however long that takes, and returns all that it printed.
#[track_caller]
pub fn run(command: &mut Command) -> String {
    let ran = command.stdin(Stdio::null()).output();
    let ran = ran.unwrap_or_else(|error| panic!("{command:?} cannot be started: {error}"));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    text(&ran.stdout) + &text(&ran.stderr)
}

/// One folder a set of versions, so that who changes `go.mod` gets what it says.
fn folder() -> PathBuf {
    let mut versions = DefaultHasher::new();
    include_str!("../suites/go.mod").hash(&mut versions);
    include_str!("../suites/go.sum").hash(&mut versions);
    include_str!("../suites/h2websocket/main.go").hash(&mut versions);
    include_str!("../suites/websocket/main.go").hash(&mut versions);
    cache().join(format!("suites-{:016x}", versions.finish()))
}

fn build(folder: &Path) -> Result<PathBuf, String> {
    if folder.is_dir() {
        return Ok(folder.to_owned());
    }
    let partial = folder.with_extension(format!("partial.{}", std::process::id()));
    fs::create_dir_all(&partial).map_err(|error| error.to_string())?;
    let built = Command::new("go")
        .arg("-C")
        .arg(root().join("tests/suites"))
        .args(["build", "-trimpath", "-ldflags=-s -w", "-o"])
        .arg(partial.join(""))
        .arg("tool")
        .stdin(Stdio::null())
        .output()
        .map_err(|error| error.to_string())?;
    if !built.status.success() {
        let _scraps = fs::remove_dir_all(&partial);
        return Err(String::from_utf8_lossy(&built.stderr).into_owned());
    }
    fs::rename(&partial, folder).map_err(|error| error.to_string())?;
    Ok(folder.to_owned())
}
