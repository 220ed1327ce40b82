//! Probes of the application that kubelet cannot perform itself, since the application is on
//! localhost: performed on request, and answered with a status code alone.
//!
//! Anybody in the cluster may ask. So there are only the probes of the configuration, what is sent
//! is all written there, nothing of the application's answer but its status comes back, and each
//! has one run at a time: who asks during a run gets the result of that run. A refusal instead would
//! let a stranger make kubelet's own probe fail, and kubelet restart the application.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::StatusCode;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use crate::config::probes::{ActionPlan, ProbePlan};
use crate::listener::Process;
use crate::telemetry::log::Log;
use crate::telemetry::metrics::{ProbeMetrics, ProbeResult};

mod grpc;
mod http1;

/// All probes, by the path at which they are performed.
#[derive(Debug, Default)]
pub(crate) struct Probes {
    by_path: BTreeMap<String, Arc<Probe>>,
}

/// One probe.
#[derive(Debug)]
struct Probe {
    plan: ProbePlan,
    log: Log,
    metrics: ProbeMetrics,
    tracker: TaskTracker,
    run: Mutex<Run>,
}

/// A result that is there when its run is over.
type Coming = watch::Receiver<Option<StatusCode>>;

#[derive(Debug, Default)]
struct Run {
    /// The result of the run that is under way, when it comes.
    coming: Option<Coming>,
    /// The result of the last one.
    last: Option<ProbeResult>,
}

/// Why a probe failed, but for a status that says so.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Failed {
    /// Nobody listens on the port.
    Refused,
    /// The connection broke, or could not be made.
    Broken,
    /// The application's TLS handshake failed.
    Tls,
    /// What came is not the protocol of the probe.
    Protocol,
    /// It sends from one page to the next without end.
    Redirects,
    /// `grpc.health.v1` says something else than `SERVING`.
    NotServing,
    /// Nothing came in time.
    Timeout,
}

