//! The flags about what a client may cost.

use std::num::NonZeroUsize;
use std::time::Duration;

use clap::Args;

use crate::limits::{self, Bounds, RefusedClients};

#[derive(Args, Debug)]
#[command(next_help_heading = "Limits")]
pub(crate) struct LimitArgs {
    /// Connections open at once; further ones are closed
    ///
    /// To applications there are as many, and to next tiers; a request that finds them all taken waits 3 s and is then
    /// answered 503. Where the limit of descriptors is too low for all, there are fewer.
    #[arg(
        long,
        value_name = "NUMBER",
        default_value_t = limits::MAX_CONNECTIONS,
        value_parser = at_least_one
    )]
    pub(crate) max_connections: usize,

    /// Connections of one client address; 0 bounds none
    ///
    /// A WebSocket over HTTP/2 counts as one; of other requests over HTTP/2, an HTTP/1.1 application has
    /// as many at once, or 250 if that is more. Behind a balancer all clients have its address. With --proxy-protocol accept it is theirs.
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    max_connections_per_client: usize,

    /// From the first byte of a request's head to its last
    #[arg(
        long,
        value_name = "SECONDS",
        default_value_t = limits::REQUEST_HEAD.as_secs(),
        value_parser = clap::value_parser!(u64).range(1..)
    )]
    head_timeout: u64,

    /// A connection without a request, or with tcp without a byte, for so long is closed; 0 closes none
    /// [default: 650 for HTTP, none for tcp]
    ///
    /// It should be longer than the keep-alive of the balancer, which then closes first.
    #[arg(long, value_name = "SECONDS")]
    idle_timeout: Option<u64>,

    /// A connection is closed whose client for so long neither sends the body that it announced nor
    /// reads the answer that it asked for; 0 closes none
    #[arg(long, value_name = "SECONDS", default_value_t = limits::STALL.as_secs())]
    stall_timeout: u64,

    /// An HTTP connection takes no further request after so long, and a tenth more at most; 0 bounds
    /// none
    ///
    /// With tcp a connection is closed then, wherever its bytes are.
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    max_connection_age: u64,

    /// Close open connections whose client a change of CA or revocation list no longer lets in
    #[arg(long)]
    close_refused_clients: bool,
}

/// None of it would serve nobody, and 0 is what bounds nothing elsewhere.
fn at_least_one(text: &str) -> Result<usize, String> {
    text.parse::<NonZeroUsize>().map(usize::from).map_err(|error| error.to_string())
}

impl LimitArgs {
    /// The bounds that they choose.
    pub(crate) fn bounds(&self) -> Bounds {
        let seconds = |given: u64| (given > 0).then(|| Duration::from_secs(given));
        let per_client = self.max_connections_per_client;
        let Bounds { idle_http, idle_tcp, .. } = Bounds::default();
        Bounds {
            per_client: (per_client > 0).then_some(per_client),
            head: Duration::from_secs(self.head_timeout),
            idle_http: self.idle_timeout.map_or(idle_http, seconds),
            idle_tcp: self.idle_timeout.map_or(idle_tcp, seconds),
            stall: seconds(self.stall_timeout),
            age: seconds(self.max_connection_age),
            refused_clients: if self.close_refused_clients {
                RefusedClients::Go
            } else {
                RefusedClients::Stay
            },
        }
    }
}
