//! HTTP from the application, HTTP in TLS to the next tier.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use http::header::{CONNECTION, HeaderValue};
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::exchange;
use super::target::{Bad, Target};
use crate::accept::Seat;
use crate::admit::Alpn;
use crate::dial::upstream::Failure;
use crate::forward::body::{RequestBody, ResponseBody};
use crate::forward::drive::drive;
use crate::forward::exchange::Answer;
use crate::forward::expect::Gate;
use crate::forward::http::{expects_continue, h1, h2, own, passed_on};
use crate::forward::near::{Beginning, Near, Side};
use crate::forward::record::Record;
use crate::forward::watched::Watched;
use crate::forward::websocket::{self, Verdict};
use crate::forward::{Serving, meaning, upgrade};
use crate::listener::Process;
use crate::originator::Originator;

/// A connection of the application, as its requests see it.
#[derive(Debug)]
struct Hop {
    near: Arc<Near>,
    originator: Arc<Originator>,
}

/// Serves the requests of `stream` until one of the two ends it.
pub(super) fn serve(
    (stream, peer, seat): (TcpStream, SocketAddr, Seat),
    protocol: Alpn,
    (originator, process): (Arc<Originator>, Arc<Process>),
) -> Serving {
    let metrics = Arc::clone(&originator.metrics);
    let fields = super::fields(peer, &originator);
    let (side, port) = (Side::Originate, peer.port());
    let idle = process.bounds.idle_http;
    let near =
        Beginning { side, process, metrics, protocol, fields, port, idle, standing: None, seat };
    let near = Arc::new(Near::new(near));
    let hop = Arc::new(Hop { near: Arc::clone(&near), originator });
    let io = TokioIo::new(Watched::new(stream, Arc::clone(&near)));
    let service = service_fn(move |request| {
        let hop = Arc::clone(&hop);
        // hyper keeps room for it as long as the connection lives; a box is there while there is a
        // request.
        Box::pin(async move { Ok::<_, Infallible>(answer(hop, request).await) })
    });
    match protocol {
        Alpn::H2 => Box::pin(drive(Box::pin(h2(&near).serve_connection(io, service)), near)),
        Alpn::Http1 => {
            let connection = h1().serve_connection(io, service).with_upgrades();
            Box::pin(drive(Box::pin(connection), near))
        }
    }
}

/// Answers one request.
async fn answer(hop: Arc<Hop>, request: Request<Incoming>) -> Response<ResponseBody> {
    let (mut parts, incoming) = request.into_parts();
    let record = Box::new(Record::new(&hop.near, &parts, &incoming));
    let authority = hop.originator.upstream.authority();
    let target = match Target::take(&mut parts, &incoming, hop.near.protocol, authority) {
        Ok(target) => target,
        Err(bad) => {
            drop(RequestBody::new(incoming, &hop.near, None, Arc::clone(record.meter())));
            return refused(&hop, bad, record);
        }
    };
    let application = target.websocket().and_then(|_| parts.extensions.remove::<OnUpgrade>());
    parts.extensions.clear();
    let (gate, keeper) = if expects_continue(&parts) && !target.has_no_body {
        let (gate, keeper) = Gate::new();
        (Some(gate), Some(keeper))
    } else {
        (None, None)
    };
    let meter = Arc::clone(record.meter());
    let body = if target.has_no_body {
        RequestBody::none(Arc::clone(&meter))
    } else {
        RequestBody::new(incoming, &hop.near, gate, Arc::clone(&meter))
    };
    let request = Request::from_parts(parts, body);
    let teller = hop.originator.teller(&hop.near.process);
    let ends = (&*hop.originator, &teller);
    let answered = exchange::exchange(ends, request, &target, &meter, keeper.clone()).await;
    let answer = match answered {
        Ok(answer) => answer,
        Err(failure) => return failed(&failure, record),
    };
    if let Some(keeper) = &keeper {
        keeper.answered();
    }
    let nonsense = |reason: &str, record| {
        let failure = Failure::Nonsense { reason: reason.to_owned() };
        teller.tell(&failure, None);
        failed(&failure, record)
    };
    let asked = application.zip(target.websocket());
    match (websocket::verdict(target.websocket(), &answer.response), asked) {
        (Verdict::Answer, _) => {}
        (Verdict::Tunnel, Some(asked)) => return upgrade::tunnel(asked, answer, record, &hop.near),
        (Verdict::Tunnel | Verdict::Nonsense, _) => {
            return nonsense("an upgrade that nobody asked for", record);
        }
    }
    let Answer { response, lease } = answer;
    if meaning::is_coded(response.headers()) {
        return nonsense("an answer in a transfer coding that nobody asked for", record);
    }
    passed_on(&hop.near, response, record, |incoming, record| {
        ResponseBody::application(incoming, record, lease, keeper)
    })
}

/// The answer to a request that is not passed on.
fn refused(hop: &Hop, bad: Bad, record: Box<Record>) -> Response<ResponseBody> {
    let mut response = own(bad.status, bad.text, record);
    if hop.near.protocol == Alpn::Http1 {
        // Who writes such requests may mean something else by what follows.
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// The answer to a request that the next tier did not answer.
fn failed(failure: &Failure, mut record: Box<Record>) -> Response<ResponseBody> {
    record.failed(failure.reason());
    own(failure.status(), &failure.told(), record)
}
