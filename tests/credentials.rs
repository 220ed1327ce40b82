//! Secrets as people make them, right and wrong: which problem each has, and that no message holds
//! a byte of the private key.

use std::collections::BTreeSet;
use std::fs;

use lasthop_contract::client_policy::is_public_ca;
use lasthop_contract::credential::{
    Certificate, KeyKind, MOST_BYTES, MOST_CERTIFICATES, Reading, SecretData, read,
    read_authorities, read_revocation_lists, undecodable,
};
use lasthop_contract::problem::{Fault, Gravity, Problem};
use lasthop_tests::openssl;
use lasthop_tests::pki::{Authority, Issued, Key, Pki, Validity, to_pem};
use lasthop_tests::process::Program;
use lasthop_tests::skip;
use serde_json::Value;

const DAY: i64 = 86_400;

fn now() -> i64 {
    time::OffsetDateTime::now_utc().unix_timestamp()
}

fn tls(chain: impl Into<Vec<u8>>, key: impl Into<Vec<u8>>) -> SecretData {
    SecretData::from([("tls.crt".to_owned(), chain.into()), ("tls.key".to_owned(), key.into())])
}

fn one(key: &str, bytes: impl Into<Vec<u8>>) -> SecretData {
    SecretData::from([(key.to_owned(), bytes.into())])
}

/// `LH115 tls.key`, one a problem.
fn told(problems: &[Problem]) -> Vec<String> {
    problems.iter().map(|problem| format!("{} {}", problem.code(), problem.key)).collect()
}

/// What a person sees of the problems, and what a careless developer could print.
fn shown(problems: &[Problem]) -> String {
    let both: Vec<String> =
        problems.iter().map(|problem| format!("{problem}\n{problem:?}")).collect();
    both.join("\n")
}

/// Panics if sixteen characters in a row of any PEM body in `data` are in `text`.
#[track_caller]
fn assert_no_key(data: &SecretData, text: &str) {
    for (name, bytes) in data {
        let value = String::from_utf8_lossy(bytes);
        let is_body = |line: &&str| line.len() >= 16 && !line.contains(['-', ' ', '.', '$']);
        for line in value.lines().filter(is_body) {
            let pieces: Vec<char> = line.chars().collect();
            for piece in pieces.chunks(16).filter(|piece| piece.len() == 16) {
                let piece: String = piece.iter().collect();
                assert!(!text.contains(&piece), "`{name}` is in the text: {text}");
            }
        }
    }
}

/// A Secret with what reading it must report.
struct Case {
    what: &'static str,
    data: SecretData,
    problems: &'static [&'static str],
}

