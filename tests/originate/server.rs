//! The next tier is the one server that it should be, or there is no connection.

use lasthop_tests::outward::{Outward, OutwardSetup};
use lasthop_tests::pki::Issued;
use lasthop_tests::raw::nobody;
use lasthop_tests::skip;

use super::scene::{Scene, TIER};

/// A next tier that is not as it should be, and what is said of it.
struct Wrong {
    outward: OutwardSetup,
    status: u16,
    code: &'static str,
    reason: &'static str,
    detail: &'static str,
}

#[test]
fn a_next_tier_that_is_not_the_right_one_is_a_502_with_its_reason() {
    if skip::lacks(&["curl"]) {
        return;
    }
    let scene = Scene::new();
    let tier = |issued: Issued| scene.tier(&issued).start();
    let other = scene.pki.authority("other-ca");
    let right = tier(scene.server());
    let wildcard = tier(scene.servers.leaf().dns("*.example").issue());
    let stranger = tier(other.leaf().dns(TIER).issue());
    let expired = tier(scene.servers.leaf().dns(TIER).expired().issue());
    let early = tier(scene.servers.leaf().dns(TIER).not_yet_valid().issue());
    let client = tier(scene.servers.leaf().dns(TIER).client_only().issue());
    let named = tier(scene.servers.leaf().dns("evil.example").uri("spiffe://x/\u{7f}").issue());
    let mutual = scene.mutual_tier();
    let plain = scene.app.address();
    let https = |address| scene.outward("https", address);
    let stranger_client = scene.pki.authority("strangers").leaf().dns("web.example").issue();
    let wrong =
        |outward, status, code, reason, detail| Wrong { outward, status, code, reason, detail };
    let cases = [
        wrong(https(stranger.tls), 502, "LH541", "unknown_issuer", "CN=other-ca"),
        wrong(https(expired.tls), 502, "LH542", "expired", "valid until"),
        wrong(https(early.tls), 502, "LH543", "not_yet_valid", "not valid yet"),
        wrong(https(client.tls), 502, "LH544", "wrong_purpose", "`clientAuth` only"),
        wrong(https(named.tls), 502, "LH547", "wrong_name", "`dns:evil.example`"),
        // A listed name is compared as text; the host of an upstream is not the certificate's either.
        wrong(https(wildcard.tls), 502, "LH547", "wrong_name", "`dns:*.example`"),
        wrong(
            Outward::to(&format!("https://{}", right.tls)).trusting(&scene.servers),
            502,
            "LH547",
            "wrong_name",
            "is not for `127.0.0.1`",
        ),
        wrong(
            Outward::to(&format!("https://{}", right.tls)),
            502,
            "LH541",
            "unknown_issuer",
            "tier-ca",
        ),
        wrong(https(mutual.tls), 502, "LH550", "upstream_alert", "`certificate_required`"),
        wrong(
            https(mutual.tls).presenting(&stranger_client),
            502,
            "LH550",
            "upstream_alert",
            "`unknown_ca`",
        ),
        wrong(https(plain), 502, "LH551", "not_tls", "does not speak TLS"),
        wrong(https(nobody()), 502, "LH561", "connection_refused", "does not accept connections"),
        wrong(
            Outward::to("https://lasthop.invalid:443"),
            503,
            "LH560",
            "unresolved",
            "leads to no address",
        ),
    ];
    for wrong in cases {
        expect_failure(wrong);
    }
}

/// Asks as an application does, and looks at what it is told, what is logged and what is counted.
#[track_caller]
fn expect_failure(Wrong { outward, status, code, reason, detail }: Wrong) {
    let mut outward = outward.start();
    for curl in [outward.get(TIER, "/headers"), outward.get(TIER, "/headers").h2c()] {
        let answer = curl.run().expect(status);
        let text = answer.text();
        assert!(text.contains(code), "{code}: {text}");
        assert!(!text.contains("example") && !text.contains("CN="), "{text}");
    }
    let line = outward.expect_failure(code);
    assert_eq!(line["reason"], reason, "{line}");
    assert!(line["detail"].as_str().unwrap().contains(detail), "{detail}: {line}");
    if code == "LH547" {
        assert_eq!(line["issuer"], "CN=tier-ca", "{line}");
        assert!(!line.to_string().contains('\u{7f}'), "{line}");
    }
    let label = format!("code=\"{code}\"");
    assert!(outward.metric("lasthop_upstream_failures_total", &[&label]) >= 1.0, "{code}");
    let status = format!("status=\"{}xx\"", status / 100);
    assert!(outward.metric("lasthop_requests_total", &[&status]) >= 2.0);
}

