//! One run, from settings to exit status.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use lasthop_contract::problem::Gravity;
use lasthop_contract::sidecar_config::{KeyLog, LogLevel};
use lasthop_contract::text::escape;
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Semaphore;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::task::TaskTracker;

use crate::accept;
use crate::cli::{KeyLogRequest, Purpose, Settings};
use crate::config::{Plan, RedirectPlan};
use crate::confine::{self, Confined, Confinement, Extent};
use crate::door::{self, Door};
use crate::drain::{self, Phases, Signals};
use crate::generation::Keeper;
use crate::generation::outward::OutwardKeeper;
use crate::hardening::{self, Rooms};
use crate::keylog::{self, KeyTap};
use crate::limits;
use crate::listener::{Process, Terminator};
use crate::load::{Loaded, load};
use crate::memory;
use crate::originator::Originator;
use crate::probe::Probes;
use crate::redirect;
use crate::reload::{self, Followed, Kept, Reloader};
use crate::shares::PerClient;
use crate::status::{self, Status};
use crate::systemd::{Passed, Systemd};
use crate::telemetry::clock;
use crate::telemetry::log::Log;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::refusals::RefusalGate;

/// How a run ended; the codes are those of sysexits(3) and are promised in `--help`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Exit {
    /// After a signal, or with nothing wrong found.
    Ended,
    /// The command line or the configuration is wrong or unsafe.
    Usage,
    /// A Secret cannot be read or used.
    Secret,
    /// An address cannot be listened on.
    Address,
    /// The sidecar itself failed.
    Internal,
}

impl Exit {
    /// The exit status of the process.
    pub fn code(self) -> u8 {
        match self {
            Self::Ended => 0,
            Self::Usage => 64,
            Self::Secret => 66,
            Self::Address => 69,
            Self::Internal => 70,
        }
    }
}

/// Threads that serve connections. One is enough for more traffic than most pods see; a sidecar
/// that starts a thread per core of a large node costs memory in every pod.
const MOST_WORKERS: usize = 4;

/// Does what `settings` say, until a signal ends it.
#[expect(clippy::print_stderr, reason = "without a log, this is the last way to be heard")]
pub fn run(settings: &Settings) -> Exit {
    let hardened = hardening::apply();
    let plan = match Plan::new(settings) {
        Ok(plan) => plan,
        Err(faults) => {
            for fault in faults {
                eprintln!("error: {fault}");
            }
            return Exit::Usage;
        }
    };
    if settings.purpose == Purpose::Check {
        return check(&plan);
    }
    let systemd = match Systemd::find() {
        Ok(systemd) => systemd,
        Err(error) => {
            eprintln!("error: what systemd handed over cannot be used: {error}");
            return Exit::Address;
        }
    };
    // Before the first thread, the log's, since threads that are there keep what they could do.
    let confined = match confine(&plan, settings.confinement) {
        Ok(confined) => confined,
        Err(lacking) => {
            eprintln!("error: {lacking}");
            return Exit::Internal;
        }
    };
    let (log, writer) = match Log::to(io::stdout(), settings.config.log_level) {
        Ok(started) => started,
        Err(error) => {
            eprintln!("error: the log cannot be started: {error}");
            return Exit::Internal;
        }
    };
    if let Err(refused) = hardened {
        log.warn("the process could not be protected in full").text("reason", &refused).write();
    }
    if let Some(Confined { landlock, seccomp }) = &confined {
        log.info("confined").display("landlock", landlock).display("seccomp", seccomp).write();
    }
    if let Some(oddity) = plan.drain.oddity() {
        log.warn("the end will be abrupt").text("reason", &oddity).write();
    }
    let tap = (plan.key_log == KeyLog::OnDemand).then(Arc::<KeyTap>::default);
    let loaded =
        load(&plan, tap.as_ref(), |listener, trouble| reload::tell(&log, Some(listener), trouble));
    let exit = match loaded {
        Ok(loaded) => {
            let served = Served { loaded, systemd, tap, confined };
            serve(&plan, served, &log).unwrap_or_else(|exit| exit)
        }
        Err(exit) => {
            log.error("a Secret cannot be used, ending").write();
            exit
        }
    };
    writer.finish();
    exit
}

