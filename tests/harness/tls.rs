//! A TLS client of bytes, for what curl and `s_client` would not send: broken requests, halves of
//! requests, one half of a connection closed and the other not.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::pki::Files;

/// No read waits longer than this.
pub(crate) const PATIENCE: Duration = Duration::from_secs(15);

/// A TLS connection.
#[derive(Debug)]
pub struct TlsClient {
    stream: StreamOwned<ClientConnection, TcpStream>,
}

impl TlsClient {
    /// Connects to `address` as somebody who wants `host`, trusts the roots in the PEM `root` and
    /// presents `client`. No protocol is offered by ALPN.
    pub fn connect(
        address: SocketAddr,
        host: &str,
        root: &str,
        client: Option<&Files>,
    ) -> io::Result<Self> {
        Self::connect_offering(&[], (address, host, root), client)
    }

    /// The same, with `header` before the first byte of TLS, as a proxy sends it.
    pub fn connect_behind(
        header: &[u8],
        (address, host, root): (SocketAddr, &str, &str),
        client: Option<&Files>,
    ) -> io::Result<Self> {
        let mut socket = TcpStream::connect(address)?;
        socket.write_all(header)?;
        Self::over(socket, &[], (host, root), client)
    }

    /// The same, with these protocols offered by ALPN.
    pub fn connect_offering(
        protocols: &[&str],
        (address, host, root): (SocketAddr, &str, &str),
        client: Option<&Files>,
    ) -> io::Result<Self> {
        Self::over(TcpStream::connect(address)?, protocols, (host, root), client)
    }

    fn over(
        socket: TcpStream,
        protocols: &[&str],
        (host, root): (&str, &str),
        client: Option<&Files>,
    ) -> io::Result<Self> {
        let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("the provider has TLS 1.2 and 1.3")
            .with_root_certificates(roots(root));
        let mut config = match client {
            Some(files) => {
                let chain = CertificateDer::pem_file_iter(&files.chain)
                    .expect("the file is there")
                    .map(|it| it.expect("the chain is PEM"))
                    .collect();
                let key = PrivateKeyDer::from_pem_file(&files.key).expect("the key is PEM");
                builder.with_client_auth_cert(chain, key).expect("the key is the certificate's")
            }
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = protocols.iter().map(|it| it.as_bytes().to_vec()).collect();
        let name = ServerName::try_from(host.to_owned()).expect("the host is a name");
        let session = ClientConnection::new(Arc::new(config), name).map_err(io::Error::other)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        let mut stream = StreamOwned::new(session, socket);
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock)?;
        }
        Ok(Self { stream })
    }

    /// Sends these bytes.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.stream.write_all(bytes.as_ref())?;
        self.stream.flush()
    }

    /// Sends as long as the other side takes it: whether it took it all before it closed, or took nothing
    /// for so long.
    pub fn press(&mut self, bytes: impl AsRef<[u8]>, patience: Duration) -> bool {
        let socket = &self.stream.sock;
        socket.set_write_timeout(Some(patience)).expect("the time is not zero");
        self.send(bytes).is_ok()
    }

    /// Sends with new keys from here on (TLS 1.3, RFC 8446, 4.6.3).
    pub fn update_keys(&mut self) -> io::Result<()> {
        self.stream.conn.refresh_traffic_keys().map_err(io::Error::other)?;
        self.stream.flush()
    }

    /// Says that nothing more will be sent (`close_notify`); what the server sends can still be read.
    pub fn finish_sending(&mut self) -> io::Result<()> {
        self.stream.conn.send_close_notify();
        self.stream.flush()
    }

    /// Reads exactly so many bytes.
    pub fn receive(&mut self, count: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; count];
        self.stream.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    /// Reads until `end` was received.
    pub fn receive_until(&mut self, end: &str) -> io::Result<String> {
        let mut bytes = Vec::new();
        while !bytes.ends_with(end.as_bytes()) {
            let mut byte = [0];
            self.stream.read_exact(&mut byte)?;
            bytes.extend(byte);
        }
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Reads until the server closes, in whichever way.
    pub fn receive_all(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        // What came before an abrupt end came all the same.
        let _abrupt = self.stream.read_to_end(&mut bytes);
        bytes
    }

    /// Sends `request` and reads until the server closes.
    pub fn ask(&mut self, request: impl AsRef<[u8]>) -> String {
        // A server that answers early may close before it has read everything.
        let _early = self.send(request);
        String::from_utf8_lossy(&self.receive_all()).into_owned()
    }
}

/// The roots in the PEM `root`.
pub(crate) fn roots(root: &str) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(root.as_bytes()) {
        roots.add(certificate.expect("the root is PEM")).expect("the root is a certificate");
    }
    roots
}
