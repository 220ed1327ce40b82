//! Lines that fit a terminal.

/// A terminal's width.
pub(super) const WIDTH: usize = 80;

/// Breaks `text` into lines of at most `width` characters. What stands in backticks is for copying, so it
/// is not broken, but for commands that are longer than a line: as the shell reads them over several.
pub(super) fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for piece in pieces(text) {
        let long = piece.chars().count() > width;
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + piece.chars().count() <= width => {
                line.push(' ');
                line.push_str(piece);
            }
            _ if long && piece.starts_with("`kubectl ") => lines.extend(command(piece, width)),
            _ => lines.push(piece.to_owned()),
        }
    }
    lines
}

/// A command over several lines: each goes on after a backslash, or by itself after a pipe.
fn command(command: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in command.split(' ') {
        match lines.last_mut() {
            Some(line)
                if !line.ends_with('|')
                    && line.chars().count() + word.chars().count() + 3 <= width =>
            {
                line.push(' ');
                line.push_str(word);
            }
            before => {
                if let Some(line) = before.filter(|line| !line.ends_with('|')) {
                    line.push_str(" \\");
                }
                lines.push(word.to_owned());
            }
        }
    }
    lines
}

/// The pieces that are not broken: words, and as one piece what stands in backticks.
fn pieces(text: &str) -> Vec<&str> {
    let mut pieces = Vec::new();
    let (mut start, mut quoted) = (0, false);
    for (at, character) in text.char_indices() {
        match character {
            '`' => quoted = !quoted,
            ' ' | '\n' if !quoted => {
                pieces.push(text.get(start..at).unwrap_or_default());
                start = at + 1;
            }
            _ => {}
        }
    }
    pieces.push(text.get(start..).unwrap_or_default());
    pieces.retain(|piece| !piece.is_empty());
    pieces
}

#[cfg(test)]
mod tests {
    use super::wrap;

    #[test]
    fn what_is_for_copying_stays_whole() {
        assert_eq!(wrap("a bc `d e f` g", 5), ["a bc", "`d e f`", "g"]);
        assert_eq!(wrap("one `open quote", 4), ["one", "`open quote"]);
        assert_eq!(wrap("  ", 4), Vec::<String>::new());
    }

    #[test]
    fn a_long_command_goes_on_as_the_shell_reads_it() {
        let told = "add it: `kubectl create secret generic web --from-file=a=FILE | kubectl patch secret web` now";
        let lines = wrap(told, 40);
        assert_eq!(
            lines,
            [
                "add it:",
                "`kubectl create secret generic web \\",
                "--from-file=a=FILE |",
                "kubectl patch secret web` now",
            ]
        );
        // The shell leaves out a backslash with the end of its line.
        let typed = lines[1..].join("\n").replace("\\\n", "").replace("|\n", "| ");
        assert!(told.contains(&typed), "{typed}");
    }
}
