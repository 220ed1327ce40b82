//! A client of the table at the real sidecar.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::sync::Arc;

use lasthop_tests::sidecar::HOST;
use rustls::client::{ResolvesClientCert, Resumption};
use rustls::crypto::aws_lc_rs;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion,
};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName};

/// What came of a connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Door {
    /// The application answered.
    In,
    /// The sidecar broke off with an alert.
    Refused,
}

/// Connects to the listener on `port` and asks the application for something.
pub(crate) fn knock(
    port: u16,
    root: &str,
    version: &'static SupportedProtocolVersion,
    presented: CertifiedKey,
) -> Door {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(
        CertificateDer::pem_slice_iter(root.as_bytes()).filter_map(Result::ok),
    );
    let resolver: Arc<dyn ResolvesClientCert> = Arc::new(SingleCertAndKey::from(presented));
    let mut config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[version])
        .expect("the provider has both")
        .with_root_certificates(roots)
        .with_client_cert_resolver(resolver);
    config.resumption = Resumption::disabled();
    let name = ServerName::try_from(HOST).expect("it is a name");
    let session = ClientConnection::new(Arc::new(config), name).expect("the configuration is one");
    let socket = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("the listener is there");
    let mut stream = StreamOwned::new(session, socket);
    let request = format!("GET /status/200 HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n");
    let mut answer = [0; 12];
    // In TLS 1.3 a client is through before the sidecar has seen its certificate.
    let asked = stream.write_all(request.as_bytes()).and_then(|()| stream.read_exact(&mut answer));
    match asked {
        Ok(()) => {
            assert_eq!(&answer, b"HTTP/1.1 200");
            Door::In
        }
        Err(error) => {
            let text = error.to_string();
            assert!(text.contains("received fatal alert"), "{text}");
            Door::Refused
        }
    }
}
