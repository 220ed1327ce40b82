//! What one client may cost. Every number is a bound, none is a tuning knob; those that depend on
//! who the clients are can be chosen.

use std::time::Duration;

/// Connections open at once, over all listeners, where nobody chose another number.
pub(crate) const MAX_CONNECTIONS: usize = 10_000;

/// From the first byte of a connection to the end of its handshake.
pub(crate) const HANDSHAKE: Duration = Duration::from_secs(10);

/// Bytes of a client's handshake that are kept for it, in any case. A usual one takes 2 to 8 KiB; more of
/// it are ticket and certificates.
pub(crate) const HANDSHAKE_FREE: usize = 16 * 1024;

/// Bytes beyond [`HANDSHAKE_FREE`] of all handshakes together; one may have 64 KiB a message.
pub(crate) const HANDSHAKE_ROOM: usize = 8 * 1024 * 1024;

/// What a connection may take before anybody knows who it is, and the process by itself, in bytes: what
/// a limit of memory is divided by.
pub(crate) const CONNECTION_MEMORY: u64 = 32 * 1024;

/// See [`CONNECTION_MEMORY`].
pub(crate) const PROCESS_MEMORY: u64 = 24 * 1024 * 1024;

/// Connections that there may be however little memory there is.
pub(crate) const FEW_CONNECTIONS: usize = 100;

/// From the first byte of a request's head to its last, where nobody chose another time.
pub(crate) const REQUEST_HEAD: Duration = Duration::from_secs(10);

/// How long a client may neither send what it announced nor read what it asked for, where nobody
/// chose another time.
pub(crate) const STALL: Duration = Duration::from_secs(300);

/// How often a connection's bounds are looked at, or more often where one is closer.
const TICK: Duration = Duration::from_secs(10);

/// A connection without a request for so long is closed, where nobody chose another time. Longer than the keep-alive of balancers
/// (60 s for nginx and ALB, 600 s for Google's), so that they close first and no request is lost.
pub(crate) const IDLE: Duration = Duration::from_secs(650);

/// To connect to the application, which is on this host.
pub(crate) const CONNECT: Duration = Duration::from_secs(3);

/// Where all connections to applications are taken, how long a request waits for one.
pub(crate) const APPLICATION_ROOM: Duration = Duration::from_secs(3);

/// See [`APPLICATION_ROOM`]: how often it looks for one that came back.
pub(crate) const APPLICATION_TIDY: Duration = Duration::from_millis(50);

/// Descriptors that are for neither clients nor applications: listeners, log, Secrets, status,
/// redirects and the connections of probes.
pub(crate) const OTHER_DESCRIPTORS: usize = 2048;

/// The application has shown no sign of life for so long after the client's last byte.
pub(crate) const ANSWER: Duration = Duration::from_secs(600);

/// A client that asked for `100-continue` sends after this time anyway (RFC 9110, 10.1.1), so the
/// application's silence is not waited out longer.
pub(crate) const CONTINUE: Duration = Duration::from_secs(1);

/// Where one side of a WebSocket has ended: how long the other may be silent before it has, too.
pub(crate) const FAREWELL: Duration = Duration::from_secs(10);

/// How long a pooled connection to the application may lie idle. Applications close theirs after
/// as little as 2 s (gunicorn) or 5 s (Node, uvicorn); ours goes first, so that no request meets a
/// closing connection.
pub(crate) const POOL_IDLE: Duration = Duration::from_millis(1500);

/// Idle connections to the application that a listener keeps.
pub(crate) const POOL_SIZE: usize = 512;

/// Bytes of a request's or response's head, and of the buffers around it. Of fields, hyper takes
/// 100, without memory of their own.
pub(crate) const HEAD_BYTES: usize = 64 * 1024;

/// Where all connections to next tiers are taken, how long a request waits for one.
pub(crate) const UPSTREAM_ROOM: Duration = Duration::from_secs(3);

/// The next tier, over a network: to connect, and from there to the end of the handshake.
pub(crate) const UPSTREAM_CONNECT: Duration = Duration::from_secs(3);

