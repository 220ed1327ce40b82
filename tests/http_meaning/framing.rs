//! Where a body ends.

use super::witness::Meaning::{Means, Refused};
use super::witness::expect;

#[test]
fn a_length_is_one_number() {
    expect(&[
        (
            "POST /a HTTP/1.1\r\n{H}Content-Length: 1\r\n\r\na",
            Means("POST /a HTTP/1.1 | content-length: 1 | a"),
        ),
        (
            "POST /a HTTP/1.1\r\n{H}Content-Length:1 \t\r\n\r\na",
            Means("POST /a HTTP/1.1 | content-length: 1 | a"),
        ),
        (
            "POST /a HTTP/1.1\r\n{H}Content-Length: 00001\r\n\r\na",
            Means("POST /a HTTP/1.1 | content-length: 1 | a"),
        ),
        (
            "POST /a HTTP/1.1\r\n{H}Content-Length: 0\r\n\r\n",
            Means("POST /a HTTP/1.1 | content-length: 0"),
        ),
        // What follows a request without a body is another request, which a closed connection has not.
        ("POST /a HTTP/1.1\r\n{H}\r\nGET /b HTTP/1.1\r\n{H}\r\n", Means("POST /a HTTP/1.1")),
        (
            "GET /a HTTP/1.1\r\n{H}Content-Length: 5\r\n\r\nhello",
            Means("GET /a HTTP/1.1 | content-length: 5 | hello"),
        ),
        // RFC 9110, 8.6, allows to take the same twice for once.
        (
            "POST /a HTTP/1.1\r\n{H}Content-Length: 1\r\nContent-Length: 1\r\n\r\na",
            Means("POST /a HTTP/1.1 | content-length: 1 | a"),
        ),
        ("POST /a HTTP/1.1\r\n{H}Content-Length: 1\r\nContent-Length: 2\r\n\r\nab", Refused(400)),
        ("POST /a HTTP/1.1\r\n{H}Content-Length: 1, 1\r\n\r\na", Refused(400)),
        ("POST /a HTTP/1.1\r\n{H}Content-Length: 1, 2\r\n\r\nab", Refused(400)),
        ("POST /a HTTP/1.1\r\n{H}Content-Length: +1\r\n\r\na", Refused(400)),
        ("POST /a HTTP/1.1\r\n{H}Content-Length: -1\r\n\r\na", Refused(400)),
        ("POST /a HTTP/1.1\r\n{H}Content-Length: 0x1\r\n\r\na", Refused(400)),
        ("POST /a HTTP/1.1\r\n{H}Content-Length: 1_0\r\n\r\na", Refused(400)),
        ("POST /a HTTP/1.1\r\n{H}Content-Length: 1 0\r\n\r\na", Refused(400)),
        ("POST /a HTTP/1.1\r\n{H}Content-Length: 1.0\r\n\r\na", Refused(400)),
        ("POST /a HTTP/1.1\r\n{H}Content-Length: \u{661}\r\n\r\na", Refused(400)),
        ("POST /a HTTP/1.1\r\n{H}Content-Length:\r\n\r\na", Refused(400)),
        ("POST /a HTTP/1.1\r\n{H}Content-Length: \"1\"\r\n\r\na", Refused(400)),
        ("POST /a HTTP/1.1\r\n{H}Content-Length: 18446744073709551616\r\n\r\na", Refused(400)),
        ("POST /a HTTP/1.1\r\n{H}Content-Length : 1\r\n\r\na", Refused(400)),
        (
            "POST /a HTTP/1.1\r\n{H}CONTENT-LENGTH: 1\r\n\r\na",
            Means("POST /a HTTP/1.1 | content-length: 1 | a"),
        ),
        // Who reads `_` as `-` reads another request.
        ("POST /a HTTP/1.1\r\n{H}Content_Length: 1\r\n\r\n", Means("POST /a HTTP/1.1")),
        // Connection cannot take the length away, nor name what it is not there for.
        (
            "POST /a HTTP/1.1\r\n{H}Connection: content-length\r\nContent-Length: 1\r\n\r\na",
            Means("POST /a HTTP/1.1 | content-length: 1 | a"),
        ),
        (
            "POST /a HTTP/1.1\r\n{H}Connection: transfer-encoding\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n",
            Means("POST /a HTTP/1.1 | transfer-encoding: chunked | a"),
        ),
    ]);
}

