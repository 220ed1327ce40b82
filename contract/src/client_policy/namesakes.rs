//! Revocation lists of CAs that share a name, as a CA and its former self do once its key was renewed.

use rustls_pki_types::{CertificateDer, UnixTime};
use webpki::{Cert, CertRevocationList, Error, VerifiedPath};

use super::{ClientEku, EkuPolicy, Revocation, listed};
use crate::tls::algorithms;

/// How many paths of one client are looked at: who sends an intermediate over and over makes many.
pub(super) const PATHS: usize = 8;

/// Whether two lists are of one name, and maybe of two keys.
pub(super) fn are_among(lists: &[CertRevocationList<'_>]) -> bool {
    lists.iter().enumerate().any(|(place, list)| {
        lists.iter().skip(place.saturating_add(1)).any(|other| other.issuer() == list.issuer())
    })
}

/// What of a policy decides on a path whose signatures are good already.
pub(super) struct Lists<'a> {
    pub(super) eku: ClientEku,
    pub(super) all: &'a [CertRevocationList<'static>],
    pub(super) revocation: Revocation,
}

impl Lists<'_> {
    /// Refuses a path that the lists refuse, of which each is asked about what its own key signed.
    ///
    /// webpki takes the first list of an issuer's name, and gives up where another key signed it. So
    /// each list is tried alone on this one path; one that does not fit is left out where one of the
    /// same name does. Where none does, nothing is known of that issuer's key, and webpki gives up as
    /// it does with a single list.
    ///
    /// # Errors
    /// Whatever the lists say against the path.
    pub(super) fn check(&self, path: &VerifiedPath<'_>, now: UnixTime) -> Result<(), Error> {
        let alone = Revocation { depth: self.revocation.depth, ..Revocation::default() };
        let mut fitting = Vec::new();
        for list in self.all {
            if !self.is_in_doubt(list, path) {
                fitting.push(list);
                continue;
            }
            match self.verify(path, (&[list], alone), now) {
                Ok(()) => fitting.push(list),
                Err(Error::CertRevoked) => return Err(Error::CertRevoked),
                Err(_of_another_key) => {}
            }
        }
        let is_replaced = |list: &CertRevocationList<'_>| {
            fitting.iter().any(|other| other.issuer() == list.issuer())
        };
        let is_asked = |list: &&CertRevocationList<'_>| {
            fitting.iter().any(|other| std::ptr::eq(*other, *list)) || !is_replaced(list)
        };
        let asked: Vec<&CertRevocationList<'_>> = self.all.iter().filter(is_asked).collect();
        listed::check(path, (&asked, self.revocation.depth))?;
        self.verify(path, (&asked, self.revocation), now)
    }

    /// Whether another list has its name, and the path a certificate of an issuer of that name.
    fn is_in_doubt(&self, list: &CertRevocationList<'_>, path: &VerifiedPath<'_>) -> bool {
        let namesakes = self.all.iter().filter(|other| other.issuer() == list.issuer());
        namesakes.count() > 1
            && (path.end_entity().issuer() == list.issuer()
                || path.intermediate_certificates().any(|it| it.issuer() == list.issuer()))
    }

    fn verify(
        &self,
        path: &VerifiedPath<'_>,
        (lists, revocation): (&[&CertRevocationList<'_>], Revocation),
        now: UnixTime,
    ) -> Result<(), Error> {
        let anchors = [path.anchor().clone()];
        let intermediates: Vec<CertificateDer<'_>> =
            path.intermediate_certificates().map(Cert::der).collect();
        path.end_entity()
            .verify_for_usage(
                algorithms().all,
                &anchors,
                &intermediates,
                now,
                EkuPolicy(self.eku),
                revocation.options(lists),
                None,
            )
            .map(|_path| ())
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{
        CertificateParams, CertificateRevocationListParams, DnType, IsCa, Issuer, KeyIdMethod,
        KeyPair, RevokedCertParams, SanType, SerialNumber, SignatureAlgorithm, date_time_ymd,
    };
    use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, UnixTime};

    use super::super::{
        AllowedClients, ClientAuth, ClientPolicy, ClientPolicyParts, CrlExpired, CrlUnknown,
        RefusalReason, Revocation,
    };
    use crate::credential::Certificate;

    type List = CertificateRevocationListDer<'static>;

    struct Ca {
        issuer: Issuer<'static, KeyPair>,
        der: CertificateDer<'static>,
    }

    impl Ca {
        fn new(name: &str, kind: &'static SignatureAlgorithm, above: Option<&Self>) -> Self {
            let mut params = CertificateParams::default();
            params.distinguished_name.push(DnType::CommonName, name);
            params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
            let key = KeyPair::generate_for(kind).unwrap();
            let certificate = match above {
                Some(above) => params.signed_by(&key, &above.issuer),
                None => params.self_signed(&key),
            };
            Self { der: certificate.unwrap().der().clone(), issuer: Issuer::new(params, key) }
        }

        fn client(&self, serial: u64) -> CertificateDer<'static> {
            let mut params = CertificateParams::default();
            params.serial_number = Some(SerialNumber::from(serial));
            params.subject_alt_names =
                vec![SanType::DnsName("alb.example.com".try_into().unwrap())];
            let key = KeyPair::generate().unwrap();
            params.signed_by(&key, &self.issuer).unwrap().der().clone()
        }

        fn list(&self, revoked: u64) -> List {
            let revoked = RevokedCertParams {
                serial_number: SerialNumber::from(revoked),
                revocation_time: date_time_ymd(2026, 1, 1),
                reason_code: None,
                invalidity_date: None,
            };
            let params = CertificateRevocationListParams {
                this_update: date_time_ymd(2026, 1, 1),
                next_update: date_time_ymd(2027, 1, 1),
                crl_number: SerialNumber::from(1_u64),
                issuing_distribution_point: None,
                revoked_certs: vec![revoked],
                key_identifier_method: KeyIdMethod::Sha256,
            };
            params.signed_by(&self.issuer).unwrap().into()
        }
    }

    fn judge(
        authorities: &[&Ca],
        lists: &[List],
        presented: &[CertificateDer<'_>],
    ) -> Option<RefusalReason> {
        let authorities: Vec<Certificate> =
            authorities.iter().map(|ca| Certificate::from_der(&ca.der).unwrap()).collect();
        let strict = Revocation {
            expired: CrlExpired::Refuse,
            unknown: CrlUnknown::Refuse,
            ..Revocation::default()
        };
        let policy = ClientPolicy::new(ClientPolicyParts {
            auth: ClientAuth::Required,
            authorities: &authorities,
            allowed: AllowedClients::parse("dns:alb.example.com").unwrap(),
            eku: None,
            revocation_lists: lists,
            revocation: strict,
        })
        .unwrap();
        let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(1_795_219_200));
        policy.judge(presented, now).err().map(|refusal| refusal.reason)
    }

    #[test]
    fn each_of_two_cas_of_one_name_is_asked_by_its_own_list() {
        for kind in [&rcgen::PKCS_ECDSA_P256_SHA256, &rcgen::PKCS_ED25519] {
            let old = Ca::new("clients", &rcgen::PKCS_ECDSA_P256_SHA256, None);
            let new = Ca::new("clients", kind, None);
            let (of_old, of_new) = (old.list(7), new.list(8));
            for lists in [[of_old.clone(), of_new.clone()], [of_new, of_old]] {
                for authorities in [[&old, &new], [&new, &old]] {
                    let judge = |ca: &Ca, serial| judge(&authorities, &lists, &[ca.client(serial)]);
                    assert_eq!(judge(&old, 7), Some(RefusalReason::Revoked));
                    assert_eq!(judge(&new, 8), Some(RefusalReason::Revoked));
                    // The numbers that the other one took back.
                    assert_eq!(judge(&old, 8), None);
                    assert_eq!(judge(&new, 7), None);
                }
            }
        }
    }

    #[test]
    fn intermediates_of_one_name_are_told_apart_too_and_may_be_revoked() {
        let kind = &rcgen::PKCS_ECDSA_P256_SHA256;
        let root = Ca::new("root", kind, None);
        let [old, new] = ["lower", "lower"].map(|name| Ca::new(name, kind, Some(&root)));
        let parsed = |ca: &Ca| Certificate::from_der(&ca.der).unwrap();
        assert_ne!(parsed(&old).fingerprint(), parsed(&new).fingerprint());
        let lists = [root.list(1), old.list(7), new.list(8)];
        let judge = |ca: &Ca, serial| {
            // An intermediate that is sent over and over does not change the answer.
            let mut presented = vec![ca.client(serial)];
            presented.extend(std::iter::repeat_n(ca.der.clone(), 20));
            judge(&[&root], &lists, &presented)
        };
        assert_eq!(judge(&old, 7), Some(RefusalReason::Revoked));
        assert_eq!(judge(&new, 8), Some(RefusalReason::Revoked));
        assert_eq!(judge(&old, 8), None);
        assert_eq!(judge(&new, 7), None);
    }

    #[test]
    fn a_key_that_signed_no_list_of_its_name_lets_nobody_in() {
        let kind = &rcgen::PKCS_ECDSA_P256_SHA256;
        let [known, other, unheard] = ["clients"; 3].map(|name| Ca::new(name, kind, None));
        let lists = [known.list(7), other.list(8)];
        let refused = judge(&[&known, &other, &unheard], &lists, &[unheard.client(9)]);
        assert!(matches!(refused, Some(RefusalReason::BadChain { .. })), "{refused:?}");
    }
}
