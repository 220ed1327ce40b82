//! Cures, followed to the letter: what `lasthop explain` says of a broken credential is pasted into a shell, with
//! the real openssl and kubectl, and nothing is wrong with it afterwards.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;

use lasthop_contract::credential::{
    Credential, MOST_CERTIFICATES, SecretData, read, read_authorities, read_revocation_lists,
    undecodable,
};
use lasthop_contract::problem::Problem;
use lasthop_tests::kubernetes::Cluster;
use lasthop_tests::openssl;
use lasthop_tests::pki::{Authority, Issued, Key, Pki, Validity, to_pem};
use lasthop_tests::process::Program;
use lasthop_tests::skip;
use serde_json::Value;
use tempfile::TempDir;

/// A host that every certificate here is for.
const HOST: &str = "shop.example.com";

/// Codes whose cure is no command, and why.
const NO_COMMAND: [(u16, &str); 1] =
    [(135, "it is a notice, with nothing wrong, and stays as long as the CA is a public one")];

/// Codes that are followed in a cluster, below.
const IN_A_CLUSTER: [u16; 5] = [101, 102, 103, 122, 136];

/// What of a Secret is read.
#[derive(Clone, Copy)]
enum Reads {
    Chain,
    Authorities,
    Lists,
}

/// A broken credential in a folder.
struct Case {
    code: u16,
    reads: Reads,
    /// Keys of the Secret, which are names of files as well.
    data: Vec<(&'static str, Vec<u8>)>,
    /// Files beside them.
    beside: Vec<(&'static str, Vec<u8>)>,
    /// What `FILE` stands for, one time after the other.
    files: Vec<&'static str>,
    /// How many of the commands are pasted; the rest is for another shape of the same problem.
    commands: std::ops::Range<usize>,
}

impl Case {
    fn chain(code: u16, chain: impl Into<Vec<u8>>, key: impl Into<Vec<u8>>) -> Self {
        let data = vec![("tls.crt", chain.into()), ("tls.key", key.into())];
        Self {
            code,
            reads: Reads::Chain,
            data,
            beside: Vec::new(),
            files: Vec::new(),
            commands: 0..9,
        }
    }

    fn authorities(code: u16, bundle: impl Into<Vec<u8>>) -> Self {
        let data = vec![("ca.crt", bundle.into())];
        Self { reads: Reads::Authorities, data, ..Self::chain(code, "", "") }
    }

    fn lists(code: u16, lists: impl Into<Vec<u8>>) -> Self {
        let data = vec![("ca.crl", lists.into())];
        Self { reads: Reads::Lists, data, ..Self::chain(code, "", "") }
    }

    fn beside(mut self, name: &'static str, bytes: impl Into<Vec<u8>>) -> Self {
        self.beside.push((name, bytes.into()));
        self
    }

    fn files(mut self, files: &[&'static str]) -> Self {
        self.files = files.to_vec();
        self
    }

    fn commands(mut self, commands: std::ops::Range<usize>) -> Self {
        self.commands = commands;
        self
    }

    /// The codes of everything that is wrong with `data`.
    fn problems(&self, data: &SecretData) -> BTreeSet<u16> {
        let now = time::OffsetDateTime::now_utc().unix_timestamp();
        let problems: Vec<Problem> = match self.reads {
            Reads::Chain => {
                let reading = read(data);
                let of_time = |it: &Credential| it.problems_at(now);
                let later = reading.credential.as_ref().map(of_time).unwrap_or_default();
                let purpose = reading.leaf().and_then(|leaf| leaf.wrong_for_server("tls.crt"));
                reading.problems.into_iter().chain(later).chain(purpose).collect()
            }
            Reads::Authorities => {
                let trust = read_authorities(data);
                trust.problems_at(now).into_iter().chain(trust.problems).collect()
            }
            Reads::Lists => {
                let trust = read_revocation_lists(data);
                trust.problems_at(now).into_iter().chain(trust.problems).collect()
            }
        };
        problems.iter().map(|problem| problem.code().0).collect()
    }

    /// What is wrong before and after the cure.
    fn cured(&self) -> (BTreeSet<u16>, BTreeSet<u16>) {
        let home = TempDir::with_prefix("lasthop-cures-").unwrap();
        let write =
            |name: &str, bytes: &[u8]| std::fs::write(home.path().join(name), bytes).unwrap();
        let mut data: SecretData =
            self.data.iter().map(|(key, bytes)| ((*key).to_owned(), bytes.clone())).collect();
        for (key, bytes) in &data {
            write(key, bytes);
        }
        for (name, bytes) in &self.beside {
            write(name, bytes);
        }
        let before = self.problems(&data);
        let mut files = self.files.iter();
        let commands = commands(self.code);
        let until = self.commands.end.min(commands.len());
        let mut stored = None;
        for command in &commands[self.commands.start..until] {
            let mut command = command.replace("HOST", HOST).replace("NAME", "shop-tls");
            while command.contains("FILE") {
                let file = files.next().unwrap_or_else(|| panic!("LH{}: {command}", self.code));
                command = command.replacen("FILE", file, 1);
            }
            command = command.replace("=CERTIFICATE", "=tls.key").replace("=KEY", "=tls.crt");
            if command.starts_with("kubectl create secret") {
                // What it makes, rather than stores; an apply behind it has no API server here.
                let create = command.split(" --dry-run").next().unwrap_or_default();
                let create = format!("{create} --dry-run=client -o json");
                stored = Some(of_json(&run(&create, home.path())));
            } else {
                run(&command, home.path());
            }
        }
        for key in data.keys().cloned().collect::<Vec<_>>() {
            data.insert(key.clone(), std::fs::read(home.path().join(key)).unwrap());
        }
        (before, self.problems(&stored.unwrap_or(data)))
    }
}

/// The commands of the cure, in their order.
fn commands(code: u16) -> Vec<String> {
    let page = Program::ours("lasthop").args(["explain", &format!("LH{code}")]).run();
    let text = page.expect_success().stdout;
    let (_, cure) = text.split_once("\nCure:\n").expect("every page has a cure");
    // A command goes on over lines as the shell reads them.
    let words = cure.split_whitespace().filter(|it| *it != "\\").collect::<Vec<_>>().join(" ");
    let quoted = words.split('`').skip(1).step_by(2);
    let programs = [
        "openssl ",
        "kubectl create ",
        "kubectl annotate ",
        "sed ",
        "cat ",
        "base64 ",
        "diff ",
        "curl ",
        "keytool ",
        "TLS_CRT=",
    ];
    let is_command = |text: &&str| programs.iter().any(|program| text.starts_with(program));
    quoted.filter(is_command).map(ToOwned::to_owned).collect()
}

/// Runs a line as a person pastes it; a passphrase that is asked for, even thrice, is `secret`.
#[track_caller]
fn run(command: &str, home: &Path) -> String {
    let script = format!("cd '{}' && {command}", home.display());
    // Without a terminal, so that openssl reads its passphrase from the input.
    let shell = ["--wait", "bash", "-o", "pipefail", "-c", &script];
    let shell = Program::at("setsid").args(shell).input("secret\n".repeat(3));
    let shell = shell.env("no_proxy", "*").run();
    shell.expect_success().stdout
}

/// The data of a Secret as kubectl prints it.
fn of_json(text: &str) -> SecretData {
    use base64::Engine as _;
    let secret: Value = serde_json::from_str(text).expect("kubectl prints JSON");
    let data = secret["data"].as_object().expect("it holds data").iter();
    let decode = |value: &Value| {
        base64::engine::general_purpose::STANDARD.decode(value.as_str().unwrap()).unwrap()
    };
    data.map(|(key, value)| (key.clone(), decode(value))).collect()
}

/// Chain and key, one mistake each.
fn chains(ca: &Authority) -> Vec<Case> {
    use base64::Engine as _;
    let below = ca.intermediate("below");
    let issued = below.leaf().dns(HOST).issue();
    let (leaf, key) = (issued.certificate_pem(), issued.key_pem());
    let twice = base64::engine::general_purpose::STANDARD.encode(issued.chain_pem());
    let encrypted = openssl::encrypt(&key);
    let order =
        |case: Case| case.beside("shop.crt", leaf.clone()).beside("intermediate.crt", below.pem());
    let mark = |text: String| format!("\u{feff}{text}");
    let (v1, v1_key) = openssl::version_1(HOST);
    let other = ca.leaf().dns(HOST).issue().key_pem();
    let bundle = pkcs12(&issued.chain_pem(), &key);
    let blog = below.leaf().dns("blog.example.com").issue();
    vec![
        Case::chain(104, twice.clone(), key.clone())
            .beside("twice", twice)
            .files(&["twice", "tls.key"]),
        Case::chain(105, issued.der(), key.clone())
            .beside("shop.cer", issued.der())
            .files(&["shop.cer"])
            .commands(0..1),
        Case::chain(105, issued.chain_pem(), issued.key_der())
            .beside("shop.der", issued.key_der())
            .files(&["shop.der"])
            .commands(1..2),
        Case::chain(105, bundle.clone(), key.clone())
            .beside("shop.p12", bundle)
            .files(&["shop.p12"; 2])
            .commands(3..5),
        Case::chain(106, mark(issued.chain_pem()), key.clone()),
        Case::chain(109, key.clone(), issued.chain_pem()),
        Case::chain(110, issued.chain_pem(), encrypted),
        Case::chain(111, issued.chain_pem(), other.clone() + &key)
            .beside("right.key", key.clone())
            .files(&["right.key", "right.key"]),
        order(Case::chain(114, leaf.repeat(MOST_CERTIFICATES + 1), key.clone())),
        Case::chain(115, issued.chain_pem(), other),
        order(Case::chain(116, below.pem() + &leaf, key.clone())),
        order(Case::chain(117, leaf.clone() + &ca.pem() + &below.pem(), key.clone())),
        Case::chain(118, ca.pem(), ca.key_pem()),
        Case::chain(119, v1, v1_key),
        Case::chain(138, leaf.clone() + &blog.chain_pem(), key.clone())
            .beside("shop.pem", issued.chain_pem())
            .files(&["shop.pem", "tls.key"]),
        of_public_ca(),
    ]
}

/// Values that are not the file that was meant, or only a part of it.
fn wrong_files(ca: &Authority) -> Vec<Case> {
    let issued = ca.leaf().dns(HOST).issue();
    let (chain, key) = (issued.chain_pem(), issued.key_pem());
    let request = ["req", "-new", "-key", "/dev/stdin", "-subj", "/CN=shop.example.com"];
    let request = openssl::run(&request, key.clone());
    let cut = chain.get(..chain.len() / 2).expect("PEM is ASCII").to_owned();
    let glued = chain.replace('\n', " ");
    let case = |code, bytes: String| {
        Case::chain(code, bytes, key.clone()).beside("shop.crt", chain.clone())
    };
    let mut cases = vec![
        case(107, request).files(&["shop.crt"; 2]),
        case(108, cut).files(&["shop.crt", "tls.key"]).commands(1..2),
        case(108, glued).files(&["mended.crt", "mended.crt", "tls.key"]),
        // What the first one shows is an error.
        case(113, to_pem("CERTIFICATE", b"hello")).files(&["shop.crt"]).commands(1..2),
    ];
    if skip::find("keytool").is_some() {
        let keystore = keystore(&pkcs12(&chain, &key));
        cases.push(
            Case::chain(105, keystore.clone(), key.clone())
                .beside("shop.jks", keystore)
                .files(&["shop.jks", "shop.p12", "shop.p12"])
                .commands(2..5),
        );
    }
    cases
}

/// PKCS#12 as Java's own keystore; its passphrase is `secret` as well.
fn keystore(pkcs12: &[u8]) -> Vec<u8> {
    let home = TempDir::with_prefix("lasthop-jks-").unwrap();
    let path = |name: &str| home.path().join(name).display().to_string();
    let (from, to) = (path("p12"), path("jks"));
    std::fs::write(&from, pkcs12).unwrap();
    let stores = ["-importkeystore", "-srckeystore", &from, "-destkeystore", &to];
    let options = ["-deststoretype", "JKS", "-srcstorepass", "secret", "-deststorepass", "secret"];
    Program::at("keytool").args(stores).args(options).run().expect_success();
    std::fs::read(to).unwrap()
}

/// A chain that lacks what the example of the rule has.
fn of_public_ca() -> Case {
    let values = |text: &str| -> BTreeMap<String, String> {
        let documents: Vec<Value> = serde_saphyr::from_multiple(text).expect("it is YAML");
        let secret = documents.iter().find(|it| it["kind"] == "Secret").expect("it is there");
        let data = secret["stringData"].as_object().expect("it is a mapping").iter();
        data.map(|(key, value)| (key.clone(), value.as_str().unwrap().to_owned())).collect()
    };
    let bad = values(include_str!("cases/check/LH137/bad.yaml"));
    let good = values(include_str!("cases/check/LH137/good.yaml"));
    Case::chain(137, bad["tls.crt"].as_str(), bad["tls.key"].as_str())
        .beside("fullchain.pem", good["tls.crt"].as_str())
        .beside("privkey.pem", good["tls.key"].as_str())
}

/// What Windows and Java export; its passphrase is `secret`.
fn pkcs12(chain: &str, key: &str) -> Vec<u8> {
    let home = TempDir::with_prefix("lasthop-p12-").unwrap();
    let file = home.path().join("p12");
    let to = file.display().to_string();
    let both = format!("{key}{chain}");
    openssl::run(&["pkcs12", "-export", "-passout", "pass:secret", "-out", &to], both);
    std::fs::read(file).unwrap()
}

/// Certificates that have to be issued anew.
fn certificates(pki: &Pki, ca: &Authority) -> Vec<Case> {
    let made = |options: &[&str], name: &str| openssl::self_signed(pki, name, options);
    let (short, short_key) = made(&["-newkey", "rsa:1024"], "short");
    let (old, old_key) = made(&["-newkey", "rsa:2048", "-sha1"], "sha-one");
    let (own, own_key) = made(&["-newkey", "rsa:2048"], "own");
    let curve = openssl::run(&["ecparam", "-name", "secp256k1", "-genkey", "-noout"], "");
    let issued = |leaf: lasthop_tests::pki::LeafBuilder| {
        let issued = leaf.issue();
        (issued.chain_pem(), issued.key_pem())
    };
    let leaf = || ca.leaf().dns(HOST);
    let (fine, _) = issued(leaf());
    let (nameless, nameless_key) = issued(ca.leaf().common_name(HOST));
    let (over, over_key) = issued(leaf().expired());
    let (soon, soon_key) = issued(leaf().valid(Validity::days(-80, 10)));
    let (early, early_key) = issued(leaf().valid(Validity::days(10, 100)));
    let (client, client_key) = issued(leaf().client_only().key(Key::P256));
    vec![
        Case::chain(112, fine, curve),
        Case::chain(120, nameless, nameless_key),
        Case::chain(121, own, own_key),
        Case::chain(123, over, over_key),
        Case::chain(124, early, early_key),
        Case::chain(125, soon, soon_key),
        Case::chain(126, short, short_key),
        Case::chain(127, old, old_key),
        Case::chain(128, client, client_key),
    ]
}

/// Trusted CAs and revocation lists.
fn authorities(pki: &Pki, ca: &Authority) -> Vec<Case> {
    let leaf = ca.leaf().dns(HOST).issue();
    let over = pki.expired_authority("over");
    let list = ca.revocation_list(&[], Validity::days(-1, 7));
    let der = openssl_der(&list);
    let points = format!("crlDistributionPoints=URI:http://{}/ca.crl", published(der.clone()));
    let (client, _) =
        openssl::self_signed(pki, "client", &["-newkey", "rsa:2048", "-addext", &points]);
    let two = format!("{}{}", ca.pem(), leaf.certificate_pem());
    vec![
        Case::authorities(129, leaf.chain_pem())
            .beside("right.crt", ca.pem())
            .files(&["right.crt"; 2]),
        Case::authorities(130, two)
            .beside("ca-one.crt", ca.pem())
            .beside("ca-two.crt", pki.authority("two").pem()),
        Case::authorities(131, over.pem()).beside("current.crt", ca.pem()).files(&["current.crt"]),
        Case::authorities(132, ca.pem() + &ca.key_pem())
            .beside("ca-bundle.crt", ca.pem() + &ca.key_pem()),
        Case::lists(133, to_pem("X509 CRL", b"x"))
            .beside("list.der", der)
            .files(&["list.der"])
            .commands(1..2),
        Case::lists(133, openssl::revocation_list_version_1(ca))
            .beside("ca.crt", ca.pem())
            .beside(openssl::CA_FILES[0].0, openssl::CA_FILES[0].1)
            .beside(openssl::CA_FILES[1].0, openssl::CA_FILES[1].1)
            .files(&["ca.cnf"])
            .commands(2..3),
        Case::lists(134, ca.revocation_list(&[], Validity::days(-8, -1)))
            .beside("client.crt", client)
            .files(&["client.crt"]),
    ]
}

/// Serves this to the first who asks.
fn published(list: Vec<u8>) -> SocketAddr {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let (mut client, _) = listener.accept().unwrap();
        let request = BufReader::new(client.try_clone().unwrap()).lines();
        assert_ne!(request.map_while(Result::ok).take_while(|line| !line.is_empty()).count(), 0);
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", list.len());
        client.write_all(&[head.into_bytes(), list].concat()).unwrap();
    });
    address
}

fn openssl_der(list: &str) -> Vec<u8> {
    let home = TempDir::with_prefix("lasthop-crl-").unwrap();
    let file = home.path().join("list");
    openssl::run(&["crl", "-outform", "DER", "-out", &file.display().to_string()], list);
    std::fs::read(file).unwrap()
}

#[test]
fn what_is_wrong_with_a_credential_is_gone_once_its_cure_was_pasted() {
    if skip::lacks(&["openssl", "kubectl", "bash", "setsid", "curl"]) {
        return;
    }
    let pki = Pki::new();
    let ca = pki.authority("ca");
    let mut cases = chains(&ca);
    cases.extend(wrong_files(&ca));
    cases.extend(certificates(&pki, &ca));
    cases.extend(authorities(&pki, &ca));
    let mut shown = BTreeSet::from(IN_A_CLUSTER);
    for case in cases {
        let case = case.beside("ca.key", ca.key_pem());
        let case = match case.reads {
            Reads::Chain => case.beside("ca.crt", ca.pem()),
            Reads::Authorities | Reads::Lists => case,
        };
        let (before, after) = case.cured();
        assert!(before.contains(&case.code), "LH{}: {before:?}", case.code);
        assert_eq!(after, BTreeSet::new(), "LH{}: {:?}", case.code, commands(case.code));
        shown.insert(case.code);
    }
    shown.extend(NO_COMMAND.iter().map(|(code, _why)| *code));
    assert_eq!(shown, (101..=138).collect(), "a code has neither been followed nor excused");
}

/// A command with the files for which `FILE` stands, one time after the other.
fn filled(command: String, files: &[&str]) -> String {
    files.iter().fold(command, |command, file| command.replacen("FILE", file, 1))
}

/// Where a person sits who has a pair, and a namespace of a cluster.
struct Shell<'a> {
    cluster: &'a Cluster,
    namespace: &'static str,
    issued: Issued,
    home: TempDir,
}

