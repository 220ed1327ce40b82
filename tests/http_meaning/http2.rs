//! From HTTP/2, where lengths are apart from bytes, to HTTP/1.1, where they are among them.

use lasthop_tests::frames::{
    DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, RST_STREAM, block, frame, preface,
};
use lasthop_tests::sidecar::HOST;
use lasthop_tests::tls::TlsClient;

use super::witness::Witness;

type Fields = &'static [(&'static str, &'static str)];

/// A request: its fields, its body, its trailers.
struct Asked {
    fields: Vec<(&'static str, &'static str)>,
    body: &'static str,
    trailers: Fields,
}

/// A GET of `/a` with these further fields.
fn get(more: Fields) -> Asked {
    let fields =
        [&[(":method", "GET"), (":scheme", "https"), (":authority", HOST), (":path", "/a")], more];
    Asked { fields: fields.concat(), body: "", trailers: &[] }
}

fn post(more: Fields, body: &'static str) -> Asked {
    let mut asked = get(more);
    asked.fields[0].1 = "POST";
    Asked { body, ..asked }
}

/// Exactly these fields.
fn raw(fields: Fields) -> Asked {
    Asked { fields: fields.to_vec(), body: "", trailers: &[] }
}

/// A GET whose pseudo-header `name` is `value`.
fn with(name: &str, value: &'static str) -> Asked {
    let mut asked = get(&[]);
    let field = asked.fields.iter_mut().find(|field| field.0 == name).expect("it has that field");
    field.1 = value;
    asked
}

impl Asked {
    fn frames(&self) -> Vec<u8> {
        let has_more = !self.body.is_empty() || !self.trailers.is_empty();
        let end = |last: bool| if last { END_STREAM } else { 0 };
        let mut bytes = preface();
        bytes.extend(frame(HEADERS, END_HEADERS | end(!has_more), 1, &block(&self.fields)));
        if has_more {
            let flags = end(self.trailers.is_empty());
            bytes.extend(frame(DATA, flags, 1, self.body.as_bytes()));
        }
        if !self.trailers.is_empty() {
            bytes.extend(frame(HEADERS, END_HEADERS | END_STREAM, 1, &block(self.trailers)));
        }
        bytes
    }
}

/// Reads until the stream has an answer, or is reset, or the connection ends.
fn wait_for_end(client: &mut TlsClient) {
    while let Ok(head) = client.receive(9) {
        let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
        let _payload = client.receive(length);
        if [HEADERS, RST_STREAM, GOAWAY].contains(&head[3]) {
            return;
        }
    }
}

