//! What lasthop says of itself: log lines in JSON, and metrics in the text format of `OpenMetrics`.

use std::fmt;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

/// How much is logged.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, clap::ValueEnum)]
pub enum LogLevel {
    /// Failures of lasthop itself.
    Error,
    /// And what went wrong with others, such as an API server that does not answer.
    Warn,
    /// And every review.
    #[default]
    Info,
    /// And what helps to find a bug.
    Debug,
}

/// Writes log lines to standard output from now on, one JSON object a line.
///
/// Of libraries nothing but errors is heard, whatever the level: at `warn` the `kube` crate logs
/// answers that it cannot parse, which may be Secrets, and at `debug` headers, tokens among them.
pub fn init_log(level: LogLevel) {
    let directives = match level {
        LogLevel::Error => "error",
        LogLevel::Warn => "error,lasthop=warn",
        LogLevel::Info => "error,lasthop=info",
        LogLevel::Debug => "error,lasthop=debug",
    };
    let lines = tracing_subscriber::fmt::layer()
        .json()
        .flatten_event(true)
        .with_current_span(false)
        .with_span_list(false)
        .with_target(false);
    let filter = EnvFilter::new(directives);
    // A second initialisation would fail; the first one holds.
    let _already_there = tracing_subscriber::registry().with(filter).with(lines).try_init();
}

/// Which of the two entries a review came in by.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Entry {
    /// `/mutate`.
    Mutate,
    /// `/validate`.
    Validate,
}

impl Entry {
    /// The word in logs and metrics.
    pub fn word(self) -> &'static str {
        match self {
            Self::Mutate => "mutate",
            Self::Validate => "validate",
        }
    }
}

/// How a review ended.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Verdict {
    /// Let through.
    Allowed,
    /// Let through with warnings.
    Warned,
    /// Let through with a patch.
    Patched,
    /// Refused.
    Refused,
    /// No review, or one that cannot be read.
    Malformed,
    /// lasthop itself failed.
    Failed,
}

impl Verdict {
    const ALL: [Self; 6] =
        [Self::Allowed, Self::Warned, Self::Patched, Self::Refused, Self::Malformed, Self::Failed];

    /// The word in logs and metrics.
    pub fn word(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Warned => "warned",
            Self::Patched => "patched",
            Self::Refused => "refused",
            Self::Malformed => "malformed",
            Self::Failed => "failed",
        }
    }
}

/// What came of a look at the cluster.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum LookupOutcome {
    /// It is there.
    Found,
    /// It is not there.
    Missing,
    /// Nobody could say.
    Unknown,
}

impl LookupOutcome {
    const ALL: [Self; 3] = [Self::Found, Self::Missing, Self::Unknown];

    fn word(self) -> &'static str {
        match self {
            Self::Found => "found",
            Self::Missing => "missing",
            Self::Unknown => "unknown",
        }
    }
}

