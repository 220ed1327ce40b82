//! The application that stands behind the sidecar in tests and demos, of the httpbin kind: it
//! speaks HTTP/1.1 and HTTP/2 without TLS on one port and tells what it was asked.

use std::io::{self, Write as _};

use anyhow::Context as _;
use clap::Parser;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::task::TaskTracker;

mod answer;
mod websocket;

/// An application for tests: /status/NNN, /headers, /anything, /bytes/N, /delay/SECONDS,
/// /stream/N, /trailers and /ws (a WebSocket that sends back what it gets).
#[derive(Debug, Parser)]
#[command(name = "lasthop-testapp", version)]
struct Arguments {
    /// Where to listen; port 0 takes a free port. The first line on standard output is the address
    #[arg(long, value_name = "ADDRESS:PORT|unix:/PATH", default_value = "127.0.0.1:8080")]
    listen: String,
}

enum Door {
    Tcp(TcpListener),
    Unix(UnixListener),
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

impl Door {
    async fn next(&self) -> io::Result<Box<dyn Stream>> {
        Ok(match self {
            Self::Tcp(listener) => Box::new(listener.accept().await?.0),
            Self::Unix(listener) => Box::new(listener.accept().await?.0),
        })
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let Arguments { listen } = Arguments::parse();
    let context = || format!("cannot listen on {listen}");
    let (door, address) = if let Some(path) = listen.strip_prefix("unix:") {
        (Door::Unix(UnixListener::bind(path).with_context(context)?), listen.clone())
    } else {
        let listener = TcpListener::bind(&listen).await.with_context(context)?;
        let address = listener.local_addr()?.to_string();
        (Door::Tcp(listener), address)
    };
    let mut stdout = io::stdout();
    writeln!(stdout, "{address}")?;
    stdout.flush()?;
    serve(door).await
}

/// Serves until SIGTERM or SIGINT; what is in flight then is cut.
async fn serve(door: Door) -> anyhow::Result<()> {
    let tasks = TaskTracker::new();
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    loop {
        let stream = tokio::select! {
            accepted = door.next() => match accepted {
                Ok(accepted) => accepted,
                Err(_aborted_by_the_client) => continue,
            },
            _ = terminate.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
        };
        let server = auto::Builder::new(TokioExecutor::new());
        let upgrades = tasks.clone();
        let answer = service_fn(move |request| answer::to(request, upgrades.clone()));
        tasks.spawn(async move {
            let io = TokioIo::new(stream);
            // A client that breaks off is no news here.
            drop(server.serve_connection_with_upgrades(io, answer).await);
        });
    }
}
