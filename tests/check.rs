//! `lasthop check` and the rules behind it: a folder of cases a code, run through the command line
//! and through a running webhook.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use lasthop_tests::curl::Curl;
use lasthop_tests::golden::{self, Varying};
use lasthop_tests::process::{Finished, Program};
use lasthop_tests::skip;
use serde_json::{Value, json};
use tempfile::TempDir;

/// Certificates of the cases are judged as of this day.
const DAY: &str = "2026-12-01";

/// Mistakes that an API server refuses before it asks a webhook, and what depends on the day or on
/// files that are not there.
const FILES_ONLY: [&str; 14] = [
    "LH103", "LH125", "LH135", "LH136", "LH210", "LH211", "LH213", "LH214", "LH217", "LH219",
    "LH235", "LH333", "LH603", "LH901",
];

/// What only a deletion brings about, a review with its budget, the operator's flags, or a running cluster.
const REVIEW_ONLY: [&str; 4] = ["LH215", "LH327", "LH603", "LH902"];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("cases/check")
}

/// The cases by code.
fn cases() -> BTreeMap<String, PathBuf> {
    let entries = fs::read_dir(folder()).unwrap();
    let folders = entries.map(|entry| entry.unwrap().path()).filter(|path| path.is_dir());
    folders.map(|path| (path.file_name().unwrap().to_string_lossy().into_owned(), path)).collect()
}

fn check(path: &Path, arguments: &[&str]) -> Finished {
    let program = Program::ours("lasthop").args(["check", "--at", DAY]).args(arguments);
    program.arg("-f").arg(path).run()
}

/// The cases stand for all there is, except where a file that is missing is the case; and for any
/// Kubernetes, except where an old one is.
fn setting(code: &str) -> &'static [&'static str] {
    match code {
        "LH335" => &["--whole", "--cluster-version", "1.32"],
        "LH901" => &[],
        _ => &["--whole"],
    }
}

#[test]
fn every_case_is_told_at_a_terminal_as_a_person_approved_it() {
    for (code, path) in cases() {
        let bad = check(&path.join("bad.yaml"), setting(&code));
        let home = Varying::path(folder(), "tests/cases/check");
        golden::check(path.join("bad.txt"), &bad.stdout, &[home]);
        let errors = bad.stdout.contains("\nerror[") || bad.stdout.starts_with("error[");
        assert_eq!(bad.code(), i32::from(errors), "{code}");
        if !REVIEW_ONLY.contains(&code.as_str()) {
            assert!(bad.stdout.contains(&format!("[{code}]")), "{code}:\n{}", bad.stdout);
        }
        let good = check(&path.join("good.yaml"), setting(&code));
        assert_eq!(good.code(), 0, "{code}:\n{}", good.stdout);
        assert!(good.stdout.starts_with("no findings: "), "{code}:\n{}", good.stdout);
    }
}

#[test]
fn nothing_of_a_private_key_is_ever_printed() {
    for (code, path) in cases() {
        let text = fs::read_to_string(path.join("bad.yaml")).unwrap();
        for output in ["text", "json", "sarif", "github"] {
            let bad = check(&path.join("bad.yaml"), &["-o", output]);
            let printed = format!("{}{}", bad.stdout, bad.stderr);
            let values = text.lines().filter_map(|line| line.trim().split(' ').next_back());
            for value in values.filter(|value| value.len() >= 40) {
                assert!(!printed.contains(value), "{code} {output}: {value}");
            }
        }
    }
}

