//! Quoted scalars whose further lines begin too far to the left.
//!
//! YAML 1.2.2 (7.3) wants them deeper than the block around them, and so does the parser. go-yaml, with which kubectl and
//! Helm read, does not, and some generators write them. What stands before the text of such a line is no part of the
//! value, so indenting it changes nothing.

use std::ops::Range;

/// A text in which every further line of a quoted scalar is deeper than anything else.
pub(super) struct Indented {
    pub(super) text: String,
    /// Where in it something was put in.
    pushed: Vec<usize>,
    /// How many spaces, each time.
    width: usize,
}

/// The same text for a parser that is strict. This is for a text that it has refused: what the scalars are is seen
/// well enough to try again, not by all rules of YAML.
pub(super) fn indented(text: &str) -> Indented {
    let width = text.lines().map(column_of_node).max().unwrap_or_default() + 1;
    let spaces = " ".repeat(width);
    let mut to = Indented { text: String::with_capacity(text.len()), pushed: Vec::new(), width };
    let mut state = State::default();
    for line in text.split_inclusive('\n') {
        if state.quote.is_some() && !line.trim().is_empty() {
            to.pushed.push(to.text.len());
            to.text.push_str(&spaces);
        }
        to.text.push_str(line);
        state.read(line);
    }
    to
}

impl Indented {
    /// The same bytes in the text as it was.
    pub(super) fn before(&self, range: &Range<usize>) -> Range<usize> {
        let before = |at: usize| {
            let pushed = self.pushed.partition_point(|start| *start < at);
            at - pushed * self.width
        };
        before(range.start)..before(range.end)
    }
}

/// Where the first node of a line begins, behind the dashes of a sequence.
fn column_of_node(line: &str) -> usize {
    line.len() - line.trim_start_matches([' ', '-']).len()
}

/// What a line begins in.
#[derive(Default)]
struct State {
    /// The quote that ends the scalar.
    quote: Option<char>,
    /// The column that every further line of a block scalar, or of a plain one, is deeper than.
    parent: Option<usize>,
    /// How many collections in brackets or braces are open.
    flow: usize,
}

impl State {
    fn read(&mut self, line: &str) {
        let lead = line.len() - line.trim_start_matches(' ').len();
        if let Some(parent) = self.parent {
            if lead > parent || line.trim().is_empty() {
                return;
            }
            self.parent = None;
        }
        // Whether a node may begin here, or a plain scalar has begun; and whether a key came before.
        let (mut begins, mut is_plain, mut has_key) = (true, false, false);
        let mut behind_space = true;
        let mut rest = line.chars();
        while let Some(char) = rest.next() {
            let next = rest.clone().next().unwrap_or('\n');
            match (self.quote, char) {
                (Some('"'), '\\') => drop(rest.next()),
                (Some('\''), '\'') if next == '\'' => drop(rest.next()),
                (Some(quote), _) if char == quote => (self.quote, begins) = (None, false),
                (Some(_), _) => {}
                (None, '#') if behind_space => return,
                (None, '\'' | '"') if begins => self.quote = Some(char),
                (None, '|' | '>') if begins && self.flow == 0 => {
                    self.parent = Some(parent(line, has_key));
                    return;
                }
                (None, '[' | '{') if begins => self.flow += 1,
                (None, ']' | '}') if self.flow > 0 => (self.flow, begins) = (self.flow - 1, false),
                (None, ',') if self.flow > 0 => begins = true,
                (None, ':') if next.is_whitespace() => {
                    (begins, is_plain, has_key) = (true, false, true);
                }
                (None, '-' | '?') if begins && next.is_whitespace() => {}
                (None, '!' | '&') if begins => {
                    let name = rest.as_str().find(char::is_whitespace).unwrap_or(0);
                    rest = rest.as_str().get(name..).unwrap_or_default().chars();
                }
                (None, _) if char.is_whitespace() => {}
                (None, _) => (begins, is_plain) = (false, is_plain || begins),
            }
            behind_space = char.is_whitespace();
        }
        if is_plain && self.flow == 0 {
            self.parent = Some(parent(line, has_key));
        }
    }
}

/// The column of the key on this line, or of the dash before its node.
fn parent(line: &str, has_key: bool) -> usize {
    let column = column_of_node(line);
    let dash = || line.get(..column).and_then(|lead| lead.rfind('-')).unwrap_or(0);
    if has_key { column } else { dash() }
}
