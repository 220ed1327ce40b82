//! `lasthop-sidecar`: reads its command line and runs.

use std::process::ExitCode;

use lasthop_contract::sidecar_config::CONFIG_VARIABLE;
use lasthop_sidecar::cli::{Order, Refused};
use lasthop_sidecar::{Exit, read_key_log, run};

#[expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "the command line speaks to a person"
)]
fn main() -> ExitCode {
    let document = std::env::var(CONFIG_VARIABLE).ok().filter(|it| !it.trim().is_empty());
    let exit = match Order::parse(std::env::args_os(), document.as_deref()) {
        Ok(Order::Run(settings)) => run(&settings),
        Ok(Order::KeyLog(request)) => read_key_log(request),
        Err(Refused::Answered(text)) => {
            print!("{text}");
            Exit::Ended
        }
        Err(Refused::Wrong(text)) => {
            eprint!("{text}");
            Exit::Usage
        }
    };
    ExitCode::from(exit.code())
}
