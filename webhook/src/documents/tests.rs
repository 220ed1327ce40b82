//! Reading what people and machines write, and what nobody should.

use super::Documents;
use crate::path::FieldPath;

const INGRESS: &str = "\
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: web
  annotations:
    example.com/a: b
spec:
  tls:
  - hosts:
    - a.example.com
  - secretName: \"web-tls\"
";

fn place(text: &str, path: &FieldPath) -> (usize, usize, String) {
    let documents = Documents::parse("x.yaml", text);
    assert_eq!(documents.failures, []);
    let place = documents.documents.last().unwrap().place(path);
    (place.line, place.column, place.text.get(place.span).unwrap().to_owned())
}

#[test]
fn a_field_is_found_where_it_stands() {
    let tls = FieldPath::of(["spec", "tls"]);
    let name = tls.index(1).key("secretName");
    assert_eq!(place(INGRESS, &name), (11, 17, "\"web-tls\"".to_owned()));
    let host = tls.index(0).key("hosts").index(0);
    assert_eq!(place(INGRESS, &host), (10, 7, "a.example.com".to_owned()));
    assert_eq!(place(INGRESS, &tls), (8, 3, "tls".to_owned()));
    assert_eq!(place(INGRESS, &tls.index(1)), (11, 5, "secretName: \"web-tls\"".to_owned()));
    let annotation = FieldPath::annotation("example.com/a");
    assert_eq!(place(INGRESS, &annotation), (6, 20, "b".to_owned()));
}

#[test]
fn a_missing_field_is_shown_at_what_is_above_it() {
    let missing = FieldPath::of(["spec", "rules"]).index(3).key("host");
    assert_eq!(place(INGRESS, &missing), (7, 1, "spec".to_owned()));
    assert_eq!(place(INGRESS, &FieldPath::default()).0, 1);
}

#[test]
fn documents_and_lists_keep_their_lines() {
    let text = format!(
        "# first\n---\n{INGRESS}---\nkind: List\napiVersion: v1\nitems:\n- kind: Pod\n  apiVersion: v1\n"
    );
    let documents = Documents::parse("x.yaml", &text);
    assert_eq!(documents.documents.len(), 2);
    let first = documents.documents[0].place(&FieldPath::of(["kind"]));
    assert_eq!((first.line, first.column), (4, 7));
    let second = documents.documents[1].place(&FieldPath::of(["kind"]));
    assert_eq!((second.line, second.column, second.text.as_str()), (18, 9, "- kind: Pod"));
}

#[test]
fn a_broken_document_leaves_the_others_whole() {
    let text = format!("{INGRESS}---\na: b: c\n---\n{INGRESS}---\nx: [1\ny: 2\n---\n'open\n");
    let documents = Documents::parse("x.yaml", &text);
    assert_eq!(documents.documents.len(), 2);
    let lines: Vec<_> = documents.failures.iter().map(|it| it.place.map(|it| it.0)).collect();
    assert_eq!(lines[..2], [Some(13), Some(28)]);
    assert_eq!(documents.failures.len(), 3);
}

#[test]
fn what_is_too_much_is_said_in_plain_words() {
    let told = |text: &str| Documents::parse("x.yaml", text).failures[0].message.clone();
    assert_eq!(told(&"[".repeat(1000)), "it is nested more than 100 levels deep");
    let nested: Vec<_> = (0..200).map(|at| format!("{}a:\n", " ".repeat(at))).collect();
    assert_eq!(told(&nested.concat()), "it is nested more than 100 levels deep");
    let expand = |(one, next)| format!("{next}: &{next} [{}]\n", [one; 9].join(", "));
    let steps = [("*a", "b"), ("*b", "c"), ("*c", "d"), ("*d", "e"), ("*e", "f"), ("*f", "g")];
    let bomb = format!("a: &a [{}]\n{}", ["x"; 9].join(", "), steps.map(expand).concat());
    assert_eq!(told(&bomb), "its aliases stand for too much");
}

