//! A text to the values of its documents, in the way of go-yaml, which kubectl reads with.

use std::ops::Range;
use std::panic::{self, AssertUnwindSafe};
use std::{io, iter};

use lasthop_contract::text::escape;
use serde_json::Value;
use serde_saphyr::DuplicateKeyPolicy;

use super::indent::indented;
use crate::spread::spread;

/// Something about a text, and where: line and column, both from 1.
pub(super) type Remark = (Option<(usize, usize)>, String);

/// A document's value, with what is odd about it, or why there is none.
type Parsed = Result<(Value, Option<Remark>), Remark>;

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
            let whole = |(inner, value)| (shift(inner), Ok((value, None)));
            documents.extend(values.into_iter().map(whole));
            continue;
        }
        let within_text = |(place, message): Remark| {
            let before = text.get(..range.start).unwrap_or_default();
            let first = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
            (place.map(|(line, column)| (first + line - 1, column)), message)
        };
        let parsed = match yaml_or_indented(chunk) {
            Ok((value, remark)) => Ok((value, remark.map(within_text))),
            Err(failure) => Err(within_text(failure)),
        };
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

/// Where further lines of a quoted scalar begin too far to the left, they are read as kubectl reads them.
fn yaml_or_indented(chunk: &str) -> Parsed {
    yaml(chunk).or_else(|failure| yaml(&indented(chunk).text).map_err(|_again| failure))
}

/// A document in which a key is written twice is read as kubectl and Helm read it: the last one counts. Others refuse
/// it, so it is told.
fn yaml(chunk: &str) -> Parsed {
    match yaml_with(chunk, DuplicateKeyPolicy::Error) {
        Ok(value) => Ok((value, None)),
        Err((place, message)) => match message.strip_prefix(REPEATED) {
            Some(key) => {
                let value = yaml_with(chunk, DuplicateKeyPolicy::LastWins);
                let value = value.map_err(|failure| not_yaml(chunk, failure))?;
                let message = format!(
                    "`{}` is written twice; kubectl and Helm take the last one, kustomize and Flux refuse it",
                    escape(key)
                );
                Ok((value, Some((place, message))))
            }
            None => Err(not_yaml(chunk, (place, message))),
        },
    }
}

/// Schemas of custom resources are nested deeply; a thread's stack ends somewhere.
const MOST_LEVELS: usize = 100;

/// How the parser begins to say that a key of a mapping is there twice; the key follows.
const REPEATED: &str = "duplicate mapping key: ";

fn not_yaml(chunk: &str, (place, message): Remark) -> Remark {
    let too_deep = ["budget breached: Depth", "recursion limit"];
    let message = if too_deep.iter().any(|begin| message.starts_with(begin)) {
        format!("it is nested more than {MOST_LEVELS} levels deep")
    } else if message.starts_with("alias replay limit") {
        "its aliases stand for too much".to_owned()
    } else {
        let is_template = chunk.contains("{{") && chunk.contains("}}");
        let filled =
            "; a template has to be filled in first: `helm template CHART | lasthop check -f -`";
        let help = if is_template { filled } else { "" };
        format!("it is not valid YAML: {}{help}", escape(&message))
    };
    (place, message)
}

fn yaml_with(chunk: &str, policy: DuplicateKeyPolicy) -> Result<Value, Remark> {
    let options = serde_saphyr::options! {
        duplicate_keys: policy,
        legacy_octal_numbers: true,
        with_snippet: false,
        alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: 200_000 },
        budget: serde_saphyr::budget! {
            max_depth: MOST_LEVELS,
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
        (place, message.to_owned())
    })
}
