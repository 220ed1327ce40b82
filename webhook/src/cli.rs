//! The command line: one variant a subcommand, one file a subcommand in `commands/`.

use std::process::ExitCode;

use clap::Parser;

/// TLS to the last hop: refuses TLS configuration that cannot work, and injects the sidecar.
#[derive(Debug, Parser)]
#[command(name = "lasthop", version, propagate_version = true)]
pub struct Cli {}

impl Cli {
    /// Parses the command line and runs the subcommand that it names.
    pub fn run() -> ExitCode {
        let Self {} = Self::parse();
        ExitCode::SUCCESS
    }
}
