//! Manifests as they are after injection: whole, as patches, or as the lines that differ.

use std::fmt::Write as _;
use std::ops::Range;
use std::sync::Arc;

use json_patch::{Patch, PatchOperation};
use jsonptr::PointerBuf;
use serde_json::{Value, json};
use similar::TextDiff;

use crate::documents::{Document, Documents, Source};
use crate::object::Object;

/// A document, and what injection does to it; an empty patch where that is nothing.
#[derive(Clone, Debug)]
pub struct Changed<'a> {
    /// The document.
    pub document: &'a Document,
    /// From the top of the object.
    pub patch: Patch,
}

/// Why a document cannot be printed.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{file}: {reason}")]
pub struct Unprintable {
    file: String,
    reason: String,
}

impl Changed<'_> {
    /// The object after injection.
    fn after(&self) -> Result<Value, Unprintable> {
        let mut value = self.document.object.0.clone();
        apply(&mut value, &self.patch).map_err(|reason| self.unprintable(reason))?;
        Ok(value)
    }

    fn unprintable(&self, reason: String) -> Unprintable {
        Unprintable { file: self.document.file().to_owned(), reason }
    }
}

fn apply(value: &mut Value, patch: &Patch) -> Result<(), String> {
    json_patch::patch(value, patch).map_err(|error| format!("the patch does not fit: {error}"))
}

