//! How far revocation lists are asked, and what they leave open.

use webpki::{
    CertRevocationList, ExpirationPolicy, RevocationCheckDepth, RevocationOptions,
    RevocationOptionsBuilder, UnknownStatusPolicy,
};

/// What a revocation list past its `nextUpdate` does.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub enum CrlExpired {
    /// Goes on with the old list; metric and status detail say so.
    #[default]
    Accept,
    /// Refuses every client of a CA whose only list is past its time.
    Refuse,
}

/// What becomes of a certificate that no list is about, since its CA published none of them.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub enum CrlUnknown {
    /// It passes.
    #[default]
    Accept,
    /// Its client is refused.
    Refuse,
}

/// Which certificates of a client's path are looked for in the lists.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub enum CrlDepth {
    /// All but the CA in the bundle, which nobody can revoke.
    #[default]
    Chain,
    /// The client's own.
    Leaf,
}

/// All of that together.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Revocation {
    /// What a list past its time does.
    pub expired: CrlExpired,
    /// What a certificate that no list is about does.
    pub unknown: CrlUnknown,
    /// Which certificates are looked for.
    pub depth: CrlDepth,
}

impl Revocation {
    /// As webpki asks for it; without lists nothing is looked for.
    pub(super) fn options<'a>(
        self,
        lists: &'a [&'a CertRevocationList<'a>],
    ) -> Option<RevocationOptions<'a>> {
        let options = RevocationOptionsBuilder::new(lists).ok()?;
        let options = options
            .with_depth(match self.depth {
                CrlDepth::Chain => RevocationCheckDepth::Chain,
                CrlDepth::Leaf => RevocationCheckDepth::EndEntity,
            })
            .with_status_policy(match self.unknown {
                CrlUnknown::Accept => UnknownStatusPolicy::Allow,
                CrlUnknown::Refuse => UnknownStatusPolicy::Deny,
            })
            .with_expiration_policy(match self.expired {
                CrlExpired::Accept => ExpirationPolicy::Ignore,
                CrlExpired::Refuse => ExpirationPolicy::Enforce,
            });
        Some(options.build())
    }
}