fn case(what: &'static str, data: SecretData, problems: &'static [&'static str]) -> Case {
    Case { what, data, problems }
}

/// Reads each as chain and key; returns the problems of all.
fn check_chains(cases: Vec<Case>) -> Vec<Problem> {
    let mut all = Vec::new();
    for Case { what, data, problems } in cases {
        let reading = read(&data);
        assert_eq!(told(&reading.problems), problems, "{what}:\n{}", shown(&reading.problems));
        assert_no_key(&data, &shown(&reading.problems));
        assert_no_key(&data, &format!("{reading:?}"));
        all.extend(reading.problems);
    }
    all
}

/// Reads each as trusted CAs.
fn check_authorities(cases: Vec<Case>) -> Vec<Problem> {
    let mut all = Vec::new();
    for Case { what, data, problems } in cases {
        let trust = read_authorities(&data);
        assert_eq!(told(&trust.problems), problems, "{what}:\n{}", shown(&trust.problems));
        assert_no_key(&data, &shown(&trust.problems));
        all.extend(trust.problems);
    }
    all
}

/// Reads each as revocation lists.
fn check_lists(cases: Vec<Case>) -> Vec<Problem> {
    let mut all = Vec::new();
    for Case { what, data, problems } in cases {
        let trust = read_revocation_lists(&data);
        assert_eq!(told(&trust.problems), problems, "{what}:\n{}", shown(&trust.problems));
        all.extend(trust.problems);
    }
    all
}

#[test]
fn what_is_right_has_no_problem() {
    let pki = Pki::new();
    let ca = pki.authority("ca");
    for key in [Key::Rsa2048, Key::Rsa3072, Key::P256, Key::P384, Key::P521, Key::Ed25519] {
        let issued = ca.leaf().dns("a.example").key(key).issue();
        let reading = read(&issued.secret());
        assert_eq!(told(&reading.problems), [""; 0], "{key:?}");
        assert!(reading.credential.is_some_and(|it| it.problems_at(now()).is_empty()), "{key:?}");
    }
    let public = pki.public_authority().leaf().dns("*.c.example").issue();
    let (chain, key) = (public.chain_pem(), public.key_pem());
    let root = pki.public_authority().root_pem();
    check_chains(vec![
        case("with an intermediate", public.secret(), &[]),
        case("Istio's generic form", public.generic_secret(&ca), &[]),
        case("IBM's form", public.alb_secret(&ca), &[]),
        case("with the root at the end", tls(chain.clone() + &root, key.clone()), &[]),
        case("Windows line ends", tls(chain.replace('\n', "\r\n"), key.replace('\n', "\r\n")), &[]),
        case("no line break at the end", tls(chain.trim_end(), key.trim_end()), &[]),
        case("text between the blocks", tls(format!("subject=a\n{chain}"), key.clone()), &[]),
        case("only an address", ca.leaf().ip([10, 0, 0, 1]).issue().secret(), &[]),
        case("only a SPIFFE identity", ca.leaf().uri("spiffe://x/y").issue().secret(), &[]),
    ]);
    check_authorities(vec![
        case("a root", ca.ca_secret(), &[]),
        case("Istio's name for it", one("cacert", ca.root_pem()), &[]),
        case("two roots", one("ca.crt", ca.root_pem() + &root), &[]),
    ]);
}

#[test]
fn keys_in_their_older_forms_are_read() {
    if skip::lacks(&["openssl"]) {
        return;
    }
    let pki = Pki::new();
    let ca = pki.authority("ca");
    for key in [Key::Rsa2048, Key::P256] {
        let issued = ca.leaf().dns("a.example").key(key).issue();
        let old = openssl::traditional(&issued.key_pem());
        assert!(old.contains("RSA PRIVATE KEY") || old.contains("EC PRIVATE KEY"), "{key:?}");
        check_chains(vec![case("before PKCS #8", tls(issued.chain_pem(), old), &[])]);
    }
    // `openssl ecparam -genkey` without -noout writes the curve first.
    let issued = ca.leaf().dns("a.example").issue();
    let curve = "-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n";
    let key = curve.to_owned() + &openssl::traditional(&issued.key_pem());
    check_chains(vec![case("with the curve", tls(issued.chain_pem(), key), &[])]);
}

/// Values that are not the PEM they should be.
fn not_pem(issued: &Issued) -> Vec<Case> {
    let (chain, key) = (issued.chain_pem(), issued.key_pem());
    let base64 = |text: &str| {
        use base64::Engine as _;
        base64::engine::general_purpose::STANDARD.encode(text)
    };
    let request = to_pem("CERTIFICATE REQUEST", b"whatever");
    let mark = "\u{feff}";
    vec![
        case("nothing at all", SecretData::new(), &["LH101 tls.crt", "LH101 tls.key"]),
        case("other keys", one("password", "secret"), &["LH101 tls.crt", "LH101 tls.key"]),
        case("no key", one("tls.crt", chain.clone()), &["LH101 tls.key"]),
        case("no certificate", one("key", key.clone()), &["LH101 cert"]),
        case("empty values", tls("", " \n"), &["LH102 tls.crt", "LH102 tls.key"]),
        case(
            "a variable",
            tls("${CERT}", "<your private key>"),
            &["LH103 tls.crt", "LH103 tls.key"],
        ),
        case(
            "sample text",
            tls("base64 encoded cert", "{{ .Values.key }}"),
            &["LH103 tls.crt", "LH103 tls.key"],
        ),
        case(
            "encoded once more",
            tls(base64(&chain), base64(&key)),
            &["LH104 tls.crt", "LH104 tls.key"],
        ),
        case("DER", tls(issued.der(), issued.key_der()), &["LH105 tls.crt", "LH105 tls.key"]),
        case(
            "a byte order mark",
            tls(format!("{mark}{chain}"), format!("{mark}{key}")),
            &["LH106 tls.crt", "LH106 tls.key"],
        ),
        case("a request", tls(request.clone(), request), &["LH107 tls.crt", "LH107 tls.key"]),
        case("words", tls("hello", "hello"), &["LH107 tls.crt", "LH107 tls.key"]),
        case("bytes", tls([0xff, 0], [0]), &["LH107 tls.crt", "LH107 tls.key"]),
        case("UTF-16", tls(utf_16(&chain), utf_16(&key)), &["LH108 tls.crt", "LH108 tls.key"]),
        case("swapped", tls(key, chain), &["LH109 tls.crt", "LH109 tls.key"]),
    ]
}

/// As PowerShell's `>` writes it.
fn utf_16(text: &str) -> Vec<u8> {
    "\u{feff}".encode_utf16().chain(text.encode_utf16()).flat_map(u16::to_le_bytes).collect()
}

/// PEM that is damaged.
fn broken_pem(issued: &Issued) -> Vec<Case> {
    let (chain, key) = (issued.chain_pem(), issued.key_pem());
    let without_end = |text: &str| text[..text.find("-----END").unwrap()].to_owned();
    let one_line = |text: &str| text.trim_end().replace('\n', " ");
    let indented = |text: &str| format!("  {}", text.replace('\n', "\n  "));
    let damaged = |text: &str| text.replacen("\nM", "\n*", 1);
    let long = |text: &str| format!("{text}{}", "#\n".repeat(MOST_BYTES / 2));
    let other = to_pem("CERTIFICATE", b"no certificate");
    vec![
        case(
            "cut off",
            tls(without_end(&chain), without_end(&key)),
            &["LH108 tls.crt", "LH108 tls.key"],
        ),
        case(
            "on one line",
            tls(one_line(&chain), one_line(&key)),
            &["LH108 tls.crt", "LH108 tls.key"],
        ),
        case(
            "indented",
            tls(indented(&chain), indented(&key)),
            &["LH108 tls.crt", "LH108 tls.key"],
        ),
        case("no base64", tls(damaged(&chain), damaged(&key)), &["LH108 tls.crt", "LH108 tls.key"]),
        case("too long", tls(long(&chain), long(&key)), &["LH108 tls.crt", "LH108 tls.key"]),
        case(
            "a bad start",
            tls("-----BEGIN CERTIFICATE--\nAAAA\n", key.clone()),
            &["LH108 tls.crt"],
        ),
        case("not X.509", tls(chain.clone() + &other, key.clone()), &["LH113 tls.crt"]),
        case(
            "the key's bytes as certificate",
            tls(to_pem("CERTIFICATE", issued.key_der()), key.clone()),
            &["LH113 tls.crt"],
        ),
        case(
            "bytes after the certificate",
            tls(to_pem("CERTIFICATE", &[issued.der(), b"x"].concat()), key.clone()),
            &["LH113 tls.crt"],
        ),
        case(
            "a key cut short",
            tls(chain.clone(), to_pem("PRIVATE KEY", &issued.key_der()[..40])),
            &["LH112 tls.key"],
        ),
        case("two keys", tls(chain.clone(), key.repeat(2)), &["LH111 tls.key"]),
        case(
            "many certificates",
            tls(issued.certificate_pem().repeat(MOST_CERTIFICATES + 1), key),
            &[],
        ),
    ]
}

#[test]
fn values_that_are_not_pem_or_damaged() {
    let pki = Pki::new();
    let issued = pki.authority("ca").leaf().dns("a.example").issue();
    let mut cases = not_pem(&issued);
    cases.extend(broken_pem(&issued));
    // Each certificate but the first is also out of order; that is not what this is about.
    let many = cases.pop().expect("the last is the one with many");
    let reading = read(&many.data);
    let first = &reading.problems[0];
    assert_eq!(told(std::slice::from_ref(first)), ["LH114 tls.crt"]);
    let problems = check_chains(cases);
    assert!(!shown(&problems).contains("Nom"), "{}", shown(&problems));
}

/// The command in backticks is run as it stands, but for the question after the password.
#[test]
fn pkcs12_is_taken_apart_by_its_cure() {
    let pki = Pki::new();
    let issued = pki.authority("ca").leaf().dns("a.example").issue();
    let (chain, key) =
        (pki.write("chain.pem", issued.chain_pem()), pki.write("key.pem", issued.key_pem()));
    let sealed = pki.directory().join("tls.crt");
    let export = ["pkcs12", "-export", "-passout", "pass:", "-in"];
    Program::at("openssl")
        .args(export)
        .arg(chain)
        .arg("-inkey")
        .arg(key)
        .arg("-out")
        .arg(&sealed)
        .run()
        .expect_success();
    let bytes = fs::read(&sealed).unwrap();
    pki.write("tls.key", &bytes);
    let reading = read(&tls(bytes.clone(), bytes));
    assert_eq!(told(&reading.problems), ["LH105 tls.crt", "LH105 tls.key"]);
    for problem in &reading.problems {
        let help = problem.help();
        let command = help.split('`').nth(1).expect("the cure is a command");
        let line = format!("cd {} && {command} -passin pass:", pki.directory().display());
        Program::at("sh").args(["-c", &line]).run().expect_success();
    }
    let mended = |name: &str| fs::read(pki.directory().join(name)).unwrap();
    let reading = read(&tls(mended("tls.crt.pem"), mended("tls.key.pem")));
    assert_eq!(told(&reading.problems), Vec::<String>::new());
}

#[test]
fn a_key_on_one_line_is_never_shown_as_the_name_of_a_block() {
    let pki = Pki::new();
    let issued = pki.authority("ca").leaf().dns("a.example").issue();
    let line = issued.key_pem().trim_end().replace('\n', "");
    let curve = "-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n";
    let both = format!("{line}\n{curve}");
    let secret: String = issued.key_pem().lines().nth(1).unwrap().chars().take(16).collect();
    for problems in [
        read(&tls(issued.chain_pem(), both.clone())).problems,
        read(&tls(both.clone(), issued.key_pem())).problems,
        read_authorities(&one("ca.crt", both.clone())).problems,
        read_revocation_lists(&one("ca.crl", both)).problems,
    ] {
        assert!(!problems.is_empty());
        assert!(!shown(&problems).contains(&secret), "{}", shown(&problems));
    }
}

#[test]
fn a_placeholder_that_wraps_a_key_is_not_shown() {
    let pki = Pki::new();
    let issued = pki.authority("ca").leaf().dns("a.example").issue();
    let body: String = issued.key_pem().lines().filter(|line| !line.starts_with('-')).collect();
    let problems = read(&tls(issued.chain_pem(), format!("<{body}>"))).problems;
    assert!(!problems.is_empty());
    assert!(!shown(&problems).contains(&body[..16]), "{}", shown(&problems));
}

#[test]
fn keys_that_cannot_be_used() {
    if skip::lacks(&["openssl"]) {
        return;
    }
    let pki = Pki::new();
    let ca = pki.authority("ca");
    let issued = ca.leaf().dns("a.example").issue();
    let rsa = ca.leaf().dns("a.example").key(Key::Rsa2048).issue();
    let with = |key: String| tls(issued.chain_pem(), key);
    let problems = check_chains(vec![
        case("a passphrase", with(openssl::encrypt(&issued.key_pem())), &["LH110 tls.key"]),
        case(
            "a passphrase in the old form",
            with(openssl::encrypt_traditionally(&issued.key_pem())),
            &["LH110 tls.key"],
        ),
        case("another pair", with(ca.leaf().issue().key_pem()), &["LH115 tls.key"]),
        case("another kind", with(rsa.key_pem()), &["LH115 tls.key"]),
        case("a curve of Bitcoin's", with(curve("secp256k1")), &["LH112 tls.key"]),
        case("a curve too small", with(curve("secp224r1")), &["LH112 tls.key"]),
    ]);
    let mismatch = |problem: &&Problem| {
        let (certificate, key) = (KeyKind::P256, KeyKind::Rsa(2048));
        problem.fault == Fault::KeyMismatch { certificate, key }
    };
    let help = problems.iter().find(mismatch).expect("the kinds are told apart").help();
    assert!(help.contains("EC P-256") && help.contains("RSA 2048"), "{help}");
}

fn curve(name: &str) -> String {
    openssl::run(&["ecparam", "-name", name, "-genkey", "-noout"], "")
}

#[test]
fn chains_in_the_wrong_order() {
    let pki = Pki::new();
    let ca = pki.authority("ca");
    let below = ca.intermediate("below");
    let issued = below.leaf().dns("a.example").issue();
    let key = issued.key_pem();
    let leaf = issued.certificate_pem();
    let other = pki.authority("other").pem();
    let reading = read(&tls(below.pem() + &leaf, key.clone()));
    assert!(reading.credential.is_none());
    check_chains(vec![
        case("the issuer first", tls(below.pem() + &leaf, key.clone()), &["LH116 tls.crt"]),
        case(
            "root before intermediate",
            tls(leaf.clone() + &ca.pem() + &below.pem(), key.clone()),
            &["LH117 tls.crt"],
        ),
        case("a stranger's CA", tls(leaf.clone() + &other, key.clone()), &["LH117 tls.crt"]),
        case("the leaf twice", tls(leaf.repeat(2), key.clone()), &["LH117 tls.crt"]),
        case(
            "another server's",
            tls(leaf + &below.leaf().dns("b.example").issue().chain_pem(), key),
            &["LH138 tls.crt"],
        ),
        case("a CA served", tls(ca.pem(), ca.key_pem()), &["LH118 tls.crt"]),
        case(
            "a leaf with CA:TRUE",
            ca.leaf().dns("a.example").as_ca().issue().secret(),
            &["LH118 tls.crt"],
        ),
    ]);
}

#[test]
fn certificates_that_clients_refuse_or_frown_at() {
    if skip::lacks(&["openssl"]) {
        return;
    }
    let pki = Pki::new();
    let ca = pki.authority("ca");
    let staging = pki.authority("(STAGING) Riddling Rhubarb R12");
    let temporary = pki.authority("cert-manager.local");
    let pair = |(certificate, key): (String, String)| tls(certificate, key);
    let made = |options: &[&str]| pair(openssl::self_signed(&pki, "a.example", options));
    let problems = check_chains(vec![
        case(
            "X.509 v1",
            pair(openssl::version_1("a.example")),
            &["LH119 tls.crt", "LH121 tls.crt"],
        ),
        case(
            "names in the CN only",
            ca.leaf().common_name("a.example").issue().secret(),
            &["LH120 tls.crt"],
        ),
        case(
            "self-signed",
            ca.leaf().dns("a.example").self_signed().issue().secret(),
            &["LH121 tls.crt"],
        ),
        case("staging", staging.leaf().dns("a.example").issue().secret(), &["LH122 tls.crt"]),
        case("temporary", temporary.leaf().dns("a.example").issue().secret(), &["LH122 tls.crt"]),
        case(
            "RSA 1024",
            made(&["-newkey", "rsa:1024"]),
            &["LH112 tls.key", "LH121 tls.crt", "LH126 tls.crt"],
        ),
        case("SHA-1", made(&["-newkey", "rsa:2048", "-sha1"]), &["LH121 tls.crt", "LH127 tls.crt"]),
    ]);
    let cn = problems.iter().find(|it| it.code().0 == 120).expect("there is one");
    assert!(cn.message().contains("`a.example`"), "{cn}");
}

#[test]
fn time_and_purpose() {
    let pki = Pki::new();
    let ca = pki.authority("ca");
    let at = |issued: &Issued, now| {
        let credential = read(&issued.secret()).credential.expect("nothing is wrong with it");
        told(&credential.problems_at(now))
    };
    let fine = ca.leaf().dns("a.example").issue();
    assert_eq!(at(&fine, now()), [""; 0]);
    assert_eq!(at(&ca.leaf().dns("a.example").expired().issue(), now()), ["LH123 tls.crt"]);
    assert_eq!(at(&ca.leaf().dns("a.example").not_yet_valid().issue(), now()), ["LH124 tls.crt"]);
    let soon = ca.leaf().dns("a.example").valid(Validity::days(-80, 10)).issue();
    assert_eq!(at(&soon, now()), ["LH125 tls.crt"]);
    // Six days of life: a quarter of that is when its renewal is overdue.
    let short = ca.leaf().dns("a.example").valid(Validity::days(-3, 3)).issue();
    assert_eq!(at(&short, now()), [""; 0]);
    assert_eq!(at(&short, now() + 2 * DAY), ["LH125 tls.crt"]);

    let purpose = |issued: Issued| {
        let reading: Reading = read(&issued.secret());
        told(reading.chain[0].wrong_for_server("tls.crt").as_slice())
    };
    assert_eq!(purpose(ca.leaf().client_only().issue()), ["LH128 tls.crt"]);
    for right in [ca.leaf(), ca.leaf().server_only(), ca.leaf().purposes([])] {
        assert_eq!(purpose(right.issue()), [""; 0]);
    }
}

#[test]
fn bundles_of_trusted_cas() {
    let pki = Pki::new();
    let ca = pki.authority("ca");
    let over = pki.expired_authority("over");
    let leaf = ca.leaf().dns("a.example").issue();
    let with_mark = format!("\u{feff}{}{}", ca.pem(), over.pem());
    check_authorities(vec![
        case("nothing at all", SecretData::new(), &["LH101 ca.crt"]),
        case("a server's certificate", one("ca.crt", leaf.chain_pem()), &["LH129 ca.crt"]),
        case("only a key", one("ca.crt", leaf.key_pem()), &["LH132 ca.crt", "LH129 ca.crt"]),
        case("a leaf among them", one("ca.crt", ca.pem() + &leaf.chain_pem()), &["LH130 ca.crt"]),
        case(
            "the key beside it",
            one("trusted.crt", ca.pem() + &ca.key_pem()),
            &["LH132 trusted.crt"],
        ),
        case("empty", one("ca.crt", ""), &["LH102 ca.crt"]),
        case("a variable", one("ca.crt", "${CA}"), &["LH103 ca.crt"]),
        case("DER", one("ca.crt", ca.der()), &["LH105 ca.crt"]),
        case("a byte order mark hides the first", one("ca.crt", with_mark), &["LH106 ca.crt"]),
        case("cut off", one("ca.crt", &ca.pem()[..200]), &["LH108 ca.crt", "LH129 ca.crt"]),
    ]);
    let trust = read_authorities(&one("ca.crt", ca.pem() + &over.pem()));
    assert_eq!(told(&trust.problems), [""; 0]);
    assert_eq!(told(&trust.problems_at(now())), ["LH131 ca.crt"]);
    assert_eq!(trust.problems_at(now())[0].gravity(), Gravity::Weakness);
}

#[test]
fn revocation_lists() {
    if skip::lacks(&["openssl"]) {
        return;
    }
    let pki = Pki::new();
    let ca = pki.authority("ca");
    let current = ca.revocation_list(&[], Validity::days(-1, 7));
    let old = ca.revocation_list(&[], Validity::days(-8, -1));
    check_lists(vec![
        case("a current one", one("ca.crl", current.clone()), &[]),
        case("none", one("tls.crt", "x"), &["LH101 ca.crl"]),
        case("a certificate", one("crl", ca.pem()), &["LH107 crl"]),
        case("cut off", one("ca.crl", &current[..120]), &["LH133 ca.crl"]),
        case(
            "of version 1",
            one("ca.crl", openssl::revocation_list_version_1(&ca)),
            &["LH133 ca.crl"],
        ),
        case("no list in it", one("crl.pem", to_pem("X509 CRL", b"x")), &["LH133 crl.pem"]),
    ]);
    for key in ["ca.crl", "crl"] {
        let trust = read_revocation_lists(&one(key, old.clone() + &current));
        assert_eq!(told(&trust.problems), [""; 0]);
        assert_eq!(told(&trust.problems_at(now())), [format!("LH134 {key}")]);
    }
}

/// What an API server would not store, and a file may hold.
#[test]
fn values_that_are_not_base64() {
    let pki = Pki::new();
    let key = pki.authority("ca").leaf().issue().key_pem();
    for (text, expected) in [
        (key.as_str(), "LH136 tls.key"),
        ("LS0t!", "LH136 tls.key"),
        ("${TLS_KEY}", "LH103 tls.key"),
    ] {
        let problem = Problem::new("tls.key", undecodable(text));
        assert_eq!(told(std::slice::from_ref(&problem)), [expected], "{problem}");
        assert_no_key(&one("tls.key", text), &shown(&[problem]));
    }
}

#[test]
fn a_public_ca_is_known_by_name_and_by_key() {
    let pki = Pki::new();
    let judge = |authority: &Authority| {
        is_public_ca(&Certificate::from_der(authority.der()).expect("it is a certificate"))
    };
    assert!(!judge(&pki.authority("alb-ca")));
    assert!(judge(&pki.authority("ISRG Root YR")), "a root that is not in the stores yet");
    let subject = "ISRG".to_owned();
    let problem = Problem::new("ca.crt", Fault::PublicCa { subject });
    assert_eq!((problem.code().0, problem.gravity()), (135, Gravity::Notice));
}

#[test]
fn a_public_ca_issues_from_intermediates_alone() {
    // The CA of the case bears the name of a public one.
    let documents: Vec<Value> =
        serde_saphyr::from_multiple(include_str!("cases/check/LH137/bad.yaml"))
            .expect("it is YAML");
    let secret = documents.iter().find(|it| it["kind"] == "Secret").expect("it is there");
    let data = secret["stringData"].as_object().expect("it is a mapping").iter();
    let data = data
        .map(|(key, text)| (key.clone(), text.as_str().expect("it is a text").as_bytes().to_vec()));
    check_chains(vec![case("the leaf alone", data.collect(), &["LH137 tls.crt"])]);
}

/// Every code of the table in `problem.rs` is named in this file.
#[test]
fn every_problem_has_a_case() {
    let numbers = |text: &str, before: &str| -> BTreeSet<u16> {
        let parts = text.split(before).skip(1);
        parts.filter_map(|part| part.get(..3)?.parse().ok()).collect()
    };
    let table = numbers(include_str!("../contract/src/problem.rs"), "=> ");
    let mut here = numbers(include_str!("credentials.rs"), "\"LH");
    here.extend([134, 135]); // made with format! and by hand above
    assert!(table.len() >= 35, "{table:?}");
    assert_eq!(table.difference(&here).collect::<Vec<_>>(), Vec::<&u16>::new());
}