/// The files with the changed documents written anew; everything else byte for byte as it was.
///
/// # Errors
/// A document that cannot be written as YAML.
pub fn yaml(documents: &Documents, changed: &[Changed<'_>]) -> Result<String, Unprintable> {
    let mut out = String::new();
    for source in &documents.sources {
        let text = rewritten(source, changed)?;
        if !out.is_empty() {
            if !out.ends_with('\n') {
                out.push('\n');
            }
            let begins = text.starts_with("---\n") || text.starts_with("--- ");
            if !begins {
                out.push_str("---\n");
            }
        }
        out.push_str(&text);
    }
    Ok(out)
}

fn rewritten(source: &Arc<Source>, changed: &[Changed<'_>]) -> Result<String, Unprintable> {
    let mut here: Vec<&Changed<'_>> = changed
        .iter()
        .filter(|it| Arc::ptr_eq(it.document.source(), source) && !it.patch.is_empty())
        .collect();
    here.sort_by_key(|it| it.document.range().start);
    let mut out = String::new();
    let mut at = 0;
    for group in here.chunk_by(|a, b| a.document.range() == b.document.range()) {
        let Some(first) = group.first() else { continue };
        let range = first.document.range();
        let whole = patched_whole(group, first)?;
        out.push_str(source.text.get(at..range.start).unwrap_or_default());
        out.push_str(&in_place_of(&source.text, range.clone(), &whole, first)?);
        at = range.end;
    }
    out.push_str(source.text.get(at..).unwrap_or_default());
    Ok(out)
}

/// The YAML document, a List perhaps, with the patches of its objects.
fn patched_whole(group: &[&Changed<'_>], first: &Changed<'_>) -> Result<Value, Unprintable> {
    let mut whole = first
        .document
        .whole()
        .ok_or_else(|| first.unprintable("it could not be read again".to_owned()))?;
    for it in group {
        let prefix = it.document.within().pointer();
        apply(&mut whole, &below(&prefix, &it.patch)).map_err(|reason| it.unprintable(reason))?;
    }
    Ok(whole)
}

/// The same operations on an object that stands at `prefix`.
fn below(prefix: &str, patch: &Patch) -> Patch {
    let moved = |path: &PointerBuf| {
        PointerBuf::parse(format!("{prefix}{path}")).expect("two pointers make a pointer")
    };
    let operations = patch.iter().cloned().map(|mut operation| {
        match &mut operation {
            PatchOperation::Add(it) => it.path = moved(&it.path),
            PatchOperation::Remove(it) => it.path = moved(&it.path),
            PatchOperation::Replace(it) => it.path = moved(&it.path),
            PatchOperation::Test(it) => it.path = moved(&it.path),
            PatchOperation::Move(it) => {
                it.from = moved(&it.from);
                it.path = moved(&it.path);
            }
            PatchOperation::Copy(it) => {
                it.from = moved(&it.from);
                it.path = moved(&it.path);
            }
        }
        operation
    });
    Patch(operations.collect())
}

/// The text for the bytes of a document: the lines before and after it that are markers, comments or
/// empty stay.
fn in_place_of(
    text: &str,
    range: Range<usize>,
    whole: &Value,
    changed: &Changed<'_>,
) -> Result<String, Unprintable> {
    let chunk = text.get(range).unwrap_or_default();
    let is_aside = |line: &&str| {
        let bare = line.trim();
        let is_marker = ["---", "..."].iter().any(|marker| {
            bare.strip_prefix(marker)
                .is_some_and(|rest| rest.is_empty() || rest.trim_start().starts_with('#'))
        });
        bare.is_empty() || line.starts_with(['#', '%']) || is_marker
    };
    let lines: Vec<&str> = chunk.split_inclusive('\n').collect();
    let before: String = lines.iter().copied().take_while(is_aside).collect();
    let mut after: Vec<&str> = lines.iter().rev().copied().take_while(is_aside).collect();
    after.reverse();
    // `--- {a: b}`: the marker stands on the line of the content.
    let shares_marker =
        lines.iter().find(|line| !is_aside(line)).is_some_and(|line| line.starts_with("---"));
    let marker = if shares_marker { "---\n" } else { "" };
    let body = if chunk.trim_start().starts_with('{') {
        format!("{whole:#}\n")
    } else {
        to_yaml(whole).map_err(|reason| changed.unprintable(reason))?
    };
    Ok(format!("{before}{marker}{body}{}", after.concat()))
}

/// A value as YAML, in block style, without folded lines.
pub(crate) fn to_yaml(value: &Value) -> Result<String, String> {
    let options = serde_saphyr::ser_options! { folded_wrap_chars: usize::MAX };
    serde_saphyr::to_string_with_options(value, options)
        .map_err(|error| format!("it cannot be written as YAML: {error}"))
}

/// All objects as they are after injection: one as it is, several as a List.
///
/// # Errors
/// A patch that does not fit.
pub fn json(changed: &[Changed<'_>]) -> Result<String, Unprintable> {
    let mut objects = changed.iter().map(Changed::after).collect::<Result<Vec<Value>, _>>()?;
    let value = match objects.len() {
        1 => objects.remove(0),
        _ => json!({ "apiVersion": "v1", "kind": "List", "items": objects }),
    };
    Ok(format!("{value:#}\n"))
}

/// The operations of RFC 6902 for each object that changes.
pub fn patches(changed: &[Changed<'_>], namespace: &str) -> String {
    let patches = changed.iter().filter(|it| !it.patch.is_empty()).map(|it| {
        let object = &it.document.object;
        let name = named(object, namespace);
        json!({
            "object": {
                "apiVersion": name.api_version, "kind": name.kind,
                "namespace": name.namespace, "name": name.name,
            },
            "patch": it.patch,
        })
    });
    format!("{:#}\n", patches.collect::<Value>())
}

/// Objects of our own as YAML documents.
///
/// # Errors
/// One that cannot be written as YAML.
pub fn documents(objects: &[Value]) -> Result<String, String> {
    let documents = objects.iter().map(to_yaml).collect::<Result<Vec<String>, String>>()?;
    Ok(documents.join("---\n"))
}

fn named(object: &Object, namespace: &str) -> crate::object::ObjectRef {
    object.reference(match object.namespace() {
        "" => namespace,
        written => written,
    })
}

/// The lines that differ, with three around them, as `diff -u` writes them.
///
/// # Errors
/// A document that cannot be written as YAML.
pub fn diff(changed: &[Changed<'_>], namespace: &str) -> Result<String, Unprintable> {
    let mut out = String::new();
    for it in changed.iter().filter(|it| !it.patch.is_empty()) {
        let write = |value: &Value| to_yaml(value).map_err(|reason| it.unprintable(reason));
        let (before, after) = (write(&it.document.object.0)?, write(&it.after()?)?);
        let name = named(&it.document.object, namespace);
        let diff = TextDiff::from_lines(&before, &after);
        let header = (format!("{name} as it is"), format!("{name} with the sidecar"));
        let _infallible =
            write!(out, "{}", diff.unified_diff().context_radius(3).header(&header.0, &header.1));
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Texts that look like something else in YAML 1.1 or 1.2.
    fn text() -> impl Strategy<Value = String> {
        let odd = [
            "",
            "~",
            "null",
            "yes",
            "off",
            "True",
            "017",
            "0x1F",
            "1e3",
            "1_000",
            "12:30:45",
            "8443:8080",
            "- x",
            "a: b",
            "a #b",
            "#a",
            "*",
            "&x",
            "!x",
            "|",
            ">",
            "@x",
            "`x`",
            "%x",
            "{}",
            "[]",
            "'",
            "\"",
            "2026-11-21",
            "=",
            "<<",
            ".inf",
            "line\nline\n",
            "\n",
            " lead",
            "trail ",
            "\ttab",
            "{\"a\":\"b\"}",
            "---",
            "...",
            "\u{feff}",
            "\u{202e}",
            "a\r\nb",
        ];
        prop_oneof![prop::sample::select(odd.to_vec()).prop_map(ToOwned::to_owned), "\\PC{0,12}"]
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            text().prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map(text(), inner, 0..4).prop_map(|it| json!(it)),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(extra in value()) {
            let object = json!({"apiVersion": "v1", "kind": "Pod", "extra": extra});
            let text = to_yaml(&object).unwrap();
            let read = Documents::parse("x", &text);
            prop_assert_eq!(read.failures, vec![], "{}", text);
            prop_assert_eq!(&read.documents[0].object.0, &object, "{}", text);
        }
    }

    fn touched(text: &str) -> String {
        let documents = Documents::parse("x.yaml", text);
        let patch: Patch =
            serde_json::from_value(json!([{"op": "add", "path": "/new", "value": 1}])).unwrap();
        let changed: Vec<Changed<'_>> = documents
            .documents
            .iter()
            .map(|document| Changed {
                document,
                patch: match document.object.kind() {
                    "Touched" => patch.clone(),
                    _ => Patch(Vec::new()),
                },
            })
            .collect();
        yaml(&documents, &changed).unwrap()
    }

    #[test]
    fn only_changed_documents_are_written_anew() {
        let text = "# top\nkind:   Other # odd\napiVersion: v1\n---\n# mine\n\napiVersion: v1 # lost\nkind: Touched\n\
                    # end\n---\n# nothing\n---\n{kind: Other,  apiVersion: v1}\n";
        let expected = "# top\nkind:   Other # odd\napiVersion: v1\n---\n# mine\n\napiVersion: v1\nkind: Touched\nnew: 1\n\
                        # end\n---\n# nothing\n---\n{kind: Other,  apiVersion: v1}\n";
        assert_eq!(touched(text), expected);
    }

    #[test]
    fn an_item_of_a_list_changes_in_its_list() {
        let text = "apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: Other}\n- {apiVersion: v1, kind: Touched}\n";
        let expected = "apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: Other\n- apiVersion: v1\n  kind: Touched\n  new: 1\n";
        assert_eq!(touched(text), expected);
    }

    #[test]
    fn json_stays_json_and_a_shared_marker_stays() {
        let text = r#"{"apiVersion":"v1","kind":"Touched"}"#;
        assert_eq!(
            touched(text),
            "{\n  \"apiVersion\": \"v1\",\n  \"kind\": \"Touched\",\n  \"new\": 1\n}\n"
        );
        let text =
            "--- # first\napiVersion: v1\nkind: Touched\n--- {apiVersion: v1, kind: Touched}\n";
        assert_eq!(
            touched(text),
            "--- # first\napiVersion: v1\nkind: Touched\nnew: 1\n---\napiVersion: v1\nkind: Touched\nnew: 1\n"
        );
    }
}
