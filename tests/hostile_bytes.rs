//! Bytes that nobody meant well: whatever stands in a Secret, a certificate, an annotation or a
//! configuration, reading it ends with an answer, quickly, and no answer holds a private key.

use std::sync::LazyLock;

use lasthop_contract::client_policy::{
    AllowedClients, ClientAuth, ClientPolicy, ClientPolicyParts, CrlExpired, Revocation,
};
use lasthop_contract::credential::{
    Certificate, SecretData, read, read_authorities, read_revocation_lists,
};
use lasthop_contract::near::nearest;
use lasthop_contract::problem::Problem;
use lasthop_contract::sidecar_config::SidecarConfig;
use lasthop_contract::text::{escape, list};
use lasthop_tests::pki::{Pki, Validity};
use proptest::prelude::*;
use rustls_pki_types::{CertificateDer, UnixTime};

/// Real material to damage.
struct Material {
    chain: String,
    key: String,
    ca: String,
    crl: String,
    leaf: Vec<u8>,
}

static MATERIAL: LazyLock<Material> = LazyLock::new(|| {
    let pki = Pki::new();
    let ca = pki.authority("ca");
    let issued = ca
        .intermediate("below")
        .leaf()
        .dns("a.example")
        .uri("spiffe://x/y")
        .ip([10, 0, 0, 1])
        .email("a@b.example")
        .issue();
    Material {
        chain: issued.chain_pem(),
        key: issued.key_pem(),
        ca: ca.pem(),
        crl: ca.revocation_list(&[&issued], Validity::days(-1, 7)),
        leaf: issued.der().to_vec(),
    }
});

