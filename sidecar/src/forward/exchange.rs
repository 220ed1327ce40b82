//! One request to the application and one answer back, over the pool, with the retries that lose
//! and double nothing.

use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use http::header::{CONTENT_LENGTH, EXPECT, HOST, HeaderValue, TRANSFER_ENCODING};
use http::request::Parts;
use http::uri::{Authority, Scheme};
use http::{Method, Request, Response, StatusCode, Uri, Version};
use http_body::Body as _;
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use lasthop_contract::sidecar_config::Protocol;
use tokio::time::timeout;

use super::body::{Lease, RequestBody};
use super::expect::GateKeeper;
use super::meaning;
use super::record::Meter;
use super::refused::{self, Fate, is_idempotent};
use crate::dial::{DialError, Http1, Lent};
use crate::limits;
use crate::listener::Terminator;
use crate::telemetry::log::{Fields, Log};

/// What the application answered.
pub(super) struct Answer {
    pub(super) response: Response<Incoming>,
    /// The connection that it came on, where that goes back to the pool.
    pub(super) lease: Option<Lease>,
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Failure {
    Dial(DialError),
    /// The connection broke before the answer was there.
    Broken(hyper::Error),
    /// The client broke off while it was still sending.
    ClientBroke,
    /// What came is no answer to what was asked.
    Nonsense,
    /// Nothing came for too long.
    Silent,
}

impl Failure {
    /// A short stable word for metrics.
    pub(super) fn word(&self) -> &'static str {
        match self {
            Self::Dial(DialError::Refused) => "connection_refused",
            Self::Dial(DialError::Timeout) => "connect_timeout",
            Self::Dial(DialError::Failed(_)) => "connect_failed",
            Self::Dial(DialError::Protocol(_)) | Self::Nonsense => "protocol",
            Self::Dial(DialError::Full) => "too_many_connections",
            Self::Dial(DialError::NoStreams) => "no_websocket",
            Self::Broken(_) => "broken",
            Self::ClientBroke => "client_broke",
            Self::Silent => "timeout",
        }
    }

    pub(super) fn status(&self) -> StatusCode {
        match self {
            Self::Dial(DialError::Timeout) | Self::Silent => StatusCode::GATEWAY_TIMEOUT,
            Self::ClientBroke => StatusCode::BAD_REQUEST,
            Self::Dial(DialError::Full) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Dial(DialError::NoStreams) => StatusCode::NOT_IMPLEMENTED,
            Self::Dial(_) | Self::Broken(_) | Self::Nonsense => StatusCode::BAD_GATEWAY,
        }
    }

    /// What a person reads, client or operator.
    pub(super) fn reason(&self) -> &'static str {
        match self {
            Self::Dial(DialError::Refused) => {
                "the application does not accept connections; is it running, and listening on localhost (or its socket)?"
            }
            Self::Dial(DialError::Timeout) => {
                "the application does not take connections in time; is it overloaded?"
            }
            Self::Dial(DialError::Failed(_)) => "the application cannot be connected to",
            Self::Dial(DialError::Protocol(_)) | Self::Nonsense => {
                "the application did not answer in the protocol that it is said to speak"
            }
            Self::Dial(DialError::Full) => {
                "as many connections to the application are open as there may be; is it slow?"
            }
            Self::Dial(DialError::NoStreams) => {
                "the application takes no WebSocket over HTTP/2 (RFC 8441)"
            }
            Self::Broken(_) => "the application closed the connection before it answered",
            Self::ClientBroke => "the request ended before its end",
            Self::Silent => "the application did not answer in time",
        }
    }

    /// Writes it down, for the connection that `fields` tell of.
    pub(super) fn tell(&self, log: &Log, fields: &Fields) {
        let mut line = log
            .warn("the application did not answer")
            .fields(fields)
            .text("reason", self.word())
            .text("detail", self.reason());
        if let Some(cause) = self.cause() {
            line = line.foreign("cause", &cause);
        }
        line.write();
    }

    /// What only the log should say.
    fn cause(&self) -> Option<String> {
        match self {
            Self::Dial(DialError::Failed(error)) => Some(error.to_string()),
            Self::Dial(DialError::Protocol(error)) | Self::Broken(error) => Some(chain(error)),
            _ => None,
        }
    }
}

pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}

impl From<hyper::Error> for Failure {
    fn from(error: hyper::Error) -> Self {
        if error.is_user() {
            Self::ClientBroke
        } else if error.is_parse() {
            Self::Nonsense
        } else {
            Self::Broken(error)
        }
    }
}

