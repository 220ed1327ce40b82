//! The bytes of fields in the text of their document.

use std::collections::HashMap;
use std::ops::Range;

use granit_parser::{Event, Parser, ScalarStyle, Span, StructureStyle};

use super::indent::indented;
use crate::path::{FieldPath, Step};

/// The bytes of fields, each where it was found.
type Spans = Vec<Option<Range<usize>>>;

/// A collection that is open at the moment.
struct Frame {
    /// What the next node in it is.
    next: Next,
    /// The field that it is of those on the way; nothing where it lies aside.
    field: Option<usize>,
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

/// The bytes of the field at each of `paths`: its value where that is short, else its key. Where it is
/// not there, the nearest thing above it that is. [`None`] where the text cannot be parsed up to there.
///
/// The text is read once for all of them: a List of a whole cluster has as many findings as items.
pub(super) fn spans(text: &str, paths: &[FieldPath]) -> Spans {
    if let Ok(spans) = spans_of(text, paths) {
        return spans;
    }
    let to = indented(text);
    let (Ok(spans) | Err(spans)) = spans_of(&to.text, paths);
    spans.into_iter().map(|span| Some(to.before(&span?))).collect()
}

/// [`spans`]; an error where the text ends for the parser before all of them are found.
fn spans_of(text: &str, paths: &[FieldPath]) -> Result<Spans, Spans> {
    let mut walk = Walk { text, fields: vec![Field::default()], missing: 1, frames: Vec::new() };
    for path in paths {
        walk.want(path);
    }
    for event in Parser::new_from_str(text) {
        let Ok((event, span)) = event else {
            return Err(paths.iter().map(|path| walk.found(path)).collect());
        };
        if matches!(event, Event::DocumentEnd) || walk.missing == 0 {
            break;
        }
        walk.take(&event, span);
    }
    Ok(paths.iter().map(|path| walk.found(path)).collect())
}

/// A field that is wanted, or on the way to one.
#[derive(Default)]
struct Field {
    below: HashMap<Step, usize>,
    /// Whether its value is the business of nobody who reads a terminal.
    is_secret: bool,
    range: Option<Range<usize>>,
}

struct Walk<'a> {
    text: &'a str,
    /// The first is the document itself.
    fields: Vec<Field>,
    /// How many of them were not seen yet.
    missing: usize,
    frames: Vec<Frame>,
}

impl Walk<'_> {
    fn want(&mut self, path: &FieldPath) {
        let mut at = 0;
        for (depth, step) in path.steps().iter().enumerate() {
            let new = self.fields.len();
            let Some(field) = self.fields.get_mut(at) else { return };
            at = *field.below.entry(step.clone()).or_insert(new);
            if at == new {
                let is_data = matches!(step, Step::Key(key) if is_data(key));
                let is_secret = field.is_secret || (is_data && matches!(depth, 0 | 2));
                self.fields.push(Field { is_secret, ..Field::default() });
                self.missing += 1;
            }
        }
    }

    fn found(&self, path: &FieldPath) -> Option<Range<usize>> {
        let mut field = self.fields.first()?;
        let mut range = field.range.clone()?;
        for step in path.steps() {
            let below = field.below.get(step).and_then(|at| self.fields.get(*at));
            let Some((below, found)) = below.and_then(|it| Some((it, it.range.clone()?))) else {
                break;
            };
            (field, range) = (below, found);
        }
        Some(range)
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
        let field = if self.is_key() {
            self.key("", span);
            None
        } else {
            let is_flow = matches!(style, StructureStyle::Flow);
            self.node(span, if is_flow { Shape::Flow } else { Shape::Block })
        };
        self.frames.push(Frame { next, field });
    }

    /// A node in the place of a value or an item: which of the fields it is, if it is one.
    fn node(&mut self, span: Span, shape: Shape) -> Option<usize> {
        let value = span.byte_range().unwrap_or(0..0);
        let Some(frame) = self.frames.last_mut() else {
            let top = self.first_line(value, shape);
            self.see(0, top);
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
        let at = *self.fields.get(frame.field?)?.below.get(&step)?;
        let is_secret = self.fields.get(at)?.is_secret;
        let range = match key {
            Some(key) if shape != Shape::Short || is_secret || value.is_empty() => key,
            _ if shape == Shape::Short => value,
            _ => self.first_line(value, shape),
        };
        self.see(at, range);
        Some(at)
    }

    /// Of a key that is there twice, the first counts.
    fn see(&mut self, at: usize, range: Range<usize>) {
        if let Some(field) = self.fields.get_mut(at).filter(|field| field.range.is_none()) {
            field.range = Some(range);
            self.missing -= 1;
        }
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

/// Whether what lies below, at the top of an object or of an item of a List, are a Secret's values.
fn is_data(key: &str) -> bool {
    matches!(key, "data" | "stringData")
}