/// A way to damage bytes.
#[derive(Clone, Debug)]
enum Damage {
    Flip(prop::sample::Index, u8),
    Cut(prop::sample::Index, prop::sample::Index),
    Insert(prop::sample::Index, Vec<u8>),
    Repeat(prop::sample::Index, prop::sample::Index),
    Truncate(prop::sample::Index),
    /// The line breaks become this.
    Lines(&'static str),
    /// A mark, an indentation, a bracket in front.
    Prefix(&'static str),
}

fn damage() -> impl Strategy<Value = Damage> {
    use prop::sample::Index;
    let bytes = prop::collection::vec(any::<u8>(), 0..40);
    prop_oneof![
        (any::<Index>(), 1_u8..).prop_map(|(at, by)| Damage::Flip(at, by)),
        any::<(Index, Index)>().prop_map(|(from, to)| Damage::Cut(from, to)),
        (any::<Index>(), bytes).prop_map(|(at, bytes)| Damage::Insert(at, bytes)),
        any::<(Index, Index)>().prop_map(|(from, to)| Damage::Repeat(from, to)),
        any::<Index>().prop_map(Damage::Truncate),
        prop::sample::select(vec!["", " ", "\r", "\r\n", "\\n", "\n ", "-----"])
            .prop_map(Damage::Lines),
        prop::sample::select(vec!["\u{feff}", " ", "<", "${", "{{ ", "-----BEGIN "])
            .prop_map(Damage::Prefix),
    ]
}

fn apply(mut bytes: Vec<u8>, damages: &[Damage]) -> Vec<u8> {
    for damage in damages {
        let length = bytes.len();
        if length == 0 {
            return bytes;
        }
        match damage {
            Damage::Flip(at, by) => bytes[at.index(length)] ^= by,
            Damage::Cut(from, to) => drop(bytes.drain(ordered(*from, *to, length))),
            Damage::Insert(at, more) => {
                let at = at.index(length);
                bytes.splice(at..at, more.iter().copied());
            }
            Damage::Repeat(from, to) => {
                let part = bytes[ordered(*from, *to, length)].to_vec();
                bytes.extend(part);
            }
            Damage::Truncate(at) => bytes.truncate(at.index(length)),
            Damage::Lines(with) => {
                bytes = String::from_utf8_lossy(&bytes).replace('\n', with).into_bytes();
            }
            Damage::Prefix(prefix) => drop(bytes.splice(0..0, prefix.bytes())),
        }
    }
    bytes
}

fn ordered(
    one: prop::sample::Index,
    other: prop::sample::Index,
    length: usize,
) -> std::ops::Range<usize> {
    let (one, other) = (one.index(length), other.index(length));
    one.min(other)..one.max(other)
}

/// Reads `data` in every way and returns all that could be printed of it.
fn read_in_every_way(data: &SecretData) -> String {
    let reading = read(data);
    let authorities = read_authorities(data);
    let lists = read_revocation_lists(data);
    let now = UnixTime::now().as_secs().cast_signed();
    let mut problems: Vec<Problem> = reading.problems.clone();
    problems.extend(reading.credential.iter().flat_map(|it| it.problems_at(now)));
    for trust in [&authorities, &lists] {
        problems.extend(trust.problems.iter().cloned());
        problems.extend(trust.problems_at(now));
    }
    for certificate in reading.chain.iter().chain(&authorities.authorities) {
        problems.extend(certificate.wrong_for_server("tls.crt"));
        let _covered = certificate.covers("a.example");
    }
    let policy = ClientPolicy::new(ClientPolicyParts {
        auth: ClientAuth::Required,
        authorities: &authorities.authorities,
        allowed: AllowedClients::parse("dns:a.example").expect("this is an entry"),
        eku: None,
        revocation_lists: &lists.revocation_lists,
        revocation: Revocation { expired: CrlExpired::Refuse, ..Revocation::default() },
    });
    let errors = policy.err().unwrap_or_default();
    let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
    let texts: Vec<String> = problems.iter().map(|it| format!("{it} {it:?}")).collect();
    format!("{texts:?} {errors:?} {reading:?}")
}

/// Sixteen characters in a row of the private key's own part. The public half of an EC key's PKCS
/// #8 form is in the certificate too, so only the first lines count.
fn holds_key(text: &str) -> bool {
    let body: Vec<&str> = MATERIAL.key.lines().filter(|line| !line.starts_with('-')).collect();
    let private: Vec<char> = body.concat().chars().take(88).collect();
    private.windows(16).any(|part| text.contains(&part.iter().collect::<String>()))
}

/// The data key under which it stands, and which material that was.
fn place() -> impl Strategy<Value = (&'static str, fn(&Material) -> &str)> {
    let keys = ["tls.crt", "tls.key", "ca.crt", "ca.crl", "cert", "key", "trusted.crt", "crl"];
    let materials: [fn(&Material) -> &str; 4] =
        [|it| &it.chain, |it| &it.key, |it| &it.ca, |it| &it.crl];
    (prop::sample::select(keys.to_vec()), prop::sample::select(materials.to_vec()))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1500) })]

    #[test]
    fn damaged_secrets_are_read(
        entries in prop::collection::vec((place(), prop::collection::vec(damage(), 0..4)), 1..5)
    ) {
        let data: SecretData = entries
            .iter()
            .map(|((key, material), damages)| {
                let bytes = material(&MATERIAL).as_bytes().to_vec();
                ((*key).to_owned(), apply(bytes, damages))
            })
            .collect();
        let text = read_in_every_way(&data);
        prop_assert!(!holds_key(&text), "a private key is in: {text}");
    }

    #[test]
    fn random_secrets_are_read(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let keys = ["tls.crt", "tls.key", "ca.crt", "ca.crl"];
        let data = keys.iter().map(|key| ((*key).to_owned(), bytes.clone())).collect();
        read_in_every_way(&data);
    }

    #[test]
    fn damaged_clients_are_never_let_in(
        damages in prop::collection::vec(damage(), 1..4), random in prop::collection::vec(any::<u8>(), 0..200)
    ) {
        let data = [("ca.crt".to_owned(), MATERIAL.ca.clone().into_bytes())].into_iter().collect();
        let policy = ClientPolicy::new(ClientPolicyParts {
            auth: ClientAuth::Required,
            authorities: &read_authorities(&data).authorities,
            allowed: AllowedClients::parse("*").expect("this is an entry"),
            eku: None,
            revocation_lists: &[],
            revocation: Revocation::default(),
        }).expect("the policy is right");
        let damaged = apply(MATERIAL.leaf.clone(), &damages);
        for der in [damaged, random] {
            drop(Certificate::from_der(&der));
            let judgement = policy.judge(&[CertificateDer::from(der)], UnixTime::now());
            // Not even the undamaged one: its intermediate is missing.
            prop_assert!(judgement.is_err());
            drop(judgement.map_err(|refusal| refusal.to_string()));
        }
    }

    #[test]
    fn text_is_read_and_made_safe_to_print(text in any::<String>(), other in any::<String>()) {
        if let Err(errors) = AllowedClients::parse(&text) {
            let shown: Vec<String> = errors.iter().map(ToString::to_string).collect();
            prop_assert!(!shown.concat().chars().any(char::is_control));
        }
        if let Ok(allowed) = AllowedClients::parse(&format!("uri:{text}")) {
            let shown: Vec<String> = allowed.patterns().iter().map(ToString::to_string).collect();
            prop_assert!(!shown.concat().chars().any(char::is_control));
        }
        drop(SidecarConfig::parse(&text));
        drop(SidecarConfig::parse(&format!(r#"{{"version":1,"listeners":{text}}}"#)));
        let _near = nearest(&text, [other.as_str()]);
        let safe = [escape(&text), list(&[&text, &other], 1)].concat();
        prop_assert!(!safe.chars().any(char::is_control));
        // Ten characters are the longest escape.
        prop_assert!(escape(&text).chars().count() <= 200 * 10 + 1);
    }
}

#[test]
fn what_is_too_long_is_answered_quickly() {
    let began = std::time::Instant::now();
    let megabyte = |text: &str| text.repeat(1_000_000 / text.len()).into_bytes();
    for text in ["-----BEGIN CERTIFICATE-----\n", "A", "\n", &MATERIAL.ca, "-----BEGIN X-----"] {
        let keys = ["tls.crt", "tls.key", "ca.crt", "ca.crl"];
        let data = keys.iter().map(|key| ((*key).to_owned(), megabyte(text))).collect();
        read_in_every_way(&data);
        let half = keys.iter().map(|key| ((*key).to_owned(), megabyte(text)[..250_000].to_vec()));
        read_in_every_way(&half.collect());
    }
    // Unoptimised and beside other tests; a quadratic reader would need many minutes.
    assert!(began.elapsed().as_secs() < 120, "{:?}", began.elapsed());
}
