//! HTTP from the client, HTTP to the application.

use std::convert::Infallible;
use std::sync::Arc;

use http::header::{
    CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, EXPECT, HeaderValue, STRICT_TRANSPORT_SECURITY,
};
use http::request::Parts;
use http::{Method, Request, Response, StatusCode, Version};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::{TokioIo, TokioTimer};
use lasthop_contract::problem::Code;
use lasthop_contract::sidecar_config::Protocol;

use super::body::{RequestBody, ResponseBody};
use super::corked::Corked;
use super::drive::drive;
use super::exchange::{self, Answer, Failure};
use super::exempt::{self, Judgement};
use super::expect::{Gate, GateKeeper};
use super::headers::{self, Asked, Origin};
use super::hop::Hop;
use super::meaning;
use super::near::Near;
use super::record::{Record, Telling};
use super::upgrade;
use super::watched::Watched;
use super::websocket::{self, Verdict, Websocket};
use super::{Serving, TrackedExecutor};
use crate::admit::{Admitted, Alpn};
use crate::host::{self, Said};
use crate::limits;
use crate::listener::{Process, Terminator};
use crate::shares::Share;
use crate::telemetry::metrics::Closed;

/// Serves the requests of `admitted` until one of the two ends it.
pub(super) fn serve(
    admitted: Admitted,
    terminator: Arc<Terminator>,
    process: Arc<Process>,
) -> Serving {
    let (hop, stream) = Hop::new(admitted, terminator, process);
    let hop = Arc::new(hop);
    let stream = Watched::new(stream, Arc::clone(&hop.near));
    let service = service_fn({
        let hop = Arc::clone(&hop);
        move |request| {
            let hop = Arc::clone(&hop);
            let begun = begin(&hop, request);
            // hyper keeps room for it as long as the connection lives; a box is there while there is
            // a request. It is small, for it is made and filled for each.
            Box::pin(async move {
                let mut response = match begun {
                    Ok(asking) => answer(&hop, asking).await,
                    Err(refused) => *refused,
                };
                if let Some(hsts) = &hop.terminator.hsts {
                    let told = response.headers_mut().entry(STRICT_TRANSPORT_SECURITY);
                    told.or_insert_with(|| hsts.clone());
                }
                Ok::<_, Infallible>(response)
            })
        }
    });
    let near = Arc::clone(&hop.near);
    match near.protocol {
        Alpn::H2 => {
            let io = TokioIo::new(Corked::new(stream));
            Box::pin(drive(Box::pin(h2(&near).serve_connection(io, service)), near))
        }
        Alpn::Http1 => {
            let connection = h1().serve_connection(TokioIo::new(stream), service).with_upgrades();
            Box::pin(drive(Box::pin(connection), near))
        }
    }
}

pub(super) fn h1() -> http1::Builder {
    let mut builder = http1::Builder::new();
    // hyper's own timeout does not tell a slow head from an idle connection; `drive` does.
    builder
        .header_read_timeout(None)
        .max_buf_size(limits::HEAD_BYTES)
        .max_header_size(limits::HEAD_BYTES);
    builder
}

pub(super) fn h2(near: &Near) -> http2::Builder<TrackedExecutor> {
    let mut builder = http2::Builder::new(TrackedExecutor(near.tracker().clone()));
    builder
        .enable_connect_protocol()
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits::H2_STREAMS)
        .initial_stream_window_size(limits::H2_STREAM_WINDOW)
        .initial_connection_window_size(limits::H2_CONNECTION_WINDOW)
        .max_send_buf_size(limits::H2_SEND_BUFFER)
        .max_pending_accept_reset_streams(limits::H2_PENDING_RESETS)
        .max_local_error_reset_streams(limits::H2_LOCAL_RESETS)
        .max_header_list_size(u32::try_from(limits::HEAD_BYTES).unwrap_or(u32::MAX))
        .keep_alive_interval(limits::H2_PING.0)
        .keep_alive_timeout(limits::H2_PING.1);
    builder
}

/// A request on its way to the application.
struct Asking {
    request: Box<Request<RequestBody>>,
    record: Box<Record>,
    websocket: Option<Websocket>,
    /// Where the tunnel begins that the client asked for.
    client: Option<OnUpgrade>,
    /// Of a client that waits with its body.
    keeper: Option<GateKeeper>,
}

