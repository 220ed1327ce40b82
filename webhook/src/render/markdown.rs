//! The rules as pages: `docs/rules.md`, and `lasthop explain` at a terminal.

use std::fmt::Write as _;

use super::wrap::{WIDTH, wrap};
use crate::rules::{self, Rule};
use crate::sidecar_log::{self, Logged};
use crate::symptom::Symptom;

/// `docs/rules.md`: every rule, an anchor a code.
pub fn rules() -> String {
    let mut text = String::from(
        "# Rules\n\n\
         Everything that lasthop finds, by code. `lasthop explain CODE` prints the same. Errors refuse a\n\
         request at `kubectl apply` and end `lasthop check` with 1; what is written as a warning here is let\n\
         in. This page is made by `lasthop explain --markdown > docs/rules.md`.\n\n\
         | codes | about |\n| --- | --- |\n\
         | LH1xx | what a Secret holds: the bytes of certificates, keys, CAs and revocation lists |\n\
         | LH2xx | what names a Secret: Ingresses and their annotations, Gateways, Hosts, Certificates |\n\
         | LH3xx | lasthop's own annotations on pods and workloads |\n\
         | LH5xx | what the sidecar logs: clients and requests that it refuses, next tiers that fail |\n\
         | LH6xx | hops whose two ends do not fit, and pods without the sidecar that they should have |\n\
         | LH9xx | what lasthop could not look at |\n",
    );
    for rule in rules::all() {
        let Rule { code, name, summary, why, symptoms, .. } = rule;
        let _infallible = write!(
            text,
            "\n## {code}\n\n**{name}**: {summary}.\n\n{why}\n{}",
            seen_in_markdown(symptoms)
        );
        section(&mut text, "Example", rule.example);
        section(&mut text, "Cure", rule.cure);
    }
    text.push_str(
        "\n# What the sidecar logs\n\n\
         A line `refused` for each connection that comes to nothing, or `the next tier failed` where it originates, with\n\
         the code, and the word in parentheses as `reason`. What is wrong in a Secret (LH1xx) it logs with the codes above.\n",
    );
    for Logged { code, reason, what, why, symptoms, cure } in sidecar_log::all() {
        let _infallible = write!(
            text,
            "\n## {code}\n\n**{what}** (`{reason}`).\n\n{why}\n{}\nCure: {cure}\n",
            seen_in_markdown(symptoms)
        );
    }
    text
}

/// What is seen of it, an item a place.
fn seen_in_markdown(symptoms: &[Symptom]) -> String {
    let items = symptoms.iter().map(|Symptom { at, seen }| format!("- {at}: {seen}\n"));
    format!("\nYou see:\n\n{}", items.collect::<String>())
}

fn section(text: &mut String, title: &str, body: &str) {
    let fence = if body.starts_with('$') { "console" } else { "yaml" };
    let _infallible = match title {
        "Cure" if !is_yaml(body) => write!(text, "\nCure: {body}\n"),
        "Cure" => write!(text, "\nCure:\n\n```yaml\n{body}\n```\n"),
        _ => write!(text, "\n```{fence}\n{body}\n```\n"),
    };
}

/// Whether a cure is a manifest rather than a sentence.
fn is_yaml(body: &str) -> bool {
    body.lines().count() > 1
}

/// One rule for a terminal.
pub fn page(rule: &Rule) -> String {
    let Rule { code, name, summary, why, symptoms, example, cure, judge: _ } = rule;
    let indent = |body: &str| {
        body.lines().fold(String::new(), |mut text, line| {
            let _infallible = writeln!(text, "    {line}");
            text
        })
    };
    let cure = if is_yaml(cure) { indent(cure) } else { wrapped(cure) };
    format!(
        "{}\n{}\n{}\nExample:\n\n{}\nCure:\n\n{cure}",
        wrapped(&format!("{code} {name}: {summary}")),
        wrapped(why),
        seen(symptoms),
        indent(example)
    )
}

/// What the sidecar logs under a code, for a terminal.
pub fn logged(logged: &Logged) -> String {
    let Logged { code, reason, what, why, symptoms, cure } = logged;
    let what = wrapped(&format!("{code} {reason}: {what} (in the sidecar's log)"));
    format!("{what}\n{}\n{}\nCure:\n\n{}", wrapped(why), seen(symptoms), wrapped(cure))
}

/// What is seen of it, for a terminal.
fn seen(symptoms: &[Symptom]) -> String {
    let item = |Symptom { at, seen }: &Symptom| {
        let lines = wrap(&format!("{at}: {seen}"), WIDTH - 2);
        let of_item = lines.iter().enumerate();
        let marked =
            of_item.map(|(n, line)| format!("{} {line}\n", if n == 0 { "-" } else { " " }));
        marked.collect::<String>()
    };
    format!("You see:\n\n{}", symptoms.iter().map(item).collect::<String>())
}

/// Every code in a line.
pub fn index() -> String {
    let rules = rules::all().map(|Rule { code, name, summary, .. }| (code, *name, *summary));
    let logged = sidecar_log::all().map(|Logged { code, reason, what, .. }| (code, *reason, *what));
    let mut all: Vec<_> = rules.chain(logged).collect();
    all.sort_by_key(|(code, ..)| **code);
    all.into_iter().fold(String::new(), |mut text, (code, name, summary)| {
        let _infallible = writeln!(text, "{code} {name:<24} {summary}");
        text
    })
}

fn wrapped(words: &str) -> String {
    wrap(words, WIDTH).iter().map(|line| format!("{line}\n")).collect::<Vec<_>>().concat()
}
