//! Records of TLS that no library would write: empty ones, messages in pieces that never end.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs;
use rustls::crypto::aws_lc_rs::cipher_suite;
use rustls::crypto::cipher::{MessageEncrypter, OutboundChunks, OutboundPlainMessage};
use rustls::pki_types::ServerName;
use rustls::{
    ClientConfig, ClientConnection, ConnectionTrafficSecrets, ContentType, ProtocolVersion,
    SupportedCipherSuite,
};

use crate::tls::{PATIENCE, roots};

/// A TLS connection whose handshake is over, for records of any kind and length.
pub struct RecordClient {
    socket: TcpStream,
    encrypter: Box<dyn MessageEncrypter>,
    sequence: u64,
}

impl RecordClient {
    /// Shakes hands at `address` with this version of TLS, as somebody who wants `host` and trusts the
    /// roots in the PEM `root`, with these protocols offered by ALPN.
    pub fn connect(
        version: ProtocolVersion,
        protocols: &[&str],
        (address, host, root): (SocketAddr, &str, &str),
    ) -> io::Result<Self> {
        let suite = match version {
            ProtocolVersion::TLSv1_2 => cipher_suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
            _ => cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
        };
        let provider =
            CryptoProvider { cipher_suites: vec![suite], ..aws_lc_rs::default_provider() };
        let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(&[suite.version()])
            .expect("the suite is of that version")
            .with_root_certificates(roots(root))
            .with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|it| it.as_bytes().to_vec()).collect();
        config.enable_secret_extraction = true;
        let name = ServerName::try_from(host.to_owned()).expect("the host is a name");
        let mut session =
            ClientConnection::new(Arc::new(config), name).map_err(io::Error::other)?;
        let mut socket = TcpStream::connect(address)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        while session.is_handshaking() {
            session.complete_io(&mut socket)?;
        }
        let secrets = session.dangerous_extract_secrets().map_err(io::Error::other)?;
        let (sequence, ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv }) = secrets.tx else {
            return Err(io::Error::other("another suite was chosen"));
        };
        let encrypter = match suite {
            SupportedCipherSuite::Tls12(suite) => suite.aead_alg.encrypter(key, iv.as_ref(), &[]),
            SupportedCipherSuite::Tls13(suite) => suite.aead_alg.encrypter(key, iv),
        };
        Ok(Self { socket, encrypter, sequence })
    }

    /// A record with these bytes in it.
    pub fn record(&mut self, kind: ContentType, bytes: &[u8]) -> Vec<u8> {
        let message = OutboundPlainMessage {
            typ: kind,
            version: ProtocolVersion::TLSv1_2,
            payload: OutboundChunks::Single(bytes),
        };
        let record = self.encrypter.encrypt(message, self.sequence).expect("the record is short");
        self.sequence += 1;
        record.encode()
    }

    /// Sends so many records with these bytes in each: whether the other side took them all, and did so
    /// without a pause of `patience`.
    pub fn press(
        &mut self,
        count: usize,
        (kind, bytes): (ContentType, &[u8]),
        patience: Duration,
    ) -> bool {
        self.socket.set_write_timeout(Some(patience)).expect("the time is not zero");
        let mut left = count;
        while left > 0 {
            let some = left.min(2_000);
            let records: Vec<u8> = (0..some).flat_map(|_| self.record(kind, bytes)).collect();
            if self.socket.write_all(&records).is_err() {
                return false;
            }
            left -= some;
        }
        true
    }

    /// Reads until the other side closes, in whichever way: whether it did within `patience`.
    pub fn is_closed(&mut self, patience: Duration) -> bool {
        self.socket.set_read_timeout(Some(patience)).expect("the time is not zero");
        let mut scratch = [0; 4096];
        loop {
            match self.socket.read(&mut scratch) {
                Ok(0) => return true,
                Ok(_) => {}
                Err(error) => {
                    let waits = [io::ErrorKind::WouldBlock, io::ErrorKind::TimedOut];
                    return !waits.contains(&error.kind());
                }
            }
        }
    }
}
