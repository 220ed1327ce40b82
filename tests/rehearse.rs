//! `lasthop rehearse`: what it says of a client is what the sidecar does with it.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use lasthop_tests::app::App;
use lasthop_tests::curl::Curl;
use lasthop_tests::golden::{self, Varying};
use lasthop_tests::kubernetes::secret_manifest;
use lasthop_tests::openssl;
use lasthop_tests::pki::{Authority, Issued, Pki, SecretData, Validity};
use lasthop_tests::process::{Finished, Program};
use lasthop_tests::review::Review;
use lasthop_tests::sidecar::Sidecar;
use lasthop_tests::skip;
use rcgen::ExtendedKeyUsagePurpose as Usage;
use serde_json::{Value, json};

/// A folder with the manifests of `shop/web`.
struct Shop {
    pki: Pki,
    ca: Authority,
    server: Issued,
    written: AtomicUsize,
}

impl Shop {
    fn new() -> Self {
        let pki = Pki::new();
        let ca = pki.authority("alb-ca");
        let server = pki.authority("web-ca").leaf().dns("shop.example").issue();
        Self { pki, ca, server, written: AtomicUsize::new(0) }
    }

    /// The Deployment with these further annotations, and its Secrets.
    fn manifests(&self, annotations: &[(&str, &str)]) -> PathBuf {
        self.manifests_with(annotations, &[("alb-ca", self.ca.ca_secret())])
    }

    fn manifests_with(&self, more: &[(&str, &str)], secrets: &[(&str, SecretData)]) -> PathBuf {
        let mut annotations = json!({
            "lasthop.dev/inject": "true",
            "lasthop.dev/tls-secret": "web-tls",
            "lasthop.dev/client-ca-secret": "alb-ca",
            "lasthop.dev/allowed-clients": "dns:alb.example.com",
        });
        for (name, value) in more {
            annotations[format!("lasthop.dev/{name}")] = json!(value);
        }
        let own = ("web-tls", self.server.secret());
        let all = secrets.iter().chain([&own]);
        let secrets: Vec<String> =
            all.map(|(name, data)| secret_manifest("shop", name, "Opaque", data)).collect();
        let text = format!("{:#}\n---\n{}\n", deployment(&annotations), secrets.join("\n---\n"));
        let number = self.written.fetch_add(1, Ordering::Relaxed);
        self.pki.write(&format!("shop-{number}.yaml"), text)
    }

    fn rehearse(&self, client: &Path, manifests: &Path, more: &[&str]) -> Finished {
        let program = Program::ours("lasthop").args(["rehearse", "--to", "shop/web", "--client"]);
        let program = program.arg(client).arg("-f").arg(manifests).args(more);
        program.env("HOME", self.pki.directory()).run()
    }

    fn golden(&self, name: &str, told: &Finished) {
        let home = Varying::path(self.pki.directory(), "<home>");
        let text = format!("{}{}exit status {}\n", told.stdout, told.stderr, told.code());
        golden::check(format!("cases/rehearse/{name}.txt"), &text, &[home, Varying::Times]);
    }
}

fn deployment(annotations: &Value) -> Value {
    let container = json!({"name": "web", "image": "web:1", "ports": [{"containerPort": 8080}]});
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "web", "namespace": "shop"},
        "spec": {
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}, "annotations": annotations},
                "spec": {"containers": [container]},
            },
        },
    })
}

#[test]
fn every_answer_reads_as_a_person_approved_it() {
    let shop = Shop::new();
    let plain = shop.manifests(&[]);
    let balancer = shop.ca.leaf().dns("*.x.containers.appdomain.cloud").server_only().issue();
    let files = balancer.files();
    shop.golden("not-allowed", &shop.rehearse(&files.chain, &plain, &[]));
    shop.golden("not-allowed.json", &shop.rehearse(&files.chain, &plain, &["-o", "json"]));
    let key = files.key.display().to_string();
    shop.golden("handshake", &shop.rehearse(&files.chain, &plain, &["--client-key", &key]));
    let good = shop.ca.leaf().dns("alb.example.com").issue().files();
    shop.golden("let-in", &shop.rehearse(&good.chain, &plain, &[]));
    let stranger = shop.pki.authority("other").leaf().dns("alb.example.com").issue().files();
    shop.golden("unknown-issuer", &shop.rehearse(&stranger.chain, &plain, &[]));
    let strict = shop.manifests(&[("client-eku", "client")]);
    shop.golden("wrong-purpose", &shop.rehearse(&files.chain, &strict, &[]));
    let old = shop.ca.leaf().dns("alb.example.com").expired().issue().files();
    shop.golden("expired", &shop.rehearse(&old.chain, &plain, &[]));
    let blind = shop.manifests_with(&[], &[]);
    shop.golden("cannot-tell", &shop.rehearse(&good.chain, &blind, &[]));
    let broken =
        shop.manifests_with(&[("client-ca-secret", "empty")], &[("empty", SecretData::new())]);
    shop.golden("cannot-serve", &shop.rehearse(&good.chain, &broken, &[]));
    let anybody = shop.manifests(&[("client-auth", "none")]);
    // What does nothing beside `none` is an error of the annotations.
    shop.golden("no-such-sidecar", &shop.rehearse(&good.chain, &anybody, &[]));
}

