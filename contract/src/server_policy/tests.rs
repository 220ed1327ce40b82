use std::net::IpAddr;
use std::sync::Mutex;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    SanType, date_time_ymd,
};
use rustls::{ClientConnection, ServerConnection};

use super::*;
use crate::credential::{Credential, SecretData, read};
use crate::tls::{ClientTls, ServerTls};

/// 2026-11-21.
const NOW: u64 = 1_795_219_200;

struct Ca {
    issuer: Issuer<'static, KeyPair>,
    certificate: Certificate,
}

impl Ca {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let certificate = Certificate::from_der(certificate.der()).unwrap();
        Self { issuer: Issuer::new(params, key), certificate }
    }

    fn issue(&self, names: &[SanType], change: impl FnOnce(&mut CertificateParams)) -> Leaf {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "db.example.com");
        params.subject_alt_names = names.to_vec();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Leaf { der: certificate.der().clone(), pem: certificate.pem(), key: key.serialize_pem() }
    }
}

struct Leaf {
    der: CertificateDer<'static>,
    pem: String,
    key: String,
}

impl Leaf {
    fn credential(&self) -> Credential {
        let data = [("tls.crt", &self.pem), ("tls.key", &self.key)];
        let data: SecretData =
            data.map(|(key, text)| (key.to_owned(), text.clone().into_bytes())).into();
        read(&data).credential.unwrap()
    }
}

fn dns(name: &str) -> SanType {
    SanType::DnsName(name.try_into().unwrap())
}

fn uri(name: &str) -> SanType {
    SanType::URI(name.try_into().unwrap())
}

fn names(upstream: &str, entries: &[&str]) -> ServerNames {
    ServerNames::new(&upstream.parse().unwrap(), entries.iter().copied()).unwrap()
}

fn policy(ca: &Ca, names: ServerNames) -> ServerPolicy {
    ServerPolicy::new(Authorities::These(std::slice::from_ref(&ca.certificate)), names).unwrap()
}

fn judge(policy: &ServerPolicy, leaf: &Leaf) -> Result<(), ServerRefusal> {
    let now = UnixTime::since_unix_epoch(Duration::from_secs(NOW));
    policy.judge(std::slice::from_ref(&leaf.der), now).map(|_certificate| ())
}

/// The code of the refusal, 0 where the server is taken.
fn code(policy: &ServerPolicy, leaf: &Leaf) -> u16 {
    judge(policy, leaf).err().map_or(0, |refusal| refusal.reason.code().0)
}

#[test]
fn names_are_compared_as_they_are_written_down() {
    let ca = Ca::new("ca");
    let address: IpAddr = "192.0.2.1".parse().unwrap();
    let host = "https://db.example.com:443";
    for (upstream, entries, sans, taken) in [
        (host, &[][..], vec![dns("db.example.com")], true),
        ("https://DB.Example.com:443", &[], vec![dns("db.example.com")], true),
        ("https://db.example.com.:443", &[], vec![dns("db.example.com")], true),
        ("https://db_1.example.com:443", &[], vec![dns("*.example.com")], true),
        (host, &[], vec![dns("a.example"), dns("*.example.com")], true),
        (host, &[], vec![dns("*.db.example.com")], false),
        ("https://a.db.example.com:443", &[], vec![dns("*.example.com")], false),
        ("https://db:443", &[], vec![dns("db")], true),
        // The CN of every one of them is the host.
        (host, &[], vec![], false),
        (host, &[], vec![uri("spiffe://example.com/db")], false),
        ("https://192.0.2.1:443", &[], vec![SanType::IpAddress(address)], true),
        ("https://192.0.2.1:443", &[], vec![dns("192.0.2.1")], false),
        ("https://[2001:db8::1]:443", &[], vec![SanType::IpAddress(address)], false),
        (host, &["dns:other.example"], vec![dns("db.example.com")], false),
        (host, &["dns:other.example"], vec![dns("Other.example")], true),
        (host, &["dns:db.example.com"], vec![dns("*.example.com")], false),
        (host, &["dns:*.example.com"], vec![dns("*.example.com")], true),
        (host, &["dns:*.example.com"], vec![dns("x.example.com")], true),
        (host, &["dns:*.example.com"], vec![dns("x.y.example.com")], false),
        (host, &["uri:spiffe://example.com/db"], vec![uri("spiffe://example.com/db")], true),
        (host, &["uri:spiffe://example.com/db"], vec![uri("spiffe://example.com/db2")], false),
        (host, &["dns:x.example", "ip:192.0.2.1"], vec![SanType::IpAddress(address)], true),
    ] {
        let leaf = ca.issue(&sans, |_| {});
        let expected = if taken { 0 } else { 547 };
        let policy = policy(&ca, names(upstream, entries));
        assert_eq!(code(&policy, &leaf), expected, "{upstream} {entries:?} {sans:?}");
    }
}

