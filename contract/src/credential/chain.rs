//! Order, names and validity of a certificate chain.

use super::certificate::{Certificate, Purpose};
use crate::client_policy::public_ca;
use crate::problem::{Fault, Problem};

/// A day in seconds.
const DAY: i64 = 86_400;

/// Everything about a chain that holds at any time.
pub(super) fn inspect(chain: &[Certificate], key: &str, problems: &mut Vec<Problem>) {
    let Some(leaf) = chain.first() else { return };
    let mut report = |fault| problems.push(Problem::new(key, fault));
    if leaf.version < 3 {
        report(Fault::X509Version1 { subject: leaf.subject.clone() });
    } else if leaf.names().is_empty() && !leaf.is_ca {
        report(Fault::CommonNameOnly { common_name: leaf.common_name.clone() });
    }
    if leaf.is_ca {
        report(Fault::CaAsLeaf { subject: leaf.subject.clone() });
    } else if leaf.is_self_issued() {
        report(Fault::SelfSigned { subject: leaf.subject.clone() });
    }
    if is_for_trials(leaf) {
        report(Fault::NotForProduction { issuer: leaf.issuer.clone() });
    }
    if !leaf.key.is_served() {
        report(Fault::WeakKey { kind: leaf.key });
    }
    for (position, certificate) in chain.iter().enumerate() {
        // The root's own signature is checked by nobody.
        if let Some(algorithm) = certificate.weak_signature
            && !(position > 0 && certificate.is_self_issued())
        {
            let subject = certificate.subject.clone();
            report(Fault::WeakSignature { subject, algorithm: algorithm.to_owned() });
        }
    }
    // Behind the first gap nothing can be said of the order.
    let mut pairs = chain.iter().zip(chain.iter().skip(1)).enumerate();
    if let Some((position, (issued, issuer))) = pairs.find(|(_, (it, next))| !it.names_issuer(next))
    {
        let (position, subject) = (position + 1, issuer.subject.clone());
        let is_the_same = issuer.spki() == leaf.spki();
        report(if issuer.is_ca || issuer.version < 3 || is_the_same {
            Fault::ChainOrder { position, subject, expected: issued.issuer.clone() }
        } else {
            Fault::SeveralLeaves { position, subject }
        });
    } else if let Some(last) = chain.last().filter(|last| ends_too_early(last)) {
        report(Fault::MissingIntermediate { issuer: last.issuer.clone() });
    }
}

/// Public CAs, which issue from intermediates alone, as they write their organisation.
const PUBLIC_ISSUERS: [&str; 10] = [
    "O=Amazon",
    "O=DigiCert Inc",
    "O=GlobalSign nv-sa",
    "O=GoDaddy.com, Inc.",
    "O=Google Trust Services",
    "O=Google Trust Services LLC",
    "O=Internet Security Research Group",
    "O=Let's Encrypt",
    "O=Sectigo Limited",
    "O=ZeroSSL",
];

/// Whether behind `last` a certificate is missing: a public CA issued it, and under that name there is
/// no root. Of a private CA nobody knows what its clients have.
fn ends_too_early(last: &Certificate) -> bool {
    let is_of = |issuer: &str| last.issuer.split(", ").any(|part| part == issuer);
    // A comma in the organisation is a comma in the text.
    let is_public = |issuer: &str| is_of(issuer) || last.issuer.contains(&format!("{issuer}, "));
    !last.is_self_issued()
        && PUBLIC_ISSUERS.iter().any(|issuer| is_public(issuer))
        && !public_ca::is_root_name(last.issuer_der())
}

/// What is wrong with serving `leaf` as a server of TLS.
pub(super) fn validity(leaf: &Certificate, key: &str, now: i64) -> Vec<Problem> {
    let subject = leaf.subject.clone();
    let soon = (14 * DAY).min(leaf.not_after.saturating_sub(leaf.not_before) / 4);
    let fault = if leaf.not_after < now {
        Fault::Expired { subject, not_after: leaf.not_after }
    } else if leaf.not_before > now {
        Fault::NotYetValid { subject, not_before: leaf.not_before }
    } else if leaf.not_after < now.saturating_add(soon) {
        Fault::ExpiresSoon { subject, not_after: leaf.not_after }
    } else {
        return Vec::new();
    };
    vec![Problem::new(key, fault)]
}

impl Certificate {
    /// The problem with presenting this certificate as a TLS server, if its extended key usages
    /// do not allow that.
    pub fn wrong_for_server(&self, key: &str) -> Option<Problem> {
        let purposes = self.purposes.as_ref()?;
        if purposes.iter().any(|purpose| matches!(purpose, Purpose::Server | Purpose::Any)) {
            return None;
        }
        let presented = purposes.iter().map(ToString::to_string).collect();
        Some(Problem::new(key, Fault::WrongPurpose { wanted: "serverAuth", presented }))
    }
}

/// Let's Encrypt's staging CAs all bear `(STAGING)`; cert-manager's temporary certificates are
/// issued by `cert-manager.local`.
fn is_for_trials(leaf: &Certificate) -> bool {
    leaf.issuer.contains("(STAGING)")
        || leaf.issuer.contains("Fake LE ")
        || leaf.issuer.contains("CN=cert-manager.local")
}
