//! Tests that cannot run on this machine: named, with the reason, and never silent.
//!
//! ```text
//! if skip::lacks(&["curl", "openssl"]) { return; }
//! ```
//!
//! With `CI=true` a skipped test is a failed test.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::PathBuf;

/// The file to which skipped tests are written, a line each; `scripts/test` reads it.
const LIST: &str = "LASTHOP_SKIPPED";

/// Whether one of `programs` is not to be found in `PATH`; if so, this test is skipped.
pub fn lacks(programs: &[&str]) -> bool {
    let missing: Vec<&str> =
        programs.iter().copied().filter(|program| find(program).is_none()).collect();
    if missing.is_empty() {
        return false;
    }
    this_test(&format!("there is no {} here", missing.join(", no ")));
    true
}

/// Whether this user is not root; if so, this test is skipped.
pub fn lacks_root() -> bool {
    if rustix::process::geteuid().is_root() {
        return false;
    }
    this_test("only root can do this");
    true
}

/// The effective user id: in the name of the folder where `scripts/cluster` keeps its clusters.
pub fn uid() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// Notes that the test which calls this is skipped; it must return after that.
///
/// Call it on the test's own thread, whose name is the test's.
pub fn this_test(reason: &str) {
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("a test");
    assert!(!must_run(), "`{test}` was skipped, and CI=true wants it to run: {reason}");
    note(test, reason);
}

fn note(test: &str, reason: &str) {
    let binary = std::env::current_exe().ok();
    let binary = binary.as_deref().and_then(|path| path.file_stem()?.to_str());
    let journey = binary.map_or("", |name| name.rsplit_once('-').map_or(name, |(name, _)| name));
    let line = format!("SKIPPED {journey}::{test}: {reason}\n");
    eprint!("{line}");
    let Some(list) = std::env::var_os(LIST) else { return };
    let file = OpenOptions::new().create(true).append(true).open(&list);
    file.and_then(|mut file| file.write_all(line.as_bytes()))
        .unwrap_or_else(|error| panic!("{LIST}={} cannot be written: {error}", list.display()));
}

fn must_run() -> bool {
    std::env::var("CI").is_ok_and(|value| value == "true" || value == "1")
}

/// The path of a program in `PATH`.
pub fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(program)).find(|path| path.is_file())
}