impl<'a> Shell<'a> {
    /// With the pair in `shop.crt` and `shop.key`.
    fn new(cluster: &'a Cluster, namespace: &'static str) -> Self {
        cluster.namespace(namespace, &[]);
        let issued = Pki::new().authority("ca").leaf().dns(HOST).issue();
        let home = TempDir::with_prefix("lasthop-cures-").unwrap();
        let shell = Self { cluster, namespace, issued, home };
        shell.write("shop.crt", &shell.issued.chain_pem());
        shell.write("shop.key", &shell.issued.key_pem());
        shell
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.home.path().join(name), text).unwrap();
    }

    /// Pastes `command`, in which `NAME` is the object `name`.
    fn follow(&self, command: &str, name: &str) {
        let command = command.replace("NAME", &format!("{name} -n {}", self.namespace));
        let kubeconfig = self.cluster.kubeconfig().display();
        run(&format!("export KUBECONFIG='{kubeconfig}' && {command}"), self.home.path());
    }
}

/// What is added to or filled in a Secret, is so in the cluster.
#[test]
fn what_a_secret_lacks_is_there_once_the_cure_was_pasted() {
    let Some(cluster) = Cluster::shared() else { return };
    let shell = Shell::new(cluster, "cures");
    let namespace = shell.namespace;
    let chain = BTreeMap::from([("tls.crt", shell.issued.chain_pem())]);
    let empty = BTreeMap::from([("tls.crt", String::new()), ("tls.key", String::new())]);
    for (code, data, files) in
        [(101, chain, vec!["shop.key"]), (102, empty, vec!["shop.crt", "shop.key"])]
    {
        let name = format!("lh{code}");
        let secret = serde_json::json!({
            "apiVersion": "v1", "kind": "Secret", "type": "Opaque",
            "metadata": {"name": name, "namespace": namespace}, "stringData": data,
        });
        cluster.admitted(&secret.to_string());
        let stored = || of_json(&cluster.get(&["secret", &name, "-n", namespace]).to_string());
        let codes = |data: &SecretData| -> Vec<u16> {
            read(data).problems.iter().map(|problem| problem.code().0).collect()
        };
        assert!(codes(&stored()).contains(&code));
        let command = filled(commands(code).remove(0), &files);
        shell.follow(&command, &name);
        assert_eq!(codes(&stored()), Vec::<u16>::new(), "LH{code}");
    }
}

