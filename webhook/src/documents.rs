//! Files to documents: YAML and JSON, each object with its place in the text.
//!
//! Nothing here fails as a whole: what cannot be read is a [`Failure`] with its place, and the
//! documents beside it are there all the same.

use std::collections::HashMap;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use serde_json::Value;

use crate::object::Object;
use crate::path::FieldPath;

mod indent;
mod kustomize;
mod locate;
mod parse;
mod read;

/// No file longer than this is read, in bytes.
pub const MOST_BYTES: u64 = 256 * 1024 * 1024;

/// A text that documents were read from.
#[derive(Debug, Eq, PartialEq)]
pub struct Source {
    /// The path as given, or `<stdin>`.
    pub name: String,
    /// The whole text.
    pub text: String,
    /// Where its lines begin, once somebody has asked: a folder in one file has as many findings as
    /// lines.
    lines: OnceLock<Vec<usize>>,
}

impl Source {
    fn new(name: &str, text: String) -> Self {
        Self { name: name.to_owned(), text, lines: OnceLock::new() }
    }

    /// Line and column of a byte, both from 1, the column in characters.
    fn position(&self, at: usize) -> (usize, usize) {
        let lines = self.lines.get_or_init(|| {
            let ends = self.text.match_indices('\n').map(|(at, _)| at + 1);
            std::iter::once(0).chain(ends).collect()
        });
        let line = lines.partition_point(|start| *start <= at);
        let start = line.checked_sub(1).and_then(|it| lines.get(it)).copied().unwrap_or_default();
        let before = self.text.get(start..at).unwrap_or_default();
        (line, before.chars().count() + 1)
    }
}

/// One object of a file.
#[derive(Clone, Debug)]
pub struct Document {
    /// The object.
    pub object: Object,
    source: Arc<Source>,
    /// The bytes of the YAML document that holds it.
    range: Range<usize>,
    /// The way to the object where it is an item of a List.
    within: FieldPath,
}

/// Something that could not be read.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Failure {
    /// The path as given, or `<stdin>`.
    pub file: String,
    /// Line and column, both from 1.
    pub place: Option<(usize, usize)>,
    /// What is wrong, as a phrase in lower case; none of the text itself, which may be a key.
    pub message: String,
}

/// Everything that was read.
#[derive(Clone, Debug, Default)]
pub struct Documents {
    /// The objects, in the order of the files.
    pub documents: Vec<Document>,
    /// What could not be read.
    pub failures: Vec<Failure>,
    /// What was read, and other readers may read otherwise or not at all.
    pub remarks: Vec<Failure>,
    /// The texts, in the order in which they were read, also those that hold no objects.
    pub sources: Vec<Arc<Source>>,
    /// How many files were read.
    pub files: usize,
    /// How many documents are no Kubernetes objects, such as the values of a Helm chart.
    pub skipped: usize,
    /// How many are parts of objects, left out by [`Self::without_patches`].
    pub patches: usize,
    /// The files that kustomize is told to apply as patches.
    patch_files: Vec<PathBuf>,
}

impl Documents {
    /// Reads files, folders with everything in them that ends in `.yaml`, `.yml` or `.json`, and
    /// standard input for `-`.
    pub fn read(paths: &[PathBuf]) -> Self {
        let mut sources = Vec::new();
        for path in paths {
            if path == Path::new("-") {
                sources.push(read::standard_input());
            } else {
                read::files(path, &mut |source| sources.push(source));
            }
        }
        Self::of(sources)
    }

    /// Reads one text.
    pub fn parse(name: &str, text: &str) -> Self {
        Self::of(vec![Ok(Source::new(name, text.to_owned()))])
    }

