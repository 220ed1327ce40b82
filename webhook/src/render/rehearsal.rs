//! What came of a rehearsal, for people and for programs.

use std::fmt::Write as _;

use lasthop_contract::client_policy::ClientAuth;
use lasthop_contract::credential::Certificate;
use lasthop_contract::text::{day, escape, list};
use serde_json::{Value, json};

use super::text::Colour;
use super::wrap::{WIDTH, wrap};
use crate::path::FieldPath;
use crate::rehearse::{Blame, Entry, Outcome, Place, Unfit, Version};

/// The answer to the question.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// The client is let in.
    LetIn,
    /// It is not.
    Refused,
    /// Nobody can tell.
    Unknown,
}

impl Verdict {
    /// The word in output.
    pub fn word(self) -> &'static str {
        match self {
            Self::LetIn => "let in",
            Self::Refused => "refused",
            Self::Unknown => "cannot tell",
        }
    }

    fn colour(self) -> &'static str {
        match self {
            Self::LetIn => "\u{1b}[1;32m",
            Self::Refused => "\u{1b}[1;31m",
            Self::Unknown => "\u{1b}[1;33m",
        }
    }
}

/// How much was run.
#[derive(Clone, Debug, PartialEq)]
pub enum Ran {
    /// The whole handshake, in these versions.
    Handshake {
        /// The versions.
        versions: Vec<Version>,
    },
    /// The verifier of the sidecar alone.
    Verifier {
        /// What is not known of that which the sidecar serves.
        beside: Vec<Unfit>,
    },
    /// Nothing: the sidecar cannot serve.
    Nothing,
}

/// Everything that there is to tell.
#[derive(Clone, Debug)]
pub struct Told {
    /// The answer.
    pub verdict: Verdict,
    /// The client's certificates, its own first.
    pub client: Vec<Certificate>,
    /// The listener.
    pub place: Place,
    /// What came of it, where something was run.
    pub outcome: Option<Outcome>,
    /// Who has to change what, where the client is refused.
    pub blame: Option<Blame>,
    /// Why the sidecar cannot serve, or nobody knows.
    pub unfit: Vec<Unfit>,
    /// The field that has to change, and where it stands in the files.
    pub field: Option<(FieldPath, Option<String>)>,
    /// How much was run.
    pub ran: Ran,
    /// The time as of which.
    pub now: i64,
}

impl Told {
    fn code(&self) -> Option<String> {
        self.blame.as_ref()?.code.map(|code| code.to_string())
    }

    /// The answer in one sentence.
    fn headline(&self) -> String {
        let Self { verdict, place, .. } = self;
        let (workload, port) = (&place.workload, place.port());
        match verdict {
            Verdict::LetIn => format!("{workload} lets this client in at port {port}"),
            Verdict::Refused => format!("{workload} does not let this client in at port {port}"),
            Verdict::Unknown => {
                format!("not everything that {workload} reads at port {port} is there")
            }
        }
    }

    /// Why, in a sentence each.
    fn reasons(&self) -> Vec<String> {
        if let Some(blame) = &self.blame {
            return vec![blame.message.clone()];
        }
        let unfit = self.unfit.iter().map(|unfit| {
            let fact = if unfit.is_certain() {
                "the sidecar cannot serve: "
            } else {
                "could not look at "
            };
            format!("{fact}{unfit}")
        });
        let entered = match &self.outcome {
            Some(Outcome::LetIn(Entry::Unasked)) => {
                Some("this listener asks nobody for a certificate".to_owned())
            }
            Some(Outcome::LetIn(Entry::Unnamed)) => {
                Some("this listener also lets in who presents no certificate".to_owned())
            }
            Some(Outcome::LetIn(Entry::Named(pattern))) => {
                Some(format!("it matches `{pattern}` of allowed-clients"))
            }
            _ => None,
        };
        unfit.chain(entered).collect()
    }

    fn help(&self) -> Option<String> {
        if let Some(blame) = &self.blame {
            return Some(blame.help.clone());
        }
        let is_unknown = self.verdict == Verdict::Unknown;
        is_unknown.then(|| {
            "give the files that hold it with `-f`, or look at it with `--cluster`".to_owned()
        })
    }

    fn run(&self) -> Vec<String> {
        match &self.ran {
            Ran::Handshake { versions } => {
                let versions: Vec<&str> = versions.iter().map(|version| version.word()).collect();
                vec![format!(
                    "the handshake in {}, in memory, with the configuration of the sidecar",
                    versions.join(" and ")
                )]
            }
            Ran::Verifier { .. }
                if matches!(self.outcome, Some(Outcome::LetIn(Entry::Unasked))) =>
            {
                Vec::new()
            }
            Ran::Verifier { .. } if self.outcome.is_some() => vec![
                "the sidecar's own verifier: chain, time, usages, revocation, names".to_owned(),
            ],
            Ran::Verifier { .. } | Ran::Nothing => Vec::new(),
        }
    }

