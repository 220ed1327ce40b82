//! TLS secrets on demand, for who has to look into a capture: `lasthop-sidecar keylog --for 60s`,
//! run inside of the container, streams them; they go to no log and no disk.
//!
//! Who asks is known by the kernel: a process of the same user that the sidecar can see. A container
//! beside it reaches the socket, too, since a pod has one network, but its processes have no id here.

use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use lasthop_contract::text::hex;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::time::{Instant, sleep_until, timeout};

use crate::listener::Process;
use crate::telemetry::refusals::Verdict;

mod client;

pub(crate) use client::{Request, read};

/// The longest time that a key log may be asked for.
pub(crate) const LONGEST: Duration = Duration::from_secs(3600);

/// Lines that wait for the reader; a handshake makes up to five.
const QUEUE: usize = 4096;

/// Who may ask at once; one of them reads.
const ASKING: usize = 4;

/// What the sidecar answers before the first line.
const WELCOME: &str = "# lasthop-sidecar: TLS secrets follow\n";

/// The socket of the sidecar whose status listener has this port: abstract, for there is no place to
/// put a file (unix(7)).
fn address(status_port: u16) -> io::Result<SocketAddr> {
    SocketAddr::from_abstract_name(format!("lasthop-sidecar/keylog/{status_port}"))
}

/// Where handshakes leave their secrets while somebody reads them.
#[derive(Default)]
pub(crate) struct KeyTap {
    open: AtomicBool,
    lost: AtomicU64,
    reader: Mutex<Option<Sender<String>>>,
}

impl std::fmt::Debug for KeyTap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyTap").field("open", &self.open).finish_non_exhaustive()
    }
}

impl KeyTap {
    /// Lets secrets flow; [`None`]: they flow to somebody already.
    fn open(self: &Arc<Self>) -> Option<Flow> {
        let mut reader = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
        if reader.is_some() {
            return None;
        }
        let (sender, lines) = channel(QUEUE);
        *reader = Some(sender);
        self.lost.store(0, Ordering::Relaxed);
        self.open.store(true, Ordering::Relaxed);
        Some(Flow { tap: Arc::clone(self), lines })
    }
}

