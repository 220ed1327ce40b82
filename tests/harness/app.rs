//! The application behind the sidecar: `lasthop-testapp`, of the httpbin kind.

use std::net::SocketAddr;
use std::path::Path;

use serde_json::Value;

use crate::process::{Program, Running};

/// A running application.
#[derive(Debug)]
pub struct App {
    address: SocketAddr,
    running: Running,
}

impl App {
    /// Starts it on a free port of 127.0.0.1.
    pub fn start() -> Self {
        Self::start_at(SocketAddr::from(([127, 0, 0, 1], 0)))
    }

    /// Starts it at `address`; port 0 takes a free one.
    pub fn start_at(address: SocketAddr) -> Self {
        let program = Program::ours("lasthop-testapp").arg("--listen").arg(address.to_string());
        let mut running = program.start();
        let line = running.wait_for_line(|line| line.parse::<SocketAddr>().is_ok());
        let address = line.parse().expect("the line is an address");
        Self { address, running }
    }

    /// Starts it on a Unix socket at `path`, which must not be there.
    pub fn start_on(path: &Path) -> Running {
        let socket = format!("unix:{}", path.display());
        let mut running = Program::ours("lasthop-testapp").arg("--listen").arg(&socket).start();
        running.wait_for_line(|line| line == socket);
        running
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The port that it listens on.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// The process.
    pub fn process(&mut self) -> &mut Running {
        &mut self.running
    }

    /// Ends it and returns its address, which is free then.
    pub fn stop(self) -> SocketAddr {
        self.address
    }
}

/// The values of a header in what `/headers` and `/anything` tell.
pub fn header<'a>(told: &'a Value, name: &str) -> Vec<&'a str> {
    let values = told["headers"][name].as_array().into_iter().flatten();
    values.filter_map(Value::as_str).collect()
}
