//! From a question to its answer: which rules are asked, and what the log says of it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use lasthop_contract::problem::Code;
use lasthop_contract::text::escape;
use serde_json::Value;
use tokio::time::Instant;

use super::App;
use super::event::About;
use crate::check::{self, DryRun, Operation, Requester, Subject};
use crate::clock;
use crate::finding::Finding;
use crate::inject::{self, Outcome, code};
use crate::object::Object;
use crate::render::admission;
use crate::review::{self, Answer, Question};
use crate::rules;
use crate::surroundings::{Looks, Sighting, Surroundings};
use crate::telemetry::{Entry, InjectionOutcome, Verdict};

/// Judges `question` with lookups until `deadline`; logs it, counts its findings.
pub(super) async fn judge(
    app: &App,
    entry: Entry,
    question: Question,
    deadline: Instant,
) -> (Verdict, Value) {
    let began = Instant::now();
    let told = Told::of(entry, &question);
    let looks: Arc<Looks> = Arc::default();
    let review = Review { app, surroundings: app.surroundings.counting(&looks), deadline };
    let Judged { findings, answer } = match entry {
        Entry::Mutate => review.mutate(question).await,
        Entry::Validate => review.validate(question).await,
    };
    let verdict = verdict(&answer);
    for finding in &findings {
        app.metrics.found(finding);
    }
    told.log(verdict, &findings, &looks, began.elapsed());
    (verdict, review::answer(&told.uid, answer))
}

/// The findings of a review, for counting, and its answer.
#[derive(Default)]
struct Judged {
    findings: Vec<Finding>,
    answer: Answer,
}

impl Judged {
    fn warned(warning: &str) -> Self {
        let answer = Answer { warnings: vec![admission::shorten(warning)], ..Answer::default() };
        Self { findings: Vec::new(), answer }
    }
}

/// One review under way.
struct Review<'a> {
    app: &'a App,
    surroundings: Surroundings,
    deadline: Instant,
}

impl Review<'_> {
    async fn validate(&self, question: Question) -> Judged {
        let Some(operation) = question.operation else { return Judged::default() };
        let object = &question.object;
        if !question.subresource.is_empty() || object.0.is_null() {
            return Judged::default();
        }
        // Somebody widened a webhook configuration for nothing.
        if !rules::are_for(object) {
            let (version, kind) = (escape(object.api_version()), escape(object.kind()));
            return Judged::warned(&format!(
                "lasthop has no rules for {kind} ({version}) and let it through; a webhook \
                 configuration sends it"
            ));
        }
        let is_meant = question.dry_run == DryRun::No && operation != Operation::Delete;
        if object.is("", "Secret") && is_meant {
            self.surroundings.remember_secret(&question.namespace, object.name());
        }
        let subject = Subject {
            object: question.object,
            old: question.old,
            namespace: question.namespace,
            operation,
            dry_run: question.dry_run,
            requester: question.requester,
        };
        let mut mode = self.app.mode();
        mode.limits.deadline = Some(self.deadline.saturating_duration_since(Instant::now()));
        let judgement = check::check(&subject, &self.surroundings, &mode, clock::now()).await;
        if is_meant && !judgement.refuses() {
            self.tell_of(&subject.object, &subject.namespace, &judgement.findings);
        }
        let answer = Answer {
            refusal: judgement.refuses().then(|| admission::refusal(&judgement.findings)),
            warnings: admission::warnings(&judgement.findings),
            audit: judgement.audit.into_iter().collect(),
            patch: None,
        };
        Judged { findings: judgement.findings, answer }
    }

    /// Puts the sidecar into a pod that asks for it. What is wrong in a Secret is not looked at here:
    /// a template was judged where a person applied it, and kubelet waits for Secrets.
    async fn mutate(&self, question: Question) -> Judged {
        let is_pod = question.object.is("", "Pod") && question.subresource.is_empty();
        if question.operation != Some(Operation::Create) || !is_pod {
            return Judged::default();
        }
        let looking = self.surroundings.namespace(&question.namespace);
        let namespace = tokio::time::timeout_at(self.deadline, looking).await.ok();
        let namespace = namespace.and_then(Sighting::into_found);
        let labels = namespace.as_ref().map(Object::labels);
        let mode = self.app.mode();
        let level = check::overrides::level(&labels.clone().unwrap_or_default(), &mode);
        let (pod, home) = (&question.object, &question.namespace);
        let outcome = inject::inject_at(level, pod, home, labels.as_ref(), &mode.sidecar);
        if question.dry_run == DryRun::No {
            self.count(&outcome);
            self.tell_controller(pod, home, &outcome);
        }
        match outcome {
            Outcome::Injected { patch, findings } => {
                let patch = (!patch.0.is_empty()).then(|| serde_json::json!(patch));
                let warnings = admission::warnings(&findings);
                Judged { findings, answer: Answer { warnings, patch, ..Answer::default() } }
            }
            Outcome::NotAsked { reason: _, findings } => {
                let warnings = admission::warnings(&findings);
                Judged { findings, answer: Answer { warnings, ..Answer::default() } }
            }
            Outcome::Refused { findings } => {
                let refusal = Some(admission::refusal(&findings));
                let warnings = admission::warnings(&findings);
                Judged { findings, answer: Answer { refusal, warnings, ..Answer::default() } }
            }
        }
    }
}

