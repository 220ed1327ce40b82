//! Follows the Secrets: a thread of its own looks at them once a second, and at SIGHUP.
//!
//! Reading files and checking certificates takes as long as it takes; on a thread of its own it
//! holds up no connection.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};

use lasthop_contract::problem::Gravity;

use crate::generation::Keeper;
use crate::limits;
use crate::listener::{Process, Terminator};
use crate::telemetry::clock;
use crate::telemetry::log::Log;
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
        listeners: Vec<(Keeper, Arc<Terminator>)>,
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

fn follow(mut listeners: Vec<(Keeper, Arc<Terminator>)>, process: &Process, woken: &Receiver<()>) {
    let mut looks: u32 = 0;
    loop {
        match woken.recv_timeout(limits::RELOAD) {
            Ok(()) | Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        looks = looks.wrapping_add(1);
        for (keeper, terminator) in &mut listeners {
            let looked = catch_unwind(AssertUnwindSafe(|| look(keeper, terminator, &process.log)));
            // What is good goes on serving also where our own code fails; the next look may go well.
            let changed = looked.unwrap_or_else(|_panic| {
                terminator.metrics.reload_failures.inc();
                false
            });
            if changed || looks.is_multiple_of(LOOKS_OF_TIME) {
                let before = terminator.detail().troubles;
                let now = clock::now().seconds();
                terminator.note(keeper, now);
                if !changed {
                    let after = terminator.detail().troubles;
                    let fresh = after.iter().filter(|trouble| !before.contains(trouble));
                    fresh.for_each(|trouble| tell(&process.log, Some(&terminator.name), trouble));
                }
            }
        }
    }
}

/// Whether there is anything new.
fn look(keeper: &mut Keeper, terminator: &Terminator, log: &Log) -> bool {
    let refresh = keeper.refresh(clock::now().seconds());
    for trouble in &refresh.troubles {
        tell(log, Some(&terminator.name), trouble);
    }
    if refresh.rejected > 0 {
        terminator.metrics.reload_failures.inc();
        log.error("a changed Secret is broken, the last good state goes on serving")
            .text("listener", &terminator.name)
            .write();
    }
    let taken = refresh.generation.is_some();
    if let Some(generation) = refresh.generation {
        terminator.generation.store(Arc::new(generation));
        terminator.changes.send_replace(());
        terminator.metrics.reloads.inc();
        log.info("a changed Secret was taken into use").text("listener", &terminator.name).write();
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
