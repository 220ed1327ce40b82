//! What the process gives up before its first connection, so that who takes it over gains little: it
//! writes no file, runs no program, and connects nowhere but where its configuration leads.
//!
//! Landlock says what may be reached, seccomp which system calls there are. Neither needs a right,
//! and either may be missing: an older kernel, or a container runtime that takes them away.
//!
//! <https://docs.kernel.org/userspace-api/landlock.html>,
//! <https://docs.kernel.org/userspace-api/seccomp_filter.html>

use std::collections::BTreeSet;
use std::fmt;

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, CompatLevel, Compatible as _, NetPort, Ruleset,
    RulesetAttr as _, RulesetCreatedAttr as _, RulesetError, RulesetStatus, Scope,
};
mod calls;

pub(crate) use calls::seal;

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
    pub(crate) datagrams: Datagrams,
}

/// Whether UDP is needed, about which Landlock has nothing to say.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) enum Datagrams {
    /// No name is looked up.
    #[default]
    Unneeded,
    /// The system's resolver speaks it.
    ForNames,
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
    let seccomp = match calls::refuse(ports.datagrams) {
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

#[cfg(test)]
mod tests {
    use std::io;
    use std::net::{SocketAddr, TcpListener, TcpStream};
    use std::process::Command;

    use socket2::{Domain, Protocol, Socket, Type};

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
        let ports = Ports {
            connect: BTreeSet::from([port(&ours)]),
            listen: BTreeSet::from([port(&ours)]),
            datagrams: Datagrams::Unneeded,
        };
        let Confined { landlock, seccomp } = apply(&ports);
        assert_eq!(seccomp, Extent::Full);
        let is = |result: io::Result<()>, errno: i32| {
            assert_eq!(result.unwrap_err().raw_os_error(), Some(errno));
        };

        is(Command::new("/bin/true").spawn().map(drop), libc::EPERM);
        is(Socket::new(Domain::from(libc::AF_PACKET), Type::RAW, None).map(drop), libc::EPERM);
        std::thread::spawn(|| std::fs::read("/proc/self/status").unwrap()).join().unwrap();
        // What Landlock takes for something else than a connection by TCP.
        let socket = |kind, protocol: i32| {
            Socket::new(Domain::IPV4, kind, Some(Protocol::from(protocol))).map(drop)
        };
        is(socket(Type::STREAM, libc::IPPROTO_MPTCP), libc::EPERM);
        is(socket(Type::STREAM, libc::IPPROTO_SCTP), libc::EPERM);
        is(socket(Type::DGRAM, 0), libc::EPERM);
        is(socket(Type::DGRAM, libc::IPPROTO_ICMP), libc::EPERM);
        let stream = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        let to = socket2::SockAddr::from(theirs.local_addr().unwrap());
        let opened = stream.send_to_with_flags(b"in", &to, libc::MSG_FASTOPEN);
        is(opened.map(drop), libc::EPERM);
        let permissions = std::fs::metadata(folder).unwrap().permissions();
        is(std::fs::set_permissions(folder, permissions), libc::EPERM);
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
        let unbound = || Socket::new(Domain::IPV4, Type::STREAM, None).unwrap().listen(1);
        unbound().unwrap();
        assert_eq!(seal(), Extent::Full);
        is(unbound(), libc::EPERM);
        println!("tried everything");
    }
}