#[test]
fn programs_get_the_same_findings_as_json() {
    for (code, path) in cases() {
        let bad = check(&path.join("bad.yaml"), &[setting(&code), &["-o", "json"]].concat());
        let report: Value = serde_json::from_str(&bad.stdout).unwrap();
        assert_eq!(report["version"], 1);
        let findings = report["findings"].as_array().unwrap();
        if !REVIEW_ONLY.contains(&code.as_str()) {
            assert!(findings.iter().any(|it| it["code"] == code.as_str()), "{code}: {report:#}");
        }
        let count =
            |severity: &str| findings.iter().filter(|it| it["severity"] == severity).count();
        assert_eq!(report["summary"]["errors"], count("error"), "{code}");
        assert_eq!(report["summary"]["warnings"], count("warning"), "{code}");
        assert_eq!(report["summary"]["infos"], count("info"), "{code}");
        for finding in findings {
            let fields: Vec<&String> = finding.as_object().unwrap().keys().collect();
            let promised = [
                "code", "severity", "object", "path", "message", "help", "docs", "file", "line",
                "column",
            ];
            assert_eq!(fields, promised, "{code}");
            let docs = finding["docs"].as_str().unwrap().split_once('#').unwrap();
            let page = fs::read_to_string(folder().join("../../..").join(docs.0)).unwrap();
            assert!(page.contains(&format!("\n## {}\n", docs.1.to_uppercase())), "{finding}");
        }
    }
}

#[test]
fn code_scanning_and_pull_requests_get_them_in_their_own_words() {
    let case = folder().join("LH206/bad.yaml");
    let home = [Varying::path(folder(), "tests/cases/check")];
    let github = check(&case, &["-o", "github"]);
    assert_eq!(github.code(), 1);
    golden::check(folder().join("LH206/bad.github.txt"), &github.stdout, &home);
    let sarif = check(&case, &["-o", "sarif"]);
    assert_eq!(sarif.code(), 1);
    let [home] = home;
    let version = Varying::Text(env!("CARGO_PKG_VERSION").to_owned(), "VERSION".to_owned());
    golden::check(folder().join("LH206/bad.sarif.txt"), &sarif.stdout, &[home, version]);
    for (code, path) in cases() {
        let told = check(&path.join("bad.yaml"), &[setting(&code), &["-o", "sarif"]].concat());
        let log: Value = serde_json::from_str(&told.stdout).unwrap();
        let run = &log["runs"][0];
        for result in run["results"].as_array().unwrap() {
            let index = usize::try_from(result["ruleIndex"].as_u64().unwrap()).unwrap();
            assert_eq!(run["tool"]["driver"]["rules"][index]["id"], result["ruleId"], "{code}");
        }
    }
}

#[test]
fn what_could_not_be_read_is_not_called_free_of_findings() {
    for output in ["text", "github"] {
        let read = check(Path::new("/nonexistent"), &["-o", output]);
        assert_eq!(read.code(), 2);
        assert!(!read.stdout.contains("no findings"), "{}", read.stdout);
        let told = format!("{}{}", read.stdout, read.stderr);
        assert!(told.contains("/nonexistent"), "{told}");
    }
}

#[test]
fn a_kind_without_rules_is_not_called_checked() {
    let home = TempDir::with_prefix("lasthop-check-").unwrap();
    let file = home.path().join("gateway.yaml");
    let gateway =
        "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: web}\n";
    let service = "apiVersion: v1\nkind: Service\nmetadata: {name: web}\n";
    fs::write(&file, format!("{gateway}---\n{service}")).unwrap();
    let told = check(&file, &[]);
    assert_eq!(told.code(), 0);
    let summary = "no findings: 1 object in 1 file checked, 1 of a kind without rules\n";
    assert_eq!(told.stdout, summary);
}

#[test]
fn every_case_is_told_by_kubectl_as_a_person_approved_it() {
    if skip::lacks(&["curl"]) {
        return;
    }
    let home = TempDir::with_prefix("lasthop-check-").unwrap();
    for (code, path) in cases() {
        fs::copy(path.join("bad.yaml"), home.path().join(format!("{code}.yaml"))).unwrap();
    }
    let ca = home.path().join("ca.crt");
    let mut webhook = Program::ours("lasthop")
        .args(["serve", "--listen", "127.0.0.1:0", "--tls-san", "127.0.0.1", "--ca-file"])
        .arg(&ca)
        .args(["--cluster-version", "1.32", "--surroundings"])
        .arg(home.path())
        .start();
    let address = webhook.address("webhook");
    for (code, path) in cases() {
        if FILES_ONLY.contains(&code.as_str()) {
            continue;
        }
        let bad = fs::read_to_string(path.join("bad.yaml")).unwrap();
        let mut told = String::new();
        for object in serde_saphyr::from_multiple::<Value>(&bad).unwrap() {
            let operation = if code == "LH215" { "DELETE" } else { "CREATE" };
            let answer = Curl::get(&format!("https://{address}/validate?timeout=5s"))
                .trust(&ca)
                .header("Content-Type: application/json")
                .body(&review(&object, operation).to_string())
                .run()
                .expect(200)
                .json();
            told.push_str(&tell(&object, operation, &answer["response"]));
        }
        assert!(told.contains(&code), "{code}:\n{told}");
        golden::check(path.join("bad.admission.txt"), &told, &[]);
    }
    webhook.terminate();
}