macro_rules! label_values {
    ($($type:ty),*) => {$(
        impl EncodeLabelValue for $type {
            fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), fmt::Error> {
                self.word().encode(encoder)
            }
        }
    )*};
}
label_values!(Entry, Verdict, LookupOutcome);

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct ReviewLabels {
    entry: Entry,
    verdict: Verdict,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct EntryLabel {
    entry: Entry,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct FindingLabels {
    code: String,
    severity: String,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct OutcomeLabel {
    outcome: LookupOutcome,
}

/// What came of the wish for a sidecar.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum InjectionOutcome {
    /// The pod has it.
    Injected,
    /// The pod goes without.
    Left,
    /// There is no such pod.
    Refused,
}

impl InjectionOutcome {
    fn word(self) -> &'static str {
        match self {
            Self::Injected => "injected",
            Self::Left => "left",
            Self::Refused => "refused",
        }
    }
}

label_values!(InjectionOutcome);

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct InjectionLabels {
    outcome: InjectionOutcome,
    reason: String,
}

/// The metrics of one process.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    reviews: Family<ReviewLabels, Counter>,
    durations: Family<EntryLabel, Histogram>,
    findings: Family<FindingLabels, Counter>,
    lookups: Family<OutcomeLabel, Counter>,
    injections: Family<InjectionLabels, Counter>,
    events_lost: Counter,
    connections_refused: Counter,
    certificate_not_after: Gauge,
    ca_bundle_errors: Counter,
    ready: Gauge,
    last_ca_bundle_check: Gauge<f64, AtomicU64>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Metrics that all stand at zero.
    pub fn new() -> Self {
        let mut it = Self {
            registry: Registry::with_prefix("lasthop"),
            reviews: Family::default(),
            durations: Family::new_with_constructor(|| {
                Histogram::new([0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0])
            }),
            findings: Family::default(),
            lookups: Family::default(),
            injections: Family::default(),
            events_lost: Counter::default(),
            connections_refused: Counter::default(),
            certificate_not_after: Gauge::default(),
            ca_bundle_errors: Counter::default(),
            ready: Gauge::default(),
            last_ca_bundle_check: Gauge::default(),
        };
        it.register();
        // A counter that is not there yet cannot be seen to grow.
        for entry in [Entry::Mutate, Entry::Validate] {
            for verdict in Verdict::ALL {
                drop(it.reviews.get_or_create(&ReviewLabels { entry, verdict }));
            }
        }
        for outcome in LookupOutcome::ALL {
            drop(it.lookups.get_or_create(&OutcomeLabel { outcome }));
        }
        it
    }

    fn register(&mut self) {
        let registry = &mut self.registry;
        registry.register("reviews", "Admission reviews, by how they ended", self.reviews.clone());
        registry.register_with_unit(
            "review_duration",
            "Time from the last byte of a review to its answer",
            Unit::Seconds,
            self.durations.clone(),
        );
        registry.register("findings", "Findings in reviews", self.findings.clone());
        registry.register("lookups", "Looks at the cluster", self.lookups.clone());
        registry.register(
            "injections",
            "Pods that were to be created, by what came of the sidecar and why",
            self.injections.clone(),
        );
        registry.register(
            "events_lost",
            "Events that could not be written",
            self.events_lost.clone(),
        );
        registry.register(
            "connections_refused",
            "Connections whose TLS handshake failed or did not come",
            self.connections_refused.clone(),
        );
        registry.register(
            "serving_certificate_not_after",
            "End of the serving certificate, as Unix time in seconds",
            self.certificate_not_after.clone(),
        );
        registry.register(
            "ca_bundle_errors",
            "Failures to read or publish the CA bundle",
            self.ca_bundle_errors.clone(),
        );
        registry.register(
            "ca_bundle_checked",
            "Last time that the published CA bundle was seen to be right, as Unix time in seconds",
            self.last_ca_bundle_check.clone(),
        );
        registry.register("ready", "1 while `/readyz` says yes", self.ready.clone());
    }

    /// A review has been answered.
    pub fn reviewed(&self, entry: Entry, verdict: Verdict, took: Duration) {
        self.reviews.get_or_create(&ReviewLabels { entry, verdict }).inc();
        self.durations.get_or_create(&EntryLabel { entry }).observe(took.as_secs_f64());
    }

    /// A finding has been told.
    pub fn found(&self, finding: &crate::finding::Finding) {
        let labels = FindingLabels {
            code: finding.code.to_string(),
            severity: finding.severity.word().to_owned(),
        };
        self.findings.get_or_create(&labels).inc();
    }

    /// A look at the cluster has ended.
    pub fn looked(&self, outcome: LookupOutcome) {
        self.lookups.get_or_create(&OutcomeLabel { outcome }).inc();
    }

    /// A pod was to be created. `reason` is one of a few words, or a code.
    pub fn injected(&self, outcome: InjectionOutcome, reason: &str) {
        let labels = InjectionLabels { outcome, reason: reason.to_owned() };
        self.injections.get_or_create(&labels).inc();
    }

    /// An Event could not be written.
    pub fn event_lost(&self) {
        self.events_lost.inc();
    }

    /// A connection came to no request.
    pub fn connection_refused(&self) {
        self.connections_refused.inc();
    }

    /// Another serving certificate is in use; its end, as Unix time in seconds.
    pub fn certificate_in_use(&self, not_after: i64) {
        self.certificate_not_after.set(not_after);
    }

    /// The CA bundle could not be read or published.
    pub fn ca_bundle_failed(&self) {
        self.ca_bundle_errors.inc();
    }

    /// The published CA bundle was right at the Unix time `now`.
    #[expect(clippy::cast_precision_loss, reason = "seconds since 1970 fit into 52 bits")]
    pub fn ca_bundle_right(&self, now: i64) {
        self.last_ca_bundle_check.set(now as f64);
    }

    /// What `/readyz` says from now on.
    pub fn readiness(&self, ready: Readiness) {
        self.ready.set(i64::from(ready == Readiness::Ready));
    }

    /// All of them in the text format of `OpenMetrics` 1.0.
    pub fn text(&self) -> String {
        let mut text = String::new();
        // A String takes everything that is written to it.
        let _infallible = prometheus_client::encoding::text::encode(&mut text, &self.registry);
        text
    }
}

/// Whether reviews may be sent here.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Readiness {
    /// Yes.
    Ready,
    /// Not yet, or not any more.
    NotReady,
}

#[cfg(test)]
mod tests {
    use lasthop_contract::problem::Code;

    use super::*;

    #[test]
    fn every_metric_is_documented_and_nothing_else() {
        const PAGE: &str = include_str!("../../docs/webhook.md");
        let metrics = Metrics::new();
        metrics.reviewed(Entry::Validate, Verdict::Allowed, Duration::ZERO);
        let labels = FindingLabels { code: "LH201".to_owned(), severity: "error".to_owned() };
        metrics.findings.get_or_create(&labels).inc();
        metrics.injected(InjectionOutcome::Injected, "asked");
        let text = metrics.text();
        let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
        let families: Vec<String> = types
            .filter_map(|line| line.split_once(' '))
            .map(|(name, kind)| format!("{name}{}", if kind == "counter" { "_total" } else { "" }))
            .collect();
        assert!(families.len() >= 9, "{families:?}");
        for name in &families {
            assert!(PAGE.contains(&format!("`{name}`")), "{name} is not in docs/webhook.md");
        }
        let words = PAGE.split(|it: char| !it.is_ascii_alphanumeric() && it != '_');
        for word in words.filter(|word| word.starts_with("lasthop_")) {
            assert!(families.iter().any(|name| name == word), "{word} is no metric");
        }
        let code = PAGE.split("(LH").nth(1).and_then(|rest| rest.get(..3)).unwrap();
        assert!(
            crate::rules::find(Code(code.parse().unwrap())).is_some(),
            "LH{code} is no finding"
        );
    }
}
