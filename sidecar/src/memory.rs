//! How many connections the memory is enough for that the container may have. Who has more of them than
//! that gets nothing by the kernel's ending the process, which is the end of all connections.
//!
//! <https://docs.kernel.org/admin-guide/cgroup-v2.html>, "Memory Interface Files"

use std::fs;
use std::path::{Path, PathBuf};

use crate::limits;

/// Of `wanted` connections as many as there is memory for.
pub(crate) fn affordable(wanted: usize) -> usize {
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    affordable_with(wanted, limit(Path::new("/sys/fs/cgroup"), &groups))
}

fn affordable_with(wanted: usize, limit: Option<u64>) -> usize {
    let Some(limit) = limit else { return wanted };
    let connections = limit.saturating_sub(limits::PROCESS_MEMORY) / limits::CONNECTION_MEMORY;
    // A limit that is too low for anything is no reason to serve nobody.
    let possible = usize::try_from(connections).unwrap_or(usize::MAX).max(limits::FEW_CONNECTIONS);
    wanted.min(possible)
}

/// The lowest limit, in bytes, of the control groups that `groups` (`/proc/self/cgroup`) names and of
/// those above them; those of a container are mounted at `root` itself.
fn limit(root: &Path, groups: &str) -> Option<u64> {
    groups
        .lines()
        .filter_map(|line| files(root, line))
        .flatten()
        .filter_map(|file| read(&file))
        .min()
}

/// The files in which the limits of a line's group stand.
fn files(root: &Path, line: &str) -> Option<Vec<PathBuf>> {
    let mut parts = line.splitn(3, ':').skip(1);
    let (controllers, path) = (parts.next()?, parts.next()?);
    let (root, name) = match controllers {
        "" => (root.to_owned(), "memory.max"),
        _ if controllers.split(',').any(|it| it == "memory") => {
            (root.join("memory"), "memory.limit_in_bytes")
        }
        _ => return None,
    };
    let group = Path::new(path.trim_start_matches('/'));
    Some(group.ancestors().map(|group| root.join(group).join(name)).collect())
}

/// The number in `file`; where there is no limit, a word stands there, or a number that is none.
fn read(file: &Path) -> Option<u64> {
    let limit = fs::read_to_string(file).ok()?.trim().parse().ok()?;
    (limit < 1 << 50).then_some(limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1024 * 1024;

    #[test]
    fn connections_are_bounded_by_the_memory_that_there_is() {
        for (limit, possible) in [
            (None, 10_000),
            (Some(1024 * MIB), 10_000),
            (Some(128 * MIB), 3_328),
            (Some(32 * MIB), 256),
            (Some(8 * MIB), limits::FEW_CONNECTIONS),
        ] {
            assert_eq!(affordable_with(10_000, limit), possible, "{limit:?}");
        }
        assert_eq!(affordable_with(50, Some(8 * MIB)), 50);
    }

    #[test]
    fn the_lowest_limit_of_the_groups_counts() {
        let root = std::env::temp_dir().join(format!("lasthop-memory-{}", std::process::id()));
        let write = |file: &str, text: &str| {
            let file = root.join(file);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
        };
        let limit = |groups: &str| limit(&root, groups);
        assert_eq!(limit("0::/\n"), None);
        write("memory.max", "max\n");
        assert_eq!(limit("0::/\n"), None);
        write("kubepods/pod1/memory.max", "268435456\n");
        write("kubepods/pod1/sidecar/memory.max", "max\n");
        assert_eq!(limit("0::/kubepods/pod1/sidecar\n"), Some(256 * MIB));
        assert_eq!(limit("0::/kubepods\n"), None);
        write("memory.max", "134217728\n");
        assert_eq!(limit("0::/kubepods/pod1/sidecar\n"), Some(128 * MIB));
        // As it is called from inside a namespace of control groups.
        assert_eq!(limit("0::/../../elsewhere\n"), Some(128 * MIB));
        write("memory/pod2/memory.limit_in_bytes", "67108864\n");
        write("memory/memory.limit_in_bytes", "9223372036854771712\n");
        assert_eq!(limit("4:cpu,memory:/pod2\n1:cpu:/pod2\n"), Some(64 * MIB));
        assert_eq!(limit("4:memory:/\nnonsense\n"), None);
        fs::remove_dir_all(&root).unwrap();
    }
}