#[test]
fn a_pinned_key_or_certificate_still_needs_its_ca() {
    let ca = Ca::new("ca");
    let leaf = ca.issue(&[], |_| {});
    let certificate = Certificate::from_der(&leaf.der).unwrap();
    let hex = crate::text::hex;
    for pin in [
        format!("sha256:{}", hex(&certificate.fingerprint())),
        format!("spki:{}", hex(&certificate.key_fingerprint())),
    ] {
        let pinned = names("tls://192.0.2.1:5432", &[&pin]);
        assert_eq!(code(&policy(&ca, pinned.clone()), &leaf), 0);
        assert_eq!(code(&policy(&Ca::new("other"), pinned), &leaf), 541);
    }
}

#[test]
fn every_refusal_has_its_reason_and_its_code() {
    let ca = Ca::new("ca");
    let san = [dns("db.example.com")];
    let policy = policy(&ca, names("https://db.example.com:443", &[]));
    for (leaf, expected, text) in [
        (ca.issue(&san, |_| {}), 0, ""),
        (ca.issue(&san, |it| it.extended_key_usages.clear()), 0, ""),
        (Ca::new("ca").issue(&san, |_| {}), 546, "not valid"),
        (Ca::new("stranger").issue(&san, |_| {}), 541, "CN=stranger"),
        (
            ca.issue(&san, |it| it.not_after = date_time_ymd(2026, 11, 1)),
            542,
            "2026-11-01T00:00:00Z",
        ),
        (
            ca.issue(&san, |it| it.not_before = date_time_ymd(2027, 1, 1)),
            543,
            "2027-01-01T00:00:00Z",
        ),
        (
            ca.issue(&san, |it| it.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth]),
            544,
            "`clientAuth` only",
        ),
        (
            ca.issue(&san, |it| it.is_ca = IsCa::Ca(BasicConstraints::Unconstrained)),
            545,
            "a CA certificate",
        ),
        (
            ca.issue(&[dns("a.example"), uri("spiffe://x/\u{7f}")], |_| {}),
            547,
            "is not for `db.example.com`; its names are `dns:a.example` and `uri:spiffe://x/\\u{7f}`",
        ),
    ] {
        assert_eq!(code(&policy, &leaf), expected, "{text}");
        let told = judge(&policy, &leaf).err().map(|refusal| refusal.to_string());
        let told = told.unwrap_or_default();
        assert!(told.contains(text), "{told}");
    }
}

#[test]
fn entries_by_which_no_server_is_known_are_refused_with_what_to_write() {
    let upstream = "https://db.example.com:443".parse().unwrap();
    let entries = ["*", "cn:db", "email:a@example.com", "db.example.com", "ip:1.2.3", " "];
    let errors = ServerNames::new(&upstream, entries).unwrap_err();
    let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
    assert_eq!(texts.len(), 5, "{texts:?}");
    for (text, expected) in
        texts.iter().zip(["any server of the CA", "RFC 9525", "mail", "dns:db.example.com", "IP"])
    {
        assert!(text.contains(expected), "{text}");
    }
}

#[test]
fn the_client_asks_for_the_host_or_for_what_it_is_told() {
    let host = "https://db.example.com.:443".parse().unwrap();
    let address = "https://192.0.2.1:443".parse().unwrap();
    for (upstream, sni, expected) in [
        (&host, None, Ok("db.example.com")),
        (&host, Some("Other.example"), Ok("Other.example")),
        (&address, None, Ok("192.0.2.1")),
        (&address, Some("db.example.com"), Ok("db.example.com")),
        (&host, Some("192.0.2.1"), Err("RFC 6066")),
        (&host, Some("a b"), Err("not a DNS name")),
        (&host, Some(""), Err("not a DNS name")),
    ] {
        match (asked_name(upstream, sni), expected) {
            (Ok(name), Ok(expected)) => assert_eq!(name.to_str(), expected),
            (Err(error), Err(expected)) => {
                assert!(error.to_string().contains(expected), "{error}");
            }
            (found, _) => panic!("{sni:?}: {found:?}"),
        }
    }
}

