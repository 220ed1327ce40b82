//! What a process that holds private keys does for them before it reads the first.

use rustix::process::{
    DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit,
};

use crate::limits;

/// No core dump holds a key, and no other process of the same user reads our memory (proc(5),
/// ptrace(2)); as many descriptors as the system gives, for a connection takes two or three.
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

/// How many connections there may be for one that comes in.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Rooms {
    /// Its own, and one to the application.
    Two,
    /// One to a next tier as well.
    Three,
}

/// Of `wanted` connections as many as there are descriptors for.
pub(crate) fn affordable(wanted: usize, rooms: Rooms) -> usize {
    affordable_with(wanted, rooms, getrlimit(Resource::Nofile).current)
}

fn affordable_with(wanted: usize, rooms: Rooms, descriptors: Option<u64>) -> usize {
    // Without a limit there is one all the same, and a far one.
    let Some(descriptors) = descriptors else { return wanted };
    let descriptors = usize::try_from(descriptors).unwrap_or(usize::MAX);
    // Where there are few, the other half of them must do for all else.
    let others = limits::OTHER_DESCRIPTORS.min(descriptors / 2);
    let rooms = match rooms {
        Rooms::Two => 2,
        Rooms::Three => 3,
    };
    wanted.min(descriptors.saturating_sub(others) / rooms).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_are_bounded_by_the_descriptors_that_there_are() {
        for (descriptors, possible) in
            [(None, 10_000), (Some(1 << 20), 10_000), (Some(1024), 256), (Some(4), 1), (Some(0), 1)]
        {
            let affordable = affordable_with(10_000, Rooms::Two, descriptors);
            assert_eq!(affordable, possible, "{descriptors:?}");
        }
        assert_eq!(affordable_with(100, Rooms::Two, Some(1024)), 100);
        assert_eq!(affordable_with(usize::MAX, Rooms::Two, Some(10_048)), 4_000);
        assert_eq!(affordable_with(usize::MAX, Rooms::Three, Some(8_048)), 2_000);
    }
}