impl Failed {
    fn word(self) -> &'static str {
        match self {
            Self::Refused => "connection_refused",
            Self::Broken => "broken",
            Self::Tls => "tls",
            Self::Protocol => "protocol",
            Self::Redirects => "redirects",
            Self::NotServing => "not_serving",
            Self::Timeout => "timeout",
        }
    }

    fn status(self) -> StatusCode {
        match self {
            Self::Timeout => StatusCode::GATEWAY_TIMEOUT,
            _ => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

impl Probes {
    /// The probes of `plans`.
    pub(crate) fn new(plans: &[ProbePlan], process: &Process) -> Self {
        let probe = |plan: &ProbePlan| Probe {
            plan: plan.clone(),
            log: process.log.clone(),
            metrics: process.metrics.of_probe(&plan.path),
            tracker: process.background.clone(),
            run: Mutex::default(),
        };
        let by_path = plans.iter().map(|plan| (plan.path.clone(), Arc::new(probe(plan))));
        Self { by_path: by_path.collect() }
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.by_path.len()
    }

    /// What performs the probe at `path`, and how long that takes at most.
    pub(crate) fn at(
        &self,
        path: &str,
    ) -> Option<(impl Future<Output = StatusCode> + Send + use<>, Duration)> {
        let probe = self.by_path.get(path)?;
        let most = probe.plan.timeout;
        Some((result(Arc::clone(probe)), most))
    }
}

/// The result of the run under way, or else of a new one. A run goes on where who asked for it does
/// not wait: others may.
async fn result(probe: Arc<Probe>) -> StatusCode {
    let mut coming = {
        let mut run = probe.run.lock().unwrap_or_else(PoisonError::into_inner);
        let under_way = |it: &&Coming| it.borrow().is_none() && it.has_changed().is_ok();
        match run.coming.as_ref().filter(under_way) {
            Some(coming) => coming.clone(),
            None => run.coming.insert(begin(&probe)).clone(),
        }
    };
    let status = coming.wait_for(Option::is_some).await.map(|status| *status);
    status.ok().flatten().unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

/// Begins a run.
fn begin(probe: &Arc<Probe>) -> Coming {
    let (done, coming) = watch::channel(None);
    let running = Arc::clone(probe);
    probe.tracker.spawn(async move {
        let status = running.perform().await;
        done.send_replace(Some(status));
    });
    coming
}

impl Probe {
    async fn perform(&self) -> StatusCode {
        let answered = match timeout(self.plan.timeout, self.act()).await {
            Ok(answered) => answered,
            Err(_elapsed) => Err(Failed::Timeout),
        };
        let status = answered.unwrap_or_else(Failed::status);
        // Kubelet's measure of success.
        let result = if (200..400).contains(&status.as_u16()) {
            ProbeResult::Success
        } else {
            ProbeResult::Failure
        };
        self.metrics.count(result);
        let last = {
            let mut run = self.run.lock().unwrap_or_else(PoisonError::into_inner);
            run.last.replace(result)
        };
        if last != Some(result) {
            self.tell(status, answered.err(), (last, result));
        }
        status
    }

    async fn act(&self) -> Result<StatusCode, Failed> {
        match &self.plan.action {
            ActionPlan::Http(plan) => http1::get(plan).await,
            ActionPlan::Tcp { port } => connect(*port).await.map(|_connection| StatusCode::OK),
            ActionPlan::Grpc { port, service } => {
                grpc::check(*port, service, &self.tracker).await.map(|()| StatusCode::OK)
            }
        }
    }

    /// Says what changed; kubelet's events only have the status.
    fn tell(
        &self,
        status: StatusCode,
        failed: Option<Failed>,
        (last, result): (Option<ProbeResult>, ProbeResult),
    ) {
        let line = match (last, result) {
            (_, ProbeResult::Failure) => self.log.warn("a probe of the application fails"),
            (None, ProbeResult::Success) => self.log.debug("a probe of the application succeeds"),
            (Some(_), ProbeResult::Success) => {
                self.log.info("a probe of the application succeeds again")
            }
        };
        line.text("probe", &self.plan.path)
            .number("port", u64::from(self.plan.action.port()))
            .number("status", u64::from(status.as_u16()))
            .maybe("reason", failed.map(Failed::word))
            .write();
    }
}

/// A connection to the application's `port`, on 127.0.0.1 or else on `::1`.
async fn connect(port: u16) -> Result<TcpStream, Failed> {
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::ConnectionRefused => Failed::Refused,
        _ => Failed::Broken,
    };
    match TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await {
        Ok(stream) => Ok(stream),
        Err(first) => match TcpStream::connect((Ipv6Addr::LOCALHOST, port)).await {
            Ok(stream) => Ok(stream),
            Err(_no_better) => Err(failed(first)),
        },
    }
}

#[cfg(test)]
mod tests {
    use http::header::{HOST, HeaderMap, HeaderValue};
    use lasthop_contract::sidecar_config::{LogLevel, ProbeScheme};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;
    use crate::config::probes::HttpPlan;
    use crate::telemetry::metrics::Metrics;

    fn probe(port: u16) -> Arc<Probe> {
        let plan = ProbePlan {
            path: "/probe".to_owned(),
            action: ActionPlan::Tcp { port },
            timeout: Duration::from_secs(5),
        };
        Arc::new(Probe {
            plan,
            log: Log::to(io::sink(), LogLevel::Error).unwrap().0,
            metrics: Metrics::new().of_probe("/probe"),
            tracker: TaskTracker::new(),
            run: Mutex::default(),
        })
    }

    fn http(port: u16) -> Arc<Probe> {
        let mut probe = probe(port);
        let inner = Arc::get_mut(&mut probe).unwrap();
        let headers = HeaderMap::from_iter([(HOST, HeaderValue::from_static("localhost"))]);
        inner.plan.action = ActionPlan::Http(HttpPlan {
            port,
            target: "/".parse().unwrap(),
            scheme: ProbeScheme::Http,
            headers,
        });
        probe
    }

    #[tokio::test]
    async fn who_asks_during_a_run_gets_its_result() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let probe = http(listener.local_addr().unwrap().port());
        let application = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = [0; 512];
            let _head = stream.read(&mut head).await.unwrap();
            // The second one asks only now, while the first one's run is under way.
            let second = result(Arc::clone(&probe));
            stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
            second.await
        };
        let (first, second) = tokio::join!(result(Arc::clone(&probe)), application);
        assert_eq!((first, second), (StatusCode::NO_CONTENT, StatusCode::NO_CONTENT));
        assert!(timeout(Duration::from_millis(50), listener.accept()).await.is_err());
    }

    #[tokio::test]
    async fn a_run_goes_on_without_who_asked_for_it() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let probe = http(listener.local_addr().unwrap().port());
        let gone = timeout(Duration::from_millis(50), result(Arc::clone(&probe))).await;
        assert!(gone.is_err());
        let (mut stream, _) = listener.accept().await.unwrap();
        let later = result(Arc::clone(&probe));
        let answer = async {
            stream.write_all(b"HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n").await.unwrap();
        };
        let (status, ()) = tokio::join!(later, answer);
        assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
    }

    #[tokio::test]
    async fn a_port_without_a_listener_is_unavailable() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        assert_eq!(result(probe(port)).await, StatusCode::OK);
        drop(listener);
        assert_eq!(result(probe(port)).await, StatusCode::SERVICE_UNAVAILABLE);
    }
}
