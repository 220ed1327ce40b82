//! Real curl as a client.
//!
//! ```text
//! let answer = Curl::get("https://shop.example/headers").at(address).trust(&ca.root_file()).run();
//! ```

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tempfile::TempDir;

use crate::pki::Files;
use crate::process::Program;

/// A request to be made.
#[derive(Debug)]
pub struct Curl {
    url: String,
    arguments: Vec<String>,
    input: Vec<u8>,
}

impl Curl {
    /// A GET request. It fails after 15 s, follows no redirect and knows no proxy.
    pub fn get(url: &str) -> Self {
        Self { url: url.to_owned(), arguments: Vec::new(), input: Vec::new() }
    }

    /// Connects there whatever host and port the URL names; the name still goes into SNI and Host.
    pub fn at(self, address: SocketAddr) -> Self {
        self.option("--connect-to", &format!("::{address}"))
    }

    /// Resolves this host of the URL to that address.
    pub fn resolve(self, host: &str, address: SocketAddr) -> Self {
        let value = format!("{host}:{}:{}", address.port(), address.ip());
        self.option("--resolve", &value)
    }

    /// Trusts the CAs in this file alone.
    pub fn trust(self, file: impl AsRef<Path>) -> Self {
        self.option("--cacert", &file.as_ref().display().to_string())
    }

    /// Takes any server certificate.
    pub fn insecure(self) -> Self {
        self.flag("--insecure")
    }

    /// Presents this client certificate with its intermediates.
    pub fn client(self, files: &Files) -> Self {
        self.option("--cert", &files.chain.display().to_string())
            .option("--key", &files.key.display().to_string())
    }

    /// Speaks HTTP/1.1 alone; else HTTP/2 is offered.
    pub fn http1(self) -> Self {
        self.flag("--http1.1")
    }

    /// Speaks HTTP/2 without TLS from the first byte.
    pub fn h2c(self) -> Self {
        self.flag("--http2-prior-knowledge")
    }

    /// One more request header, such as `X-Real-IP: 10.0.0.1`.
    pub fn header(self, line: &str) -> Self {
        self.option("--header", line)
    }

    /// Another method than GET.
    pub fn method(self, method: &str) -> Self {
        if method == "HEAD" { self.flag("--head") } else { self.option("--request", method) }
    }

    /// Sends the bytes of this file as body.
    pub fn body_file(self, file: impl AsRef<Path>) -> Self {
        self.option("--data-binary", &format!("@{}", file.as_ref().display()))
    }

    /// Sends these bytes as body, however many.
    pub fn body_bytes(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.input = bytes.into();
        self.option("--data-binary", "@-")
    }

    /// Sends this text as body.
    pub fn body(self, text: &str) -> Self {
        self.option("--data-raw", text)
    }

    /// An option of curl with its value.
    pub fn option(mut self, name: &str, value: &str) -> Self {
        self.arguments.extend([name.to_owned(), value.to_owned()]);
        self
    }

    /// An option of curl without a value.
    pub fn flag(mut self, name: &str) -> Self {
        self.arguments.push(name.to_owned());
        self
    }

    /// Makes the request.
    pub fn run(self) -> Answer {
        let home =
            TempDir::with_prefix("lasthop-curl-").expect("a temporary directory can be made");
        let [head, body] = ["head", "body"].map(|name| home.path().join(name));
        // A .curlrc or proxy of the user's would make it another request.
        let finished = Program::at("curl")
            .args(["--disable", "--silent", "--show-error", "--max-time", "15", "--noproxy", "*"])
            .args(["--write-out", "%{json}"])
            .arg("--dump-header")
            .arg(&head)
            .arg("--output")
            .arg(&body)
            .args(&self.arguments)
            .arg(&self.url)
            .input(self.input)
            .run();
        let facts: Value = serde_json::from_str(&finished.stdout).unwrap_or(Value::Null);
        let read = |path: &PathBuf| std::fs::read(path).unwrap_or_default();
        let Head { headers, trailers } = Head::parse(&String::from_utf8_lossy(&read(&head)));
        Answer {
            exit: finished.code(),
            status: facts["http_code"].as_u64().and_then(|it| it.try_into().ok()).unwrap_or(0),
            version: facts["http_version"].as_str().unwrap_or_default().to_owned(),
            headers,
            trailers,
            body: read(&body),
            error: finished.stderr.trim_end().to_owned(),
        }
    }
}

/// What curl got.
#[derive(Clone, Debug)]
pub struct Answer {
    /// curl's exit code: 0 for any HTTP answer, 56 or 35 where the server refuses the handshake,
    /// 60 for a server certificate that is not trusted, 7 where nobody listens, 28 for a timeout.
    pub exit: i32,
    /// The HTTP status; 0 without an answer.
    pub status: u16,
    /// `1.1`, `2` or `0` without an answer.
    pub version: String,
    /// The headers of the last answer, with names in lower case, in the order in which they came.
    pub headers: Vec<(String, String)>,
    /// The trailers after the body, likewise.
    pub trailers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
    /// What curl said on standard error.
    pub error: String,
}

impl Answer {
    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("the body is not JSON ({error}): {self:?}"))
    }

    /// The first header of that name.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(other, _)| other.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    /// Panics unless the status is this one.
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(
            self.status,
            status,
            "curl's exit code {}: {}\n{}",
            self.exit,
            self.error,
            self.text()
        );
        self
    }

    /// Panics unless the server refused the connection in the TLS handshake.
    ///
    /// With TLS 1.3 a client is through with its handshake before the server has seen the client's
    /// certificate, so the alert may come as the answer to the request.
    #[track_caller]
    pub fn expect_refused(self) -> Self {
        let alert = self.error.contains("alert") || self.error.contains("ALERT");
        assert!(
            self.status == 0 && matches!(self.exit, 35 | 55 | 56) && alert,
            "a TLS alert was expected: {self:?}"
        );
        self
    }
}

/// Headers of the last answer (one `100 Continue` may stand before it) and trailers, which curl
/// writes behind them.
#[derive(Default)]
struct Head {
    headers: Vec<(String, String)>,
    trailers: Vec<(String, String)>,
}

impl Head {
    fn parse(text: &str) -> Self {
        let mut head = Self::default();
        for block in text.split("\r\n\r\n") {
            let fields = block.lines().filter_map(|line| line.split_once(':'));
            let fields =
                fields.map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()));
            if block.starts_with("HTTP/") {
                head = Self { headers: fields.collect(), trailers: Vec::new() };
            } else {
                head.trailers.extend(fields);
            }
        }
        head
    }
}
