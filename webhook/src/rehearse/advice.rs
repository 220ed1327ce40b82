//! A failure to the field that has to change, in words.

use lasthop_contract::annotation as name;
use lasthop_contract::client_policy::{ClientEku, Refusal, RefusalReason};
use lasthop_contract::credential::{Certificate, Name};
use lasthop_contract::problem::Code;
use lasthop_contract::server_policy::{ServerRefusal, ServerRefusalReason};
use lasthop_contract::text::{day, escape, hex, list};

use super::{Outcome, Outlet, Place, Side};

/// Who connects, for who reads of it.
#[derive(Clone, Copy, Debug)]
pub struct Party<'a> {
    /// What to call it: `the client`, `Ingress shop/web`.
    pub called: &'a str,
    /// The certificates that it presents, its own first.
    pub chain: &'a [Certificate],
    /// Where it keeps the CAs that it verifies the sidecar with.
    pub trusts: Option<&'a str>,
    /// The originating listener that it is, where it is a sidecar.
    pub outlet: Option<&'a Outlet>,
}

/// Who has to change what.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Blame {
    /// The code of the refusal, as the end that refuses logs it; [`None`] where there is no common TLS.
    pub code: Option<Code>,
    /// What does not fit what.
    pub message: String,
    /// The end at which it is changed first.
    pub side: Side,
    /// The annotation of the workload that has to change, or would have to.
    pub annotation: Option<&'static str>,
    /// What to do about it.
    pub help: String,
}

impl Blame {
    /// Who is to blame for `outcome`; [`None`] where the connection stands.
    pub fn of(outcome: &Outcome, place: &Place, party: Party<'_>) -> Option<Self> {
        match outcome {
            Outcome::LetIn(_) => None,
            Outcome::Refused(refusal) => Some(refused(refusal, place, party)),
            Outcome::Distrusted(distrust) => Some(distrusted(distrust, place, party)),
            Outcome::Incompatible { by, reason } => {
                let (one, other) = match by {
                    Side::Client => (party.called.to_owned(), sidecar(place)),
                    Side::Sidecar => (sidecar(place), party.called.to_owned()),
                };
                Some(Self {
                    code: None,
                    message: format!("{one} and {other} find no common TLS: {}", escape(reason)),
                    side: *by,
                    annotation: None,
                    help: "look at the kinds of their keys, and at the versions of TLS".to_owned(),
                })
            }
        }
    }
}

fn sidecar(place: &Place) -> String {
    format!("the sidecar of {}", place.workload)
}

fn refused(refusal: &Refusal, place: &Place, party: Party<'_>) -> Blame {
    let (who, workload) = (party.called, &place.workload);
    let at = |base: &'static str| format!("`{}` of {workload}", place.annotation(base));
    let (annotation, message, help) = match &refusal.reason {
        RefusalReason::NotAllowed => {
            let (names, entry) = names(refusal.certificate.as_deref());
            let message = format!(
                "{who} presents {names}, {} allows only {}",
                at(name::ALLOWED_CLIENTS),
                place.allowed()
            );
            let help =
                format!("if it is to be let in, {workload} needs `{}`", place.allowing(&entry));
            (name::ALLOWED_CLIENTS, message, help)
        }
        RefusalReason::NoCertificate => no_certificate(place, party),
        RefusalReason::UnknownIssuer { issuer } => unknown_issuer(issuer, place, party),
        RefusalReason::WrongPurpose { accepted, presented } => {
            let message = format!(
                "{who} presents a chain that is for {} only, {} is `{}`",
                list(presented, 4),
                at(name::CLIENT_EKU),
                accepted.word()
            );
            (name::CLIENT_EKU, message, wrong_purpose(*accepted, presented, place))
        }
        RefusalReason::Revoked => {
            let message = format!(
                "the certificate that {who} presents was revoked, says the list of {}",
                at(name::CLIENT_CRL_SECRET)
            );
            (name::CLIENT_CRL_SECRET, message, "have a new certificate issued".to_owned())
        }
        RefusalReason::RevocationUnknown => {
            let message = format!(
                "no current revocation list covers the certificate that {who} presents, and {} is `refuse`",
                at(name::CLIENT_CRL_EXPIRED)
            );
            let help = format!("renew the list of {}", at(name::CLIENT_CRL_SECRET));
            (name::CLIENT_CRL_EXPIRED, message, help)
        }
        // How webpki says that the CA of this name has another key.
        RefusalReason::BadChain { reason } if reason.starts_with("InvalidSignature") => {
            let message = format!(
                "{who} presents a chain that is signed with another key than that of the CA of this name in {}",
                place.authority()
            );
            let help = format!(
                "where the CA was made anew under its old name, put its new certificate into {}",
                place.authority()
            );
            (name::CLIENT_CA_SECRET, message, help)
        }
        RefusalReason::Unreadable { .. }
        | RefusalReason::Expired { .. }
        | RefusalReason::NotYetValid { .. }
        | RefusalReason::WrongKeyUsage
        | RefusalReason::CaAsClient
        | RefusalReason::BadChain { .. } => return own_fault(refusal, party),
    };
    let code = Some(refusal.reason.code());
    Blame { code, message, side: Side::Sidecar, annotation: Some(annotation), help }
}

