//! Findings as annotations of a pull request: the workflow commands of GitHub Actions.
//!
//! <https://docs.github.com/actions/reference/workflows-and-actions/workflow-commands>

use super::wrap::WIDTH;
use super::{Report, text};
use crate::documents::Failure;
use crate::finding::Severity;

/// A line for each finding and each failure, and the summary.
pub fn report(report: &Report<'_>) -> String {
    let mut lines: Vec<String> = report
        .places()
        .map(|(finding, place)| {
            let command = match finding.severity {
                Severity::Error => "error",
                Severity::Warning => "warning",
                Severity::Info => "notice",
            };
            let message = format!("{}\n{}", finding.message, text::help(finding, WIDTH));
            format!(
                "::{command} file={},line={},col={},title={}::{}",
                property(place.file),
                place.line,
                place.column,
                property(&format!("{} {}", finding.code, finding.object)),
                data(message.trim_end())
            )
        })
        .collect();
    lines.extend(report.failures.iter().map(failure));
    lines.extend(text::summary(report));
    lines.push(String::new());
    lines.join("\n")
}

fn failure(failure: &Failure) -> String {
    let place = failure.place.map(|(line, column)| format!(",line={line},col={column}"));
    format!(
        "::error file={}{}::{}",
        property(&failure.file),
        place.unwrap_or_default(),
        data(&failure.message)
    )
}

/// What stands behind the second `::`.
fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

/// The value of a property.
fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use super::{data, property};

    #[test]
    fn nothing_in_a_text_ends_the_command() {
        assert_eq!(data("50%\nx"), "50%25%0Ax");
        assert_eq!(property("a,b: c"), "a%2Cb%3A c");
    }
}
