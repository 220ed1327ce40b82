//! Doors for the fuzzers of `tests/fuzz`, which are open in no other build than those and the tests'.

use std::net::{IpAddr, Ipv4Addr};

use http::header::{HeaderMap, HeaderName, HeaderValue};
use lasthop_contract::trusted_proxies::Trust;

use crate::cli::Settings;
use crate::config::Plan;
use crate::forward::headers::{self, Forwarded, Origin, Peer};
use crate::proxy_protocol::{self, Parsed};

/// Any document: a plan, or everything that is wrong with it.
pub fn configuration(document: &str) {
    if let Ok(settings) = Settings::parse(["lasthop-sidecar"], Some(document)) {
        match Plan::new(&settings) {
            Ok(plan) => drop(plan.ports()),
            Err(faults) => assert!(!faults.is_empty(), "refused without a reason"),
        }
    }
}

/// Any header lines of a client that nobody believes: what only we may say, only we say.
pub fn headers(bytes: &[u8]) {
    let mut headers = HeaderMap::new();
    for line in bytes.split(|byte| *byte == b'\n') {
        let mut parts = line.splitn(2, |byte| *byte == b':');
        let (Some(name), Some(value)) = (parts.next(), parts.next()) else { continue };
        if let (Ok(name), Ok(value)) =
            (HeaderName::from_bytes(name), HeaderValue::from_bytes(value.trim_ascii()))
        {
            headers.append(name, value);
        }
    }
    let mut trailers = headers.clone();
    let ours = HeaderValue::from_static("ours");
    let identity = [(HeaderName::from_static("x-forwarded-client-cert"), ours.clone())];
    let host = HeaderValue::from_static("shop.example");
    let origin = Origin {
        peer: &Peer::new(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        trust: Trust::Untrusted,
        host: &host,
        port: None,
        identity: &identity,
        forwarded: Forwarded::Extended,
    };
    headers::to_application(&mut headers, &origin);
    for (name, value) in &headers {
        let name = name.as_str().replace('_', "-");
        match name.as_str() {
            "x-forwarded-client-cert" => assert_eq!(value, &ours),
            "x-forwarded-for" => assert_eq!(value, "127.0.0.1"),
            "x-forwarded-proto" => assert_eq!(value, "https"),
            "x-forwarded-host" => assert_eq!(value, "shop.example"),
            name => assert!(!is_identity(name), "{name} of a client"),
        }
    }
    headers::clean_trailers(&mut trailers);
    for name in trailers.keys() {
        assert!(!is_identity(&name.as_str().replace('_', "-")), "{name} in a trailer");
    }
}

/// Any bytes before TLS: a PROXY header, the beginning of one, or none. What is behind a header makes
/// it no other.
pub fn proxy_header(bytes: &[u8]) {
    let parsed = proxy_protocol::parse(bytes);
    match parsed {
        Ok(Parsed::Whole(_, length)) => {
            let header = bytes.get(..length).expect("a header is no longer than what came");
            assert_eq!(proxy_protocol::parse(header), parsed);
        }
        Ok(Parsed::Incomplete(need)) => assert!(need > bytes.len(), "it waits for what is there"),
        Err(_) => {}
    }
}

fn is_identity(name: &str) -> bool {
    let families =
        ["x-ssl-", "ssl-client-", "x-amzn-mtls-", "client-cert", "x-client-cert", "l5d-"];
    families.iter().any(|family| name.starts_with(family))
        || ["remote-user", "x-real-ip", "forwarded", "transfer-encoding", "connection"]
            .contains(&name)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn what_the_fuzzers_start_from_holds() {
        each_seed("configuration", |bytes| {
            configuration(str::from_utf8(bytes).expect("a document is text"));
        });
        each_seed("headers", headers);
        each_seed("proxy_header", proxy_header);
    }

    fn each_seed(target: &str, door: impl Fn(&[u8])) {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fuzz/seeds").join(target);
        let seeds = std::fs::read_dir(folder).expect("a folder of seeds").map(|entry| {
            std::fs::read(entry.expect("an entry").path()).expect("a seed can be read")
        });
        assert!(seeds.map(|seed| door(&seed)).count() > 0, "{target} has no seed");
    }
}