/// What only the client itself can mend.
fn own_fault(refusal: &Refusal, party: Party<'_>) -> Blame {
    let who = party.called;
    let (message, help) = match &refusal.reason {
        RefusalReason::Expired { not_after } => {
            let over = party.chain.iter().find(|it| it.not_after == *not_after);
            let subject = over.map(|it| escape(&it.subject)).unwrap_or_default();
            (
                format!(
                    "{who} presents a chain that is over: `{subject}` was valid until {}",
                    day(*not_after)
                ),
                "have it issued anew".to_owned(),
            )
        }
        RefusalReason::NotYetValid { not_before } => {
            let message = format!(
                "{who} presents a certificate that is not valid yet, but from {}",
                day(*not_before)
            );
            (message, "wait, or look at the clock of who issued it".to_owned())
        }
        RefusalReason::WrongKeyUsage => (
            format!("{who} presents a certificate whose key is not for signing"),
            "have it issued with the key usage digitalSignature".to_owned(),
        ),
        RefusalReason::CaAsClient => (
            format!("{who} presents the certificate of a CA"),
            "give it a certificate of its own, issued by that CA".to_owned(),
        ),
        _ => (
            format!("{who} presents a chain that cannot be used: {refusal}"),
            "have it issued anew, as X.509 version 3".to_owned(),
        ),
    };
    let code = Some(refusal.reason.code());
    Blame { code, message, side: Side::Client, annotation: None, help }
}

fn no_certificate(place: &Place, party: Party<'_>) -> (&'static str, String, String) {
    let (who, workload) = (party.called, &place.workload);
    let message = format!("{who} presents no certificate, {workload} lets in nobody without one");
    let give = match party.outlet {
        Some(outlet) => format!(
            "name one of a CA in {} as `{}`",
            place.authority(),
            outlet.annotation(name::UPSTREAM_CLIENT_SECRET)
        ),
        None => format!("give it one of a CA in {}", place.authority()),
    };
    let help = format!(
        "{give}; `{}: optional` lets in everybody without one",
        place.annotation(name::CLIENT_AUTH)
    );
    (name::CLIENT_AUTH, message, help)
}

fn unknown_issuer(issuer: &str, place: &Place, party: Party<'_>) -> (&'static str, String, String) {
    let (who, workload, authority) = (party.called, &place.workload, place.authority());
    // The last certificate that is sent is the one that a CA of the sidecar would have to have issued.
    let issuer = party.chain.last().map_or(issuer, |last| &last.issuer);
    let message = format!(
        "{who} presents a chain that ends at a certificate of `{}`, which is not among the CAs of {workload} in {authority}",
        escape(issuer)
    );
    let alone = party.chain.len() == 1 && !party.chain.iter().any(Certificate::is_self_issued);
    let help = if alone {
        format!(
            "add that CA to {authority}; or, where it is an intermediate one of a CA that is in there, \
             let the client present it behind its own certificate"
        )
    } else {
        format!("add that CA to {authority}")
    };
    (name::CLIENT_CA_SECRET, message, help)
}

fn wrong_purpose(accepted: ClientEku, presented: &[String], place: &Place) -> String {
    let annotation = place.annotation(name::CLIENT_EKU);
    let for_tls = |purpose: &String| {
        matches!(purpose.as_str(), "serverAuth" | "clientAuth" | "anyExtendedKeyUsage")
    };
    if accepted != ClientEku::Either && presented.iter().any(for_tls) {
        format!("write `{annotation}: either`, and name every client in allowed-clients")
    } else {
        "have a certificate issued that is for clientAuth".to_owned()
    }
}

