//! The verdict, by the rules of the documentation and RFC 5280 and not by the code that decides.

use std::collections::BTreeSet;

use lasthop_contract::client_policy::ClientEku;
use rcgen::ExtendedKeyUsagePurpose as Usage;

use super::rows::{Chain, Lists, Revoked, Row, Trust};

/// The codes of everything that is wrong with a client; who has no flaw comes in, whoever has some
/// is refused for one of them.
pub(crate) fn flaws(row: Row) -> BTreeSet<&'static str> {
    let mut flaws = of_chain(row).iter().copied().collect::<BTreeSet<_>>();
    if !is_taken(row.eku(), row.usages()) {
        flaws.insert("LH506");
    }
    if !row.who().is_allowed {
        flaws.insert("LH511");
    }
    flaws.extend(match row.time() {
        (_, until) if until < 0 => Some("LH504"),
        (from, _) if from > 0 => Some("LH505"),
        _ => None,
    });
    if row.lists() != Lists::None && is_revoked(row) {
        flaws.insert("LH508");
    }
    match row.lists() {
        Lists::OldRefused => flaws.extend(["LH509"]),
        Lists::RootsAlone if !is_of_root(row) => flaws.extend(["LH509"]),
        Lists::None
        | Lists::Current
        | Lists::OldAccepted
        | Lists::LeafAlone
        | Lists::RootsAlone => {}
    }
    // There is a list of the CA's name, which its own key did not sign.
    if (row.chain(), row.lists()) == (Chain::Impostor, Lists::RootsAlone) {
        flaws.insert("LH510");
    }
    flaws
}

/// Whether all that was issued was issued by the root, whose list is there.
fn is_of_root(row: Row) -> bool {
    match row.chain() {
        Chain::Missing | Chain::HalfMissing => row.trust() != Trust::Below,
        Chain::Other | Chain::Impostor => false,
        chain => !chain.has_intermediate(),
    }
}

/// What is wrong with the way from the leaf to what is trusted.
fn of_chain(row: Row) -> &'static [&'static str] {
    match (row.trust(), row.chain()) {
        // Who is trusted need not be sent.
        (Trust::Two | Trust::Foreign, Chain::Other)
        | (Trust::Renewed, Chain::Impostor)
        | (Trust::Below, Chain::Missing | Chain::HalfMissing) => &[],
        (Trust::Root | Trust::Two | Trust::Renewed, _) => below_root(row),
        (Trust::Below, chain)
            if chain.has_common_intermediate() && row.revoked() != Revoked::Intermediate =>
        {
            &[]
        }
        // What is wrong below may be seen before it is seen to lead nowhere.
        (Trust::Below | Trust::Foreign, Chain::ForServers) => &["LH503", "LH506"],
        (Trust::Below | Trust::Foreign, Chain::Expired) => &["LH503", "LH504"],
        (Trust::Below | Trust::Foreign, Chain::TooLong | Chain::NoAuthority) => &["LH503", "LH510"],
        (Trust::Below | Trust::Foreign, _) => &["LH503"],
    }
}

/// The order of what is sent means nothing as long as the leaf is first (RFC 8446, 4.4.2), and what
/// is not needed does no harm.
fn below_root(row: Row) -> &'static [&'static str] {
    match row.chain() {
        Chain::ForServers if row.eku() == ClientEku::Client => &["LH506"],
        Chain::ForServers
        | Chain::Direct
        | Chain::Intermediate
        | Chain::Two
        | Chain::WrongOrder
        | Chain::ExtraRoot
        | Chain::Strangers => &[],
        Chain::Expired => &["LH504"],
        Chain::Missing | Chain::HalfMissing | Chain::Other | Chain::SelfSigned => &["LH503"],
        // The name of an impostor leads to the trusted CA, whose key did not sign this.
        Chain::TooLong | Chain::NoAuthority | Chain::Impostor => &["LH510"],
    }
}

/// `either` takes what is for clients, for servers or for anything; no usages at all are no limit.
fn is_taken(eku: ClientEku, usages: &[Usage]) -> bool {
    let taken: &[Usage] = match eku {
        ClientEku::Client => &[Usage::ClientAuth],
        ClientEku::Server => &[Usage::ServerAuth],
        ClientEku::Either => &[Usage::ClientAuth, Usage::ServerAuth, Usage::Any],
    };
    usages.is_empty() || usages.iter().any(|usage| taken.contains(usage))
}

/// Whether anything between the leaf and the root was taken back.
fn is_revoked(row: Row) -> bool {
    match row.revoked() {
        Revoked::Nothing => false,
        Revoked::Leaf => true,
        Revoked::Intermediate => {
            row.lists() != Lists::LeafAlone && row.chain().has_common_intermediate()
        }
    }
}
