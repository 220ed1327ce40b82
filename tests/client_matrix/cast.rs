//! The CAs, certificates and Secrets of the table, and the manifests of the workload that they come to.

use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;

use lasthop_contract::client_policy::ClientEku;
use lasthop_tests::kubernetes::secret_manifest;
use lasthop_tests::pki::{Authority, Issued, Pki, SecretData, Validity, to_pem};
use lasthop_tests::sidecar::HOST;
use rcgen::ExtendedKeyUsagePurpose as Usage;
use rustls::crypto::aws_lc_rs;
use rustls::sign::{CertifiedKey, SigningKey};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::{Value, json};

use super::rows::{ALLOWED, Chain, KEYS, Lists, Pinned, Revoked, Row, San, TRUSTS, listeners};

/// One client of the table.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) row: Row,
    /// What it sends, its own certificate first.
    chain: Vec<Vec<u8>>,
    serial: Vec<u8>,
    issuer: usize,
    /// The key, as PKCS #8.
    key_pem: String,
    signing: Arc<dyn SigningKey>,
}

/// Those who issue. The place of each is what [`issuer`] says.
const ISSUERS: usize = 11;

/// The Secrets that the workloads name: those of the CAs in the order of [`TRUSTS`].
const SECRETS: [&str; 9] =
    ["ca-0", "ca-1", "ca-2", "ca-3", "ca-4", "web-tls", "current-crl", "root-crl", "old-crl"];

/// Everything that the table needs.
pub(crate) struct Cast {
    pub(crate) pki: Pki,
    server: Issued,
    issuers: [Authority; ISSUERS],
    pub(crate) clients: Vec<Client>,
    /// Which of them may come in.
    allowed: String,
    /// Of each sidecar.
    ports: Vec<Ports>,
}

/// The ports of a sidecar.
struct Ports {
    status: u16,
    app: u16,
    listeners: Vec<u16>,
}

impl Cast {
    /// Issues the certificates of these rows.
    pub(crate) fn of(rows: Vec<Row>) -> Self {
        let pki = Pki::new();
        let root = pki.authority("clients-ca");
        let (common, revoked) = (root.intermediate("common"), root.intermediate("revoked"));
        let (lower, lower_revoked) = (common.intermediate("lower"), revoked.intermediate("lower"));
        let for_servers = root.intermediate_for("for servers", &[Usage::ServerAuth]);
        let expired = root.expired_intermediate("expired");
        let (other, impostor) = (pki.authority("other"), root.impostor());
        let too_deep = root.last_intermediate("last").intermediate("too deep");
        let no_authority = root.no_authority("no authority");
        let issuers = [
            root,
            common,
            revoked,
            lower,
            lower_revoked,
            for_servers,
            expired,
            other,
            impostor,
            too_deep,
            no_authority,
        ];
        let server = pki.authority("web-ca").leaf().dns(HOST).issue();
        let keys = || -> Vec<(Issued, Arc<dyn SigningKey>)> {
            let keys = KEYS.iter().map(|kind| issuers[0].leaf().key(*kind).issue());
            keys.map(|issued| (signing(&issued), issued))
                .map(|(signing, issued)| (issued, signing))
                .collect()
        };
        let (keys, pinned) = (keys(), keys());
        let mut allowed = vec![ALLOWED.to_owned()];
        allowed.extend(pinned.iter().map(|(key, _)| format!("spki:{}", key.key_fingerprint())));
        let stranger = pki.authority("stranger");
        let clients: Vec<Client> = rows
            .into_iter()
            .map(|row| {
                let is_pinned = row.who().pinned == Pinned::Key;
                let (key, signing) = &(if is_pinned { &pinned } else { &keys })[row.key()];
                let issued = issue(row, &issuers[issuer(row)], key);
                if row.who().pinned == Pinned::Certificate {
                    allowed.push(format!("sha256:{}", issued.fingerprint()));
                }
                let chain = arrange(row.chain(), &issued, issuers[0].der(), stranger.der());
                Client {
                    row,
                    chain,
                    serial: issued.serial().to_vec(),
                    issuer: issuer(row),
                    key_pem: key.key_pem(),
                    signing: Arc::clone(signing),
                }
            })
            .collect();
        let of_each = listeners().count() + 2;
        let ports = free_ports(TRUSTS.len() * of_each)
            .chunks(of_each)
            .map(|it| Ports { status: it[0], app: it[1], listeners: it[2..].to_vec() })
            .collect();
        Self { pki, server, issuers, clients, allowed: allowed.join(","), ports }
    }

    /// The port that the client of this row comes to.
    pub(crate) fn port(&self, row: Row) -> u16 {
        self.ports[row.sidecar()].listeners[row.listener()]
    }

    /// The root of the sidecar's own certificate.
    pub(crate) fn server_root(&self) -> String {
        self.pki.authority("web-ca").root_pem()
    }