#[test]
fn a_template_is_called_one() {
    let text = "{{- if .Values.tls }}\nkind: Ingress\n{{- end }}\n";
    let documents = Documents::parse("x.yaml", text);
    assert!(documents.failures[0].message.contains("helm template"), "{:?}", documents.failures);
}

#[test]
fn a_key_that_is_written_twice_counts_as_it_does_for_kubectl() {
    let text =
        format!("{INGRESS}---\n{INGRESS}  ingressClassName: nginx\n  ingressClassName: alb\n");
    let documents = Documents::parse("x.yaml", &text);
    assert_eq!(documents.failures, []);
    assert_eq!(documents.documents[1].object.text("/spec/ingressClassName"), "alb");
    let remarks: Vec<_> = documents.remarks.iter().map(|it| (it.place, &*it.message)).collect();
    let [(Some((25, 3)), message)] = remarks[..] else { panic!("{remarks:?}") };
    assert!(message.starts_with("`ingressClassName` is written twice"), "{message}");
}

#[test]
fn json_is_read_with_its_places_one_value_after_the_other() {
    let text = "{\"apiVersion\": \"v1\",\n \"kind\": \"Pod\"}\n{\"apiVersion\":\"v1\",\"kind\":\"Secret\"}\n";
    let documents = Documents::parse("x.json", text);
    assert_eq!(documents.failures, []);
    let places: Vec<_> = documents
        .documents
        .iter()
        .map(|it| it.place(&FieldPath::of(["kind"])))
        .map(|it| (it.line, it.column, it.text))
        .collect();
    assert_eq!(places, [(2, 10, "… \"Pod\" …".to_owned()), (3, 27, "… \"Secret\" …".to_owned())]);
}

#[test]
fn nothing_of_a_secret_is_shown() {
    let block =
        "apiVersion: v1\nkind: Secret\nstringData:\n  tls.key: |\n    KEYKEY\n  tls.crt: KEYKEY\n";
    let flow =
        "{apiVersion: v1, kind: Secret, data: {tls.key: KEYKEY, tls.crt: x}, type: KEYKEY}\n";
    let list = "{\"apiVersion\":\"v1\",\"kind\":\"List\",\"items\":[{\"apiVersion\":\"v1\",\"kind\":\"Secret\",\"data\":{\"tls.key\":\"KEYKEY\"}},{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"spec\":1}]}";
    let paths = [
        FieldPath::default(),
        FieldPath::of(["data"]),
        FieldPath::of(["data", "tls.key"]),
        FieldPath::of(["data", "tls.crt"]),
        FieldPath::of(["stringData", "tls.key"]),
        FieldPath::of(["stringData", "tls.crt"]),
        FieldPath::of(["kind"]),
        FieldPath::of(["spec"]),
        FieldPath::of(["missing"]),
    ];
    for text in [block, flow, list] {
        for document in Documents::parse("x", text).documents {
            for path in &paths {
                let place = document.place(path);
                assert!(!place.text.contains("KEYKEY"), "{path}: {}", place.text);
            }
        }
    }
}

#[test]
fn values_are_read_as_go_yaml_reads_them() {
    let text = "apiVersion: v1\nkind: Pod\nmode: 0644\non: yes\nquoted: \"0644\"\n1: one\n";
    let documents = Documents::parse("x.yaml", text);
    assert_eq!(documents.failures, []);
    let value = &documents.documents[0].object.0;
    assert_eq!(value["mode"], 420);
    assert_eq!(value["quoted"], "0644");
    assert_eq!(value["1"], "one");
}

