//! The load that benchmarks and soaks put on a TLS terminator, and the application behind it: as
//! cheap as can be, so that what is measured is the program between the two.
//!
//! Every command prints one line of JSON, [`tally::Tally`] or what its help says.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use tokio::runtime::Builder;
use tokio::task::LocalSet;

mod application;
mod client;
mod drive;
mod exchange;
mod start;
mod tally;

use client::{Client, Resumption};
use drive::{Drive, Stop};

#[derive(Debug, Parser)]
#[command(name = "lasthop-load", version, about = "Load for benchmarks and soaks")]
struct Arguments {
    #[command(subcommand)]
    order: Order,
}

#[derive(Debug, Subcommand)]
enum Order {
    /// Is the application: GET /bytes/N answers with N bytes, POST /digest with the SHA-256 of what came,
    /// POST to anything else with nothing. The first line on standard output is the address
    Serve {
        #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:0")]
        listen: SocketAddr,
    },
    /// Connects, asks for 1 KiB, closes, and again
    Connect {
        #[command(flatten)]
        to: To,
        #[command(flatten)]
        amount: Amount,
        /// Resumes the session of the connection before
        #[arg(long)]
        resume: bool,
    },
    /// Asks for 1 KiB again and again on connections that stay open
    Request {
        #[command(flatten)]
        to: To,
        #[command(flatten)]
        amount: Amount,
    },
    /// Downloads bodies of that many bytes
    Download {
        #[command(flatten)]
        to: To,
        #[command(flatten)]
        amount: Amount,
        #[command(flatten)]
        body: Body,
    },
    /// Uploads bodies of that many bytes
    Upload {
        #[command(flatten)]
        to: To,
        #[command(flatten)]
        amount: Amount,
        #[command(flatten)]
        body: Body,
    },
    /// Opens connections, asks for 1 KiB on each, prints the tally and holds them until standard input ends
    Hold {
        #[command(flatten)]
        to: To,
        /// How many
        #[arg(long, value_name = "N")]
        count: u64,
    },
    /// Starts COMMAND, prints the milliseconds until it has answered its first request, as {"ms":N}, and kills it
    Start {
        #[command(flatten)]
        to: To,
        #[arg(required = true, trailing_var_arg = true, value_name = "COMMAND")]
        command: Vec<String>,
    },
}

#[derive(Debug, Args)]
struct To {
    /// The TLS listener
    #[arg(long = "to", value_name = "ADDRESS:PORT")]
    listener: SocketAddr,
    /// Client certificate, PEM
    #[arg(long, value_name = "FILE", requires = "key")]
    certificate: Option<PathBuf>,
    /// Its key, PEM
    #[arg(long, value_name = "FILE", requires = "certificate")]
    key: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct Amount {
    /// Connections at a time
    #[arg(long, value_name = "N", default_value_t = 16)]
    connections: u64,
    /// For how long
    #[arg(long, value_name = "SECONDS", default_value_t = 2.0)]
    seconds: f64,
    /// How many in all, in place of a time
    #[arg(long, value_name = "N")]
    count: Option<u64>,
}

#[derive(Debug, Args)]
struct Body {
    #[arg(long, value_name = "BYTES", default_value_t = 10 << 20)]
    size: u64,
    /// Compares the bytes that arrived with those that were sent
    #[arg(long)]
    check: bool,
}

impl To {
    fn client(&self, resumption: Resumption) -> anyhow::Result<Client> {
        let files = self.certificate.as_deref().zip(self.key.as_deref());
        Client::new(self.listener, files, resumption)
    }
}

impl Amount {
    fn of(&self, client: Client) -> Drive {
        let stop = match self.count {
            Some(count) => Stop::Count(count),
            None => Stop::Time(Duration::from_secs_f64(self.seconds)),
        };
        Drive::new(client, self.connections, stop)
    }
}

impl Body {
    fn checked(&self) -> drive::Checked {
        if self.check { drive::Checked::Digest } else { drive::Checked::Length }
    }
}

fn main() -> anyhow::Result<()> {
    let Arguments { order } = Arguments::parse();
    // One thread, so that it can be kept on one core.
    let runtime = Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, perform(order))
}

async fn perform(order: Order) -> anyhow::Result<()> {
    let plain = Resumption::Off;
    let tally = match order {
        Order::Serve { listen } => return application::serve(listen).await,
        Order::Connect { to, amount, resume } => {
            let resumption = if resume { Resumption::On } else { Resumption::Off };
            amount.of(to.client(resumption)?).connect().await
        }
        Order::Request { to, amount } => amount.of(to.client(plain)?).request().await,
        Order::Download { to, amount, body } => {
            amount.of(to.client(plain)?).download(body.size, body.checked()).await
        }
        Order::Upload { to, amount, body } => {
            amount.of(to.client(plain)?).upload(body.size, body.checked()).await
        }
        Order::Hold { to, count } => {
            let drive = Drive::new(to.client(plain)?, 16, Stop::Count(count));
            return drive.hold().await;
        }
        Order::Start { to, command } => return start::first(&to.client(plain)?, &command).await,
    };
    tally.print()
}
