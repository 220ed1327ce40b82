//! CAs that issue certificates to anybody.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use crate::credential::Certificate;

/// What is known of the Mozilla roots, as DER contents without the outer header.
struct Roots {
    subjects: BTreeSet<&'static [u8]>,
    keys: BTreeSet<&'static [u8]>,
}

static ROOTS: LazyLock<Roots> = LazyLock::new(|| {
    let roots = webpki_roots::TLS_SERVER_ROOTS.iter();
    let (subjects, keys) =
        roots.map(|root| (root.subject.as_ref(), root.subject_public_key_info.as_ref())).unzip();
    Roots { subjects, keys }
});

/// Roots that are not in the trust stores yet, but already issue to the public.
const COMING_ROOTS: [&str; 2] = ["Root YE", "Root YR"];

/// Whether `authority` is a Mozilla root, or was issued by one: such a CA vouches for whoever
/// controls a domain name, which authenticates nobody in particular.
pub fn is_public_ca(authority: &Certificate) -> bool {
    let Roots { subjects, keys } = &*ROOTS;
    let is_coming =
        |name: &str| name.contains("ISRG") && COMING_ROOTS.iter().any(|root| name.contains(root));
    keys.contains(contents(authority.spki()))
        || subjects.contains(contents(authority.subject_der()))
        || subjects.contains(contents(authority.issuer_der()))
        || is_coming(&authority.subject)
        || is_coming(&authority.issuer)
}

/// Whether a Mozilla root has this DER-encoded name.
pub(crate) fn is_root_name(der: &[u8]) -> bool {
    ROOTS.subjects.contains(contents(der))
}

/// The contents of a DER SEQUENCE: trust anchors are kept without its tag and length.
fn contents(der: &[u8]) -> &[u8] {
    let header = match der.get(1) {
        Some(length @ 0x81..=0x84) => 2 + usize::from(length & 0x7f),
        _ => 2,
    };
    der.get(header..).unwrap_or_default()
}
