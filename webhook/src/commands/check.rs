//! `lasthop check`: the linter.

use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use lasthop_contract::text::escape;

use super::input::{Input, files, home};
use super::{FOUND, UNUSABLE, complain, end, print, wait};
use crate::check::{self, Mode, Subject};
use crate::clock;
use crate::documents::{Document, Documents};
use crate::finding::Severity;
use crate::inject;
use crate::render::text::Colour;
use crate::render::{Report, github, json, sarif, text};
use crate::rules;
use crate::spread::spread;
use crate::surroundings::{ApiServer, Completeness, Surroundings, Version};

mod cluster;

const EXAMPLES: &str = "\
Examples:
  lasthop check -f ingress.yaml -f secret.yaml    objects and the Secrets that they name
  lasthop check -f manifests/                     a folder, with everything below it
  helm template shop | lasthop check -f -         what Helm would apply
  lasthop check -f . -o json | jq .summary        for programs
  lasthop check -f . --at 2026-12-24              what will have expired by then
  lasthop check --cluster                         everything in a live cluster, with your own rights
  lasthop check --cluster -n shop                 one namespace of it

A Secret that is not among the files is not missing: nobody knows. It gets an info, no error.

Exit status: 0 no errors (warnings are allowed), 1 errors were found, 2 something could not
be read or the command line is wrong.";

/// Check manifests: everything that names a Secret, and what the Secrets really hold
#[derive(Debug, Parser)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(flatten)]
    input: Input,
    /// What to print
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
    /// Judge as of this day instead of today: `2026-12-24` or `2026-12-24T18:00:00Z`
    #[arg(long, value_name = "TIME", value_parser = clock::parse)]
    at: Option<i64>,
    /// The files are all there is: a Secret that is not among them is missing
    #[arg(long, conflicts_with = "cluster")]
    whole: bool,
    /// An annotation that says that something makes the Secret, beside cert-manager's
    #[arg(long = "maker-annotation", value_name = "NAME")]
    maker_annotations: Vec<String>,
    /// The version of Kubernetes that the manifests are for, such as 1.33; without it, advice holds for all
    #[arg(
        long, value_name = "VERSION", value_parser = Version::of_flag, env = "LASTHOP_CLUSTER_VERSION"
    )]
    cluster_version: Option<Version>,
}

/// A format of output.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, ValueEnum)]
pub enum Output {
    /// For people: the line with the field underlined, and what to do.
    #[default]
    Text,
    /// For programs.
    Json,
    /// For code scanning: SARIF 2.1.0.
    Sarif,
    /// For GitHub Actions: annotations of a pull request.
    Github,
}

impl Args {
    /// Runs the subcommand.
    pub fn run(self) -> ExitCode {
        let Self { input, output, at, whole, maker_annotations, cluster_version } = self;
        let sidecar = inject::Options { cluster_version, ..inject::Options::unknown() };
        let mode = Mode { maker_annotations, sidecar, ..Mode::files() };
        let now = at.unwrap_or_else(clock::now);
        let told = wait(async {
            if let Some(api) = input.connect().await? {
                return of_cluster(&api, input.namespace(), &mode, now, output).await;
            }
            let read = input.read();
            let completeness = if whole { Completeness::Whole } else { Completeness::Part };
            let namespace = input.namespace().unwrap_or("default");
            Ok(tell(&report(&read, namespace, completeness, &mode, now)?, output))
        });
        told.unwrap_or_else(|lines| {
            complain(&lines.join("\n"));
            ExitCode::from(UNUSABLE)
        })
    }
}

/// Prints the report; the exit status that it comes to.
fn tell(report: &Report<'_>, output: Output) -> ExitCode {
    let printed = print(&match output {
        Output::Text => text::report(report, Colour::of(&std::io::stdout())),
        Output::Json => format!("{:#}\n", json::report(report)),
        Output::Sarif => format!("{:#}\n", sarif::report(report)),
        Output::Github => github::report(report),
    });
    for failure in report.failures {
        complain(&text::failure(failure));
    }
    if report.is_unusable() && report.failures.is_empty() {
        complain("error: there is no Kubernetes object in what was given");
    }
    let code = if report.is_unusable() {
        UNUSABLE
    } else if report.count(Severity::Error) > 0 {
        FOUND
    } else {
        0
    };
    end(printed, code)
}

/// Judges a live cluster, or one namespace of it.
async fn of_cluster(
    api: &ApiServer,
    only: Option<&str>,
    mode: &Mode,
    now: i64,
    output: Output,
) -> Result<ExitCode, Vec<String>> {
    let audit = cluster::run(api, only, mode, now).await;
    let audit = audit.map_err(|error| match only {
        Some(name) => vec![format!("error: namespace {}: {error}", escape(name))],
        None => vec![format!("error: could not list the namespaces: {error}")],
    })?;
    let findings = audit.findings.iter().map(|(finding, document)| (finding.clone(), document));
    let mut report = Report {
        findings: findings.collect(),
        objects: audit.objects,
        namespaces: Some(audit.namespaces),
        ..Report::default()
    };
    report.sort();
    if !audit.failures.is_empty() {
        complain(&audit.failures.join("\n"));
    }
    let told = tell(&report, output);
    // What could not be looked at is not called free of findings.
    Ok(if audit.failures.is_empty() { told } else { ExitCode::from(UNUSABLE) })
}

/// So many documents are judged in one go. It is the same on every machine, as the findings are to be: each
/// go has its share of what is spent on near names.
const BATCH: usize = 512;

/// Checks every document in the surroundings of all of them.
fn report<'a>(
    read: &'a Documents,
    namespace: &str,
    completeness: Completeness,
    mode: &Mode,
    now: i64,
) -> Result<Report<'a>, Vec<String>> {
    let judged = read.documents.iter().filter(|it| rules::are_for(&it.object)).count();
    let mut report = Report {
        failures: &read.failures,
        objects: judged,
        without_rules: read.documents.len() - judged,
        files: read.files,
        skipped: read.skipped,
        patches: read.patches,
        ..Report::default()
    };
    let files = files(read, namespace, completeness);
    let batches: Vec<&[Document]> = read.documents.chunks(BATCH).collect();
    let found = spread(&batches, |batch| {
        let surroundings = Surroundings::Files(files.share(batches.len()));
        wait(async {
            let mut findings = Vec::new();
            for document in *batch {
                let home = home(&document.object, namespace);
                let subject = Subject::created(document.object.clone(), home);
                let judgement = check::check(&subject, &surroundings, mode, now).await;
                findings.extend(judgement.findings.into_iter().map(|finding| (finding, document)));
            }
            Ok(findings)
        })
    });
    for findings in found.map_err(|error| vec![format!("error: {error}")])? {
        report.findings.extend(findings?);
    }
    report.sort();
    Ok(report)
}