#[test]
fn a_length_with_anything_else_is_none() {
    expect(&[
        ("POST /a HTTP/1.1\r\n{H}Content-Length: \u{b}1\r\n\r\na", Refused(400)),
        ("POST /a HTTP/1.1\r\n{H}Content-Length: 1\u{b}\r\n\r\na", Refused(400)),
        ("POST /a HTTP/1.1\r\n{H}Content-Length: 1\0\r\n\r\na", Refused(400)),
        ("POST /a HTTP/1.1\r\n{H}Content-Length: 1\u{a0}\r\n\r\na", Refused(400)),
        ("POST /a HTTP/1.1\r\n{H}Content-Length: 1,\r\n\r\na", Refused(400)),
        ("POST /a HTTP/1.1\r\n{H}Content-Length: ,1\r\n\r\na", Refused(400)),
        ("POST /a HTTP/1.1\r\n{H}Content-Length: 1;a\r\n\r\na", Refused(400)),
        ("POST /a HTTP/1.1\r\n{H}Content-Length: 1e0\r\n\r\na", Refused(400)),
        ("POST /a HTTP/1.1\r\n{H}Content-Length:\r\n 1\r\n\r\na", Refused(400)),
        ("POST /a HTTP/1.1\r\n{H}Content-Length: 1\r\n 0\r\n\r\na", Refused(400)),
        ("POST /a HTTP/1.1\r\n{H}Content-Length: 1\rX: y\r\n\r\na", Refused(400)),
        ("POST /a HTTP/1.1\r\n{H}Content-Length\0: 1\r\n\r\na", Refused(400)),
        ("POST /a HTTP/1.1\r\n{H}Content-Length\u{a0}: 1\r\n\r\na", Refused(400)),
        ("POST /a HTTP/1.1\r\n{H}\u{feff}Content-Length: 1\r\n\r\na", Refused(400)),
        ("POST /a HTTP/1.1\r\n{H}Content-Length: 18446744073709551615\r\n\r\na", Refused(431)),
        ("POST /a HTTP/1.1\r\n{H}Content-Length: 1\r\nContent-Length: 1, 2\r\n\r\na", Refused(400)),
        ("POST /a HTTP/1.1\r\n{H}Content-Length: 0\r\ncontent-length: 1\r\n\r\na", Refused(400)),
    ]);
}

#[test]
fn a_transfer_coding_is_chunked_or_nothing() {
    expect(&[
        (
            "POST /a HTTP/1.1\r\n{H}Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
            Means("POST /a HTTP/1.1 | transfer-encoding: chunked | hello"),
        ),
        (
            "POST /a HTTP/1.1\r\n{H}tRANSFER-eNCODING: \tCHUNKED \r\n\r\n5\r\nhello\r\n0\r\n\r\n",
            Means("POST /a HTTP/1.1 | transfer-encoding: chunked | hello"),
        ),
        (
            "POST /a HTTP/1.1\r\n{H}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /b HTTP/1.1\r\n{H}\r\n",
            Means("POST /a HTTP/1.1 | transfer-encoding: chunked | "),
        ),
        // RFC 9112, 6.3: chunked counts, and the length is gone.
        (
            "POST /a HTTP/1.1\r\n{H}Content-Length: 44\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\nGET /b HTTP/1.1\r\n{H}\r\n",
            Means("POST /a HTTP/1.1 | transfer-encoding: chunked | hello"),
        ),
        (
            "POST /a HTTP/1.1\r\n{H}Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
            Means("POST /a HTTP/1.1 | transfer-encoding: chunked | hello"),
        ),
        ("POST /a HTTP/1.1\r\n{H}Transfer-Encoding: identity\r\n\r\n", Refused(400)),
        (
            "POST /a HTTP/1.1\r\n{H}Transfer-Encoding: identity\r\nContent-Length: 1\r\n\r\na",
            Refused(400),
        ),
        (
            "POST /a HTTP/1.1\r\n{H}Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
            Refused(400),
        ),
        (
            "POST /a HTTP/1.1\r\n{H}Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
            Refused(400),
        ),
        ("POST /a HTTP/1.1\r\n{H}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", Refused(400)),
        ("POST /a HTTP/1.1\r\n{H}Transfer-Encoding: chunked;q=1\r\n\r\n0\r\n\r\n", Refused(400)),
        ("POST /a HTTP/1.1\r\n{H}Transfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n", Refused(400)),
        ("POST /a HTTP/1.1\r\n{H}Transfer-Encoding:\r\n\r\n", Refused(400)),
        ("POST /a HTTP/1.1\r\n{H}Transfer-Encoding: \u{b}chunked\r\n\r\n0\r\n\r\n", Refused(400)),
        ("POST /a HTTP/1.1\r\n{H}Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n", Refused(400)),
        ("POST /a HTTP/1.1\r\n{H}Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n", Refused(400)),
        // A body in a coding that the application is not told of would be another body.
        ("POST /a HTTP/1.1\r\n{H}Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", Refused(501)),
        (
            "POST /a HTTP/1.1\r\n{H}Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            Refused(501),
        ),
        (
            "POST /a HTTP/1.1\r\n{H}Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
            Refused(501),
        ),
        // RFC 9112, 6.1: who speaks HTTP/1.0 knows no chunks.
        (
            "POST /a HTTP/1.0\r\n{H}Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
            Refused(400),
        ),
        ("POST /a HTTP/1.0\r\n{H}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", Refused(400)),
        // Another name is another header.
        (
            "POST /a HTTP/1.1\r\n{H}X-Transfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\na",
            Means("POST /a HTTP/1.1 | content-length: 1 | x-transfer-encoding: chunked | a"),
        ),
    ]);
}

