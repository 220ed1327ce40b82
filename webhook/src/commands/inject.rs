//! `lasthop inject`: what the webhook would do to manifests, offline.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use json_patch::Patch;

use super::{FOUND, UNUSABLE, complain, end, print};
use crate::documents::{Document, Documents};
use crate::finding::Severity;
use crate::inject::{self, Options, Outcome};
use crate::render::Report;
use crate::render::manifests::{self, Changed};
use crate::render::text::{self, Colour};

const EXAMPLES: &str = "\
Examples:
  lasthop inject -f deployment.yaml | kubectl apply -f -   with the sidecar in it
  lasthop inject -f deployment.yaml -o diff                what the sidecar changes
  kubectl get deployment web -o yaml | lasthop inject -f - -o patch
  lasthop inject -f deployment.yaml --network-policy       what closes the app's own port

Documents that do not change are printed as they are, comments and all. Where a Namespace is among
the files, its label says whether injection is switched on; else it counts as switched on.

Exit status: 0 injected where asked for, 1 a pod that asks cannot have the sidecar (nothing is
printed then), 2 something could not be read or the command line is wrong.";

/// Print manifests as they are after injection.
#[derive(Debug, Parser)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Files, folders (every .yaml, .yml and .json below them), or `-` for standard input.
    #[arg(
        short = 'f', long = "filename", value_name = "PATH", num_args = 1..,
        required_unless_present = "given"
    )]
    paths: Vec<PathBuf>,
    /// Files and folders, as after `-f`.
    #[arg(value_name = "PATH")]
    given: Vec<PathBuf>,
    /// What to print.
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
    /// Print instead, for every workload with a sidecar, the `NetworkPolicy` that closes the app's plaintext
    /// port: what the sidecar and the containers declare beside it stays open.
    #[arg(long, conflicts_with = "output")]
    network_policy: bool,
    /// The namespace of objects that do not say one.
    #[arg(short, long, default_value = "default")]
    namespace: String,
    #[command(flatten)]
    sidecar: Options,
}

/// A format of output.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, ValueEnum)]
pub enum Output {
    /// The files, with the changed documents written anew.
    #[default]
    Yaml,
    /// All objects, as JSON; several as a List.
    Json,
    /// The operations of RFC 6902, an entry for each object that changes.
    Patch,
    /// The lines that differ, as `diff -u` writes them.
    Diff,
}

impl Args {
    /// Runs the subcommand.
    pub fn run(self) -> ExitCode {
        let Self { paths, given, output, network_policy, namespace, sidecar } = self;
        let read = Documents::read(&[paths, given].concat());
        for remark in &read.remarks {
            complain(&text::remark(remark));
        }
        for failure in &read.failures {
            complain(&text::failure(failure));
        }
        if !read.failures.is_empty() {
            return ExitCode::from(UNUSABLE);
        }
        if read.documents.is_empty() {
            complain("error: there is no Kubernetes object in what was given");
            return ExitCode::from(UNUSABLE);
        }
        let (report, changed) = inject_all(&read, &namespace, &sidecar);
        let (errors, told) = (report.count(Severity::Error), !report.findings.is_empty());
        if told {
            complain(text::report(&report, Colour::of(&std::io::stderr())).trim_end());
        }
        if errors > 0 {
            return ExitCode::from(FOUND);
        }
        if network_policy {
            return print_policies(&read, &namespace);
        }
        let printed = match output {
            Output::Yaml => manifests::yaml(&read, &changed),
            Output::Json => manifests::json(&changed),
            Output::Patch => Ok(manifests::patches(&changed, &namespace)),
            Output::Diff => manifests::diff(&changed, &namespace),
        };
        match printed {
            Ok(text) => end(print(&text), 0),
            Err(error) => {
                complain(&format!("error: {error}"));
                ExitCode::from(UNUSABLE)
            }
        }
    }
}

/// The policies of all workloads that ask for a sidecar, and what keeps one from having one.
fn print_policies(read: &Documents, namespace: &str) -> ExitCode {
    let (mut policies, mut failed) = (Vec::new(), false);
    for document in &read.documents {
        let object = &document.object;
        let home = if object.namespace().is_empty() { namespace } else { object.namespace() };
        match inject::network_policy::of(object, home) {
            Some(Ok(policy)) => policies.push(policy),
            Some(Err(reason)) => {
                complain(&format!("error: {reason}"));
                failed = true;
            }
            None => {}
        }
    }
    if failed {
        return ExitCode::from(FOUND);
    }
    if policies.is_empty() {
        complain("there is no plaintext port of an app behind a sidecar in what was given");
    }
    match manifests::documents(&policies) {
        Ok(text) => end(print(&text), 0),
        Err(error) => {
            complain(&format!("error: {error}"));
            ExitCode::from(UNUSABLE)
        }
    }
}

/// Every document with its patch, and what there is to say.
fn inject_all<'a>(
    read: &'a Documents,
    namespace: &str,
    options: &Options,
) -> (Report<'a>, Vec<Changed<'a>>) {
    let namespaces: BTreeMap<&str, &Document> = read
        .documents
        .iter()
        .filter(|document| document.object.is("", "Namespace"))
        .map(|document| (document.object.name(), document))
        .collect();
    let mut report = Report {
        objects: read.documents.len(),
        files: read.files,
        skipped: read.skipped,
        ..Report::default()
    };
    let mut changed = Vec::new();
    for document in &read.documents {
        let object = &document.object;
        let home = if object.namespace().is_empty() { namespace } else { object.namespace() };
        let labels = namespaces.get(home).map(|document| document.object.labels());
        let outcome = inject::inject(object, home, labels.as_ref(), options);
        report.findings.extend(outcome.findings().iter().map(|it| (it.clone(), document)));
        let patch = match outcome {
            Outcome::Injected { patch, .. } => patch,
            Outcome::NotAsked { .. } | Outcome::Refused { .. } => Patch(Vec::new()),
        };
        changed.push(Changed { document, patch });
    }
    report.sort();
    (report, changed)
}
