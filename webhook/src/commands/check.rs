//! `lasthop check`: the linter.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use serde_json::{Value, json};

use super::{FOUND, UNUSABLE, complain, end, print};
use crate::check::{self, Mode, Subject};
use crate::clock;
use crate::documents::{Document, Documents};
use crate::finding::Severity;
use crate::inject;
use crate::object::Object;
use crate::render::text::Colour;
use crate::render::{Report, github, json, sarif, text};
use crate::rules;
use crate::surroundings::{Completeness, Files, Surroundings, Version};

const EXAMPLES: &str = "\
Examples:
  lasthop check -f ingress.yaml -f secret.yaml    objects and the Secrets that they name
  lasthop check -f manifests/                     a folder, with everything below it
  helm template shop | lasthop check -f -         what Helm would apply
  lasthop check -f . -o json | jq .summary        for programs
  lasthop check -f . --at 2026-12-24              what will have expired by then

A Secret that is not among the files is not missing: nobody knows. It gets an info, no error.

Exit status: 0 no errors (warnings are allowed), 1 errors were found, 2 something could not
be read or the command line is wrong.";

/// Check manifests: everything that names a Secret, and what the Secrets really hold
#[derive(Debug, Parser)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Files, folders (every .yaml, .yml and .json below them), or `-` for standard input
    #[arg(short = 'f', long = "filename", value_name = "PATH", required = true, num_args = 1..)]
    paths: Vec<PathBuf>,
    /// What to print
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
    /// The namespace of objects that do not say one
    #[arg(short, long, default_value = "default")]
    namespace: String,
    /// Judge as of this day instead of today: `2026-12-24` or `2026-12-24T18:00:00Z`
    #[arg(long, value_name = "TIME", value_parser = clock::parse)]
    at: Option<i64>,
    /// The files are all there is: a Secret that is not among them is missing
    #[arg(long)]
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
        let Self { paths, output, namespace, at, whole, maker_annotations, cluster_version } = self;
        let read = Documents::read(&paths);
        let completeness = if whole { Completeness::Whole } else { Completeness::Part };
        let sidecar = inject::Options { cluster_version, ..inject::Options::unknown() };
        let mode = Mode { maker_annotations, sidecar, ..Mode::files() };
        let now = at.unwrap_or_else(clock::now);
        let report = match report(&read, &namespace, completeness, &mode, now) {
            Ok(report) => report,
            Err(error) => {
                complain(&format!("error: {error}"));
                return ExitCode::from(UNUSABLE);
            }
        };
        let printed = print(&match output {
            Output::Text => text::report(&report, Colour::of(&std::io::stdout())),
            Output::Json => format!("{:#}\n", json::report(&report)),
            Output::Sarif => format!("{:#}\n", sarif::report(&report)),
            Output::Github => github::report(&report),
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
}

/// Checks every document in the surroundings of all of them.
fn report<'a>(
    read: &'a Documents,
    namespace: &str,
    completeness: Completeness,
    mode: &Mode,
    now: i64,
) -> std::io::Result<Report<'a>> {
    let namespace_of = |document: &Document| match document.object.namespace() {
        "" => namespace.to_owned(),
        written => written.to_owned(),
    };
    let placed = |document: &Document| placed(&document.object, &namespace_of(document));
    let documents = read.documents.iter().map(placed).collect();
    let surroundings = Surroundings::Files(Files::new(documents, completeness));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    let judged = read.documents.iter().filter(|it| rules::are_for(&it.object)).count();
    let mut report = Report {
        failures: &read.failures,
        objects: judged,
        without_rules: read.documents.len() - judged,
        files: read.files,
        skipped: read.skipped,
        ..Report::default()
    };
    for document in &read.documents {
        let subject = Subject::created(document.object.clone(), namespace_of(document));
        let judgement = runtime.block_on(check::check(&subject, &surroundings, mode, now));
        let findings = judgement.findings.into_iter().map(|finding| (finding, document));
        report.findings.extend(findings);
    }
    report.sort();
    Ok(report)
}

/// `object` with its namespace written out.
fn placed(object: &Object, namespace: &str) -> Object {
    let mut placed = object.clone();
    if let Value::Object(fields) = &mut placed.0 {
        let metadata = fields.entry("metadata").or_insert_with(|| json!({}));
        if let Value::Object(metadata) = metadata {
            metadata.insert("namespace".to_owned(), json!(namespace));
        }
    }
    placed
}
