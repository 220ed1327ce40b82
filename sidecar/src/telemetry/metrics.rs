//! Metrics in the Prometheus text format.
//!
//! What is counted for every request is looked up once a listener, not once a request.

use std::fmt::Write as _;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct OfListener {
    listener: String,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct OfStatus {
    listener: String,
    status: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct OfReason {
    listener: String,
    reason: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct OfRefusal {
    listener: String,
    code: String,
    reason: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct OfSecret {
    listener: String,
    secret: String,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct OfPort {
    port: u16,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct OfProbe {
    probe: String,
    result: &'static str,
}

/// Seconds; a last hop answers in fractions of a millisecond, and applications take seconds.
const BUCKETS: [f64; 12] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0];

/// All metrics of the process.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    connections: Family<OfListener, Counter>,
    open: Family<OfListener, Gauge>,
    handshakes: Family<OfReason, Counter>,
    handshake_seconds: Family<OfListener, Histogram, fn() -> Histogram>,
    refusals: Family<OfRefusal, Counter>,
    refused_requests: Family<OfRefusal, Counter>,
    closed: Family<OfReason, Counter>,
    sni_default: Family<OfListener, Counter>,
    requests: Family<OfStatus, Counter>,
    request_seconds: Family<OfListener, Histogram, fn() -> Histogram>,
    stripped: Family<OfListener, Counter>,
    application_connections: Family<OfListener, Counter>,
    application_failures: Family<OfReason, Counter>,
    upstream_connections: Family<OfListener, Counter>,
    upstream_failures: Family<OfRefusal, Counter>,
    received: Family<OfListener, Counter>,
    sent: Family<OfListener, Counter>,
    not_after: Family<OfSecret, Gauge>,
    last_good: Family<OfListener, Gauge>,
    reloads: Family<OfListener, Counter>,
    reload_failures: Family<OfListener, Counter>,
    failing: Family<OfListener, Gauge>,
    crl_expired: Family<OfListener, Gauge>,
    /// 1 while TLS secrets are streamed to somebody.
    pub(crate) key_log: Gauge,
    probes: Family<OfProbe, Counter>,
    door: Family<OfPort, Gauge>,
    ready: Gauge,
    log_dropped: Gauge<u64, AtomicU64>,
}

fn histogram() -> Histogram {
    Histogram::new(BUCKETS)
}

impl Metrics {
    /// All metrics, at nought.
    pub(crate) fn new() -> Self {
        let metrics = Self {
            registry: Registry::with_prefix("lasthop"),
            connections: Family::default(),
            open: Family::default(),
            handshakes: Family::default(),
            handshake_seconds: Family::new_with_constructor(histogram),
            refusals: Family::default(),
            refused_requests: Family::default(),
            closed: Family::default(),
            sni_default: Family::default(),
            requests: Family::default(),
            request_seconds: Family::new_with_constructor(histogram),
            stripped: Family::default(),
            application_connections: Family::default(),
            application_failures: Family::default(),
            upstream_connections: Family::default(),
            upstream_failures: Family::default(),
            received: Family::default(),
            sent: Family::default(),
            not_after: Family::default(),
            last_good: Family::default(),
            reloads: Family::default(),
            reload_failures: Family::default(),
            failing: Family::default(),
            crl_expired: Family::default(),
            key_log: Gauge::default(),
            probes: Family::default(),
            door: Family::default(),
            ready: Gauge::default(),
            log_dropped: Gauge::default(),
        };
        metrics.registered()
    }

    /// The names are promises to users.
    fn registered(mut self) -> Self {
        let to = &mut self.registry;
        let version = [("version", env!("CARGO_PKG_VERSION"))].to_vec();
        to.register("sidecar", "The running sidecar", Info::new(version));
        let m = &self.connections;
        to.register("connections", "Connections accepted", m.clone());
        to.register("connections_open", "Connections open now", self.open.clone());
        let m = &self.handshakes;
        to.register("handshakes", "TLS handshakes, by result", m.clone());
        let m = self.handshake_seconds.clone();
        to.register_with_unit("handshake_duration", "Time of a handshake", Unit::Seconds, m);
        let m = &self.refusals;
        to.register("refused_connections", "Connections refused, by code and reason", m.clone());
        let m = &self.refused_requests;
        let help =
            "Requests of connections without a client certificate refused, by code and reason";
        to.register("refused_requests", help, m.clone());
        let m = &self.closed;
        let help = "Connections that the sidecar ended because of a bound, by reason";
        to.register("closed_connections", help, m.clone());
        let m = &self.sni_default;
        let help = "Handshakes served with the first certificate, for no or an unknown server name";
        to.register("sni_default", help, m.clone());
        let m = &self.requests;
        to.register("requests", "Requests answered, by class of status", m.clone());
        let m = self.request_seconds.clone();
        let help = "Time from a request's head to its answer's head";
        to.register_with_unit("request_duration", help, Unit::Seconds, m);
        let help = "Identity and forwarding headers that were taken out of requests";
        to.register("stripped_headers", help, self.stripped.clone());
        let m = &self.application_connections;
        to.register("application_connections", "Connections made to the application", m.clone());
        let m = &self.application_failures;
        let help = "Requests and connections that the application failed, by reason";
        to.register("application_failures", help, m.clone());
        let m = &self.upstream_connections;
        to.register("upstream_connections", "Connections made to the next tier", m.clone());
        let m = &self.upstream_failures;
        let help = "Requests and connections that the next tier failed, by code and reason";
        to.register("upstream_failures", help, m.clone());
        let help = "Bytes of bodies and streams received from clients";
        to.register_with_unit("received", help, Unit::Bytes, self.received.clone());
        let help = "Bytes of bodies and streams sent to clients";
        to.register_with_unit("sent", help, Unit::Bytes, self.sent.clone());
        self.register_credentials();
        self
    }

    fn register_credentials(&mut self) {
        let to = &mut self.registry;
        let help = "Unix time at which the certificate in use expires";
        let m = self.not_after.clone();
        to.register("credential_not_after_timestamp_seconds", help, m);
        let help = "Unix time at which the Secrets of the listener were last found good";
        let m = self.last_good.clone();
        to.register("credential_last_good_timestamp_seconds", help, m);
        let m = &self.reloads;
        to.register("credential_reloads", "Changes of Secrets taken into use", m.clone());
        let m = &self.reload_failures;
        let help = "Changes of Secrets that were broken; the last good credential goes on serving";
        to.register("credential_reload_failures", help, m.clone());
        let m = &self.failing;
        let help = "1 while a Secret of the listener is broken and an earlier state serves";
        to.register("credential_failing", help, m.clone());
        let m = &self.crl_expired;
        to.register("crl_expired", "1 while a revocation list is past its time", m.clone());
        let help = "1 while TLS secrets are streamed to somebody";
        to.register("key_log", help, self.key_log.clone());
        let m = &self.probes;
        to.register("probes", "Probes of the application performed, by result", m.clone());
        let help = "1 while the application's port can be reached past the sidecar";
        to.register("plaintext_door", help, self.door.clone());
        to.register("ready", "1 while the sidecar is ready", self.ready.clone());
        let m = self.log_dropped.clone();
        let help = "Log lines lost so far because nobody read the log fast enough";
        to.register("log_lines_dropped", help, m);
    }

    /// The text for a scraper.
    pub(crate) fn encode(&self) -> String {
        let mut text = String::new();
        let encoded = prometheus_client::encoding::text::encode(&mut text, &self.registry);
        if encoded.is_err() {
            let _infallible = write!(text, "# the rest could not be encoded");
        }
        text
    }

    pub(crate) fn set_ready(&self, ready: Readiness) {
        self.ready.set(i64::from(matches!(ready, Readiness::Ready)));
    }

    pub(crate) fn set_log_dropped(&self, lines: u64) {
        self.log_dropped.set(lines);
    }

    /// Says whether the application's `port` can be reached past the sidecar.
    pub(crate) fn set_door(&self, port: u16, sight: DoorState) {
        self.door.get_or_create(&OfPort { port }).set(i64::from(sight == DoorState::Open));
    }

    /// The handles of one probe.
    pub(crate) fn of_probe(&self, path: &str) -> ProbeMetrics {
        let counter =
            |result| self.probes.get_or_create_owned(&OfProbe { probe: path.to_owned(), result });
        ProbeMetrics { success: counter("success"), failure: counter("failure") }
    }

    /// The handles of one listener.
    pub(crate) fn of_listener(&self, listener: &str) -> ListenerMetrics {
        let of = OfListener { listener: listener.to_owned() };
        let requests = |status| {
            let labels = OfStatus { listener: listener.to_owned(), status };
            self.requests.get_or_create_owned(&labels)
        };
        let handshakes = |reason| {
            let labels = OfReason { listener: listener.to_owned(), reason };
            self.handshakes.get_or_create_owned(&labels)
        };
        ListenerMetrics {
            listener: listener.to_owned(),
            connections: self.connections.get_or_create_owned(&of),
            open: self.open.get_or_create_owned(&of),
            handshakes: [handshakes("full"), handshakes("resumed"), handshakes("failed")],
            handshake_seconds: self.handshake_seconds.get_or_create_owned(&of),
            sni_default: self.sni_default.get_or_create_owned(&of),
            requests: ["1xx", "2xx", "3xx", "4xx", "5xx"].map(requests),
            request_seconds: self.request_seconds.get_or_create_owned(&of),
            stripped: self.stripped.get_or_create_owned(&of),
            application_connections: self.application_connections.get_or_create_owned(&of),
            upstream_connections: self.upstream_connections.get_or_create_owned(&of),
            received: self.received.get_or_create_owned(&of),
            sent: self.sent.get_or_create_owned(&of),
            last_good: self.last_good.get_or_create_owned(&of),
            reloads: self.reloads.get_or_create_owned(&of),
            reload_failures: self.reload_failures.get_or_create_owned(&of),
            failing: self.failing.get_or_create_owned(&of),
            crl_expired: self.crl_expired.get_or_create_owned(&of),
            refusals: self.refusals.clone(),
            refused_requests: self.refused_requests.clone(),
            closed: self.closed.clone(),
            application_failures: self.application_failures.clone(),
            upstream_failures: self.upstream_failures.clone(),
            not_after: self.not_after.clone(),
        }
    }
}

/// Whether traffic should come.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Readiness {
    /// Traffic should come.
    Ready,
    /// Traffic should go elsewhere.
    NotReady,
}

/// Whether there is a way past the sidecar.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum DoorState {
    /// There is.
    Open,
    /// None is seen.
    NotOpen,
}

/// What a probe of the application says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum ProbeResult {
    /// It is well.
    Success,
    /// It is not.
    Failure,
}

/// The metrics of one probe.
#[derive(Clone, Debug)]
pub(crate) struct ProbeMetrics {
    success: Counter,
    failure: Counter,
}

impl ProbeMetrics {
    /// Counts one that was performed.
    pub(crate) fn count(&self, result: ProbeResult) {
        match result {
            ProbeResult::Success => self.success.inc(),
            ProbeResult::Failure => self.failure.inc(),
        };
    }
}

/// Which bound ended a connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Closed {
    /// Nothing happened on it for long.
    Idle,
    /// It was open for long, and took no further request.
    Age,
    /// A request's head took too long.
    SlowHead,
    /// The client neither sent what it announced nor read what it asked for.
    Stalled,
    /// Its client would not be let in any more.
    RefusedClient,
    /// The client gave up most of its requests as soon as it had made them.
    ResetFlood,
}

