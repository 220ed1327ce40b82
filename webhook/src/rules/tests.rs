//! One rule, one file, one code, one page, one case folder: nothing is registered twice and nothing
//! forgotten.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use lasthop_contract::credential::{CA_KEYS, CRL_KEYS, Form};
use serde_json::Value;

use super::*;
use crate::documents::Documents;
use crate::sidecar_log;
use crate::symptom::At;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

#[test]
fn every_code_is_given_once_and_told_well() {
    let mut codes = BTreeSet::new();
    let mut names = BTreeSet::new();
    for rule in all() {
        let Rule { code, name, summary, why, symptoms: _, example, cure, judge: _ } = rule;
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
fn every_code_says_what_is_seen_of_it_and_where() {
    let of_rules = all().map(|rule| (rule.code, rule.symptoms));
    let of_log = sidecar_log::all().map(|logged| (logged.code, logged.symptoms));
    for (code, symptoms) in of_rules.chain(of_log) {
        assert!(!symptoms.is_empty(), "{code} shows nowhere");
        let places: BTreeSet<String> = symptoms.iter().map(|it| it.at.to_string()).collect();
        assert_eq!(places.len(), symptoms.len(), "{code} names a place twice");
        for Symptom { at, seen } in symptoms {
            assert!(seen.len() > 3 && !seen.ends_with('.'), "{code}, {at}: {seen}");
            assert_eq!(seen.matches('`').count() % 2, 0, "{code}, {at}: {seen}");
            assert_eq!(seen.matches('"').count() % 2, 0, "{code}, {at}: {seen}");
        }
        // Of what is about Secrets and those who name them: what its reader does.
        let by_controller = symptoms.iter().any(|it| it.at.is_controller());
        let never_stored = symptoms.iter().any(|it| it.at == At::Apply);
        let is_of_readers = (100..300).contains(&code.0);
        assert!(by_controller || never_stored || !is_of_readers, "{code} names no controller");
    }
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
    // LH303 is told of annotations that this version does not serve, and it serves all of them.
    let is_told = |rule: &&Rule| rule.code != crate::inject::code::UNSUPPORTED;
    let codes: BTreeSet<String> = all().filter(is_told).map(|rule| rule.code.to_string()).collect();
    let entries = fs::read_dir(root().join("tests/cases/check")).unwrap();
    let folders = entries.map(|entry| entry.unwrap()).filter(|it| it.path().is_dir());
    let cases: BTreeSet<String> =
        folders.map(|entry| entry.file_name().into_string().unwrap()).collect();
    assert_eq!(cases, codes);
}

#[test]
fn the_documentation_is_the_one_that_the_program_prints() {
    let file = root().join("docs/rules.md");
    let printed = crate::render::markdown::rules();
    if std::env::var("UPDATE_GOLDEN").is_ok_and(|value| value == "1") {
        fs::write(file, printed).unwrap();
        return;
    }
    let page = fs::read_to_string(file).unwrap();
    assert!(page == printed, "docs/rules.md: UPDATE_GOLDEN=1 writes it anew");
}

/// The entries of the validating configuration in `manifests/base/webhooks.yaml`.
fn validating() -> Vec<Value> {
    let read = Documents::read(&[root().join("manifests/base/webhooks.yaml")]);
    assert_eq!(read.failures, []);
    let mut documents = read.documents.iter();
    let found = documents.find(|it| it.object.kind() == "ValidatingWebhookConfiguration").unwrap();
    found.object.list("/webhooks").to_vec()
}

#[test]
fn the_webhook_is_sent_the_kinds_that_have_rules_and_no_other() {
    let words = |rule: &Value, field: &str| -> Vec<String> {
        let words = rule[field].as_array().unwrap().iter();
        words.map(|word| word.as_str().unwrap().to_owned()).collect()
    };
    let mut sent = BTreeSet::new();
    for rule in validating().iter().flat_map(|entry| entry["rules"].as_array().unwrap()) {
        for group in words(rule, "apiGroups") {
            sent.extend(words(rule, "resources").into_iter().map(|it| (group.clone(), it)));
        }
    }
    let resource = |(group, kind): &(&str, &str)| {
        let kind = kind.to_ascii_lowercase();
        let plural = match kind.strip_suffix('y').filter(|it| !it.ends_with('a')) {
            Some(stem) => format!("{stem}ies"),
            None if kind.ends_with('s') => format!("{kind}es"),
            None => format!("{kind}s"),
        };
        ((*group).to_owned(), plural)
    };
    // No API server has Ingresses in the group `extensions` any more; how others reach a sidecar is rehearsed in files and
    // audits alone.
    let audited = ["Mapping", "DestinationRule", "IngressRoute"];
    let is_sent = |(group, kind): &&(&str, &str)| *group != "extensions" && !audited.contains(kind);
    assert_eq!(sent, KINDS.iter().filter(is_sent).map(resource).collect());
}

#[test]
fn the_webhook_is_sent_the_secrets_that_the_contract_reads() {
    let entries = validating();
    let conditions = entries.iter().filter_map(|entry| entry["matchConditions"].as_array());
    let mut conditions = conditions.flatten();
    let condition = conditions.find(|it| it["name"] == "can-be-a-credential").unwrap();
    let (_, list) = condition["expression"].as_str().unwrap().split_once("key in [").unwrap();
    let (list, _) = list.split_once(']').unwrap();
    let sent: Vec<&str> = list.split(',').map(|key| key.trim().trim_matches('\'')).collect();
    let forms = Form::ALL.iter().flat_map(|form| [form.chain_key(), form.private_key()]);
    let read: BTreeSet<&str> = forms.chain(CA_KEYS).chain(CRL_KEYS).collect();
    assert_eq!(sent.len(), read.len(), "a key is listed twice: {sent:?}");
    assert_eq!(sent.into_iter().collect::<BTreeSet<_>>(), read);
}
