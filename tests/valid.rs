//! No false refusal: manifests of every kind that people really apply, none of which may get an error; and findings
//! that do not depend on the order in which documents come.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use lasthop_tests::process::{Finished, Program};
use serde_json::Value;
use tempfile::TempDir;

/// Certificates are judged as of this day.
const DAY: &str = "2026-12-01";

fn cases() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("cases")
}

fn files() -> Vec<PathBuf> {
    let entries = fs::read_dir(cases().join("valid")).unwrap();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

fn check(path: &Path, arguments: &[&str]) -> Finished {
    let program = Program::ours("lasthop").args(["check", "--at", DAY]).args(arguments);
    program.arg("-f").arg(path).run()
}

#[test]
fn what_people_apply_gets_no_error() {
    let mut shapes = 0;
    for file in files() {
        // Beside its Secrets, where all is known; and as a folder of manifests is, where they are not.
        let text = fs::read_to_string(&file).unwrap();
        let told = check(&file, &["--whole"]);
        assert_eq!(told.code(), 0, "{}:\n{}", file.display(), told.stdout);
        let objects: Vec<Value> = serde_saphyr::from_multiple(&text).unwrap();
        let without: Vec<&Value> = objects.iter().filter(|it| it["kind"] != "Secret").collect();
        shapes += without.len();
        let home = TempDir::with_prefix("lasthop-valid-").unwrap();
        let alone = home.path().join("objects.json");
        let items = serde_json::json!({ "apiVersion": "v1", "kind": "List", "items": without });
        fs::write(&alone, items.to_string()).unwrap();
        let told = check(&alone, &[]);
        assert_eq!(told.code(), 0, "{}:\n{}", file.display(), told.stdout);
    }
    assert!(shapes >= 100, "{shapes} shapes are not many");
}

/// Every finding without the place in a file.
fn findings(path: &Path) -> BTreeSet<String> {
    let told = check(path, &["--whole", "-o", "json"]);
    let report: Value = serde_json::from_str(&told.stdout).unwrap();
    let findings = report["findings"].as_array().unwrap().iter();
    findings
        .map(|finding| {
            let mut finding = finding.clone();
            for place in ["file", "line", "column"] {
                finding.as_object_mut().unwrap().remove(place);
            }
            finding.to_string()
        })
        .collect()
}

#[test]
fn findings_do_not_depend_on_the_order_of_documents() {
    let home = TempDir::with_prefix("lasthop-order-").unwrap();
    let folders = fs::read_dir(cases().join("check")).unwrap();
    let folders = folders.map(|entry| entry.unwrap().path()).filter(|path| path.is_dir());
    let all = folders.map(|folder| folder.join("bad.yaml")).chain(files());
    for file in all {
        let text = fs::read_to_string(&file).unwrap();
        let mut documents: Vec<&str> = text.split("\n---\n").collect();
        let written = |name: &str, documents: &[&str]| {
            let path = home.path().join(name);
            fs::write(&path, documents.join("\n---\n")).unwrap();
            path
        };
        let expected = findings(&written("in-order.yaml", &documents));
        documents.reverse();
        let reversed = findings(&written("reversed.yaml", &documents));
        assert_eq!(reversed, expected, "{} reversed", file.display());
        let middle = documents.len() / 2;
        documents.rotate_left(middle);
        let rotated = findings(&written("rotated.yaml", &documents));
        assert_eq!(rotated, expected, "{} rotated", file.display());
    }
}