/// Streams the key log of a running sidecar to standard output.
#[expect(clippy::print_stderr, reason = "standard output is for the secrets")]
pub fn read_key_log(request: KeyLogRequest) -> Exit {
    // Secrets pass through this process, too; it would say so where it has a log.
    let _unprotected = hardening::apply();
    match keylog::read(request.0, io::stdout().lock()) {
        Ok(()) => Exit::Ended,
        Err(reason) => {
            eprintln!("error: {reason}");
            Exit::Address
        }
    }
}

/// What the process gave up, where it was to give up anything.
fn confine(plan: &Plan, confinement: Confinement) -> Result<Option<Confined>, String> {
    if confinement == Confinement::Off {
        return Ok(None);
    }
    let confined = confine::apply(&plan.ports());
    if confinement == Confinement::Required && !confined.is_full() {
        let Confined { landlock, seccomp } = confined;
        return Err(format!(
            "`--confinement required` cannot be had here (Landlock: {landlock}; seccomp: {seccomp}); \
             use a newer kernel (6.12), or `--confinement best-effort`"
        ));
    }
    Ok(Some(confined))
}

/// Says to a person whether `plan` could be served.
#[expect(clippy::print_stdout, reason = "the answer to `--check-config`")]
fn check(plan: &Plan) -> Exit {
    let checked = load(plan, None, |listener, trouble| {
        let weight = match trouble.gravity() {
            Gravity::Fatal => "error",
            Gravity::Weakness => "warning",
            Gravity::Notice => "note",
        };
        let code = trouble.code().map(|code| format!("[{code}]")).unwrap_or_default();
        println!(
            "{weight}{code}: listener {listener}, Secret `{}`: {trouble}",
            escape(&trouble.secret)
        );
        if let Some(help) = trouble.help() {
            println!("  help: {help}");
        }
    });
    if let Some(oddity) = plan.drain.oddity() {
        println!("warning: {oddity}");
    }
    match checked {
        Ok(loaded) => {
            let count = loaded.terminate.len() + loaded.originate.len();
            println!("good: {count} TLS listener(s), every Secret can be used");
            Exit::Ended
        }
        Err(exit) => exit,
    }
}

/// What is to be served.
struct Served {
    loaded: Loaded,
    systemd: Systemd,
    /// Where secrets may be asked for.
    tap: Option<Arc<KeyTap>>,
    confined: Option<Confined>,
}

fn serve(plan: &Plan, served: Served, log: &Log) -> Result<Exit, Exit> {
    let failed = |what: &'static str| {
        move |error: io::Error| {
            log.error(what).display("reason", error).write();
            Exit::Internal
        }
    };
    let runtime = runtime().map_err(failed("the runtime cannot be started"))?;
    let _context = runtime.enter();
    let signals = Signals::new().map_err(failed("signals cannot be heard"))?;
    let rooms = if plan.originate.is_empty() { Rooms::Two } else { Rooms::Three };
    let max_connections =
        hardening::affordable(plan.max_connections, rooms).min(Semaphore::MAX_PERMITS);
    if max_connections < plan.max_connections {
        log.warn("the system gives too few descriptors for as many connections as are allowed")
            .number("allowed", u64::try_from(plan.max_connections).unwrap_or(u64::MAX))
            .number("possible", u64::try_from(max_connections).unwrap_or(u64::MAX))
            .text("help", "raise RLIMIT_NOFILE, or lower `--max-connections`")
            .write();
    }
    let max_connections = enough_memory(max_connections, log);
    let process = Arc::new(Process {
        log: log.clone(),
        metrics: Metrics::new(),
        refusals: RefusalGate::default(),
        phases: Phases::default(),
        clients: TaskTracker::new(),
        outward: TaskTracker::new(),
        background: TaskTracker::new(),
        max_connections,
        bounds: plan.bounds,
        per_client: plan.bounds.per_client.map(PerClient::new),
        room: Arc::new(Semaphore::new(max_connections)),
        handshake_room: Arc::new(Semaphore::new(limits::HANDSHAKE_ROOM)),
        strangers: Semaphore::new(limits::STRANGERS),
        application_room: Arc::new(Semaphore::new(max_connections)),
        upstream_room: Arc::new(Semaphore::new(max_connections)),
    });
    let Served { loaded, systemd, tap, confined } = served;
    let bound =
        Bound::new(plan, loaded, Binder { passed: systemd.sockets, log: &process.log }, &process)?;
    if let Some(tap) = tap {
        serve_key_log(tap, &bound, &process);
    }
    if confined.is_some_and(|it| it.seccomp == Extent::Full)
        && let Extent::Nothing(reason) = confine::seal()
    {
        log.warn("further listeners cannot be ruled out").text("reason", &reason).write();
    }
    let probes = Probes::new(&plan.probes, &process);
    let door = Arc::new(bound.door(plan));
    if door.can_object() {
        // Before anybody can ask whether the pod is ready.
        door.look(&door::listening(), &process);
    }
    process.background.spawn(door::watch(Arc::clone(&door), Arc::clone(&process)));
    let reloader = bound
        .start(&process, (probes, door))
        .map_err(failed("the reload thread cannot be started"))?;
    systemd.manager.ready();
    let end = drain::until_the_end(&process, signals, &reloader, plan.drain, &systemd.manager);
    runtime.block_on(end);
    // This cuts what is still open, and nothing that still runs is worth waiting for.
    runtime.shutdown_timeout(Duration::from_millis(100));
    log.info("ended").write();
    Ok(Exit::Ended)
}