/// What kubectl prints, as far as it comes from the webhook.
fn tell(object: &Value, operation: &str, response: &Value) -> String {
    let verb = if operation == "DELETE" { "delete" } else { "apply" };
    let kind = object["kind"].as_str().unwrap();
    let mut text = format!("$ kubectl {verb} # {kind}\n");
    for warning in response["warnings"].as_array().into_iter().flatten() {
        let warning = warning.as_str().unwrap();
        assert!(warning.len() <= 240 && !warning.contains(char::is_control), "{warning}");
        let _infallible = writeln!(text, "Warning: {warning}");
    }
    let status = &response["status"];
    if response["allowed"] == true {
        text.push_str("admitted\n");
    } else {
        assert_eq!((&status["code"], &status["reason"]), (&json!(403), &json!("Forbidden")));
        let message = status["message"].as_str().unwrap();
        assert!(message.starts_with('\n'), "{message}");
        let _infallible = writeln!(text, "refused:{message}");
    }
    text
}

fn review(object: &Value, operation: &str) -> Value {
    let version = object["apiVersion"].as_str().unwrap();
    let (group, version) = version.split_once('/').unwrap_or(("", version));
    let gone = operation == "DELETE";
    json!({
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": "1",
            "kind": {"group": group, "version": version, "kind": object["kind"]},
            "name": object["metadata"]["name"],
            "namespace": object["metadata"]["namespace"],
            "operation": operation,
            "userInfo": {"username": "jane"},
            "object": if gone { &Value::Null } else { object },
            "oldObject": if gone { object } else { &Value::Null },
            "dryRun": false,
        }
    })
}

#[test]
fn files_folders_and_standard_input_are_read() {
    let case = folder().join("LH206");
    let text = fs::read(case.join("bad.yaml")).unwrap();
    let ask = || Program::ours("lasthop").args(["check", "--at", DAY, "-f"]);
    let from_stdin = ask().arg("-").input(text).run();
    assert_eq!(from_stdin.code(), 1);
    assert!(from_stdin.stdout.contains("<stdin>:10:5"), "{}", from_stdin.stdout);
    let from_folder = ask().arg(&case).run();
    assert_eq!(from_folder.code(), 1);
    assert!(from_folder.stdout.contains("4 objects in 2 files checked"), "{}", from_folder.stdout);
    let of_two = ask().arg(case.join("good.yaml")).arg(case.join("bad.yaml")).run();
    assert!(of_two.stdout.contains("in 2 files checked"), "{}", of_two.stdout);
    let without_flag = Program::ours("lasthop").args(["check", "--at", DAY]).arg(&case).run();
    assert_eq!(without_flag.stdout, from_folder.stdout);
}

#[test]
fn a_folder_without_secrets_does_not_drown_its_reader() {
    let bad = fs::read_to_string(folder().join("LH901/bad.yaml")).unwrap();
    let many: Vec<String> =
        (0..9).map(|n| bad.replace("name: web", &format!("name: web-{n}"))).collect();
    let ask = |output: &str| {
        let program = Program::ours("lasthop").args(["check", "-f", "-", "-o", output]);
        program.input(many.join("---\n")).run().expect_success().stdout
    };
    let text = ask("text");
    assert_eq!(text.matches("info[LH901]: could not look").count(), 3, "{text}");
    assert!(text.contains("info[LH901]: 6 more of the same"), "{text}");
    assert!(text.ends_with("9 infos: 9 objects in 1 file checked\n"), "{text}");
    assert_eq!(ask("json").matches("\"LH901\"").count(), 9);
}

