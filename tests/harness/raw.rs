//! Applications and ports that do exactly what a test needs, where `lasthop-testapp` does what is right.

use std::io::{BufRead as _, BufReader};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread::JoinHandle;

/// Something that listens on a free port of 127.0.0.1.
#[derive(Debug)]
pub struct RawApp {
    /// Where it listens.
    pub address: SocketAddr,
    _thread: JoinHandle<()>,
}

impl RawApp {
    /// Starts it: `serve` gets each connection in turn.
    pub fn start(mut serve: impl FnMut(TcpStream) + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("127.0.0.1 has a free port");
        let address = listener.local_addr().expect("a listener has an address");
        let thread = std::thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                serve(stream);
            }
        });
        Self { address, _thread: thread }
    }
}

/// Reads a request's head from `stream`, and no byte more.
pub fn read_head(stream: &TcpStream) -> String {
    let mut reader = BufReader::with_capacity(1, stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).unwrap_or(0) == 0 {
            break;
        }
    }
    head
}

/// An address of 127.0.0.1 that nobody listens on.
pub fn nobody() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("127.0.0.1 has a free port");
    listener.local_addr().expect("a listener has an address")
}
