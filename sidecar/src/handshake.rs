//! A TCP connection to a TLS connection, or to the reason why not.

use std::cell::RefCell;
use std::fmt;
use std::io;
use std::sync::Arc;

use lasthop_contract::client_policy::{ClientIdentity, Refusal, RefusalObserver, RefusalReason};
use lasthop_contract::problem::Code;
use lasthop_contract::text::escape;
use rustls::server::Acceptor;
use rustls::{AlertDescription, Error, PeerIncompatible};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;

use crate::generation::Generation;
use crate::limits;
use crate::proxy_protocol::accept::NoHeader;

mod metered;
mod wire;

use metered::TooLarge;
use wire::Asked;
pub(crate) use wire::Wire;

/// A connection that came through its handshake.
#[derive(Debug)]
pub(crate) struct Secured {
    pub(crate) stream: TlsStream<Wire>,
    /// Who the verifier let in; [`None`] on a resumed connection, which it does not see.
    pub(crate) verified: Option<ClientIdentity>,
}

/// A handshake that failed.
#[derive(Debug)]
pub(crate) struct Failed {
    pub(crate) reason: Failure,
    /// The server name that the client asked for, if it came that far.
    pub(crate) sni: Option<String>,
}

/// Why there is no TLS connection.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The policy refused the client.
    Refused(Refusal),
    /// The handshake took too long.
    Timeout,
    /// Something else than TLS was spoken.
    NotTls { looks_like: &'static str },
    /// The client speaks no version of TLS that we do.
    NoCommonVersion,
    /// The client offers no cipher suite, group or signature that we have.
    NoCommonParameters { reason: String },
    /// The client speaks no application protocol that we do.
    NoCommonProtocol,
    /// The client gave up, and said why.
    ClientAlert { alert: String },
    /// The client could not prove that it holds the key of its certificate.
    Unproven,
    /// The connection ended in the middle.
    Aborted,
    /// The connection ended before its first byte, as TCP health checks do.
    Untouched,
    /// What came was not a handshake.
    Malformed { reason: String },
    /// It is larger than is usual, and others like it took the room for that.
    TooLarge,
    /// A PROXY header is wanted, and who connected is no trusted proxy.
    UntrustedProxy,
    /// A trusted proxy sent no PROXY header, or a wrong one.
    NoProxyHeader { reason: NoHeader },
}

impl Failure {
    /// The stable code; a connection that was not even tried has none.
    pub(crate) fn code(&self) -> Option<Code> {
        Some(match self {
            Self::Refused(refusal) => refusal.reason.code(),
            Self::Timeout => Code(520),
            Self::NotTls { .. } => Code(521),
            Self::NoCommonVersion => Code(522),
            Self::NoCommonParameters { .. } => Code(523),
            Self::NoCommonProtocol => Code(524),
            Self::ClientAlert { .. } => Code(525),
            Self::Unproven => Code(526),
            Self::Aborted => Code(527),
            Self::Malformed { .. } => Code(528),
            Self::UntrustedProxy => Code(530),
            Self::NoProxyHeader { .. } => Code(531),
            Self::TooLarge => Code(533),
            Self::Untouched => return None,
        })
    }