/// Findings that say that pods go without the sidecar.
const NOT_INJECTED: [Code; 4] =
    [code::NOT_ASKED, code::UNLABELLED, code::OPTED_OUT, code::MIRROR_POD];

impl Review<'_> {
    fn count(&self, outcome: &Outcome) {
        let metrics = &self.app.metrics;
        match outcome {
            Outcome::Injected { .. } => metrics.injected(InjectionOutcome::Injected, "asked"),
            Outcome::NotAsked { reason, .. } => {
                metrics.injected(InjectionOutcome::Left, reason.word());
            }
            Outcome::Refused { findings } => {
                let code = findings.first().map(|finding| finding.code.to_string());
                metrics.injected(InjectionOutcome::Refused, &code.unwrap_or_default());
            }
        }
    }

    /// Nobody reads what a controller is answered, but for a refusal, of which it makes an Event itself.
    fn tell_controller(&self, pod: &Object, namespace: &str, outcome: &Outcome) {
        let (reason, findings) = match outcome {
            Outcome::Injected { findings, .. } => ("SidecarWarning", findings),
            Outcome::NotAsked { findings, .. } => ("SidecarNotInjected", findings),
            Outcome::Refused { .. } => return,
        };
        let Some(about) = About::controller_of(pod, namespace) else { return };
        for finding in findings {
            self.app.events.tell(&about, reason, finding);
        }
    }

    /// Where pods are going to be without the sidecar, their workload says so from now on.
    fn tell_of(&self, workload: &Object, namespace: &str, findings: &[Finding]) {
        let mut told = findings.iter().filter(|finding| NOT_INJECTED.contains(&finding.code));
        let is_workload = inject::template_of(workload).is_some();
        if let Some(finding) = told.next().filter(|_| is_workload)
            && let Some(about) = About::workload(workload, namespace)
        {
            self.app.events.tell(&about, "SidecarNotInjected", finding);
        }
    }
}

fn verdict(answer: &Answer) -> Verdict {
    match answer {
        Answer { refusal: Some(_), .. } => Verdict::Refused,
        Answer { patch: Some(_), .. } => Verdict::Patched,
        Answer { warnings, .. } if !warnings.is_empty() => Verdict::Warned,
        _ => Verdict::Allowed,
    }
}

/// What the log says of a question: nothing of what the object holds.
struct Told {
    entry: Entry,
    uid: String,
    kind: String,
    namespace: String,
    name: String,
    operation: &'static str,
    requester: &'static str,
    dry_run: bool,
}

impl Told {
    fn of(entry: Entry, question: &Question) -> Self {
        Self {
            entry,
            uid: escape(&question.uid),
            kind: escape(&question.kind),
            namespace: escape(&question.namespace),
            name: escape(question.displayed_name()),
            operation: match question.operation {
                Some(Operation::Create) => "create",
                Some(Operation::Update) => "update",
                Some(Operation::Delete) => "delete",
                None => "other",
            },
            requester: requester_kind(&question.requester),
            dry_run: question.dry_run == DryRun::Yes,
        }
    }

    fn log(&self, verdict: Verdict, findings: &[Finding], looks: &Looks, took: Duration) {
        let codes: BTreeSet<String> = findings.iter().map(|it| it.code.to_string()).collect();
        let codes = codes.into_iter().collect::<Vec<_>>().join(",");
        tracing::info!(
            entry = self.entry.word(),
            uid = self.uid,
            kind = self.kind,
            namespace = self.namespace,
            name = self.name,
            operation = self.operation,
            requester = self.requester,
            dry_run = self.dry_run,
            verdict = verdict.word(),
            codes,
            lookups = looks.count(),
            lookup_seconds = looks.waited().as_secs_f64(),
            seconds = took.as_secs_f64(),
            "review"
        );
    }
}

fn requester_kind(requester: &Requester) -> &'static str {
    if requester.clears_away() {
        "clearing-controller"
    } else if requester.is_person() {
        "person"
    } else {
        "program"
    }
}
