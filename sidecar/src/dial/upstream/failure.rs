//! Why the next tier does not answer: for the log, the metric and, in short, the application.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use http::StatusCode;
use lasthop_contract::problem::Code;
use lasthop_contract::server_policy::ServerRefusal;
use lasthop_contract::text::escape;
use rustls::{AlertDescription, Error, InvalidMessage, PeerIncompatible};

use crate::handshake::alert_name;
use crate::limits;
use crate::listener::Process;
use crate::telemetry::metrics::ListenerMetrics;
use crate::telemetry::refusals::Verdict;

/// Why there is no answer of the next tier, in the order in which it is met.
#[derive(Clone, Debug)]
pub(crate) enum Failure {
    /// Its name leads to no address.
    Unresolved { reason: String },
    /// As many connections to next tiers are open as there may be.
    Full,
    /// Nobody listens there.
    ConnectionRefused,
    /// Nobody took the connection in time.
    ConnectTimeout,
    /// There is no way there, or another thing went wrong on it.
    ConnectFailed { reason: String },
    /// It did not finish its handshake in time.
    HandshakeTimeout,
    /// It speaks something else than TLS.
    NotTls,
    /// It speaks no version of TLS that we do.
    NoCommonVersion,
    /// It has no cipher suite, group or signature that we have.
    NoCommonParameters { reason: String },
    /// It is not who it should be.
    Refused(ServerRefusal),
    /// It could not prove that it holds the key of its certificate.
    Unproven,
    /// It gave up on us, and said why.
    Alert { alert: String },
    /// It closed in the middle of the handshake.
    Closed,
    /// What came was not a handshake.
    Malformed { reason: String },
    /// The connection ended before the answer was there.
    Broken { reason: String },
    /// What came is no answer to what was asked.
    Nonsense { reason: String },
    /// Nothing came for too long.
    Silent,
    /// The application broke off while it was still sending.
    ApplicationBroke,
}

impl Failure {
    /// The stable code; what the application does itself has none.
    pub(crate) fn code(&self) -> Option<Code> {
        Some(match self {
            Self::Refused(refusal) => refusal.reason.code(),
            Self::Alert { .. } => Code(550),
            Self::NotTls => Code(551),
            Self::NoCommonVersion => Code(552),
            Self::NoCommonParameters { .. } => Code(553),
            Self::Unproven => Code(554),
            Self::Closed => Code(555),
            Self::Malformed { .. } => Code(556),
            Self::HandshakeTimeout => Code(557),
            Self::Unresolved { .. } => Code(560),
            Self::ConnectionRefused => Code(561),
            Self::ConnectTimeout => Code(562),
            Self::ConnectFailed { .. } => Code(563),
            Self::Broken { .. } => Code(564),
            Self::Nonsense { .. } => Code(565),
            Self::Silent => Code(566),
            Self::Full => Code(567),
            Self::ApplicationBroke => return None,
        })
    }

