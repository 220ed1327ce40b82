//! Findings for whoever reads what kubectl prints: the refusal, and the warnings.

use std::fmt::Write as _;

use lasthop_contract::text::escape;

use super::wrap::{WIDTH, wrap};
use crate::finding::{Finding, Severity};

/// The longest warning, in bytes: clients may cut longer ones.
const LONGEST: usize = 240;

/// The most warnings: the API server keeps 4,096 bytes in all.
const MOST: usize = 12;

/// The message of a refusal: the errors among `findings`, each with its field, what is wrong, what to
/// do, and the corrected YAML. It begins with a line break, because kubectl puts it behind
/// `denied the request: `.
pub fn refusal(findings: &[Finding]) -> String {
    let errors: Vec<&Finding> =
        findings.iter().filter(|finding| finding.severity == Severity::Error).collect();
    let mut text = String::from("\n");
    let Some(first) = errors.first() else { return text };
    let count = match errors.len() {
        1 => "1 error".to_owned(),
        count => format!("{count} errors"),
    };
    let _infallible = writeln!(text, "{count} in {}:", escape(&first.object.to_string()));
    for finding in errors.iter().take(MOST) {
        error(&mut text, finding);
    }
    if let Some(more) = errors.len().checked_sub(MOST + 1) {
        let _infallible = writeln!(text, "\nand {} more; `lasthop check -f` shows all", more + 1);
    }
    let _infallible = write!(text, "\n`lasthop explain {}` tells more", first.code);
    text
}

fn error(text: &mut String, finding: &Finding) {
    let _infallible = match finding.path.steps() {
        [] => writeln!(text, "\n{}", finding.code),
        _ => writeln!(text, "\n{} {}", finding.code, finding.path),
    };
    for line in wrap(&finding.message, WIDTH - 2) {
        let _infallible = writeln!(text, "  {line}");
    }
    for (number, line) in wrap(&finding.help, WIDTH - 8).iter().enumerate() {
        let lead = if number == 0 { "help: " } else { "      " };
        let _infallible = writeln!(text, "  {lead}{line}");
    }
    if let Some(yaml) = &finding.suggestion {
        text.push('\n');
        for line in yaml.lines() {
            let _infallible = writeln!(text, "      {line}");
        }
    }
}

/// The warnings among `findings`: a line each, the code first. After the twelfth a line says how many
/// more there are.
pub fn warnings(findings: &[Finding]) -> Vec<String> {
    let all: Vec<&Finding> =
        findings.iter().filter(|finding| finding.severity == Severity::Warning).collect();
    let mut lines: Vec<String> = all.iter().take(MOST).map(|finding| warning(finding)).collect();
    if let Some(more) = all.len().checked_sub(MOST + 1) {
        lines.push(format!("and {} more warnings; `lasthop check -f` shows all", more + 1));
    }
    lines
}

fn warning(finding: &Finding) -> String {
    let Finding { code, path, message, help, .. } = finding;
    let place = if path.steps().is_empty() { String::new() } else { format!(" {path}") };
    let line = format!("{code}{place}: {message}");
    let long = format!("{line} ({help})");
    // The help is left out rather than cut: half a command is worse than none.
    shorten(if help.is_empty() || long.len() > LONGEST { &line } else { &long })
}

/// One line without control characters, cut where a client might cut it.
pub fn shorten(line: &str) -> String {
    let mut line = line.replace(|character: char| character.is_control(), " ");
    if line.len() > LONGEST {
        let mut end = LONGEST - '…'.len_utf8();
        while !line.is_char_boundary(end) {
            end -= 1;
        }
        line.truncate(end);
        line.push('…');
    }
    line
}

#[cfg(test)]
mod tests {
    use lasthop_contract::problem::Code;

    use super::{refusal, warnings};
    use crate::finding::{Finding, Severity};
    use crate::object::ObjectRef;
    use crate::path::FieldPath;

    fn finding(severity: Severity, message: &str, help: &str) -> Finding {
        let object = ObjectRef {
            api_version: "networking.k8s.io/v1".to_owned(),
            kind: "Ingress".to_owned(),
            namespace: "shop".to_owned(),
            name: "web".to_owned(),
        };
        let path = FieldPath::of(["spec", "tls"]).index(0);
        Finding::new(Code(201), severity, object, path, message).help(help)
    }

    #[test]
    fn a_refusal_fits_a_terminal_and_keeps_commands_whole() {
        let command = "`kubectl create secret tls shop-tls -n shop --cert=FILE --key=FILE`";
        let help = format!("create it first, or apply again once it is there: {command}");
        let message = "Secret `shop-tls` does not exist in namespace `shop`, ".repeat(4);
        let yaml = "tls:\n- hosts: [a]\n  secretName: b";
        let text = refusal(&[finding(Severity::Error, &message, &help).suggest(yaml)]);
        assert!(text.starts_with("\n1 error in Ingress shop/web:\n\nLH201 spec.tls[0]\n  Secret"));
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        assert!(text.contains(command), "{text}");
        assert!(text.contains("\n        secretName: b\n"), "{text}");
    }

    #[test]
    fn warnings_are_short_lines_and_not_too_many() {
        let long = "ä".repeat(500);
        let findings = vec![finding(Severity::Warning, &format!("a\u{1b}[31m\n{long}"), "b"); 20];
        let lines = warnings(&findings);
        assert_eq!(lines.len(), 13);
        assert!(lines.iter().all(|line| line.len() <= 240 && !line.contains(char::is_control)));
        assert!(lines[0].starts_with("LH201 spec.tls[0]: a"), "{}", lines[0]);
        assert_eq!(lines[12], "and 8 more warnings; `lasthop check -f` shows all");
        assert_eq!(warnings(&findings[..12]).len(), 12);
    }

    #[test]
    fn errors_warn_nobody_and_warnings_refuse_nothing() {
        let findings = [finding(Severity::Error, "e", ""), finding(Severity::Info, "i", "")];
        assert_eq!(warnings(&findings), Vec::<String>::new());
        assert!(!refusal(&findings).contains(" i\n"));
    }
}
