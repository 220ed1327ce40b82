//! The real sidecar before an application, started by flags on ports that the system chose.
//!
//! ```text
//! let mut sidecar = Sidecar::before(app.address()).serving(&server).clients(&ca, "dns:alb.example").start();
//! sidecar.get("/headers").client(&alb.files()).run().expect(200);
//! sidecar.expect_refusal("LH511");
//! ```

use std::ffi::OsString;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use rustls::ProtocolVersion;
use serde_json::Value;
use tempfile::TempDir;

use crate::curl::Curl;
use crate::openssl::SClient;
use crate::pki::{Authority, Files, Issued, SecretData};
use crate::process::{Finished, Program, Running, wait_until};
use crate::records::RecordClient;
use crate::secret_dir::SecretDir;
use crate::tls::TlsClient;

/// The host that the sidecar's certificate is for, where a test does not say otherwise.
pub const HOST: &str = "shop.example";

/// A sidecar to be started.
#[derive(Debug)]
pub struct Setup {
    arguments: Vec<OsString>,
    certificates: Vec<SecretDir>,
    authorities: Option<SecretDir>,
    lists: Option<SecretDir>,
    root: Option<PathBuf>,
}

/// A running sidecar with its Secrets.
#[derive(Debug)]
pub struct Sidecar {
    /// The process.
    pub process: Running,
    /// Where TLS is ended.
    pub tls: SocketAddr,
    /// Where plain HTTP is redirected, if it is.
    pub redirect: Option<SocketAddr>,
    /// Where health and metrics are answered.
    pub status: SocketAddr,
    /// The Secrets with certificate and key, in the order in which they were given.
    pub certificates: Vec<SecretDir>,
    /// The Secret with the CAs of clients.
    pub authorities: Option<SecretDir>,
    /// The Secret with revocation lists.
    pub lists: Option<SecretDir>,
    root: PathBuf,
    _kept: Option<TempDir>,
}

impl Sidecar {
    /// The sidecar that `process` is, once it is ready, with a listener that ends TLS.
    #[track_caller]
    pub(crate) fn running(
        mut process: Running,
        certificates: Vec<SecretDir>,
        root: PathBuf,
    ) -> Self {
        let [tls, status] = ["terminate", "status"].map(|mode| listening(&mut process, mode));
        process.wait_for_log(|entry| entry["message"] == "ready");
        Self {
            process,
            tls,
            redirect: None,
            status,
            certificates,
            authorities: None,
            lists: None,
            root,
            _kept: None,
        }
    }

    /// With a directory that goes when it goes.
    pub(crate) fn keeping(self, directory: TempDir) -> Self {
        Self { _kept: Some(directory), ..self }
    }

    /// A sidecar on free ports of 127.0.0.1 that forwards to `application` and closes its door at
    /// SIGTERM.
    pub fn before(application: SocketAddr) -> Setup {
        Self::with_delay(application, "0")
    }

    /// The same, with so many seconds between SIGTERM and the closing of the door.
    pub fn with_delay(application: SocketAddr, seconds: &str) -> Setup {
        let setup = Setup {
            arguments: Vec::new(),
            certificates: Vec::new(),
            authorities: None,
            lists: None,
            root: None,
        };
        setup
            .option("--listen", "127.0.0.1:0")
            .option("--forward", application.to_string())
            .option("--status-listen", "127.0.0.1:0")
            .option("--drain-delay", seconds)
    }

    /// A request for [`HOST`] at the TLS port.
    pub fn get(&self, path: &str) -> Curl {
        Curl::get(&format!("https://{HOST}{path}")).at(self.tls).trust(&self.root)
    }

    /// A handshake at the TLS port, with [`HOST`] as server name.
    pub fn shake(&self) -> SClient {
        SClient::to(self.tls).sni(HOST)
    }

    /// A connection to the TLS port for bytes.
    #[track_caller]
    pub fn connect(&self, client: Option<&Files>) -> TlsClient {
        let root = std::fs::read_to_string(&self.root).expect("the root was written");
        TlsClient::connect(self.tls, HOST, &root, client).expect("the handshake goes through")
    }

    /// The same, by a proxy that sends this header.
    pub fn connect_behind(&self, header: &[u8], client: Option<&Files>) -> io::Result<TlsClient> {
        let root = std::fs::read_to_string(&self.root).expect("the root was written");
        TlsClient::connect_behind(header, (self.tls, HOST, &root), client)
    }

    /// The same, for bytes of HTTP/2.
    #[track_caller]
    pub fn connect_h2(&self) -> TlsClient {
        let root = std::fs::read_to_string(&self.root).expect("the root was written");
        TlsClient::connect_offering(&["h2"], (self.tls, HOST, &root), None)
            .expect("the handshake goes through")
    }

    /// A connection with this version of TLS for records as no library writes them, of bytes of HTTP/2
    /// or of HTTP/1.1.
    #[track_caller]
    pub fn connect_for_records(&self, version: ProtocolVersion, alpn: &str) -> RecordClient {
        let root = std::fs::read_to_string(&self.root).expect("the root was written");
        RecordClient::connect(version, &[alpn], (self.tls, HOST, &root))
            .expect("the handshake goes through")
    }