    /// A short stable word for log and metrics.
    pub(crate) fn word(&self) -> &'static str {
        match self {
            Self::Unresolved { .. } => "unresolved",
            Self::Full => "too_many_connections",
            Self::ConnectionRefused => "connection_refused",
            Self::ConnectTimeout => "connect_timeout",
            Self::ConnectFailed { .. } => "connect_failed",
            Self::HandshakeTimeout => "handshake_timeout",
            Self::NotTls => "not_tls",
            Self::NoCommonVersion => "no_common_version",
            Self::NoCommonParameters { .. } => "no_common_parameters",
            Self::Refused(refusal) => refusal.reason.word(),
            Self::Unproven => "unproven",
            Self::Alert { .. } => "upstream_alert",
            Self::Closed => "closed",
            Self::Malformed { .. } => "malformed",
            Self::Broken { .. } => "broken",
            Self::Nonsense { .. } => "protocol",
            Self::Silent => "timeout",
            Self::ApplicationBroke => "application_broke",
        }
    }

    /// What the application is answered.
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::Unresolved { .. } | Self::Full => StatusCode::SERVICE_UNAVAILABLE,
            Self::ConnectTimeout | Self::HandshakeTimeout | Self::Silent => {
                StatusCode::GATEWAY_TIMEOUT
            }
            Self::ApplicationBroke => StatusCode::BAD_REQUEST,
            _ => StatusCode::BAD_GATEWAY,
        }
    }

    /// What the application reads; it may hand it on, so names and addresses stay in the log.
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Self::Unresolved { .. } => "the name of the next tier leads to no address",
            Self::Full => {
                "as many connections to next tiers are open as there may be; are they slow?"
            }
            Self::ConnectionRefused => "the next tier does not accept connections",
            Self::ConnectTimeout => "the next tier does not take connections in time",
            Self::ConnectFailed { .. } => "the next tier cannot be connected to",
            Self::HandshakeTimeout => "the next tier does not finish its TLS handshake in time",
            Self::NotTls => "the next tier does not speak TLS",
            Self::NoCommonVersion => "the next tier speaks neither TLS 1.2 nor TLS 1.3",
            Self::NoCommonParameters { .. } => {
                "there are no TLS parameters in common with the next tier"
            }
            Self::Refused(_) => "the certificate of the next tier is refused",
            Self::Unproven => "the next tier does not hold the key of its certificate",
            Self::Alert { .. } => "the next tier refuses this sidecar in the TLS handshake",
            Self::Closed => "the next tier closed the connection during the TLS handshake",
            Self::Malformed { .. } => "the TLS handshake of the next tier cannot be read",
            Self::Broken { .. } => "the next tier closed the connection before it answered",
            Self::Nonsense { .. } => "the next tier did not answer in HTTP",
            Self::Silent => "the next tier did not answer in time",
            Self::ApplicationBroke => "the request ended before its end",
        }
    }

    /// The same with the code in front, which `lasthop explain` knows.
    pub(crate) fn told(&self) -> String {
        match self.code() {
            Some(code) => format!("{}; {code}, the log of the sidecar says more", self.reason()),
            None => self.reason().to_owned(),
        }
    }

    /// Why a handshake came to nothing.
    pub(super) fn of_handshake(error: &io::Error) -> Self {
        let Some(error) = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) else {
            return match error.kind() {
                io::ErrorKind::InvalidData => Self::Malformed { reason: error.to_string() },
                _ => Self::Closed,
            };
        };
        match error {
            Error::AlertReceived(AlertDescription::ProtocolVersion)
            | Error::PeerIncompatible(
                PeerIncompatible::ServerDoesNotSupportTls12Or13
                | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig,
            ) => Self::NoCommonVersion,
            Error::PeerIncompatible(_) => Self::NoCommonParameters { reason: error.to_string() },
            Error::AlertReceived(alert) => Self::Alert { alert: alert_name(*alert) },
            Error::InvalidCertificate(_) => Self::Unproven,
            Error::InvalidMessage(
                InvalidMessage::InvalidContentType | InvalidMessage::UnknownProtocolVersion,
            ) => Self::NotTls,
            other => Self::Malformed { reason: other.to_string() },
        }
    }

    /// What an alert on a connection that came through its handshake says: with TLS 1.3 a client is
    /// through before the server has seen its certificate.
    fn of_alert(error: &io::Error) -> Option<Self> {
        match error.get_ref()?.downcast_ref::<Error>()? {
            Error::AlertReceived(alert) => Some(Self::Alert { alert: alert_name(*alert) }),
            _ => None,
        }
    }

    /// Why a relay of bytes ended.
    pub(crate) fn of_relay(error: &io::Error) -> Self {
        Self::of_alert(error).unwrap_or_else(|| Self::Broken { reason: error.to_string() })
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(refusal) => refusal.fmt(f),
            Self::Alert { alert } => {
                write!(f, "the next tier gave up with the alert `{alert}`")?;
                hint(alert).map_or(Ok(()), |hint| write!(f, "; {hint}"))
            }
            Self::ConnectTimeout => {
                write!(f, "{} ({} s)", self.reason(), limits::UPSTREAM_CONNECT.as_secs())
            }
            Self::HandshakeTimeout => {
                write!(f, "{} ({} s)", self.reason(), limits::UPSTREAM_HANDSHAKE.as_secs())
            }
            Self::Unresolved { reason }
            | Self::ConnectFailed { reason }
            | Self::NoCommonParameters { reason }
            | Self::Malformed { reason }
            | Self::Broken { reason }
            | Self::Nonsense { reason } => write!(f, "{}: {}", self.reason(), escape(reason)),
            other => f.write_str(other.reason()),
        }
    }
}

