//! An application that reads strictly and writes down what it read.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::sync::{Arc, Mutex, PoisonError};

use lasthop_tests::pki::Pki;
use lasthop_tests::raw::RawApp;
use lasthop_tests::sidecar::{HOST, Sidecar};

/// What a request comes to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Meaning {
    /// The client gets this status, the application nothing that it could take for a request.
    Refused(u16),
    /// The application reads this and nothing else: see [`Witness::seen`].
    Means(&'static str),
}

/// The sidecar before an application that takes down every request.
pub(crate) struct Witness {
    pub(crate) sidecar: Sidecar,
    seen: Arc<Mutex<Vec<String>>>,
    _pki: Pki,
    _app: RawApp,
}

impl Witness {
    pub(crate) fn new() -> Self {
        let seen = Arc::<Mutex<Vec<String>>>::default();
        let written = Arc::clone(&seen);
        let app = RawApp::start(move |stream| {
            let request = read(&stream).unwrap_or_else(|| "broken off".to_owned());
            written.lock().unwrap_or_else(PoisonError::into_inner).push(request);
            let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok";
            let _gone = (&stream).write_all(answer);
        });
        let pki = Pki::new();
        let sidecar = before(&app, &pki);
        Self { sidecar, seen, _pki: pki, _app: app }
    }

    /// What the application read since the last time, without what was broken off: the request line,
    /// `name: value` of each header but those that the sidecar writes and its own host, and the body
    /// with its trailers, with ` | ` between them.
    pub(crate) fn seen(&self) -> Vec<String> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *seen).into_iter().filter(|it| it != "broken off").collect()
    }
}

/// A sidecar that asks nobody for a certificate.
pub(crate) fn before(app: &RawApp, pki: &Pki) -> Sidecar {
    let server = pki.server();
    Sidecar::before(app.address).serving(&server).start()
}

/// A request, read as RFC 9112 has it and not a byte more liberally; [`None`] where it breaks off.
fn read(stream: &TcpStream) -> Option<String> {
    let mut reader = BufReader::new(stream);
    let mut told = vec![line(&mut reader)?];
    let (mut length, mut is_chunked) = (0, false);
    loop {
        let field = line(&mut reader)?;
        let Some((name, value)) = field.split_once(": ") else {
            assert!(field.is_empty(), "a header without its colon: {field:?}");
            break;
        };
        match name {
            "content-length" => length = value.parse().expect("a length is a number"),
            "transfer-encoding" => is_chunked = value == "chunked",
            _ => {}
        }
        let is_own = name.starts_with("x-forwarded-") || (name == "host" && value == HOST);
        told.extend((!is_own).then_some(field));
    }
    // Their order means nothing (RFC 9110, 5.3).
    told[1..].sort_unstable();
    if is_chunked {
        told.extend(chunks(&mut reader)?);
    } else if length > 0 {
        told.push(text(&mut reader, length)?);
    }
    // Nothing may follow a request before its answer.
    assert!(reader.buffer().is_empty(), "{told:?} and {:?}", reader.buffer());
    Some(told.join(" | "))
}

fn chunks(reader: &mut BufReader<&TcpStream>) -> Option<Vec<String>> {
    let mut told = vec![String::new()];
    loop {
        let size = usize::from_str_radix(&line(reader)?, 16).expect("a size is a number");
        if size == 0 {
            break;
        }
        told[0].push_str(&text(reader, size)?);
        assert_eq!(line(reader)?, "", "a chunk ends with a line break");
    }
    loop {
        let trailer = line(reader)?;
        if trailer.is_empty() {
            return Some(told);
        }
        told.push(trailer);
    }
}

fn line(reader: &mut BufReader<&TcpStream>) -> Option<String> {
    let mut bytes = Vec::new();
    reader.read_until(b'\n', &mut bytes).ok()?;
    let bytes = bytes.strip_suffix(b"\r\n")?;
    assert!(!bytes.contains(&b'\r') && !bytes.contains(&0), "{:?}", bytes.escape_ascii());
    Some(bytes.escape_ascii().to_string())
}

fn text(reader: &mut BufReader<&TcpStream>, length: usize) -> Option<String> {
    let mut bytes = vec![0; length];
    reader.read_exact(&mut bytes).ok()?;
    Some(bytes.escape_ascii().to_string())
}

/// Sends each request on a connection of its own and holds what comes of it against the table.
pub(crate) fn expect(cases: &[(&str, Meaning)]) {
    let witness = Witness::new();
    let mut wrong = Vec::new();
    for (request, meaning) in cases {
        let bytes = request.replace("{H}", &format!("Host: {HOST}\r\nConnection: close\r\n"));
        let answer = witness.sidecar.connect(None).ask(&bytes);
        let status = answer.get(9..12).and_then(|it| it.parse::<u16>().ok());
        let seen = witness.seen();
        let found = match (status, seen.as_slice()) {
            (Some(200), [seen]) => format!("Means({seen:?})"),
            (Some(status), []) => format!("Refused({status})"),
            _ => format!("{status:?} and {seen:?}"),
        };
        if found != format!("{meaning:?}") {
            let shown: String = request.escape_debug().take(120).collect();
            wrong.push(format!("{shown}\n    {meaning:?} was to come, {found} came"));
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}
