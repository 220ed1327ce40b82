//! Lines that fit a terminal.

/// A terminal's width.
pub(super) const WIDTH: usize = 80;

/// Breaks `text` into lines of at most `width` characters. What stands in backticks is for copying,
/// so it is never broken; where it is longer than a line, the line is.
pub(super) fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for piece in pieces(text) {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + piece.chars().count() <= width => {
                line.push(' ');
                line.push_str(piece);
            }
            _ => lines.push(piece.to_owned()),
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
}
