//! Who may come in: the policy against real certificates, alone and in every combination of CA,
//! extended key usage, name and time.

use std::collections::BTreeSet;

use lasthop_contract::client_policy::{
    AllowedClients, ClientAuth, ClientEku, ClientPolicy, ClientPolicyParts, CrlDepth, CrlExpired,
    CrlUnknown, PolicyError, Refusal, RefusalReason, Revocation,
};
use lasthop_contract::credential::{Certificate, read_authorities, read_revocation_lists};
use lasthop_tests::openssl;
use lasthop_tests::pki::{Authority, Issued, Pki, Validity};
use lasthop_tests::skip;
use rcgen::ExtendedKeyUsagePurpose as Usage;
use rustls_pki_types::{CertificateDer, UnixTime, pem::PemObject as _};

/// What a test says of a policy; the rest is the default.
#[derive(Clone)]
struct Policy {
    authority: String,
    allowed: String,
    eku: Option<ClientEku>,
    list: Option<String>,
    revocation: Revocation,
}

impl Policy {
    fn of(authority: &Authority, allowed: &str) -> Self {
        Self {
            authority: authority.root_pem(),
            allowed: allowed.to_owned(),
            eku: None,
            list: None,
            revocation: Revocation::default(),
        }
    }

    fn eku(mut self, eku: ClientEku) -> Self {
        self.eku = Some(eku);
        self
    }

    fn list(self, list: String, expired: CrlExpired) -> Self {
        self.asked(list, Revocation { expired, ..Revocation::default() })
    }

    fn asked(mut self, list: String, revocation: Revocation) -> Self {
        self.list = Some(list);
        self.revocation = revocation;
        self
    }

    fn build(&self) -> Result<ClientPolicy, Vec<PolicyError>> {
        let data = |key: &str, text: &str| {
            [(key.to_owned(), text.as_bytes().to_vec())].into_iter().collect()
        };
        let trust = read_authorities(&data("ca.crt", &self.authority));
        let lists = self.list.as_deref().map(|list| read_revocation_lists(&data("ca.crl", list)));
        ClientPolicy::new(ClientPolicyParts {
            auth: ClientAuth::Required,
            authorities: &trust.authorities,
            allowed: AllowedClients::parse(&self.allowed).expect("the entries are right"),
            eku: self.eku,
            revocation_lists: lists.as_ref().map_or(&[], |trust| &trust.revocation_lists),
            revocation: self.revocation,
        })
    }

    /// The entry that let the client in, or the refusal.
    fn judge(&self, client: &Issued) -> Result<String, Refusal> {
        self.judge_chain(&client.chain_der(), UnixTime::now())
    }

    fn judge_chain(&self, chain: &[Vec<u8>], now: UnixTime) -> Result<String, Refusal> {
        let chain: Vec<CertificateDer<'_>> =
            chain.iter().map(|der| CertificateDer::from(der.as_slice())).collect();
        let policy = self.build().expect("the policy is safe");
        policy.judge(&chain, now).map(|identity| identity.matched.to_string())
    }
}

/// The word of the reason, for a client that must be refused.
#[track_caller]
fn refused(judgement: Result<String, Refusal>) -> &'static str {
    judgement.expect_err("was to be refused").reason.word()
}

#[test]
fn the_balancer_comes_in_with_its_public_certificate_and_the_stranger_does_not() {
    let pki = Pki::new();
    let public = pki.public_authority();
    let policy = Policy::of(&public, "dns:*.c.example");
    let alb = public.leaf().dns("*.c.example").issue();
    assert_eq!(policy.judge(&alb).unwrap(), "dns:*.c.example");
    let refusal = policy.judge(&public.leaf().dns("evil.example").issue()).unwrap_err();
    assert_eq!(refusal.reason, RefusalReason::NotAllowed);
    assert!(refusal.to_string().contains("`dns:evil.example`"), "{refusal}");
}

