//! The application that stands behind the sidecar in tests and demos, of the httpbin kind: it
//! speaks HTTP/1.1 and HTTP/2 without TLS on one port and tells what it was asked.

use std::io::Write as _;
use std::net::SocketAddr;

use anyhow::Context as _;
use clap::Parser;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::net::TcpListener;
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
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let Arguments { listen } = Arguments::parse();
    let listener =
        TcpListener::bind(listen).await.with_context(|| format!("cannot listen on {listen}"))?;
    let mut stdout = std::io::stdout();
    writeln!(stdout, "{}", listener.local_addr()?)?;
    stdout.flush()?;
    serve(listener).await
}

/// Serves until SIGTERM or SIGINT; what is in flight then is cut.
async fn serve(listener: TcpListener) -> anyhow::Result<()> {
    let tasks = TaskTracker::new();
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    loop {
        let (stream, _client) = tokio::select! {
            accepted = listener.accept() => match accepted {
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
