//! The subcommands, one file each.

use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::ValueEnum;

pub mod check;
pub mod explain;
pub mod hops;
pub mod inject;
pub mod input;
pub mod rehearse;
pub mod serve;

/// A format of output.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, ValueEnum)]
pub enum Output {
    /// For people.
    #[default]
    Text,
    /// For programs.
    Json,
}

/// Errors were found.
const FOUND: u8 = 1;

/// Unreadable input or wrong usage.
const UNUSABLE: u8 = 2;

/// Waits for what has to look at files or a cluster.
fn wait<T>(looking: impl Future<Output = Result<T, Vec<String>>>) -> Result<T, Vec<String>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| vec![format!("error: {error}")])?.block_on(looking)
}

/// Prints to standard output. Whoever reads it may have had enough, as `head` has.
fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

/// Prints a line to standard error; there is nobody to tell where that fails.
fn complain(line: &str) {
    let _nobody_to_tell = writeln!(io::stderr().lock(), "{line}");
}

/// Ends with what printing came to.
fn end(printed: io::Result<()>, code: u8) -> ExitCode {
    match printed {
        Ok(()) => ExitCode::from(code),
        Err(error) => {
            complain(&format!("error: cannot write: {error}"));
            ExitCode::from(UNUSABLE)
        }
    }
}
