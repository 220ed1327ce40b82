//! What is asked, of whom, and in which words.

use lasthop_tests::sidecar::HOST;

use super::witness::Meaning::{Means, Refused};
use super::witness::{Witness, expect};

#[test]
fn a_request_line_is_three_words() {
    expect(&[
        ("GET /a?b=c&d HTTP/1.1\r\n{H}\r\n", Means("GET /a?b=c&d HTTP/1.1")),
        ("get /a HTTP/1.1\r\n{H}\r\n", Means("get /a HTTP/1.1")), // another method, RFC 9110, 9.1
        ("GET /a/../b/./c//d HTTP/1.1\r\n{H}\r\n", Means("GET /a/../b/./c//d HTTP/1.1")),
        ("GET /%2e%2E/%00 HTTP/1.1\r\n{H}\r\n", Means("GET /%2e%2E/%00 HTTP/1.1")),
        ("\r\nGET /a HTTP/1.1\r\n{H}\r\n", Means("GET /a HTTP/1.1")), // RFC 9112, 2.2
        ("GET /a b HTTP/1.1\r\n{H}\r\n", Refused(400)),
        ("GET  /a HTTP/1.1\r\n{H}\r\n", Refused(400)),
        ("GET /a  HTTP/1.1\r\n{H}\r\n", Refused(400)),
        ("GET\t/a\tHTTP/1.1\r\n{H}\r\n", Refused(400)),
        ("GET /a HTTP/1.1 \r\n{H}\r\n", Refused(400)),
        (" GET /a HTTP/1.1\r\n{H}\r\n", Refused(400)),
        ("GET /a\rHTTP/1.1\r\n{H}\r\n", Refused(400)),
        ("GET /a\0 HTTP/1.1\r\n{H}\r\n", Refused(400)),
        ("GET /a\u{7f} HTTP/1.1\r\n{H}\r\n", Refused(400)),
        ("GET /a\r\n{H}\r\n", Refused(400)),
        ("GET /a HTTP/1.2\r\n{H}\r\n", Refused(400)),
        ("GET /a HTTP/2.0\r\n{H}\r\n", Refused(400)),
        ("GET /a HTTP/0.9\r\n{H}\r\n", Refused(400)),
        ("GET /a HTTP/01.1\r\n{H}\r\n", Refused(400)),
        ("GET /a http/1.1\r\n{H}\r\n", Refused(400)),
        ("G@T /a HTTP/1.1\r\n{H}\r\n", Refused(400)),
        ("G:T /a HTTP/1.1\r\n{H}\r\n", Refused(400)),
        ("\n\r\n\nGET /a HTTP/1.1\r\n{H}\r\n", Means("GET /a HTTP/1.1")),
        ("\rGET /a HTTP/1.1\r\n{H}\r\n", Refused(400)),
        ("\u{b}GET /a HTTP/1.1\r\n{H}\r\n", Refused(400)),
        ("\0GET /a HTTP/1.1\r\n{H}\r\n", Refused(400)),
        ("GET\u{b}/a HTTP/1.1\r\n{H}\r\n", Refused(400)),
        ("GET /a\u{b}HTTP/1.1\r\n{H}\r\n", Refused(400)),
        ("GET /a\u{a0}HTTP/1.1\r\n{H}\r\n", Refused(400)),
        ("GET /a HTTP/1.1\u{b}\r\n{H}\r\n", Refused(400)),
        ("GET /a HTTP/1.1\r\r\n{H}\r\n", Refused(400)),
        ("GET /a HTTP/1.10\r\n{H}\r\n", Refused(400)),
        ("GET /a HTTP/1.\r\n{H}\r\n", Refused(400)),
        ("GET /a HTTP/1\r\n{H}\r\n", Refused(400)),
        ("GET /a HTTP /1.1\r\n{H}\r\n", Refused(400)),
        ("GET /a HTTPS/1.1\r\n{H}\r\n", Refused(400)),
        ("GET /a HTTP/+1.1\r\n{H}\r\n", Refused(400)),
        ("GET /a HTTP/3.0\r\n{H}\r\n", Refused(400)),
        ("GET HTTP/1.1\r\n{H}\r\n", Refused(400)),
        ("GET\r\n{H}\r\n", Refused(400)),
        ("GET /a HTTP/1.1 GET /b HTTP/1.1\r\n{H}\r\n", Refused(400)),
        // What an older version asks is asked in ours.
        ("GET /a HTTP/1.0\r\n{H}\r\n", Means("GET /a HTTP/1.1")),
        // A place in a document is the client's business (RFC 9110, 4.2.5), and no part of a target.
        ("GET /a#b HTTP/1.1\r\n{H}\r\n", Means("GET /a HTTP/1.1")),
        ("GET #b HTTP/1.1\r\n{H}\r\n", Refused(400)),
        ("GET //evil.example/a HTTP/1.1\r\n{H}\r\n", Means("GET //evil.example/a HTTP/1.1")),
        ("GET /a\\..\\b HTTP/1.1\r\n{H}\r\n", Means("GET /a\\\\..\\\\b HTTP/1.1")),
        ("GET \\a HTTP/1.1\r\n{H}\r\n", Refused(400)),
        ("GET /a;b=/../c HTTP/1.1\r\n{H}\r\n", Means("GET /a;b=/../c HTTP/1.1")),
        ("GET /%0d%0aX:%20y HTTP/1.1\r\n{H}\r\n", Means("GET /%0d%0aX:%20y HTTP/1.1")),
        ("GET /% HTTP/1.1\r\n{H}\r\n", Means("GET /% HTTP/1.1")),
    ]);
}

