//! Objects that nobody would write, and documents in any order.

use std::collections::BTreeSet;

use proptest::strategy::Strategy as _;

use super::*;

#[test]
fn hostile_objects_are_judged_without_a_panic() {
    let odd = [
        Value::Null,
        json!(7),
        json!("x"),
        json!([]),
        json!({}),
        json!([[]]),
        json!({"a": [null]}),
        json!("\u{1b}[2J\u{202e}"),
        json!("${"),
        json!("*."),
        json!(""),
        json!(true),
    ];
    let pointers = [
        "/metadata",
        "/metadata/annotations",
        "/spec",
        "/spec/tls",
        "/spec/tls/0",
        "/spec/tls/0/hosts",
        "/spec/tls/0/hosts/0",
        "/spec/tls/0/secretName",
        "/spec/rules",
        "/spec/rules/0",
        "/spec/rules/0/host",
        "/stringData",
        "/stringData/tls.crt",
        "/data",
        "/type",
        "/metadata/name",
        "/metadata/ownerReferences",
    ];
    let web = ingress(&one_item());
    let secret = with(secret("web-tls", &["a.example"]), "", "data", json!({}));
    for object in [&web, &secret] {
        for pointer in pointers {
            for value in &odd {
                let mut bad = object.clone();
                let Some(place) = bad.pointer_mut(pointer) else { continue };
                *place = value.clone();
                let questions =
                    [create(bad.clone()), update(web.clone(), bad.clone()), delete(bad.clone())];
                for asked in questions {
                    expect_plain_text(&asked.among([&web, &secret, &bad]).judged());
                }
            }
        }
    }
}

fn expect_plain_text(judgement: &Judgement) {
    for finding in &judgement.findings {
        let text = format!("{}{}{}", finding.message, finding.help, finding.path);
        assert!(!text.contains(char::is_control), "{text:?}");
    }
}

/// All findings of some documents, each of them judged among all.
fn all_of(documents: &[Object]) -> BTreeSet<String> {
    let surroundings = Surroundings::Files(Files::new(documents.to_vec(), Completeness::Part));
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let mut told = BTreeSet::new();
    for document in documents {
        let subject = Subject::created(document.clone(), document.namespace());
        let judged = runtime.block_on(check(&subject, &surroundings, &Mode::files(), NOW));
        told.extend(judged.findings.iter().map(|it| {
            format!("{} {} {} {} {}", it.severity.word(), it.code, it.object, it.path, it.message)
        }));
    }
    told
}

/// The documents of every case.
fn cases() -> Vec<Object> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/cases/check");
    let read = crate::documents::Documents::read(&[folder]);
    let is_bad = |document: &crate::documents::Document| document.file().ends_with("bad.yaml");
    read.documents.into_iter().filter(is_bad).map(|document| document.object).collect()
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(6))]

    #[test]
    fn findings_do_not_depend_on_the_order_of_documents(
        shuffled in proptest::prelude::Just(cases()).prop_shuffle()
    ) {
        let told = all_of(&shuffled);
        let mut sorted = shuffled;
        sorted.sort_by_key(|document| (document.namespace().to_owned(), document.name().to_owned()));
        proptest::prop_assert_eq!(&told, &all_of(&sorted));
        proptest::prop_assert!(told.len() > 50);
    }
}
