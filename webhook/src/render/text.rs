//! Findings for a person at a terminal, in the manner of a compiler.

use std::collections::BTreeMap;

use annotate_snippets::renderer::DecorStyle;
use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};
use lasthop_contract::problem::Code;

use super::Report;
use super::wrap::{WIDTH, wrap};
use crate::documents::{Failure, Place};
use crate::finding::{Finding, Severity};

/// Whether colours help or hurt.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Colour {
    /// A terminal shows them.
    Ansi,
    /// A file or another program reads along.
    None,
}

impl Colour {
    /// Colour for a terminal, unless `NO_COLOR` is set and not empty (<https://no-color.org/>).
    pub fn of(stream: &impl std::io::IsTerminal) -> Self {
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        if stream.is_terminal() && !refused { Self::Ansi } else { Self::None }
    }

    fn renderer(self) -> Renderer {
        match self {
            Self::Ansi => Renderer::styled(),
            Self::None => Renderer::plain(),
        }
        .decor_style(DecorStyle::Ascii)
    }
}

/// The whole report: a block for each finding, and a summary.
pub fn report(report: &Report<'_>, colour: Colour) -> String {
    let mut blocks = Vec::new();
    let mut infos: BTreeMap<Code, usize> = BTreeMap::new();
    for (finding, place) in report.places() {
        if finding.severity == Severity::Info {
            let count = infos.entry(finding.code).or_default();
            *count += 1;
            if *count > MOST_INFOS {
                continue;
            }
        }
        blocks.push(block(finding, &place, colour));
    }
    for (code, count) in infos {
        if let Some(more) = count.checked_sub(MOST_INFOS).filter(|more| *more > 0) {
            blocks.push(format!("info[{code}]: {more} more of the same; `-o json` lists them all"));
        }
    }
    blocks.extend(summary(report));
    blocks.iter().map(|block| format!("{block}\n")).collect::<Vec<_>>().join("\n")
}

/// So many infos of one code are shown: a folder without any Secret has one for each Ingress.
const MOST_INFOS: usize = 3;

/// One finding: what is wrong, the line with the field underlined, what to do.
fn block(finding: &Finding, place: &Place<'_>, colour: Colour) -> String {
    let level = match finding.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
        Severity::Info => Level::INFO,
    };
    let code = finding.code.to_string();
    let label = format!("{} of {}", finding.path, finding.object);
    let label = if finding.path.steps().is_empty() { finding.object.to_string() } else { label };
    let annotation = AnnotationKind::Primary.span(place.span.clone()).label(label);
    let snippet = Snippet::source(place.text.as_str())
        .path(place.file)
        .line_start(place.line)
        .annotation(annotation);
    let mut group =
        level.primary_title(finding.message.as_str()).id(code.as_str()).element(snippet);
    // The renderer puts it behind `= help: `, below the line's number.
    let indent = place.line.to_string().len() + " = help: ".len();
    let help = help(finding, WIDTH - indent);
    if !help.is_empty() {
        group = group.element(Level::HELP.message(help.as_str()));
    }
    let block = colour.renderer().render(&[group]);
    // Of a line whose beginning is left out, the renderer counts the columns that it sees.
    let Place { file, line, column, text, span } = place;
    let seen = text.get(..span.start).map_or(0, |lead| lead.chars().count()) + 1;
    block.replacen(&format!("{file}:{line}:{seen}"), &format!("{file}:{line}:{column}"), 1)
}

/// The help in lines of at most `width` characters, with the corrected YAML below it.
pub(super) fn help(finding: &Finding, width: usize) -> String {
    let mut help = wrap(&finding.help, width).join("\n");
    for line in finding.suggestion.iter().flat_map(|yaml| yaml.lines()) {
        help.push_str("\n  ");
        help.push_str(line);
    }
    help
}

/// What could not be read, a line each.
pub fn failure(failure: &Failure) -> String {
    line("error", failure)
}

/// What was read and others may not read so, a line each.
pub fn remark(remark: &Failure) -> String {
    line("warning", remark)
}

fn line(severity: &str, Failure { file, place, message }: &Failure) -> String {
    match place {
        Some((line, column)) => format!("{severity}: {file}:{line}:{column}: {message}"),
        None => format!("{severity}: {file}: {message}"),
    }
}

/// How much was found in how much; nothing where there was nothing to find it in. Where something
/// could not be read, nobody says that there is nothing to find.
pub(super) fn summary(report: &Report<'_>) -> Option<String> {
    if report.objects + report.without_rules + report.patches == 0 {
        return None;
    }
    let counts = [
        (report.count(Severity::Error), "error"),
        (report.count(Severity::Warning), "warning"),
        (report.count(Severity::Info), "info"),
    ];
    let counts: Vec<String> = counts
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, word)| of(*count, word))
        .collect();
    let found = match counts.join(", ") {
        none if none.is_empty() && report.is_unusable() => none,
        none if none.is_empty() => "no findings: ".to_owned(),
        some => format!("{some}: "),
    };
    let left_out = match report.skipped {
        0 => String::new(),
        count => format!(", {} left out (no Kubernetes object)", of(count, "document")),
    };
    let patches = match report.patches {
        0 => String::new(),
        1 => ", 1 patch of kustomize left out".to_owned(),
        count => format!(", {count} patches of kustomize left out"),
    };
    let unread = match report.failures.len() {
        0 => String::new(),
        count => format!(", {count} could not be read"),
    };
    let without_rules = match report.without_rules {
        0 => String::new(),
        count => format!(", {count} of a kind without rules"),
    };
    let objects = of(report.objects, "object");
    let files = match report.namespaces {
        Some(count) => of(count, "namespace"),
        None => of(report.files, "file"),
    };
    Some(format!("{found}{objects} in {files} checked{without_rules}{left_out}{patches}{unread}"))
}

fn of(count: usize, word: &str) -> String {
    if count == 1 { format!("1 {word}") } else { format!("{count} {word}s") }
}
