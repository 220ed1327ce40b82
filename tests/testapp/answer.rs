//! One answer a path.

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body::Frame;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Incoming;
use serde_json::{Map, Value, json};
use tokio_util::task::TaskTracker;

use crate::websocket;

type Body = BoxBody<Bytes, Infallible>;

/// No answer is longer than this, whatever the path asks for.
const MOST_BYTES: usize = 1 << 30;

/// Bytes of random-looking answers are made in pieces of this size.
const PIECE: usize = 64 * 1024;

/// Answers a request; `upgrades` runs what outlives the answer.
pub(crate) async fn to(
    request: Request<Incoming>,
    upgrades: TaskTracker,
) -> Result<Response<Body>, Infallible> {
    let path = request.uri().path().to_owned();
    let (room, rest) = path.trim_start_matches('/').split_once('/').unwrap_or((&path, ""));
    let number = rest.parse::<usize>().ok();
    Ok(match (room.trim_start_matches('/'), number) {
        ("status", Some(code)) => status(code),
        ("headers", None) => json(&headers(request.headers())),
        ("anything", _) => anything(request).await,
        ("bytes", Some(count)) => bytes(count.min(MOST_BYTES)),
        ("stream", Some(count)) => lines(count),
        ("delay", _) => delay(rest).await,
        ("trailers", None) => trailers(),
        ("redirect", _) => redirect(rest),
        ("grpc.health.v1.Health", _) => health(request).await,
        ("ws", None) => websocket::upgrade(request, &upgrades),
        ("", None) => text(StatusCode::OK, "lasthop-testapp\n"),
        _ => text(StatusCode::NOT_FOUND, "there is nothing here\n"),
    })
}

pub(crate) fn text(status: StatusCode, text: &str) -> Response<Body> {
    let mut response = Response::new(Full::from(text.to_owned()).boxed());
    *response.status_mut() = status;
    response
}

fn json(value: &Value) -> Response<Body> {
    let mut response = text(StatusCode::OK, &format!("{value:#}\n"));
    let kind = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

fn status(code: usize) -> Response<Body> {
    let code = u16::try_from(code).ok().and_then(|code| StatusCode::from_u16(code).ok());
    match code {
        Some(code) if !code.is_informational() => text(code, ""),
        _ => text(StatusCode::BAD_REQUEST, "this is no final status\n"),
    }
}

/// Every header with all its values, in the order in which they came.
fn headers(headers: &HeaderMap) -> Value {
    let values = |name: &HeaderName| {
        let values = headers.get_all(name).into_iter();
        values.map(|value| Value::from(String::from_utf8_lossy(value.as_bytes()))).collect()
    };
    let all: Map<String, Value> =
        headers.keys().map(|name| (name.to_string(), Value::Array(values(name)))).collect();
    json!({ "headers": all })
}

async fn anything(request: Request<Incoming>) -> Response<Body> {
    let (head, mut body) = request.into_parts();
    let mut digest = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
    let mut length = 0_usize;
    let mut trailers = HeaderMap::new();
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { return text(StatusCode::BAD_REQUEST, "the body broke off\n") };
        match frame.into_data() {
            Ok(data) => {
                digest.update(&data);
                length += data.len();
            }
            Err(frame) => trailers.extend(frame.into_trailers().unwrap_or_default()),
        }
    }
    let mut answer = headers(&head.headers);
    answer["method"] = Value::from(head.method.as_str());
    answer["target"] = Value::from(head.uri.to_string());
    answer["version"] = Value::from(format!("{:?}", head.version));
    answer["trailers"] = headers(&trailers)["headers"].take();
    answer["body"] = json!({
        "length": length,
        "sha256": lasthop_contract::text::hex(digest.finish().as_ref()),
    });
    let mut response = json(&answer);
    if head.method == Method::HEAD {
        *response.body_mut() = Full::default().boxed();
    }
    response
}

/// The byte at each place is the place modulo 251, so that a gap or a swap is noticed.
fn bytes(count: usize) -> Response<Body> {
    let pieces = (0..count).step_by(PIECE).map(move |from| {
        let piece: Vec<u8> = (from..count.min(from + PIECE)).map(at_place).collect();
        Ok(Frame::data(Bytes::from(piece)))
    });
    let mut response = Response::new(BodyExt::boxed(StreamBody::new(stream::iter(pieces))));
    response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(count));
    response
}

fn at_place(place: usize) -> u8 {
    u8::try_from(place % 251).expect("less than 251")
}

/// Numbered lines, each a chunk of its own.
fn lines(count: usize) -> Response<Body> {
    let lines = (0..count).map(|number| Ok(Frame::data(Bytes::from(format!("{number}\n")))));
    Response::new(BodyExt::boxed(StreamBody::new(stream::iter(lines))))
}

async fn delay(seconds: &str) -> Response<Body> {
    let wait = seconds.parse().ok().and_then(|it| Duration::try_from_secs_f64(it).ok());
    match wait.filter(|wait| *wait <= Duration::from_secs(60)) {
        Some(wait) => {
            tokio::time::sleep(wait).await;
            text(StatusCode::OK, "late\n")
        }
        None => text(StatusCode::BAD_REQUEST, "from 0 to 60 seconds\n"),
    }
}

/// A redirect to the path `/REST`.
fn redirect(rest: &str) -> Response<Body> {
    let mut response = text(StatusCode::FOUND, "");
    if let Ok(location) = HeaderValue::from_str(&format!("/{rest}")) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response
}

/// `grpc.health.v1.Health/Check`: every service is served (1) but `down` (2).
async fn health(request: Request<Incoming>) -> Response<Body> {
    let Ok(asked) = request.into_body().collect().await else {
        return text(StatusCode::BAD_REQUEST, "the body broke off\n");
    };
    let status = if asked.to_bytes().ends_with(b"down") { 2 } else { 1 };
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    let message = Bytes::copy_from_slice(&[0, 0, 0, 0, 2, 8, status]);
    let body =
        StreamBody::new(stream::iter([Frame::data(message), Frame::trailers(trailers)].map(Ok)));
    let mut response = Response::new(BodyExt::boxed(body));
    let kind = HeaderValue::from_static("application/grpc");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

/// A body with a trailer, as gRPC ends its answers.
fn trailers() -> Response<Body> {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    let frames =
        [Frame::data(Bytes::from_static(b"before the trailer\n")), Frame::trailers(trailers)];
    let body = StreamBody::new(stream::iter(frames.map(Ok)));
    let mut response = Response::new(BodyExt::boxed(body));
    response.headers_mut().insert(header::TRAILER, HeaderValue::from_static("grpc-status"));
    response
}