    /// A short stable word for metrics.
    pub(crate) fn word(&self) -> &'static str {
        match self {
            Self::Refused(refusal) => refusal.reason.word(),
            Self::Timeout => "handshake_timeout",
            Self::NotTls { .. } => "not_tls",
            Self::NoCommonVersion => "no_common_version",
            Self::NoCommonParameters { .. } => "no_common_parameters",
            Self::NoCommonProtocol => "no_common_protocol",
            Self::ClientAlert { .. } => "client_alert",
            Self::Unproven => "unproven",
            Self::Aborted => "aborted",
            Self::Untouched => "untouched",
            Self::Malformed { .. } => "malformed",
            Self::TooLarge => "too_large",
            Self::UntrustedProxy => "untrusted_proxy",
            Self::NoProxyHeader { .. } => "no_proxy_header",
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(refusal) => refusal.fmt(f),
            Self::Timeout => write!(
                f,
                "the client did not finish its handshake within {} s",
                limits::HANDSHAKE.as_secs()
            ),
            Self::NotTls { looks_like } => {
                write!(f, "the client spoke {looks_like} on the TLS port")
            }
            Self::NoCommonVersion => f.write_str("the client offers neither TLS 1.2 nor TLS 1.3"),
            Self::NoCommonParameters { reason } => {
                write!(f, "client and sidecar have no TLS parameters in common: {reason}")
            }
            Self::NoCommonProtocol => {
                f.write_str("the client offers (ALPN) no protocol of this listener")
            }
            Self::ClientAlert { alert } => write!(
                f,
                "the client gave up with the alert `{alert}`; often it does not trust the certificate"
            ),
            Self::Unproven => {
                f.write_str("the client did not prove that it holds the key of its certificate")
            }
            Self::Aborted => f.write_str("the client closed the connection during the handshake"),
            Self::Untouched => f.write_str("the client closed the connection without a byte"),
            Self::Malformed { reason } => {
                write!(f, "the client's handshake cannot be read: {}", escape(reason))
            }
            Self::TooLarge => write!(
                f,
                "the client's handshake takes more than {} KiB, and others like it take all the room \
                 for such",
                limits::HANDSHAKE_FREE / 1024
            ),
            Self::UntrustedProxy => f.write_str(
                "a PROXY header is wanted here, and no address range of `trusted-proxies` holds this peer",
            ),
            Self::NoProxyHeader { reason } => reason.fmt(f),
        }
    }
}

tokio::task_local! {
    static JUDGED: RefCell<Option<Judged>>;
}

enum Judged {
    Admitted(ClientIdentity),
    Refused(Refusal),
}

/// Brings what the verifier decided to the connection that it decided about: both run in the same
/// poll of the same task.
#[derive(Debug)]
pub(crate) struct Witness;

impl RefusalObserver for Witness {
    fn refused(&self, refusal: Refusal) {
        let _elsewhere =
            JUDGED.try_with(|cell| *cell.borrow_mut() = Some(Judged::Refused(refusal)));
    }

    fn admitted(&self, identity: ClientIdentity) {
        let _elsewhere =
            JUDGED.try_with(|cell| *cell.borrow_mut() = Some(Judged::Admitted(identity)));
    }
}

/// Performs the handshake of `stream` with what `generation` serves. The stream of a failed one is
/// closed so that the client can read the alert.
/// It has `room` with all others where it is large.
pub(crate) async fn perform(
    stream: TcpStream,
    generation: &Generation,
    room: &Arc<Semaphore>,
) -> Result<Secured, Failed> {
    let deadline = Instant::now() + limits::HANDSHAKE;
    let mut stream = Wire::new(stream, Arc::clone(room));
    match timeout_at(deadline, listen(&mut stream)).await {
        Ok(Ok(())) => {}
        Ok(Err(reason)) => {
            linger(stream).await;
            return Err(Failed { reason, sni: None });
        }
        Err(_elapsed) => return Err(Failed { reason: Failure::Timeout, sni: None }),
    }
    let mut acceptor = LazyConfigAcceptor::new(Acceptor::default(), stream);
    let start = match timeout_at(deadline, &mut acceptor).await {
        Ok(Ok(start)) => start,
        Ok(Err(error)) => {
            if let Some(stream) = acceptor.take_io() {
                linger(stream).await;
            }
            return Err(Failed { reason: explain(&error, None), sni: None });
        }
        Err(_elapsed) => return Err(Failed { reason: Failure::Timeout, sni: None }),
    };
    let sni = start.client_hello().server_name().map(ToOwned::to_owned);
    let accept = start.into_stream(Arc::clone(&generation.tls)).into_fallible();
    let shaking = JUDGED.scope(RefCell::default(), async {
        let result = accept.await;
        (result, JUDGED.with(RefCell::take))
    });
    match timeout_at(deadline, shaking).await {
        Ok((Ok(mut stream), judged)) => {
            let (wire, session) = stream.get_mut();
            // There is nothing new; it tells what has come.
            let has_asked =
                session.process_new_packets().is_ok_and(|it| it.plaintext_bytes_to_read() > 0);
            wire.open(if has_asked { Asked::Already } else { Asked::Nothing });
            let verified = match judged {
                Some(Judged::Admitted(identity)) => Some(identity),
                Some(Judged::Refused(_)) | None => None,
            };
            Ok(Secured { stream, verified })
        }
        Ok((Err((error, stream)), judged)) => {
            let reason = explain(&error, judged);
            linger(stream).await;
            Err(Failed { reason, sni })
        }
        Err(_elapsed) => Err(Failed { reason: Failure::Timeout, sni }),
    }
}

