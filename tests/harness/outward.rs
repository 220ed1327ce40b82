//! The real sidecar the other way round, from an application to the next tier, started by flags.
//!
//! ```text
//! let mut outward = Outward::to(&format!("https://{}", tier.tls)).trusting(&ca).presenting(&web).start();
//! outward.get("db.example", "/headers").run().expect(200);
//! outward.expect_failure("LH547");
//! ```

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::Path;

use serde_json::Value;

use crate::curl::Curl;
use crate::pki::{Authority, Issued, SecretData};
use crate::process::{Finished, Program, Running, built};
use crate::secret_dir::SecretDir;
use crate::sidecar::sum_of;

/// A sidecar to be started.
#[derive(Debug)]
pub struct OutwardSetup {
    arguments: Vec<OsString>,
    client: Option<SecretDir>,
    authorities: Option<SecretDir>,
    environment: Vec<(OsString, OsString)>,
}

/// A running sidecar with its Secrets.
#[derive(Debug)]
pub struct Outward {
    /// The process.
    pub process: Running,
    /// Where the application connects to.
    pub listen: SocketAddr,
    /// Where health and metrics are answered.
    pub status: SocketAddr,
    /// The Secret that is presented.
    pub client: Option<SecretDir>,
    /// The Secret with the CAs of the next tier.
    pub authorities: Option<SecretDir>,
}

impl Outward {
    /// A sidecar on a free port of 127.0.0.1 to this upstream, which ends at once at SIGTERM.
    pub fn to(upstream: &str) -> OutwardSetup {
        let (arguments, environment) = (Vec::new(), Vec::new());
        let setup = OutwardSetup { arguments, client: None, authorities: None, environment };
        setup
            .option("--listen", "127.0.0.1:0")
            .option("--upstream", upstream)
            .option("--status-listen", "127.0.0.1:0")
            .option("--drain-delay", "0")
    }

    /// A request of the application for `host`.
    pub fn get(&self, host: &str, path: &str) -> Curl {
        Curl::get(&format!("http://{host}{path}")).at(self.listen)
    }

    /// What `/readyz?verbose` tells.
    #[track_caller]
    pub fn detail(&self) -> Value {
        Curl::get(&format!("http://{}/readyz?verbose", self.status)).run().json()
    }

    /// The sum of all samples of a metric whose labels hold all of `labels`.
    #[track_caller]
    pub fn metric(&self, name: &str, labels: &[&str]) -> f64 {
        let text = Curl::get(&format!("http://{}/metrics", self.status)).run().expect(200).text();
        sum_of(&text, name, labels)
    }

    /// Waits for the log line about a failure of the next tier with this code.
    #[track_caller]
    pub fn expect_failure(&mut self, code: &str) -> Value {
        self.process.wait_for_log(|entry| {
            entry["message"] == "the next tier failed" && entry["code"] == code
        })
    }

    /// Waits for the log line with this message.
    #[track_caller]
    pub fn expect_log(&mut self, message: &str) -> Value {
        self.process.wait_for_log(|entry| entry["message"] == message)
    }

    /// Asks it to end and waits for that.
    #[track_caller]
    pub fn finish(self) -> Finished {
        self.process.terminate();
        self.process.finish()
    }
}

impl OutwardSetup {
    /// Presents this certificate.
    pub fn presenting(mut self, certificate: &Issued) -> Self {
        let dir = SecretDir::new(&certificate.secret());
        self = self.option("--upstream-client-secret", dir.path());
        self.client = Some(dir);
        self
    }

    /// Trusts this authority alone.
    pub fn trusting(self, authority: &Authority) -> Self {
        self.trusting_data(&authority.ca_secret())
    }

    /// Trusts this Secret alone, whatever it holds.
    pub fn trusting_data(mut self, data: &SecretData) -> Self {
        let dir = SecretDir::new(data);
        self = self.option("--upstream-ca-secret", dir.path());
        self.authorities = Some(dir);
        self
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

    /// With one more variable of the environment.
    pub fn env(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.environment.push((OsString::from(name), value.into()));
        self
    }

    /// Starts it and waits until it is ready.
    #[track_caller]
    pub fn start(self) -> Outward {
        let program = Program::ours("lasthop-sidecar").args(&self.arguments);
        self.started(program)
    }

    /// The same, with this file in the place of `/etc/hosts`; it needs the right to mount.
    #[track_caller]
    pub fn start_with_hosts(self, hosts: &Path) -> Outward {
        let script = "mount --bind \"$1\" /etc/hosts && shift && exec \"$@\"";
        let program = Program::at("unshare")
            .args(["--mount", "--map-root-user", "sh", "-c", script, "sh"])
            .arg(hosts)
            .arg(built("lasthop-sidecar"))
            .args(&self.arguments);
        self.started(program)
    }

    /// Runs it to its end, which should come by itself.
    #[track_caller]
    pub fn run(self) -> Finished {
        Program::ours("lasthop-sidecar").args(&self.arguments).run()
    }

    #[track_caller]
    fn started(self, mut program: Program) -> Outward {
        let Self { arguments: _, client, authorities, environment } = self;
        // What the machine's own variables say is not what the test says.
        program = program.env("SSL_CERT_FILE", "");
        for (name, value) in environment {
            program = program.env(name, value);
        }
        let mut process = program.start();
        let mut address = |mode: &str| -> SocketAddr {
            let line = process
                .wait_for_log(|entry| entry["message"] == "listening" && entry["mode"] == mode);
            let address = line["address"].as_str().expect("the line has an address");
            address.parse().expect("the address is one")
        };
        let (listen, status) = (address("originate"), address("status"));
        process.wait_for_log(|entry| entry["message"] == "ready");
        Outward { process, listen, status, client, authorities }
    }
}