#[test]
fn a_transfer_coding_with_anything_else_is_none() {
    expect(&[
        (
            "POST /a HTTP/1.1\r\n{H}Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            Refused(501),
        ),
        (
            "POST /a HTTP/1.1\r\n{H}Transfer-Encoding: identity, chunked\r\n\r\n0\r\n\r\n",
            Refused(501),
        ),
        ("POST /a HTTP/1.1\r\n{H}Transfer-Encoding: gzip\r\n\r\n", Refused(400)),
        ("POST /a HTTP/1.1\r\n{H}Transfer-Encoding: chunked\u{b}\r\n\r\n0\r\n\r\n", Refused(400)),
        ("POST /a HTTP/1.1\r\n{H}Transfer-Encoding: chunked\0\r\n\r\n0\r\n\r\n", Refused(400)),
        ("POST /a HTTP/1.1\r\n{H}Transfer-Encoding: chunked\u{a0}\r\n\r\n0\r\n\r\n", Refused(400)),
        ("POST /a HTTP/1.1\r\n{H}Transfer-Encoding: chun ked\r\n\r\n0\r\n\r\n", Refused(400)),
        (
            "POST /a HTTP/1.1\r\n{H}Transfer-Encoding: chunked\r\n , identity\r\n\r\n0\r\n\r\n",
            Refused(400),
        ),
        ("POST /a HTTP/1.1\r\n{H}Transfer-Encoding\u{b}: chunked\r\n\r\n0\r\n\r\n", Refused(400)),
        ("POST /a HTTP/1.1\r\n{H}X: y\rTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", Refused(400)),
        (
            "POST /a HTTP/1.1\r\n{H}Transfer-Encoding: , chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
            Refused(501),
        ),
        (
            "POST /a HTTP/1.1\r\n{H}Transfer-Encoding: chunked,\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
            Refused(400),
        ),
        // What a client would take is no coding of what it sends.
        (
            "POST /a HTTP/1.1\r\n{H}TE: chunked\r\nContent-Length: 1\r\n\r\na",
            Means("POST /a HTTP/1.1 | content-length: 1 | a"),
        ),
        (
            "POST /a HTTP/1.1\r\n{H}Transfer_Encoding: chunked\r\nContent-Length: 1\r\n\r\na",
            Means("POST /a HTTP/1.1 | content-length: 1 | a"),
        ),
        (
            "GET /a HTTP/1.1\r\n{H}Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
            Means("GET /a HTTP/1.1 | transfer-encoding: chunked | hello"),
        ),
    ]);
}

