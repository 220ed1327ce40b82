//! What one client may cost. Every number is a bound, none is a tuning knob.

use std::time::Duration;

/// Connections open at once, over all listeners, where nobody chose another number.
pub(crate) const MAX_CONNECTIONS: usize = 10_000;

/// From the first byte of a connection to the end of its handshake.
pub(crate) const HANDSHAKE: Duration = Duration::from_secs(10);

/// From the first byte of a request's head to its last, looked at as often.
pub(crate) const REQUEST_HEAD: Duration = Duration::from_secs(10);

/// A connection without a request for so long is closed. Longer than the keep-alive of balancers
/// (60 s for nginx and ALB, 600 s for Google's), so that they close first and no request is lost.
pub(crate) const IDLE: Duration = Duration::from_secs(650);

/// To connect to the application, which is on this host.
pub(crate) const CONNECT: Duration = Duration::from_secs(3);

/// The application has shown no sign of life for so long after the client's last byte.
pub(crate) const ANSWER: Duration = Duration::from_secs(600);

/// A client that asked for `100-continue` sends after this time anyway (RFC 9110, 10.1.1), so the
/// application's silence is not waited out longer.
pub(crate) const CONTINUE: Duration = Duration::from_secs(1);

/// How long a pooled connection to the application may lie idle. Applications close theirs after
/// as little as 2 s (gunicorn) or 5 s (Node, uvicorn); ours goes first, so that no request meets a
/// closing connection.
pub(crate) const POOL_IDLE: Duration = Duration::from_millis(1500);

/// Idle connections to the application that a listener keeps.
pub(crate) const POOL_SIZE: usize = 512;

/// Bytes of a request's or response's head, and of the buffers around it. Of fields, hyper takes
/// 100, without memory of their own.
pub(crate) const HEAD_BYTES: usize = 64 * 1024;

/// HTTP/2 (RFC 9113): streams open at once.
pub(crate) const H2_STREAMS: u32 = 250;

/// HTTP/2: what a client may send ahead on one stream, and on all of them.
pub(crate) const H2_STREAM_WINDOW: u32 = 256 * 1024;

/// HTTP/2: see [`H2_STREAM_WINDOW`].
pub(crate) const H2_CONNECTION_WINDOW: u32 = 1024 * 1024;

/// HTTP/2: streams that a client opened and reset before they were looked at (CVE-2023-44487).
pub(crate) const H2_PENDING_RESETS: usize = 20;

/// HTTP/2: streams that we reset because of the client's errors (CVE-2025-8671).
pub(crate) const H2_LOCAL_RESETS: usize = 128;

/// HTTP/2: a ping after so much silence, and the time for its answer.
pub(crate) const H2_PING: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(20));

/// How long a connection that was refused is read and thrown away, so that the alert reaches the
/// client before the reset does (RFC 9112, 9.6).
pub(crate) const LINGER: Duration = Duration::from_millis(250);

/// Bytes that are thrown away in that time.
pub(crate) const LINGER_BYTES: usize = 64 * 1024;

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

/// The redirect and status listeners: how long they wait; a probe's time is 1 s.
pub(crate) const PLAIN_WAIT: Duration = Duration::from_millis(800);

/// The status listener: connections of one address. The kubelet and whoever collects metrics have a
/// few at once.
pub(crate) const STATUS_SHARE: usize = 16;

/// The redirect listener: connections of one address, which may be a balancer's or a node's with
/// many clients behind it.
pub(crate) const REDIRECT_SHARE: usize = 128;