    /// A request to the status port.
    pub fn ask(&self, path: &str) -> Curl {
        Curl::get(&format!("http://{}{path}", self.status))
    }

    /// What `/readyz?verbose` tells.
    #[track_caller]
    pub fn detail(&self) -> Value {
        self.ask("/readyz?verbose").run().json()
    }

    /// The sum of all samples of a metric whose labels hold all of `labels`.
    #[track_caller]
    pub fn metric(&self, name: &str, labels: &[&str]) -> f64 {
        let text = self.ask("/metrics").run().expect(200).text();
        sum_of(&text, name, labels)
    }

    /// Waits for the log line about a refused connection with this code.
    #[track_caller]
    pub fn expect_refusal(&mut self, code: &str) -> Value {
        self.process.wait_for_log(|entry| entry["message"] == "refused" && entry["code"] == code)
    }

    /// Waits for the log line with this message.
    #[track_caller]
    pub fn expect_log(&mut self, message: &str) -> Value {
        self.process.wait_for_log(|entry| entry["message"] == message)
    }

    /// Waits until `condition` holds.
    #[track_caller]
    pub fn wait_until(&mut self, what: &str, mut condition: impl FnMut(&mut Self) -> bool) {
        wait_until(what, || condition(self));
    }

    /// Asks it to end and waits for that.
    #[track_caller]
    pub fn finish(self) -> Finished {
        self.process.terminate();
        self.process.finish()
    }
}

/// The sum of all samples of a metric in `text` whose labels hold all of `labels`.
pub fn sum_of(text: &str, name: &str, labels: &[&str]) -> f64 {
    let samples = text.lines().filter_map(|line| {
        let rest = line.strip_prefix(name)?;
        let (found, value) = rest.rsplit_once(' ')?;
        let is_it = found.is_empty() || found.starts_with('{');
        (is_it && labels.iter().all(|label| found.contains(label))).then_some(value)
    });
    samples.filter_map(|value| value.parse::<f64>().ok()).sum()
}

impl Setup {
    /// With this certificate; its root is what [`Sidecar::get`] trusts.
    pub fn serving(self, certificate: &Issued) -> Self {
        let root = certificate.files().root;
        let mut setup = self.serving_data(&certificate.secret());
        setup.root.get_or_insert(root);
        setup
    }

    /// With this Secret, whatever it holds.
    pub fn serving_data(mut self, data: &SecretData) -> Self {
        let dir = SecretDir::new(data);
        self = self.option("--tls-secret", dir.path());
        self.certificates.push(dir);
        self
    }

    /// With clients that this authority vouches for, as far as `allowed` allows them.
    pub fn clients(self, authority: &Authority, allowed: &str) -> Self {
        self.clients_data(&authority.ca_secret()).option("--allowed-clients", allowed)
    }

    /// With this Secret for the CAs of clients, whatever it holds.
    pub fn clients_data(mut self, data: &SecretData) -> Self {
        let dir = SecretDir::new(data);
        self = self.option("--client-ca-secret", dir.path());
        self.authorities = Some(dir);
        self
    }

    /// With this revocation list.
    pub fn revoking(mut self, list: &str) -> Self {
        let data = SecretData::from([("ca.crl".to_owned(), list.as_bytes().to_vec())]);
        let dir = SecretDir::new(&data);
        self = self.option("--client-crl-secret", dir.path());
        self.lists = Some(dir);
        self
    }

    /// With a listener that redirects.
    pub fn redirecting(self) -> Self {
        self.option("--redirect-port", "0")
    }

    /// With one more flag and its value.
    pub fn option(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.arguments.extend([OsString::from(name), value.into()]);
        self
    }

    /// With one more flag that has no value.
    pub fn flag(mut self, name: &str) -> Self {
        self.arguments.push(OsString::from(name));
        self
    }

    /// Starts it and waits until it is ready.
    #[track_caller]
    pub fn start(self) -> Sidecar {
        let redirects = self.arguments.iter().any(|it| it == "--redirect-port");
        let mut process = self.program().start();
        let redirect = redirects.then(|| listening(&mut process, "redirect"));
        let Self { arguments: _, certificates, authorities, lists, root } = self;
        let running = Sidecar::running(process, certificates, root.unwrap_or_default());
        Sidecar { redirect, authorities, lists, ..running }
    }

    /// Runs it to its end, which should come by itself.
    #[track_caller]
    pub fn run(self) -> Finished {
        self.program().run()
    }

    fn program(&self) -> Program {
        Program::ours("lasthop-sidecar").args(&self.arguments)
    }
}

/// Where the listener of this mode is.
#[track_caller]
fn listening(process: &mut Running, mode: &str) -> SocketAddr {
    let line =
        process.wait_for_log(|entry| entry["message"] == "listening" && entry["mode"] == mode);
    let address = line["address"].as_str().expect("the line has an address");
    address.parse().expect("the address is one")
}