/// Gives a request its framing and its target, each in one way; whether it has no body.
///
/// # Errors
/// What makes it impossible.
pub(super) fn frame(
    parts: &mut Parts,
    incoming: &Incoming,
    terminator: &Terminator,
    host: HeaderValue,
) -> Result<bool, &'static str> {
    let unwritable = "the target of the request cannot be passed on";
    let had_length = parts.headers.remove(CONTENT_LENGTH).is_some();
    parts.headers.remove(TRANSFER_ENCODING);
    let has_no_body = incoming.is_end_stream();
    match incoming.size_hint().exact() {
        Some(0) if !had_length => {}
        Some(length) => {
            parts.headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
        }
        None if terminator.protocol == Protocol::Http => {
            parts.headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        }
        None => {}
    }
    let mut target = http::uri::Parts::default();
    target.path_and_query = Some(meaning::path(&parts.uri));
    if terminator.protocol == Protocol::H2c {
        target.scheme = Some(Scheme::HTTP);
        target.authority = Some(Authority::try_from(host.as_bytes()).map_err(|_error| unwritable)?);
        parts.headers.remove(HOST);
        // 1xx answers do not come through HTTP/2, nobody would ever ask for the body.
        parts.headers.remove(EXPECT);
        parts.version = Version::HTTP_2;
    } else {
        parts.headers.insert(HOST, host);
        if parts.version != Version::HTTP_11 {
            parts.headers.remove(EXPECT);
        }
        parts.version = Version::HTTP_11;
    }
    parts.uri = Uri::from_parts(target).map_err(|_error| unwritable)?;
    Ok(has_no_body)
}

/// Sends `request` and waits for the head of its answer. The request is boxed since each of the functions
/// that it goes through would keep room for it, and that room is made and filled anew for every request.
pub(super) async fn exchange(
    terminator: &Arc<Terminator>,
    mut request: Box<Request<RequestBody>>,
    meter: &Arc<Meter>,
    gate: Option<GateKeeper>,
) -> Result<Answer, Failure> {
    if let Some(gate) = gate {
        hyper::ext::on_informational(&mut *request, move |response| {
            if response.status() == StatusCode::CONTINUE {
                gate.open();
            }
        });
    }
    let answer = pin!(async {
        match terminator.protocol {
            Protocol::H2c => Box::pin(over_http2(terminator, request, meter)).await,
            Protocol::Http | Protocol::Tcp => over_http1(terminator, request, meter).await,
        }
    });
    patient(answer, meter, limits::ANSWER).await.unwrap_or(Err(Failure::Silent))
}

/// Waits for `answer` as long as who asked sends, and `limit` after the last byte; [`None`] where
/// nothing came. The answer comes pinned, since a future that pins an argument has room for it twice.
pub(super) async fn patient<F: Future>(
    mut answer: Pin<&mut F>,
    meter: &Meter,
    limit: Duration,
) -> Option<F::Output> {
    loop {
        let left = limit.saturating_sub(meter.quiet()).max(Duration::from_millis(1));
        match timeout(left, answer.as_mut()).await {
            Ok(answer) => return Some(answer),
            Err(_elapsed) if meter.quiet() >= limit => return None,
            Err(_elapsed) => {}
        }
    }
}

async fn over_http1(
    terminator: &Arc<Terminator>,
    mut request: Box<Request<RequestBody>>,
    meter: &Arc<Meter>,
) -> Result<Answer, Failure> {
    let application = &terminator.application;
    loop {
        let (mut sender, again) = match application.http1().await.map_err(Failure::Dial)? {
            Lent::Used(sender) => (sender, repeatable(&request, meter)),
            Lent::New(sender) => return send_new(sender, request, terminator).await,
        };
        let error = match sender.try_send_request(*request).await {
            Ok(response) => return Ok(leased(response, sender, terminator)),
            Err(error) => Box::new(error),
        };
        match unanswered(*error, again)? {
            Unanswered::Unsent(unsent) => request = unsent,
            Unanswered::Repeatable(again) => {
                let sender = application.connect_http1().await.map_err(Failure::Dial)?;
                return send_new(sender, again, terminator).await;
            }
        }
    }
}

/// A request that was not answered, and may be sent once more.
enum Unanswered {
    /// Nothing of it was written.
    Unsent(Box<Request<RequestBody>>),
    /// The application closed as we wrote; asked once more, it does nothing twice.
    Repeatable(Box<Request<RequestBody>>),
}

