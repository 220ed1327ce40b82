//! The client's own files.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;

use lasthop_contract::credential::{self, Certificate, MOST_BYTES, SecretData};
use lasthop_contract::problem::{Fault, Gravity, Problem};
use lasthop_contract::text::escape;
use rustls::sign::CertifiedKey;

/// What a client presents.
pub(super) struct Presented {
    /// Its certificates, its own first.
    pub(super) chain: Vec<Certificate>,
    /// The same with the key, where that was given.
    pub(super) certified: Option<Arc<CertifiedKey>>,
}

impl Presented {
    /// Reads the certificate, and the key where there is one: in a file of its own, or beside the
    /// certificate.
    ///
    /// # Errors
    /// What is wrong with the files, a line each, and nothing of what they hold.
    pub(super) fn read(certificate: &Path, key: Option<&Path>) -> Result<Self, Vec<String>> {
        let chain = contents(certificate)?;
        let key = match key {
            Some(file) => Some((file, contents(file)?)),
            None if holds_both(&chain) => Some((certificate, chain.clone())),
            None => None,
        };
        let data = SecretData::from([("tls.crt".to_owned(), chain)]);
        let with_key = key.as_ref().map(|(_, key)| ("tls.key".to_owned(), key.clone()));
        let data = data.into_iter().chain(with_key).collect();
        let reading = credential::read(&data);
        let of_key = |problem: &Problem| problem.key == "tls.key";
        let lines: Vec<String> = reading
            .problems
            .iter()
            .filter(|problem| problem.gravity() == Gravity::Fatal && concerns_a_client(problem))
            .filter(|problem| key.is_some() || !of_key(problem))
            .flat_map(|problem| {
                let file = key.as_ref().filter(|_| of_key(problem)).map_or(certificate, |it| it.0);
                complaint(problem, file)
            })
            .collect();
        if !lines.is_empty() {
            return Err(lines);
        }
        let certified = reading.credential.map(|it| Arc::clone(it.certified_key()));
        Ok(Self { chain: reading.chain, certified })
    }
}

/// What is a sidecar's to say of a client, it says itself.
fn concerns_a_client(problem: &Problem) -> bool {
    !matches!(
        problem.fault,
        Fault::X509Version1 { .. }
            | Fault::CommonNameOnly { .. }
            | Fault::WeakKey { .. }
            | Fault::WeakSignature { .. }
    )
}

fn complaint(problem: &Problem, file: &Path) -> [String; 2] {
    let name = escape(&file.display().to_string());
    let own = format!("`{}`", problem.key);
    let message = problem.message().replace(&own, "it");
    let help = match &problem.fault {
        Fault::Swapped { holds: "private key" } => {
            "give the certificate; the key goes to `--client-key`, and nowhere else".to_owned()
        }
        Fault::Swapped { .. } => "give the private key, or leave `--client-key` out".to_owned(),
        _ => problem.help().replace(&problem.key, &name),
    };
    [format!("error: {name}: {message}"), format!("help: {help}")]
}

/// Whether a certificate and a private key stand in one file.
fn holds_both(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    text.contains("-----BEGIN CERTIFICATE-----") && text.contains("PRIVATE KEY-----")
}

fn contents(file: &Path) -> Result<Vec<u8>, Vec<String>> {
    let name = || escape(&file.display().to_string());
    let mut bytes = Vec::new();
    let most = u64::try_from(MOST_BYTES).unwrap_or(u64::MAX);
    let read = File::open(file).and_then(|it| it.take(most + 1).read_to_end(&mut bytes));
    match read {
        Err(error) => Err(vec![format!("error: {}: {error}", name())]),
        Ok(_) if bytes.len() > MOST_BYTES => {
            Err(vec![format!("error: {}: it is longer than {MOST_BYTES} bytes", name())])
        }
        Ok(_) => Ok(bytes),
    }
}
