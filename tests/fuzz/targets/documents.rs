//! Any YAML: documents or a reason with its place, and every field is found where it stands.
#![no_main]

use lasthop::documents::Documents;
use lasthop::path::FieldPath;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

fuzz_target!(|text: &str| {
    let documents = Documents::parse("fuzz.yaml", text);
    for document in &documents.documents {
        let mut fields = Vec::new();
        collect(&document.object.0, &FieldPath::default(), &mut fields);
        for field in fields {
            let place = document.place(&field);
            assert!(place.line >= 1 && place.column >= 1);
            assert!(place.text.get(place.span.clone()).is_some());
        }
    }
});

fn collect(value: &Value, path: &FieldPath, fields: &mut Vec<FieldPath>) {
    if fields.len() > 64 {
        return;
    }
    fields.push(path.clone());
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                collect(value, &path.join(&FieldPath::of([name.as_str()])), fields);
            }
        }
        Value::Array(items) => {
            for (index, value) in items.iter().enumerate() {
                collect(value, &path.clone().index(index), fields);
            }
        }
        _ => {}
    }
}
