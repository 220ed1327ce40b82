//! The authority that all replicas share, in one Secret.
//!
//! What stands in the Secret decides everything, and the time: replicas come to the same
//! conclusions without talking to each other, and write with the Secret's `resourceVersion`, so
//! that of two writers one is told to look again.
//!
//! A change of authority has three steps, each published before the next relies on it:
//!
//! | step | when | `ca.crt`, the trusted bundle | signs |
//! | --- | --- | --- | --- |
//! | one authority | | old | old |
//! | the next is published | in the last third of the old one's life | old, next | old |
//! | the next signs | an hour later | old, next | next |
//! | the old is dropped | when no serving certificate of it can be left | next | next |

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use lasthop_contract::credential;
use serde_json::{Map, Value, json};
use time::Duration;

use super::authority::{self, Authority, AuthorityError, LEAF_LIFE};
use crate::object::{Object, Secret};

/// From the publication of an authority until it signs: by then every replica has published it and
/// every API server has seen it.
const PUBLICATION: Duration = Duration::hours(1);

/// The keys of the Secret.
const BUNDLE: &str = "ca.crt";
const SIGNER: (&str, &str) = ("tls.crt", "tls.key");
const NEXT: (&str, &str) = ("next.crt", "next.key");

/// What the Secret holds.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Shared {
    /// Signs serving certificates.
    pub(super) signer: Authority,
    /// Is published and is going to sign.
    next: Option<Authority>,
    /// Certificates of the authorities that API servers are to trust, as PEM, with the ends of
    /// their times.
    trusted: BTreeMap<String, i64>,
}

impl Shared {
    /// The first authority of an installation.
    pub(super) fn first(now: i64) -> Result<Self, AuthorityError> {
        let signer = Authority::generate(now)?;
        Ok(Self { trusted: [trusted(&signer)].into(), signer, next: None })
    }

    /// A first authority where there was one before: serving certificates of `former` are still in
    /// use by other replicas.
    pub(super) fn replacing(former: &Self, now: i64) -> Result<Self, AuthorityError> {
        let mut shared = Self::first(now)?;
        shared.trusted.extend(former.trusted.clone());
        Ok(shared)
    }

    /// Reads the Secret.
    pub(super) fn read(object: &Object) -> Result<Self, AuthorityError> {
        let mut data = Secret::read(object.clone()).data;
        let authority = |(certificate, key)| {
            let text = |name| data.get(name).and_then(|it| std::str::from_utf8(it).ok());
            Some(Authority::read(text(certificate)?, text(key)?))
        };
        let missing = || {
            let (certificate, key) = SIGNER;
            Err(AuthorityError::Stored(format!("`{certificate}` or `{key}` is missing")))
        };
        let signer = authority(SIGNER).unwrap_or_else(missing)?;
        let next = authority(NEXT).transpose()?;
        data.retain(|key, _| key == BUNDLE);
        let bundle = credential::read_authorities(&data).authorities;
        let bundle = bundle.iter().map(|it| (authority::pem(it.der()), it.not_after));
        let current = std::iter::once(&signer).chain(&next).map(trusted);
        Ok(Self { trusted: bundle.chain(current).collect(), signer, next })
    }

    /// What the Secret has to hold at the Unix time `now`; [`None`] where it does already.
    pub(super) fn advanced(&self, now: i64) -> Result<Option<Self>, AuthorityError> {
        let mut shared = self.clone();
        // Of an authority that cannot sign any more there is nothing to wait for.
        let is_over = now >= self.signer.not_after - LEAF_LIFE.whole_seconds();
        if shared.next.is_none() && now >= last_third(&shared.signer) {
            let next = Authority::generate(now)?;
            shared.trusted.extend([trusted(&next)]);
            shared.next = Some(next);
        }
        let is_published =
            |next: &mut Authority| is_over || now >= next.made_at() + PUBLICATION.whole_seconds();
        if let Some(next) = shared.next.take_if(is_published) {
            shared.signer = next;
        }
        let last_leaf_is_over = now
            >= shared.signer.made_at()
                + PUBLICATION.whole_seconds() * 2
                + LEAF_LIFE.whole_seconds();
        let Self { signer, next, trusted } = &mut shared;
        trusted.retain(|pem, not_after| {
            let is_current = *pem == signer.certificate
                || next.as_ref().is_some_and(|next| *pem == next.certificate);
            is_current || !(last_leaf_is_over || now >= *not_after)
        });
        Ok((shared != *self).then_some(shared))
    }

