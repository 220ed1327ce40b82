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

/// Say what a finding means, why it breaks things and how to cure it
#[derive(Debug, Parser)]
#[command(after_help = "Examples:\n  lasthop explain LH206\n  lasthop explain | grep wildcard")]
pub struct Args {
    /// The code, such as LH206; without one, all are listed
    #[arg(value_name = "CODE")]
    code: Option<String>,
    /// Print all pages as Markdown, as they are in docs/rules.md
    #[arg(long, conflicts_with = "code")]
    markdown: bool,
}

impl Args {
    /// Runs the subcommand.
    pub fn run(self) -> ExitCode {
        let Self { code, markdown } = self;
        let Some(word) = code else {
            let text = if markdown { markdown::rules() } else { markdown::index() };
            return end(print(&text), 0);
        };
        let code = word.to_ascii_uppercase();
        let number = code.strip_prefix("LH").unwrap_or(&code).parse().map(Code);
        if let Ok(code) = number {
            let page = rules::find(code).map(markdown::page);
            let logged = || sidecar_log::find(code).map(markdown::logged);
            if let Some(page) = page.or_else(logged) {
                return end(print(&page), 0);
            }
        }
        let logged = sidecar_log::all().map(|it| it.code.to_string());
        let codes: Vec<String> =
            rules::all().map(|rule| rule.code.to_string()).chain(logged).collect();
        let near = nearest(&code, codes.iter().map(String::as_str));
        let near = near.map(|near| format!(", did you mean {near}?")).unwrap_or_default();
        complain(&format!("error: there is no finding `{}`{near}", escape(&word)));
        complain("help: `lasthop explain` lists them all");
        ExitCode::from(UNUSABLE)
    }
}