/// Of `wanted` connections as many as the memory is enough for; who wanted more is told.
fn enough_memory(wanted: usize, log: &Log) -> usize {
    let possible = memory::affordable(wanted);
    if possible < wanted {
        let number = |it| u64::try_from(it).unwrap_or(u64::MAX);
        log.warn("the container has too little memory for as many connections as are allowed")
            .number("allowed", number(wanted))
            .number("possible", number(possible))
            .text("help", "raise its limit of memory, or lower `--max-connections`")
            .write();
    }
    possible
}

fn runtime() -> io::Result<Runtime> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let mut builder = match cores.min(MOST_WORKERS) {
        1 => Builder::new_current_thread(),
        workers => {
            let mut builder = Builder::new_multi_thread();
            builder.worker_threads(workers);
            builder
        }
    };
    builder.thread_name("lasthop").enable_all().build()
}

/// Lets TLS secrets be asked for. Where that cannot be, traffic does not suffer for it.
fn serve_key_log(tap: Arc<KeyTap>, bound: &Bound, process: &Arc<Process>) {
    match bound.status.local_addr().and_then(|status| keylog::bind(status.port())) {
        Ok(listener) => {
            process.log.info("the TLS key log may be asked for").write();
            process.background.spawn(keylog::serve(listener, tap, Arc::clone(process)));
        }
        Err(error) => {
            process.log.warn("the TLS key log cannot be served").display("reason", error).write();
        }
    }
}

/// Every listener, bound and not yet served.
struct Bound {
    terminate: Vec<(TcpListener, Arc<Terminator>, Keeper)>,
    originate: Vec<(TcpListener, Arc<Originator>, OutwardKeeper)>,
    redirect: Vec<(TcpListener, RedirectPlan)>,
    status: TcpListener,
    /// Mode and address of the listeners that end no TLS.
    others: Vec<(&'static str, SocketAddr)>,
}

impl Bound {
    fn new(
        plan: &Plan,
        loaded: Loaded,
        mut binder: Binder<'_>,
        process: &Process,
    ) -> Result<Self, Exit> {
        let mut terminate = Vec::new();
        for (plan, keeper, generation) in loaded.terminate {
            let (listener, address) = binder.bind(plan.listen, "terminate")?;
            let terminator = Terminator::new(plan, address, generation, process);
            terminator.note(&keeper, clock::now().seconds());
            terminate.push((listener, Arc::new(terminator), keeper));
        }
        let mut originate = Vec::new();
        for (plan, keeper, outward) in loaded.originate {
            let (listener, address) = binder.bind(plan.listen, "originate")?;
            let originator = Originator::new(plan, address, outward, process);
            originator.note(&keeper, clock::now().seconds());
            originate.push((listener, Arc::new(originator), keeper));
        }
        let mut redirect = Vec::new();
        let mut others = Vec::new();
        for plan in &plan.redirect {
            let (listener, address) = binder.bind(plan.listen, "redirect")?;
            others.push(("redirect", address));
            redirect.push((listener, *plan));
        }
        let (status, address) = binder.bind(plan.status, "status")?;
        others.push(("status", address));
        binder.finish()?;
        Ok(Self { terminate, originate, redirect, status, others })
    }