#[test]
fn what_cannot_be_used_is_told_with_the_way_out() {
    let shop = Shop::new();
    let plain = shop.manifests(&[]);
    let good = shop.ca.leaf().dns("alb.example.com").issue();
    let files = good.files();
    let ask = |client: &Path, to: &str, more: &[&str]| {
        let program = Program::ours("lasthop").args(["rehearse", "--to", to, "--client"]);
        let told = program.arg(client).arg("-f").arg(&plain).args(more).run();
        assert_eq!(told.code(), 2, "{}{}", told.stdout, told.stderr);
        assert_eq!(told.stdout, "");
        told.stderr
    };
    let swapped = ask(&files.key, "shop/web", &[]);
    assert!(
        swapped.contains("it holds a private key") && swapped.contains("--client-key"),
        "{swapped}"
    );
    let secret: Vec<String> = good.key_pem().lines().map(str::to_owned).collect();
    assert!(secret.iter().filter(|line| line.len() > 20).all(|line| !swapped.contains(line)));
    let other = shop.server.files().key.display().to_string();
    let mismatch = ask(&files.chain, "shop/web", &["--client-key", &other]);
    assert!(mismatch.contains("not the private key of the certificate"), "{mismatch}");
    let no_pem = ask(&plain, "shop/web", &[]);
    assert!(no_pem.contains("a CERTIFICATE is needed"), "{no_pem}");
    let nothing = ask(Path::new("/nonexistent"), "shop/web", &[]);
    assert!(nothing.contains("/nonexistent: No such file"), "{nothing}");
    let endless = ask(Path::new("/dev/zero"), "shop/web", &[]);
    assert!(endless.contains("longer than"), "{endless}");
    let slip = ask(&files.chain, "shop/wbe", &[]);
    assert!(slip.contains("did you mean `shop/web`?"), "{slip}");
    let elsewhere = ask(&files.chain, "blog/web", &[]);
    assert!(elsewhere.contains("no workload or Pod `web` in namespace `blog`"), "{elsewhere}");
    let port = ask(&files.chain, "shop/web:9443", &[]);
    assert!(port.contains("no listener at port 9443") && port.contains("8443"), "{port}");
    assert!(ask(&files.chain, "shop/statefulset/web", &[]).contains("no statefulset `web`"));
    assert!(ask(&files.chain, "a/b/c/d", &[]).contains("shop/web:8443"));
}

#[test]
fn of_several_listeners_one_is_chosen() {
    let shop = Shop::new();
    let client = shop.ca.leaf().dns("alb.example.com").issue().files().chain;
    let two = shop.manifests(&[
        ("ports", "8443:8080,9443:8080"),
        ("allowed-clients.9443", "dns:other.example.com"),
    ]);
    let told = shop.rehearse(&client, &two, &[]);
    assert_eq!(told.code(), 2);
    assert!(told.stderr.contains("`shop/web:8443` or `shop/web:9443`"), "{}", told.stderr);
    let ask = |to: &str| {
        let program = Program::ours("lasthop").args(["rehearse", "--to", to, "-o", "json"]);
        program.arg("--client").arg(&client).arg("-f").arg(&two).run()
    };
    assert_eq!(ask("shop/deployment/web:8443").code(), 0);
    let refused = ask("shop/web:9443");
    assert_eq!(refused.code(), 1);
    let told: Value = serde_json::from_str(&refused.stdout).unwrap();
    assert_eq!(told["code"], "LH511");
    let path = "spec.template.metadata.annotations[lasthop.dev/allowed-clients.9443]";
    assert_eq!(told["path"], path);
}