    /// The Secret of this name that the workload has.
    pub(crate) fn secret(&self, name: &str) -> Option<SecretData> {
        Some(match name {
            "web-tls" => self.server.secret(),
            "ca-0" => self.trusted(&[0]),
            "ca-1" => self.trusted(&[7, 0]),
            "ca-2" => self.trusted(&[1]),
            "ca-3" => self.trusted(&[8, 0]),
            "ca-4" => self.trusted(&[7]),
            "current-crl" => self.revocation_lists(self.issuers.len(), Validity::days(-1, 7)),
            "root-crl" => self.revocation_lists(1, Validity::days(-1, 7)),
            "old-crl" => self.revocation_lists(self.issuers.len(), Validity::days(-8, -1)),
            _ => return None,
        })
    }

    fn trusted(&self, issuers: &[usize]) -> SecretData {
        let bundle: String = issuers.iter().map(|place| self.issuers[*place].pem()).collect();
        [("ca.crt".to_owned(), bundle.into_bytes())].into()
    }

    /// What the first so many CAs of the table took back; the root is the first.
    fn revocation_lists(&self, issuers: usize, validity: Validity) -> SecretData {
        let lists = self.issuers.iter().enumerate().take(issuers).map(|(place, issuer)| {
            let revoked = self.clients.iter().filter(|client| client.is_revoked_by(place));
            let mut serials: Vec<&[u8]> = revoked.map(|client| client.serial.as_slice()).collect();
            if place == 0 {
                serials.push(self.issuers[2].serial());
            }
            issuer.revocation_list_of(&serials, validity)
        });
        [("ca.crl".to_owned(), lists.collect::<String>().into_bytes())].into()
    }

    /// The Deployment that asks for a sidecar with a listener for each policy of the table.
    fn deployment(&self, sidecar: usize) -> Value {
        let Ports { status, app, listeners: ports } = &self.ports[sidecar];
        let pairs: Vec<String> = ports.iter().map(|port| format!("{port}:{app}")).collect();
        let mut annotations = json!({
            "lasthop.dev/inject": "true",
            "lasthop.dev/tls-secret": "web-tls",
            "lasthop.dev/client-ca-secret": SECRETS[sidecar],
            "lasthop.dev/allowed-clients": self.allowed,
            "lasthop.dev/ports": pairs.join(","),
            "lasthop.dev/status-port": status.to_string(),
        });
        let mut say = |name: &str, port: u16, value: &str| {
            annotations[format!("lasthop.dev/{name}.{port}")] = value.into();
        };
        for ((eku, lists), port) in listeners().zip(ports.iter().copied()) {
            say("client-eku", port, eku.word());
            // What is presented is judged in the same way where nothing need be presented.
            say(
                "client-auth",
                port,
                if eku == ClientEku::Client { "optional" } else { "required" },
            );
            match lists {
                Lists::None => {}
                Lists::Current => say("client-crl-secret", port, "current-crl"),
                Lists::OldAccepted => say("client-crl-secret", port, "old-crl"),
                Lists::OldRefused => {
                    say("client-crl-secret", port, "old-crl");
                    say("client-crl-expired", port, "refuse");
                }
                Lists::LeafAlone => {
                    say("client-crl-secret", port, "current-crl");
                    say("client-crl-depth", port, "leaf");
                }
                Lists::RootsAlone => {
                    say("client-crl-secret", port, "root-crl");
                    say("client-crl-unknown", port, "refuse");
                }
            }
        }
        let name = workload_name(sidecar);
        let container = json!({"name": "web", "image": "web:1", "ports": [{"containerPort": app}]});
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": name, "namespace": "shop"},
            "spec": {
                "selector": {"matchLabels": {"app": name}},
                "template": {
                    "metadata": {"labels": {"app": name}, "annotations": annotations},
                    "spec": {"containers": [container]},
                },
            },
        })
    }

    /// A file with the workload of this sidecar and its Secrets.
    pub(crate) fn workload(&self, sidecar: usize) -> PathBuf {
        let mut documents = vec![format!("{:#}", self.deployment(sidecar))];
        let is_its = |name: &&&str| !name.starts_with("ca-") || **name == SECRETS[sidecar];
        documents.extend(SECRETS.iter().filter(is_its).map(|name| {
            secret_manifest("shop", name, "Opaque", &self.secret(name).unwrap_or_default())
        }));
        let name = format!("{}.yaml", workload_name(sidecar));
        self.pki.write(&name, documents.join("\n---\n") + "\n")
    }

    /// A file with an Ingress for each of these clients of a sidecar, which presents its certificate
    /// to the Service.
    pub(crate) fn ingresses(&self, sidecar: usize, clients: &[(usize, &Client)]) -> PathBuf {
        let workload = workload_name(sidecar);
        let ports: Vec<Value> = self.ports[sidecar]
            .listeners
            .iter()
            .map(|port| json!({"name": format!("p{port}"), "port": port, "targetPort": port}))
            .collect();
        let service = json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {"name": workload, "namespace": "shop"},
            "spec": {"selector": {"app": workload}, "ports": ports},
        });
        let mut documents = vec![service.to_string()];
        for (number, client) in clients {
            let name = format!("row-{number}");
            let annotations = json!({
                "nginx.ingress.kubernetes.io/backend-protocol": "HTTPS",
                "nginx.ingress.kubernetes.io/proxy-ssl-secret": format!("shop/{name}"),
            });
            let port = self.port(client.row);
            let backend = json!({"service": {"name": workload, "port": {"number": port}}});
            let path = json!({"path": "/", "pathType": "Prefix", "backend": backend});
            let ingress = json!({
                "apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
                "metadata": {"name": name, "namespace": "shop", "annotations": annotations},
                "spec": {
                    "ingressClassName": "nginx",
                    "rules": [{"host": format!("{name}.example"), "http": {"paths": [path]}}],
                },
            });
            documents.push(ingress.to_string());
            documents.push(secret_manifest("shop", &name, "Opaque", &client.secret()));
        }
        self.pki.write(&format!("{workload}-ingresses.yaml"), documents.join("\n---\n"))
    }
}

