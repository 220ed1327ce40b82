//! Real programs as processes: started with arguments and environment, listened to line by line,
//! and ended by their id when the test ends, however it ends.

use std::ffi::{OsStr, OsString};
use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// How long a program may take for anything that a test waits for.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Waits until `condition` holds.
#[track_caller]
pub fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "{what}: this did not come");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A program to be started.
#[derive(Debug)]
pub struct Program {
    name: String,
    path: PathBuf,
    arguments: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    input: Option<Vec<u8>>,
}

impl Program {
    /// A program of this workspace: `lasthop`, `lasthop-sidecar` or `lasthop-testapp`.
    pub fn ours(name: &str) -> Self {
        Self::at(built(name))
    }

    /// Any program, by path or by a name in `PATH`.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
        Self { name, path, arguments: Vec::new(), environment: Vec::new(), input: None }
    }

    /// One more argument.
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.arguments.push(argument.as_ref().to_owned());
        self
    }

    /// More arguments.
    pub fn args<I>(mut self, arguments: I) -> Self
    where
        I: IntoIterator,
        I::Item: AsRef<OsStr>,
    {
        self.arguments.extend(arguments.into_iter().map(|it| it.as_ref().to_owned()));
        self
    }

    /// One more variable of the environment.
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.environment.push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// What it reads on standard input, which is closed after it; else it is empty.
    pub fn input(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.input = Some(bytes.into());
        self
    }

    /// Starts it and returns at once.
    pub fn start(self) -> Running {
        let Self { name, path, arguments, environment, input } = self;
        let stdin = if input.is_some() { Stdio::piped() } else { Stdio::null() };
        let mut child = Command::new(&path)
            .args(&arguments)
            .envs(environment)
            .stdin(stdin)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("`{}` cannot be started: {error}", path.display()));
        if let (Some(bytes), Some(mut stdin)) = (input, child.stdin.take()) {
            // A program that leaves before it has read everything is for the test to judge.
            std::thread::spawn(move || drop(stdin.write_all(&bytes)));
        }
        let stdout = Capture::of(child.stdout.take().expect("standard output is piped"));
        let stderr = Capture::of(child.stderr.take().expect("standard error is piped"));
        Running { name, child: Mutex::new(child), stdout, stderr }
    }

    /// Runs it to its end.
    pub fn run(self) -> Finished {
        self.start().finish()
    }
}

/// What a program left behind.
#[derive(Clone, Debug)]
pub struct Finished {
    /// How it ended.
    pub status: ExitStatus,
    /// Everything on standard output; bytes that are not UTF-8 are replaced.
    pub stdout: String,
    /// Everything on standard error, likewise.
    pub stderr: String,
}

impl Finished {
    /// The exit code.
    pub fn code(&self) -> i32 {
        self.status.code().unwrap_or_else(|| panic!("ended by a signal: {self}"))
    }

    /// Panics with all the output if it did not end well.
    #[track_caller]
    pub fn expect_success(self) -> Self {
        assert!(self.status.success(), "{self}");
        self
    }
}

impl std::fmt::Display for Finished {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { status, stdout, stderr } = self;
        write!(f, "{status}\n--- standard output ---\n{stdout}\n--- standard error ---\n{stderr}")
    }
}

/// A running program. It is killed when this is dropped.
#[derive(Debug)]
pub struct Running {
    name: String,
    child: Mutex<Child>,
    stdout: Capture,
    stderr: Capture,
}

impl Running {
    /// The id of the process.
    pub fn pid(&self) -> u32 {
        self.child().id()
    }