#[test]
fn quoted_text_that_begins_too_far_to_the_left_is_read_and_located_as_kubectl_reads_it() {
    let text = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\ndata:\n  a: \"some\n  text\nmore\"\n  \
                b: 'x\n y'\n  list:\n  - c: \"1\n    2\n\n3\"\n  after: me\n";
    let read = Documents::parse("x.yaml", text);
    assert_eq!(read.failures.len(), 0, "{:?}", read.failures);
    let document = &read.documents[0];
    let data = &document.object.0["data"];
    assert_eq!(data["a"], "some text more");
    assert_eq!(data["b"], "x y");
    assert_eq!(data["list"][0]["c"], "1 2\n3");
    let place = document.place(&FieldPath::of(["data", "after"]));
    assert_eq!((place.line, place.column), (16, 3));
    let place = document.place(&FieldPath::of(["data", "b"]));
    assert_eq!((place.line, place.column), (9, 3));

    // What looks like a quote elsewhere is none.
    let text = "apiVersion: v1\nkind: ConfigMap # it's\nmetadata: {name: a, x: [it's, \"b\"]}\ndata:\n  - |\n   \
                it's: \"\n  - k: >-\n      \"\n    l: !!str \"\\\"\n  x\n  y\"\n    m: it's\n  - 'it''s\n z'\n  - \"n\"\n  - p\n    'q\n  - r: s\n      \"t\n";
    let read = Documents::parse("x.yaml", text);
    assert_eq!(read.failures.len(), 0, "{:?}", read.failures);
    let data = &read.documents[0].object.0["data"];
    assert_eq!(data[0], "it's: \"\n");
    assert_eq!(data[1], serde_json::json!({"k": "\"", "l": "\" x y", "m": "it's"}));
    assert_eq!((&data[2], &data[3]), (&"it's z".into(), &"n".into()));
    assert_eq!((&data[4], &data[5]), (&"p 'q".into(), &serde_json::json!({"r": "s \"t"})));

    let open = "apiVersion: v1\nkind: X\na:\n  b: \"x\ny\n";
    assert_eq!(Documents::parse("x.yaml", open).failures.len(), 1);
}

#[test]
fn hostile_texts_end_in_failures_or_nothing() {
    let deep = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
    let deeper = format!("apiVersion: v1\nkind: Pod\na: {}", "{a: ".repeat(5_000));
    let level = |level: usize| {
        format!("a{level}: &a{level} [{}]\n", vec![format!("*a{}", level - 1); 10].join(","))
    };
    let mut bomb = format!(
        "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n{}",
        (1..12).map(level).collect::<Vec<_>>().concat()
    );
    bomb.push_str("apiVersion: v1\nkind: Pod\n");
    let json = format!("{{\"kind\":{}", "{\"a\":".repeat(50_000));
    let cyclic = "apiVersion: v1\nkind: Pod\na: &a [*a]\n";
    let hostile = [
        deep.as_str(),
        &deeper,
        &bomb,
        &json,
        cyclic,
        "kind: Pod\napiVersion: v1\na: *nowhere\n",
        "%YAML 9.9\n---\nkind: x\n",
        "--- |\n",
        "---\n...\n---\n",
        "\t- x",
        "? [a, b]\n: c\nkind: Pod\napiVersion: v1\n",
        "kind: [List]\nitems: 3\n",
        "kind: List\napiVersion: v1\nitems: {a: b}\n",
        "kind: List\napiVersion: v1\nitems: [1, null, {kind: List, apiVersion: v1, items: []}]\n",
        "a: !!binary x\nkind: Pod\napiVersion: v1\nb: !custom {c: .nan}\n",
        "",
    ];
    for text in hostile {
        let documents = Documents::parse("x", text);
        for document in &documents.documents {
            document.place(&FieldPath::of(["a", "b"]).index(7));
            document.place(&FieldPath::default());
        }
    }
    assert_eq!(Documents::parse("x", &bomb).documents.len(), 0);
    assert_eq!(Documents::parse("x", &deep).documents.len(), 0);
}

#[test]
fn the_items_of_a_list_of_one_kind_are_of_that_kind() {
    let typed = "kind: IngressList\napiVersion: networking.k8s.io/v1\nitems:\n- metadata: {name: a}\n\
                 - {kind: Other, apiVersion: x/v1}\n";
    let read = Documents::parse("x.yaml", typed);
    let kinds: Vec<_> =
        read.documents.iter().map(|it| (it.object.api_version(), it.object.kind())).collect();
    assert_eq!(kinds, [("networking.k8s.io/v1", "Ingress"), ("x/v1", "Other")]);
    let untyped = "kind: List\napiVersion: v1\nitems:\n- metadata: {name: a}\n";
    assert_eq!(Documents::parse("x.yaml", untyped).documents.len(), 0);
}