#[test]
fn what_cannot_be_read_is_named_and_the_rest_checked_all_the_same() {
    let home = TempDir::with_prefix("lasthop-check-").unwrap();
    let write = |name: &str, bytes: &[u8]| fs::write(home.path().join(name), bytes).unwrap();
    write("a.yaml", b"a: b: c\n---\nkind: Namespace\napiVersion: v1\nmetadata: {name: x}\n");
    write("b.yaml", b"\x7fELF\0\0\0");
    write("c.yaml", b"a: \xff\xfe\n");
    write("d.json", b"\xff\xfe{\0}\0");
    write("e.txt", b"a: b: c");
    write("values.yaml", b"replicas: 2\n");
    fs::create_dir(home.path().join("f.yaml")).unwrap();
    std::os::unix::fs::symlink(home.path(), home.path().join("loop")).unwrap();
    std::os::unix::fs::symlink("nowhere", home.path().join("g.yaml")).unwrap();
    let read = check(home.path(), &[]);
    assert_eq!(read.code(), 2);
    let varying = [Varying::path(home.path(), "<home>")];
    golden::check(folder().join("unreadable.stderr.txt"), &read.stderr, &varying);
    golden::check(folder().join("unreadable.stdout.txt"), &read.stdout, &varying);
}

#[test]
fn a_key_that_is_written_twice_is_told_and_the_object_judged() {
    let home = TempDir::with_prefix("lasthop-check-").unwrap();
    let file = home.path().join("ingress.yaml");
    let ingress = "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata:\n  name: web\n  name: shop\n\
        spec:\n  tls:\n  - hosts: [shop.example.com]\n  - secretName: shop-tls\n";
    fs::write(&file, ingress).unwrap();
    let read = check(&file, &["-o", "json"]);
    assert_eq!(read.code(), 1, "{}", read.stderr);
    assert!(read.stdout.contains("LH206") && read.stdout.contains("\"shop\""), "{}", read.stdout);
    assert!(read.stderr.contains(":5:3: `name` is written twice"), "{}", read.stderr);
    // `metadata.annotations` take texts alone: kubectl is refused without the line.
    let annotated = ingress.replace("  name: web\n", "  annotations:\n    a.example/b: on\n");
    fs::write(&file, annotated).unwrap();
    let read = check(&file, &[]);
    assert!(
        read.stdout.contains("metadata.annotations[a.example/b]` is a boolean"),
        "{}",
        read.stdout
    );
    assert!(read.stdout.contains("put the value in double quotes"), "{}", read.stdout);
}

#[test]
fn wrong_usage_ends_with_two() {
    let ask = |arguments: &[&str]| Program::ours("lasthop").args(arguments).run();
    assert_eq!(ask(&["check"]).code(), 2);
    assert_eq!(ask(&["check", "-f", "/nowhere/at-all"]).code(), 2);
    assert_eq!(ask(&["check", "-f", "/dev/null"]).code(), 2);
    assert_eq!(ask(&["check", "--cluster", "manifests"]).code(), 2);
    assert_eq!(ask(&["check", "-f", "x", "--at", "tomorrow"]).code(), 2);
    assert_eq!(ask(&["explain", "LH999"]).code(), 2);
    let near = ask(&["explain", "LH210x"]);
    assert!(near.stderr.contains("did you mean LH210?"), "{}", near.stderr);
    // What is known is said all the same.
    let some = ask(&["explain", "LH206", "LH999", "207", "lh206"]);
    assert_eq!(some.code(), 2);
    assert!(
        some.stdout.starts_with("LH206 ") && some.stdout.contains("\n\nLH207 "),
        "{}",
        some.stdout
    );
    assert_eq!(some.stdout.matches("\nLH206 ").count(), 0, "{}", some.stdout);
    assert!(some.stderr.contains("no finding `LH999`"), "{}", some.stderr);
}