/// A client, what the annotations say of clients, and the code of its refusal.
struct Trial {
    name: &'static str,
    client: Issued,
    annotations: Vec<(&'static str, &'static str)>,
    list: Option<String>,
    refusal: Option<&'static str>,
}

fn trials(shop: &Shop) -> Vec<Trial> {
    let leaf = || shop.ca.leaf().dns("alb.example.com");
    let trial = |name, client, refusal| Trial {
        name,
        client,
        annotations: Vec::new(),
        list: None,
        refusal,
    };
    let with = |mut trial: Trial, annotation| {
        trial.annotations.push(annotation);
        trial
    };
    let revoked = leaf().issue();
    let list = shop.ca.revocation_list(&[&revoked], Validity::days(-1, 7));
    let wildcard = || shop.ca.leaf().dns("*.example.com").server_only().issue();
    let intermediate = shop.ca.intermediate("alb-sub-ca").leaf().dns("alb.example.com").issue();
    vec![
        trial("named", leaf().issue(), None),
        trial("for servers only", leaf().server_only().issue(), None),
        trial("behind an intermediate CA", intermediate, None),
        trial("a wildcard for an exact entry", wildcard(), Some("LH511")),
        with(
            trial("a wildcard by name", wildcard(), None),
            ("allowed-clients", "dns:*.example.com"),
        ),
        with(trial("anybody", wildcard(), Some("LH506")), ("allowed-clients", "*")),
        with(
            trial("for clients only", leaf().client_only().issue(), None),
            ("client-eku", "client"),
        ),
        with(
            trial("no client", leaf().server_only().issue(), Some("LH506")),
            ("client-eku", "client"),
        ),
        trial("for code", leaf().purposes([Usage::CodeSigning]).issue(), Some("LH506")),
        trial("over", leaf().expired().issue(), Some("LH504")),
        trial("too early", leaf().not_yet_valid().issue(), Some("LH505")),
        trial("a CA", leaf().as_ca().issue(), Some("LH507")),
        trial("self-signed", leaf().self_signed().issue(), Some("LH503")),
        trial(
            "by name only",
            shop.pki.authority("x").leaf().dns("alb.example.com").issue(),
            Some("LH503"),
        ),
        trial(
            "an impostor",
            shop.ca.impostor().leaf().dns("alb.example.com").issue(),
            Some("LH510"),
        ),
        Trial { list: Some(list), ..trial("revoked", revoked, Some("LH508")) },
        with(trial("optional", leaf().issue(), None), ("client-auth", "optional")),
        with(
            trial("optional and bad", leaf().expired().issue(), Some("LH504")),
            ("client-auth", "optional"),
        ),
    ]
}

#[test]
fn what_it_says_the_sidecar_does() {
    if skip::lacks(&["curl"]) {
        return;
    }
    let shop = Shop::new();
    let app = App::start();
    for Trial { name, client, annotations, list, refusal } in trials(&shop) {
        let mut secrets = vec![("alb-ca", shop.ca.ca_secret())];
        let mut all = annotations.clone();
        if let Some(list) = &list {
            let data = SecretData::from([("ca.crl".to_owned(), list.as_bytes().to_vec())]);
            secrets.push(("alb-crl", data));
            all.push(("client-crl-secret", "alb-crl"));
        }
        let manifests = shop.manifests_with(&all, &secrets);
        let files = client.files();
        let key = files.key.display().to_string();
        let expected = refusal.map_or(json!(null), |code| json!(code));
        for more in [&["-o", "json"][..], &["-o", "json", "--client-key", &key]] {
            let told = shop.rehearse(&files.chain, &manifests, more);
            assert_eq!(
                told.code(),
                i32::from(refusal.is_some()),
                "{name}: {}{}",
                told.stdout,
                told.stderr
            );
            let told: Value = serde_json::from_str(&told.stdout).unwrap();
            assert_eq!(told["code"], expected, "{name}: {told:#}");
        }
        let setup = Sidecar::before(app.address()).serving(&shop.server);
        let setup = setup.clients_data(&shop.ca.ca_secret());
        let has = |wanted: &str| annotations.iter().any(|(annotation, _)| *annotation == wanted);
        let default =
            (!has("allowed-clients")).then_some(("allowed-clients", "dns:alb.example.com"));
        let setup = annotations
            .iter()
            .copied()
            .chain(default)
            .fold(setup, |setup, (flag, value)| setup.option(&format!("--{flag}"), value));
        let setup = list.iter().fold(setup, |setup, list| setup.revoking(list));
        let mut sidecar = setup.start();
        let answer = sidecar.get("/status/200").client(&files).run();
        match refusal {
            None => drop(answer.expect(200)),
            Some(code) => {
                answer.expect_refused();
                sidecar.expect_refusal(code);
            }
        }
        sidecar.finish();
    }
}