/// See [`UPSTREAM_CONNECT`].
pub(crate) const UPSTREAM_HANDSHAKE: Duration = Duration::from_secs(5);

/// The application's first bytes to the next tier: how often they are looked at while they are not
/// enough to tell HTTP/1.1 from HTTP/2.
pub(crate) const PEEK: Duration = Duration::from_millis(2);

/// The next tier: addresses that are tried for one request, and the time after which no further one is.
pub(crate) const UPSTREAM_TRIES: usize = 4;

/// See [`UPSTREAM_TRIES`].
pub(crate) const UPSTREAM_TRYING: Duration = Duration::from_secs(8);

/// The next tier: for how long an address that failed is left out, the first time and at most.
pub(crate) const UPSTREAM_EJECTION: (Duration, Duration) =
    (Duration::from_secs(1), Duration::from_secs(30));

/// The next tier: addresses that a name is taken to have.
pub(crate) const UPSTREAM_ADDRESSES: usize = 64;

/// The next tier: for how long the addresses behind a name are good, at least between two questions,
/// and for an answer.
pub(crate) const RESOLVED: Duration = Duration::from_secs(10);

/// See [`RESOLVED`].
pub(crate) const RESOLVE_PAUSE: Duration = Duration::from_secs(1);

/// See [`RESOLVED`].
pub(crate) const RESOLVE: Duration = Duration::from_secs(5);

/// The next tier: how long an HTTP/1.1 connection may lie idle. A new one costs round trips there, so
/// longer than [`POOL_IDLE`], and shorter than the 5 s after which Node and uvicorn close theirs.
pub(crate) const UPSTREAM_IDLE: Duration = Duration::from_secs(4);

/// The next tier: how long an HTTP/2 connection may lie idle. Its end is announced (GOAWAY), so that
/// no request meets it.
pub(crate) const UPSTREAM_H2_IDLE: Duration = Duration::from_secs(60);

/// The next tier: requests at once on an HTTP/2 connection before there is a second one; servers
/// should allow as many (RFC 9113, 6.5.2).
pub(crate) const UPSTREAM_STREAMS: usize = 100;

/// HTTP/2 to the application: requests at once on a connection before there is a further one, where
/// the application does not allow fewer; servers should allow as many (RFC 9113, 6.5.2).
pub(crate) const H2_APPLICATION_STREAMS: u32 = 100;

/// HTTP/2 to the application: where it took no further connection, how long the ones that there are
/// must do.
pub(crate) const H2_APPLICATION_PAUSE: Duration = Duration::from_secs(1);

/// HTTP/2 (RFC 9113): streams open at once.
pub(crate) const H2_STREAMS: u32 = 250;

/// HTTP/2: what a client may send ahead on one stream, and on all of them.
pub(crate) const H2_STREAM_WINDOW: u32 = 256 * 1024;

/// The same for a client without a certificate, where only exempt paths are open to it. Health checkers
/// connect anew, or ask more often.
pub(crate) const IDLE_EXEMPT: Duration = Duration::from_secs(15);

/// HTTP/2 to the application: no bound but those of the streams, which are of many clients: one that
/// does not read would hold up all others.
pub(crate) const H2_APPLICATION_WINDOW: u32 = (1 << 31) - 1;

/// HTTP/2: see [`H2_STREAM_WINDOW`].
pub(crate) const H2_CONNECTION_WINDOW: u32 = 1024 * 1024;

/// HTTP/2: what of an answer waits for a client that reads slowly, in bytes of one stream.
pub(crate) const H2_SEND_BUFFER: usize = 64 * 1024;

/// HTTP/2: streams that a client opened and reset before they were looked at (CVE-2023-44487).
pub(crate) const H2_PENDING_RESETS: usize = 20;

/// HTTP/2: streams that we reset because of the client's errors (CVE-2025-8671).
pub(crate) const H2_LOCAL_RESETS: usize = 128;