impl Closed {
    /// A short stable word for metrics.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Age => "age",
            Self::SlowHead => "slow_head",
            Self::Stalled => "stalled",
            Self::RefusedClient => "refused_client",
            Self::ResetFlood => "reset_flood",
        }
    }
}

/// How a handshake ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum HandshakeResult {
    /// In full.
    Full,
    /// With a ticket of an earlier one.
    Resumed,
    /// Not at all.
    Failed,
}

/// The metrics of one listener.
#[derive(Clone, Debug)]
pub(crate) struct ListenerMetrics {
    listener: String,
    pub(crate) connections: Counter,
    pub(crate) open: Gauge,
    handshakes: [Counter; 3],
    handshake_seconds: Histogram,
    pub(crate) sni_default: Counter,
    requests: [Counter; 5],
    request_seconds: Histogram,
    pub(crate) stripped: Counter,
    pub(crate) application_connections: Counter,
    pub(crate) upstream_connections: Counter,
    pub(crate) received: Counter,
    pub(crate) sent: Counter,
    pub(crate) last_good: Gauge,
    pub(crate) reloads: Counter,
    pub(crate) reload_failures: Counter,
    pub(crate) failing: Gauge,
    pub(crate) crl_expired: Gauge,
    refusals: Family<OfRefusal, Counter>,
    refused_requests: Family<OfRefusal, Counter>,
    closed: Family<OfReason, Counter>,
    application_failures: Family<OfReason, Counter>,
    upstream_failures: Family<OfRefusal, Counter>,
    not_after: Family<OfSecret, Gauge>,
}

