//! Credentials and policies to rustls configurations: what the sidecar serves, what it originates and
//! what the rehearsal runs is made here, once.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, LazyLock};

use rustls::client::ResolvesClientCert;
use rustls::crypto::aws_lc_rs::kx_group;
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, ServerConfig, SignatureScheme, SupportedProtocolVersion};
use rustls_pki_types::CertificateDer;

use crate::alpn::AlpnName;
use crate::client_policy::{ClientPolicy, ClientVerifier, RefusalObserver};
use crate::credential::{Credential, Name};
use crate::server_policy::{ServerObserver, ServerPolicy, ServerVerifier};
use crate::sidecar_config::{Protocol, UpstreamScheme};

static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| {
    // rustls prefers X25519 unless a feature of it is set; what is recorded today is read once there
    // are quantum computers.
    let kx_groups =
        vec![kx_group::X25519MLKEM768, kx_group::X25519, kx_group::SECP256R1, kx_group::SECP384R1];
    Arc::new(CryptoProvider { kx_groups, ..rustls::crypto::aws_lc_rs::default_provider() })
});

/// The one provider of cryptography: TLS 1.3 and 1.2 with AEAD suites only, X25519MLKEM768 first.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::clone(&PROVIDER)
}

/// What a listener offers in ALPN (RFC 7301) before an application that speaks `protocol`; with bytes, what
/// was `chosen` for it.
pub fn alpn(protocol: Protocol, chosen: &[AlpnName]) -> Vec<Vec<u8>> {
    match protocol {
        Protocol::Http | Protocol::H2c => {
            // Who would speak HTTP/1.0 alone says so (`curl --http1.0`), and is understood.
            [b"h2".as_slice(), b"http/1.1", b"http/1.0"].map(<[u8]>::to_vec).to_vec()
        }
        Protocol::Tcp => chosen.iter().map(|name| name.as_bytes().to_vec()).collect(),
    }
}

/// What an originating listener offers in ALPN (RFC 7301) to a next tier of `scheme`.
pub fn upstream_alpn(scheme: UpstreamScheme) -> &'static [&'static [u8]] {
    match scheme {
        UpstreamScheme::Https => &[b"h2", b"http/1.1"],
        UpstreamScheme::Tls => &[],
    }
}

/// What signatures of certificates and handshakes are verified with, on both sides.
pub(crate) fn algorithms() -> WebPkiSupportedAlgorithms {
    PROVIDER.signature_verification_algorithms
}

/// The chain as it was presented, of what rustls brings in two parts.
pub(crate) fn presented<'a>(
    end_entity: &CertificateDer<'a>,
    intermediates: &[CertificateDer<'a>],
) -> Vec<CertificateDer<'a>> {
    std::iter::once(end_entity).chain(intermediates).cloned().collect()
}

/// What a terminating listener serves.
#[derive(Debug)]
pub struct ServerTls<'a> {
    /// The credentials, chosen by SNI; the first also serves clients without or with unknown SNI.
    pub credentials: &'a [Credential],
    /// Who may come in; [`None`] asks for no certificate.
    pub clients: Option<(Arc<ClientPolicy>, Arc<dyn RefusalObserver>)>,
    /// The protocols for ALPN (RFC 7301), the preferred first; empty for none.
    pub alpn: &'a [Vec<u8>],
}

impl ServerTls<'_> {
    /// The rustls configuration. Tickets have keys of their own, in memory, so that a ticket of
    /// another listener or of an earlier policy is nothing to this one; there is no 0-RTT.
    ///
    /// # Errors
    /// Only where there is no credential, or the provider cannot make ticket keys.
    pub fn config(self) -> Result<ServerConfig, rustls::Error> {
        let resolver = SniResolver::new(self.credentials);
        if resolver.default.is_empty() {
            return Err(rustls::Error::General("there is no certificate to serve".to_owned()));
        }
        let builder = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?;
        let builder = match self.clients {
            Some((policy, observer)) => {
                builder.with_client_cert_verifier(Arc::new(ClientVerifier::new(policy, observer)))
            }
            None => builder.with_no_client_auth(),
        };
        let mut config = builder.with_cert_resolver(Arc::new(resolver));
        self.alpn.clone_into(&mut config.alpn_protocols);
        config.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new()?;
        // A client that resumes gets the next one then; making the second that rustls would send at
        // once costs every handshake, also of those who never come back.
        config.send_tls13_tickets = 1;
        config.max_early_data_size = 0;
        // All suites are good ones; our order keeps a client from choosing the one that costs us most.
        config.ignore_client_order = true;
        Ok(config)
    }
}

/// What an originating listener says and takes.
#[derive(Debug)]
pub struct ClientTls<'a> {
    /// What is presented to a next tier that asks for a certificate; [`None`]: nothing.
    pub credential: Option<&'a Credential>,
    /// Who the next tier must be.
    pub server: (Arc<ServerPolicy>, Arc<dyn ServerObserver>),
    /// The protocols for ALPN (RFC 7301), the preferred first; empty for none.
    pub alpn: &'a [&'a [u8]],
}

