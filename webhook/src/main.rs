//! `lasthop`: see [`lasthop::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    lasthop::cli::Cli::run()
}