impl ListenerMetrics {
    /// Counts a handshake that ended as `result` after `duration`.
    pub(crate) fn handshake(&self, result: HandshakeResult, duration: Duration) {
        let [full, resumed, failed] = &self.handshakes;
        match result {
            HandshakeResult::Full => full.inc(),
            HandshakeResult::Resumed => resumed.inc(),
            HandshakeResult::Failed => failed.inc(),
        };
        if result != HandshakeResult::Failed {
            self.handshake_seconds.observe(duration.as_secs_f64());
        }
    }

    /// Counts a request that was answered with `status` after `duration`.
    pub(crate) fn request(&self, status: http::StatusCode, duration: Duration) {
        let class = usize::from(status.as_u16() / 100).saturating_sub(1);
        if let Some(counter) = self.requests.get(class) {
            counter.inc();
        }
        self.request_seconds.observe(duration.as_secs_f64());
    }

    /// Counts a connection that was refused.
    pub(crate) fn refusal(&self, code: &str, reason: &'static str) {
        let labels = OfRefusal { listener: self.listener.clone(), code: code.to_owned(), reason };
        self.refusals.get_or_create(&labels).inc();
    }

    /// Counts a connection that is ended because of a bound.
    pub(crate) fn closed(&self, why: Closed) {
        let labels = OfReason { listener: self.listener.clone(), reason: why.word() };
        self.closed.get_or_create(&labels).inc();
    }