#[test]
fn every_reason_for_a_refusal() {
    if skip::lacks(&["openssl"]) {
        return;
    }
    let pki = Pki::new();
    let ca = pki.authority("alb-ca");
    let policy = Policy::of(&ca, "dns:a.example");
    let leaf = || ca.leaf().dns("a.example");
    let (version_1, _key) = openssl::version_1("a.example");
    let version_1 = CertificateDer::from_pem_slice(version_1.as_bytes()).unwrap().to_vec();
    let revoked = leaf().issue();
    let list = ca.revocation_list(&[&revoked], Validity::days(-1, 7));
    let old_list = ca.revocation_list(&[], Validity::days(-8, -1));
    let now = UnixTime::now();
    let judge = |issued: Issued| policy.judge(&issued);
    let strict = policy.clone().list(old_list, CrlExpired::Refuse);
    let cases = [
        (policy.judge_chain(&[], now), 501, "no client certificate"),
        (policy.judge_chain(&[b"garbage".to_vec()], now), 502, "cannot be read"),
        (policy.judge_chain(&[version_1], now), 502, "version 1"),
        (judge(pki.authority("other").leaf().dns("a.example").issue()), 503, "`CN=other`"),
        (judge(leaf().expired().issue()), 504, "valid until"),
        (judge(leaf().not_yet_valid().issue()), 505, "not valid yet"),
        (judge(leaf().purposes([Usage::CodeSigning]).issue()), 506, "`codeSigning`"),
        (judge(leaf().as_ca().issue()), 507, "CA certificate"),
        (policy.clone().list(list, CrlExpired::Accept).judge(&revoked), 508, "revoked"),
        (strict.judge(&leaf().issue()), 509, "no current revocation list"),
        (judge(leaf().with_unknown_critical_extension().issue()), 510, "not valid: "),
        (judge(ca.leaf().dns("b.example").issue()), 511, "`dns:b.example`"),
        (judge(leaf().for_key_agreement().issue()), 512, "lacks digitalSignature"),
    ];
    let mut words = BTreeSet::new();
    for (judgement, code, text) in cases {
        let refusal = judgement.expect_err(text);
        assert_eq!(refusal.reason.code().0, code, "{refusal}");
        assert!(refusal.to_string().contains(text), "{text}: {refusal}");
        words.insert(refusal.reason.word());
    }
    let table = include_str!("../contract/src/client_policy/refusal.rs");
    let codes: BTreeSet<&str> = table.split("=> 5").skip(1).map(|part| &part[..2]).collect();
    assert_eq!(words.len(), codes.len(), "a reason without a case: {codes:?}");
}

/// One way in which a certificate of the matrix is made, and whether it is right.
struct Choice<T> {
    name: &'static str,
    value: T,
    flaw: &'static [&'static str],
}