    fn not_run(&self) -> Vec<String> {
        match &self.ran {
            Ran::Handshake { .. } => {
                vec!["what the client makes of the sidecar's certificate".to_owned()]
            }
            Ran::Verifier { beside } if beside.is_empty() => {
                let reason = "the handshake: with a certificate alone nobody can sign; give the key with `--client-key`";
                vec![reason.to_owned()]
            }
            Ran::Verifier { beside } => {
                let beside = beside.iter().map(|unfit| format!("the handshake: {unfit}"));
                beside.collect()
            }
            Ran::Nothing => vec!["the handshake: the sidecar has nothing to serve with".to_owned()],
        }
    }
}

/// The answer for a person at a terminal.
pub fn text(told: &Told, colour: Colour) -> String {
    let mut out = String::new();
    let (on, off) = match colour {
        Colour::Ansi => (told.verdict.colour(), "\u{1b}[0m"),
        Colour::None => ("", ""),
    };
    let code = told.code().map(|code| format!("[{code}]")).unwrap_or_default();
    let _infallible = writeln!(out, "{on}{}{code}{off}: {}", told.verdict.word(), told.headline());
    out.push('\n');
    let mut rows = Vec::new();
    rows.extend(client(&told.client));
    rows.extend(listener(&told.place));
    rows.extend(told.reasons().into_iter().map(|reason| ("why", reason)));
    if let Some((path, at)) = &told.field {
        let at = at.as_ref().map(|at| format!(" ({at})")).unwrap_or_default();
        rows.push(("change", format!("`{path}` of {}{at}", told.place.workload)));
    }
    rows.extend(told.help().map(|help| ("help", help)));
    rows.extend(
        told.run().into_iter().map(|run| ("run", format!("{run}, as of {}", day(told.now)))),
    );
    rows.extend(told.not_run().into_iter().map(|it| ("not run", it)));
    let mut last = "";
    for (label, text) in rows {
        for (at, line) in wrap(&text, WIDTH - INDENT).into_iter().enumerate() {
            let label = if at == 0 && label != last { label } else { "" };
            let _infallible = writeln!(out, "  {label:<10}{line}");
        }
        last = label;
    }
    out
}

/// Where the text begins behind its label.
const INDENT: usize = 12;

/// Who connects.
fn client(chain: &[Certificate]) -> Vec<(&'static str, String)> {
    let Some(leaf) = chain.first() else { return Vec::new() };
    let names: Vec<String> = leaf.names().iter().map(ToString::to_string).collect();
    let purposes = match &leaf.purposes {
        Some(purposes) => purposes.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
        None => "any purpose".to_owned(),
    };
    let names =
        if names.is_empty() { "no name but its subject".to_owned() } else { list(&names, 6) };
    let more = match chain.len() - 1 {
        0 => String::new(),
        1 => "; 1 more certificate behind it".to_owned(),
        more => format!("; {more} more certificates behind it"),
    };
    vec![
        ("client", format!("`{}`: {names}", escape(&leaf.subject))),
        ("client", format!("issued by `{}`, for {purposes}{more}", escape(&leaf.issuer))),
        ("client", format!("valid from {} to {}", day(leaf.not_before), day(leaf.not_after))),
    ]
}

/// Where it connects to.
fn listener(place: &Place) -> Vec<(&'static str, String)> {
    let clients = &place.terminate.clients;
    let auth = match clients.auth {
        ClientAuth::None => {
            return vec![("listener", format!("port {}: client-auth none", place.port()))];
        }
        ClientAuth::Optional => "optional",
        ClientAuth::Required => "required",
    };
    let eku = clients.eku.map(|eku| format!(", client-eku {}", eku.word())).unwrap_or_default();
    let crl = if clients.crl_secret.is_some() { ", with revocation lists" } else { "" };
    vec![
        ("listener", format!("port {}: client-auth {auth}{eku}{crl}", place.port())),
        ("listener", format!("CAs of {}, allowed-clients {}", place.authority(), place.allowed())),
    ]
}

/// The answer for a program. The shape is a promise; `version` would count a change of it.
pub fn json(told: &Told) -> Value {
    let Told { verdict, client, place, outcome, blame: _, unfit, field, ran: _, now } = told;
    let matched = match outcome {
        Some(Outcome::LetIn(Entry::Named(pattern))) => Some(pattern.to_string()),
        _ => None,
    };
    let object = &place.workload;
    json!({
        "version": 1,
        "verdict": match verdict {
            Verdict::LetIn => "letIn",
            Verdict::Refused => "refused",
            Verdict::Unknown => "unknown",
        },
        "code": told.code(),
        "client": client.first().map(|leaf| json!({
            "subject": leaf.subject,
            "issuer": leaf.issuer,
            "names": leaf.names().iter().map(ToString::to_string).collect::<Vec<_>>(),
            "notBefore": lasthop_contract::text::rfc3339(leaf.not_before),
            "notAfter": lasthop_contract::text::rfc3339(leaf.not_after),
        })),
        "to": {
            "object": {
                "apiVersion": object.api_version,
                "kind": object.kind,
                "namespace": object.namespace,
                "name": object.name,
            },
            "port": place.port(),
        },
        "matched": matched,
        "message": told.reasons().join("; "),
        "path": field.as_ref().map(|(path, _)| path.to_string()),
        "place": field.as_ref().and_then(|(_, at)| at.clone()),
        "help": told.help(),
        "unfit": unfit.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "ran": told.run(),
        "notRun": told.not_run(),
        "at": lasthop_contract::text::rfc3339(*now),
    })
}