#[test]
fn every_code_is_explained() {
    let ask = |arguments: &[&str]| Program::ours("lasthop").args(arguments).run().expect_success();
    let index = ask(&["explain"]).stdout;
    for line in index.lines() {
        let code = line.split(' ').next().unwrap();
        let page = ask(&["explain", &code.to_lowercase()]).stdout;
        assert!(page.starts_with(code) && page.contains("\nCure:\n"), "{page}");
    }
    for code in cases().keys() {
        assert!(index.contains(code.as_str()), "{code} is a case, but no rule");
    }
}

#[test]
fn the_tutorials_mistakes_are_named_and_its_correction_passes() {
    let example =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../manifests/examples/nginx-tls-ingress");
    let home = TempDir::with_prefix("lasthop-check-").unwrap();
    // The Secret of the tutorial: `Opaque`, under another name and in another namespace.
    let good = fs::read_to_string(folder().join("LH206/good.yaml")).unwrap();
    let (_, secret) = good.split_once("---\n").unwrap();
    let secret = secret
        .replace("name: web-tls", "name: app-router-tls")
        .replace("namespace: lh206", "namespace: application")
        .replace("type: kubernetes.io/tls", "type: Opaque");
    let file = home.path().join("secret.yaml");
    fs::write(&file, secret).unwrap();
    let ask = |name: &str| {
        let told = Program::ours("lasthop")
            .args(["check", "--whole", "--at", DAY, "-f"])
            .args([&file, &example.join(name)])
            .run();
        let varying =
            [Varying::path(&example, "nginx-tls-ingress"), Varying::path(home.path(), "<home>")];
        let golden = format!("nginx-{}.txt", name.strip_suffix(".yaml").unwrap());
        golden::check(folder().join(golden), &told.stdout, &varying);
        told.code()
    };
    assert_eq!(ask("as-written.yaml"), 1);
    assert_eq!(ask("as-written-v1beta1.yaml"), 1);
    assert_eq!(ask("corrected.yaml"), 0);
}

/// A folder as `kustomize create` has it: bases whole, patches in part.
#[test]
fn patches_of_kustomize_are_no_objects_and_what_kustomize_builds_is_checked() {
    let home = TempDir::with_prefix("lasthop-kustomize-").unwrap();
    let write = |name: &str, text: &str| fs::write(home.path().join(name), text).unwrap();
    let ingress = "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata:\n  name: web\n  namespace: shop\n";
    write(
        "ingress.yaml",
        &format!(
            "{ingress}spec:\n  tls:\n  - hosts: [a.example.com]\n    secretName: web-tls\n  rules:\n  - host: a.example.com\n"
        ),
    );
    // A host that no item of `tls` has, once it is in its place.
    write("host.yaml", &format!("{ingress}spec:\n  rules:\n  - host: b.example.com\n"));
    write("rules.json", "[{\"op\": \"remove\", \"path\": \"/spec/rules\"}]");
    write(
        "kustomization.yaml",
        "resources:\n- ingress.yaml\npatches:\n- path: host.yaml\n- path: rules.json\n  target: {kind: Ingress}\n",
    );
    let told = check(home.path(), &[]);
    assert_eq!(told.code(), 0, "{}{}", told.stdout, told.stderr);
    assert!(told.stdout.contains("1 object"), "{}", told.stdout);
    assert!(told.stdout.contains("patch"), "{}", told.stdout);
    assert!(!told.stdout.contains("host.yaml"), "{}", told.stdout);

    if skip::lacks(&["kubectl"]) {
        return;
    }
    write("rules.json", "[]");
    write("kustomization.yaml", "resources:\n- ingress.yaml\npatches:\n- path: host.yaml\n");
    let built = Program::at("kubectl").args(["kustomize"]).arg(home.path()).run();
    let program = Program::ours("lasthop").args(["check", "--at", DAY, "-f", "-"]);
    let told = program.input(built.stdout.as_str()).run();
    assert!(told.stdout.contains("b.example.com"), "{}{}", told.stdout, built.stderr);
}