    /// Counts a request that was refused.
    pub(crate) fn refused_request(&self, code: &str, reason: &'static str) {
        let labels = OfRefusal { listener: self.listener.clone(), code: code.to_owned(), reason };
        self.refused_requests.get_or_create(&labels).inc();
    }

    /// Counts a request or connection that the application failed.
    pub(crate) fn application_failure(&self, reason: &'static str) {
        let labels = OfReason { listener: self.listener.clone(), reason };
        self.application_failures.get_or_create(&labels).inc();
    }

    /// Counts a request or connection that the next tier failed.
    pub(crate) fn upstream_failure(&self, code: &str, reason: &'static str) {
        let labels = OfRefusal { listener: self.listener.clone(), code: code.to_owned(), reason };
        self.upstream_failures.get_or_create(&labels).inc();
    }

    /// Says until when the certificate of `secret` is valid.
    pub(crate) fn not_after(&self, secret: &str, unix_seconds: i64) {
        let labels = OfSecret { listener: self.listener.clone(), secret: secret.to_owned() };
        self.not_after.get_or_create(&labels).set(unix_seconds);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_promised_ones() {
        let metrics = Metrics::new();
        let listener = metrics.of_listener("8443");
        listener.connections.inc();
        listener.reload_failures.inc();
        listener.last_good.set(1);
        listener.refusal("LH501", "no_certificate");
        listener.application_failure("connect");
        listener.not_after("web", 4_102_444_800);
        listener.request(http::StatusCode::OK, Duration::from_millis(1));
        let text = metrics.encode();
        for line in [
            "lasthop_connections_total{listener=\"8443\"} 1",
            "lasthop_credential_reload_failures_total{listener=\"8443\"} 1",
            "lasthop_credential_last_good_timestamp_seconds{listener=\"8443\"} 1",
            "lasthop_refused_connections_total{listener=\"8443\",code=\"LH501\",reason=\"no_certificate\"} 1",
            "lasthop_application_failures_total{listener=\"8443\",reason=\"connect\"} 1",
            "lasthop_credential_not_after_timestamp_seconds{listener=\"8443\",secret=\"web\"} 4102444800",
            "lasthop_requests_total{listener=\"8443\",status=\"2xx\"} 1",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
    }

    #[test]
    fn every_metric_is_documented_and_nothing_else() {
        const PAGE: &str = include_str!("../../../docs/sidecar.md");
        let metrics = Metrics::new();
        let listener = metrics.of_listener("8443");
        listener.refusal("LH501", "no_certificate");
        listener.refused_request("LH513", "not_exempt");
        listener.closed(Closed::Idle);
        listener.application_failure("connect");
        listener.upstream_failure("LH547", "wrong_name");
        listener.not_after("web", 0);
        metrics.set_door(8080, DoorState::Open);
        metrics.of_probe("/probes/web/readyz").count(ProbeResult::Success);
        let text = metrics.encode();
        let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
        let mut families: Vec<String> = types
            .filter_map(|line| line.split_once(' '))
            .map(|(name, kind)| format!("{name}{}", if kind == "counter" { "_total" } else { "" }))
            .map(|name| if name == "lasthop_sidecar" { name + "_info" } else { name })
            .collect();
        for name in &families {
            assert!(PAGE.contains(&format!("`{name}`")), "{name} is not in docs/sidecar.md");
        }
        families.sort();
        let words = PAGE.split(|it: char| !it.is_ascii_alphanumeric() && it != '_');
        for word in words.filter(|word| word.starts_with("lasthop_")) {
            assert!(families.iter().any(|name| name == word), "{word} is no metric");
        }
    }
}
