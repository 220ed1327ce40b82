//! Plain HTTP in, https out: the redirect as it was chosen, and what browsers are told over TLS.

use std::net::SocketAddr;

use lasthop_tests::app::App;
use lasthop_tests::curl::Curl;
use lasthop_tests::pki::Pki;
use lasthop_tests::sidecar::{HOST, Setup, Sidecar};
use lasthop_tests::skip;

const HSTS: &str = "strict-transport-security";

fn before(pki: &Pki, application: SocketAddr) -> Setup {
    Sidecar::before(application).serving(&pki.server())
}

#[test]
fn status_and_port_of_the_redirect_can_be_chosen() {
    if skip::lacks(&["curl"]) {
        return;
    }
    let (pki, app) = (Pki::new(), App::start());
    for status in [301, 302, 307, 308] {
        let sidecar = before(&pki, app.address())
            .redirecting()
            .option("--redirect-status", status.to_string())
            .option("--redirect-https-port", "8443")
            .start();
        let redirect = sidecar.redirect.unwrap();
        let ask = Curl::get(&format!("http://{redirect}/a?b=c")).header(&format!("Host: {HOST}"));
        let answer = ask.run().expect(status);
        let expected = format!("https://{HOST}:8443/a?b=c");
        assert_eq!(answer.header("location"), Some(expected.as_str()));
        // Over a connection that anybody may read and change, it says nothing (RFC 6797, 7.2).
        assert_eq!(answer.header(HSTS), None);
    }
    let refused =
        before(&pki, app.address()).redirecting().option("--redirect-status", "303").run();
    assert_eq!(refused.status.code(), Some(64), "{refused}");
    assert!(refused.stderr.contains("301, 302, 307 or 308"), "{refused}");
}

#[test]
fn browsers_are_told_to_come_over_https_where_somebody_wants_it() {
    if skip::lacks(&["curl"]) {
        return;
    }
    let (pki, app) = (Pki::new(), App::start());
    let told = "max-age=31536000; includeSubDomains";
    for protocol in ["http", "h2c"] {
        let sidecar = before(&pki, app.address())
            .redirecting()
            .option("--protocol", protocol)
            .option("--hsts", told)
            .start();
        for curl in [sidecar.get("/status/404"), sidecar.get("/status/404").http1()] {
            assert_eq!(curl.run().expect(404).header(HSTS), Some(told), "{protocol}");
        }
        // Also by the answers of the sidecar itself.
        let none = sidecar.get("/").header("Host: a@b").http1().run().expect(400);
        assert_eq!(none.header(HSTS), Some(told), "{protocol}");
        let redirect = sidecar.redirect.unwrap();
        let plain = Curl::get(&format!("http://{redirect}/")).header(&format!("Host: {HOST}"));
        assert_eq!(plain.run().expect(308).header(HSTS), None);
    }
    let silent = before(&pki, app.address()).start();
    assert_eq!(silent.get("/status/204").run().expect(204).header(HSTS), None);
    for (protocol, value, expected) in
        [("tcp", told, "is for HTTP"), ("http", "31536000", "max-age=SECONDS")]
    {
        let refused = before(&pki, app.address())
            .option("--protocol", protocol)
            .option("--hsts", value)
            .run();
        assert_eq!(refused.status.code(), Some(64), "{refused}");
        assert!(refused.stderr.contains(expected), "{refused}");
    }
}
