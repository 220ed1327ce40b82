//! Connections to what is measured.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use rustls::client::Resumption as Sessions;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{self, cipher_suite, kx_group};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, HandshakeKind, SignatureScheme,
};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// The host that the load asks for.
pub(crate) const HOST: &str = "shop.example";

/// Whether sessions are resumed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Resumption {
    On,
    Off,
}

/// Who connects.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    to: SocketAddr,
    connector: Arc<ClientConfig>,
    name: ServerName<'static>,
}

impl Client {
    /// A client of `to`, with certificate and key from `files`.
    ///
    /// # Errors
    /// When the files cannot be read.
    pub(crate) fn new(
        to: SocketAddr,
        files: Option<(&Path, &Path)>,
        resumption: Resumption,
    ) -> anyhow::Result<Self> {
        // What every peer has: with more to choose from, each would be measured doing something else.
        let provider = CryptoProvider {
            cipher_suites: vec![cipher_suite::TLS13_AES_128_GCM_SHA256],
            kx_groups: vec![kx_group::X25519],
            ..aws_lc_rs::default_provider()
        };
        let builder = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Unchecked));
        let mut config = match files {
            Some((certificate, key)) => {
                let chain: Result<Vec<_>, _> =
                    CertificateDer::pem_file_iter(certificate)?.collect();
                builder.with_client_auth_cert(chain?, PrivateKeyDer::from_pem_file(key)?)?
            }
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        config.resumption = match resumption {
            Resumption::On => Sessions::in_memory_sessions(64),
            Resumption::Off => Sessions::disabled(),
        };
        let name = ServerName::try_from(HOST)?;
        Ok(Self { to, connector: Arc::new(config), name })
    }

    /// A connection that came through its handshake.
    pub(crate) async fn connect(&self) -> io::Result<TlsStream<TcpStream>> {
        let stream = TcpStream::connect(self.to).await?;
        stream.set_nodelay(true)?;
        let connector = TlsConnector::from(Arc::clone(&self.connector));
        connector.connect(self.name.clone(), stream).await
    }

    /// Does what is slow the first time and then no more: the seed of the random numbers.
    pub(crate) fn warm_up(&self) -> anyhow::Result<()> {
        ClientConnection::new(Arc::clone(&self.connector), self.name.clone())?;
        Ok(())
    }
}

/// Whether `stream` goes on with a session of before.
pub(crate) fn is_resumed(stream: &TlsStream<TcpStream>) -> bool {
    stream.get_ref().1.handshake_kind() == Some(HandshakeKind::Resumed)
}

/// Believes everything: verifying costs the client more than the handshake costs the server, who
/// would then wait for it.
#[derive(Debug)]
struct Unchecked;

impl ServerCertVerifier for Unchecked {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ECDSA_NISTP256_SHA256]
    }
}
