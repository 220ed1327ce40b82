//! What a client without a certificate may ask for, where the others have one: a health checker's GET
//! of an exempt path, if nobody could read anything else into it.

use http::header::{
    ACCEPT, ACCEPT_CHARSET, ACCEPT_ENCODING, ACCEPT_LANGUAGE, CACHE_CONTROL, CONNECTION,
    CONTENT_LENGTH, EXPECT, HOST, HeaderMap, HeaderName, PRAGMA, UPGRADE, USER_AGENT,
};
use http::request::Parts;
use http::{Method, Version};
use http_body::Body as _;
use hyper::body::Incoming;
use lasthop_contract::exempt_paths::ExemptPaths;
use lasthop_contract::problem::Code;

use super::headers;
use super::hop::Hop;
use super::record::Telling;

/// The word of a request that is refused, in log and metric.
const NOT_EXEMPT: &str = "not_exempt";

/// Whether a request may be passed on.
pub(super) enum Judgement {
    Admitted,
    /// It may not, which was taken down, and should be told so.
    Refused(Telling),
}

/// Whether the request may be passed on; if not, that is taken down.
pub(super) fn judge(hop: &Hop, parts: &Parts, incoming: &Incoming) -> Judgement {
    let Some(paths) = hop.restricted_to() else { return Judgement::Admitted };
    let exempt = match objection(paths, parts) {
        None if incoming.is_end_stream() => return Judgement::Admitted,
        None => "it has a body",
        Some(objection) => objection,
    };
    let detail = format!("the client has no certificate, and {exempt}");
    Judgement::Refused(hop.refuse((Code(513), NOT_EXEMPT), &detail, parts))
}

/// Headers by which frameworks take another path or method than the request line's, as applications
/// see them: `_` for `-` and any case.
const OVERRIDES: [&str; 18] = [
    "path-info",
    "request-uri",
    "script-name",
    "x-envoy-original-path",
    "x-forwarded-method",
    "x-forwarded-path",
    "x-forwarded-prefix",
    "x-forwarded-uri",
    "x-http-method",
    "x-http-method-override",
    "x-method-override",
    "x-original-method",
    "x-original-uri",
    "x-original-url",
    "x-override-url",
    "x-rewrite-url",
    "x-script-name",
    "x-waws-unencoded-url",
];

/// What a health checker has to say. Any other header of somebody whom nobody knows might mean
/// something to an application that we do not know of.
const PASSED_ON: [HeaderName; 9] = [
    ACCEPT,
    ACCEPT_CHARSET,
    ACCEPT_ENCODING,
    ACCEPT_LANGUAGE,
    CACHE_CONTROL,
    CONTENT_LENGTH,
    HOST,
    PRAGMA,
    USER_AGENT,
];

/// Takes out of a request without a certificate what a health checker need not say.
pub(super) fn narrow(hop: &Hop, headers: &mut HeaderMap) {
    if hop.restricted_to().is_none() {
        return;
    }
    let others: Vec<HeaderName> =
        headers.keys().filter(|name| !PASSED_ON.contains(name)).cloned().collect();
    for name in others {
        headers.remove(name);
    }
}

/// Why a request without a body is not exempt, if it is not.
fn objection(paths: &ExemptPaths, parts: &Parts) -> Option<&'static str> {
    let Parts { method, uri, version, headers, .. } = parts;
    // HTTP/2 always names scheme and host beside the path (RFC 9113, 8.3.1), HTTP/1.1 in a form that
    // is for proxies (RFC 9112, 3.2.2).
    let absolute = *version != Version::HTTP_2 && (uri.scheme().is_some() || uri.host().is_some());
    if !matches!(*method, Method::GET | Method::HEAD) {
        Some("only GET and HEAD are exempt")
    } else if absolute {
        Some("the target is in absolute form")
    } else if !paths.hold(uri.path()) {
        Some("the path is none of `client-auth-exempt-paths`")
    } else if has_framing(headers) {
        Some("it has a body")
    } else if headers.contains_key(UPGRADE) || headers.contains_key(EXPECT) || upgrades(headers) {
        Some("it asks for more than an answer")
    } else if headers
        .keys()
        .any(|name| OVERRIDES.contains(&headers::normal(name.as_str()).as_str()))
    {
        Some("it asks by a header for another path or method")
    } else {
        None
    }
}