#[test]
fn a_certificate_of_version_1_is_the_sidecars_to_refuse() {
    if skip::lacks(&["openssl"]) {
        return;
    }
    let shop = Shop::new();
    let (certificate, _key) = openssl::version_1("alb.example.com");
    let file = shop.pki.write("v1.crt", certificate);
    let told = shop.rehearse(&file, &shop.manifests(&[]), &["-o", "json"]);
    let told: Value = serde_json::from_str(&told.stdout).unwrap();
    assert_eq!((&told["verdict"], &told["code"]), (&json!("refused"), &json!("LH502")));
}

#[test]
fn key_and_certificate_in_one_file_are_shaken_hands_with() {
    let shop = Shop::new();
    let client = shop.ca.leaf().dns("alb.example.com").issue();
    let both = shop.pki.write("both.pem", format!("{}{}", client.key_pem(), client.chain_pem()));
    let told = shop.rehearse(&both, &shop.manifests(&[]), &[]);
    assert_eq!(told.code(), 0);
    assert!(told.stdout.contains("the handshake in TLS 1.3 and TLS 1.2"), "{}", told.stdout);
    let lines = fs::read_to_string(&both).unwrap();
    let secret = lines.lines().take(4).filter(|line| line.len() > 20 && !line.starts_with("---"));
    for line in secret {
        assert!(!told.stdout.contains(line));
    }
}

/// The objects of the cases for hops that do not fit.
fn cases() -> (PathBuf, Vec<Value>) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("cases/check");
    let text = fs::read_to_string(folder.join("LH601/bad.yaml")).unwrap();
    (folder, serde_saphyr::from_multiple(&text).unwrap())
}

#[test]
fn who_makes_one_end_is_refused_who_changes_one_is_warned() {
    if skip::lacks(&["curl"]) {
        return;
    }
    let (folder, objects) = cases();
    let home = tempfile::TempDir::with_prefix("lasthop-rehearse-").unwrap();
    let ca = home.path().join("ca.crt");
    let mut webhook = Program::ours("lasthop")
        .args(["serve", "--listen", "127.0.0.1:0", "--tls-san", "127.0.0.1", "--surroundings"])
        .args([folder.join("LH601/bad.yaml"), folder.join("LH602/bad.yaml")])
        .arg("--ca-file")
        .arg(&ca)
        .start();
    let url = format!("https://{}/validate?timeout=5s", webhook.address("webhook"));
    let ask = |review: Review| review.ask(Curl::get(&url).trust(&ca));
    let of_kind = |kind: &str| objects.iter().find(|it| it["kind"] == kind).unwrap().clone();
    let told = "allows only `dns:alb.example.com`";
    for kind in ["Ingress", "Deployment"] {
        let object = of_kind(kind);
        let refusal = ask(Review::create(object.clone()));
        let text = refusal.expect_refused().replace("\n  ", " ");
        assert!(text.contains("LH601") && text.contains(told), "{text}");
        let mut before = object.clone();
        before["metadata"]["labels"] = json!({"before": "true"});
        let mut old = before.clone();
        old["metadata"]["annotations"] = json!({});
        for review in [
            Review::update(before, object.clone()),
            Review::update(old, object.clone()),
            Review::create(object.clone()).with("dryRun", json!(true)),
        ] {
            let answer = ask(review).expect_allowed();
            assert!(answer.warnings().iter().any(|it| it.contains("LH601")), "{:#}", answer.0);
        }
    }
    // Nothing of another namespace is told to who may not read it, and it never refuses.
    let mut foreign = of_kind("Ingress");
    let secret = "nginx.ingress.kubernetes.io/proxy-ssl-secret";
    foreign["metadata"]["annotations"][secret] = json!("lh602/alb");
    let person = ask(Review::create(foreign.clone()).by("alice")).expect_allowed();
    assert!(person.warnings().iter().any(|it| it.contains("LH60")), "{:#}", person.0);
    let program = "system:serviceaccount:flux-system:flux";
    let answer = ask(Review::create(foreign).by(program)).expect_allowed();
    assert!(!answer.0.to_string().contains("LH60"), "{:#}", answer.0);
    assert!(!answer.0.to_string().contains("alb.example.com"), "{:#}", answer.0);
    webhook.terminate();
}