#[test]
fn a_target_names_one_host() {
    expect(&[
        ("OPTIONS * HTTP/1.1\r\n{H}\r\n", Means("OPTIONS * HTTP/1.1")),
        ("GET http://shop.example/a HTTP/1.1\r\n{H}\r\n", Means("GET /a HTTP/1.1")),
        ("GET http://shop.example HTTP/1.1\r\n{H}\r\n", Means("GET / HTTP/1.1")),
        ("GET https://shop.example?b HTTP/1.1\r\n{H}\r\n", Means("GET /?b HTTP/1.1")),
        // RFC 9112, 3.2.2: the target counts, not the line.
        (
            "GET http://other.example/a HTTP/1.1\r\n{H}\r\n",
            Means("GET /a HTTP/1.1 | host: other.example"),
        ),
        ("GET http://user@shop.example/a HTTP/1.1\r\n{H}\r\n", Refused(400)),
        ("GET http:///a HTTP/1.1\r\n{H}\r\n", Refused(400)),
        ("GET shop.example:80 HTTP/1.1\r\n{H}\r\n", Refused(400)),
        ("GET a HTTP/1.1\r\n{H}\r\n", Refused(400)),
        ("GET * HTTP/1.1\r\n{H}\r\n", Refused(400)),
        ("GET ?a HTTP/1.1\r\n{H}\r\n", Refused(400)),
        (
            "GET http://shop.example:8080/a HTTP/1.1\r\n{H}\r\n",
            Means("GET /a HTTP/1.1 | host: shop.example:8080"),
        ),
        ("GET HTTPS://shop.example/a HTTP/1.1\r\n{H}\r\n", Means("GET /a HTTP/1.1")),
        ("GET http://shop.example:99999/a HTTP/1.1\r\n{H}\r\n", Refused(400)),
        ("GET http://shop.example:x/a HTTP/1.1\r\n{H}\r\n", Refused(400)),
        ("GET http://shop.example\\@evil.example/a HTTP/1.1\r\n{H}\r\n", Refused(400)),
        (
            "GET http://other.example#@shop.example/a HTTP/1.1\r\n{H}\r\n",
            Means("GET / HTTP/1.1 | host: other.example"),
        ),
        ("GET http://shop.example,evil.example/a HTTP/1.1\r\n{H}\r\n", Refused(400)),
        ("GET http:/a HTTP/1.1\r\n{H}\r\n", Refused(400)),
        ("GET http:a HTTP/1.1\r\n{H}\r\n", Refused(400)),
        // The scheme is this hop's.
        ("GET ftp://shop.example/a HTTP/1.1\r\n{H}\r\n", Means("GET /a HTTP/1.1")),
        ("GET javascript:alert(1) HTTP/1.1\r\n{H}\r\n", Refused(400)),
        ("OPTIONS /a HTTP/1.1\r\n{H}\r\n", Means("OPTIONS /a HTTP/1.1")),
        ("OPTIONS http://shop.example HTTP/1.1\r\n{H}\r\n", Means("OPTIONS / HTTP/1.1")),
        ("OPTIONS *a HTTP/1.1\r\n{H}\r\n", Refused(400)),
        ("CONNECT shop.example:443 HTTP/1.1\r\n{H}\r\n", Refused(501)),
        ("CONNECT http://shop.example/ HTTP/1.1\r\n{H}\r\n", Refused(501)),
        ("CONNECT * HTTP/1.1\r\n{H}\r\n", Refused(501)),
        ("connect shop.example:443 HTTP/1.1\r\n{H}\r\n", Refused(400)),
        ("CONNECT /a HTTP/1.1\r\n{H}\r\n", Refused(501)),
    ]);
}