/// Waits for the first bytes: what is not TLS must not be answered with TLS.
async fn listen(stream: &mut Wire) -> Result<(), Failure> {
    match stream.first().await {
        Ok([]) | Err(_) => Err(Failure::Untouched),
        // ContentType handshake (RFC 8446, 5.1).
        Ok([0x16, ..]) => Ok(()),
        Ok(head) => Err(Failure::NotTls { looks_like: guess(head) }),
    }
}

fn guess(head: &[u8]) -> &'static str {
    const METHODS: [&[u8]; 9] = [
        b"GET ",
        b"HEAD ",
        b"POST ",
        b"PUT ",
        b"DELETE ",
        b"OPTIONS ",
        b"PATCH ",
        b"CONNECT",
        b"TRACE ",
    ];
    if METHODS.iter().any(|method| head.starts_with(method)) {
        "plain HTTP"
    } else if head.starts_with(b"PRI * ") {
        "HTTP/2 without TLS"
    } else if head.starts_with(b"PROXY ") || head.starts_with(b"\r\n\r\n\0\r\nQ") {
        "the PROXY protocol"
    } else if head.starts_with(b"SSH-") {
        "SSH"
    } else if head.first().is_some_and(|first| first & 0x80 != 0) {
        "something like SSL 2"
    } else {
        "something else than TLS"
    }
}

fn explain(error: &io::Error, judged: Option<Judged>) -> Failure {
    if let Some(Judged::Refused(refusal)) = judged {
        return Failure::Refused(refusal);
    }
    let cause = error.get_ref();
    if cause.and_then(|inner| inner.downcast_ref::<TooLarge>()).is_some() {
        return Failure::TooLarge;
    }
    let Some(error) = cause.and_then(|inner| inner.downcast_ref::<Error>()) else {
        return match error.kind() {
            io::ErrorKind::InvalidData => Failure::Malformed { reason: error.to_string() },
            _ => Failure::Aborted,
        };
    };
    match error {
        Error::NoCertificatesPresented => Failure::Refused(Refusal {
            reason: RefusalReason::NoCertificate,
            certificate: None,
        }),
        Error::PeerIncompatible(
            PeerIncompatible::Tls12NotOffered
            | PeerIncompatible::Tls12NotOfferedOrEnabled
            | PeerIncompatible::Tls13RequiredForQuic
            | PeerIncompatible::SupportedVersionsExtensionRequired
            // Clients of TLS 1.1 and before have no such extension.
            | PeerIncompatible::SignatureAlgorithmsExtensionRequired
            | PeerIncompatible::ServerDoesNotSupportTls12Or13
            | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig,
        ) => Failure::NoCommonVersion,
        Error::PeerIncompatible(_) => {
            Failure::NoCommonParameters { reason: escape(&error.to_string()) }
        }
        Error::NoApplicationProtocol => Failure::NoCommonProtocol,
        // Scanners and health checks take their leave so (RFC 8446, 6.1); it says nothing of us.
        Error::AlertReceived(AlertDescription::CloseNotify | AlertDescription::UserCanceled) => {
            Failure::Aborted
        }
        Error::AlertReceived(alert) => Failure::ClientAlert { alert: alert_name(*alert) },
        Error::InvalidCertificate(_) => Failure::Unproven,
        other => Failure::Malformed { reason: other.to_string() },
    }
}

