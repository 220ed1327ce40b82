//! `lasthop explain`: what a finding means.

use std::process::ExitCode;

use clap::Parser;
use lasthop_contract::near::nearest;
use lasthop_contract::problem::Code;
use lasthop_contract::text::escape;

use super::{UNUSABLE, complain, end, print};
use crate::render::markdown;
use crate::rules;
use crate::sidecar_log;

/// Say what findings mean, why they break things and how to cure them
#[derive(Debug, Parser)]
#[command(after_help = "Examples:
  lasthop explain LH206
  lasthop explain | grep wildcard
  lasthop check . | grep -oE 'LH[0-9]{3}' | sort -u | xargs -r lasthop explain")]
pub struct Args {
    /// The codes, such as LH206; without one, all are listed
    #[arg(value_name = "CODE")]
    codes: Vec<String>,
    /// Print all pages as Markdown, as they are in docs/rules.md
    #[arg(long, conflicts_with = "codes")]
    markdown: bool,
}

impl Args {
    /// Runs the subcommand.
    pub fn run(self) -> ExitCode {
        let Self { codes, markdown } = self;
        if codes.is_empty() {
            let text = if markdown { markdown::rules() } else { markdown::index() };
            return end(print(&text), 0);
        }
        let (mut pages, mut unknown) = (Vec::new(), Vec::new());
        for word in &codes {
            match page(word) {
                Some(page) if pages.contains(&page) => {}
                Some(page) => pages.push(page),
                None => unknown.push(word),
            }
        }
        let printed = if pages.is_empty() { Ok(()) } else { print(&pages.join("\n")) };
        for word in &unknown {
            let near = near(word).map(|near| format!(", did you mean {near}?"));
            let near = near.unwrap_or_default();
            complain(&format!("error: there is no finding `{}`{near}", escape(word)));
        }
        if !unknown.is_empty() {
            complain("help: `lasthop explain` lists them all");
        }
        end(printed, if unknown.is_empty() { 0 } else { UNUSABLE })
    }
}

/// What is said of a code, with or without `LH`, in letters of either size.
fn page(word: &str) -> Option<String> {
    let code = word.to_ascii_uppercase();
    let code = code.strip_prefix("LH").unwrap_or(&code).parse().map(Code).ok()?;
    let logged = || sidecar_log::find(code).map(markdown::logged);
    rules::find(code).map(markdown::page).or_else(logged)
}

/// The code that may have been meant.
fn near(word: &str) -> Option<String> {
    let logged = sidecar_log::all().map(|it| it.code.to_string());
    let codes: Vec<String> = rules::all().map(|rule| rule.code.to_string()).chain(logged).collect();
    nearest(&word.to_ascii_uppercase(), codes.iter().map(String::as_str)).map(ToOwned::to_owned)
}