impl ClientTls<'_> {
    /// The rustls configuration. Sessions to resume are kept in memory, by this configuration alone,
    /// so that a changed policy begins without any; there is no 0-RTT.
    ///
    /// # Errors
    /// Only where the provider has no version of TLS.
    pub fn config(self) -> Result<ClientConfig, rustls::Error> {
        self.config_for(rustls::DEFAULT_VERSIONS)
    }

    /// The same for some versions of TLS: the rehearsal runs each by itself.
    ///
    /// # Errors
    /// Only where the provider has none of them.
    pub fn config_for(
        self,
        versions: &[&'static SupportedProtocolVersion],
    ) -> Result<ClientConfig, rustls::Error> {
        let Self { credential, server: (policy, observer), alpn } = self;
        let presented = credential.map(|it| Arc::clone(it.certified_key()));
        let mut config = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(versions)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(ServerVerifier::new(policy, observer)))
            .with_client_cert_resolver(Arc::new(Presented(presented)));
        config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
        Ok(config)
    }
}

/// Presents the one certificate that there is, whichever CAs the server names: what does not fit is
/// for the server to refuse, with a reason, and not for us to leave out in silence.
struct Presented(Option<Arc<CertifiedKey>>);

impl ResolvesClientCert for Presented {
    fn resolve(
        &self,
        _root_hint_subjects: &[&[u8]],
        schemes: &[SignatureScheme],
    ) -> Option<Arc<CertifiedKey>> {
        self.0.as_ref().filter(|it| it.key.choose_scheme(schemes).is_some()).map(Arc::clone)
    }

    fn has_certs(&self) -> bool {
        self.0.is_some()
    }
}

impl fmt::Debug for Presented {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Presented").field(&self.0.is_some()).finish()
    }
}

/// How a certificate came to be chosen.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SniMatch {
    /// A certificate names the host.
    Exact,
    /// A certificate has a wildcard for the host.
    Wildcard,
    /// The client named no host, or one that no certificate covers: the first one serves it.
    Default,
}

/// Chooses the certificate by the server name that the client asks for (RFC 6066, 3), and among
/// several for one name by the signature schemes that the client takes.
pub struct SniResolver {
    exact: BTreeMap<String, Vec<Arc<CertifiedKey>>>,
    wildcard: BTreeMap<String, Vec<Arc<CertifiedKey>>>,
    default: Vec<Arc<CertifiedKey>>,
}

impl SniResolver {
    /// A resolver over `credentials`; where two cover one name, the earlier is preferred.
    pub fn new(credentials: &[Credential]) -> Self {
        let mut exact: BTreeMap<String, Vec<Arc<CertifiedKey>>> = BTreeMap::new();
        let mut wildcard: BTreeMap<String, Vec<Arc<CertifiedKey>>> = BTreeMap::new();
        for credential in credentials {
            for name in credential.leaf().names() {
                let Name::Dns(name) = name else { continue };
                let (map, key) = match name.strip_prefix("*.") {
                    Some(parent) => (&mut wildcard, parent),
                    None => (&mut exact, name.as_str()),
                };
                map.entry(key.to_owned()).or_default().push(Arc::clone(credential.certified_key()));
            }
        }
        // A client without SNI may take RSA only: whatever covers the first one's names may serve it.
        let default = credentials.iter().map(|it| Arc::clone(it.certified_key())).collect();
        Self { exact, wildcard, default }
    }

    /// How the certificate for `server_name` is chosen.
    pub fn matching(&self, server_name: Option<&str>) -> SniMatch {
        self.candidates(server_name).0
    }

    fn candidates(&self, server_name: Option<&str>) -> (SniMatch, &[Arc<CertifiedKey>]) {
        let Some(host) = server_name.map(str::to_ascii_lowercase) else {
            return (SniMatch::Default, &self.default);
        };
        if let Some(found) = self.exact.get(&host) {
            return (SniMatch::Exact, found);
        }
        let parent = host.split_once('.').map(|(_label, parent)| parent);
        match parent.and_then(|parent| self.wildcard.get(parent)) {
            Some(found) => (SniMatch::Wildcard, found),
            None => (SniMatch::Default, &self.default),
        }
    }

    fn choose(
        candidates: &[Arc<CertifiedKey>],
        schemes: &[SignatureScheme],
    ) -> Option<Arc<CertifiedKey>> {
        let fits = candidates.iter().find(|it| it.key.choose_scheme(schemes).is_some());
        fits.or_else(|| candidates.first()).map(Arc::clone)
    }
}

impl ResolvesServerCert for SniResolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let (_, candidates) = self.candidates(hello.server_name());
        Self::choose(candidates, hello.signature_schemes())
    }
}

impl fmt::Debug for SniResolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SniResolver")
            .field("exact", &self.exact.keys())
            .field("wildcard", &self.wildcard.keys())
            .finish_non_exhaustive()
    }
}