/// The names of a certificate, and the entry that lets in the first of them.
fn names(certificate: Option<&Certificate>) -> (String, String) {
    let Some(certificate) = certificate else { return ("nothing".to_owned(), String::new()) };
    let texts: Vec<String> = certificate.names().iter().map(ToString::to_string).collect();
    let sort = |name: &&Name| match name {
        Name::Uri(_) => 0,
        Name::Dns(_) => 1,
        Name::Ip(_) => 2,
        Name::Email(_) => 3,
    };
    let entry = certificate.names().iter().min_by_key(sort).map(ToString::to_string);
    let plain =
        entry.filter(|entry| !entry.contains([',', '\n', '"', '`']) && escape(entry) == *entry);
    let fingerprint = || format!("sha256:{}", hex(&certificate.fingerprint()));
    match (&certificate.common_name, &certificate.names) {
        (Some(common_name), None) if certificate.common_names == 1 => {
            let entry = format!("cn:{}", escape(common_name));
            (format!("`{entry}` and no other name"), entry)
        }
        (Some(_), None) => ("a certificate with several common names".to_owned(), fingerprint()),
        (None, None) => ("a certificate without names".to_owned(), fingerprint()),
        (_, Some(_)) => (list(&texts, 4), plain.unwrap_or_else(fingerprint)),
    }
}

fn distrusted(refusal: &ServerRefusal, place: &Place, party: Party<'_>) -> Blame {
    let ServerRefusal { reason, certificate } = refusal;
    let (who, sidecar) = (party.called, sidecar(place));
    let trusts = party.trusts.unwrap_or("the CAs that it trusts");
    let (side, message, help) = match reason {
        ServerRefusalReason::WrongName { expected } => {
            let (names, _) = names(certificate.as_deref());
            let expected = list(expected, 4);
            (
                Side::Client,
                format!("{who} expects the name {expected}, {sidecar} presents {names}"),
                format!(
                    "{}, or have the certificate of {} issued for {expected}",
                    match party.outlet {
                        Some(outlet) => format!(
                            "let `{}` name one that is there",
                            outlet.annotation(name::UPSTREAM_SERVER_NAMES)
                        ),
                        None => "let it expect a name that is there".to_owned(),
                    },
                    served(place)
                ),
            )
        }
        ServerRefusalReason::UnknownIssuer { issuer } => (
            Side::Client,
            format!(
                "{sidecar} presents a certificate of `{}`, which is not among {trusts} of {who}",
                escape(issuer)
            ),
            match party.outlet {
                Some(outlet) if outlet.originate.ca_secret.is_none() => format!(
                    "name a Secret with that CA as `{}`",
                    outlet.annotation(name::UPSTREAM_CA_SECRET)
                ),
                _ => format!(
                    "add that CA there; where it is an intermediate one of a CA that is, add its certificate to {}",
                    served(place)
                ),
            },
        ),
        ServerRefusalReason::Expired { .. } | ServerRefusalReason::NotYetValid { .. } => (
            Side::Sidecar,
            format!("{sidecar} presents a chain that is out of its time, {who} refuses it"),
            format!("renew {}", served(place)),
        ),
        ServerRefusalReason::WrongPurpose { presented } => (
            Side::Sidecar,
            format!(
                "{sidecar} presents a chain that is for {} only, {who} wants serverAuth",
                list(presented, 4)
            ),
            format!("have the certificate of {} issued for serverAuth", served(place)),
        ),
        ServerRefusalReason::Unreadable { .. }
        | ServerRefusalReason::CaAsServer
        | ServerRefusalReason::BadChain { .. } => (
            Side::Sidecar,
            format!("{who} refuses what {sidecar} presents: {refusal}"),
            format!("`lasthop check` says what is wrong with {}", served(place)),
        ),
    };
    let annotation = (side == Side::Sidecar).then_some(name::TLS_SECRET);
    Blame { code: Some(reason.code()), message, side, annotation, help }
}

/// The Secrets that the listener serves.
fn served(place: &Place) -> String {
    let names = place.terminate.tls_secrets.iter();
    let names: Vec<&str> = names.map(|it| it.strip_prefix("tls/").unwrap_or(it)).collect();
    format!("Secret {}", list(&names, 4))
}
