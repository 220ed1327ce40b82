//! The ways of a request, drawn for people and told to programs.

use std::fmt::Write as _;

use lasthop_contract::text::escape;
use serde_json::{Value, json};

use super::text::Colour;
use super::wrap::{WIDTH, wrap};
use crate::hops::{Hop, State, Way};

/// Where the facts of a hop begin.
const INDENT: usize = 18;

/// The drawing: a block for each way, from top to bottom.
pub fn text(host: &str, ways: &[Way], colour: Colour) -> String {
    let mut out = String::new();
    for way in ways {
        let Way { entrance, path, first, balancer, second, service, pod, third } = way;
        let _infallible = writeln!(out, "{}{}  ({entrance})\n", escape(host), escape(path));
        out.push_str("  client\n");
        hop(&mut out, first, colour);
        let _infallible = writeln!(out, "  {balancer}");
        hop(&mut out, second, colour);
        let _infallible = writeln!(out, "  {pod}\n  behind {service}");
        if let Some(third) = third {
            hop(&mut out, third, colour);
            out.push_str("  application\n");
        }
        out.push('\n');
    }
    out.push_str(&summary(ways));
    out
}

fn hop(out: &mut String, hop: &Hop, colour: Colour) {
    let Hop { state, facts } = hop;
    let (on, off) = match (colour, state) {
        (Colour::None, _) => ("", ""),
        (Colour::Ansi, State::MutualTls | State::Tls) => ("\u{1b}[32m", "\u{1b}[0m"),
        (Colour::Ansi, State::Plaintext | State::Unknown) => ("\u{1b}[33m", "\u{1b}[0m"),
        (Colour::Ansi, State::Broken) => ("\u{1b}[1;31m", "\u{1b}[0m"),
    };
    let lines = facts.iter().flat_map(|fact| wrap(fact, WIDTH - INDENT));
    let mut lines = lines.collect::<Vec<_>>().into_iter();
    let first = lines.next().unwrap_or_default();
    let word = state.word();
    let _infallible = writeln!(out, "    |  {on}{word:<10}{off} {first}");
    for line in lines {
        let _infallible = writeln!(out, "    |  {:<10} {line}", "");
    }
    out.push_str("    v\n");
}

fn summary(ways: &[Way]) -> String {
    let of = |state: State| {
        let hops = ways.iter().flat_map(|way| [Some(&way.first), Some(&way.second)]);
        hops.flatten().filter(|hop| hop.state == state).count()
    };
    let states = [State::Broken, State::Unknown, State::Plaintext, State::Tls, State::MutualTls];
    let counts = states.map(|state| (of(state), state.word()));
    let counts = counts.iter().filter(|(count, _)| *count > 0);
    let counts: Vec<String> = counts.map(|(count, word)| format!("{count} {word}")).collect();
    let ways = if ways.len() == 1 { "1 way".to_owned() } else { format!("{} ways", ways.len()) };
    format!("{ways}; hops before the pod: {}\n", counts.join(", "))
}

/// The ways for a program. The shape is a promise; `version` would count a change of it.
pub fn json(host: &str, ways: &[Way]) -> Value {
    let ways: Vec<Value> = ways.iter().map(way).collect();
    json!({ "version": 1, "host": host, "ways": ways })
}

fn way(way: &Way) -> Value {
    let Way { entrance, path, first, balancer, second, service, pod, third } = way;
    let hop = |from: &str, to: &str, hop: &Hop| {
        let state = match hop.state {
            State::Plaintext => "plaintext",
            State::Tls => "tls",
            State::MutualTls => "mutualTls",
            State::Broken => "broken",
            State::Unknown => "unknown",
        };
        json!({ "from": from, "to": to, "state": state, "facts": hop.facts })
    };
    let mut hops = vec![hop("client", balancer, first), hop(balancer, pod, second)];
    hops.extend(third.iter().map(|third| hop(pod, "application", third)));
    json!({
        "entrance": {
            "apiVersion": entrance.api_version,
            "kind": entrance.kind,
            "namespace": entrance.namespace,
            "name": entrance.name,
        },
        "path": path,
        "service": service,
        "hops": hops,
    })
}