    /// The doors of the applications of `plan` beside these listeners.
    fn door(&self, plan: &Plan) -> Door {
        let terminate = self.terminate.iter().map(|(_, terminator, _)| terminator.address);
        let others = self.others.iter().map(|(_mode, address)| *address);
        Door::new(plan.door, plan.applications(), terminate.chain(others))
    }

    fn start(
        self,
        process: &Arc<Process>,
        (probes, door): (Probes, Arc<Door>),
    ) -> io::Result<Reloader> {
        let Self { terminate, originate, redirect, status, others } = self;
        let mut followed: Vec<Box<dyn Followed>> = Vec::new();
        let mut terminators = Vec::new();
        for (listener, terminator, keeper) in terminate {
            terminators.push(Arc::clone(&terminator));
            followed.push(Box::new(Kept(keeper, Arc::clone(&terminator))));
            process.background.spawn(accept::terminate(listener, terminator, Arc::clone(process)));
        }
        let mut originators = Vec::new();
        for (listener, originator, keeper) in originate {
            originators.push(Arc::clone(&originator));
            followed.push(Box::new(Kept(keeper, Arc::clone(&originator))));
            process.background.spawn(accept::originate(listener, originator, Arc::clone(process)));
        }
        for (listener, plan) in redirect {
            let serving = redirect::serve(listener, plan, Arc::clone(process));
            process.background.spawn(serving);
        }
        let process_of = Arc::clone(process);
        let status_of =
            Status { process: process_of, terminators, originators, probes, door, others };
        let tidied = (status_of.terminators.clone(), status_of.originators.clone());
        process.background.spawn(housekeeping(tidied, Arc::clone(process)));
        process.background.spawn(status::serve(status, status_of));
        let reloader = Reloader::start(followed, Arc::clone(process))?;
        process.log.info("ready").write();
        Ok(reloader)
    }
}

/// Gives listeners their sockets: those that systemd opened, or new ones.
struct Binder<'a> {
    passed: Passed,
    log: &'a Log,
}

impl Binder<'_> {
    fn bind(
        &mut self,
        address: SocketAddr,
        mode: &'static str,
    ) -> Result<(TcpListener, SocketAddr), Exit> {
        let bound = match self.passed.at(address) {
            Some(socket) => accept::take_over(socket),
            None => accept::bind(address),
        };
        let bound = bound.and_then(|listener| {
            let address = listener.local_addr()?;
            Ok((listener, address))
        });
        match bound {
            Ok((listener, address)) => {
                let port = address.port().to_string();
                self.log
                    .info("listening")
                    .text("listener", if mode == "status" { mode } else { &port })
                    .text("mode", mode)
                    .display("address", address)
                    .write();
                Ok((listener, address))
            }
            Err(error) => {
                self.log
                    .error("an address cannot be listened on")
                    .text("mode", mode)
                    .display("address", address)
                    .display("reason", error)
                    .write();
                Err(Exit::Address)
            }
        }
    }

    /// A socket that is left is a mistake in a unit: who connects to it would wait forever.
    fn finish(self) -> Result<(), Exit> {
        let mut left = self.passed.left().peekable();
        if left.peek().is_none() {
            return Ok(());
        }
        for address in left {
            self.log
                .error("systemd passed a socket on which no listener is to listen")
                .display("address", address)
                .write();
        }
        Err(Exit::Address)
    }
}

/// Closes what lies idle, and says what was not said.
async fn housekeeping(
    (terminators, originators): (Vec<Arc<Terminator>>, Vec<Arc<Originator>>),
    process: Arc<Process>,
) {
    let mut second = interval(Duration::from_secs(1));
    second.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut seconds: u32 = 0;
    loop {
        second.tick().await;
        for terminator in &terminators {
            terminator.application.sweep();
        }
        for originator in &originators {
            originator.upstream.sweep();
        }
        seconds = seconds.wrapping_add(1);
        if seconds.is_multiple_of(10) && process.log.writes(LogLevel::Warn) {
            for (kind, count) in process.refusals.take_suppressed() {
                process
                    .log
                    .warn("further refusals were not written one by one")
                    .text("kind", &kind)
                    .number("suppressed", count)
                    .write();
            }
        }
    }
}