/// HTTP/2: requests that their client gave up within [`RESET_SOON`] before the connection is ended, if
/// they are most of those that it made.
pub(crate) const RESETS: u32 = 500;

/// See [`RESETS`].
pub(crate) const RESET_SOON: Duration = Duration::from_secs(1);

/// HTTP/2: a ping after so much silence, and the time for its answer.
pub(crate) const H2_PING: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(20));

/// How long a connection that was refused is read and thrown away, so that the alert reaches the
/// client before the reset does (RFC 9112, 9.6).
pub(crate) const LINGER: Duration = Duration::from_millis(250);

/// Connections that are turned away because a PROXY header is wanted of others, and looked after for
/// [`LINGER`]; further ones are closed at once.
pub(crate) const STRANGERS: usize = 64;

/// Bytes that are thrown away in that time.
pub(crate) const LINGER_BYTES: usize = 64 * 1024;

/// How long the rest of a request is read and thrown away that was answered before its end, as an
/// upload that is too large is. Clients that send all before they read get their answer only so.
pub(crate) const LINGER_UPLOAD: Duration = Duration::from_secs(5);

/// HTTP/2: the same for a stream, whose client has time to see the answer.
pub(crate) const LINGER_STREAM: Duration = Duration::from_secs(1);

/// How often Secrets are looked at.
pub(crate) const RELOAD: Duration = Duration::from_secs(1);

/// The redirect and status listeners: connections open at once, and bytes of a head.
pub(crate) const PLAIN_CONNECTIONS: usize = 256;

/// See [`PLAIN_CONNECTIONS`].
pub(crate) const PLAIN_HEAD_BYTES: usize = 16 * 1024;

/// The redirect and status listeners: a connection's time for head and answer.
pub(crate) const PLAIN_LIFE: Duration = Duration::from_secs(2);

/// The redirect and status listeners: where all connections are taken, how many more wait for one of
/// them to end.
pub(crate) const PLAIN_WAITING: usize = 256;

/// The status listener: connections whose probe is under way, which take no place of the others.
pub(crate) const PLAIN_LATER: usize = 768;

/// The redirect and status listeners: how long they wait; a probe's time is 1 s.
pub(crate) const PLAIN_WAIT: Duration = Duration::from_millis(800);

/// The status listener: connections of one address. The kubelet and whoever collects metrics have a
/// few at once.
pub(crate) const STATUS_SHARE: usize = 16;

/// The redirect listener: connections of one address, which may be a balancer's or a node's with
/// many clients behind it.
pub(crate) const REDIRECT_SHARE: usize = 128;

/// The bounds that can be chosen.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Bounds {
    /// Connections of one client address; [`None`]: as many as there may be at all.
    pub(crate) per_client: Option<usize>,
    /// From the first byte of a request's head to its last.
    pub(crate) head: Duration,
    /// Without a request; [`None`]: for ever.
    pub(crate) idle_http: Option<Duration>,
    /// Without a byte either way; [`None`]: for ever.
    pub(crate) idle_tcp: Option<Duration>,
    /// While all that happens depends on the client; [`None`]: for ever.
    pub(crate) stall: Option<Duration>,
    /// After which a connection takes no further request; [`None`]: never.
    pub(crate) age: Option<Duration>,
    pub(crate) refused_clients: RefusedClients,
}

/// What becomes of open connections whose client would not be let in any more.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum RefusedClients {
    /// They go on; the client does not come in again.
    Stay,
    /// They are closed.
    Go,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            per_client: None,
            head: REQUEST_HEAD,
            idle_http: Some(IDLE),
            idle_tcp: None,
            stall: Some(STALL),
            age: None,
            refused_clients: RefusedClients::Stay,
        }
    }
}

impl Bounds {
    /// How often an HTTP connection is looked at.
    pub(crate) fn tick(&self) -> Duration {
        let chosen = [Some(self.head), self.idle_http, self.stall, self.age];
        chosen.into_iter().flatten().min().unwrap_or(TICK).clamp(Duration::from_secs(1), TICK)
    }
}