impl Client {
    fn is_revoked_by(&self, issuer: usize) -> bool {
        self.issuer == issuer && self.row.revoked() == Revoked::Leaf
    }

    pub(crate) fn chain_pem(&self) -> String {
        self.chain.iter().map(|der| to_pem("CERTIFICATE", der)).collect()
    }

    pub(crate) fn key_pem(&self) -> &str {
        &self.key_pem
    }

    fn secret(&self) -> SecretData {
        [("tls.crt", self.chain_pem()), ("tls.key", self.key_pem.clone())]
            .map(|(key, text)| (key.to_owned(), text.into_bytes()))
            .into()
    }

    /// What it presents in a handshake.
    pub(crate) fn presented(&self) -> CertifiedKey {
        let chain = self.chain.iter().map(|der| CertificateDer::from(der.clone())).collect();
        CertifiedKey::new(chain, Arc::clone(&self.signing))
    }
}

/// What the workload with this sidecar is called.
pub(crate) fn workload_name(sidecar: usize) -> String {
    format!("web-{sidecar}")
}

fn signing(issued: &Issued) -> Arc<dyn SigningKey> {
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(issued.key_der().to_vec()));
    aws_lc_rs::sign::any_supported_type(&key).expect("every kind of key of the table is supported")
}

/// The place of a row's issuer in [`Cast::issuers`].
fn issuer(row: Row) -> usize {
    let is_revoked = usize::from(row.revoked() == Revoked::Intermediate);
    match row.chain() {
        Chain::Direct | Chain::SelfSigned => 0,
        Chain::Intermediate | Chain::ExtraRoot | Chain::Strangers => 1 + is_revoked,
        Chain::Missing => 1,
        Chain::Two | Chain::WrongOrder => 3 + is_revoked,
        Chain::HalfMissing => 3,
        Chain::ForServers => 5,
        Chain::Expired => 6,
        Chain::Other => 7,
        Chain::Impostor => 8,
        Chain::TooLong => 9,
        Chain::NoAuthority => 10,
    }
}

fn issue(row: Row, issuer: &Authority, key: &Issued) -> Issued {
    let who = row.who();
    let (from, until) = row.time();
    let leaf = issuer
        .leaf()
        .common_name(who.common_name)
        .purposes(row.usages().to_vec())
        .valid(Validity::days(from, until))
        .same_key_as(key);
    let leaf = who.names.iter().fold(leaf, |leaf, name| match *name {
        San::Dns(name) => leaf.dns(name),
        San::Uri(uri) => leaf.uri(uri),
        San::Ip(address) => leaf.ip(address),
        San::Email(address) => leaf.email(address),
    });
    if row.chain() == Chain::SelfSigned { leaf.self_signed().issue() } else { leaf.issue() }
}

/// What is sent, in the order in which it is sent.
fn arrange(chain: Chain, issued: &Issued, root: &[u8], stranger: &[u8]) -> Vec<Vec<u8>> {
    let mut sent = issued.chain_der();
    match chain {
        Chain::WrongOrder => sent.swap(1, 2),
        Chain::ExtraRoot | Chain::Other => sent.push(root.to_vec()),
        Chain::Strangers => sent.insert(1, stranger.to_vec()),
        Chain::Missing => sent.truncate(1),
        Chain::HalfMissing => sent.truncate(2),
        Chain::Direct
        | Chain::Intermediate
        | Chain::Two
        | Chain::ForServers
        | Chain::Expired
        | Chain::TooLong
        | Chain::NoAuthority
        | Chain::Impostor
        | Chain::SelfSigned => {}
    }
    sent
}

/// Ports below those that the system gives to whoever asks for any.
fn free_ports(count: usize) -> Vec<u16> {
    let start = 10_000 + u16::try_from(std::process::id() % 1000).unwrap_or_default() * 20;
    let held: Vec<TcpListener> = (start..32_000)
        .filter_map(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).ok())
        .take(count)
        .collect();
    held.iter().filter_map(|it| it.local_addr().ok()).map(|address| address.port()).collect()
}
