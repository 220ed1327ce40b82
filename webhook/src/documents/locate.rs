//! The bytes of a field in the text of its document.

use std::ops::Range;

use granit_parser::{Event, Parser, ScalarStyle, Span, StructureStyle};

use crate::path::{FieldPath, Step};

/// A collection that is open at the moment.
struct Frame {
    /// What the next node in it is.
    next: Next,
    /// How many steps of the wanted path lead here; nothing where it lies aside.
    depth: Option<usize>,
}

enum Next {
    Key,
    Value { key: String, at: Range<usize> },
    Item(usize),
}

/// What a node looks like.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Shape {
    /// A scalar on its line.
    Short,
    /// A scalar or collection over several lines.
    Block,
    /// A collection in braces or brackets.
    Flow,
}

/// The bytes of the field at `path`: its value where that is short, else its key. Where it is not
/// there, the nearest thing above it that is. [`None`] where the text cannot be parsed up to there.
pub(super) fn span(text: &str, path: &FieldPath) -> Option<Range<usize>> {
    let mut walk = Walk { text, steps: path.steps(), frames: Vec::new(), best: None };
    for event in Parser::new_from_str(text) {
        let Ok((event, span)) = event else { break };
        if matches!(event, Event::DocumentEnd) || walk.is_done() {
            break;
        }
        walk.take(&event, span);
    }
    walk.best.map(|(_, range)| range)
}

struct Walk<'a> {
    text: &'a str,
    steps: &'a [Step],
    frames: Vec<Frame>,
    best: Option<(usize, Range<usize>)>,
}

impl Walk<'_> {
    fn is_done(&self) -> bool {
        self.best.as_ref().is_some_and(|(depth, _)| *depth == self.steps.len())
            && !self.steps.is_empty()
    }

    fn take(&mut self, event: &Event<'_>, span: Span) {
        match event {
            Event::Scalar(text, style, ..) => {
                let is_block = matches!(style, ScalarStyle::Literal | ScalarStyle::Folded);
                if self.is_key() {
                    self.key(text, span);
                } else {
                    self.node(span, if is_block { Shape::Block } else { Shape::Short });
                }
            }
            Event::Alias(_) if self.is_key() => self.key("", span),
            Event::Alias(_) => {
                self.node(span, Shape::Short);
            }
            Event::SequenceStart(style, ..) => self.open(Next::Item(0), span, *style),
            Event::MappingStart(style, ..) => self.open(Next::Key, span, *style),
            Event::SequenceEnd | Event::MappingEnd => {
                self.frames.pop();
            }
            _ => {}
        }
    }

    fn is_key(&self) -> bool {
        self.frames.last().is_some_and(|frame| matches!(frame.next, Next::Key))
    }

    fn key(&mut self, text: &str, span: Span) {
        let at = span.byte_range().unwrap_or(0..0);
        if let Some(frame) = self.frames.last_mut() {
            frame.next = Next::Value { key: text.to_owned(), at };
        }
    }

    fn open(&mut self, next: Next, span: Span, style: StructureStyle) {
        // A collection as a key is no field of Kubernetes; what is in it lies aside.
        let depth = if self.is_key() {
            self.key("", span);
            None
        } else {
            let is_flow = matches!(style, StructureStyle::Flow);
            self.node(span, if is_flow { Shape::Flow } else { Shape::Block })
        };
        self.frames.push(Frame { next, depth });
    }

    /// A node in the place of a value or an item: how many steps lead to it, if it is on the way.
    fn node(&mut self, span: Span, shape: Shape) -> Option<usize> {
        let value = span.byte_range().unwrap_or(0..0);
        let Some(frame) = self.frames.last_mut() else {
            let top = self.first_line(value, shape);
            self.best.get_or_insert((0, top));
            return Some(0);
        };
        let (step, key) = match std::mem::replace(&mut frame.next, Next::Key) {
            Next::Item(index) => {
                frame.next = Next::Item(index + 1);
                (Step::Index(index), None)
            }
            Next::Value { key, at } => (Step::Key(key), Some(at)),
            Next::Key => return None,
        };
        let depth = frame.depth.filter(|depth| self.steps.get(*depth) == Some(&step))? + 1;
        if self.best.as_ref().is_none_or(|(best, _)| depth > *best) {
            let is_secret = matches!(self.steps, [Step::Key(top), ..] if is_data(top))
                || matches!(self.steps, [_, _, Step::Key(top), ..] if is_data(top));
            let range = match key {
                Some(key) if shape != Shape::Short || is_secret || value.is_empty() => key,
                _ if shape == Shape::Short => value,
                _ => self.first_line(value, shape),
            };
            self.best = Some((depth, range));
        }
        Some(depth)
    }

    /// From a collection's start to the end of the line; of one in braces the brace alone.
    fn first_line(&self, range: Range<usize>, shape: Shape) -> Range<usize> {
        if shape == Shape::Flow {
            return range.start..range.start + 1;
        }
        let rest = self.text.get(range.start..).unwrap_or_default();
        let line = rest.lines().next().unwrap_or_default().trim_end();
        range.start..range.start + line.len()
    }
}

/// Whether what lies below is the business of nobody who reads a terminal.
fn is_data(key: &str) -> bool {
    matches!(key, "data" | "stringData")
}