/// Makes `request` the one that the application reads, or answers it.
fn begin(hop: &Hop, request: Request<Incoming>) -> Result<Asking, Box<Response<ResponseBody>>> {
    let (mut parts, incoming) = request.into_parts();
    let mut record = Box::new(Record::new(&hop.near, &parts, &incoming));
    let mut asked = match prepare(hop, &mut parts, &incoming) {
        Ok(asked) => asked,
        Err(bad) => {
            record.telling(bad.telling);
            drop(RequestBody::new(incoming, &hop.near, None, Arc::clone(record.meter())));
            let mut response = own(bad.status, bad.text, record);
            if hop.near.protocol == Alpn::Http1 {
                // Who writes such requests may mean something else by what follows.
                response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            return Err(Box::new(response));
        }
    };
    record.hold(asked.share.take());
    let websocket = asked.websocket;
    let client = websocket.is_some().then(|| parts.extensions.remove::<OnUpgrade>()).flatten();
    parts.extensions.clear();
    if let Some(websocket) = &websocket {
        websocket.ask(&mut parts);
    }
    let (gate, keeper) = if expects_continue(&parts) && !asked.has_no_body {
        let (gate, keeper) = Gate::new();
        (Some(gate), Some(keeper))
    } else {
        (None, None)
    };
    let meter = Arc::clone(record.meter());
    let body = if asked.has_no_body {
        RequestBody::none(meter)
    } else {
        RequestBody::new(incoming, &hop.near, gate, meter)
    };
    let request = Box::new(Request::from_parts(parts, body));
    Ok(Asking { request, record, websocket, client, keeper })
}

/// Answers one request.
async fn answer(hop: &Hop, asking: Asking) -> Response<ResponseBody> {
    let Asking { request, record, websocket, client, keeper } = asking;
    let answered =
        exchange::exchange(&hop.terminator, request, record.meter(), keeper.clone()).await;
    let answer = match answered {
        Ok(answer) => answer,
        Err(failure) => return failed(hop, &failure, record),
    };
    if let Some(keeper) = &keeper {
        keeper.answered();
    }
    match websocket::verdict(websocket.as_ref(), &answer.response) {
        Verdict::Answer => {}
        Verdict::Nonsense => return failed(hop, &Failure::Nonsense, record),
        Verdict::Tunnel => {
            return match client.zip(websocket.as_ref()) {
                Some(asked) => upgrade::tunnel(asked, answer, record, &hop.near),
                None => failed(hop, &Failure::Nonsense, record),
            };
        }
    }
    let Answer { response, lease } = answer;
    // Nobody asked for another coding (RFC 9112, 7.4), and the client would not learn of it.
    if meaning::is_coded(response.headers()) {
        return failed(hop, &Failure::Nonsense, record);
    }
    passed_on(&hop.near, response, record, |incoming, record| {
        ResponseBody::application(incoming, record, lease, keeper)
    })
}

/// The answer of the far side, as the near side reads it.
pub(super) fn passed_on(
    near: &Near,
    response: Response<Incoming>,
    mut record: Box<Record>,
    body: impl FnOnce(Incoming, Box<Record>) -> ResponseBody,
) -> Response<ResponseBody> {
    let (mut parts, incoming) = response.into_parts();
    headers::to_client(&mut parts.headers);
    meaning::tell_length(&mut parts, &incoming);
    if near.protocol == Alpn::Http1 && near.is_old() {
        near.metrics.closed(Closed::Age);
        parts.headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    parts.extensions.clear();
    parts.version = Version::default();
    record.answered(parts.status);
    Response::from_parts(parts, body(incoming, record))
}

/// What the way to the application must know besides the request's head.
struct Prepared {
    websocket: Option<Websocket>,
    has_no_body: bool,
    share: Option<Share>,
}

/// A request that is not passed on.
struct Bad {
    status: StatusCode,
    text: &'static str,
    telling: Telling,
}

const NO_HOST: &str = "the request does not name one valid host";

/// Makes the head of a request the one that the application reads.
fn prepare(hop: &Hop, parts: &mut Parts, incoming: &Incoming) -> Result<Prepared, Bad> {
    let bad = |status, text| Bad { status, text, telling: Telling::Each };
    // What it says changes on the way.
    let version = parts.version;
    match exempt::judge(hop, parts, incoming) {
        Judgement::Admitted => {}
        Judgement::Refused(telling) => {
            let text = "a client certificate is needed for this";
            return Err(Bad { status: StatusCode::FORBIDDEN, text, telling });
        }
    }
    let extended = Websocket::extended(parts, hop.terminator.protocol);
    if parts.method == Method::CONNECT && extended.is_none() {
        return Err(bad(StatusCode::NOT_IMPLEMENTED, "CONNECT is not served here"));
    }
    if let Some((status, text)) = meaning::obstacle(parts) {
        return Err(bad(status, text));
    }
    let host = match host::of(parts) {
        Said::Host(host) => host,
        Said::Nothing if version == Version::HTTP_10 => {
            hop.sni.clone().unwrap_or_else(|| hop.terminator.address.to_string())
        }
        Said::Nothing => {
            return Err(bad(
                StatusCode::BAD_REQUEST,
                "the request does not say for which host it is",
            ));
        }
        Said::Nonsense => return Err(bad(StatusCode::BAD_REQUEST, NO_HOST)),
    };
    let port = host::parse(&host).and_then(|host| host.port);
    let host =
        HeaderValue::try_from(host).map_err(|_error| bad(StatusCode::BAD_REQUEST, NO_HOST))?;
    let Hop { peer, trust, told, forwarded, .. } = hop;
    let (trust, forwarded) = (*trust, *forwarded);
    let origin = Origin { peer, trust, host: &host, port, identity: told, forwarded };
    exempt::narrow(hop, &mut parts.headers);
    let (asked, stripped) = headers::to_application(&mut parts.headers, &origin);
    if stripped > 0 {
        hop.terminator.metrics.stripped.inc_by(stripped);
    }
    if hop.near.protocol == Alpn::H2 && hop.terminator.protocol == Protocol::Http {
        headers::join_cookies(&mut parts.headers);
    }
    let has_no_body = exchange::frame(parts, incoming, &hop.terminator, host)
        .map_err(|text| bad(StatusCode::BAD_REQUEST, text))?;
    let upgraded = asked.websocket
        && hop.near.protocol == Alpn::Http1
        && parts.method == Method::GET
        // RFC 9110, 7.8.
        && version != Version::HTTP_10;
    let websocket = match hop.terminator.protocol {
        _ if !upgraded => extended,
        Protocol::H2c if has_no_body => {
            Some(Websocket::opened(&parts.headers).map_err(|(status, text)| bad(status, text))?)
        }
        Protocol::H2c => None,
        Protocol::Http | Protocol::Tcp => Websocket::upgrade(&parts.headers),
    };
    let share = hop.share(websocket.as_ref()).map_err(|_crowded| crowded(hop, parts))?;
    let asked = Asked { websocket: websocket.is_some(), ..asked };
    ask(parts, asked, hop.terminator.protocol);
    Ok(Prepared { websocket, has_no_body, share })
}

/// The answer to a request whose client has as many as it may.
fn crowded(hop: &Hop, parts: &Parts) -> Bad {
    let text = "there are as many requests and WebSockets of this client as there may be";
    let telling = hop.refuse((Code(532), "too_many_of_client"), text, parts);
    Bad { status: StatusCode::SERVICE_UNAVAILABLE, text, telling }
}

/// Asks the application for what the client asked this hop for.
fn ask(parts: &mut Parts, asked: Asked, protocol: Protocol) {
    let headers = &mut parts.headers;
    if asked.trailers {
        headers.insert(http::header::TE, HeaderValue::from_static("trailers"));
    }
    if protocol == Protocol::H2c {
        return;
    }
    if asked.websocket {
        headers.insert(http::header::UPGRADE, HeaderValue::from_static("websocket"));
    }
    let connection = match (asked.trailers, asked.websocket) {
        (false, false) => return,
        (true, false) => "TE",
        (false, true) => "Upgrade",
        (true, true) => "Upgrade, TE",
    };
    headers.insert(CONNECTION, HeaderValue::from_static(connection));
}

pub(super) fn expects_continue(parts: &Parts) -> bool {
    parts.headers.get(EXPECT).is_some_and(|it| it.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}

/// The answer to a request that the application did not answer.
fn failed(hop: &Hop, failure: &Failure, mut record: Box<Record>) -> Response<ResponseBody> {
    hop.terminator.metrics.application_failure(failure.word());
    record.failed(failure.reason());
    failure.tell(&hop.near.process.log, &hop.near.fields);
    own(failure.status(), failure.reason(), record)
}

/// An answer of our own: short, plain, and nothing in it that the client should not know.
pub(super) fn own(
    status: StatusCode,
    text: &str,
    mut record: Box<Record>,
) -> Response<ResponseBody> {
    record.answered(status);
    let text = format!("{} {}: {text}\n", status.as_str(), status.canonical_reason().unwrap_or(""));
    let length = HeaderValue::from(text.len());
    let mut response = Response::new(ResponseBody::own(text, record));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    // To HEAD, too, which gets no more than this.
    headers.insert(CONTENT_LENGTH, length);
    response
}