    /// The lines on standard output and standard error so far, the former first.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = self.stdout.lines();
        lines.extend(self.stderr.lines());
        lines
    }

    /// The lines so far that are JSON objects: the log.
    pub fn log(&self) -> Vec<Value> {
        self.lines().iter().filter_map(|line| entry(line)).collect()
    }

    /// The first line, past or to come, that `wanted` takes.
    #[track_caller]
    pub fn wait_for_line(&mut self, wanted: impl Fn(&str) -> bool) -> String {
        self.wait_for("a line that did not come", |line| wanted(line).then(|| line.to_owned()))
    }

    /// The first log entry, past or to come, that `wanted` takes.
    #[track_caller]
    pub fn wait_for_log(&mut self, wanted: impl Fn(&Value) -> bool) -> Value {
        self.wait_for("a log entry that did not come", |line| entry(line).filter(|it| wanted(it)))
    }

    /// The address of a listener, from the log line with the message `listening` that names it.
    #[track_caller]
    pub fn address(&mut self, listener: &str) -> SocketAddr {
        let what = format!("the listener `{listener}`, which was not announced");
        self.wait_for(&what, |line| {
            let entry = entry(line)?;
            let told =
                field(&entry, "message")? == "listening" && field(&entry, "listener")? == listener;
            told.then(|| field(&entry, "address")?.parse().ok()).flatten()
        })
    }

    #[track_caller]
    fn wait_for<T>(&mut self, what: &str, wanted: impl Fn(&str) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let ended = self.ended();
            if ended.is_some() {
                self.stdout.wait_for_end(deadline);
                self.stderr.wait_for_end(deadline);
            }
            if let Some(found) = self.lines().iter().find_map(|line| wanted(line)) {
                return found;
            }
            let state = match ended {
                Some(status) => format!("it ended with {status}"),
                None if Instant::now() < deadline => {
                    self.stderr.wait_a_little();
                    continue;
                }
                None => format!("{} s have passed", PATIENCE.as_secs()),
            };
            panic!(
                "`{}` was to print {what}; {state}; it printed:\n{}",
                self.name,
                self.lines().join("\n")
            );
        }
    }

    /// Asks it to end (SIGTERM).
    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// Interrupts it as Ctrl-C does (SIGINT).
    pub fn interrupt(&self) {
        self.signal(Signal::INT);
    }

    /// Makes it look at its files again (SIGHUP).
    pub fn hang_up(&self) {
        self.signal(Signal::HUP);
    }

    /// Nothing happens to one that has ended: its id may be another process's by now.
    fn signal(&self, signal: Signal) {
        let mut child = self.child();
        if child.try_wait().expect("a child can be waited for").is_none() {
            let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
            let pid = pid.expect("a child has an id");
            kill_process(pid, signal).expect("a child that nobody waited for can be signalled");
        }
    }

    fn child(&self) -> MutexGuard<'_, Child> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ended(&self) -> Option<ExitStatus> {
        self.child().try_wait().expect("a child can be waited for")
    }

    /// Whether it has not ended.
    pub fn is_running(&mut self) -> bool {
        self.ended().is_none()
    }

    /// Waits for its end.
    #[track_caller]
    pub fn finish(self) -> Finished {
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            match self.ended() {
                Some(status) => break status,
                None if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(10)),
                None => panic!(
                    "`{}` did not end within {} s; it printed:\n{}",
                    self.name,
                    PATIENCE.as_secs(),
                    self.lines().join("\n")
                ),
            }
        };
        self.stdout.wait_for_end(deadline);
        self.stderr.wait_for_end(deadline);
        Finished { status, stdout: self.stdout.text(), stderr: self.stderr.text() }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let mut child = self.child();
        drop(child.kill());
        drop(child.wait());
        drop(child);
        if std::thread::panicking() {
            eprintln!("--- `{}` printed ---\n{}", self.name, self.lines().join("\n"));
        }
    }
}

fn entry(line: &str) -> Option<Value> {
    serde_json::from_str(line).ok().filter(Value::is_object)
}

/// A field of a log entry, whether or not the log keeps fields in an object of their own.
fn field<'a>(entry: &'a Value, name: &str) -> Option<&'a str> {
    entry.get(name).or_else(|| entry.get("fields")?.get(name))?.as_str()
}

/// What a thread has read so far of a stream.
#[derive(Clone, Debug)]
struct Capture(Arc<(Mutex<Captured>, Condvar)>);

#[derive(Debug, Default)]
struct Captured {
    bytes: Vec<u8>,
    ended: bool,
}

impl Capture {
    fn of(stream: impl Read + Send + 'static) -> Self {
        let capture = Self(Arc::default());
        let reader = capture.clone();
        std::thread::spawn(move || reader.read(stream));
        capture
    }

    fn read(&self, stream: impl Read) {
        let mut stream = BufReader::new(stream);
        loop {
            let mut line = Vec::new();
            let read = stream.read_until(b'\n', &mut line).unwrap_or(0);
            let mut captured = self.lock();
            captured.bytes.append(&mut line);
            captured.ended = read == 0;
            self.0.1.notify_all();
            if captured.ended {
                return;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Captured> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.lock().bytes).into_owned()
    }

    fn lines(&self) -> Vec<String> {
        self.text().lines().map(ToOwned::to_owned).collect()
    }

    fn wait_a_little(&self) {
        let pause = Duration::from_millis(20);
        drop(self.0.1.wait_timeout(self.lock(), pause).unwrap_or_else(PoisonError::into_inner));
    }

    /// The stream may outlive the process where a grandchild holds it, hence the deadline.
    fn wait_for_end(&self, deadline: Instant) {
        while !self.lock().ended && Instant::now() < deadline {
            self.wait_a_little();
        }
    }
}

/// The path of a program of this workspace, as `cargo build --workspace` leaves it.
///
/// cargo tells a test only of the programs in its own package, so the place is found from the test
/// itself: `target/PROFILE/deps/TEST` (or `target/PROFILE/DEMO`) and `target/PROFILE/NAME`.
pub fn built(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("a test knows its own path");
    let folder = test.parent().expect("a program lies in a folder");
    let profile = if folder.ends_with("deps") { folder.parent() } else { Some(folder) };
    let profile = profile.expect("a test lies in target/PROFILE/deps");
    let path = profile.join(name);
    assert!(path.is_file(), "there is no {}: run `cargo build --workspace` first", path.display());
    if let Some(source) = newer_source(&path) {
        panic!(
            "{} is older than {}: run `cargo build --workspace` first",
            path.display(),
            source.display()
        );
    }
    path
}

/// A source of the program that was changed after it was built. cargo writes the list of sources
/// beside the program, in the format of make.
fn newer_source(program: &Path) -> Option<PathBuf> {
    let time = |path: &Path| path.metadata().and_then(|it| it.modified()).ok();
    let built: SystemTime = time(program)?;
    let list = std::fs::read_to_string(program.with_extension("d")).ok()?;
    let (_program, sources) = list.trim_end().split_once(": ")?;
    let sources = sources.split(' ').map(PathBuf::from);
    sources.into_iter().find(|source| time(source).is_some_and(|changed| changed > built))
}
