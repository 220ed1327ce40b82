//! A sidecar that is told by a document what to do, as the webhook tells it.
//!
//! ```text
//! let document = json!({ "listeners": [terminate(app.port(), json!({}))], "probes": [..] });
//! let sidecar = document::described(&document).holding("web", &server.secret()).start();
//! ```

use std::path::PathBuf;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::pki::{Issued, SecretData};
use crate::process::{Finished, Program};
use crate::secret_dir::SecretDir;
use crate::sidecar::Sidecar;

/// A sidecar to be started.
#[derive(Debug)]
pub struct Described {
    document: Value,
    secrets: TempDir,
    held: Vec<SecretDir>,
    root: PathBuf,
    arguments: Vec<String>,
}

/// A listener that ends TLS with the Secret `web` for an application on `forward`, and has the fields
/// of `more`, too.
pub fn terminate(forward: impl Into<Value>, more: Value) -> Value {
    let mut listener = json!({
        "mode": "terminate",
        "listen": "127.0.0.1:0",
        "forward": forward.into(),
        "tlsSecrets": ["web"],
    });
    merge(&mut listener, more);
    listener
}

/// A sidecar with this document; its version, a free status port and a drain without delay need not
/// stand in it.
pub fn described(document: &Value) -> Described {
    let mut whole = json!({
        "version": 1,
        "statusListen": "127.0.0.1:0",
        "drain": { "delaySeconds": 0, "timeoutSeconds": 25 },
    });
    merge(&mut whole, document.clone());
    let secrets = TempDir::with_prefix("lasthop-secrets-").expect("a directory can be made");
    Described {
        document: whole,
        secrets,
        held: Vec::new(),
        root: PathBuf::new(),
        arguments: Vec::new(),
    }
}

fn merge(into: &mut Value, more: Value) {
    let (Value::Object(into), Value::Object(more)) = (into, more) else {
        panic!("both are objects");
    };
    into.extend(more);
}

impl Described {
    /// With the Secret `web`, which holds this certificate; its root is what [`Sidecar::get`] trusts.
    pub fn serving(mut self, certificate: &Issued) -> Self {
        self.root = certificate.files().root;
        self.holding("web", &certificate.secret())
    }

    /// With this Secret, by the name of the document.
    pub fn holding(mut self, name: &str, data: &SecretData) -> Self {
        self.held.push(SecretDir::at(self.secrets.path().join(name), data));
        self
    }

    /// With one more flag and its value.
    pub fn option(mut self, name: &str, value: &str) -> Self {
        self.arguments.extend([name.to_owned(), value.to_owned()]);
        self
    }

    /// Starts it and waits until it is ready.
    #[track_caller]
    pub fn start(self) -> Sidecar {
        let process = self.program().start();
        let Self { document: _, secrets, held, root, arguments: _ } = self;
        Sidecar::running(process, held, root).keeping(secrets)
    }

    /// Runs it to its end, which should come by itself.
    #[track_caller]
    pub fn run(self) -> Finished {
        self.program().run()
    }

    fn program(&self) -> Program {
        Program::ours("lasthop-sidecar")
            .env("LASTHOP_CONFIG", self.document.to_string())
            .arg("--secrets-root")
            .arg(self.secrets.path())
            .args(&self.arguments)
    }
}