/// What servers commonly mean by an alert (RFC 8446, 6.2).
fn hint(alert: &str) -> Option<&'static str> {
    Some(match alert {
        "certificate_required" => {
            "it wants a client certificate: give one with `upstream-client-secret`"
        }
        "handshake_failure" | "bad_certificate" => {
            "it may want a client certificate (`upstream-client-secret`), or does not take the one it got"
        }
        "unknown_ca"
        | "certificate_unknown"
        | "access_denied"
        | "certificate_expired"
        | "unsupported_certificate"
        | "certificate_revoked" => {
            "it does not take the certificate of `upstream-client-secret`; its own log says why"
        }
        "unrecognized_name" => {
            "it does not know the server name: give the right one with `upstream-sni`"
        }
        "no_application_protocol" => {
            "it speaks neither `h2` nor `http/1.1`; for other protocols write `tls://`"
        }
        _ => return None,
    })
}

/// What became of a connection, for who used it and only learns that it is gone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fate(Arc<OnceLock<Failure>>);

impl Fate {
    /// Takes down an error of the connection.
    pub(super) fn met(&self, error: &io::Error) {
        if let Some(failure) = Failure::of_alert(error) {
            let _already_known = self.0.set(failure);
        }
    }

    /// Why the connection is gone, where the next tier said so.
    pub(crate) fn told(&self) -> Option<Failure> {
        self.0.get().cloned()
    }
}

/// To whom and where something failed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Teller<'a> {
    pub(crate) process: &'a Process,
    pub(crate) metrics: &'a ListenerMetrics,
    /// The listener.
    pub(crate) name: &'a str,
    /// The next tier, as configured.
    pub(crate) upstream: &'a str,
}

impl Teller<'_> {
    /// Counts and logs `failure`, which the next tier's `address` brought.
    pub(crate) fn tell(&self, failure: &Failure, address: Option<SocketAddr>) {
        let Some(code) = failure.code().map(|code| code.to_string()) else { return };
        self.metrics.upstream_failure(&code, failure.word());
        let kind = format!("{}:{code}", self.name);
        let Verdict::Write { suppressed } = self.process.refusals.ask(&kind, Instant::now()) else {
            return;
        };
        let mut line = self
            .process
            .log
            .warn("the next tier failed")
            .text("listener", self.name)
            .text("upstream", self.upstream);
        if let Some(address) = address {
            line = line.display("address", address);
        }
        line = line.text("code", &code).text("reason", failure.word()).display("detail", failure);
        if let Failure::Refused(ServerRefusal { certificate: Some(certificate), .. }) = failure {
            line = line.certificate(certificate);
        }
        if suppressed > 0 {
            line = line.number("suppressed", suppressed);
        }
        line.write();
    }
}

#[cfg(test)]
mod tests {
    use lasthop_contract::server_policy::ServerRefusalReason;

    use super::*;

    #[test]
    fn every_failure_is_documented_with_its_code_and_status() {
        const PAGE: &str = include_str!("../../../../docs/sidecar.md");
        let text = String::new;
        let refusals = [
            ServerRefusalReason::Unreadable { reason: text() },
            ServerRefusalReason::UnknownIssuer { issuer: text() },
            ServerRefusalReason::Expired { not_after: 0 },
            ServerRefusalReason::NotYetValid { not_before: 0 },
            ServerRefusalReason::WrongPurpose { presented: Vec::new() },
            ServerRefusalReason::CaAsServer,
            ServerRefusalReason::BadChain { reason: text() },
            ServerRefusalReason::WrongName { expected: Vec::new() },
        ];
        let refused = |reason| Failure::Refused(ServerRefusal { reason, certificate: None });
        let others = [
            Failure::Alert { alert: text() },
            Failure::NotTls,
            Failure::NoCommonVersion,
            Failure::NoCommonParameters { reason: text() },
            Failure::Unproven,
            Failure::Closed,
            Failure::Malformed { reason: text() },
            Failure::HandshakeTimeout,
            Failure::Unresolved { reason: text() },
            Failure::ConnectionRefused,
            Failure::ConnectTimeout,
            Failure::ConnectFailed { reason: text() },
            Failure::Broken { reason: text() },
            Failure::Nonsense { reason: text() },
            Failure::Silent,
        ];
        for failure in refusals.into_iter().map(refused).chain(others) {
            let (code, status) = (failure.code().unwrap(), failure.status().as_u16());
            let row = format!("| {code} | `{}` | {status} |", failure.word());
            assert!(PAGE.contains(&row), "{row} is not in docs/sidecar.md");
        }
    }

    #[test]
    fn an_alert_is_told_with_what_it_often_means() {
        let told = |alert: &str| Failure::Alert { alert: alert.to_owned() }.to_string();
        assert!(told("certificate_required").contains("`upstream-client-secret`"));
        assert!(told("unrecognized_name").contains("`upstream-sni`"));
        assert_eq!(told("number 99"), "the next tier gave up with the alert `number 99`");
    }
}
