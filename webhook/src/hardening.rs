//! What a process that reads private keys does for them before it reads the first.

use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};

/// No core dump holds a key, and no other process of the same user reads our memory (proc(5),
/// ptrace(2)).
///
/// # Errors
/// What the kernel refused; it concerns the operator, not the start.
pub fn apply() -> Result<(), String> {
    let mut refused = Vec::new();
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    if let Err(error) = setrlimit(Resource::Core, none) {
        refused.push(format!("RLIMIT_CORE: {error}"));
    }
    if let Err(error) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
        refused.push(format!("PR_SET_DUMPABLE: {error}"));
    }
    if refused.is_empty() { Ok(()) } else { Err(refused.join(", ")) }
}
