//! Which keys of a Secret mean what.

use super::SecretData;

/// The keys under which CA certificates are kept, in the order in which they are looked for.
pub const CA_KEYS: [&str; 3] = ["ca.crt", "cacert", "trusted.crt"];

/// The keys under which revocation lists are kept.
pub const CRL_KEYS: [&str; 3] = ["ca.crl", "crl", "crl.pem"];

/// A layout of chain and key that some reader expects.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Form {
    /// `tls.crt` and `tls.key`: type `kubernetes.io/tls`, also `Opaque` with the same keys.
    Tls,
    /// `cert` and `key`: Istio's generic Secret.
    Generic,
    /// `client.crt` and `client.key`: the `alb-certs` of IBM Cloud Kubernetes Service.
    AlbCerts,
}

impl Form {
    /// All forms, the most usual first.
    pub const ALL: [Self; 3] = [Self::Tls, Self::Generic, Self::AlbCerts];

    /// The form of `data`: the first with both keys, else the first with one, else [`Form::Tls`].
    pub fn of(data: &SecretData) -> Self {
        let has = |key: &str| data.contains_key(key);
        let whole =
            Self::ALL.into_iter().find(|form| has(form.chain_key()) && has(form.private_key()));
        let part =
            || Self::ALL.into_iter().find(|form| has(form.chain_key()) || has(form.private_key()));
        whole.or_else(part).unwrap_or(Self::Tls)
    }

    /// The key that holds the certificate chain.
    pub fn chain_key(self) -> &'static str {
        match self {
            Self::Tls => "tls.crt",
            Self::Generic => "cert",
            Self::AlbCerts => "client.crt",
        }
    }

    /// The key that holds the private key.
    pub fn private_key(self) -> &'static str {
        match self {
            Self::Tls => "tls.key",
            Self::Generic => "key",
            Self::AlbCerts => "client.key",
        }
    }

    /// The key that holds the CAs in this form.
    pub fn ca_key(self) -> &'static str {
        match self {
            Self::Tls => "ca.crt",
            Self::Generic => "cacert",
            Self::AlbCerts => "trusted.crt",
        }
    }

    /// What people call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tls => "kubernetes.io/tls",
            Self::Generic => "Istio generic",
            Self::AlbCerts => "IKS alb-certs",
        }
    }
}
