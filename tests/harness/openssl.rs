//! Real openssl: as a client that shows the handshake, and for what rcgen cannot make.

use std::net::SocketAddr;
use std::path::Path;

use tempfile::TempDir;

use crate::pki::{Authority, Files, Pki};
use crate::process::Program;

/// A handshake to be tried with `openssl s_client`.
#[derive(Debug)]
pub struct SClient {
    arguments: Vec<String>,
    input: String,
}

impl SClient {
    /// To this address, without SNI, trusting nobody in particular.
    pub fn to(address: SocketAddr) -> Self {
        let arguments =
            ["s_client", "-connect", &address.to_string(), "-ign_eof"].map(ToOwned::to_owned);
        Self { arguments: arguments.to_vec(), input: String::new() }.option("-noservername", None)
    }

    /// Asks for this server name.
    pub fn sni(mut self, name: &str) -> Self {
        self.arguments.retain(|argument| argument != "-noservername");
        self.option("-servername", Some(name))
    }

    /// Presents this client certificate with its intermediates.
    pub fn client(self, files: &Files) -> Self {
        let chain = files.chain.display().to_string();
        self.option("-cert", Some(&chain))
            .option("-cert_chain", Some(&chain))
            .option("-key", Some(&files.key.display().to_string()))
    }

    /// Trusts the CAs in this file alone.
    pub fn trust(self, file: impl AsRef<Path>) -> Self {
        self.option("-CAfile", Some(&file.as_ref().display().to_string()))
            .option("-no-CApath", None)
    }

    /// Offers these protocols by ALPN, such as `h2,http/1.1`.
    pub fn alpn(self, protocols: &str) -> Self {
        self.option("-alpn", Some(protocols))
    }

    /// An option of `s_client`, such as `-tls1_2`, with its value if it has one.
    pub fn option(mut self, name: &str, value: Option<&str>) -> Self {
        self.arguments.push(name.to_owned());
        self.arguments.extend(value.map(ToOwned::to_owned));
        self
    }

    /// Sends this after the handshake and reads until the server closes.
    pub fn send(mut self, text: &str) -> Self {
        self.input.push_str(text);
        self
    }

    /// Sends a GET request after which the server is to close, and reads what it says.
    pub fn request(self, host: &str, path: &str) -> Self {
        self.send(&format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"))
    }

    /// Shakes hands.
    pub fn run(self) -> Handshake {
        // s_client takes a Q at the start of a line for "quit"; requests have none.
        let finished = Program::at("openssl").args(&self.arguments).input(self.input).run();
        Handshake { output: finished.stdout, errors: finished.stderr }
    }
}

/// What `s_client` saw.
#[derive(Clone, Debug)]
pub struct Handshake {
    /// Everything on standard output, with what the server sent.
    pub output: String,
    /// Everything on standard error.
    pub errors: String,
}

impl Handshake {
    /// `TLSv1.3` or `TLSv1.2`; [`None`] if no version was agreed on.
    pub fn protocol(&self) -> Option<&str> {
        // "New, TLSv1.3, Cipher is TLS_AES_256_GCM_SHA384"
        self.line(&["New, ", "Reused, "])?.split(", ").next().filter(|it| *it != "(NONE)")
    }

    /// The cipher suite, by OpenSSL's name.
    pub fn cipher(&self) -> Option<&str> {
        let (_, cipher) = self.line(&["New, ", "Reused, "])?.split_once("Cipher is ")?;
        Some(cipher).filter(|it| *it != "(NONE)")
    }

    /// The protocol agreed on by ALPN.
    pub fn alpn(&self) -> Option<&str> {
        self.line(&["ALPN protocol: "])
    }

    /// The subject of the server's certificate, such as `CN = a.example`.
    pub fn subject(&self) -> Option<&str> {
        self.line(&["subject="])
    }

    /// The result of verifying the server: 0 is good (RFC 5280 errors by OpenSSL's numbers).
    pub fn verify_code(&self) -> Option<u32> {
        self.line(&["Verify return code: ", "Verification error: "])?
            .split(' ')
            .next()?
            .parse()
            .ok()
    }

    /// Whether the session was resumed.
    pub fn is_resumed(&self) -> bool {
        self.output.lines().any(|line| line.starts_with("Reused, "))
    }

    /// The number of the TLS alert that the server sent (RFC 8446, 6.2): 49 is `access_denied`, 48
    /// `unknown_ca`, 45 `certificate_expired`, 116 `certificate_required`.
    pub fn alert(&self) -> Option<u8> {
        // "...:ssl3_read_bytes:tlsv13 alert certificate required:...:SSL alert number 116"
        let (_, rest) = self.errors.split_once("SSL alert number ")?;
        rest.lines().next()?.trim().parse().ok()
    }