#[test]
fn a_chunk_is_as_long_as_it_says() {
    const CHUNKED: &str = "POST /a HTTP/1.1\r\n{H}Transfer-Encoding: chunked\r\n\r\n";
    const HELLO: &str = "POST /a HTTP/1.1 | transfer-encoding: chunked | hello";
    // Extensions and trailers are bounded.
    let long = format!("5;{}\r\nhello\r\n0\r\n\r\n", "x".repeat(100_000));
    let longer = format!("{}0\r\n\r\n", "1;xxxxxxxxxxxxxxxx\r\na\r\n".repeat(10_000));
    let many = format!("5\r\nhello\r\n0\r\n{}\r\n", "X: y\r\n".repeat(20_000));
    let rows = [
        ("2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n", Means(HELLO)),
        ("005\r\nhello\r\n000\r\n\r\n", Means(HELLO)),
        (
            "A\r\n0123456789\r\n0\r\n\r\n",
            Means("POST /a HTTP/1.1 | transfer-encoding: chunked | 0123456789"),
        ),
        (
            "a\r\n0123456789\r\n0\r\n\r\n",
            Means("POST /a HTTP/1.1 | transfer-encoding: chunked | 0123456789"),
        ),
        // Extensions end at this hop (RFC 9112, 7.1.1).
        ("5;a=b;c=\"d\"\r\nhello\r\n0;last\r\n\r\n", Means(HELLO)),
        ("5 ;a=b\r\nhello\r\n0\r\n\r\n", Means(HELLO)),
        ("5;a\nhello\r\n0\r\n\r\n", Refused(400)),
        ("5;a\rb\r\nhello\r\n0\r\n\r\n", Refused(400)),
        ("5\nhello\r\n0\r\n\r\n", Refused(400)),
        ("5\r\nhello\n0\r\n\r\n", Refused(400)),
        ("5\r\nhello\r\n0\n\n", Refused(400)),
        ("5\r\nhello0\r\n\r\n", Refused(400)),
        ("5\r\nhello!\r\n0\r\n\r\n", Refused(400)),
        ("5\r\nhell\r\n0\r\n\r\n", Refused(400)),
        ("+5\r\nhello\r\n0\r\n\r\n", Refused(400)),
        ("-5\r\nhello\r\n0\r\n\r\n", Refused(400)),
        ("0x5\r\nhello\r\n0\r\n\r\n", Refused(400)),
        ("5x\r\nhello\r\n0\r\n\r\n", Refused(400)),
        (" 5\r\nhello\r\n0\r\n\r\n", Refused(400)),
        ("\r\nhello\r\n0\r\n\r\n", Refused(400)),
        ("5_0\r\nhello\r\n0\r\n\r\n", Refused(400)),
        ("5 0\r\nhello\r\n0\r\n\r\n", Refused(400)),
        ("FFFFFFFFFFFFFFFFF\r\nhello\r\n0\r\n\r\n", Refused(400)),
        ("10000000000000005\r\nhello\r\n0\r\n\r\n", Refused(400)),
        ("g\r\nhello\r\n0\r\n\r\n", Refused(400)),
        ("\n5\r\nhello\r\n0\r\n\r\n", Refused(400)),
        ("5\r\r\nhello\r\n0\r\n\r\n", Refused(400)),
        ("5\0\r\nhello\r\n0\r\n\r\n", Refused(400)),
        ("5\u{b}\r\nhello\r\n0\r\n\r\n", Refused(400)),
        ("5,5\r\nhello\r\n0\r\n\r\n", Refused(400)),
        ("5;\0\r\nhello\r\n0\r\n\r\n", Means(HELLO)),
        ("5;a=\"b\r\nhello\r\n0\r\n\r\n", Means(HELLO)),
        ("5;a=\"\r\n\"\r\nhello\r\n0\r\n\r\n", Refused(400)),
        ("5;a=\"\n\"\r\nhello\r\n0\r\n\r\n", Refused(400)),
        ("5\r\nhello\r\n-0\r\n\r\n", Refused(400)),
        ("5\r\nhello\r\n0x0\r\n\r\n", Refused(400)),
        ("5\r\nhello\r\n\r\n\r\n", Refused(400)),
        // What stands before the empty line are trailers, and no request, though they cannot be read.
        ("5\r\nhello\r\n0\r\n\nGET /b HTTP/1.1\r\nHost: evil\r\n\r\n", Means(HELLO)),
        ("5\r\nhello\r\n0\r\n\r\r\n", Refused(400)),
        ("0000000000000000000000000000000005\r\nhello\r\n0\r\n\r\n", Means(HELLO)),
        (&long, Refused(400)),
        (&longer, Refused(400)),
        (&many, Refused(400)),
        // Trailers say nothing about framing, way or who somebody is.
        (
            "5\r\nhello\r\n0\r\nContent-Length: 9\r\nTransfer-Encoding: chunked\r\nHost: evil\r\nX-Forwarded-For: 1.2.3.4\r\n\r\n",
            Means(HELLO),
        ),
        ("5\r\nhello\r\n0\r\nX : y\r\n\r\n", Refused(400)),
        ("5\r\nhello\r\n0\r\nX: a\r\n folded\r\n\r\n", Refused(400)),
        ("5\r\nhello\r\n0\r\nX: a\0b\r\n\r\n", Refused(400)),
    ];
    let requests = rows.map(|(body, meaning)| (format!("{CHUNKED}{body}"), meaning));
    expect(&requests.each_ref().map(|(request, meaning)| (request.as_str(), *meaning)));
}
