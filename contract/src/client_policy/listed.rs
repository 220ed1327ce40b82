//! Whom revocation lists name, beyond what webpki hears of them.

use webpki::{Cert, CertRevocationList, Error, VerifiedPath};

use super::CrlDepth;

/// Refuses a path with a certificate whose number stands in a list of its issuer.
///
/// A list may say that it is for some certificates only (RFC 5280, 5.2.5), and webpki then leaves it
/// aside for all others: for every certificate that names an address at which the list was published
/// before the CA moved it. To tell who is *not* revoked such a list is of no use. But whom it names is
/// revoked, and whoever configured it wants that.
///
/// # Errors
/// [`Error::CertRevoked`], or what makes a list unreadable.
pub(super) fn check(
    path: &VerifiedPath<'_>,
    (lists, depth): (&[&CertRevocationList<'_>], CrlDepth),
) -> Result<(), Error> {
    names(path.end_entity(), lists)?;
    match depth {
        CrlDepth::Leaf => Ok(()),
        CrlDepth::Chain => {
            path.intermediate_certificates().try_for_each(|certificate| names(certificate, lists))
        }
    }
}

fn names(certificate: &Cert<'_>, lists: &[&CertRevocationList<'_>]) -> Result<(), Error> {
    for list in lists.iter().filter(|list| list.issuer() == certificate.issuer()) {
        if list.find_serial(certificate.serial())?.is_some() {
            return Err(Error::CertRevoked);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use rcgen::{
        CertificateParams, CertificateRevocationListParams, CrlDistributionPoint,
        CrlIssuingDistributionPoint, DnType, IsCa, Issuer, KeyIdMethod, KeyPair, RevokedCertParams,
        SanType, SerialNumber, date_time_ymd,
    };
    use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, UnixTime};

    use super::super::{
        AllowedClients, ClientAuth, ClientPolicy, ClientPolicyParts, RefusalReason, Revocation,
    };
    use crate::credential::Certificate;

    const REVOKED: u64 = 7;

    struct Ca {
        issuer: Issuer<'static, KeyPair>,
        certificate: Certificate,
    }

    impl Ca {
        fn new(name: &str) -> Self {
            let mut params = CertificateParams::default();
            params.distinguished_name.push(DnType::CommonName, name);
            params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
            let key = KeyPair::generate().unwrap();
            let certificate =
                Certificate::from_der(params.self_signed(&key).unwrap().der()).unwrap();
            Self { issuer: Issuer::new(params, key), certificate }
        }

        fn client(&self, serial: u64, published_at: Option<&str>) -> CertificateDer<'static> {
            let mut params = CertificateParams::default();
            params.serial_number = Some(SerialNumber::from(serial));
            params.subject_alt_names =
                vec![SanType::DnsName("alb.example.com".try_into().unwrap())];
            params.crl_distribution_points = published_at
                .map(|uri| CrlDistributionPoint { uris: vec![uri.to_owned()] })
                .into_iter()
                .collect();
            let key = KeyPair::generate().unwrap();
            params.signed_by(&key, &self.issuer).unwrap().der().clone()
        }

        fn list(&self, published_at: &str) -> CertificateRevocationListDer<'static> {
            let point = CrlDistributionPoint { uris: vec![published_at.to_owned()] };
            let revoked = RevokedCertParams {
                serial_number: SerialNumber::from(REVOKED),
                revocation_time: date_time_ymd(2026, 1, 1),
                reason_code: None,
                invalidity_date: None,
            };
            let params = CertificateRevocationListParams {
                this_update: date_time_ymd(2026, 1, 1),
                next_update: date_time_ymd(2027, 1, 1),
                crl_number: SerialNumber::from(1_u64),
                issuing_distribution_point: Some(CrlIssuingDistributionPoint {
                    distribution_point: point,
                    scope: None,
                }),
                revoked_certs: vec![revoked],
                key_identifier_method: KeyIdMethod::Sha256,
            };
            params.signed_by(&self.issuer).unwrap().into()
        }
    }

    fn judge(
        ca: &Ca,
        lists: &[CertificateRevocationListDer<'static>],
        client: CertificateDer<'_>,
    ) -> Option<RefusalReason> {
        let policy = ClientPolicy::new(ClientPolicyParts {
            auth: ClientAuth::Required,
            authorities: std::slice::from_ref(&ca.certificate),
            allowed: AllowedClients::parse("dns:alb.example.com").unwrap(),
            eku: None,
            revocation_lists: lists,
            revocation: Revocation::default(),
        })
        .unwrap();
        let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(1_795_219_200));
        policy.judge(&[client], now).err().map(|refusal| refusal.reason)
    }

    #[test]
    fn whom_a_list_names_is_revoked_wherever_the_list_was_published() {
        let (ca, other) = (Ca::new("clients"), Ca::new("others"));
        let list = ca.list("http://new.example/crl");
        let judge = |list: &CertificateRevocationListDer<'static>, serial, at| {
            judge(&ca, std::slice::from_ref(list), ca.client(serial, at))
        };
        for at in [None, Some("http://new.example/crl"), Some("http://old.example/crl")] {
            assert_eq!(judge(&list, REVOKED, at), Some(RefusalReason::Revoked), "{at:?}");
            assert_eq!(judge(&list, 8, at), None, "{at:?}");
        }
        // The number is another certificate's, of another CA.
        let list = other.list("http://new.example/crl");
        assert_eq!(judge(&list, REVOKED, None), None);
    }
}
