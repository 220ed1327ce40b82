//! The main job as a story, told with the real programs. `scripts/demo` builds and starts it.

mod cast;
mod live;
mod stage;
mod story;
mod terminal;

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let has = |name: &str| arguments.iter().any(|argument| argument == name);
    let mut terminal = terminal::Terminal::new();
    let wishes = story::Wishes { cluster: has("--cluster"), keep: has("--keep") };
    // The harness panics where a test would fail; here that is the end of the story, in words.
    std::panic::set_hook(Box::new(|panic| {
        eprintln!("\nscripts/demo: this is not as it should be: {}", text_of(panic));
    }));
    match story::tell(&mut terminal, wishes) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nscripts/demo: this is not as it should be: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn text_of<'p>(panic: &'p std::panic::PanicHookInfo<'_>) -> &'p str {
    let payload = panic.payload();
    let owned = payload.downcast_ref::<String>().map(String::as_str);
    owned.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("it cannot be said why")
}
