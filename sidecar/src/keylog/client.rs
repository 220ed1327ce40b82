//! The other end: `lasthop-sidecar keylog`.

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rustix::net::sockopt::socket_peercred;
use rustix::process::geteuid;

use super::{WELCOME, address};

/// What is asked of the running sidecar.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Request {
    /// For how long.
    pub(crate) time: Duration,
    /// The port of its status listener, by which it is known.
    pub(crate) status_port: u16,
}

/// Copies secrets to `output` until the time is over.
///
/// # Errors
/// Why there are none, in words.
pub(crate) fn read(request: Request, mut output: impl io::Write) -> Result<(), String> {
    let Request { time, status_port } = request;
    let nobody = |error: io::Error| {
        format!(
            "no sidecar answers for its key log here ({error}); it does where the namespace has the \
             label `lasthop.dev/allow-key-log: true` when the pod is made, or with `--allow-key-log`; \
             with a status port other than {status_port}, give `--status-port`"
        )
    };
    let stream =
        address(status_port).and_then(|at| UnixStream::connect_addr(&at)).map_err(nobody)?;
    // Anybody in the pod may have taken the name.
    let peer = socket_peercred(&stream).map_err(|error| error.to_string())?;
    if peer.uid != geteuid() {
        return Err("what answers is not a sidecar of this user".to_owned());
    }
    let broken = |error: io::Error| format!("the sidecar's answer broke off: {error}");
    writeln!(&stream, "{}", time.as_secs()).map_err(broken)?;
    let mut lines = BufReader::new(&stream);
    let mut line = String::new();
    lines.read_line(&mut line).map_err(broken)?;
    if line != WELCOME {
        let reason = line.trim_end().strip_prefix("refused: ").unwrap_or("it says nothing");
        return Err(format!("the sidecar refuses: {reason}"));
    }
    while !line.is_empty() {
        // Whoever reads us may have enough.
        if output.write_all(line.as_bytes()).and_then(|()| output.flush()).is_err() {
            return Ok(());
        }
        line.clear();
        lines.read_line(&mut line).map_err(broken)?;
    }
    Ok(())
}
