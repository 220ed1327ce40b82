//! The door beside the door: whether an application that should be on localhost also answers on the
//! pod's own addresses, where whoever reaches the pod passes the sidecar by.
//!
//! The kernel's table of listening sockets says so for every address at once. Nothing is connected
//! to, so the application has no stray connection a minute in its log, and there is no list of
//! interfaces to keep up with.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lasthop_contract::sidecar_config::PlaintextDoor;
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use crate::listener::Process;
use crate::telemetry::metrics::DoorState;

/// The time from one look to the next.
const MINUTE: Duration = Duration::from_secs(60);

/// The same, while something is waited for: the application, or that the door is closed.
const SOON: Duration = Duration::from_secs(1);

/// The application's ports, and who listens on them.
#[derive(Debug)]
pub(crate) struct Door {
    policy: PlaintextDoor,
    /// Where the sidecar itself listens.
    own: BTreeSet<SocketAddr>,
    ports: Mutex<BTreeMap<u16, Sight>>,
}

/// What can be seen of one port.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Sight {
    /// Nobody listens.
    Absent,
    /// Somebody listens, on loopback alone.
    Closed,
    /// Somebody listens on these addresses, which are not loopback.
    Open(Vec<SocketAddr>),
    /// There is no telling.
    Unknown,
}

impl Sight {
    /// The word in the status detail.
    pub(crate) fn word(&self) -> &'static str {
        match self {
            Self::Absent => "absent",
            Self::Closed => "closed",
            Self::Open(_) => "open",
            Self::Unknown => "unknown",
        }
    }

    /// What `sockets` say of `port`, less those in `own`.
    fn of(sockets: &[SocketAddr], port: u16, own: &BTreeSet<SocketAddr>) -> Self {
        let listening: Vec<SocketAddr> =
            sockets.iter().filter(|it| it.port() == port && !own.contains(it)).copied().collect();
        let open: Vec<SocketAddr> =
            listening.iter().filter(|it| !it.ip().to_canonical().is_loopback()).copied().collect();
        match (open.is_empty(), listening.is_empty()) {
            (false, _) => Self::Open(open),
            (true, false) => Self::Closed,
            (true, true) => Self::Absent,
        }
    }
}

impl Door {
    /// The doors of `applications`, as far as these are on loopback: one that is not has been put
    /// there in writing, and a Unix socket has none.
    pub(crate) fn new(
        policy: PlaintextDoor,
        applications: impl Iterator<Item = SocketAddr>,
        own: impl Iterator<Item = SocketAddr>,
    ) -> Self {
        let on_loopback = applications.filter(|it| it.ip().to_canonical().is_loopback());
        let ports = on_loopback.map(|it| (it.port(), Sight::Absent)).collect();
        Self { policy, own: own.collect(), ports: Mutex::new(ports) }
    }

    /// What was last seen of each port.
    pub(crate) fn sights(&self) -> BTreeMap<u16, Sight> {
        self.ports.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether the pod is not ready while a door is open.
    pub(crate) fn can_object(&self) -> bool {
        self.policy == PlaintextDoor::NotReady
    }

    /// Why the pod must not be ready, if it must not.
    pub(crate) fn objection(&self) -> Option<String> {
        if !self.can_object() {
            return None;
        }
        let objections: Vec<String> = self
            .sights()
            .iter()
            .filter_map(|(port, sight)| match sight {
                Sight::Open(addresses) => Some(format!(
                    "the application's port {port} can be reached past the sidecar, at {}",
                    listed(addresses)
                )),
                _ => None,
            })
            .collect();
        (!objections.is_empty()).then(|| objections.join("; "))
    }

    /// Looks once, tells what changed, and says when to look again.
    pub(crate) fn look(
        &self,
        sockets: &io::Result<Vec<SocketAddr>>,
        process: &Process,
    ) -> Duration {
        let mut ports = self.ports.lock().unwrap_or_else(PoisonError::into_inner);
        let mut next = MINUTE;
        for (port, sight) in ports.iter_mut() {
            let now = match sockets {
                Ok(sockets) => Sight::of(sockets, *port, &self.own),
                Err(_unreadable) => Sight::Unknown,
            };
            let state = match now {
                Sight::Open(_) => DoorState::Open,
                Sight::Absent | Sight::Closed | Sight::Unknown => DoorState::NotOpen,
            };
            process.metrics.set_door(*port, state);
            let awaited = match &now {
                Sight::Absent => true,
                Sight::Open(_) => self.policy == PlaintextDoor::NotReady,
                Sight::Closed | Sight::Unknown => false,
            };
            if awaited {
                next = SOON;
            }
            if now != *sight {
                tell(*port, &now, sight, process);
                *sight = now;
            }
        }
        next
    }
}

fn tell(port: u16, now: &Sight, before: &Sight, process: &Process) {
    let log = &process.log;
    let line = match (now, before) {
        (Sight::Open(addresses), _) => log
            .warn("the application can be reached past the sidecar")
            .text("addresses", &listed(addresses))
            .text("help", "let it listen on 127.0.0.1, or close its port with a NetworkPolicy"),
        (Sight::Unknown, _) => log
            .warn("whether the application can be reached past the sidecar cannot be seen")
            .text("help", "the sidecar reads /proc/net/tcp for that"),
        (_, Sight::Open(_)) => log.info("the application can be reached past the sidecar no more"),
        (Sight::Closed, _) => log.debug("the application listens on loopback alone"),
        (Sight::Absent, _) => log.debug("the application does not listen"),
    };
    line.number("port", u64::from(port)).write();
}

fn listed(addresses: &[SocketAddr]) -> String {
    let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    addresses.join(", ")
}

/// Looks when the application begins to listen, and every minute after that.
pub(crate) async fn watch(door: Arc<Door>, process: Arc<Process>) {
    loop {
        // The table is as long as there are connections, which may take a moment.
        let sockets =
            spawn_blocking(listening).await.unwrap_or_else(|error| Err(io::Error::other(error)));
        let next = door.look(&sockets, &process);
        sleep(next).await;
    }
}

/// Every address that somebody in this network namespace, which is the pod's, listens on
/// (`proc_pid_net(5)`).
pub(crate) fn listening() -> io::Result<Vec<SocketAddr>> {
    let mut sockets = read(&std::fs::read_to_string("/proc/net/tcp")?)?;
    match std::fs::read_to_string("/proc/net/tcp6") {
        Ok(table) => sockets.extend(read(&table)?),
        // Where there is no IPv6, nobody listens on it.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    sockets.sort_unstable();
    sockets.dedup();
    Ok(sockets)
}

/// The state of a listening socket, `TCP_LISTEN` in the kernel.
const LISTEN: &str = "0A";

fn read(table: &str) -> io::Result<Vec<SocketAddr>> {
    let rows = table.lines().skip(1).map(|line| line.split_ascii_whitespace().skip(1));
    let listening = rows.filter_map(|mut columns| {
        let (local, _remote, state) = (columns.next()?, columns.next()?, columns.next()?);
        (state == LISTEN).then_some(local)
    });
    listening
        .map(|local| address(local).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData)))
        .collect()
}

