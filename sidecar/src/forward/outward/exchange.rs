//! One request to the next tier and one answer back, with the retries that lose and double nothing.

use std::pin::pin;
use std::sync::Arc;

use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;

use super::target::Target;
use crate::admit::Alpn;
use crate::dial::upstream::{Failure, Loan, Need, Ready, Teller};
use crate::forward::body::{Lease, RequestBody};
use crate::forward::exchange::{Answer, chain, once_more, patient};
use crate::forward::expect::GateKeeper;
use crate::forward::record::Meter;
use crate::forward::refused;
use crate::limits;
use crate::originator::Originator;

/// Sends `request` and waits for the head of its answer.
pub(super) async fn exchange(
    (originator, teller): (&Originator, &Teller<'_>),
    mut request: Request<RequestBody>,
    target: &Target,
    meter: &Arc<Meter>,
    gate: Option<GateKeeper>,
) -> Result<Answer, Failure> {
    if let Some(gate) = gate.clone() {
        hyper::ext::on_informational(&mut request, move |response| {
            if response.status() == StatusCode::CONTINUE {
                gate.open();
            }
        });
    }
    let sending = Sending { originator, teller, target, meter, gate };
    let sent = pin!(sending.send(request));
    let answer = patient(sent, meter, limits::ANSWER).await;
    answer.unwrap_or_else(|| {
        teller.tell(&Failure::Silent, None);
        Err(Failure::Silent)
    })
}

struct Sending<'a> {
    originator: &'a Originator,
    teller: &'a Teller<'a>,
    target: &'a Target,
    meter: &'a Arc<Meter>,
    gate: Option<GateKeeper>,
}

impl Sending<'_> {
    async fn send(&self, mut request: Request<RequestBody>) -> Result<Answer, Failure> {
        let need = if self.target.websocket().is_some() { Need::Http1 } else { Need::Any };
        let mut repeated = false;
        let mut tries = 0;
        loop {
            let ready = self.originator.upstream.http(need, self.teller).await?;
            let protocol = match ready {
                Ready::Http1(..) => Alpn::Http1,
                Ready::Http2(..) => Alpn::H2,
            };
            self.target.shape(&mut request, protocol);
            if let Some(gate) = self.gate.as_ref().filter(|_| protocol == Alpn::H2) {
                gate.open();
            }
            let again = once_more(&request, self.meter).filter(|_| !repeated);
            let (mut error, loan) = match send_on(ready, request).await {
                Ok(answer) => return Ok(answer),
                Err(failed) => *failed,
            };
            tries += 1;
            let told = loan.told();
            let fate = refused::fate(error.error());
            request = match (told, error.take_message(), again) {
                // Nothing of it was written.
                (None, Some(unsent), _) if tries < limits::UPSTREAM_TRIES => unsent,
                // The next tier did nothing with it, or closed as we wrote.
                (None, None, Some(again)) if fate.allows(again.method()) => {
                    repeated = true;
                    again
                }
                (told, _, _) => {
                    let failure = told.unwrap_or_else(|| explain(&error.into_error()));
                    self.teller.tell(&failure, Some(loan.address()));
                    return Err(failure);
                }
            };
        }
    }
}

type Failed = Box<(TrySendError<Request<RequestBody>>, Loan)>;

async fn send_on(ready: Ready, request: Request<RequestBody>) -> Result<Answer, Failed> {
    let answer = |response: Response<Incoming>, lease| Answer { response, lease: Some(lease) };
    match ready {
        Ready::Http1(mut sender, loan) => match sender.try_send_request(request).await {
            Ok(response) => Ok(answer(response, Lease::new(sender, Arc::new(loan)))),
            Err(error) => Err(Box::new((error, loan))),
        },
        Ready::Http2(mut sender, loan) => match sender.try_send_request(request).await {
            Ok(response) => Ok(answer(response, Lease::shared(Arc::new(loan)))),
            Err(error) => Err(Box::new((error, loan))),
        },
    }
}

fn explain(error: &hyper::Error) -> Failure {
    let reason = chain(error);
    if error.is_user() {
        Failure::ApplicationBroke
    } else if error.is_parse() {
        Failure::Nonsense { reason }
    } else {
        Failure::Broken { reason }
    }
}