    fn of(sources: Vec<Result<Source, Failure>>) -> Self {
        let texts: Vec<&str> = sources.iter().flatten().map(|it| it.text.as_str()).collect();
        let mut all = parse::all(&texts).into_iter();
        let mut documents = Self::default();
        for source in sources {
            match source {
                Ok(source) => documents.add(source, all.next().unwrap_or_else(|| Ok(Vec::new()))),
                Err(failure) => documents.failures.push(failure),
            }
        }
        documents
    }

    /// The same without what is only a part of an object, to be merged into another by kustomize: as an
    /// object of its own it would be missing all the rest.
    #[must_use]
    pub fn without_patches(mut self) -> Self {
        let count = self.documents.len();
        let files = std::mem::take(&mut self.patch_files);
        self.documents.retain(|document| {
            !kustomize::is_among(&files, document.file())
                && !kustomize::is_patch(&document.object.0)
        });
        self.patches += count - self.documents.len();
        self
    }

    fn add(&mut self, source: Source, parsed: io::Result<parse::Read>) {
        let source = Arc::new(source);
        self.files += 1;
        self.sources.push(Arc::clone(&source));
        let parsed = match parsed {
            Ok(parsed) => parsed,
            Err(error) => return self.failures.push(read::failure(&source.name, &error)),
        };
        for (range, parsed) in parsed {
            match parsed {
                Ok((value, remark)) => {
                    let file = source.name.clone();
                    self.remarks.extend(remark.map(|(place, message)| Failure {
                        file,
                        place,
                        message,
                    }));
                    self.patch_files.extend(kustomize::patches_of(&source.name, &value));
                    self.add_object(&source, &range, value, FieldPath::default());
                }
                Err((place, message)) => {
                    self.failures.push(Failure { file: source.name.clone(), place, message });
                }
            }
        }
    }

    /// An object, or every item of a List.
    fn add_object(
        &mut self,
        source: &Arc<Source>,
        range: &Range<usize>,
        value: Value,
        within: FieldPath,
    ) {
        let object = Object(value);
        if object.kind().is_empty() || object.api_version().is_empty() {
            self.skipped += 1;
            return;
        }
        let is_list = object.kind().ends_with("List") && object.0.get("items").is_some();
        // A List in a List is nobody's intention; it is not followed down.
        if !is_list || !within.steps().is_empty() {
            let (source, range) = (Arc::clone(source), range.clone());
            return self.documents.push(Document { object, source, range, within });
        }
        // In a list of one kind, as the API server sends it, no item says what it is.
        let kind = object.kind().strip_suffix("List").unwrap_or_default().to_owned();
        let api_version = object.api_version().to_owned();
        let Object(mut value) = object;
        let items = match value.get_mut("items").map(Value::take) {
            Some(Value::Array(items)) => items,
            _ => Vec::new(),
        };
        for (index, mut item) in items.into_iter().enumerate() {
            if let Some(members) = item.as_object_mut().filter(|_| !kind.is_empty()) {
                members.entry("apiVersion").or_insert_with(|| Value::from(api_version.as_str()));
                members.entry("kind").or_insert_with(|| Value::from(kind.as_str()));
            }
            self.add_object(source, range, item, FieldPath::of(["items"]).index(index));
        }
    }
}

/// Where a field stands.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Place<'a> {
    /// The file.
    pub file: &'a str,
    /// The line, from 1.
    pub line: usize,
    /// The column, from 1, in characters.
    pub column: usize,
    /// The line as it may be shown: nothing of a Secret's values is in it.
    pub text: String,
    /// The bytes of `text` that the field is.
    pub span: Range<usize>,
}

impl Document {
    /// The text that it was read from.
    pub fn source(&self) -> &Arc<Source> {
        &self.source
    }

    /// The bytes of the YAML document, or the JSON value, that holds it.
    pub fn range(&self) -> Range<usize> {
        self.range.clone()
    }

    /// The way to it in there: not empty where it is an item of a List.
    pub fn within(&self) -> &FieldPath {
        &self.within
    }

