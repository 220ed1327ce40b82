//! The thread that writes the log.
//!
//! A container runtime that stops reading must not stop traffic, so lines gather in a bounded
//! buffer; what does not fit is dropped and counted. Waking a thread costs about as much as serving a
//! request, so the writer does not wake for each line: it writes what has gathered since it last did.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::telemetry::clock::{self, Stamp};

/// Bytes of lines that wait for the writer.
const MOST: usize = 4 * 1024 * 1024;

/// What a line begins with, and how that looks with its time.
const BEGINNING: &[u8] = b"{\"timestamp\":\"";
const TIME: &str = "{\"timestamp\":\"2026-11-21T13:00:00.123Z\"";

/// The writer lets lines gather for so long.
const GATHER: Duration = Duration::from_millis(10);

/// What a buffer keeps of its memory when there is nothing in it.
pub(super) const KEPT: usize = 64 * 1024;

/// At the end of the program, nobody waits longer than this for a log that nobody reads.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Starts a thread that writes what comes through the queue to `output`.
pub(super) fn start<W>(mut output: W) -> io::Result<(Arc<Queue>, LogWriter)>
where
    W: io::Write + Send + 'static,
{
    let queue = Arc::<Queue>::default();
    let (done, finished) = channel();
    let lines = Arc::clone(&queue);
    std::thread::Builder::new().name("lasthop-log".to_owned()).spawn(move || {
        let mut batch = Vec::new();
        while lines.take(&mut batch) {
            write(&mut batch, &mut output);
        }
        write(&mut batch, &mut output);
        // Whoever does not wait does not want to know.
        let _gone = done.send(());
    })?;
    Ok((Arc::clone(&queue), LogWriter { queue, finished }))
}

/// Lines on their way to the writer.
#[derive(Debug, Default)]
pub(super) struct Queue {
    state: Mutex<Gathered>,
    bell: Condvar,
    dropped: AtomicU64,
}

#[derive(Debug, Default)]
struct Gathered {
    lines: Vec<u8>,
    stamp: Stamp,
    writer: Writer,
    has_ended: bool,
}

/// What the writer is about.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum Writer {
    /// It will look by itself.
    #[default]
    Busy,
    /// It sleeps until somebody rings.
    Asleep,
}

impl Queue {
    /// Lines that did not fit.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    fn state(&self) -> MutexGuard<'_, Gathered> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a line, which goes on behind its time, unless too much waits already. Lines stand in the
    /// order of their times, whichever threads they come from.
    pub(super) fn push(&self, line: &str) {
        let mut state = self.state();
        let Gathered { lines, stamp, .. } = &mut *state;
        if lines.len() + TIME.len() + line.len() > MOST {
            drop(state);
            self.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        lines.extend_from_slice(BEGINNING);
        stamp.write(clock::now(), lines);
        lines.push(b'"');
        lines.extend_from_slice(line.as_bytes());
        let writer = std::mem::take(&mut state.writer);
        drop(state);
        if writer == Writer::Asleep {
            self.bell.notify_one();
        }
    }

    fn end(&self) {
        self.state().has_ended = true;
        self.bell.notify_one();
    }

    /// Exchanges the empty `batch` for the lines that have gathered, once there are some; whether more
    /// may come.
    fn take(&self, batch: &mut Vec<u8>) -> bool {
        let mut state = self.state();
        while state.lines.is_empty() && !state.has_ended {
            state.writer = Writer::Asleep;
            state = self.bell.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.writer = Writer::Busy;
        let waited = self.bell.wait_timeout_while(state, GATHER, |it| !it.has_ended);
        let (mut state, _elapsed) = waited.unwrap_or_else(PoisonError::into_inner);
        std::mem::swap(&mut state.lines, batch);
        !state.has_ended
    }
}

/// The writing thread, seen by who ends the program.
#[derive(Debug)]
pub(crate) struct LogWriter {
    queue: Arc<Queue>,
    finished: Receiver<()>,
}

impl LogWriter {
    /// Waits until every line sent so far is written, but not for ever.
    pub(crate) fn finish(self) {
        self.queue.end();
        let _late = self.finished.recv_timeout(LAST_WORDS);
    }
}

fn write<W: io::Write>(batch: &mut Vec<u8>, output: &mut W) {
    // There is nowhere left to say that the log cannot be written.
    let _unwritable = write_all(batch, output).and_then(|()| patiently(|| output.flush()));
    batch.clear();
    batch.shrink_to(KEPT);
}

fn write_all<W: io::Write>(mut bytes: &[u8], output: &mut W) -> io::Result<()> {
    while !bytes.is_empty() {
        match patiently(|| output.write(bytes))? {
            0 => return Err(io::ErrorKind::WriteZero.into()),
            written => bytes = bytes.get(written..).unwrap_or_default(),
        }
    }
    Ok(())
}

/// Tries again while the output takes nothing: whoever shares the pipe may have made it non-blocking.
fn patiently<T>(mut attempt: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match attempt() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => std::thread::sleep(GATHER),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes nothing before it is told to.
    struct Stuck(Receiver<()>, Arc<Mutex<Vec<u8>>>);

    impl io::Write for Stuck {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _told = self.0.recv();
            self.1.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Takes a few bytes now and then, as a pipe that does not block.
    struct Reluctant(u32, Arc<Mutex<Vec<u8>>>);

    impl io::Write for Reluctant {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 += 1;
            if self.0.is_multiple_of(2) {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            let few = bytes.len().min(700);
            self.1.lock().unwrap().extend_from_slice(&bytes[..few]);
            Ok(few)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// What was written, without the beginnings of the lines.
    fn without_times(output: &Mutex<Vec<u8>>) -> String {
        let text = String::from_utf8(output.lock().unwrap().clone()).unwrap();
        let rest = |line: &str| {
            assert!(line.starts_with(str::from_utf8(BEGINNING).unwrap()), "{line}");
            line.split_at(TIME.len()).1.to_owned()
        };
        text.split_inclusive('\n').map(rest).collect()
    }

    #[test]
    fn a_pipe_that_does_not_block_loses_nothing() {
        let output = Arc::new(Mutex::new(Vec::new()));
        let (queue, writer) = start(Reluctant(0, Arc::clone(&output))).unwrap();
        let lines: Vec<String> = (0..100).map(|at| format!("{at:099}\n")).collect();
        for line in &lines {
            queue.push(line);
        }
        writer.finish();
        assert_eq!(without_times(&output), lines.concat());
    }

    #[test]
    fn a_log_that_nobody_reads_holds_nobody_up_and_loses_whole_lines() {
        let (read, told) = channel();
        let output = Arc::new(Mutex::new(Vec::new()));
        let (queue, writer) = start(Stuck(told, Arc::clone(&output))).unwrap();
        let line = format!("{}\n", "x".repeat(99));
        let sent = 3 * MOST / line.len();
        for _ in 0..sent {
            queue.push(&line);
        }
        assert!(queue.dropped() > 0);
        drop(read);
        writer.finish();
        let lines = without_times(&output);
        assert!(lines.split_inclusive('\n').all(|it| it == line));
        let written = u64::try_from(lines.lines().count()).unwrap();
        assert_eq!(written + queue.dropped(), u64::try_from(sent).unwrap());
    }
}
