//! What the application is told of the client: the truth, and nothing that the client wrote about
//! itself.

use lasthop_tests::app::{App, header};
use lasthop_tests::sidecar::HOST;
use lasthop_tests::skip;

use super::scene::Scene;

#[test]
fn both_versions_of_http_reach_the_application_with_the_truth_about_the_client() {
    if skip::lacks(&["curl"]) {
        return;
    }
    let app = App::start();
    let scene = Scene::new();
    let mut sidecar = scene.mutual(app.address()).start();
    let alb = scene.clients.leaf().dns("alb.example").issue();
    for (version, curl) in
        [("1.1", sidecar.get("/anything/a?b=c").http1()), ("2", sidecar.get("/anything/a?b=c"))]
    {
        let answer = curl.client(&alb.files()).run().expect(200);
        assert_eq!(answer.version, version);
        let told = answer.json();
        assert_eq!(told["target"], "/anything/a?b=c");
        assert_eq!(told["version"], "HTTP/1.1");
        assert_eq!(header(&told, "host"), [HOST]);
        assert_eq!(header(&told, "x-forwarded-for"), ["127.0.0.1"]);
        assert_eq!(header(&told, "x-forwarded-proto"), ["https"]);
        assert_eq!(header(&told, "x-forwarded-host"), [HOST]);
        assert_eq!(header(&told, "x-forwarded-port"), ["443"]);
        let expected =
            format!("Hash={};Subject=\"CN=alb.example\";DNS=alb.example", alb.fingerprint());
        assert_eq!(header(&told, "x-forwarded-client-cert"), [expected]);
    }
    let line = sidecar.expect_log("request");
    for (field, expected) in [
        ("method", "GET"),
        ("path", "/anything/a"),
        ("sni", HOST),
        ("tls", "TLSv1.3"),
        ("client_matched", "dns:alb.example"),
        ("client_san", "dns:alb.example"),
        ("client_sha256", &alb.fingerprint()),
    ] {
        assert_eq!(line[field], expected, "{line}");
    }
    assert_eq!(line["status"], 200);
    let log = sidecar.process.lines().join("\n");
    assert!(!log.contains("b=c"), "a query is nobody's business: {log}");
}

#[test]
fn what_a_client_writes_about_itself_does_not_reach_the_application() {
    if skip::lacks(&["curl"]) {
        return;
    }
    let app = App::start();
    let scene = Scene::new();
    let sidecar = scene.mutual(app.address()).start();
    let alb = scene.alb();
    let forged = [
        "X-Forwarded-For",
        "X-Forwarded-Proto",
        "X-Forwarded-Host",
        "X-Forwarded-Client-Cert",
        "Forwarded",
        "X-Real-IP",
        "X-Client-Cert",
        "X-SSL-Client-Cert",
        "Ssl-Client-Verify",
        "Client-Cert",
        "Client-Cert-Chain",
        "X-Amzn-Mtls-Clientcert-Leaf",
        "X-Remote-User",
        "Remote-User",
        "l5d-client-id",
        "X_Forwarded_For",
        "x_forwarded_client_cert",
        "REMOTE_USER",
    ];
    for http1 in [true, false] {
        let mut curl = sidecar.get("/headers").client(&alb);
        if http1 {
            curl = curl.http1();
        }
        for name in forged {
            curl = curl.header(&format!("{name}: forged")).header(&format!("{name}: forged-again"));
        }
        let text = curl.run().expect(200).text();
        assert!(!text.contains("forged"), "{text}");
        assert!(text.contains("alb.example"), "{text}");
    }
    assert!(sidecar.metric("lasthop_stripped_headers_total", &[]) > 30.0);
}

#[test]
fn a_cookie_that_http2_sends_in_crumbs_arrives_as_one_line() {
    if skip::lacks(&["curl"]) {
        return;
    }
    let app = App::start();
    let scene = Scene::new();
    let sidecar = scene.open(app.address()).start();
    let answer = sidecar
        .get("/headers")
        .header("Cookie: session=1")
        .header("Cookie: theme=dark; lang=en")
        .run()
        .expect(200);
    assert_eq!(answer.version, "2");
    assert_eq!(header(&answer.json(), "cookie"), ["session=1; theme=dark; lang=en"]);
}