impl rustls::KeyLog for KeyTap {
    fn log(&self, label: &str, client_random: &[u8], secret: &[u8]) {
        if !self.open.load(Ordering::Relaxed) {
            return;
        }
        let reader = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(sender) = reader.as_ref() else { return };
        if sender.try_send(line(label, client_random, secret)).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn will_log(&self, _label: &str) -> bool {
        self.open.load(Ordering::Relaxed)
    }
}

/// A line as Wireshark reads it.
///
/// <https://www.rfc-editor.org/rfc/rfc9850>
fn line(label: &str, client_random: &[u8], secret: &[u8]) -> String {
    format!("{label} {} {}\n", hex(client_random), hex(secret))
}

/// Secrets on their way to a reader; they stop when it is dropped.
struct Flow {
    tap: Arc<KeyTap>,
    lines: Receiver<String>,
}

impl Drop for Flow {
    fn drop(&mut self) {
        self.tap.open.store(false, Ordering::Relaxed);
        *self.tap.reader.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// The socket of the sidecar whose status listener has this port, bound.
///
/// # Errors
/// Somebody in this pod has it.
pub(crate) fn bind(status_port: u16) -> io::Result<UnixListener> {
    let listener = std::os::unix::net::UnixListener::bind_addr(&address(status_port)?)?;
    listener.set_nonblocking(true)?;
    UnixListener::from_std(listener)
}

/// Answers who asks for secrets, one at a time.
pub(crate) async fn serve(listener: UnixListener, tap: Arc<KeyTap>, process: Arc<Process>) {
    let room = Arc::new(Semaphore::new(ASKING));
    loop {
        // What fails is the other side's connection; the pause is for a lack of descriptors.
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        // Any process of the pod can come here: more than a few are turned away unheard.
        let Ok(place) = Arc::clone(&room).try_acquire_owned() else { continue };
        let answer = answer(stream, Arc::clone(&tap), Arc::clone(&process));
        process.background.spawn(async move {
            answer.await;
            drop(place);
        });
    }
}

async fn answer(mut stream: UnixStream, tap: Arc<KeyTap>, process: Arc<Process>) {
    // Read even from who is refused: what lies unread when a socket is closed resets it, and the
    // answer is lost.
    let time = duration(&mut stream).await;
    let refused = match (admit(&stream), time) {
        (Err(reason), _) => reason,
        (Ok(()), None) => "ask for a number of seconds, up to an hour",
        (Ok(()), Some(time)) => match tap.open() {
            None => "somebody else reads the key log; only one can",
            Some(flow) => return stream_secrets(stream, flow, time, &process).await,
        },
    };
    if let Verdict::Write { suppressed } = process.refusals.ask("keylog", std::time::Instant::now())
    {
        process
            .log
            .warn("the TLS key log was asked for and refused")
            .text("reason", refused)
            .number("suppressed", suppressed)
            .write();
    }
    // Whoever does not wait for the answer does not want to know.
    let _gone = stream.write_all(format!("refused: {refused}\n").as_bytes()).await;
}

/// Whether the other side is a process of our own container, or on a host of our own user.
fn admit(stream: &UnixStream) -> Result<(), &'static str> {
    let Ok(peer) = stream.peer_cred() else { return Err("the kernel does not tell who asks") };
    if peer.pid().is_none_or(|pid| pid <= 0) {
        return Err("it was asked for from another container");
    }
    if peer.uid() != rustix::process::geteuid().as_raw() {
        return Err("it was asked for by another user");
    }
    Ok(())
}

/// The seconds that are asked for, as digits and a line break.
async fn duration(stream: &mut UnixStream) -> Option<Duration> {
    let mut text = Vec::new();
    let read = async {
        while text.len() < 16 && !text.ends_with(b"\n") {
            text.push(stream.read_u8().await.ok()?);
        }
        Some(())
    };
    timeout(Duration::from_secs(1), read).await.ok()??;
    let seconds: u64 = std::str::from_utf8(&text).ok()?.trim_end().parse().ok()?;
    let time = Duration::from_secs(seconds);
    (seconds > 0 && time <= LONGEST).then_some(time)
}

async fn stream_secrets(mut stream: UnixStream, mut flow: Flow, time: Duration, process: &Process) {
    let until = Instant::now() + time;
    process.metrics.key_log.set(1);
    process.log.warn("the TLS key log is on").number("seconds", time.as_secs()).write();
    let mut told: u64 = 0;
    // Around reading and writing: a reader that does not read must not keep the door open.
    tokio::select! {
        () = copy(&mut stream, &mut flow, &mut told) => {}
        () = sleep_until(until) => {}
        () = process.phases.cut.cancelled() => {}
    }
    let lost = flow.tap.lost.load(Ordering::Relaxed);
    drop(flow);
    if lost > 0 {
        let text = format!("# {lost} lines were lost\n");
        let _gone = timeout(Duration::from_secs(1), stream.write_all(text.as_bytes())).await;
    }
    process.metrics.key_log.set(0);
    process
        .log
        .warn("the TLS key log is off")
        .number("lines", told)
        .number("lines_lost", lost)
        .write();
}

/// Copies lines until the reader has gone.
async fn copy(stream: &mut UnixStream, flow: &mut Flow, told: &mut u64) {
    let mut byte = [0];
    let mut open = stream.write_all(WELCOME.as_bytes()).await.is_ok();
    while open {
        let (mut reading, mut writing) = stream.split();
        tokio::select! {
            line = flow.lines.recv() => {
                let Some(line) = line else { return };
                open = writing.write_all(line.as_bytes()).await.is_ok();
                *told += 1;
            }
            // The reader says no more: it has gone.
            _ = reading.read(&mut byte) => open = false,
        }
    }
}

#[cfg(test)]
mod tests {
    use rustls::KeyLog as _;

    use super::*;

    #[test]
    fn secrets_flow_to_one_reader_and_only_while_it_reads() {
        let tap = Arc::new(KeyTap::default());
        assert!(!tap.will_log("CLIENT_RANDOM"));
        tap.log("CLIENT_RANDOM", &[1], &[2]);
        let mut flow = tap.open().unwrap();
        assert!(tap.open().is_none());
        tap.log("CLIENT_RANDOM", &[0x0a, 0xff], &[0x01]);
        assert_eq!(flow.lines.try_recv().unwrap(), "CLIENT_RANDOM 0aff 01\n");
        assert!(flow.lines.try_recv().is_err());
        drop(flow);
        assert!(!tap.will_log("CLIENT_RANDOM"));
        assert!(tap.open().is_some());
    }

    #[test]
    fn a_slow_reader_loses_lines_and_holds_up_nobody() {
        let tap = Arc::new(KeyTap::default());
        let flow = tap.open().unwrap();
        for _ in 0..QUEUE + 3 {
            tap.log("CLIENT_RANDOM", &[1], &[2]);
        }
        assert_eq!(flow.tap.lost.load(Ordering::Relaxed), 3);
    }

    #[test]
    fn secrets_are_not_in_what_a_tap_says_of_itself() {
        let tap = Arc::new(KeyTap::default());
        let _flow = tap.open().unwrap();
        tap.log("CLIENT_RANDOM", &[0xab], &[0xcd]);
        assert_eq!(format!("{tap:?}"), "KeyTap { open: true, .. }");
    }
}
