//! The verdict, by the rules of the documentation and RFC 5280 and not by the code that decides.

use std::collections::BTreeSet;

use lasthop_contract::client_policy::ClientEku;
use rcgen::ExtendedKeyUsagePurpose as Usage;

use super::rows::{Chain, Lists, Revoked, Row};

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
    let is_unknown = match row.lists() {
        Lists::OldRefused => true,
        Lists::RootsAlone => row.chain().has_intermediate(),
        Lists::None | Lists::Current | Lists::OldAccepted | Lists::LeafAlone => false,
    };
    if is_unknown {
        flaws.insert("LH509");
    }
    flaws
}

/// The order of what is sent means nothing as long as the leaf is first (RFC 8446, 4.4.2), and what
/// is not needed does no harm.
fn of_chain(row: Row) -> &'static [&'static str] {
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
        // The name leads to the trusted CA, whose key did not sign this.
        Chain::Impostor => &["LH510"],
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
