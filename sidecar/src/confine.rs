//! What the process gives up before its first connection, so that who takes it over gains little: it
//! writes no file, runs no program, and connects nowhere but where its configuration leads.
//!
//! Landlock says what may be reached, seccomp which system calls there are. Neither needs a right,
//! and either may be missing: an older kernel, or a container runtime that takes them away.
//!
//! <https://docs.kernel.org/userspace-api/landlock.html>,
//! <https://docs.kernel.org/userspace-api/seccomp_filter.html>

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, CompatLevel, Compatible as _, NetPort, Ruleset,
    RulesetAttr as _, RulesetCreatedAttr as _, RulesetError, RulesetStatus, Scope,
};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule,
};

/// The newest Landlock that is asked for; of an older one, what it has is taken.
const NEWEST: ABI = ABI::V6;

/// Whether the process confines itself.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) enum Confinement {
    /// As far as the kernel goes; what it lacks is logged.
    #[default]
    BestEffort,
    /// In full, or there is no start.
    Required,
    /// Not at all.
    Off,
}

/// The TCP ports that a configuration needs.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Ports {
    /// That it connects to.
    pub(crate) connect: BTreeSet<u16>,
    /// That it listens on; 0 is any that the system chooses.
    pub(crate) listen: BTreeSet<u16>,
}

/// What the kernel took.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Confined {
    pub(crate) landlock: Extent,
    pub(crate) seccomp: Extent,
}

/// How far a confinement goes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Extent {
    /// As far as was asked for.
    Full,
    /// The kernel knows a part of it.
    Partial,
    /// Not at all, and why.
    Nothing(String),
}

impl Confined {
    /// Whether everything that was asked for holds.
    pub(crate) fn is_full(&self) -> bool {
        self.landlock == Extent::Full && self.seccomp == Extent::Full
    }
}

impl fmt::Display for Extent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full => f.write_str("full"),
            Self::Partial => f.write_str("partial: the kernel is older than all of it"),
            Self::Nothing(reason) => write!(f, "none: {reason}"),
        }
    }
}

/// Confines this thread and all that it will start, for good. Called before there are others:
/// Landlock does not reach back to them.
pub(crate) fn apply(ports: &Ports) -> Confined {
    let landlock = match restrict(ports) {
        Ok(RulesetStatus::FullyEnforced) => Extent::Full,
        Ok(RulesetStatus::PartiallyEnforced) => Extent::Partial,
        Ok(RulesetStatus::NotEnforced) => {
            Extent::Nothing("the kernel has no Landlock, or it is switched off".to_owned())
        }
        Err(error) => Extent::Nothing(error.to_string()),
    };
    let seccomp = match filter() {
        Ok(()) => Extent::Full,
        Err(reason) => Extent::Nothing(reason),
    };
    Confined { landlock, seccomp }
}

fn restrict(ports: &Ports) -> Result<RulesetStatus, RulesetError> {
    let mut ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_write(NEWEST) | AccessFs::Execute)?
        .handle_access(AccessNet::from_all(NEWEST))?
        .scope(Scope::from_all(NEWEST))?
        .create()?;
    for port in &ports.connect {
        ruleset = ruleset.add_rule(NetPort::new(*port, AccessNet::ConnectTcp))?;
    }
    for port in &ports.listen {
        ruleset = ruleset.add_rule(NetPort::new(*port, AccessNet::BindTcp))?;
    }
    Ok(ruleset.restrict_self()?.ruleset)
}

/// System calls that a terminator never makes, and somebody who got into one would.
const REFUSED: &[libc::c_long] = &[
    // Other programs, and other processes.
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_pidfd_getfd,
    libc::SYS_kcmp,
    // Other views of the system.
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_chroot,
    libc::SYS_pivot_root,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_fsopen,
    libc::SYS_fsmount,
    libc::SYS_mount_setattr,
    // Parts of the kernel with a history.
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_keyctl,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_personality,
    // It would pass the filter by: its operations are no system calls.
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    // The machine.
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_acct,
    libc::SYS_quotactl,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_clock_adjtime,
    libc::SYS_adjtimex,
];

fn filter() -> Result<(), String> {
    let mut refused: BTreeMap<i64, Vec<SeccompRule>> =
        REFUSED.iter().map(|call| (*call, Vec::new())).collect();
    refused.insert(libc::SYS_clone, vec![new_process()?]);
    refused.insert(libc::SYS_socket, vec![odd_socket()?]);
    install(refused, libc::EPERM)?;
    // Its flags are in memory, out of a filter's sight; without it the C library takes `clone`.
    install(BTreeMap::from([(libc::SYS_clone3, Vec::new())]), libc::ENOSYS)
}