#[test]
fn connection_cannot_name_what_the_sidecar_writes() {
    let app = App::start();
    let scene = Scene::new();
    let sidecar = scene.mutual(app.address()).start();
    let mut client = sidecar.connect(Some(&scene.alb()));
    let answer = client.ask(format!(
        "GET /headers HTTP/1.1\r\nHost: {HOST}\r\nX-Secret-Of-This-Hop: private\r\n\
         Connection: close, X-Forwarded-For, x-forwarded-client-cert, host, X-Secret-Of-This-Hop\r\n\r\n"
    ));
    assert!(answer.contains("\"x-forwarded-for\"") && answer.contains("127.0.0.1"), "{answer}");
    assert!(answer.contains("x-forwarded-client-cert") && answer.contains(HOST), "{answer}");
    assert!(!answer.contains("private"), "{answer}");
}

#[test]
fn trailers_are_passed_on_without_forged_identity() {
    let app = App::start();
    let scene = Scene::new();
    let sidecar = scene.open(app.address()).start();
    let mut client = sidecar.connect(None);
    let answer = client.ask(format!(
        "POST /anything HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\
         Trailer: x-checksum, x-forwarded-for, x_remote_user\r\n\r\n\
         5\r\nhello\r\n0\r\nx-checksum: good\r\nx-forwarded-for: forged\r\nx_remote_user: forged\r\n\r\n"
    ));
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.contains("x-checksum") && answer.contains("good"), "{answer}");
    assert!(!answer.contains("forged"), "{answer}");
}

#[test]
fn a_trusted_balancer_is_believed_and_extended() {
    if skip::lacks(&["curl"]) {
        return;
    }
    let app = App::start();
    let scene = Scene::new();
    let sidecar =
        scene.mutual(app.address()).option("--trusted-proxies", "allowed-clients").start();
    let told = sidecar
        .get("/headers")
        .client(&scene.alb())
        .header("X-Forwarded-For: 203.0.113.9")
        .header("X-Forwarded-Proto: http")
        .header("Forwarded: for=203.0.113.9")
        .header("X-Forwarded-Client-Cert: Hash=forged")
        .run()
        .expect(200)
        .json();
    assert_eq!(header(&told, "x-forwarded-for"), ["203.0.113.9, 127.0.0.1"]);
    assert_eq!(header(&told, "x-forwarded-proto"), ["http"]);
    assert_eq!(
        header(&told, "forwarded"),
        [format!("for=203.0.113.9, for=127.0.0.1;proto=https;host=\"{HOST}\"")]
    );
    assert!(!told.to_string().contains("forged"), "{told}");
}

#[test]
fn identity_comes_in_the_form_that_was_chosen() {
    if skip::lacks(&["curl"]) {
        return;
    }
    let app = App::start();
    let scene = Scene::new();
    for (kinds, present, absent) in [
        ("none", &[][..], &["x-forwarded-client-cert", "client-cert"][..]),
        ("rfc9440", &["client-cert", "client-cert-chain"], &["x-forwarded-client-cert"]),
        (
            "aws,xfcc",
            &["x-amzn-mtls-clientcert-subject", "x-forwarded-client-cert"],
            &["client-cert"],
        ),
    ] {
        let sidecar = scene.mutual(app.address()).option("--identity-headers", kinds).start();
        let below = scene.clients.intermediate("clients-sub-ca");
        let alb = below.leaf().dns("alb.example").issue().files();
        let told = sidecar.get("/headers").client(&alb).run().expect(200).json();
        for name in present {
            assert_eq!(header(&told, name).len(), 1, "{kinds}: {name}: {told}");
        }
        for name in absent {
            assert!(header(&told, name).is_empty(), "{kinds}: {name}: {told}");
        }
    }
}
