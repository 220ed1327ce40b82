//! How long a program takes until it serves.

use std::io;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::time::sleep;

use crate::client::Client;
use crate::drive::small;
use crate::exchange::Reader;

/// Longer than any program should take.
const PATIENCE: Duration = Duration::from_secs(20);

/// Between two tries.
const PAUSE: Duration = Duration::from_micros(250);

/// Starts `command` and prints when it has answered `client` for the first time.
pub(crate) async fn first(client: &Client, command: &[String]) -> anyhow::Result<()> {
    let (program, arguments) = command.split_first().expect("clap asks for a command");
    client.warm_up()?;
    let began = Instant::now();
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let answered = loop {
        match ask(client).await {
            Ok(()) => break Ok(began.elapsed()),
            Err(error) if began.elapsed() > PATIENCE => break Err(error),
            Err(_not_yet) => sleep(PAUSE).await,
        }
    };
    child.kill()?;
    child.wait()?;
    crate::tally::print(&json!({ "ms": answered?.as_secs_f64() * 1e3 }))
}

async fn ask(client: &Client) -> io::Result<()> {
    let mut stream = client.connect().await?;
    small(&mut stream, &mut Reader::new()).await
}
