//! A text to the values of its documents, in the way of go-yaml, which kubectl reads with.

use std::ops::Range;
use std::panic::{self, AssertUnwindSafe};
use std::{io, iter};

use lasthop_contract::text::escape;
use serde_json::Value;

use crate::spread::spread;

/// A document's value, or where and why there is none.
type Parsed = Result<Value, (Option<(usize, usize)>, String)>;

/// The documents of a text, each with its bytes.
pub(super) type Read = Vec<(Range<usize>, Parsed)>;

/// The documents of a text.
pub(super) fn documents(text: &str) -> io::Result<Read> {
    all(&[text]).pop().unwrap_or_else(|| Ok(Vec::new()))
}

/// The documents of each text, read where the stack is deep enough whoever asks.
pub(super) fn all(texts: &[&str]) -> Vec<io::Result<Read>> {
    // What fails with one text is not to take the others along.
    let one = |text: &&str| panic::catch_unwind(AssertUnwindSafe(|| read(text)));
    match spread(texts, one) {
        Ok(all) => all
            .into_iter()
            .map(|it| it.map_err(|_panic| io::Error::other("reading it failed")))
            .collect(),
        Err(error) => iter::repeat_n(error.kind(), texts.len()).map(|it| Err(it.into())).collect(),
    }
}

/// The documents of a text, each with its bytes. They are cut at the `---` lines first, as kubectl
/// does it, so that a broken one leaves the others whole.
fn read(text: &str) -> Read {
    let mut documents = Vec::new();
    for range in cut(text) {
        let chunk = text.get(range.clone()).unwrap_or_default();
        if is_blank(chunk) {
            continue;
        }
        if let Some(values) = json(chunk) {
            let shift = |inner: Range<usize>| range.start + inner.start..range.start + inner.end;
            documents.extend(values.into_iter().map(|(inner, value)| (shift(inner), Ok(value))));
            continue;
        }
        let parsed = yaml(chunk).map_err(|(place, message)| {
            let before = text.get(..range.start).unwrap_or_default();
            let first = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
            (place.map(|(line, column)| (first + line - 1, column)), message)
        });
        documents.push((range, parsed));
    }
    documents
}

/// From each `---` line to the next. Inside of a document no line can begin with `---` (YAML 1.2.2,
/// 9.1.2), and a `...` line ends one.
fn cut(text: &str) -> Vec<Range<usize>> {
    let mut ranges = Vec::new();
    let (mut start, mut at) = (0, 0);
    for line in text.split_inclusive('\n') {
        let bare = line.trim_end();
        let begins = bare == "---" || bare.starts_with("--- ") || bare.starts_with("---\t");
        if begins && at > start {
            ranges.push(start..at);
            start = at;
        }
        at += line.len();
        if bare == "..." {
            ranges.push(start..at);
            start = at;
        }
    }
    ranges.push(start..text.len());
    ranges
}

/// Whether there is nothing but comments, directives and markers.
fn is_blank(chunk: &str) -> bool {
    chunk.lines().map(str::trim).all(|line| {
        line.is_empty() || line.starts_with(['#', '%']) || line == "---" || line == "..."
    })
}

/// One JSON value after the other, as `kubectl get -o json` and `jq` write them; nothing where the
/// text is not JSON through and through.
fn json(chunk: &str) -> Option<Vec<(Range<usize>, Value)>> {
    if !chunk.trim_start().starts_with('{') {
        return None;
    }
    let mut values = Vec::new();
    let mut stream = serde_json::Deserializer::from_str(chunk).into_iter::<Value>();
    let mut start = 0;
    while let Some(value) = stream.next() {
        values.push((start..stream.byte_offset(), value.ok()?));
        start = stream.byte_offset();
    }
    Some(values)
}

fn yaml(chunk: &str) -> Parsed {
    let options = serde_saphyr::options! {
        legacy_octal_numbers: true,
        with_snippet: false,
        alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: 200_000 },
        budget: serde_saphyr::budget! {
            // Schemas of custom resources are nested deeply; a thread's stack ends somewhere.
            max_depth: 100,
            // Aliases are bounded by what they expand to.
            enforce_alias_anchor_ratio: false,
        },
    };
    serde_saphyr::from_str_with_options::<Value>(chunk, options).map_err(|error| {
        let place = error.location().and_then(|at| {
            let line = usize::try_from(at.line()).ok()?;
            Some((line, usize::try_from(at.column()).ok()?)).filter(|(line, _)| *line > 0)
        });
        let message = error.without_snippet().to_string();
        let message = message.split(" at line ").next().unwrap_or_default();
        // Advice for whoever calls the library.
        let message = message.split(", set ").next().unwrap_or_default();
        (place, format!("it is not valid YAML: {}", escape(message)))
    })
}