/// `0100007F:1F90`: words of an address in the byte order of the machine, and a port.
fn address(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let word = |at: usize| {
        let word = u32::from_str_radix(ip.get(at * 8..at * 8 + 8)?, 16).ok()?;
        Some(u32::from_be_bytes(word.to_ne_bytes()))
    };
    let ip = match ip.len() {
        8 => IpAddr::V4(Ipv4Addr::from_bits(word(0)?)),
        32 => {
            let words = [word(0)?, word(1)?, word(2)?, word(3)?];
            let bits = words.iter().fold(0, |bits: u128, word| bits << 32 | u128::from(*word));
            IpAddr::V6(Ipv6Addr::from_bits(bits))
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|it| it.parse().unwrap()).collect()
    }

    #[test]
    fn the_kernel_says_who_listens() {
        let everywhere = TcpListener::bind("0.0.0.0:0").unwrap().local_addr().unwrap();
        assert!(!listening().unwrap().contains(&everywhere), "nobody does any more");
        let sockets = ["0.0.0.0:0", "127.0.0.3:0", "[::1]:0", "[::]:0"];
        // A machine may be without IPv6.
        let sockets: Vec<TcpListener> =
            sockets.iter().filter_map(|it| TcpListener::bind(it).ok()).collect();
        assert!(sockets.len() >= 2);
        let seen = listening().unwrap();
        for socket in sockets {
            let address = socket.local_addr().unwrap();
            assert!(seen.contains(&address), "{address} is not in {seen:?}");
        }
    }

    #[test]
    fn a_line_of_the_table_is_read_and_nonsense_is_an_error() {
        let row = |local: &str, state: &str| {
            format!(
                "  sl  local_address …\n   0: {local} 00000000:0000 {state} 0:0 00:0 0 0 0 1 1\n"
            )
        };
        let here = |bytes: [u8; 4]| format!("{:08X}", u32::from_ne_bytes(bytes));
        let v4 = row(&format!("{}:1F90", here([192, 0, 2, 1])), "0A");
        assert_eq!(read(&v4).unwrap(), addresses(&["192.0.2.1:8080"]));
        let v6 = [[0x20, 1, 0xd, 0xb8], [0; 4], [0; 4], [0, 0, 0, 1]].map(here).concat();
        assert_eq!(
            read(&row(&format!("{v6}:0050"), "0A")).unwrap(),
            addresses(&["[2001:db8::1]:80"])
        );
        assert_eq!(read(&row("0100007F:1F90", "01")).unwrap(), []);
        assert_eq!(read("").unwrap(), []);
        for local in
            ["", "0100007F", "0100007F:", "0100007:1F90", "0100007F:1F901", "é100007F:1F90"]
        {
            let table = row(if local.is_empty() { "x" } else { local }, "0A");
            assert!(read(&table).is_err(), "{local}");
        }
    }

    #[test]
    fn a_door_is_a_listener_on_another_address_than_loopback_and_not_our_own() {
        let own = addresses(&["192.0.2.1:8080", "[::]:8443"]).into_iter().collect();
        for (sockets, expected) in [
            (&[][..], Sight::Absent),
            (&["0.0.0.0:80", "[::]:8443"], Sight::Absent),
            (&["127.0.0.1:8080"], Sight::Closed),
            (&["127.0.0.5:8080", "[::1]:8080", "[::ffff:127.0.0.1]:8080"], Sight::Closed),
            (&["127.0.0.1:8080", "192.0.2.1:8080"], Sight::Closed),
            (&["0.0.0.0:8080"], Sight::Open(addresses(&["0.0.0.0:8080"]))),
            (&["[::]:8080"], Sight::Open(addresses(&["[::]:8080"]))),
            (&["127.0.0.1:8080", "192.0.2.2:8080"], Sight::Open(addresses(&["192.0.2.2:8080"]))),
        ] {
            assert_eq!(Sight::of(&addresses(sockets), 8080, &own), expected, "{sockets:?}");
        }
    }
}