fn unanswered(
    mut error: TrySendError<Request<RequestBody>>,
    again: Option<Box<Request<RequestBody>>>,
) -> Result<Unanswered, Failure> {
    match (error.take_message(), again) {
        (Some(unsent), _) => Ok(Unanswered::Unsent(Box::new(unsent))),
        (None, Some(again)) if died(error.error()) => Ok(Unanswered::Repeatable(again)),
        (None, _) => Err(error.into_error().into()),
    }
}

async fn send_new(
    mut sender: Http1,
    request: Box<Request<RequestBody>>,
    terminator: &Arc<Terminator>,
) -> Result<Answer, Failure> {
    match sender.try_send_request(*request).await {
        Ok(response) => Ok(leased(response, sender, terminator)),
        Err(error) => Err(error.into_error().into()),
    }
}

fn leased(response: Response<Incoming>, sender: Http1, terminator: &Arc<Terminator>) -> Answer {
    Answer { response, lease: Some(Lease::new(sender, Arc::<Terminator>::clone(terminator))) }
}

/// The same request again, where sending it twice is as good as once (RFC 9110, 9.2.2).
fn repeatable(
    request: &Request<RequestBody>,
    meter: &Arc<Meter>,
) -> Option<Box<Request<RequestBody>>> {
    is_idempotent(request.method()).then(|| once_more(request, meter)).flatten().map(Box::new)
}

/// The same request again, where none of a body can be lost.
pub(super) fn once_more(
    request: &Request<RequestBody>,
    meter: &Arc<Meter>,
) -> Option<Request<RequestBody>> {
    if !request.body().is_end_stream() {
        return None;
    }
    let mut again = Request::new(RequestBody::none(Arc::clone(meter)));
    request.method().clone_into(again.method_mut());
    request.uri().clone_into(again.uri_mut());
    *again.version_mut() = request.version();
    request.headers().clone_into(again.headers_mut());
    Some(again)
}

/// Whether the connection ended before the head of the answer was there.
pub(super) fn died(error: &hyper::Error) -> bool {
    let broken = std::error::Error::source(error)
        .and_then(|source| source.downcast_ref::<io::Error>())
        .is_some_and(|error| {
            matches!(
                error.kind(),
                io::ErrorKind::BrokenPipe
                    | io::ErrorKind::ConnectionAborted
                    | io::ErrorKind::ConnectionReset
                    | io::ErrorKind::NotConnected
                    | io::ErrorKind::UnexpectedEof
            )
        });
    broken || error.is_incomplete_message() || error.is_closed() || error.is_canceled()
}

async fn over_http2(
    terminator: &Arc<Terminator>,
    mut request: Box<Request<RequestBody>>,
    meter: &Arc<Meter>,
) -> Result<Answer, Failure> {
    let application = &terminator.application;
    if request.method() == Method::CONNECT {
        let mut sender = application.connect_stream().await.map_err(Failure::Dial)?;
        let response = sender.send_request(*request).await?;
        return Ok(Answer { response, lease: None });
    }
    let mut repeated = false;
    loop {
        let (mut sender, place) = application.http2().await.map_err(Failure::Dial)?;
        let again = once_more(&request, meter).filter(|_| !repeated);
        let mut error = match sender.try_send_request(*request).await {
            Ok(response) => {
                let lease = Some(Lease::shared(Arc::new(place)));
                return Ok(Answer { response, lease });
            }
            Err(error) => error,
        };
        let fate = refused::fate(error.error());
        if fate != Fate::Refused {
            application.retire_http2(&place).await;
        }
        request = match (error.take_message(), again, fate) {
            // Nothing of it was written.
            (Some(unsent), _, _) if !repeated => Box::new(unsent),
            (None, Some(again), fate) if fate.allows(again.method()) => Box::new(again),
            _ => return Err(error.into_error().into()),
        };
        repeated = true;
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::{Instant, sleep};

    use super::super::turns::Turns;
    use super::*;

    const LIMIT: Duration = Duration::from_millis(100);

    #[tokio::test]
    async fn a_silent_application_is_a_504() {
        let meter = Meter::new(Instant::now(), Turns::new().begin());
        let never = std::future::pending::<()>();
        assert_eq!(patient(pin!(never), &meter, LIMIT).await, None);
        assert_eq!(Failure::Silent.status(), StatusCode::GATEWAY_TIMEOUT);
        assert!(meter.quiet() >= LIMIT);
    }

    #[tokio::test]
    async fn an_application_is_not_silent_while_the_client_sends() {
        let meter = Meter::new(Instant::now(), Turns::new().begin());
        let upload = async {
            for _ in 0..6 {
                sleep(LIMIT / 2).await;
                meter.receive(1);
            }
            "answer"
        };
        assert_eq!(patient(pin!(upload), &meter, LIMIT).await, Some("answer"));
    }
}
