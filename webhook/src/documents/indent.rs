//! Quoted scalars whose further lines begin too far to the left.
//!
//! YAML 1.2.2 (7.3) wants them deeper than the block around them, and so does the parser. go-yaml, with which kubectl and
//! Helm read, does not, so such manifests exist. What stands before the text of such a line is no part of the value.

use std::ops::Range;

use granit_parser::{ErrorKind, Parser};

/// As many bytes as are read to indent one text: it is read anew for each line.
const MOST_BYTES: usize = 8 << 20;

/// A text with these lines indented.
pub(super) struct Indented {
    pub(super) text: String,
    /// Where in it something was put in.
    pushed: Vec<usize>,
    /// How many spaces, each time.
    width: usize,
}

/// The same text for a parser that is strict; nothing where no line of it has to be indented.
pub(super) fn indented(text: &str) -> Option<Indented> {
    let mut start = short_line(text)?;
    let lead = |line: &str| line.len() - line.trim_start_matches([' ', '-']).len();
    let width = text.lines().map(lead).max().unwrap_or_default() + 1;
    let mut to = Indented { text: text.to_owned(), pushed: Vec::new(), width };
    for _ in 0..MOST_BYTES / text.len().max(1) {
        to.text.insert_str(start, &" ".repeat(width));
        to.pushed.push(start);
        match short_line(&to.text) {
            Some(next) if next > start => start = next,
            _ => break,
        }
    }
    Some(to)
}

impl Indented {
    /// The same place in the text as it was.
    pub(super) fn place_before(&self, range: Range<usize>) -> Range<usize> {
        let before = |at: usize| {
            let pushed = self.pushed.iter().take_while(|start| **start < at).count();
            at - pushed * self.width
        };
        before(range.start)..before(range.end)
    }
}

/// The first byte of the line that the parser wants deeper.
fn short_line(text: &str) -> Option<usize> {
    let error = Parser::new_from_str(text).find_map(Result::err)?;
    if !matches!(error.kind(), ErrorKind::InvalidQuotedScalarIndent) {
        return None;
    }
    let lines_before = error.marker().line().checked_sub(1)?;
    Some(text.split_inclusive('\n').take(lines_before).map(str::len).sum())
}
