//! Log lines: one JSON object a line, written by a thread of its own.

use std::cell::Cell;
use std::fmt::{self, Write as _};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use lasthop_contract::credential::Certificate;
use lasthop_contract::sidecar_config::LogLevel;
use lasthop_contract::text::{escaped, hex, list};

mod writer;

pub(crate) use writer::LogWriter;
use writer::{KEPT, Queue};

thread_local! {
    /// Where the thread writes its lines, one after the other.
    static SCRATCH: Cell<String> = const { Cell::new(String::new()) };
}

/// The way to the log; clones write to the same place.
#[derive(Clone, Debug)]
pub(crate) struct Log {
    queue: Arc<Queue>,
    level: LogLevel,
}

impl Log {
    /// A log on `output`, written by a thread of its own.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub(crate) fn to<W>(output: W, level: LogLevel) -> io::Result<(Self, LogWriter)>
    where
        W: io::Write + Send + 'static,
    {
        let (queue, writer) = writer::start(output)?;
        Ok((Self { queue, level }, writer))
    }

    /// Lines that were dropped because nobody read the log fast enough.
    pub(crate) fn dropped(&self) -> u64 {
        self.queue.dropped()
    }

    /// Whether lines of `level` are written at all.
    pub(crate) fn writes(&self, level: LogLevel) -> bool {
        rank(level) <= rank(self.level)
    }

    /// A failure of the sidecar itself.
    pub(crate) fn error(&self, message: &str) -> Line<'_> {
        self.line(LogLevel::Error, message)
    }

    /// Something refused, or wrong with others.
    pub(crate) fn warn(&self, message: &str) -> Line<'_> {
        self.line(LogLevel::Warn, message)
    }

    /// The course of things.
    pub(crate) fn info(&self, message: &str) -> Line<'_> {
        self.line(LogLevel::Info, message)
    }

    /// What helps to find a bug.
    pub(crate) fn debug(&self, message: &str) -> Line<'_> {
        self.line(LogLevel::Debug, message)
    }

    fn line(&self, level: LogLevel, message: &str) -> Line<'_> {
        if !self.writes(level) {
            return Line { log: None, text: String::new() };
        }
        let mut text = SCRATCH.take();
        // The time stands before it, once it has its place among the lines.
        text.push_str(",\"level\":\"");
        text.push_str(word(level));
        text.push('"');
        Line { log: Some(self), text }.text("message", message)
    }
}

fn rank(level: LogLevel) -> u8 {
    match level {
        LogLevel::Error => 0,
        LogLevel::Warn => 1,
        LogLevel::Info => 2,
        LogLevel::Debug => 3,
    }
}

fn word(level: LogLevel) -> &'static str {
    match level {
        LogLevel::Error => "error",
        LogLevel::Warn => "warn",
        LogLevel::Info => "info",
        LogLevel::Debug => "debug",
    }
}

/// A line in the making; [`Line::write`] sends it off.
#[must_use = "a line that is not written is lost"]
pub(crate) struct Line<'a> {
    log: Option<&'a Log>,
    text: String,
}

impl Line<'_> {
    /// A field with text of our own making.
    pub(crate) fn text(mut self, key: &str, value: &str) -> Self {
        if self.log.is_some() {
            push_text(&mut self.text, key, value);
        }
        self
    }

    /// A field with text that came from outside: escaped and bounded.
    pub(crate) fn foreign(self, key: &str, value: &str) -> Self {
        if self.log.is_none() {
            return self;
        }
        self.text(key, &escaped(value))
    }

    /// Whose certificate was refused, bounded.
    pub(crate) fn certificate(self, certificate: &Certificate) -> Self {
        let names: Vec<String> = certificate.names().iter().map(ToString::to_string).collect();
        let purposes: Vec<String> =
            certificate.purposes.iter().flatten().map(ToString::to_string).collect();
        self.foreign("subject", &certificate.subject)
            .text("sans", &list(&names, 8))
            .foreign("issuer", &certificate.issuer)
            .text("eku", &list(&purposes, 4))
            .text("sha256", &hex(&certificate.fingerprint()))
    }

    /// A field of our own making, if there is something to say.
    pub(crate) fn maybe(self, key: &str, value: Option<&str>) -> Self {
        match value {
            Some(value) => self.text(key, value),
            None => self,
        }
    }

    /// A field with something that prints as text of our own making.
    pub(crate) fn display(self, key: &str, value: impl fmt::Display) -> Self {
        if self.log.is_none() {
            return self;
        }
        self.text(key, &value.to_string())
    }

    /// A field with a number.
    pub(crate) fn number(mut self, key: &str, value: u64) -> Self {
        if self.log.is_some() {
            let _infallible = write!(self.text, ",\"{key}\":{value}");
        }
        self
    }

    /// A field with a duration in milliseconds.
    pub(crate) fn millis(mut self, key: &str, value: Duration) -> Self {
        if self.log.is_some() {
            let micros = u64::try_from(value.as_micros()).unwrap_or(u64::MAX);
            let _infallible =
                write!(self.text, ",\"{key}\":{}.{:03}", micros / 1000, micros % 1000);
        }
        self
    }

    /// Fields made beforehand with [`Fields`].
    pub(crate) fn fields(mut self, fields: &Fields) -> Self {
        if self.log.is_some() {
            self.text.push_str(&fields.0);
        }
        self
    }

    /// Sends the line off.
    pub(crate) fn write(mut self) {
        if let Some(log) = self.log {
            self.text.push_str("}\n");
            log.queue.push(&self.text);
            self.text.clear();
            self.text.shrink_to(KEPT);
            SCRATCH.set(self.text);
        }
    }
}