/// Holds what the application reads against the table; [`None`]: nothing.
fn expect(cases: Vec<(Asked, Option<&str>)>) {
    let witness = Witness::new();
    let mut wrong = Vec::new();
    for (asked, meaning) in cases {
        let mut client = witness.sidecar.connect_h2();
        client.send(asked.frames()).expect("the connection stands");
        wait_for_end(&mut client);
        let seen = witness.seen();
        if seen != Vec::from_iter(meaning) {
            let Asked { fields, body, trailers } = asked;
            wrong.push(format!(
                "{fields:?} {body:?} {trailers:?}: {meaning:?} was to come, {seen:?} came"
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_field_stays_a_field() {
    expect(vec![
        (get(&[]), Some("GET /a HTTP/1.1")),
        (get(&[("x", "a b")]), Some("GET /a HTTP/1.1 | x: a b")),
        (get(&[("x", "a\r\nevil: 1")]), None),
        (get(&[("x", "a\nevil: 1")]), None),
        (get(&[("x", "a\rb")]), None),
        (get(&[("x", "a\0b")]), None),
        (get(&[("x\r\nevil", "1")]), None),
        (get(&[("x: 1\r\nevil", "1")]), None),
        (get(&[("x evil", "1")]), None),
        (get(&[("x:evil", "1")]), None),
        (get(&[("X", "1")]), None), // RFC 9113, 8.2.1
        (get(&[("", "1")]), None),
        // What is about one hop is malformed here (RFC 9113, 8.2.2).
        (get(&[("connection", "x")]), None),
        (get(&[("connection", "keep-alive")]), None),
        (get(&[("transfer-encoding", "chunked")]), None),
        (get(&[("keep-alive", "5")]), None),
        (get(&[("proxy-connection", "close")]), None),
        (get(&[("upgrade", "websocket")]), None),
        (get(&[("te", "gzip")]), None),
        (get(&[("te", "trailers")]), Some("GET /a HTTP/1.1 | connection: TE | te: trailers")),
        (get(&[("te", "trailers, gzip")]), None),
        (get(&[("TE", "trailers")]), None),
        (get(&[("Content-Length", "0")]), None),
        (get(&[("x\0evil", "1")]), None),
        (get(&[("x\u{b}", "1")]), None),
        (get(&[("x\u{e4}", "1")]), None),
        (get(&[("x", "a\u{b}b")]), None),
        (get(&[("x", "a\u{7f}b")]), None),
        (get(&[("content_length", "5")]), Some("GET /a HTTP/1.1")),
        (get(&[("transfer_encoding", "chunked")]), Some("GET /a HTTP/1.1")),
        (get(&[("cookie", "a=1"), ("cookie", "b=2")]), Some("GET /a HTTP/1.1 | cookie: a=1; b=2")),
    ]);
}

#[test]
fn a_request_line_is_made_of_what_it_was_made_for() {
    expect(vec![
        (with(":path", "/a?b=c"), Some("GET /a?b=c HTTP/1.1")),
        (with(":path", "/a b"), None),
        (with(":path", "/a HTTP/1.1\r\nevil: 1\r\n\r\n"), None),
        (with(":path", "/a\tb"), None),
        (with(":path", ""), None),
        (with(":path", "a"), None),
        (with(":path", "http://evil.example/a"), None),
        (with(":path", "*"), None),
        (with(":path", "/a#b"), Some("GET /a HTTP/1.1")),
        (with(":path", "#b"), Some("GET / HTTP/1.1")),
        (with(":path", "/a\\b"), Some("GET /a\\\\b HTTP/1.1")),
        (with(":path", "//evil.example/a"), Some("GET //evil.example/a HTTP/1.1")),
        (with(":path", "/a\0"), None),
        (with(":path", "/a\u{7f}"), None),
        (with(":path", "?a"), Some("GET /?a HTTP/1.1")),
        (with(":path", "\\a"), None),
        (with(":path", "shop.example:443"), None),
        (with(":scheme", ""), Some("GET /a HTTP/1.1")),
        (with(":scheme", "https://evil.example/?"), None),
        (with(":scheme", "https\r\nevil: 1"), None),
        (with(":method", "GET\r\n"), None),
        (with(":method", "GET /evil HTTP/1.1\r\nx:"), None),
        (with(":method", "G T"), None),
        (with(":method", ""), None),
        (with(":method", "CONNECT"), None),
        (with(":authority", "other.example"), Some("GET /a HTTP/1.1 | host: other.example")),
        (with(":authority", "user@shop.example"), None),
        (with(":authority", "shop.example/evil"), None),
        (with(":authority", "shop.example\r\nevil: 1"), None),
        (with(":authority", "shop.example evil.example"), None),
        (with(":authority", "SHOP.example"), Some("GET /a HTTP/1.1 | host: SHOP.example")),
        (with(":authority", "shop.example:443"), Some("GET /a HTTP/1.1 | host: shop.example:443")),
        (with(":authority", "shop.example:99999"), None),
        (with(":authority", "shop.example,evil.example"), None),
        (with(":authority", "shop.example#evil"), None),
        (with(":authority", "shop.example\\evil"), None),
        (with(":authority", "shop%2eexample"), None),
        (with(":authority", ""), None),
        (get(&[("host", "shop.example"), ("host", "shop.example")]), None),
        (get(&[("host", "shop.example"), ("host", "evil.example")]), None),
        (get(&[("host", "")]), None),
        (get(&[(":authority", "evil.example")]), None),
        (get(&[(":method", "POST")]), None),
        (get(&[(":scheme", "http")]), None),
        (get(&[("host", "shop.example")]), Some("GET /a HTTP/1.1")),
        // RFC 9113, 8.3.1: two names for one request are none.
        (get(&[("host", "evil.example")]), None),
        (
            raw(&[
                (":method", "GET"),
                (":scheme", "https"),
                (":path", "/a"),
                ("host", "shop.example"),
            ]),
            Some("GET /a HTTP/1.1"),
        ),
        (raw(&[(":method", "GET"), (":scheme", "https"), (":path", "/a")]), None),
        (raw(&[(":method", "GET"), (":scheme", "https"), (":authority", HOST)]), None),
        (raw(&[(":method", "GET"), (":path", "/a"), (":authority", HOST)]), None),
        (raw(&[(":scheme", "https"), (":path", "/a"), (":authority", HOST)]), None),
        (get(&[(":path", "/b")]), None),
        (get(&[("x", "1"), (":path", "/b")]), None),
        (get(&[(":evil", "1")]), None),
        (get(&[(":status", "200")]), None),
        (get(&[(":protocol", "evil")]), None),
    ]);
}

#[test]
fn a_length_is_that_of_the_body() {
    const HELLO: &str = "POST /a HTTP/1.1 | content-length: 5 | hello";
    const CHUNKED: &str = "POST /a HTTP/1.1 | transfer-encoding: chunked | hello";
    let trailing = |trailers: Fields| Asked { trailers, ..post(&[], "hello") };
    expect(vec![
        (post(&[("content-length", "5")], "hello"), Some(HELLO)),
        (post(&[], "hello"), Some("POST /a HTTP/1.1 | transfer-encoding: chunked | hello")),
        (post(&[("content-length", "4")], "hello"), None),
        (post(&[("content-length", "6")], "hello"), None),
        (post(&[("content-length", "5")], ""), None),
        (post(&[("content-length", "+5")], "hello"), None),
        (post(&[("content-length", "5"), ("content-length", "6")], "hello"), None),
        (post(&[("content-length", "5, 5")], "hello"), None),
        (post(&[("content-length", "x")], "hello"), None),
        // RFC 9110, 8.6, allows to take the same twice for once.
        (post(&[("content-length", "5"), ("content-length", "5")], "hello"), Some(HELLO)),
        (post(&[("content-length", "0x5")], "hello"), None),
        (post(&[("content-length", " 5")], "hello"), None),
        (post(&[("content-length", "5 ")], "hello"), None),
        (post(&[("content-length", "")], "hello"), None),
        (post(&[("content-length", "0")], "hello"), None),
        (post(&[("content-length", "18446744073709551621")], "hello"), None),
        (get(&[("content-length", "5")]), None),
        (
            post(&[], "0\r\n\r\nGET /b HTTP/1.1\r\n\r\n"),
            Some(
                "POST /a HTTP/1.1 | transfer-encoding: chunked | 0\\r\\n\\r\\nGET /b HTTP/1.1\\r\\n\\r\\n",
            ),
        ),
        (
            trailing(&[("content-length", "9"), ("x-forwarded-for", "1.2.3.4"), ("host", "evil")]),
            Some("POST /a HTTP/1.1 | transfer-encoding: chunked | hello"),
        ),
        (trailing(&[("connection", "x")]), None),
        (trailing(&[("transfer-encoding", "chunked")]), None),
        (trailing(&[("X", "1")]), None),
        (trailing(&[(":path", "/evil")]), Some(CHUNKED)),
        (trailing(&[("x", "a\r\nevil: 1")]), None),
    ]);
}
