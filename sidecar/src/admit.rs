//! Whether a connection that came through its handshake may speak, and as whom.
//!
//! The verifier sees full handshakes only. A resumed connection brings the certificates of the
//! handshake that its ticket is from, and is judged here by the policy and the clock of today.

use lasthop_contract::client_policy::{ClientAuth, ClientIdentity, Refusal, RefusalReason};
use lasthop_contract::tls::SniMatch;
use lasthop_contract::trusted_proxies::Trust;
use rustls::{CipherSuite, HandshakeKind, ProtocolVersion};
use rustls_pki_types::CertificateDer;
use tokio_rustls::server::TlsStream;

use crate::accept::Seat;
use crate::generation::Generation;
use crate::handshake::{Failed, Failure, Secured, Wire};
use crate::listener::Terminator;
use crate::proxy_protocol::Origin;
use crate::telemetry::clock;

/// A connection that may speak.
#[derive(Debug)]
pub(crate) struct Admitted {
    pub(crate) stream: TlsStream<Wire>,
    /// Between whom it is.
    pub(crate) origin: Origin,
    /// Who it is; [`None`] where no certificate was presented.
    pub(crate) client: Option<ClientIdentity>,
    /// The certificates after the client's own, as it presented them.
    pub(crate) chain: Vec<CertificateDer<'static>>,
    /// Whether its forwarding headers are believed.
    pub(crate) trust: Trust,
    pub(crate) resumed: bool,
    pub(crate) protocol: Alpn,
    pub(crate) sni: Option<String>,
    pub(crate) version: &'static str,
    pub(crate) cipher: &'static str,
    pub(crate) seat: Seat,
}

/// A connection that may not speak.
#[derive(Debug)]
pub(crate) struct Rejected {
    pub(crate) failed: Failed,
    pub(crate) stream: TlsStream<Wire>,
}

/// The protocol that was agreed on (RFC 7301).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Alpn {
    /// HTTP/2.
    H2,
    /// HTTP/1.1, said or unsaid.
    Http1,
}

impl Alpn {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::H2 => "h2",
            Self::Http1 => "http/1.1",
        }
    }
}

/// Judges `secured`, a connection of `origin` whose handshake `generation` served.
pub(crate) fn admit(
    secured: Secured,
    (origin, seat): (Origin, Seat),
    generation: &Generation,
    terminator: &Terminator,
) -> Result<Admitted, Box<Rejected>> {
    let Secured { stream, verified } = secured;
    let (_, session) = stream.get_ref();
    let sni = session.server_name().map(ToOwned::to_owned);
    if generation.sni.matching(sni.as_deref()) == SniMatch::Default {
        terminator.metrics.sni_default.inc();
    }
    let resumed = session.handshake_kind() == Some(HandshakeKind::Resumed);
    let presented = session.peer_certificates().unwrap_or_default();
    let client = match identity(presented, verified, generation) {
        Ok(client) => client,
        Err(refusal) => {
            let failed = Failed { reason: Failure::Refused(refusal), sni };
            return Err(Box::new(Rejected { failed, stream }));
        }
    };
    let chain = presented.get(1..).unwrap_or_default().to_vec();
    let protocol = if session.alpn_protocol() == Some(b"h2") { Alpn::H2 } else { Alpn::Http1 };
    let version = match session.protocol_version() {
        Some(ProtocolVersion::TLSv1_3) => "TLSv1.3",
        Some(ProtocolVersion::TLSv1_2) => "TLSv1.2",
        _ => "",
    };
    let cipher = session.negotiated_cipher_suite().map(|it| it.suite()).map_or("", name);
    let trust = if origin.is_unnamed() {
        Trust::Untrusted
    } else {
        terminator.trusted.judge(origin.ends.source.ip(), client.as_ref())
    };
    Ok(Admitted {
        stream,
        origin,
        client,
        chain,
        trust,
        resumed,
        protocol,
        sni,
        version,
        cipher,
        seat,
    })
}

/// The suite by its registered name; rustls calls those of TLS 1.3 otherwise.
fn name(suite: CipherSuite) -> &'static str {
    match suite {
        CipherSuite::TLS13_AES_128_GCM_SHA256 => "TLS_AES_128_GCM_SHA256",
        CipherSuite::TLS13_AES_256_GCM_SHA384 => "TLS_AES_256_GCM_SHA384",
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256 => "TLS_CHACHA20_POLY1305_SHA256",
        other => other.as_str().unwrap_or_default(),
    }
}

/// Who the client is. What the verifier let in a moment ago is not verified twice.
fn identity(
    presented: &[CertificateDer<'static>],
    verified: Option<ClientIdentity>,
    generation: &Generation,
) -> Result<Option<ClientIdentity>, Refusal> {
    let Some(policy) = &generation.policy else { return Ok(None) };
    if verified.is_some() {
        return Ok(verified);
    }
    if !presented.is_empty() {
        return policy.judge(presented, clock::now().unix()).map(Some);
    }
    match policy.auth() {
        ClientAuth::Required => {
            Err(Refusal { reason: RefusalReason::NoCertificate, certificate: None })
        }
        ClientAuth::Optional | ClientAuth::None => Ok(None),
    }
}
