//! Heads that say something in two ways, or in one that the next hop would read otherwise.

use http::header::{CONTENT_LENGTH, HeaderMap, HeaderValue, TRANSFER_ENCODING};
use http::uri::PathAndQuery;
use http::{Method, StatusCode, Uri, request, response};
use http_body::Body;

use super::headers::tokens_of;

/// Why a request has no meaning that could be passed on, whatever its headers say otherwise.
pub(super) fn obstacle(request: &request::Parts) -> Option<(StatusCode, &'static str)> {
    // The body was taken out of its chunks; what else was done to it, nobody would be told (RFC 9112,
    // 6.1).
    if is_coded(&request.headers) {
        let text = "no transfer coding but `chunked` is understood here";
        return Some((StatusCode::NOT_IMPLEMENTED, text));
    }
    let uri = &request.uri;
    // RFC 9112, 3.2.3: an authority alone is for CONNECT, and `*` for OPTIONS.
    let is_bare = uri.scheme().is_none() && uri.authority().is_some();
    if is_bare || (uri.path() == "*" && request.method != Method::OPTIONS) {
        return Some((StatusCode::BAD_REQUEST, "the target of the request is no path"));
    }
    None
}

/// The path and query of a target for the next hop. Of `http://a.example#b` nothing is left behind the host,
/// which [`Uri`] would write as nothing once it is without its host.
pub(super) fn path(uri: &Uri) -> PathAndQuery {
    match uri.path_and_query() {
        Some(path) if path.as_str() != "/" => path.clone(),
        Some(_) | None => PathAndQuery::from_static("/"),
    }
}

/// Whether something was done to the body beside chunking it, which passing it on would leave untold.
pub(super) fn is_coded(headers: &HeaderMap) -> bool {
    let is_chunked = |coding: &[u8]| coding.eq_ignore_ascii_case(b"chunked");
    let mut codings = tokens_of(headers, &TRANSFER_ENCODING);
    codings.next().is_some_and(|coding| !is_chunked(coding)) || codings.next().is_some()
}

/// Says how long an answer is in one way, and truly: as its body is read, whatever stood there
/// besides (RFC 9112, 6.3).
pub(super) fn tell_length(answer: &mut response::Parts, body: &impl Body) {
    if !answer.headers.contains_key(CONTENT_LENGTH) {
        return;
    }
    let told = told(&answer.headers);
    let length = match body.size_hint().exact() {
        // RFC 9110, 8.6: such an answer has none.
        _ if answer.status == StatusCode::NO_CONTENT => None,
        // To HEAD, and with 304, the length is that of what is left out.
        Some(0) if body.is_end_stream() => told,
        exact => exact,
    };
    match length {
        None => drop(answer.headers.remove(CONTENT_LENGTH)),
        Some(length) if told == Some(length) && is_plain(&answer.headers) => {}
        Some(length) => drop(answer.headers.insert(CONTENT_LENGTH, HeaderValue::from(length))),
    }
}

/// Whether the length stands in one place, and as we would write it.
fn is_plain(headers: &HeaderMap) -> bool {
    let mut lines = headers.get_all(CONTENT_LENGTH).iter().map(HeaderValue::as_bytes);
    let (line, second) = (lines.next().unwrap_or_default(), lines.next());
    let is_short = line.len() == 1 || line.first().is_some_and(|it| *it != b'0');
    second.is_none() && is_short && line.iter().all(u8::is_ascii_digit)
}

/// The one length that `headers` tell, in however many places.
fn told(headers: &HeaderMap) -> Option<u64> {
    let mut told = None;
    for token in tokens_of(headers, &CONTENT_LENGTH) {
        let digits = token.iter().all(u8::is_ascii_digit);
        let length = std::str::from_utf8(token).ok().filter(|_| digits)?.parse().ok()?;
        if told.is_some_and(|other| other != length) {
            return None;
        }
        told = Some(length);
    }
    told
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::{Request, Response};
    use http_body_util::{Empty, Full};

    use super::*;

    fn status(target: &str, method: &str, codings: &[&str]) -> Option<u16> {
        let request = Request::builder().uri(target).method(method);
        let request =
            codings.iter().fold(request, |it, coding| it.header(TRANSFER_ENCODING, *coding));
        let (parts, ()) = request.body(()).unwrap().into_parts();
        obstacle(&parts).map(|(status, _)| status.as_u16())
    }

    #[test]
    fn a_body_in_another_coding_is_not_passed_on() {
        for (codings, expected) in [
            (&[][..], None),
            (&["Chunked"], None),
            (&["gzip, chunked"], Some(501)),
            (&["gzip", "chunked"], Some(501)),
            (&["chunked", "chunked"], Some(501)),
        ] {
            assert_eq!(status("/", "POST", codings), expected, "{codings:?}");
        }
    }

    #[test]
    fn a_target_is_a_path() {
        for (target, method, expected) in [
            ("/a", "GET", None),
            ("http://a.example/", "GET", None),
            ("*", "OPTIONS", None),
            ("*", "GET", Some(400)),
            ("a.example:80", "GET", Some(400)),
        ] {
            assert_eq!(status(target, method, &[]), expected, "{method} {target}");
        }
    }

    #[test]
    fn a_path_is_never_nothing() {
        for (target, expected) in [
            ("/a?b", "/a?b"),
            ("http://a.example", "/"),
            ("http://a.example#b", "/"),
            ("http://a.example/#b", "/"),
            ("http://a.example?b", "/?b"),
            ("*", "*"),
        ] {
            let mut parts = http::uri::Parts::default();
            parts.path_and_query = Some(path(&target.parse().unwrap()));
            assert_eq!(Uri::from_parts(parts).unwrap().to_string(), expected, "{target}");
        }
    }

    fn length(status: u16, told: &[&str], body: &impl Body) -> Vec<String> {
        let answer = Response::builder().status(status);
        let answer = told.iter().fold(answer, |it, told| it.header(CONTENT_LENGTH, *told));
        let (mut parts, ()) = answer.body(()).unwrap().into_parts();
        tell_length(&mut parts, body);
        let lines = parts.headers.get_all(CONTENT_LENGTH).iter();
        lines.map(|line| line.to_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn a_length_is_told_once_and_truly() {
        let (none, two) = (Empty::<Bytes>::new(), Full::new(Bytes::from("ok")));
        assert_eq!(length(200, &["2"], &two), ["2"]);
        assert_eq!(length(200, &["2", "2"], &two), ["2"]);
        assert_eq!(length(200, &["1"], &two), ["2"]);
        assert_eq!(length(200, &["02"], &two), ["2"]);
        assert_eq!(length(200, &["2,"], &two), ["2"]);
        assert_eq!(length(200, &["2;"], &two), ["2"]);
        assert_eq!(length(200, &[], &two), [""; 0]);
        assert_eq!(length(204, &["2"], &none), [""; 0]);
        assert_eq!(length(304, &["7"], &none), ["7"]);
        assert_eq!(length(200, &["7, 7"], &none), ["7"]);
        assert_eq!(length(200, &["7", "8"], &none), [""; 0]);
        assert_eq!(length(200, &["+7"], &none), [""; 0]);
    }
}
