//! Under systemd: the sockets that it opened for us, and what it wants to be told.
//!
//! <https://www.freedesktop.org/software/systemd/man/latest/sd_listen_fds.html>,
//! <https://www.freedesktop.org/software/systemd/man/latest/sd_notify.html>

use std::ffi::OsStr;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr as UnixAddr, UnixDatagram};

use listenfd::ListenFd;

/// What systemd handed over, if it was systemd that started us.
#[derive(Debug, Default)]
pub(crate) struct Systemd {
    pub(crate) sockets: Passed,
    pub(crate) manager: Manager,
}

impl Systemd {
    /// As the environment tells. Before the process is confined, since the manager's socket may be one
    /// that cannot be reached afterwards.
    ///
    /// # Errors
    /// Something is named there that cannot be used.
    pub(crate) fn find() -> io::Result<Self> {
        let manager = Manager::find(std::env::var_os("NOTIFY_SOCKET").as_deref())?;
        Ok(Self { sockets: Passed::take()?, manager })
    }
}

/// Sockets that were open before we began, each for the listener that has its address.
#[derive(Debug, Default)]
pub(crate) struct Passed(Vec<(SocketAddr, TcpListener)>);

impl Passed {
    /// Takes those that `LISTEN_FDS` tells of; without it there are none.
    ///
    /// # Errors
    /// One is no listening TCP socket.
    fn take() -> io::Result<Self> {
        let mut handed = ListenFd::from_env();
        let mut sockets = Vec::new();
        for index in 0..handed.len() {
            if let Some(socket) = handed.take_tcp_listener(index)? {
                sockets.push((socket.local_addr()?, socket));
            }
        }
        Ok(Self(sockets))
    }

    /// The socket for a listener at `address`, if there is one. A listener on every address takes a
    /// socket on one of them; the other way round it would be reached from where it should not be.
    pub(crate) fn at(&mut self, address: SocketAddr) -> Option<TcpListener> {
        let fits = |passed: &SocketAddr| {
            let (passed_ip, ip) = (passed.ip().to_canonical(), address.ip().to_canonical());
            passed.port() == address.port() && (passed_ip == ip || ip.is_unspecified())
        };
        let position = self.0.iter().position(|(passed, _)| fits(passed))?;
        Some(self.0.swap_remove(position).1)
    }

    /// Addresses of sockets that no listener took: whoever connects there would wait forever.
    pub(crate) fn left(&self) -> impl Iterator<Item = SocketAddr> {
        self.0.iter().map(|(address, _)| *address)
    }
}

/// The way to the service manager, where there is one.
#[derive(Debug, Default)]
pub(crate) struct Manager(Option<UnixDatagram>);

impl Manager {
    /// The one that `NOTIFY_SOCKET` names.
    ///
    /// # Errors
    /// It is named, and cannot be reached.
    fn find(socket: Option<&OsStr>) -> io::Result<Self> {
        let Some(name) = socket.filter(|name| !name.is_empty()) else { return Ok(Self(None)) };
        let address = match name.as_bytes().strip_prefix(b"@") {
            Some(name) => UnixAddr::from_abstract_name(name)?,
            None => UnixAddr::from_pathname(name)?,
        };
        let channel = UnixDatagram::unbound()?;
        channel.connect_addr(&address)?;
        channel.set_nonblocking(true)?;
        Ok(Self(Some(channel)))
    }

    /// All listeners are served.
    pub(crate) fn ready(&self) {
        self.say("READY=1\nSTATUS=serving\n");
    }

    /// The end has begun.
    pub(crate) fn stopping(&self) {
        self.say("STOPPING=1\nSTATUS=draining\n");
    }

    fn say(&self, text: &str) {
        if let Some(channel) = &self.0 {
            // A manager that does not read is none of our traffic's business.
            let _unheard = channel.send(text.as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passed(address: &str) -> (Passed, SocketAddr) {
        let socket = TcpListener::bind(address).unwrap();
        let address = socket.local_addr().unwrap();
        (Passed(vec![(address, socket)]), address)
    }

    #[test]
    fn a_socket_is_for_the_listener_at_its_address() {
        let (mut sockets, address) = passed("127.0.0.1:0");
        let port = address.port();
        assert!(sockets.at(SocketAddr::from(([127, 0, 0, 1], port.wrapping_add(1)))).is_none());
        assert!(sockets.at(SocketAddr::from(([127, 0, 0, 2], port))).is_none());
        assert_eq!(sockets.left().collect::<Vec<_>>(), [address]);
        assert!(sockets.at(SocketAddr::from(([0_u16; 8], port))).is_some());
        assert_eq!(sockets.left().count(), 0);
    }

    #[test]
    fn a_listener_on_loopback_takes_no_socket_on_every_address() {
        let (mut sockets, address) = passed("0.0.0.0:0");
        assert!(sockets.at(SocketAddr::from(([127, 0, 0, 1], address.port()))).is_none());
        assert!(sockets.at(address).is_some());
    }

    #[test]
    fn the_manager_hears_of_beginning_and_end() {
        let name = format!("lasthop-test-notify-{}", std::process::id());
        let address = UnixAddr::from_abstract_name(&name).unwrap();
        let systemd = UnixDatagram::bind_addr(&address).unwrap();
        let manager = Manager::find(Some(OsStr::new(&format!("@{name}")))).unwrap();
        let mut text = [0; 64];
        manager.ready();
        let length = systemd.recv(&mut text).unwrap();
        assert!(text[..length].starts_with(b"READY=1\n"));
        manager.stopping();
        let length = systemd.recv(&mut text).unwrap();
        assert!(text[..length].starts_with(b"STOPPING=1\n"));
        Manager::find(None).unwrap().ready();
    }
}