    /// Everything that stands in [`Self::range`], the List around it included.
    pub fn whole(&self) -> Option<Value> {
        let text = self.source.text.get(self.range())?;
        parse::documents(text).ok()?.into_iter().next()?.1.ok().map(|(value, _remark)| value)
    }

    /// The file that it stands in.
    pub fn file(&self) -> &str {
        &self.source.name
    }

    /// Where the field at `path` stands, or what is nearest to it of that which is there.
    pub fn place(&self, path: &FieldPath) -> Place<'_> {
        let text = self.source.text.get(self.range.clone()).unwrap_or_default();
        let span = locate::spans(text, &[self.within.join(path)]).pop().flatten();
        self.place_of(span)
    }

    /// The place of what was found at these bytes of [`Self::range`].
    fn place_of(&self, span: Option<Range<usize>>) -> Place<'_> {
        let span = span.unwrap_or(0..0);
        let span = (self.range.start + span.start)..(self.range.start + span.end);
        let (line, column) = self.source.position(span.start);
        let (text, span) = self.shown(span);
        Place { file: &self.source.name, line, column, text, span }
    }

    /// The line around `span`, without what may be secret.
    fn shown(&self, span: Range<usize>) -> (String, Range<usize>) {
        let all = &self.source.text;
        let before = all.get(..span.start).unwrap_or_default();
        let start = before.rfind('\n').map_or(0, |at| at + 1);
        let rest = all.get(span.start..).unwrap_or_default();
        let end = span.start + rest.find('\n').unwrap_or(rest.len());
        let lead = all.get(start..span.start).unwrap_or_default();
        let field = all.get(span.start..span.end.min(end)).unwrap_or_default().trim_end();
        let tail = all.get(span.start + field.len()..end).unwrap_or_default().trim_end();
        // On one line with other values, as in compact JSON, may stand a Secret's.
        let is_flow = !self.within.steps().is_empty() || self.is_flow();
        let is_secret = self.object.is("", "Secret");
        let lead = match lead.find(['{', '[', '"']) {
            Some(_) if is_flow || is_secret => "… ",
            _ if lead.chars().count() > 120 => "… ",
            _ => lead,
        };
        let tail = match tail {
            "" | ":" | "," => tail,
            _ if (is_secret || is_flow) && tail.starts_with(':') => ": …",
            _ if is_secret || is_flow || tail.chars().count() > 120 => " …",
            _ => tail,
        };
        (format!("{lead}{field}{tail}"), lead.len()..lead.len() + field.len())
    }

    fn is_flow(&self) -> bool {
        let text = self.source.text.get(self.range.clone()).unwrap_or_default();
        text.trim_start().starts_with(['{', '['])
    }
}

/// [`Document::place`] of many fields, in their order; each text is read once.
pub fn places<'a>(fields: &[(&'a Document, &FieldPath)]) -> Vec<Place<'a>> {
    let mut texts: HashMap<(*const Source, usize), Wanted<'a>> = HashMap::new();
    for (index, (document, path)) in fields.iter().enumerate() {
        let text = texts.entry((Arc::as_ptr(&document.source), document.range.start)).or_default();
        text.paths.push(document.within.join(path));
        text.asked.push((index, document));
    }
    let mut places: Vec<(usize, Place<'a>)> = Vec::with_capacity(fields.len());
    for Wanted { paths, asked } in texts.into_values() {
        let Some((_, first)) = asked.first() else { continue };
        let text = first.source.text.get(first.range.clone()).unwrap_or_default();
        let placed = asked.iter().zip(locate::spans(text, &paths));
        places.extend(placed.map(|((index, document), span)| (*index, document.place_of(span))));
    }
    places.sort_by_key(|(index, _)| *index);
    places.into_iter().map(|(_, place)| place).collect()
}

/// What is asked of one text.
#[derive(Default)]
struct Wanted<'a> {
    paths: Vec<FieldPath>,
    asked: Vec<(usize, &'a Document)>,
}

#[cfg(test)]
mod tests;
