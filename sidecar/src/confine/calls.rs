//! The system calls that a sidecar never makes.
//!
//! Some are here for what Landlock does not see: its rights to connect and to bind are those of TCP
//! sockets and of `connect` and `bind`, and there are other ways to a connection.

use std::collections::BTreeMap;
use std::fmt;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule,
};

use super::{Datagrams, Extent};

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
    // What Landlock leaves of a file: its rights, its owner, its times.
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    libc::SYS_fchmodat2,
    libc::SYS_fchown,
    libc::SYS_fchownat,
    libc::SYS_utimensat,
    libc::SYS_setxattr,
    libc::SYS_lsetxattr,
    libc::SYS_fsetxattr,
    libc::SYS_removexattr,
    libc::SYS_lremovexattr,
    libc::SYS_fremovexattr,
];

/// The same by the older names that this architecture has.
#[cfg(target_arch = "x86_64")]
const REFUSED_BY_OLD_NAMES: &[libc::c_long] =
    &[libc::SYS_chmod, libc::SYS_chown, libc::SYS_lchown, libc::SYS_utime, libc::SYS_utimes];
#[cfg(not(target_arch = "x86_64"))]
const REFUSED_BY_OLD_NAMES: &[libc::c_long] = &[];

/// Refuses them to this process, for good.
pub(super) fn refuse(datagrams: Datagrams) -> Result<(), String> {
    let mut refused: BTreeMap<i64, Vec<SeccompRule>> =
        REFUSED.iter().chain(REFUSED_BY_OLD_NAMES).map(|call| (*call, Vec::new())).collect();
    refused.insert(libc::SYS_clone, vec![new_process()?]);
    refused.insert(libc::SYS_socket, odd_sockets(datagrams)?);
    // They connect without `connect`: TCP Fast Open (RFC 7413).
    for (call, flags) in [(libc::SYS_sendto, 3), (libc::SYS_sendmsg, 2), (libc::SYS_sendmmsg, 3)] {
        refused.insert(call, vec![rule([is_set(flags, libc::MSG_FASTOPEN)?])?]);
    }
    install(refused, libc::EPERM)?;
    other_numbers()?;
    // Its flags are in memory, out of a filter's sight; without it the C library takes `clone`.
    install(BTreeMap::from([(libc::SYS_clone3, Vec::new())]), libc::ENOSYS)
}

/// Refuses further listeners: one that was never bound gets a port of the kernel's choice, and Landlock
/// is not asked. Called when all that there are listen.
pub(crate) fn seal() -> Extent {
    match install(BTreeMap::from([(libc::SYS_listen, Vec::new())]), libc::EPERM) {
        Ok(()) => Extent::Full,
        Err(reason) => Extent::Nothing(reason),
    }
}

fn install(calls: BTreeMap<i64, Vec<SeccompRule>>, errno: libc::c_int) -> Result<(), String> {
    let architecture = std::env::consts::ARCH.try_into().map_err(text)?;
    let errno = SeccompAction::Errno(errno.unsigned_abs());
    let filter =
        SeccompFilter::new(calls, SeccompAction::Allow, errno, architecture).map_err(text)?;
    let program: BpfProgram = filter.try_into().map_err(text)?;
    seccompiler::apply_filter_all_threads(&program).map_err(text)
}

/// The calls of x32 are those of x86-64 by other numbers, which no filter above knows, where a kernel
/// has them at all.
#[cfg(target_arch = "x86_64")]
fn other_numbers() -> Result<(), String> {
    use seccompiler::sock_filter;
    /// `__X32_SYSCALL_BIT` (asm/unistd.h).
    const X32: u32 = 0x4000_0000;
    // From linux/bpf_common.h: a word at a place, a jump if that is at least so much, a return.
    let step = |code, jt, k| sock_filter { code, jt, jf: 0, k };
    let refused = libc::SECCOMP_RET_ERRNO | libc::ENOSYS.unsigned_abs();
    let program = [
        // The number stands first (`seccomp_data` of linux/seccomp.h).
        step(0x20, 0, 0),
        step(0x35, 1, X32),
        step(0x06, 0, libc::SECCOMP_RET_ALLOW),
        step(0x06, 0, refused),
    ];
    seccompiler::apply_filter_all_threads(&program).map_err(text)
}

#[cfg(not(target_arch = "x86_64"))]
fn other_numbers() -> Result<(), String> {
    Ok(())
}

/// `clone` that makes no thread.
fn new_process() -> Result<SeccompRule, String> {
    let thread = u64::from(libc::CLONE_THREAD.unsigned_abs());
    rule([condition(0, SeccompCmpOp::MaskedEq(thread), 0)?])
}

/// Sockets of other kinds than those of TCP, DNS and the lists of addresses.
fn odd_sockets(datagrams: Datagrams) -> Result<Vec<SeccompRule>, String> {
    let families = [libc::AF_UNIX, libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK];
    // 0 is the usual one of a kind. MPTCP and SCTP connect as TCP does, and are not TCP to Landlock.
    let protocols = [0, libc::IPPROTO_TCP, libc::IPPROTO_UDP];
    let mut rules = vec![none_of(0, &families)?, none_of(2, &protocols)?];
    for family in [libc::AF_INET, libc::AF_INET6] {
        let mut kinds = vec![libc::SOCK_RAW, libc::SOCK_SEQPACKET, libc::SOCK_DCCP];
        if datagrams == Datagrams::Unneeded {
            kinds.push(libc::SOCK_DGRAM);
        }
        for kind in kinds {
            let family = condition(0, SeccompCmpOp::Eq, family)?;
            let kind = condition(1, SeccompCmpOp::MaskedEq(KIND), kind)?;
            rules.push(rule([family, kind])?);
        }
    }
    Ok(rules)
}

/// The bits of a socket's kind that are not flags (`SOCK_TYPE_MASK` of linux/net.h).
const KIND: u64 = 0xf;

fn none_of(argument: u8, values: &[libc::c_int]) -> Result<SeccompRule, String> {
    let others = values.iter().map(|value| condition(argument, SeccompCmpOp::Ne, *value));
    rule(others.collect::<Result<Vec<_>, _>>()?)
}

fn is_set(argument: u8, flag: libc::c_int) -> Result<SeccompCondition, String> {
    condition(argument, SeccompCmpOp::MaskedEq(u64::from(flag.unsigned_abs())), flag)
}

/// About the lower half of an argument, which is all that the kernel takes of an `int`.
fn condition(
    argument: u8,
    operator: SeccompCmpOp,
    value: libc::c_int,
) -> Result<SeccompCondition, String> {
    let value = u64::from(value.unsigned_abs());
    SeccompCondition::new(argument, SeccompCmpArgLen::Dword, operator, value).map_err(text)
}

fn rule(conditions: impl Into<Vec<SeccompCondition>>) -> Result<SeccompRule, String> {
    SeccompRule::new(conditions.into()).map_err(text)
}

fn text(error: impl fmt::Display) -> String {
    error.to_string()
}