fn choice<T>(name: &'static str, value: T, flaw: &'static [&'static str]) -> Choice<T> {
    Choice { name, value, flaw }
}

/// Whether a set of extended key usages is taken: the rule of the documentation, written anew.
fn is_taken(eku: ClientEku, usages: &[Usage]) -> bool {
    let taken: &[Usage] = match eku {
        ClientEku::Client => &[Usage::ClientAuth],
        ClientEku::Server => &[Usage::ServerAuth],
        ClientEku::Either => &[Usage::ClientAuth, Usage::ServerAuth, Usage::Any],
    };
    usages.is_empty() || usages.iter().any(|usage| taken.contains(usage))
}

#[test]
fn every_combination_of_ca_usage_name_and_time() {
    let pki = Pki::new();
    let ca = pki.authority("alb-ca");
    let below = ca.intermediate("below");
    let unsent = below.intermediate("unsent");
    let authorities = [
        choice("the root", ca.clone(), &[]),
        choice("an intermediate", below, &[]),
        choice("an intermediate that is not sent", unsent, &["unknown_issuer"]),
        choice("another CA", pki.authority("other"), &["unknown_issuer"]),
        choice("the same name, another key", ca.impostor(), &["unknown_issuer", "bad_chain"]),
    ];
    let usages: [&[Usage]; 8] = [
        &[],
        &[Usage::ServerAuth],
        &[Usage::ClientAuth],
        &[Usage::ServerAuth, Usage::ClientAuth],
        &[Usage::Any],
        &[Usage::CodeSigning],
        &[Usage::EmailProtection, Usage::TimeStamping],
        &[Usage::CodeSigning, Usage::ClientAuth],
    ];
    let names = [
        choice("the name", "a.example", &[]),
        choice("in capitals", "A.EXAMPLE", &[]),
        choice("another", "b.example", &["not_allowed"]),
        choice("a wildcard over it", "*.example", &["not_allowed"]),
    ];
    let times = [
        choice("now", Validity::days(-1, 1), &[]),
        choice("past", Validity::days(-2, -1), &["expired"]),
        choice("to come", Validity::days(1, 2), &["not_yet_valid"]),
    ];
    let policies = [ClientEku::Client, ClientEku::Server, ClientEku::Either]
        .map(|eku| (eku, Policy::of(&ca, "dns:a.example").eku(eku)));
    let mut judged = 0;
    for authority in &authorities {
        for (name, time) in names.iter().flat_map(|name| times.iter().map(move |it| (name, it))) {
            for usage in usages {
                let leaf = authority.value.leaf().dns(name.value).valid(time.value);
                let mut chain = leaf.purposes(usage.to_vec()).issue().chain_der();
                if authority.name.ends_with("not sent") {
                    chain.truncate(1);
                }
                let what = format!("{}, {}, {}", authority.name, name.name, time.name);
                let flaws = [authority.flaw, name.flaw, time.flaw].concat();
                judged += judge_with(&policies, (&what, &chain, usage), &flaws);
            }
        }
    }
    assert_eq!(judged, 5 * 8 * 4 * 3 * 3);
}

/// Judges one chain by several policies: in it comes without a flaw, else one is the reason.
fn judge_with(
    policies: &[(ClientEku, Policy)],
    (what, chain, usage): (&str, &[Vec<u8>], &[Usage]),
    flaws: &[&str],
) -> usize {
    for (eku, policy) in policies {
        let purpose: &[&str] = if is_taken(*eku, usage) { &[] } else { &["wrong_purpose"] };
        let flaws = [flaws, purpose].concat();
        let what = format!("{what}, {usage:?} where client-eku is {}", eku.word());
        match policy.judge_chain(chain, UnixTime::now()) {
            Ok(_) => assert!(flaws.is_empty(), "let in: {what}: {flaws:?}"),
            Err(refusal) => {
                let reason = refusal.reason.word();
                assert!(flaws.contains(&reason), "{reason}: {what}: {flaws:?}");
            }
        }
    }
    policies.len()
}

#[test]
fn an_intermediate_that_may_not_issue_for_clients_is_named_as_the_cause() {
    let pki = Pki::new();
    let ca = pki.authority("ca");
    let servers = ca.intermediate_for("servers only", &[Usage::ServerAuth]);
    let client = servers.leaf().dns("a.example").client_only().issue();
    let refusal =
        Policy::of(&ca, "dns:a.example").eku(ClientEku::Client).judge(&client).unwrap_err();
    assert_eq!(refusal.reason.word(), "wrong_purpose");
    assert!(refusal.to_string().contains("`serverAuth`"), "{refusal}");
}

#[test]
fn which_entry_takes_which_certificate() {
    let pki = Pki::new();
    let ca = pki.authority("ca");
    let many = ca
        .leaf()
        .common_name("web")
        .dns("a.example")
        .dns("x.a.example")
        .dns("*.b.example")
        .uri("spiffe://x/ns/y")
        .ip([10, 0, 0, 1])
        .email("me@a.example")
        .issue();
    let bare = ca.leaf().common_name("old").issue();
    let fingerprint = format!("sha256:{}", many.fingerprint());
    let certificate = Certificate::from_der(many.der()).unwrap();
    let key = format!("spki:{}", lasthop_contract::text::hex(&certificate.key_fingerprint()));
    let renewed = ca.leaf().dns("renewed.example").same_key_as(&many).issue();
    let taken = |entry: &str, client: &Issued| Policy::of(&ca, entry).judge(client).is_ok();
    for entry in [
        "*",
        "dns:A.example",
        "dns:*.a.example",
        "dns:*.b.example",
        "uri:spiffe://x/ns/y",
        "ip:10.0.0.1",
        "email:me@a.example",
        "dns:no.example,dns:a.example",
        &fingerprint,
        &key,
    ] {
        assert!(taken(entry, &many), "{entry}");
    }
    for entry in [
        "dns:x.b.example", // a wildcard in the certificate is not expanded
        "dns:example",
        "uri:spiffe://x/ns/Y",
        "uri:spiffe://x/ns/y/",
        "ip:10.0.0.2",
        "email:you@a.example",
        "cn:web", // the certificate has names
        "cn:a.example",
    ] {
        assert!(!taken(entry, &many), "{entry}");
    }
    assert!(taken("cn:old", &bare) && !taken("cn:web", &bare) && !taken("dns:old", &bare));
    assert!(taken(&key, &renewed) && !taken(&fingerprint, &renewed));
}

#[test]
fn usages_by_default_depend_on_whether_clients_are_named() {
    let pki = Pki::new();
    let ca = pki.authority("ca");
    let server = ca.leaf().dns("a.example").server_only().issue();
    assert!(Policy::of(&ca, "dns:a.example").judge(&server).is_ok());
    assert_eq!(refused(Policy::of(&ca, "*").judge(&server)), "wrong_purpose");
    let both = Policy::of(&ca, "dns:a.example, *");
    assert_eq!(refused(both.judge(&server)), "wrong_purpose");
}

#[test]
fn what_was_good_is_judged_again_later() {
    let pki = Pki::new();
    let ca = pki.authority("ca");
    let client = ca.leaf().dns("a.example").valid(Validity::days(-1, 1)).issue();
    let policy = Policy::of(&ca, "dns:a.example");
    let in_days = |days: u64| {
        let seconds = UnixTime::now().as_secs() + days * 86_400;
        UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds))
    };
    assert!(policy.judge_chain(&client.chain_der(), in_days(0)).is_ok());
    assert_eq!(refused(policy.judge_chain(&client.chain_der(), in_days(2))), "expired");
}

