//! Where text goes: data to standard output, talk to standard error, colours only where they are wanted.
//!
//! Whatever a text was put together from, nothing in it but line ends, tabs and this program's own colours acts on the
//! terminal: the rest is written as an escape, which in JSON means the same.
//!
//! A reader that goes away (`| head`) ends the output quietly. Where several environments are worked on side by side,
//! what is said of one is kept in an [`Aside`], to be shown under its name.

use std::{
    io::{IsTerminal as _, Write as _},
    sync::{Arc, Mutex, PoisonError},
};

use anstream::{AutoStream, ColorChoice};

use crate::text::{printable_lines, printable_log_line};

/// When to colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Color {
    /// On a terminal, unless `NO_COLOR` is set.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// Writes for people and programs. Text may carry ANSI colours; they are taken out where they are not wanted.
#[derive(Clone, Debug)]
pub(crate) struct Printer {
    color: Color,
    /// Where talk goes instead of standard error.
    aside: Option<Arc<Aside>>,
}

/// What is said of one environment while others are worked on too.
#[derive(Debug, Default)]
pub(crate) struct Aside {
    notes: Mutex<String>,
    doing: Mutex<String>,
}

impl Aside {
    /// What was said, lines with their ends.
    pub(crate) fn notes(&self) -> String {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What it is about right now; empty if nobody said.
    pub(crate) fn doing(&self) -> String {
        self.doing.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Printer {
    pub(crate) fn new(color: Color) -> Self {
        Self { color, aside: None }
    }

    /// One whose talk is kept.
    pub(crate) fn aside(&self) -> (Self, Arc<Aside>) {
        let aside = Arc::new(Aside::default());
        (Self { aside: Some(Arc::clone(&aside)), ..self.clone() }, aside)
    }

    fn choice(&self) -> ColorChoice {
        match self.color {
            Color::Auto => ColorChoice::Auto,
            Color::Always => ColorChoice::AlwaysAnsi,
            Color::Never => ColorChoice::Never,
        }
    }

    /// Data, to standard output, with a line end.
    pub(crate) fn out(&self, text: &str) {
        let mut stream = AutoStream::new(std::io::stdout().lock(), self.choice());
        drop(writeln!(stream, "{}", printable_lines(text.strip_suffix('\n').unwrap_or(text))));
    }

    /// Talk about the command as a whole, to standard error, also while one of several environments is worked on.
    pub(crate) fn note_of_command(&self, text: &str) {
        Self { aside: None, ..self.clone() }.note(text);
    }

    /// Talk, to standard error, with a line end.
    pub(crate) fn note(&self, text: &str) {
        if let Some(aside) = &self.aside {
            let mut notes = aside.notes.lock().unwrap_or_else(PoisonError::into_inner);
            notes.push_str(text.strip_suffix('\n').unwrap_or(text));
            notes.push('\n');
            return;
        }
        let mut stream = AutoStream::new(std::io::stderr().lock(), self.choice());
        drop(writeln!(stream, "{}", printable_lines(text.strip_suffix('\n').unwrap_or(text))));
    }

    /// That something takes long: a line like any other, or what the environment is about.
    pub(crate) fn waiting(&self, text: &str) {
        if self.aside.is_some() { self.doing(text) } else { self.note(text) }
    }

    /// What is going on right now: a line that the next one writes over, on a terminal; nothing elsewhere. An empty one
    /// takes it away.
    pub(crate) fn doing(&self, text: &str) {
        match &self.aside {
            Some(aside) => text.clone_into(&mut aside.doing.lock().unwrap_or_else(PoisonError::into_inner)),
            None => self.draw(&format!("\r\x1b[K{}", printable_log_line(text))),
        }
    }

    /// Whether what is drawn is seen.
    #[expect(clippy::unused_self, reason = "asked of the printer like everything else")]
    pub(crate) fn is_live(&self) -> bool {
        std::io::stderr().is_terminal()
    }

    /// Puts text where the cursor is, on a terminal; nothing elsewhere.
    pub(crate) fn draw(&self, text: &str) {
        if self.is_live() {
            let mut stream = std::io::stderr().lock();
            drop(stream.write_all(text.as_bytes()));
            drop(stream.flush());
        }
    }

    /// Asks for a line on the terminal; none if there is no terminal to ask on.
    pub(crate) fn ask(&self, question: &str) -> Option<String> {
        if !std::io::stdin().is_terminal() {
            return None;
        }
        let mut stream = AutoStream::new(std::io::stderr().lock(), self.choice());
        drop(write!(stream, "{} ", printable_lines(question)));
        drop(stream.flush());
        let mut line = String::new();
        std::io::stdin().read_line(&mut line).ok().map(|_| line.trim().to_owned())
    }
}
