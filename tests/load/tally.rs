//! What came of a load.

use std::io::{self, Write as _};
use std::time::Instant;

use serde_json::{Value, json};

/// What was done, and what was not.
#[derive(Debug)]
pub(crate) struct Tally {
    began: Instant,
    pub(crate) done: u64,
    pub(crate) failed: u64,
    pub(crate) resumed: u64,
    pub(crate) bytes: u64,
    /// What went wrong first.
    pub(crate) error: Option<String>,
}

impl Tally {
    pub(crate) fn new() -> Self {
        Self { began: Instant::now(), done: 0, failed: 0, resumed: 0, bytes: 0, error: None }
    }

    pub(crate) fn fail(&mut self, error: &io::Error) {
        self.failed += 1;
        self.error.get_or_insert_with(|| error.to_string());
    }

    pub(crate) fn print(&self) -> anyhow::Result<()> {
        let Self { began, done, failed, resumed, bytes, error } = self;
        print(&json!({
            "done": done, "failed": failed, "resumed": resumed, "bytes": bytes,
            "seconds": began.elapsed().as_secs_f64(), "error": error,
        }))
    }
}

/// One line of JSON on standard output.
pub(crate) fn print(line: &Value) -> anyhow::Result<()> {
    let mut output = io::stdout();
    writeln!(output, "{line}")?;
    Ok(output.flush()?)
}
