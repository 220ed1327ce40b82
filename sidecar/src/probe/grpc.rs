//! A probe by `grpc.health.v1.Health/Check`, over HTTP/2 without TLS.
//!
//! The two messages have one field each, so that they are written and read here by hand.
//!
//! <https://github.com/grpc/grpc-proto/blob/master/grpc/health/v1/health.proto>
//! <https://protobuf.dev/programming-guides/encoding/>

use bytes::{BufMut as _, Bytes, BytesMut};
use http::header::{CONTENT_TYPE, HeaderMap, TE, USER_AGENT};
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http2;
use hyper_util::rt::TokioIo;
use tokio_util::task::TaskTracker;

use super::{Failed, connect};
use crate::forward::TrackedExecutor;

/// `HealthCheckResponse.ServingStatus.SERVING`.
const SERVING: u64 = 1;

/// An answer is a few bytes.
const MOST_ANSWER: usize = 4096;

/// Asks whether `service` is served.
pub(super) async fn check(port: u16, service: &str, tracker: &TaskTracker) -> Result<(), Failed> {
    let stream = connect(port).await?;
    let (mut sender, connection) = http2::Builder::new(TrackedExecutor(tracker.clone()))
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|_error| Failed::Protocol)?;
    let request = Request::builder()
        .method(Method::POST)
        .uri(format!("http://localhost:{port}/grpc.health.v1.Health/Check"))
        .header(CONTENT_TYPE, "application/grpc")
        .header(TE, "trailers")
        .header(USER_AGENT, "kube-probe/1")
        .body(Full::new(request(service)))
        .map_err(|_error| Failed::Protocol)?;
    let asking = async {
        let response = sender.send_request(request).await.map_err(|_error| Failed::Protocol)?;
        let (parts, body) = response.into_parts();
        let body = Limited::new(body, MOST_ANSWER).collect().await;
        let body = body.map_err(|_error| Failed::Protocol)?;
        let trailers = body.trailers().cloned().unwrap_or_default();
        judge(parts.status, [&trailers, &parts.headers], &body.to_bytes())
    };
    let driving = async {
        // Its end is told to who asks.
        let _told = connection.await;
        std::future::pending().await
    };
    tokio::select! {
        answered = asking => answered,
        never = driving => never,
    }
}

/// What an answer means; `heads` are its trailers and its headers, either of which have the status.
fn judge(status: StatusCode, heads: [&HeaderMap; 2], body: &[u8]) -> Result<(), Failed> {
    let grpc_status = heads.iter().find_map(|head| head.get("grpc-status"));
    match grpc_status {
        Some(code) if status == StatusCode::OK && code == "0" => {}
        Some(_) if status == StatusCode::OK => return Err(Failed::NotServing),
        _ => return Err(Failed::Protocol),
    }
    match served(body) {
        Some(SERVING) => Ok(()),
        Some(_) => Err(Failed::NotServing),
        None => Err(Failed::Protocol),
    }
}

/// `HealthCheckRequest { service = 1 }` behind the five bytes of a gRPC message.
fn request(service: &str) -> Bytes {
    let mut message = BytesMut::new();
    if !service.is_empty() {
        message.put_u8(1 << 3 | 2);
        put_varint(&mut message, service.len());
        message.put_slice(service.as_bytes());
    }
    let mut framed = BytesMut::new();
    framed.put_u8(0);
    framed.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    framed.put_slice(&message);
    framed.freeze()
}

fn put_varint(out: &mut BytesMut, mut value: usize) {
    while value > 0x7f {
        out.put_u8(u8::try_from(value & 0x7f).unwrap_or_default() | 0x80);
        value >>= 7;
    }
    out.put_u8(u8::try_from(value).unwrap_or_default());
}

/// `HealthCheckResponse { status = 1 }`; [`None`] where the bytes are no such message.
fn served(framed: &[u8]) -> Option<u64> {
    let (head, mut message) = framed.split_first_chunk::<5>()?;
    let [compressed, length @ ..] = *head;
    if compressed != 0 || usize::try_from(u32::from_be_bytes(length)).ok()? != message.len() {
        return None;
    }
    let mut status = 0;
    while !message.is_empty() {
        let tag = varint(&mut message)?;
        match (tag >> 3, tag & 7) {
            (1, 0) => status = varint(&mut message)?,
            (_, 0) => drop(varint(&mut message)?),
            (_, 1) => message = message.get(8..)?,
            (_, 2) => {
                let length = usize::try_from(varint(&mut message)?).ok()?;
                message = message.get(length..)?;
            }
            (_, 5) => message = message.get(4..)?,
            _ => return None,
        }
    }
    Some(status)
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value: u64 = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn a_request_names_its_service() {
        assert_eq!(request("").as_ref(), [0, 0, 0, 0, 0]);
        assert_eq!(request("db").as_ref(), [0, 0, 0, 0, 4, 0x0a, 2, b'd', b'b']);
        let long = "s".repeat(300);
        let bytes = request(&long);
        assert_eq!(bytes[..8], [0, 0, 0, 1, 0x2f, 0x0a, 0xac, 2]);
        assert!(bytes.ends_with(long.as_bytes()));
    }

    #[test]
    fn an_answer_is_read_and_nonsense_is_not() {
        for (bytes, expected) in [
            (&[0, 0, 0, 0, 2, 8, 1][..], Some(1)),
            (&[0, 0, 0, 0, 2, 8, 2], Some(2)),
            // The default value is not sent.
            (&[0, 0, 0, 0, 0], Some(0)),
            // Fields of later versions are passed over.
            (&[0, 0, 0, 0, 5, 0x12, 1, b'x', 8, 1], Some(1)),
            (&[0, 0, 0, 0, 11, 0x19, 1, 2, 3, 4, 5, 6, 7, 8, 8, 1], Some(1)),
            (&[], None),
            (&[0, 0, 0, 0], None),
            (&[1, 0, 0, 0, 2, 8, 1], None),
            (&[0, 0, 0, 0, 3, 8, 1], None),
            (&[0, 0, 0, 0, 1, 8], None),
            (&[0, 0, 0, 0, 2, 0x0b, 1], None),
            (&[0, 0, 0, 0, 3, 0x12, 0x7f, 1], None),
            (&[0, 0, 0, 0, 11, 8, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255], None),
        ] {
            assert_eq!(served(bytes), expected, "{bytes:?}");
        }
    }

    #[test]
    fn only_serving_is_success() {
        let head = |status: &'static str| {
            HeaderMap::from_iter([(
                http::HeaderName::from_static("grpc-status"),
                HeaderValue::from_static(status),
            )])
        };
        let (none, good, unimplemented) = (HeaderMap::new(), head("0"), head("12"));
        let serving = [0, 0, 0, 0, 2, 8, 1];
        assert_eq!(judge(StatusCode::OK, [&good, &none], &serving), Ok(()));
        for (status, heads, body) in [
            (StatusCode::OK, [&none, &none], &serving[..]),
            (StatusCode::OK, [&none, &unimplemented], &[]),
            (StatusCode::OK, [&good, &none], &[0, 0, 0, 0, 2, 8, 2]),
            (StatusCode::NOT_FOUND, [&good, &none], &serving),
        ] {
            assert!(judge(status, heads, body).is_err(), "{status} {heads:?}");
        }
    }
}
