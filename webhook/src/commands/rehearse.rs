//! `lasthop rehearse`: would this client be let in?

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

use super::input::{Input, Source};
use super::{FOUND, Output, UNUSABLE, complain, end, print, wait};
use crate::clock;
use crate::rehearse::{
    Blame, Caller, Client, Listener, Outcome, Party, Place, Unfit, look, rehearse,
};
use crate::render::rehearsal::{self, Ran, Told, Verdict};
use crate::render::text::Colour;

mod client;
mod target;

use client::Presented;
use target::Target;

const EXAMPLES: &str = "\
Examples:
  lasthop rehearse --client alb.crt --to shop/web -f manifests/
      would the balancer with this certificate be let in by the sidecar of `web`?
  lasthop rehearse --client alb.crt --client-key alb.key --to shop/web:8443 --cluster
      the same with the handshake, against the annotations and Secrets of a live cluster
  kubectl get secret alb -n shop -o jsonpath='{.data.tls\\.crt}' | base64 -d > alb.crt
      the certificate of a Secret, its chain included

With a certificate alone nobody can sign, so no handshake is run: the sidecar's own verifier judges
the chain, as it does within the handshake. With the key, the handshake itself is run, in memory,
in TLS 1.3 and 1.2. Nothing is sent to the workload.

Exit status: 0 let in, 1 refused, 2 nobody can tell, or the command line is wrong.";

/// Say whether a client would be let in by a sidecar, and if not, which field to change
#[derive(Debug, Parser)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The client's certificate with its chain, PEM
    #[arg(long, value_name = "CERT")]
    client: PathBuf,
    /// Its private key: then the handshake is run
    #[arg(long, value_name = "KEY")]
    client_key: Option<PathBuf>,
    /// The workload or Pod whose sidecar it connects to, and the sidecar's port where it has several:
    /// `shop/web`, `shop/deployment/web:8443`
    #[arg(long, value_name = "NS/WORKLOAD[:PORT]")]
    to: Target,
    #[command(flatten)]
    input: Input,
    /// What to print
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
    /// Judge as of this day instead of today: `2026-12-24` or `2026-12-24T18:00:00Z`
    #[arg(long, value_name = "TIME", value_parser = clock::parse)]
    at: Option<i64>,
}

impl Args {
    /// Runs the subcommand.
    pub fn run(self) -> ExitCode {
        let Self { client, client_key, to, input, output, at } = self;
        let now = at.unwrap_or_else(clock::now);
        let told = Presented::read(&client, client_key.as_deref()).and_then(|client| {
            wait(async {
                let source = input.open().await?;
                tell(&client, &to, &source, now).await
            })
        });
        let told = match told {
            Ok(told) => told,
            Err(lines) => {
                complain(&lines.join("\n"));
                return ExitCode::from(UNUSABLE);
            }
        };
        let code = match told.verdict {
            Verdict::LetIn => 0,
            Verdict::Refused => FOUND,
            Verdict::Unknown => UNUSABLE,
        };
        let text = match output {
            Output::Text => rehearsal::text(&told, Colour::of(&std::io::stdout())),
            Output::Json => format!("{:#}\n", rehearsal::json(&told)),
        };
        end(print(&text), code)
    }
}

/// Finds the listener, looks at its Secrets, and rehearses.
async fn tell(
    client: &Presented,
    to: &Target,
    source: &Source,
    now: i64,
) -> Result<Told, Vec<String>> {
    let workload = to.find(source).await?;
    let namespace = to.namespace(source);
    let place = to.choose(&workload, Place::all(&workload, namespace))?;
    let found = look(&source.surroundings, namespace, &place.terminate).await;
    let listener = Listener::new(&place.terminate, &found);
    let party = Party { called: "the client", chain: &client.chain, trusts: None, outlet: None };
    let (outcome, ran) = run(&listener, client, now);
    let mut told = Told {
        verdict: Verdict::Unknown,
        client: client.chain.clone(),
        place,
        outcome: None,
        blame: None,
        unfit: Vec::new(),
        field: None,
        ran,
        now,
    };
    match outcome {
        Ok(outcome) => {
            told.blame = Blame::of(&outcome, &told.place, party);
            told.verdict = match outcome {
                Outcome::LetIn(_) => Verdict::LetIn,
                _ => Verdict::Refused,
            };
            told.outcome = Some(outcome);
        }
        Err(unfit) => {
            if unfit.iter().any(Unfit::is_certain) {
                told.verdict = Verdict::Refused;
            }
            told.unfit = unfit.to_vec();
        }
    }
    let annotation = told.blame.as_ref().and_then(|blame| blame.annotation);
    told.field = annotation.map(|base| {
        let path = told.place.field(base);
        let place = source.place(&told.place.workload, &path);
        (path, place)
    });
    Ok(told)
}

/// The handshake where there is a key, else the verifier alone; and what of it was run.
fn run(
    listener: &Listener,
    client: &Presented,
    now: i64,
) -> (Result<Outcome, std::sync::Arc<[Unfit]>>, Ran) {
    let Some(key) = &client.certified else {
        return (judge(listener, client, now), Ran::Verifier { beside: served(listener) });
    };
    let end = Client { presents: Some(std::sync::Arc::clone(key)), ..Client::default() };
    match rehearse(listener, Caller::Client(&end), now) {
        Ok(acts) => {
            let versions = acts.iter().map(|act| act.version).collect();
            let failed = acts.iter().position(|act| !matches!(act.outcome, Outcome::LetIn(_)));
            let told = acts.into_iter().nth(failed.unwrap_or_default());
            let outcome = told.map(|act| act.outcome).ok_or_else(|| std::sync::Arc::from([]));
            (outcome, Ran::Handshake { versions })
        }
        // What it serves is not known, but whom it lets in may be.
        Err(unfit) if !unfit.iter().any(Unfit::is_certain) => {
            (judge(listener, client, now), Ran::Verifier { beside: unfit.to_vec() })
        }
        Err(unfit) => (Err(unfit), Ran::Nothing),
    }
}

/// The judgement of the certificates, unless the sidecar cannot serve at all.
fn judge(
    listener: &Listener,
    client: &Presented,
    now: i64,
) -> Result<Outcome, std::sync::Arc<[Unfit]>> {
    let served = listener.credentials();
    if let Err(unfit) = served
        && unfit.iter().any(Unfit::is_certain)
    {
        return Err(unfit);
    }
    let chain: Vec<_> = client.chain.iter().map(|it| it.der().clone()).collect();
    listener.judge(&chain, now)
}

/// What could not be seen of that which the sidecar serves.
fn served(listener: &Listener) -> Vec<Unfit> {
    listener.credentials().err().map(|unfit| unfit.to_vec()).unwrap_or_default()
}