/// Fields that many lines share, made once: what is true of a connection stands in the line of
/// each of its requests.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fields(String);

impl Fields {
    /// Adds a field with text of our own making.
    pub(crate) fn text(&mut self, key: &str, value: &str) {
        push_text(&mut self.0, key, value);
    }

    /// Adds a field with text that came from outside.
    pub(crate) fn foreign(&mut self, key: &str, value: &str) {
        push_text(&mut self.0, key, &escaped(value));
    }
}

fn push_text(out: &mut String, key: &str, value: &str) {
    out.push_str(",\"");
    out.push_str(key);
    out.push_str("\":\"");
    if value.bytes().all(|it| (0x20..0x7f).contains(&it) && it != b'"' && it != b'\\') {
        out.push_str(value);
    } else {
        push_escaped(out, value);
    }
    out.push('"');
}

fn push_escaped(out: &mut String, value: &str) {
    for character in value.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            control if u32::from(control) < 0x20 || control == '\u{7f}' => {
                let _infallible = write!(out, "\\u{:04x}", u32::from(control));
            }
            plain => out.push(plain),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Mutex, PoisonError};

    use super::*;

    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn written(level: LogLevel, write: impl FnOnce(&Log)) -> Vec<serde_json::Value> {
        let output = Shared::default();
        let (log, writer) = Log::to(output.clone(), level).unwrap();
        write(&log);
        writer.finish();
        let bytes = output.0.lock().unwrap().clone();
        String::from_utf8(bytes)
            .unwrap()
            .lines()
            .map(|it| serde_json::from_str(it).unwrap())
            .collect()
    }

    #[test]
    fn every_line_is_json_whatever_it_holds() {
        let hostile = "a\"b\\c\n\u{1b}[2J\u{7f}\u{202e}é";
        let lines = written(LogLevel::Info, |log| {
            log.info("request")
                .foreign("path", hostile)
                .text("own", hostile)
                .number("n", 7)
                .write();
        });
        assert_eq!(lines.len(), 1);
        assert_eq!(lines[0]["own"], hostile);
        assert_eq!(lines[0]["n"], 7);
        let path = lines[0]["path"].as_str().unwrap();
        assert!(!path.contains('\u{1b}') && !path.contains('\u{202e}'), "{path}");
    }

    #[test]
    fn lines_below_the_level_are_not_written() {
        let lines = written(LogLevel::Warn, |log| {
            log.info("request").write();
            log.warn("refused").write();
        });
        assert_eq!(lines.len(), 1);
        assert_eq!(lines[0]["message"], "refused");
    }

    #[test]
    fn lines_of_many_threads_do_not_mix() {
        let lines = written(LogLevel::Info, |log| {
            let write = |thread: u64| {
                let lines = thread * 500..(thread + 1) * 500;
                lines.for_each(|number| log.info("request").number("n", number).write());
            };
            std::thread::scope(|scope| {
                for thread in 0..4 {
                    scope.spawn(move || write(thread));
                }
            });
        });
        let times: Vec<&str> = lines.iter().map(|it| it["timestamp"].as_str().unwrap()).collect();
        assert!(times.is_sorted(), "{times:?}");
        let mut numbers: Vec<_> = lines.iter().map(|it| it["n"].as_u64().unwrap()).collect();
        numbers.sort_unstable();
        assert_eq!(numbers, (0..2000).collect::<Vec<_>>());
    }

    #[test]
    fn durations_are_milliseconds() {
        let lines = written(LogLevel::Info, |log| {
            log.info("request").millis("duration_ms", Duration::from_micros(12_034)).write();
        });
        assert!((lines[0]["duration_ms"].as_f64().unwrap() - 12.034).abs() < 1e-9);
    }
}
