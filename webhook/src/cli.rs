//! The command line: one variant a subcommand, one file a subcommand in `commands/`.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::commands::{check, explain, hops, inject, rehearse, serve};

/// TLS to the last hop: refuses TLS configuration that cannot work, and injects the sidecar.
#[derive(Debug, Parser)]
#[command(name = "lasthop", version, propagate_version = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Check(check::Args),
    Explain(explain::Args),
    Hops(hops::Args),
    Inject(Box<inject::Args>),
    Rehearse(rehearse::Args),
    Serve(Box<serve::Args>),
}

impl Cli {
    /// Parses the command line and runs the subcommand that it names.
    pub fn run() -> ExitCode {
        let Self { command } = Self::parse();
        match command {
            Command::Check(args) => args.run(),
            Command::Explain(args) => args.run(),
            Command::Hops(args) => args.run(),
            Command::Inject(args) => args.run(),
            Command::Rehearse(args) => args.run(),
            Command::Serve(args) => args.run(),
        }
    }
}