    /// Panics unless the server sent this alert.
    #[track_caller]
    pub fn expect_alert(self, number: u8) -> Self {
        assert_eq!(self.alert(), Some(number), "{}\n{}", self.output, self.errors);
        self
    }

    fn line(&self, starts: &[&str]) -> Option<&str> {
        let lines = self.output.lines().map(str::trim);
        lines.into_iter().find_map(|line| starts.iter().find_map(|start| line.strip_prefix(start)))
    }
}

/// Runs `openssl` with these arguments in a directory of its own and returns standard output.
#[track_caller]
pub fn run(arguments: &[&str], input: impl Into<Vec<u8>>) -> String {
    Program::at("openssl").args(arguments).input(input).run().expect_success().stdout
}

/// A self-signed X.509 version 1 certificate with its key: what `openssl x509 -req` makes without
/// an extension file, as many guides have it. Certificate and key, as PEM.
pub fn version_1(common_name: &str) -> (String, String) {
    let key = run(&["ecparam", "-name", "prime256v1", "-genkey", "-noout"], "");
    (version_1_of(common_name, &key), key)
}

fn version_1_of(common_name: &str, key: &str) -> String {
    let home = TempDir::with_prefix("lasthop-openssl-").expect("a temporary directory can be made");
    let write = |name: &str, text: &str| {
        let path = home.path().join(name);
        std::fs::write(&path, text).expect("a temporary file can be written");
        path.display().to_string()
    };
    let key = write("key", key);
    let subject = format!("/CN={common_name}");
    let request = run(&["req", "-new", "-key", &key, "-subj", &subject], "");
    let request = write("request", &request);
    run(&["x509", "-req", "-in", &request, "-signkey", &key, "-days", "30"], "")
}

/// The files that `openssl ca` needs beside `ca.crt` and `ca.key`: a configuration without `crlnumber` and
/// `crl_extensions`, and an empty database.
pub const CA_FILES: [(&str, &str); 2] = [
    (
        "ca.cnf",
        "[ca]\ndefault_ca = own\n[own]\ndatabase = index.txt\ncertificate = ca.crt\n\
         private_key = ca.key\ndefault_md = sha256\ndefault_crl_days = 30\n",
    ),
    ("index.txt", ""),
];

/// A revocation list of version 1: what `openssl ca -gencrl` makes with [`CA_FILES`].
pub fn revocation_list_version_1(authority: &Authority) -> String {
    let home = TempDir::with_prefix("lasthop-openssl-").expect("a temporary directory can be made");
    let (certificate, key) = (authority.pem(), authority.key_pem());
    for (name, text) in CA_FILES.into_iter().chain([("ca.crt", &*certificate), ("ca.key", &*key)]) {
        std::fs::write(home.path().join(name), text).expect("a temporary file can be written");
    }
    let script = "cd \"$0\" && openssl ca -gencrl -config ca.cnf";
    let home = home.path().display().to_string();
    Program::at("sh").args(["-c", script, &home]).run().expect_success().stdout
}

/// The key with a passphrase, as PKCS #8 (`BEGIN ENCRYPTED PRIVATE KEY`).
pub fn encrypt(key_pem: &str) -> String {
    run(&["pkcs8", "-topk8", "-v2", "aes-256-cbc", "-passout", "pass:secret"], key_pem)
}

/// The key with a passphrase in the old form (`Proc-Type: 4,ENCRYPTED`).
pub fn encrypt_traditionally(key_pem: &str) -> String {
    run(&["pkey", "-traditional", "-aes256", "-passout", "pass:secret"], key_pem)
}

/// The key in the form that its algorithm had before PKCS #8 (`BEGIN EC PRIVATE KEY`).
pub fn traditional(key_pem: &str) -> String {
    run(&["pkey", "-traditional"], key_pem)
}

/// A self-signed certificate made with these further options of `openssl req -x509`, for keys and
/// digests that nobody should use: `-newkey rsa:1024`, `-sha1`. Certificate and key, as PEM.
pub fn self_signed(pki: &Pki, common_name: &str, options: &[&str]) -> (String, String) {
    let key = pki.directory().join(format!("{common_name}.openssl.key"));
    let key = key.display().to_string();
    let subject = format!("/CN={common_name}");
    let names = format!("subjectAltName=DNS:{common_name}");
    let mut arguments = vec!["req", "-x509", "-nodes", "-days", "30", "-subj", &subject];
    arguments.extend(["-addext", &names, "-addext", "basicConstraints=CA:FALSE", "-keyout", &key]);
    arguments.extend(options);
    let certificate = run(&arguments, "");
    (certificate, std::fs::read_to_string(key).expect("openssl wrote the key"))
}
