//! What the sidecar tells whoever runs it: alive, ready, metrics. Never a client's name.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use lasthop_contract::text::rfc3339;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::door::{Door, Sight};
use crate::limits;
use crate::listener::{CredentialDetail, Process, Terminator};
use crate::originator::Originator;
use crate::plain::{self, Answer, Reply, Until};
use crate::probe::Probes;
use crate::telemetry::metrics::Readiness;

/// Everything that there is to tell of.
#[derive(Debug)]
pub(crate) struct Status {
    pub(crate) process: Arc<Process>,
    pub(crate) terminators: Vec<Arc<Terminator>>,
    pub(crate) originators: Vec<Arc<Originator>>,
    /// What is performed for kubelet.
    pub(crate) probes: Probes,
    pub(crate) door: Arc<Door>,
    /// The addresses of the other listeners, by their mode.
    pub(crate) others: Vec<(&'static str, SocketAddr)>,
}

/// Serves `status` until the very end.
pub(crate) async fn serve(listener: TcpListener, status: Status) {
    let process = Arc::clone(&status.process);
    // Kubelet may be at all of its probes at once.
    let share = limits::STATUS_SHARE.saturating_add(status.probes.count());
    let answer = move |request: &Request<Incoming>| {
        status.answer(request.method(), request.uri().path(), request.uri().query())
    };
    plain::serve(listener, process, answer, (share, Until::Cut)).await;
}

const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";
const METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

impl Status {
    fn answer(&self, method: &Method, path: &str, query: Option<&str>) -> Reply {
        if let Some((status, most)) = self.probes.at(path) {
            if *method != Method::GET {
                return Reply::Now(not_allowed("GET"));
            }
            // The status alone: what the application says beside it is for its clients.
            let answered = async { bare(status.await) };
            return Reply::Later(Box::pin(answered), most);
        }
        if !matches!(*method, Method::GET | Method::HEAD) {
            return Reply::Now(not_allowed("GET, HEAD"));
        }
        Reply::Now(match path {
            "/livez" => answer(StatusCode::OK, TEXT, "ok\n".to_owned()),
            "/readyz" => self.readiness(query),
            "/metrics" => {
                self.process.metrics.set_log_dropped(self.process.log.dropped());
                let ready = match self.objection() {
                    None => Readiness::Ready,
                    Some(_) => Readiness::NotReady,
                };
                self.process.metrics.set_ready(ready);
                answer(StatusCode::OK, METRICS, self.process.metrics.encode())
            }
            _ => answer(
                StatusCode::NOT_FOUND,
                TEXT,
                "there are /livez, /readyz, /readyz?verbose and /metrics\n".to_owned(),
            ),
        })
    }

    /// Why traffic should go elsewhere, if it should. Listeners are bound and have their credentials
    /// before the status listener answers at all.
    fn objection(&self) -> Option<String> {
        if self.process.phases.unready.is_cancelled() {
            return Some("draining".to_owned());
        }
        self.door.objection()
    }

    fn readiness(&self, query: Option<&str>) -> Answer {
        let objection = self.objection();
        let status = match objection {
            None => StatusCode::OK,
            Some(_) => StatusCode::SERVICE_UNAVAILABLE,
        };
        let verbose = query.is_some_and(|query| {
            query.split('&').any(|it| it == "verbose" || it.starts_with("verbose="))
        });
        if verbose {
            return answer(status, JSON, self.detail(objection.as_deref()));
        }
        let mut text = objection.unwrap_or_else(|| "ok".to_owned());
        text.push('\n');
        answer(status, TEXT, text)
    }

    /// One JSON document, without a client's name.
    fn detail(&self, objection: Option<&str>) -> String {
        let terminators = self.terminators.iter().map(|terminator| of_terminator(terminator));
        let others = self.others.iter().map(|(mode, address)| {
            let port = address.port().to_string();
            let listener = if *mode == "status" { mode } else { port.as_str() };
            json!({ "listener": listener, "mode": mode, "address": address })
        });
        let originators = self.originators.iter().map(|originator| of_originator(originator));
        let listeners: Vec<Value> = terminators.chain(originators).chain(others).collect();
        let document = json!({
            "ready": objection.is_none(),
            "reason": objection,
            "version": env!("CARGO_PKG_VERSION"),
            "listeners": listeners,
            "plaintextDoor": self.door.sights().iter().map(of_port).collect::<Vec<_>>(),
        });
        format!("{document}\n")
    }
}

fn of_port((port, sight): (&u16, &Sight)) -> Value {
    let addresses = match sight {
        Sight::Open(addresses) => addresses.as_slice(),
        Sight::Absent | Sight::Closed | Sight::Unknown => &[],
    };
    json!({ "port": port, "state": sight.word(), "addresses": addresses })
}

fn of_terminator(terminator: &Terminator) -> Value {
    let mut value = json!({
        "listener": terminator.name,
        "mode": "terminate",
        "address": terminator.address,
    });
    of_secrets(&mut value, &terminator.ledger.detail());
    value
}

fn of_originator(originator: &Originator) -> Value {
    let addresses = originator.upstream.states().into_iter().map(|(address, active, avoided)| {
        json!({ "address": address, "active": active, "avoided": avoided })
    });
    let mut value = json!({
        "listener": originator.name,
        "mode": "originate",
        "address": originator.address,
        "upstream": originator.target,
        "upstreamAddresses": addresses.collect::<Vec<_>>(),
    });
    of_secrets(&mut value, &originator.ledger.detail());
    value
}

fn of_secrets(value: &mut Value, detail: &CredentialDetail) {
    let credentials = detail
        .credentials
        .iter()
        .map(|(secret, not_after)| json!({ "secret": secret, "notAfter": rfc3339(*not_after) }));
    let troubles = detail.troubles.iter().map(|trouble| {
        json!({
            "secret": trouble.secret,
            "code": trouble.code(),
            "message": trouble.to_string(),
            "help": trouble.help(),
        })
    });
    let told = json!({
        "lastGood": rfc3339(detail.last_good),
        "failing": detail.failing,
        "credentials": credentials.collect::<Vec<_>>(),
        "troubles": troubles.collect::<Vec<_>>(),
    });
    if let (Value::Object(value), Value::Object(told)) = (value, told) {
        value.extend(told);
    }
}

fn not_allowed(methods: &'static str) -> Answer {
    let text = format!("the methods here: {methods}\n");
    let mut response = answer(StatusCode::METHOD_NOT_ALLOWED, TEXT, text);
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(methods));
    response
}

fn bare(status: StatusCode) -> Answer {
    let mut response = Response::new(Full::default());
    *response.status_mut() = status;
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn answer(status: StatusCode, kind: &'static str, text: String) -> Answer {
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
