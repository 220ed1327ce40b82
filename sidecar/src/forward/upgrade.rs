//! WebSocket: after the application's 101, bytes both ways.

use std::sync::Arc;

use http::header::{CONNECTION, HeaderValue, UPGRADE};
use http::{Response, StatusCode};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::copy_bidirectional_with_sizes;

use super::body::{Lease, ResponseBody};
use super::near::Near;
use super::record::Record;

/// Bytes that are copied at once, each way.
const BUFFER: usize = 8 * 1024;

/// Passes the application's 101 on, and then whatever the two say to each other.
pub(super) fn tunnel(
    client: OnUpgrade,
    mut response: Response<Incoming>,
    lease: Option<Lease>,
    mut record: Box<Record>,
    near: &Arc<Near>,
) -> Response<ResponseBody> {
    // The connection is the tunnel's now, it never goes back to the pool.
    let home = lease.map(Lease::leave);
    let application = hyper::upgrade::on(&mut response);
    let (mut parts, _no_body) = response.into_parts();
    super::headers::to_client(&mut parts.headers);
    parts.extensions.clear();
    parts.headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    parts.headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    parts.status = StatusCode::SWITCHING_PROTOCOLS;
    record.answered(parts.status);
    let near = Arc::clone(near);
    near.tracker().clone().spawn(async move {
        tokio::select! {
            () = relay(client, application, &mut record) => {}
            why = near.lost() => {
                near.metrics.closed(why);
                record.failed(why.word());
            }
        }
        drop(home);
    });
    Response::from_parts(parts, ResponseBody::none())
}

async fn relay(client: OnUpgrade, application: OnUpgrade, record: &mut Record) {
    let (Ok(client), Ok(application)) = (client.await, application.await) else {
        record.failed("the upgrade did not come about");
        return;
    };
    let (mut client, mut application) = (TokioIo::new(client), TokioIo::new(application));
    let copied = copy_bidirectional_with_sizes(&mut client, &mut application, BUFFER, BUFFER).await;
    if let Ok((received, sent)) = copied {
        let count = |bytes| usize::try_from(bytes).unwrap_or(usize::MAX);
        record.meter().receive(count(received));
        record.meter().send(count(sent));
    }
    // A WebSocket ends by its own close frame; how the connection ends then says nothing.
    record.complete();
}