/// What an API server does not store, or stores and somebody else fills, is there once the cure was pasted.
#[test]
fn what_a_manifest_says_wrong_is_right_once_the_cure_was_pasted() {
    if skip::lacks(&["bash", "setsid", "envsubst"]) {
        return;
    }
    let Some(cluster) = Cluster::shared() else { return };
    let shell = Shell::new(cluster, "cures-manifests");
    let namespace = shell.namespace;
    for (code, value, nth, files) in [
        (103, "${TLS_CRT}", 0, &["shop.crt", "shop.key", "secret.json"][..]),
        (136, &*shell.issued.chain_pem(), 1, &["shop.crt", "shop.key"]),
    ] {
        let name = format!("lh{code}");
        let secret = serde_json::json!({
            "apiVersion": "v1", "kind": "Secret", "type": "Opaque",
            "metadata": {"name": name, "namespace": namespace},
            "data": {"tls.crt": value, "tls.key": "${TLS_KEY}"},
        });
        shell.write("secret.json", &secret.to_string());
        assert_eq!(Problem::new("tls.crt", undecodable(value)).code().0, code);
        cluster.refused(&secret.to_string());
        let command = commands(code).remove(nth);
        shell.follow(&filled(command, files), &name);
        let stored = of_json(&cluster.get(&["secret", &name, "-n", namespace]).to_string());
        assert_eq!(read(&stored).problems, [], "LH{code}");
    }
    let ingress = serde_json::json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
        "metadata": {"name": "lh122", "namespace": namespace, "annotations": {
            "cert-manager.io/cluster-issuer": "letsencrypt-staging",
        }},
        "spec": {"defaultBackend": {"service": {"name": "shop", "port": {"number": 80}}}},
    });
    cluster.admitted(&ingress.to_string());
    shell.follow(&commands(122).remove(0).replace("ISSUER", "letsencrypt"), "lh122");
    let ingress = cluster.get(&["ingress", "lh122", "-n", namespace]);
    let issuer = &ingress["metadata"]["annotations"]["cert-manager.io/cluster-issuer"];
    assert_eq!(issuer, "letsencrypt", "cert-manager issues what this one signs");
}