/// Also in a spelling that only an application reads as framing: `Transfer_Encoding`.
fn has_framing(headers: &HeaderMap) -> bool {
    headers.iter().any(|(name, value)| match headers::normal(name.as_str()).as_str() {
        "transfer-encoding" => true,
        "content-length" => *name != CONTENT_LENGTH || value != "0",
        _ => false,
    })
}

fn upgrades(headers: &HeaderMap) -> bool {
    headers::tokens_of(headers, &CONNECTION).any(|it| it.eq_ignore_ascii_case(b"upgrade"))
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn judge(method: &str, target: &str, version: Version, lines: &[(&str, &str)]) -> bool {
        let paths = ExemptPaths::from_entries(["/healthz"]).unwrap();
        let mut request = Request::builder().method(method).uri(target).version(version);
        for (name, value) in lines {
            request = request.header(*name, *value);
        }
        let (parts, ()) = request.body(()).unwrap().into_parts();
        objection(&paths, &parts).is_none()
    }

    #[test]
    fn only_a_plain_question_for_the_very_path_is_exempt() {
        for (method, target, exempt) in [
            ("GET", "/healthz", true),
            ("HEAD", "/healthz", true),
            ("GET", "/healthz?full=1", true),
            ("POST", "/healthz", false),
            ("DELETE", "/healthz", false),
            ("OPTIONS", "/healthz", false),
            ("TRACE", "/healthz", false),
            ("get", "/healthz", false),
            ("GET", "/healthz/", false),
            ("GET", "/healthz/../admin", false),
            ("GET", "/healthz%2f", false),
            ("GET", "/healthz%00", false),
            ("GET", "//healthz", false),
            ("GET", "/healthz;/admin", false),
            ("GET", "/HEALTHZ", false),
            ("GET", "/", false),
            ("OPTIONS", "*", false),
            ("GET", "http://shop.example/healthz", false),
            ("CONNECT", "shop.example:443", false),
        ] {
            assert_eq!(judge(method, target, Version::HTTP_11, &[]), exempt, "{method} {target}");
        }
        assert!(judge("GET", "https://shop.example/healthz", Version::HTTP_2, &[]));
        assert!(!judge("GET", "https://shop.example/admin", Version::HTTP_2, &[]));
        assert!(!judge("CONNECT", "shop.example:443", Version::HTTP_2, &[]));
    }

    #[test]
    fn nothing_else_is_asked_for_on_the_way() {
        for (line, exempt) in [
            (("content-length", "0"), true),
            (("x-anything", "else"), true),
            (("connection", "close"), true),
            (("content-length", "1"), false),
            (("transfer-encoding", "chunked"), false),
            (("transfer-encoding", "identity"), false),
            (("upgrade", "websocket"), false),
            (("upgrade", "h2c"), false),
            (("connection", "keep-alive, Upgrade"), false),
            (("expect", "100-continue"), false),
            (("x-http-method-override", "DELETE"), false),
            (("X-Original-URL", "/admin"), false),
            (("x_rewrite_url", "/admin"), false),
            (("X-Forwarded-Prefix", "/admin"), false),
            (("SCRIPT_NAME", "/healthz"), false),
            (("Path-Info", "/admin"), false),
            (("Transfer_Encoding", "chunked"), false),
            (("Content_Length", "30"), false),
        ] {
            assert_eq!(judge("GET", "/healthz", Version::HTTP_11, &[line]), exempt, "{line:?}");
        }
    }
}
