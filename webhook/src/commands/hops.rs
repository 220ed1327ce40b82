//! `lasthop hops`: the way of a request, drawn.

use std::process::ExitCode;

use clap::Parser;
use lasthop_contract::near::nearest;
use lasthop_contract::text::{escape, list};

use super::input::{Input, Source};
use super::{FOUND, Output, UNUSABLE, complain, end, print, wait};
use crate::clock;
use crate::hops::{self, State, Way, World};
use crate::render::hops as render;
use crate::render::text::Colour;

const EXAMPLES: &str = "\
Examples:
  lasthop hops shop.example.com -f manifests/     from files
  lasthop hops shop.example.com --cluster         from a live cluster, with your own rights
  lasthop hops shop.example.com -f . -o json      for programs

Read are Ingress (with the annotations of ingress-nginx, Traefik, IBM Cloud and AWS), HTTPRoute with
Gateway and BackendTLSPolicy, Istio's VirtualService with Gateway and DestinationRule, Ambassador's
Mapping with Host and TLSContext, Traefik's ServersTransport, Services, workloads and Secrets. Where
both ends of a re-encrypted hop are known, the handshake is rehearsed. What nothing says is unknown.

Exit status: 0 every hop may work, 1 one is broken, 2 nothing takes the host in, or something could
not be read.";

/// Draw the way from a host to the application: what each hop is, and who verifies whom
#[derive(Debug, Parser)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The host that a client asks for, such as shop.example.com, or a URL with it
    #[arg(value_name = "HOST", value_parser = host)]
    host: String,
    #[command(flatten)]
    input: Input,
    /// What to print
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
    /// Judge as of this day instead of today: `2026-12-24` or `2026-12-24T18:00:00Z`
    #[arg(long, value_name = "TIME", value_parser = clock::parse)]
    at: Option<i64>,
}

impl Args {
    /// Runs the subcommand.
    pub fn run(self) -> ExitCode {
        let Self { host, input, output, at } = self;
        let now = at.unwrap_or_else(clock::now);
        let ways = match wait(async { ways(&host, &input.open().await?, now).await }) {
            Ok(ways) => ways,
            Err(lines) => {
                complain(&lines.join("\n"));
                return ExitCode::from(UNUSABLE);
            }
        };
        let is_broken =
            |way: &Way| [&way.first, &way.second].iter().any(|it| it.state == State::Broken);
        let code = if ways.iter().any(is_broken) { FOUND } else { 0 };
        let text = match output {
            Output::Text => render::text(&host, &ways, Colour::of(&std::io::stdout())),
            Output::Json => format!("{:#}\n", render::json(&host, &ways)),
        };
        end(print(&text), code)
    }
}

/// The host of a URL, with or without scheme, port and path; in small letters, and without the dot that
/// ends a name of DNS.
fn host(text: &str) -> Result<String, String> {
    let behind_scheme = text.split_once("://").map_or(text, |(_, rest)| rest);
    let authority = behind_scheme.split(['/', '?', '#']).next().unwrap_or_default();
    let is_port = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit());
    let name = match authority.rsplit_once(':') {
        Some((name, port)) if is_port(port) => name,
        _ => authority,
    };
    let name = name.strip_suffix('.').unwrap_or(name);
    if name.is_empty() {
        return Err("there is no host in it; write one such as shop.example.com".to_owned());
    }
    Ok(name.to_ascii_lowercase())
}

async fn ways(host: &str, source: &Source, now: i64) -> Result<Vec<Way>, Vec<String>> {
    let objects = source.everything().await?;
    let world = World { objects: &objects, surroundings: &source.surroundings, now };
    let ways = hops::ways(&world, host).await;
    if !ways.is_empty() {
        return Ok(ways);
    }
    let hosts = hops::hosts(&world);
    let help = match nearest(host, hosts.iter().map(String::as_str)) {
        Some(near) => format!("help: did you mean `{}`?", escape(near)),
        None if hosts.is_empty() => {
            "help: there is no object with a host in what was looked at".to_owned()
        }
        None => format!("help: there are {}", list(&hosts, 8)),
    };
    Err(vec![format!("error: nothing takes in the host `{}`", escape(host)), help])
}

#[cfg(test)]
mod tests {
    use super::host;

    #[test]
    fn a_host_is_read_however_it_is_at_hand() {
        for text in [
            "shop.example.com",
            "Shop.Example.COM",
            "shop.example.com.",
            "shop.example.com:443",
            "https://shop.example.com/cart?item=1",
            "https://shop.example.com.:8443",
            "shop.example.com/cart",
        ] {
            assert_eq!(host(text).as_deref(), Ok("shop.example.com"), "{text}");
        }
        assert_eq!(host("*.example.com").as_deref(), Ok("*.example.com"));
        for nothing in ["", ".", "/", ":80", "https://", "https:///x"] {
            assert!(host(nothing).is_err(), "{nothing}");
        }
    }
}
