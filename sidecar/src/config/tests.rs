//! What is unsafe or contradicts itself is told, all of it at once.

use super::*;
use crate::cli::Settings;

fn faults(document: &str) -> Vec<String> {
    let document = format!(r#"{{"version":1,"listeners":[{document}]}}"#);
    let settings = Settings::parse(["lasthop-sidecar"], Some(&document)).unwrap();
    match Plan::new(&settings) {
        Ok(_) => Vec::new(),
        Err(faults) => faults.iter().map(ToString::to_string).collect(),
    }
}

fn terminate(rest: &str) -> String {
    format!(
        r#"{{"mode":"terminate","listen":"[::]:8443","forward":8080,"tlsSecrets":["web"]{rest}}}"#
    )
}

#[test]
fn a_sound_configuration_has_no_fault() {
    assert_eq!(faults(&terminate("")), Vec::<String>::new());
    let clients =
        r#","clients":{"auth":"required","caSecret":"ca","allowed":["dns:a.example.com"]}"#;
    assert_eq!(faults(&terminate(clients)), Vec::<String>::new());
}

#[test]
fn what_is_unsafe_is_refused() {
    for (rest, expected) in [
        (r#","clients":{"auth":"required","caSecret":"ca"}"#, "allowed clients"),
        (r#","clients":{"auth":"required","allowed":["*"]}"#, "no CA"),
        (r#","clients":{"auth":"optional"}"#, "no CA"),
        (r#","clients":{"auth":"none","caSecret":"ca"}"#, "would keep nobody out"),
        (r#","clients":{"auth":"none","allowed":["dns:a.example.com"]}"#, "would keep nobody out"),
        (
            r#","clients":{"auth":"required","caSecret":"ca","allowed":["a.example.com"]}"#,
            "dns:a.example.com",
        ),
        (r#","clients":{"auth":"required","caSecret":"../ca","allowed":["*"]}"#, "secrets root"),
        (r#","clients":{"auth":"none","exemptPaths":["/healthz"]}"#, "would keep nobody out"),
        (
            r#","clients":{"auth":"optional","caSecret":"ca","allowed":["*"],"exemptPaths":["/healthz"]}"#,
            "`client-auth` is `optional`",
        ),
        (
            r#","clients":{"auth":"required","caSecret":"ca","allowed":["*"],"exemptPaths":["/a%2f"]}"#,
            "escape",
        ),
        (
            r#","protocol":"tcp","clients":{"auth":"required","caSecret":"ca","allowed":["*"],"exemptPaths":["/a"]}"#,
            "there are no paths",
        ),
        (r#","alpn":["mqtt"]"#, "`alpn` is for `protocol: tcp`"),
        (r#","trustedProxies":["allowed-clients"]"#, "nobody would be trusted"),
        (r#","proxyProtocol":{"accept":"fromTrusted"}"#, "needs address ranges"),
        (
            r#","proxyProtocol":{"accept":"fromTrusted"},"trustedProxies":["allowed-clients"]"#,
            "needs address ranges",
        ),
        (r#","proxyProtocol":{"send":"v2"}"#, "is for `protocol: tcp`"),
        (r#","protocol":"h2c","proxyProtocol":{"send":"v1"}"#, "is for `protocol: tcp`"),
        (r#","trustedProxies":["10.0.0.0/99"]"#, "trusted-proxies"),
        (r#","protocol":"tcp","hsts":"max-age=1""#, "`hsts` is for HTTP"),
    ] {
        let faults = faults(&terminate(rest));
        assert!(faults.iter().any(|fault| fault.contains(expected)), "{rest}: {faults:?}");
    }
}

#[test]
fn the_application_is_on_loopback_and_not_ourselves() {
    let at = |forward: &str| {
        format!(
            r#"{{"mode":"terminate","listen":"[::]:8443","forward":{forward},"tlsSecrets":["web"]}}"#
        )
    };
    for (forward, expected) in [
        (r#""10.0.0.1:8080""#, "--unsafe-target"),
        (r#""0.0.0.0:8080""#, "--unsafe-target"),
        ("8443", "take the place of the application"),
        ("0", "must not be 0"),
    ] {
        let faults = faults(&at(forward));
        assert!(faults.iter().any(|fault| fault.contains(expected)), "{forward}: {faults:?}");
    }
    assert_eq!(faults(&at(r#""[::ffff:127.0.0.1]:80""#)), Vec::<String>::new());
}

#[test]
fn everything_is_reported_at_once() {
    let wrong = r#"{"mode":"terminate","listen":"[::]:8443","forward":"10.0.0.1:1","tlsSecrets":["/etc"],
        "clients":{"auth":"required","allowed":["nobody"]},"trustedProxies":["x"]}"#;
    let clash = r#"{"mode":"redirect","listen":"0.0.0.0:8443"}"#;
    let faults = faults(&format!("{wrong},{clash}"));
    assert!(faults.len() >= 5, "{faults:?}");
    assert_eq!(self::faults(""), ["there is no listener"]);
}

#[test]
fn bind_overrides_addresses_and_not_ports() {
    let document = format!(r#"{{"version":1,"listeners":[{}]}}"#, terminate(""));
    let args = ["lasthop-sidecar", "--bind", "127.0.0.1"];
    let settings = Settings::parse(args, Some(&document)).unwrap();
    let plan = Plan::new(&settings).unwrap();
    assert_eq!(plan.terminate[0].listen, "127.0.0.1:8443".parse().unwrap());
    assert_eq!(plan.status, "127.0.0.1:15443".parse().unwrap());
}