    /// The bundle for `caBundle`: the same text for the same authorities.
    pub(super) fn bundle(&self) -> String {
        self.trusted.keys().map(String::as_str).collect()
    }

    /// The Secret's `data`.
    pub(super) fn to_data(&self) -> Value {
        let mut data = Map::new();
        let mut put = |key: &str, text: &str| {
            data.insert(key.to_owned(), json!(STANDARD.encode(text)));
        };
        put(BUNDLE, &self.bundle());
        put(SIGNER.0, &self.signer.certificate);
        put(SIGNER.1, self.signer.key_pem());
        if let Some(next) = &self.next {
            put(NEXT.0, &next.certificate);
            put(NEXT.1, next.key_pem());
        }
        Value::Object(data)
    }
}

fn trusted(authority: &Authority) -> (String, i64) {
    (authority.certificate.clone(), authority.not_after)
}

/// When the last third of an authority's life begins, as Unix time in seconds.
fn last_third(authority: &Authority) -> i64 {
    authority.not_before + (authority.not_after - authority.not_before) / 3 * 2
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3600;
    const DAY: i64 = 24 * HOUR;

    /// The Secret as the API server would give it back.
    fn stored(shared: &Shared) -> Shared {
        Shared::read(&Object(json!({ "data": shared.to_data() }))).unwrap()
    }

    #[test]
    fn what_is_stored_is_read_back() {
        let first = Shared::first(0).unwrap();
        assert_eq!(stored(&first), first);
        assert_eq!(first.advanced(DAY).unwrap(), None);
    }

    #[test]
    fn a_next_authority_is_published_before_it_signs_and_the_old_one_stays_as_long_as_needed() {
        let first = Shared::first(0).unwrap();
        let begin = last_third(&first.signer);
        assert_eq!(first.advanced(begin - 1).unwrap(), None);

        let published = stored(&first.advanced(begin).unwrap().unwrap());
        assert_eq!(published.signer, first.signer);
        assert_eq!(published.trusted.len(), 2);
        assert_eq!(published.advanced(begin + HOUR - 1).unwrap(), None);

        let signing = stored(&published.advanced(begin + HOUR).unwrap().unwrap());
        assert_ne!(signing.signer, first.signer);
        assert_eq!(signing.bundle(), published.bundle());
        assert_eq!(signing.advanced(begin + 7 * DAY).unwrap(), None);

        let alone = stored(&signing.advanced(begin + 8 * DAY).unwrap().unwrap());
        assert_eq!(alone.signer, signing.signer);
        assert_eq!(alone.bundle(), signing.signer.certificate);
        assert_eq!(alone.advanced(begin + 9 * DAY).unwrap(), None);
    }

    #[test]
    fn an_authority_that_is_over_is_replaced_at_once() {
        let first = Shared::first(0).unwrap();
        let late = first.signer.not_after + DAY;
        let replaced = first.advanced(late).unwrap().unwrap();
        assert_ne!(replaced.signer, first.signer);
        assert_eq!(replaced.bundle(), replaced.signer.certificate);
        assert_eq!(replaced.advanced(late).unwrap(), None);
    }

    #[test]
    fn a_deleted_secret_is_followed_by_an_authority_that_leaves_the_former_trusted() {
        let first = Shared::first(0).unwrap();
        let second = stored(&Shared::replacing(&first, DAY).unwrap());
        assert_ne!(second.signer, first.signer);
        assert!(second.bundle().contains(&first.signer.certificate));
        let later = second.advanced(9 * DAY).unwrap().unwrap();
        assert_eq!(later.bundle(), second.signer.certificate);
    }

    #[test]
    fn what_is_no_authority_is_told() {
        let empty = Shared::read(&Object(json!({ "data": {} }))).unwrap_err();
        assert!(empty.to_string().contains("`tls.crt` or `tls.key` is missing"), "{empty}");
        let mut data = Shared::first(0).unwrap().to_data();
        data["tls.key"] = json!(STANDARD.encode(Authority::generate(0).unwrap().key_pem()));
        let foreign = Shared::read(&Object(json!({ "data": data }))).unwrap_err();
        assert!(foreign.to_string().contains("`tls.key` is not the private key"), "{foreign}");
    }
}