#[test]
fn without_a_ca_there_is_no_policy() {
    let names = names("https://db.example.com:443", &[]);
    let errors = ServerPolicy::new(Authorities::These(&[]), names.clone()).unwrap_err();
    assert_eq!(errors, [ServerPolicyError::NoAuthority]);
    let mozilla = ServerPolicy::new(Authorities::Mozilla, names).unwrap();
    assert!(mozilla.anchors.len() > 50);
    let leaf = Ca::new("ca").issue(&[dns("db.example.com")], |_| {});
    assert_eq!(code(&mozilla, &leaf), 541);
}

#[derive(Debug, Default)]
struct Heard(Mutex<Vec<u16>>);

impl ServerObserver for Heard {
    fn refused(&self, refusal: ServerRefusal) {
        self.0.lock().unwrap().push(refusal.reason.code().0);
    }
}

/// Shakes hands in memory: what the client says in the end, and the two sides.
fn shake(
    policy: ServerPolicy,
    observer: &Arc<Heard>,
    serving: &Leaf,
    asked: &str,
) -> (Result<(), rustls::Error>, ClientConnection, ServerConnection) {
    let alpn: &[&[u8]] = &[b"h2", b"http/1.1"];
    let observer: Arc<dyn ServerObserver> = Arc::<Heard>::clone(observer);
    let client = ClientTls { credential: None, server: (Arc::new(policy), observer), alpn };
    let credentials = [serving.credential()];
    let server = ServerTls { credentials: &credentials, clients: None, alpn: &[b"h2".to_vec()] };
    let name = ServerName::try_from(asked.to_owned()).unwrap();
    let mut client = ClientConnection::new(Arc::new(client.config().unwrap()), name).unwrap();
    let mut server = ServerConnection::new(Arc::new(server.config().unwrap())).unwrap();
    while client.is_handshaking() || server.is_handshaking() {
        let mut bytes = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut bytes).unwrap();
        }
        server.read_tls(&mut &bytes[..]).unwrap();
        // What the server thinks of an alert is not looked at here.
        let _alert = server.process_new_packets();
        let mut bytes = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut bytes).unwrap();
        }
        client.read_tls(&mut &bytes[..]).unwrap();
        if let Err(error) = client.process_new_packets() {
            return (Err(error), client, server);
        }
    }
    (Ok(()), client, server)
}

#[test]
fn the_handshake_asks_for_one_name_and_verifies_another() {
    let ca = Ca::new("ca");
    let leaf = ca.issue(&[uri("spiffe://example.com/db")], |_| {});
    let heard = Arc::new(Heard::default());
    let listed = names("https://192.0.2.1:443", &["uri:spiffe://example.com/db"]);
    let (result, client, server) = shake(policy(&ca, listed), &heard, &leaf, "front.example");
    assert_eq!(result, Ok(()));
    assert_eq!(server.server_name(), Some("front.example"));
    assert_eq!(client.alpn_protocol(), Some(&b"h2"[..]));
    let group = client.negotiated_key_exchange_group().unwrap().name();
    assert_eq!(group, rustls::NamedGroup::X25519MLKEM768);
    assert!(heard.0.lock().unwrap().is_empty());
}

#[test]
fn the_observer_hears_what_the_alert_does_not_say() {
    let ca = Ca::new("ca");
    let leaf = ca.issue(&[dns("front.example")], |_| {});
    let heard = Arc::new(Heard::default());
    let host = names("https://db.example.com:443", &[]);
    // The name that is asked for is in the certificate, the one that is expected is not.
    let (result, _, _) = shake(policy(&ca, host), &heard, &leaf, "front.example");
    assert!(matches!(result, Err(rustls::Error::InvalidCertificate(_))), "{result:?}");
    assert_eq!(*heard.0.lock().unwrap(), [547]);
}
