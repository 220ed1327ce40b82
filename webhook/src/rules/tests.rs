//! One rule, one file, one code, one page, one case folder: nothing is registered twice and nothing
//! forgotten.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::*;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Codes without a case among files: LH135 is told where allowed clients are matched, LH327 takes the
/// flags of the operator, and LH902 a review with a budget.
fn has_case(code: Code) -> bool {
    !matches!(code.0, 135 | 327 | 902)
}

#[test]
fn every_code_is_given_once_and_told_well() {
    let mut codes = BTreeSet::new();
    let mut names = BTreeSet::new();
    for rule in all() {
        let Rule { code, name, summary, why, example, cure, judge: _ } = rule;
        assert!(codes.insert(code.0), "{code} is given twice");
        assert!(names.insert(*name), "{name} is given twice");
        assert!((100..1000).contains(&code.0), "{code}");
        assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-'));
        assert!(!summary.ends_with('.') && !summary.is_empty(), "{code}: {summary}");
        for text in [why, example, cure] {
            assert!(text.len() > 10, "{code} says too little: {text}");
        }
        assert!(why.ends_with('.'), "{code}: {why}");
        assert_eq!(find(*code).map(|found| found.name), Some(*name));
    }
    let sorted: Vec<u16> = all().map(|rule| rule.code.0).collect();
    assert!(sorted.is_sorted());
}

#[test]
fn every_rule_has_its_file_and_every_file_its_rule() {
    let rules: BTreeSet<String> =
        RULES.iter().map(|rule| format!("{}.rs", rule.name.replace('-', "_"))).collect();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/rules");
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    let files = files.filter(|entry| entry.file_type().unwrap().is_file());
    let files: BTreeSet<String> =
        files.map(|entry| entry.file_name().into_string().unwrap()).collect();
    // These hold the pages of many codes, whose findings are made elsewhere.
    let shared = ["credential.rs", "sidecar.rs", "tests.rs"].map(str::to_owned);
    assert_eq!(files, rules.into_iter().chain(shared).collect());
}

#[test]
fn every_code_has_its_case_and_every_case_its_code() {
    let codes: BTreeSet<String> =
        all().filter(|rule| has_case(rule.code)).map(|rule| rule.code.to_string()).collect();
    let entries = fs::read_dir(root().join("tests/cases/check")).unwrap();
    let folders = entries.map(|entry| entry.unwrap()).filter(|it| it.path().is_dir());
    let cases: BTreeSet<String> =
        folders.map(|entry| entry.file_name().into_string().unwrap()).collect();
    assert_eq!(cases, codes);
}

#[test]
fn the_documentation_is_the_one_that_the_program_prints() {
    let page = fs::read_to_string(root().join("docs/rules.md")).unwrap();
    assert!(
        page == crate::render::markdown::rules(),
        "docs/rules.md is out of date: lasthop explain --markdown > docs/rules.md"
    );
}
