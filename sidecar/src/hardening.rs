//! What a process that holds private keys does for them before it reads the first.

use rustix::process::{
    DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit,
};

/// No core dump holds a key, and no other process of the same user reads our memory (proc(5),
/// ptrace(2)); as many descriptors as the system gives, for a connection takes up to two.
///
/// # Errors
/// What the kernel refused; it concerns the operator, not the start.
pub(crate) fn apply() -> Result<(), String> {
    let mut refused = Vec::new();
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    if let Err(error) = setrlimit(Resource::Core, none) {
        refused.push(format!("RLIMIT_CORE: {error}"));
    }
    if let Err(error) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
        refused.push(format!("PR_SET_DUMPABLE: {error}"));
    }
    let files = getrlimit(Resource::Nofile);
    let most = Rlimit { current: files.maximum, maximum: files.maximum };
    if files.current != files.maximum
        && let Err(error) = setrlimit(Resource::Nofile, most)
    {
        refused.push(format!("RLIMIT_NOFILE: {error}"));
    }
    if refused.is_empty() { Ok(()) } else { Err(refused.join(", ")) }
}