#[test]
fn the_name_that_is_asked_for_and_the_name_that_is_expected_are_two_things() {
    if skip::lacks(&["curl"]) {
        return;
    }
    let scene = Scene::new();
    let spiffe = scene.servers.leaf().uri("spiffe://example.com/db").issue();
    let mut tier = scene.tier(&spiffe).start();
    let address = tier.tls;
    let setup = |name: &str| {
        Outward::to(&format!("https://{address}"))
            .trusting(&scene.servers)
            .option("--upstream-sni", "front.example")
            .option("--upstream-server-names", name)
    };
    let outward = setup("dns:other.example,uri:spiffe://example.com/db").start();
    outward.get(TIER, "/headers").run().expect(200);
    assert_eq!(tier.expect_log("request")["sni"], "front.example");
    let mut other = setup("uri:spiffe://example.com/db2").start();
    other.get(TIER, "/headers").run().expect(502);
    let line = other.expect_failure("LH547");
    assert_eq!(line["sans"], "`uri:spiffe://example.com/db`");
}

#[test]
fn by_default_the_host_is_asked_for_and_expected() {
    if skip::lacks(&["curl"]) {
        return;
    }
    let scene = Scene::new();
    for (issued, status) in [
        (scene.servers.leaf().dns("localhost").issue(), 200),
        (scene.servers.leaf().dns("*.localhost").issue(), 502),
        // Not a name at all: the CN says `localhost`.
        (scene.servers.leaf().common_name("localhost").uri("spiffe://x/y").issue(), 502),
    ] {
        let mut tier = scene.tier(&issued).start();
        let upstream = format!("https://localhost:{}", tier.tls.port());
        let outward = Outward::to(&upstream).trusting(&scene.servers).start();
        outward.get(TIER, "/headers").run().expect(status);
        if status == 200 {
            assert_eq!(tier.expect_log("request")["sni"], "localhost");
        }
    }
    let address = scene.servers.leaf().ip([127, 0, 0, 1]).issue();
    let mut tier = scene.tier(&address).start();
    let outward = Outward::to(&format!("https://{}", tier.tls)).trusting(&scene.servers).start();
    outward.get(TIER, "/headers").run().expect(200);
    assert_eq!(tier.expect_log("request").get("sni"), None);
}

#[test]
fn a_bundle_of_the_system_stands_in_for_mozillas_roots() {
    if skip::lacks(&["curl"]) {
        return;
    }
    let scene = Scene::new();
    let tier = scene.tier(&scene.servers.leaf().ip([127, 0, 0, 1]).issue()).start();
    let upstream = format!("https://{}", tier.tls);
    let root = scene.servers.root_file();
    let outward = Outward::to(&upstream).env("SSL_CERT_FILE", &root).start();
    outward.get(TIER, "/headers").run().expect(200);
    let missing = Outward::to(&upstream).option("--ca-file", "/nonexistent/ca.pem").run();
    assert_eq!(missing.code(), 66, "{missing}");
    assert!(missing.stdout.contains("/nonexistent/ca.pem"), "{missing}");
}

#[test]
fn a_certificate_of_ours_is_presented_only_to_who_asks() {
    if skip::lacks(&["curl"]) {
        return;
    }
    let scene = Scene::new();
    let mut tier = scene.tier(&scene.server()).start();
    let outward = scene.outward("https", tier.tls).presenting(&scene.web()).start();
    outward.get(TIER, "/headers").run().expect(200);
    assert_eq!(tier.expect_log("request").get("client_san"), None);
}
