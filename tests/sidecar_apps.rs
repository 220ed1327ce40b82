//! An application of another make behind the sidecar: what a client gets is what the application says,
//! whichever version of HTTP the three speak.

use std::net::SocketAddr;

use lasthop_tests::curl::{Answer, Curl};
use lasthop_tests::pki::Pki;
use lasthop_tests::process::{Program, Running};
use lasthop_tests::sidecar::Sidecar;
use lasthop_tests::skip;

/// Python's own server: with HTTP/1.0 each answer ends with its connection, which alone may tell where
/// that is.
const APPLICATION: &str = r#"
import hashlib, http.server, sys

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = sys.argv[1]

    def answer(self, status, headers, body=b""):
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_GET(self):
        if self.path == "/length":
            self.answer(200, [("Content-Length", "5")], b"whole")
        elif self.path == "/unsaid":
            # Only the end of the connection says how long it is.
            self.close_connection = True
            self.answer(200, [("Connection", "close")], b"x" * 300000)
        elif self.path == "/twice":
            twice = [("Set-Cookie", "a=1; Path=/"), ("Set-Cookie", "b=2"), ("Vary", "A"), ("Vary", "B")]
            self.answer(200, twice + [("X-Empty", ""), ("Content-Length", "0")])
        elif self.path == "/none":
            self.answer(204, [("X-Kept", "1")])
        elif self.path == "/unchanged":
            self.answer(304, [("ETag", '"x"'), ("Content-Length", "77")])
        elif self.path == "/large":
            self.answer(200, [("X-Large", "y" * 30000), ("Content-Length", "2")], b"ok")
        else:
            self.send_error(404)

    do_HEAD = do_GET

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        told = f"{len(body)} {hashlib.sha256(body).hexdigest()}".encode()
        self.answer(200, [("Content-Length", str(len(told)))], told)

    def log_message(self, *line):
        pass

server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print("at", server.server_port, flush=True)
server.serve_forever()
"#;

/// What each hop writes for itself, or by which it frames a body.
const OF_THE_HOP: [&str; 5] =
    ["connection", "content-length", "date", "keep-alive", "transfer-encoding"];

struct Application {
    _running: Running,
    address: SocketAddr,
}

impl Application {
    fn speaking(version: &str) -> Self {
        let program = Program::at("python3").args(["-c", APPLICATION, version]);
        let mut running = program.start();
        let line = running.wait_for_line(|line| line.starts_with("at "));
        let port = line.trim_start_matches("at ").trim().parse().unwrap();
        Self { _running: running, address: SocketAddr::from(([127, 0, 0, 1], port)) }
    }

    fn get(&self, path: &str) -> Curl {
        Curl::get(&format!("http://{}{path}", self.address))
    }
}

/// What must be the same, through the sidecar and without.
fn essence(answer: &Answer) -> (i32, u16, Vec<(String, String)>, &[u8]) {
    let mut headers = answer.headers.clone();
    headers.retain(|(name, _)| !OF_THE_HOP.contains(&name.as_str()));
    headers.sort();
    // The head that curl writes down as the answer to HEAD.
    let body = if answer.body.starts_with(b"HTTP/") { &[] } else { answer.body.as_slice() };
    (answer.exit, answer.status, headers, body)
}

fn compare(application: &Application, sidecar: &Sidecar) {
    for path in ["/length", "/unsaid", "/twice", "/none", "/unchanged", "/large", "/missing"] {
        for method in ["GET", "HEAD"] {
            let direct = application.get(path).method(method).run();
            for version in ["--http1.0", "--http1.1", "--http2"] {
                let through = sidecar.get(path).method(method).flag(version).run();
                let (expected, got) = (essence(&direct), essence(&through));
                assert!(expected == got, "{method} {path} {version}: {direct:?}, {through:?}");
            }
        }
    }
    let body = vec![b'z'; 3_000_000];
    let direct = application.get("/").body_bytes(body.clone()).run().expect(200);
    for version in ["--http1.0", "--http1.1", "--http2"] {
        let through = sidecar.get("/").body_bytes(body.clone()).flag(version).run();
        assert_eq!(essence(&through), essence(&direct), "{version}");
    }
}

#[test]
fn a_client_gets_what_an_application_of_python_says() {
    if skip::lacks(&["curl", "python3"]) {
        return;
    }
    let pki = Pki::new();
    for version in ["HTTP/1.0", "HTTP/1.1"] {
        let application = Application::speaking(version);
        let sidecar = Sidecar::before(application.address).serving(&pki.server()).start();
        compare(&application, &sidecar);
    }
}
