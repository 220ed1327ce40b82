//! Follows the Secrets: a thread of its own looks at them once a second, and at SIGHUP.
//!
//! Reading files and checking certificates takes as long as it takes; on a thread of its own it
//! holds up no connection.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};

use lasthop_contract::problem::Gravity;

use crate::generation::outward::OutwardKeeper;
use crate::generation::{Keeper, Refresh};
use crate::limits;
use crate::listener::{Ledger, Process, Terminator};
use crate::originator::Originator;
use crate::telemetry::clock;
use crate::telemetry::log::Log;
use crate::telemetry::metrics::ListenerMetrics;
use crate::trouble::Trouble;

/// Looks between two looks at what time alone did to the Secrets.
const LOOKS_OF_TIME: u32 = 60;

/// Wakes the thread.
#[derive(Clone, Debug)]
pub(crate) struct Reloader {
    wake: Sender<()>,
}

impl Reloader {
    /// Starts the thread.
    ///
    /// # Errors
    /// When there can be no thread.
    pub(crate) fn start(
        listeners: Vec<Box<dyn Followed>>,
        process: Arc<Process>,
    ) -> io::Result<Self> {
        let (wake, woken) = channel();
        std::thread::Builder::new()
            .name("lasthop-reload".to_owned())
            .spawn(move || follow(listeners, &process, &woken))?;
        Ok(Self { wake })
    }

    /// Makes it look now.
    pub(crate) fn look(&self) {
        // A thread that is gone has nothing to look at.
        let _gone = self.wake.send(());
    }
}

/// A listener whose Secrets are followed.
pub(crate) trait Followed: Send {
    /// What log and metrics call it.
    fn name(&self) -> &str;
    fn metrics(&self) -> &ListenerMetrics;
    fn ledger(&self) -> &Ledger;
    /// Looks at the Secrets, and takes into use what is new and good.
    fn look(&mut self, now: i64) -> Refresh<()>;
    /// Takes down what is known of the Secrets.
    fn note(&self, now: i64);
}

/// The Secrets of a listener, and the listener.
#[derive(Debug)]
pub(crate) struct Kept<K, L>(pub(crate) K, pub(crate) Arc<L>);

impl Followed for Kept<Keeper, Terminator> {
    fn name(&self) -> &str {
        &self.1.name
    }

    fn metrics(&self) -> &ListenerMetrics {
        &self.1.metrics
    }

    fn ledger(&self) -> &Ledger {
        &self.1.ledger
    }

    fn look(&mut self, now: i64) -> Refresh<()> {
        let Self(keeper, terminator) = self;
        let taken = |generation| {
            terminator.generation.store(Arc::new(generation));
            terminator.changes.send_replace(());
        };
        keeper.refresh(now).taken(taken)
    }

    fn note(&self, now: i64) {
        self.1.note(&self.0, now);
    }
}

impl Followed for Kept<OutwardKeeper, Originator> {
    fn name(&self) -> &str {
        &self.1.name
    }

    fn metrics(&self) -> &ListenerMetrics {
        &self.1.metrics
    }

    fn ledger(&self) -> &Ledger {
        &self.1.ledger
    }

    fn look(&mut self, now: i64) -> Refresh<()> {
        let Self(keeper, originator) = self;
        keeper.refresh(now).taken(|outward| originator.upstream.renew(outward))
    }

    fn note(&self, now: i64) {
        self.1.note(&self.0, now);
    }
}

fn follow(mut listeners: Vec<Box<dyn Followed>>, process: &Process, woken: &Receiver<()>) {
    let mut looks: u32 = 0;
    loop {
        match woken.recv_timeout(limits::RELOAD) {
            Ok(()) | Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        looks = looks.wrapping_add(1);
        for listener in &mut listeners {
            let looked = catch_unwind(AssertUnwindSafe(|| look(&mut **listener, &process.log)));
            // What is good goes on serving also where our own code fails; the next look may go well.
            let changed = looked.unwrap_or_else(|_panic| {
                listener.metrics().reload_failures.inc();
                false
            });
            if changed || looks.is_multiple_of(LOOKS_OF_TIME) {
                let before = listener.ledger().detail().troubles;
                listener.note(clock::now().seconds());
                if !changed {
                    let after = listener.ledger().detail().troubles;
                    let fresh = after.iter().filter(|trouble| !before.contains(trouble));
                    fresh.for_each(|trouble| tell(&process.log, Some(listener.name()), trouble));
                }
            }
        }
    }
}

/// Whether there is anything new.
fn look(listener: &mut dyn Followed, log: &Log) -> bool {
    let refresh = listener.look(clock::now().seconds());
    for trouble in &refresh.troubles {
        tell(log, Some(listener.name()), trouble);
    }
    if refresh.rejected > 0 {
        listener.metrics().reload_failures.inc();
        log.error("a changed Secret is broken, the last good state goes on serving")
            .text("listener", listener.name())
            .write();
    }
    let taken = refresh.generation.is_some();
    if taken {
        listener.metrics().reloads.inc();
        log.info("a changed Secret was taken into use").text("listener", listener.name()).write();
    }
    taken || refresh.rejected > 0
}

/// Writes a line about `trouble`.
pub(crate) fn tell(log: &Log, listener: Option<&str>, trouble: &Trouble) {
    let line = match trouble.gravity() {
        Gravity::Fatal => log.error("there is something wrong with a Secret"),
        Gravity::Weakness => log.warn("there is something wrong with a Secret"),
        Gravity::Notice => log.info("there is something to know about a Secret"),
    };
    line.maybe("listener", listener)
        .foreign("secret", &trouble.secret)
        .maybe("code", trouble.code().as_deref())
        .display("reason", trouble)
        .maybe("help", trouble.help().as_deref())
        .write();
}
