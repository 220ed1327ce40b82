//! Connections in: bound sockets, the accept loop, and the way of one connection through the rooms.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use lasthop_contract::client_policy::Refusal;
use lasthop_contract::problem::Code;
use prometheus_client::metrics::gauge::Gauge;
use socket2::{Domain, Protocol as SocketProtocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::admit::{self, Rejected};
use crate::forward::{self, Serving};
use crate::handshake::{self, Failed, Failure};
use crate::listener::{Process, Terminator};
use crate::proxy_protocol::accept::{is_stranger, origin, turned_away};
use crate::shares::Share;
use crate::telemetry::metrics::{HandshakeResult, ListenerMetrics};
use crate::telemetry::refusals::Verdict;

mod originate;

pub(crate) use originate::originate;

/// Connections that the kernel keeps until we take them; it has a bound of its own.
const BACKLOG: i32 = 4096;

/// A pause after the system had no descriptor left for a connection.
const BREATH: Duration = Duration::from_millis(50);

/// Binds `address`. `[::]` takes IPv4 too, and where there is no IPv6 it means `0.0.0.0`.
pub(crate) fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    match bind_one(address) {
        Err(error)
            if address.ip().is_unspecified()
                && address.is_ipv6()
                && error.kind() != io::ErrorKind::AddrInUse
                && error.kind() != io::ErrorKind::PermissionDenied =>
        {
            bind_one(SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), address.port()))
        }
        bound => bound,
    }
}

/// Makes a socket that is bound and listens already one of ours.
pub(crate) fn take_over(socket: std::net::TcpListener) -> io::Result<TcpListener> {
    tune(&SockRef::from(&socket))?;
    TcpListener::from_std(socket)
}