fn install(calls: BTreeMap<i64, Vec<SeccompRule>>, errno: libc::c_int) -> Result<(), String> {
    let architecture = std::env::consts::ARCH.try_into().map_err(text)?;
    let errno = SeccompAction::Errno(errno.unsigned_abs());
    let filter =
        SeccompFilter::new(calls, SeccompAction::Allow, errno, architecture).map_err(text)?;
    let program: BpfProgram = filter.try_into().map_err(text)?;
    seccompiler::apply_filter_all_threads(&program).map_err(text)
}

/// `clone` that makes no thread.
fn new_process() -> Result<SeccompRule, String> {
    let thread = u64::from(libc::CLONE_THREAD.unsigned_abs());
    let without = SeccompCmpOp::MaskedEq(thread);
    let flags = SeccompCondition::new(0, SeccompCmpArgLen::Qword, without, 0).map_err(text)?;
    SeccompRule::new(vec![flags]).map_err(text)
}

/// A socket of another family than those of TCP, DNS and the lists of addresses.
fn odd_socket() -> Result<SeccompRule, String> {
    let families = [libc::AF_UNIX, libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK];
    let other = families.map(|family| {
        let family = u64::from(family.unsigned_abs());
        SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Ne, family).map_err(text)
    });
    SeccompRule::new(other.into_iter().collect::<Result<_, _>>()?).map_err(text)
}

fn text(error: impl fmt::Display) -> String {
    error.to_string()
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::net::{SocketAddr, TcpListener, TcpStream};
    use std::process::Command;

    use socket2::{Domain, Socket, Type};

    use super::*;

    const CHILD: &str = "LASTHOP_TEST_CONFINED";

    /// A process cannot be let out again, so the trying is done by a second one: this test itself.
    #[test]
    fn a_confined_process_reads_and_serves_and_can_do_little_else() {
        if let Ok(folder) = std::env::var(CHILD) {
            attempts(&folder);
            return;
        }
        let folder = std::env::temp_dir().join(format!("lasthop-confine-{}", std::process::id()));
        std::fs::create_dir(&folder).unwrap();
        let ran = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "--nocapture", "--test-threads=1"])
            .arg("confine::tests::a_confined_process_reads_and_serves_and_can_do_little_else")
            .env(CHILD, &folder)
            .output()
            .unwrap();
        let left: Vec<_> = std::fs::read_dir(&folder).unwrap().collect();
        std::fs::remove_dir_all(&folder).unwrap();
        let said = String::from_utf8_lossy(&ran.stdout);
        assert!(ran.status.success() && said.contains("tried everything"), "{ran:?}");
        assert!(left.is_empty(), "{left:?}");
    }

    fn attempts(folder: &str) {
        let bind = || TcpListener::bind("127.0.0.1:0").unwrap();
        let (ours, theirs) = (bind(), bind());
        let port = |listener: &TcpListener| listener.local_addr().unwrap().port();
        let ports =
            Ports { connect: BTreeSet::from([port(&ours)]), listen: BTreeSet::from([port(&ours)]) };
        let Confined { landlock, seccomp } = apply(&ports);
        assert_eq!(seccomp, Extent::Full);
        let is = |result: io::Result<()>, errno: i32| {
            assert_eq!(result.unwrap_err().raw_os_error(), Some(errno));
        };

        is(Command::new("/bin/true").spawn().map(drop), libc::EPERM);
        is(Socket::new(Domain::from(libc::AF_PACKET), Type::RAW, None).map(drop), libc::EPERM);
        std::thread::spawn(|| std::fs::read("/proc/self/status").unwrap()).join().unwrap();
        if landlock == Extent::Full {
            is(std::fs::write(format!("{folder}/new"), "text"), libc::EACCES);
            is(std::fs::create_dir(format!("{folder}/new")), libc::EACCES);
            is(TcpStream::connect(theirs.local_addr().unwrap()).map(drop), libc::EACCES);
            let other = SocketAddr::from(([127, 0, 0, 1], port(&theirs).wrapping_add(1)));
            is(TcpListener::bind(other).map(drop), libc::EACCES);
        } else {
            println!("Landlock is not here in full, so only the filter was tried: {landlock}");
        }
        TcpStream::connect(ours.local_addr().unwrap()).unwrap();
        println!("tried everything");
    }
}