/// The alert by its name in RFC 8446, 6, as far as it can be had from rustls' name for it.
pub(crate) fn alert_name(alert: AlertDescription) -> String {
    match alert {
        AlertDescription::UnknownCA => "unknown_ca".to_owned(),
        AlertDescription::BadCertificate => "bad_certificate".to_owned(),
        AlertDescription::CertificateUnknown => "certificate_unknown".to_owned(),
        AlertDescription::CertificateExpired => "certificate_expired".to_owned(),
        AlertDescription::CertificateRequired => "certificate_required".to_owned(),
        AlertDescription::CertificateRevoked => "certificate_revoked".to_owned(),
        AlertDescription::UnsupportedCertificate => "unsupported_certificate".to_owned(),
        AlertDescription::AccessDenied => "access_denied".to_owned(),
        AlertDescription::InternalError => "internal_error".to_owned(),
        AlertDescription::NoApplicationProtocol => "no_application_protocol".to_owned(),
        AlertDescription::UnrecognisedName => "unrecognized_name".to_owned(),
        AlertDescription::HandshakeFailure => "handshake_failure".to_owned(),
        AlertDescription::ProtocolVersion => "protocol_version".to_owned(),
        other => format!("number {}", u8::from(other)),
    }
}

/// Closes a connection that came through its handshake and is refused all the same. There is no
/// alert to send any more but the one that ends every connection (RFC 8446, 6.1).
pub(crate) async fn close(mut stream: TlsStream<Wire>) {
    let deadline = Instant::now() + limits::LINGER;
    if let Ok(Ok(())) = timeout_at(deadline, stream.shutdown()).await {
        let (stream, _session) = stream.into_inner();
        linger(stream).await;
    }
}

/// Closes so that the client gets to read what was last written: a socket that is closed with
/// unread bytes resets the connection, which overtakes the alert.
async fn linger(mut stream: Wire) {
    stream.settle();
    if stream.shutdown().await.is_err() {
        return;
    }
    let mut scratch = [0; 2048];
    let mut left = limits::LINGER_BYTES;
    let deadline = Instant::now() + limits::LINGER;
    while left > 0 {
        match timeout_at(deadline, stream.read(&mut scratch)).await {
            Ok(Ok(count)) if count > 0 => left = left.saturating_sub(count),
            _ => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use lasthop_contract::client_policy::ClientEku;

    use super::*;

    #[test]
    fn every_reason_is_documented_with_its_code() {
        const PAGE: &str = include_str!("../../docs/sidecar.md");
        let text = String::new;
        let refusals = [
            RefusalReason::NoCertificate,
            RefusalReason::Unreadable { reason: text() },
            RefusalReason::UnknownIssuer { issuer: text() },
            RefusalReason::Expired { not_after: 0 },
            RefusalReason::NotYetValid { not_before: 0 },
            RefusalReason::WrongPurpose { accepted: ClientEku::Client, presented: Vec::new() },
            RefusalReason::CaAsClient,
            RefusalReason::Revoked,
            RefusalReason::RevocationUnknown,
            RefusalReason::BadChain { reason: text() },
            RefusalReason::NotAllowed,
            RefusalReason::WrongKeyUsage,
        ];
        let refused = |reason| Failure::Refused(Refusal { reason, certificate: None });
        let others = [
            Failure::Timeout,
            Failure::NotTls { looks_like: "" },
            Failure::NoCommonVersion,
            Failure::NoCommonParameters { reason: text() },
            Failure::NoCommonProtocol,
            Failure::ClientAlert { alert: text() },
            Failure::Unproven,
            Failure::Aborted,
            Failure::Malformed { reason: text() },
            Failure::UntrustedProxy,
            Failure::NoProxyHeader { reason: NoHeader::Late },
            Failure::TooLarge,
        ];
        for failure in refusals.into_iter().map(refused).chain(others) {
            let row = format!("| {} | `{}` |", failure.code().unwrap(), failure.word());
            assert!(PAGE.contains(&row), "{row} is not in docs/sidecar.md");
        }
    }

    #[test]
    fn what_is_not_tls_is_named() {
        for (head, expected) in [
            (b"GET / HT", "plain HTTP"),
            (b"OPTIONS ", "plain HTTP"),
            (b"PRI * HT", "HTTP/2 without TLS"),
            (b"PROXY TC", "the PROXY protocol"),
            (b"SSH-2.0-", "SSH"),
            (b"\x80\x2e\x01\x03\x01\0\0\0", "something like SSL 2"),
            (b"hello...", "something else than TLS"),
        ] {
            assert_eq!(guess(head), expected);
        }
    }
}
