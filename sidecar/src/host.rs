//! The host that a request is for: one, valid, and written in one way.

use std::net::Ipv6Addr;

use http::header::HOST;
use http::request::Parts;
use http::uri::Authority;
use http::{HeaderMap, HeaderValue, Uri, Version};

/// A host and the port that was written with it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Host<'a> {
    /// As it was written, port and all.
    pub(crate) text: &'a str,
    /// Without the port; an IPv6 address in its brackets.
    pub(crate) name: &'a str,
    /// The port, if there is one.
    pub(crate) port: Option<u16>,
}

/// Names are at most so long (RFC 1035, 2.3.4).
const MOST_BYTES: usize = 255;

/// Reads what a client wrote as its host (RFC 9110, 7.2).
pub(crate) fn parse(text: &str) -> Option<Host<'_>> {
    let (name, port) = if text.starts_with('[') {
        let (inside, after) = text.strip_prefix('[')?.split_once(']')?;
        inside.parse::<Ipv6Addr>().ok()?;
        let port = match after {
            "" => None,
            after => Some(after.strip_prefix(':')?),
        };
        (text.strip_suffix(after)?, port)
    } else {
        match text.split_once(':') {
            Some((name, port)) => (name, Some(port)),
            None => (text, None),
        }
    };
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    if !name.starts_with('[') && !name.bytes().all(is_part) {
        return None;
    }
    if name.is_empty() || name.len() > MOST_BYTES {
        return None;
    }
    let port = match port {
        None | Some("") => None,
        Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            Some(digits.parse().ok()?)
        }
        Some(_) => return None,
    };
    Some(Host { text, name, port })
}

/// What a request says of its host.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Said {
    /// One host, valid.
    Host(String),
    /// Nothing.
    Nothing,
    /// Something wrong, or two different things.
    Nonsense,
}

/// The host of a request: of its target where that names one (RFC 9112, 3.2.2; RFC 9113, 8.3.1),
/// else of its Host header.
pub(crate) fn of(parts: &Parts) -> Said {
    of_head(&parts.uri, parts.version, &parts.headers)
}

/// The same, where the head is not in one piece.
pub(crate) fn of_head(uri: &Uri, version: Version, headers: &HeaderMap) -> Said {
    let mut lines = headers.get_all(HOST).iter();
    let (line, second) = (lines.next(), lines.next());
    if second.is_some() {
        return Said::Nonsense;
    }
    match (uri.authority(), line) {
        (Some(authority), line) => of_target(authority, line, version),
        (None, Some(line)) => valid(line),
        (None, None) => Said::Nothing,
    }
}

fn of_target(authority: &Authority, line: Option<&HeaderValue>, version: Version) -> Said {
    let Some(host) = parse(authority.as_str()) else { return Said::Nonsense };
    // In HTTP/1.1 the target overrides Host; in HTTP/2 they must say the same.
    let contradicts = version == Version::HTTP_2
        && line.is_some_and(|line| !line.as_bytes().eq_ignore_ascii_case(host.text.as_bytes()));
    if contradicts { Said::Nonsense } else { Said::Host(host.text.to_owned()) }
}

fn valid(line: &HeaderValue) -> Said {
    match line.to_str().ok().and_then(parse) {
        Some(host) => Said::Host(host.text.to_owned()),
        None if line.is_empty() => Said::Nothing,
        None => Said::Nonsense,
    }
}

/// Writes `host` as the one Host header.
pub(crate) fn write(headers: &mut HeaderMap, host: &str) {
    if let Ok(value) = HeaderValue::from_str(host) {
        headers.insert(HOST, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_names_and_addresses_with_or_without_port() {
        for (text, name, port) in [
            ("example.com", "example.com", None),
            ("Example.com:8443", "Example.com", Some(8443)),
            ("example.com:", "example.com", None),
            ("192.0.2.1:80", "192.0.2.1", Some(80)),
            ("[2001:db8::1]", "[2001:db8::1]", None),
            ("[2001:db8::1]:443", "[2001:db8::1]", Some(443)),
            ("my_service", "my_service", None),
        ] {
            assert_eq!(parse(text), Some(Host { text, name, port }), "{text}");
        }
    }

    #[test]
    fn everything_else_is_none() {
        for text in [
            "",
            ":80",
            "a b",
            "a/b",
            "a@b",
            "user@example.com",
            "example.com:80:80",
            "example.com:x",
            "example.com:99999",
            "example.com:+80",
            "[::1",
            "[::1]x",
            "[::1]80",
            "[example]",
            "::1",
            "a\u{e9}",
            "a?b",
            "a#b",
            "a\\b",
            "a%2fb",
            "a,b",
            "<script>",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
        assert_eq!(parse(&"a".repeat(256)), None);
    }

    fn said(uri: &str, version: Version, hosts: &[&str]) -> Said {
        let mut request = http::Request::builder().uri(uri).version(version);
        for host in hosts {
            request = request.header("host", *host);
        }
        of(&request.body(()).unwrap().into_parts().0)
    }

    #[test]
    fn a_request_is_for_one_host() {
        let host = |text: &str| Said::Host(text.to_owned());
        let v1 = Version::HTTP_11;
        let v2 = Version::HTTP_2;
        assert_eq!(said("/", v1, &["a.example.com"]), host("a.example.com"));
        assert_eq!(said("/", v1, &[]), Said::Nothing);
        assert_eq!(said("/", v1, &[""]), Said::Nothing);
        assert_eq!(said("/", v1, &["a.example.com", "b.example.com"]), Said::Nonsense);
        assert_eq!(said("/", v1, &["a.example.com", "a.example.com"]), Said::Nonsense);
        assert_eq!(said("http://b.example.com/", v1, &["a.example.com"]), host("b.example.com"));
        assert_eq!(said("https://b.example.com/", v2, &["a.example.com"]), Said::Nonsense);
        assert_eq!(said("https://b.example.com/", v2, &["B.example.com"]), host("b.example.com"));
        assert_eq!(said("http://user@b.example.com/", v1, &["a.example.com"]), Said::Nonsense);
    }
}
