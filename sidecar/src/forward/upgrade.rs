//! WebSocket: after the application has agreed, bytes both ways.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http::header::{CONNECTION, HeaderValue, UPGRADE};
use http::{Response, StatusCode, Version};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, split};
use tokio::time::timeout;

use super::body::{Lease, ResponseBody};
use super::exchange::Answer;
use super::near::Near;
use super::record::{Meter, Record};
use super::websocket::Websocket;
use crate::admit::Alpn;
use crate::limits;

/// Bytes that are copied at once, each way.
const BUFFER: usize = 8 * 1024;

/// Passes on that the application agreed, and then whatever the two say to each other.
pub(super) fn tunnel(
    (client, websocket): (OnUpgrade, &Websocket),
    answer: Answer,
    mut record: Box<Record>,
    near: &Arc<Near>,
) -> Response<ResponseBody> {
    let Answer { mut response, lease } = answer;
    // The connection is the tunnel's now, it never goes back to the pool.
    let home = lease.map(Lease::leave);
    let application = hyper::upgrade::on(&mut response);
    let (mut parts, _no_body) = response.into_parts();
    super::headers::to_client(&mut parts.headers);
    websocket.agree(&mut parts.headers);
    parts.extensions.clear();
    parts.version = Version::default();
    match near.protocol {
        Alpn::Http1 => {
            parts.headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
            parts.headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
            parts.status = StatusCode::SWITCHING_PROTOCOLS;
        }
        Alpn::H2 => {
            parts.status = StatusCode::OK;
        }
    }
    record.answered(parts.status);
    let near = Arc::clone(near);
    near.tracker().clone().spawn(async move {
        tokio::select! {
            () = relay(client, application, (&mut record, &near)) => {}
            why = near.lost() => {
                near.metrics.closed(why);
                record.failed(why.word());
            }
        }
        drop(home);
    });
    Response::from_parts(parts, ResponseBody::none())
}

async fn relay(client: OnUpgrade, application: OnUpgrade, (record, near): (&mut Record, &Near)) {
    let (Ok(client), Ok(application)) = (client.await, application.await) else {
        record.failed("the upgrade did not come about");
        return;
    };
    let meter = record.meter();
    let (mut from_client, mut to_client) = split(TokioIo::new(client));
    let (mut from_application, mut to_application) = split(TokioIo::new(application));
    {
        let count = |bytes| meter.receive(bytes);
        let mut up = pin!(pass_on(&mut from_client, &mut to_application, count));
        let count = |bytes| meter.send(bytes);
        let mut down = pin!(pass_on(&mut from_application, &mut to_client, count));
        tokio::select! {
            ended = up.as_mut() => if ended.is_ok() { farewell(down, meter, limits::FAREWELL).await },
            ended = down.as_mut() => if ended.is_ok() { farewell(up, meter, limits::FAREWELL).await },
        }
    }
    // A WebSocket ends by its own close frame; how the connection ends then says nothing. A stream on
    // which nobody said a word was given up.
    if near.protocol == Alpn::Http1 || record.meter().bytes() > 0 {
        record.complete();
    }
}

/// Copies until `from` has ended, and tells `to` of that end.
async fn pass_on<R, W>(from: &mut R, to: &mut W, count: impl Fn(usize)) -> io::Result<()>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let mut buffer = vec![0; BUFFER];
    loop {
        let length = from.read(&mut buffer).await?;
        let bytes = buffer.get(..length).unwrap_or_default();
        if bytes.is_empty() {
            return to.shutdown().await;
        }
        to.write_all(bytes).await?;
        to.flush().await?;
        count(length);
    }
}

/// One of the two has ended. The other may still say what it had to say, and no more: a stream that
/// was reset looks like one that ended, and who resets many must not leave as many connections.
async fn farewell(other: impl Future<Output = io::Result<()>>, meter: &Meter, patience: Duration) {
    let mut other = pin!(other);
    loop {
        let before = meter.bytes();
        match timeout(patience, other.as_mut()).await {
            Err(_elapsed) if meter.bytes() != before => {}
            _ => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::duplex;
    use tokio::time::sleep;

    use super::*;
    use crate::forward::test_meter;

    const PATIENCE: Duration = Duration::from_millis(100);

    #[tokio::test]
    async fn who_is_left_may_finish_and_not_stay() {
        let meter = test_meter();
        let (mut from, mut application) = duplex(64);
        let (mut to, mut client) = duplex(64);
        let said = async {
            for _ in 0..4 {
                sleep(PATIENCE / 2).await;
                application.write_all(b"still here").await.unwrap();
            }
            // It does not end, and says nothing more.
            let mut heard = vec![0; 40];
            client.read_exact(&mut heard).await.unwrap();
            assert_eq!(heard, b"still here".repeat(4));
        };
        let other = pass_on(&mut from, &mut to, |bytes| meter.send(bytes));
        tokio::join!(farewell(other, &meter, PATIENCE), said);
        assert_eq!(meter.bytes(), 40);
        let ended = std::future::ready(Ok(()));
        farewell(ended, &meter, Duration::MAX).await;
    }
}