#[test]
fn a_host_is_one_name_and_perhaps_a_port() {
    let row = |host: &str, meaning| {
        let hosts = host.split('|').flat_map(|host| ["Host:", host, "\r\n"]).collect::<String>();
        (format!("GET /a HTTP/1.1\r\n{hosts}Connection: close\r\n\r\n"), meaning)
    };
    let none = ("GET /a HTTP/1.1\r\nConnection: close\r\n\r\n".to_owned(), Refused(400));
    let rows = [
        none,
        row(" shop.example", Means("GET /a HTTP/1.1")),
        row(" shop.example:8443", Means("GET /a HTTP/1.1 | host: shop.example:8443")),
        row(" [::1]:80", Means("GET /a HTTP/1.1 | host: [::1]:80")),
        row(" 192.0.2.1", Means("GET /a HTTP/1.1 | host: 192.0.2.1")),
        row("", Refused(400)),
        row(" ", Refused(400)),
        row(" shop.example| shop.example", Refused(400)),
        row(" shop.example| evil.example", Refused(400)),
        row(" shop.example, evil.example", Refused(400)),
        row(" shop.example evil.example", Refused(400)),
        row(" user@shop.example", Refused(400)),
        row(" shop.example/evil", Refused(400)),
        row(" shop.example?evil", Refused(400)),
        row(" shop.example#evil", Refused(400)),
        row(" shop.example\\evil", Refused(400)),
        row(" http://shop.example", Refused(400)),
        row(" shop.example:80:81", Refused(400)),
        row(" shop.example:99999", Refused(400)),
        row(" shop.example:-1", Refused(400)),
        row(" shop.example:x", Refused(400)),
        row(" :80", Refused(400)),
        row(" [::1", Refused(400)),
        row(" ::1", Refused(400)),
        row(" shop.example\0", Refused(400)),
        row(" shop\rexample", Refused(400)),
        row(" shop.ex\u{e4}mple", Refused(400)),
        row(" shop.example\r\n evil.example", Refused(400)),
        row("\tshop.example \t", Means("GET /a HTTP/1.1")),
        row(" SHOP.example", Means("GET /a HTTP/1.1 | host: SHOP.example")),
        row(" shop.example.", Means("GET /a HTTP/1.1 | host: shop.example.")),
        row(" shop.example:", Means("GET /a HTTP/1.1 | host: shop.example:")),
        row(" shop%2eexample", Refused(400)),
        row(" shop.example:0x50", Refused(400)),
        row(" shop.example: 80", Refused(400)),
        row(" shop.example :80", Refused(400)),
        row(" [::1]evil", Refused(400)),
        row(" [::1]:x", Refused(400)),
        row(" [fe80::1%25eth0]", Refused(400)),
        row(" [shop.example]", Refused(400)),
        row(" \"shop.example\"", Refused(400)),
        row(" shop.example;evil.example", Refused(400)),
        row(" shop.example| ", Refused(400)),
        row(" *", Refused(400)),
    ];
    expect(&rows.each_ref().map(|(request, meaning)| (request.as_str(), *meaning)));
}