fn bind_one(address: SocketAddr) -> io::Result<TcpListener> {
    let socket =
        Socket::new(Domain::for_address(address), Type::STREAM, Some(SocketProtocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.set_reuse_address(true)?;
    tune(&SockRef::from(&socket))?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Accepted sockets inherit these on Linux, which saves two system calls a connection.
fn tune(socket: &SockRef<'_>) -> io::Result<()> {
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_keepalive(&keepalive())?;
    socket.set_nonblocking(true)
}

fn keepalive() -> TcpKeepalive {
    TcpKeepalive::new().with_time(Duration::from_secs(60)).with_interval(Duration::from_secs(15))
}

/// Makes the kernel notice that the other side of a silent connection is gone.
pub(crate) fn keep_alive(stream: &TcpStream) {
    // Without it the connection lasts longer than it should; slow, but not wrong.
    let _late = SockRef::from(stream).set_tcp_keepalive(&keepalive());
}

/// The next connection of `listener`, until `end`.
pub(crate) async fn next(
    listener: &TcpListener,
    process: &Process,
    end: &CancellationToken,
) -> Option<(TcpStream, SocketAddr)> {
    loop {
        let accepted = tokio::select! {
            biased;
            () = end.cancelled() => return None,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                return Some((stream, SocketAddr::new(peer.ip().to_canonical(), peer.port())));
            }
            Err(error) => {
                if let Verdict::Write { suppressed } =
                    process.refusals.ask("accept", std::time::Instant::now())
                {
                    let line = process.log.error("a connection could not be accepted");
                    line.display("reason", &error).number("suppressed", suppressed).write();
                }
                // Out of descriptors or memory: trying again at once would only burn the CPU.
                if error.kind() != io::ErrorKind::ConnectionAborted {
                    sleep(BREATH).await;
                }
            }
        }
    }
}

/// Takes connections until drain says that there are enough.
pub(crate) async fn terminate(
    listener: TcpListener,
    terminator: Arc<Terminator>,
    process: Arc<Process>,
) {
    while let Some((stream, peer)) = next(&listener, &process, &process.phases.closing).await {
        terminator.metrics.connections.inc();
        if is_stranger(peer, &terminator) {
            // Who may not even speak takes no seat from those who may.
            let turning = turn_away(stream, peer, Arc::clone(&terminator), Arc::clone(&process));
            process.clients.spawn(turning);
            continue;
        }
        let Ok(permit) = Arc::clone(&process.room).try_acquire_owned() else {
            let listener = (terminator.name.as_str(), &*terminator.metrics);
            refuse(&Crowded::InAll, listener, peer, &process);
            continue;
        };
        let seat = Seat::take(&terminator.metrics.open, permit);
        let incoming = Incoming { stream, peer, seat };
        let connection = connection(incoming, Arc::clone(&terminator), Arc::clone(&process));
        process.clients.spawn(connection);
    }
}

/// A connection's place among all that are open, and among those of its client; given back however
/// the connection ends.
#[derive(Debug)]
pub(crate) struct Seat {
    open: Gauge,
    _permit: OwnedSemaphorePermit,
    share: Option<Share>,
}

impl Seat {
    fn take(open: &Gauge, permit: OwnedSemaphorePermit) -> Self {
        open.inc();
        Self { open: open.clone(), _permit: permit, share: None }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.open.dec();
    }
}

/// A connection that has just come in.
struct Incoming {
    stream: TcpStream,
    peer: SocketAddr,
    seat: Seat,
}

/// One connection: handshake, admit, forward. The room that the first two took is given back before
/// the third begins.
async fn connection(incoming: Incoming, terminator: Arc<Terminator>, process: Arc<Process>) {
    if let Some(serving) = Box::pin(enter(incoming, terminator, process)).await {
        serving.await;
    }
}

/// Ends a connection of somebody who is no proxy, where proxies are awaited.
async fn turn_away(
    stream: TcpStream,
    peer: SocketAddr,
    terminator: Arc<Terminator>,
    process: Arc<Process>,
) {
    let reason = turned_away(&stream, &process.strangers).await;
    tell(&Failed { reason, sni: None }, peer, &terminator, &process);
}

/// What serves the connection, if it may come in.
async fn enter(
    incoming: Incoming,
    terminator: Arc<Terminator>,
    process: Arc<Process>,
) -> Option<Serving> {
    let Incoming { mut stream, peer, mut seat } = incoming;
    let origin = match origin(&mut stream, peer, &terminator).await {
        Ok(origin) => origin,
        Err(reason) => {
            tell(&Failed { reason, sni: None }, peer, &terminator, &process);
            return None;
        }
    };
    let peer = origin.ends.source;
    if let Some(per_client) = &process.per_client {
        let Some(share) = per_client.connections.take(peer.ip()) else {
            let listener = (terminator.name.as_str(), &*terminator.metrics);
            refuse(&Crowded::OfClient, listener, peer, &process);
            return None;
        };
        seat.share = Some(share);
    }
    let generation = terminator.generation.load_full();
    let start = Instant::now();
    let secured = match handshake::perform(stream, &generation, &process.handshake_room).await {
        Ok(secured) => secured,
        Err(failed) => {
            tell(&failed, peer, &terminator, &process);
            return None;
        }
    };
    match admit::admit(secured, (origin, seat), &generation, &terminator) {
        Ok(admitted) => {
            let result =
                if admitted.resumed { HandshakeResult::Resumed } else { HandshakeResult::Full };
            terminator.metrics.handshake(result, start.elapsed());
            Some(forward::forward(admitted, terminator, process))
        }
        Err(rejected) => {
            let Rejected { failed, stream } = *rejected;
            tell(&failed, peer, &terminator, &process);
            handshake::close(stream).await;
            None
        }
    }
}

/// Takes down that a connection came to nothing.
fn tell(failed: &Failed, peer: SocketAddr, terminator: &Terminator, process: &Process) {
    let Failed { reason, sni } = failed;
    let Some(code) = reason.code() else {
        process
            .log
            .debug("a connection was closed without a byte")
            .text("listener", &terminator.name)
            .display("peer", peer)
            .write();
        return;
    };
    terminator.metrics.handshake(HandshakeResult::Failed, Duration::ZERO);
    let code = code.to_string();
    terminator.metrics.refusal(&code, reason.word());
    let verdict =
        process.refusals.ask(&format!("{}:{code}", terminator.name), std::time::Instant::now());
    let Verdict::Write { suppressed } = verdict else { return };
    let mut line = process
        .log
        .warn("refused")
        .text("listener", &terminator.name)
        .display("peer", peer)
        .text("code", &code)
        .text("reason", reason.word())
        .display("detail", reason);
    if let Some(sni) = sni {
        line = line.foreign("sni", sni);
    }
    if let Failure::Refused(Refusal { certificate: Some(certificate), .. }) = reason {
        line = line.certificate(certificate);
    }
    if suppressed > 0 {
        line = line.number("suppressed", suppressed);
    }
    line.write();
}

/// There is no room for a connection.
enum Crowded {
    /// As many are open as may be.
    InAll,
    /// As many of its client are.
    OfClient,
}

fn refuse(
    crowded: &Crowded,
    (name, metrics): (&str, &ListenerMetrics),
    peer: SocketAddr,
    process: &Process,
) {
    let (code, word, detail) = match crowded {
        Crowded::InAll => (
            Code(529),
            "too_many_connections",
            "as many connections are open as `--max-connections` allows",
        ),
        Crowded::OfClient => (
            Code(532),
            "too_many_of_client",
            "the client has as many connections as `--max-connections-per-client` allows",
        ),
    };
    let code = code.to_string();
    metrics.refusal(&code, word);
    let verdict = process.refusals.ask(&code, std::time::Instant::now());
    if let Verdict::Write { suppressed } = verdict {
        process
            .log
            .warn("refused")
            .text("listener", name)
            .display("peer", peer)
            .text("code", &code)
            .text("reason", word)
            .text("detail", detail)
            .number("suppressed", suppressed)
            .write();
    }
}
