//! What the story looks like: steps, commands, answers. Colour on a terminal only.

use std::io::{IsTerminal as _, Write as _, stdout};
use std::time::Instant;

/// Writes the story.
pub(crate) struct Terminal {
    colour: bool,
    step: usize,
    started: Instant,
}

impl Terminal {
    pub(crate) fn new() -> Self {
        let colour = stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        Self { colour, step: 0, started: Instant::now() }
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.colour { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }

    #[expect(clippy::unused_self, reason = "only who has the terminal may write to it")]
    fn line(&self, text: &str) {
        // Where nobody reads on, the story ends in order all the same.
        drop(writeln!(stdout(), "{text}"));
    }

    /// A new chapter, numbered.
    pub(crate) fn step(&mut self, title: &str) {
        self.step += 1;
        self.line("");
        self.line(&self.paint("1", &format!("{}. {title}", self.step)));
    }

    /// A sentence of the narrator.
    pub(crate) fn say(&self, text: &str) {
        for line in wrap(text, 92) {
            self.line(&format!("   {line}"));
        }
    }

    /// A command as a person would type it.
    pub(crate) fn command(&self, text: &str) {
        self.line(&self.paint("36", &format!("   $ {text}")));
    }

    /// What came back.
    pub(crate) fn answer(&self, text: &str) {
        for line in text.trim_matches('\n').lines() {
            self.line(&format!("   {line}"));
        }
    }

    /// The lines of a file.
    pub(crate) fn file(&self, text: &str) {
        for line in text.trim_matches('\n').lines() {
            self.line(&self.paint("2", &format!("   │ {line}")));
        }
    }

    /// A line of the JSON log, broken where its members end, with the word that matters.
    pub(crate) fn log(&self, line: &str, word: &str) {
        let members = line.replace(",\"", ", \"");
        for line in wrap(&members, 92) {
            self.line(&format!("   {}", line.replace(word, &self.paint("33;1", word))));
        }
    }

    /// What came back, as a diff.
    pub(crate) fn diff(&self, text: &str) {
        for line in text.trim_matches('\n').lines() {
            let code = match line.chars().next() {
                Some('+') => "32",
                Some('-') => "31",
                _ => "2",
            };
            self.line(&format!("   {}", self.paint(code, line)));
        }
    }

    /// Something that was looked at and is as it should be.
    pub(crate) fn good(&self, text: &str) {
        self.line(&format!("   {} {text}", self.paint("32;1", "✓")));
    }

    /// The end of the story.
    pub(crate) fn end(&self, text: &str) {
        self.line("");
        let seconds = self.started.elapsed().as_secs_f32();
        self.line(&self.paint("1", &format!("{text} ({seconds:.1} s)")));
    }
}

fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let last = lines.last_mut().expect("there is always a line");
        if !last.is_empty() && last.chars().count() + 1 + word.chars().count() > width {
            lines.push(word.to_owned());
        } else {
            if !last.is_empty() {
                last.push(' ');
            }
            last.push_str(word);
        }
    }
    lines
}
