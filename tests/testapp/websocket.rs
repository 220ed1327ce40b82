//! A WebSocket that sends every frame back (RFC 6455), over HTTP/1.1.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, header};
use http_body_util::combinators::BoxBody;
use hyper::body::Incoming;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_util::task::TaskTracker;

use crate::answer::text;

/// What a server appends to the client's key (RFC 6455, 1.3).
const MAGIC: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Longer frames end the connection.
const MOST_BYTES: u64 = 1 << 20;

const CLOSE: u8 = 0x8;

pub(crate) fn upgrade(
    mut request: Request<Incoming>,
    upgrades: &TaskTracker,
) -> Response<BoxBody<Bytes, std::convert::Infallible>> {
    let key = request.headers().get(header::SEC_WEBSOCKET_KEY).map(HeaderValue::as_bytes);
    let key = key.filter(|_| is_asked_for(request.headers()));
    let Some(accept) = key.map(accept) else {
        return text(StatusCode::UPGRADE_REQUIRED, "this is a WebSocket\n");
    };
    let upgraded = hyper::upgrade::on(&mut request);
    upgrades.spawn(async move {
        if let Ok(upgraded) = upgraded.await {
            // The other side closed, or broke off: it is over either way.
            drop(echo(TokioIo::new(upgraded)).await);
        }
    });
    let mut response = text(StatusCode::SWITCHING_PROTOCOLS, "");
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    response
}

/// Without `Connection: Upgrade` the word `Upgrade` is meant for somebody else (RFC 9110, 7.8).
fn is_asked_for(headers: &HeaderMap) -> bool {
    let has = |name: HeaderName, word: &str| {
        let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
        values.flat_map(|value| value.split(',')).any(|it| it.trim().eq_ignore_ascii_case(word))
    };
    has(header::CONNECTION, "upgrade") && has(header::UPGRADE, "websocket")
}

fn accept(key: &[u8]) -> HeaderValue {
    let text = [key, MAGIC.as_bytes()].concat();
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY, &text);
    HeaderValue::try_from(STANDARD.encode(digest)).expect("base64 is a header value")
}

async fn echo(mut stream: TokioIo<Upgraded>) -> std::io::Result<()> {
    loop {
        let first = stream.read_u8().await?;
        let payload = payload(&mut stream).await?;
        let mut frame = vec![first];
        match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
            (Ok(short @ 0..=125), _) => frame.push(short),
            (_, Ok(middle)) => {
                frame.push(126);
                frame.extend(middle.to_be_bytes());
            }
            _ => {
                frame.push(127);
                frame.extend((payload.len() as u64).to_be_bytes());
            }
        }
        frame.extend(payload);
        stream.write_all(&frame).await?;
        stream.flush().await?;
        if first & 0x0f == CLOSE {
            return stream.shutdown().await;
        }
    }
}

/// The payload of a frame, unmasked; a client's frame is always masked (RFC 6455, 5.3).
async fn payload(stream: &mut TokioIo<Upgraded>) -> std::io::Result<Vec<u8>> {
    let length = match stream.read_u8().await? & 0x7f {
        126 => u64::from(stream.read_u16().await?),
        127 => stream.read_u64().await?,
        short => u64::from(short),
    };
    if length > MOST_BYTES {
        return Err(std::io::ErrorKind::InvalidData.into());
    }
    let mut mask = [0_u8; 4];
    stream.read_exact(&mut mask).await?;
    let mut payload = vec![0_u8; usize::try_from(length).expect("at most a mebibyte")];
    stream.read_exact(&mut payload).await?;
    for (byte, mask) in payload.iter_mut().zip(mask.iter().cycle()) {
        *byte ^= mask;
    }
    Ok(payload)
}