#[test]
fn a_header_is_a_name_and_a_value_on_one_line() {
    let long = |name: usize, value: usize| {
        format!("GET /a HTTP/1.1\r\n{{H}}{}: {}\r\n\r\n", "x".repeat(name), "y".repeat(value))
    };
    let (name, value) = (long(100_000, 1), long(1, 100_000));
    let many = format!("GET /a HTTP/1.1\r\n{{H}}{}\r\n", "X: y\r\n".repeat(1000));
    let path = format!("GET /{} HTTP/1.1\r\n{{H}}\r\n", "a".repeat(100_000));
    expect(&[
        ("GET /a HTTP/1.1\r\n{H}X: a\tb\r\n\r\n", Means("GET /a HTTP/1.1 | x: a\\tb")),
        ("GET /a HTTP/1.1\r\n{H}X:\r\nY:  \r\n\r\n", Means("GET /a HTTP/1.1 | x:  | y: ")),
        ("GET /a HTTP/1.1\r\n{H}X: \u{e4}\r\n\r\n", Means("GET /a HTTP/1.1 | x: \\xc3\\xa4")),
        // RFC 9112, 2.2: a lone line feed may end a line; what is passed on ends in one way.
        ("GET /a HTTP/1.1\nHost: shop.example\nConnection: close\n\n", Means("GET /a HTTP/1.1")),
        ("GET /a HTTP/1.1\r\n{H}X: a\nY: b\r\n\r\n", Means("GET /a HTTP/1.1 | x: a | y: b")),
        ("GET /a HTTP/1.1\r\n{H}X: a\rY: b\r\n\r\n", Refused(400)),
        ("GET /a HTTP/1.1\r\n{H}X: a\r\r\nY: b\r\n\r\n", Refused(400)),
        ("GET /a HTTP/1.1\r\n{H}X : y\r\n\r\n", Refused(400)),
        ("GET /a HTTP/1.1\r\n{H}X\t: y\r\n\r\n", Refused(400)),
        ("GET /a HTTP/1.1\r\n{H}X y: z\r\n\r\n", Refused(400)),
        ("GET /a HTTP/1.1\r\n{H}: y\r\n\r\n", Refused(400)),
        ("GET /a HTTP/1.1\r\n{H}X\r\n\r\n", Refused(400)),
        ("GET /a HTTP/1.1\r\n{H}X: y\r\n folded\r\n\r\n", Refused(400)),
        ("GET /a HTTP/1.1\r\n{H}X: y\r\n\tfolded\r\n\r\n", Refused(400)),
        ("GET /a HTTP/1.1\r\n X: y\r\n{H}\r\n", Refused(400)),
        ("GET /a HTTP/1.1\r\n{H}X: a\0b\r\n\r\n", Refused(400)),
        ("GET /a HTTP/1.1\r\n{H}X\0Y: b\r\n\r\n", Refused(400)),
        ("GET /a HTTP/1.1\r\n{H}X: a\u{1}b\r\n\r\n", Refused(400)),
        ("GET /a HTTP/1.1\r\n{H}X: a\u{7f}b\r\n\r\n", Refused(400)),
        ("GET /a HTTP/1.1\r\n{H}X\u{e4}: b\r\n\r\n", Refused(400)),
        ("GET /a HTTP/1.1\r\n{H}(X): b\r\n\r\n", Refused(400)),
        ("GET /a HTTP/1.1\r\n{H}X: a\u{b}b\r\n\r\n", Refused(400)),
        ("GET /a HTTP/1.1\r\n{H}X: a\u{c}b\r\n\r\n", Refused(400)),
        ("GET /a HTTP/1.1\r\n{H}X\u{b}: b\r\n\r\n", Refused(400)),
        ("GET /a HTTP/1.1\r\n{H}X\r: b\r\n\r\n", Refused(400)),
        ("GET /a HTTP/1.1\r\n{H}X: a\r\n\rY: b\r\n\r\n", Refused(400)),
        ("GET /a HTTP/1.1\r\n{H}X[]: b\r\n\r\n", Refused(400)),
        ("GET /a HTTP/1.1\r\n{H}\"X\": b\r\n\r\n", Refused(400)),
        ("GET /a HTTP/1.1\r\n\tX: y\r\n{H}\r\n", Refused(400)),
        ("GET /a HTTP/1.1\r\n{H}X: y\n folded\r\n\r\n", Refused(400)),
        ("GET /a HTTP/1.1\r\n{H}X:a:b\r\n\r\n", Means("GET /a HTTP/1.1 | x: a:b")),
        ("GET /a HTTP/1.1\r\n{H}X: a\r\nx: b\r\n\r\n", Means("GET /a HTTP/1.1 | x: a | x: b")),
        // What belongs to this hop ends here.
        (
            "GET /a HTTP/1.1\r\n{H}Connection: X-Hop, keep-alive\r\nX-Hop: 1\r\nKeep-Alive: 5\r\nProxy-Connection: close\r\nUpgrade: websocket\r\n\r\n",
            Means("GET /a HTTP/1.1"),
        ),
        (&name, Refused(431)),
        (&value, Refused(431)),
        (&many, Refused(431)),
        (&path, Refused(431)),
    ]);
}

#[test]
fn what_follows_a_request_with_two_lengths_is_not_read() {
    let witness = Witness::new();
    let mut client = witness.sidecar.connect(None);
    // RFC 9112, 6.3: who sends both may have tricked somebody before us; the connection ends.
    let answer = client.ask(format!(
        "POST /a HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n\
         0\r\n\r\nGET /b HTTP/1.1\r\nHost: {HOST}\r\n\r\n"
    ));
    assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{answer}");
    assert_eq!(witness.seen(), ["POST /a HTTP/1.1 | transfer-encoding: chunked | "]);
}