#[test]
fn revocation() {
    let pki = Pki::new();
    let ca = pki.authority("ca");
    let (good, bad) = (ca.leaf().dns("a.example").issue(), ca.leaf().dns("a.example").issue());
    let policy = Policy::of(&ca, "dns:a.example");
    let current = ca.revocation_list(&[&bad], Validity::days(-1, 7));
    let old = ca.revocation_list(&[&bad], Validity::days(-8, -1));
    let forged = ca.impostor().revocation_list(&[&good], Validity::days(-1, 7));
    let with = |list: &str, then| policy.clone().list(list.to_owned(), then);
    for then in [CrlExpired::Accept, CrlExpired::Refuse] {
        assert!(with(&current, then).judge(&good).is_ok());
        assert_eq!(refused(with(&current, then).judge(&bad)), "revoked");
    }
    assert!(with(&old, CrlExpired::Accept).judge(&good).is_ok());
    assert_eq!(refused(with(&old, CrlExpired::Accept).judge(&bad)), "revoked");
    assert_eq!(refused(with(&old, CrlExpired::Refuse).judge(&good)), "revocation_unknown");
    assert!(
        !matches!(with(&forged, CrlExpired::Accept).judge(&good), Err(refusal) if refusal.reason == RefusalReason::Revoked),
        "a list that the CA did not sign revokes nobody"
    );
    // A list of another CA says nothing about this one's clients.
    let other = pki.authority("other").revocation_list(&[], Validity::days(-1, 7));
    assert!(with(&other, CrlExpired::Refuse).judge(&good).is_ok());
}

#[test]
fn revocation_reaches_as_far_as_somebody_says() {
    use {
        CrlDepth::{Chain, Leaf},
        CrlUnknown::{Accept, Refuse},
    };

    let pki = Pki::new();
    let root = pki.authority("root");
    let (good, bad) = (root.intermediate("good"), root.intermediate("bad"));
    let of = |issuer: &Authority| issuer.leaf().dns("a.example").issue();
    let (direct, client, orphan, revoked) = (of(&root), of(&good), of(&bad), of(&good));
    let week = || Validity::days(-1, 7);
    let of_root = root.revocation_list_of(&[bad.serial()], week());
    let of_all = format!("{of_root}{}", good.revocation_list(&[&revoked], week()));
    let policy = Policy::of(&root, "dns:a.example");
    let judge = |list: &str, unknown, depth, client: &Issued| {
        let revocation = Revocation { unknown, depth, ..Revocation::default() };
        policy
            .clone()
            .asked(list.to_owned(), revocation)
            .judge(client)
            .map_or_else(|refusal| refusal.reason.word(), |_matched| "comes in")
    };
    for (list, unknown, depth, who, expected) in [
        (&of_root, Accept, Chain, &orphan, "revoked"),
        (&of_root, Accept, Leaf, &orphan, "comes in"),
        (&of_root, Refuse, Leaf, &orphan, "revocation_unknown"),
        (&of_root, Accept, Chain, &client, "comes in"),
        (&of_root, Refuse, Chain, &client, "revocation_unknown"),
        (&of_root, Refuse, Chain, &direct, "comes in"),
        (&of_all, Refuse, Chain, &client, "comes in"),
        (&of_all, Refuse, Leaf, &client, "comes in"),
        (&of_all, Accept, Leaf, &revoked, "revoked"),
        (&of_all, Refuse, Chain, &revoked, "revoked"),
    ] {
        assert_eq!(
            judge(list, unknown, depth, who),
            expected,
            "{unknown:?} {depth:?} {}",
            who.subject()
        );
    }
    let mut nobody = policy;
    nobody.revocation.unknown = Refuse;
    assert_eq!(nobody.build().unwrap_err(), [PolicyError::NoRevocationList]);
}

#[test]
fn a_policy_that_lets_in_anybody_is_not_made() {
    let pki = Pki::new();
    let ca = pki.authority("ca");
    let public = pki.authority("ISRG Root YR");
    let error = |authority: &str, allowed: &str| {
        let policy = Policy { authority: authority.to_owned(), ..Policy::of(&ca, allowed) };
        policy.build().expect_err("it is not safe")
    };
    assert_eq!(error("", "*"), [PolicyError::NoAuthority]);
    assert_eq!(error(&ca.pem(), ""), [PolicyError::NoAllowedClients]);
    assert_eq!(error("", "").len(), 2, "both at once");
    let texts: Vec<String> = error(&(ca.pem() + &public.pem()), "*,cn:x,email:a@b,dns:a.example")
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(texts.len(), 3, "{texts:?}");
    assert!(texts.iter().all(|text| text.contains("`CN=ISRG Root YR`")), "{texts:?}");
}
