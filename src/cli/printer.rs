//! Where text goes: data to standard output, talk to standard error, colours only where they are wanted.
//!
//! A reader that goes away (`| head`) ends the output quietly.

use std::io::{IsTerminal as _, Write as _};

use anstream::{AutoStream, ColorChoice};

use super::CliError;

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
}

impl Printer {
    pub(crate) fn new(color: Color) -> Self {
        Self { color }
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
        drop(writeln!(stream, "{}", text.strip_suffix('\n').unwrap_or(text)));
    }

    /// Talk, to standard error, with a line end.
    pub(crate) fn note(&self, text: &str) {
        let mut stream = AutoStream::new(std::io::stderr().lock(), self.choice());
        drop(writeln!(stream, "{}", text.strip_suffix('\n').unwrap_or(text)));
    }

    /// Whether [`Printer::live_line`] moves.
    #[expect(clippy::unused_self, reason = "asked of the printer like everything else")]
    pub(crate) fn has_live_line(&self) -> bool {
        std::io::stderr().is_terminal()
    }

    /// How far something is: on a terminal in the place of what was said before, elsewhere on a line of its own.
    pub(crate) fn live_line(&self, text: &str) {
        if !self.has_live_line() {
            return self.note(text);
        }
        let mut stream = std::io::stderr().lock();
        drop(write!(stream, "\r\x1b[K{text}"));
        drop(stream.flush());
    }

    /// Leaves the terminal as if nothing had been said.
    pub(crate) fn end_live_line(&self) {
        if self.has_live_line() {
            let mut stream = std::io::stderr().lock();
            drop(write!(stream, "\r\x1b[K"));
            drop(stream.flush());
        }
    }

    /// An error, to standard error: what, why, and what to do.
    pub(crate) fn error(&self, error: &CliError) {
        if !error.silent {
            self.note(&error.render());
        }
    }

    /// Asks for a line on the terminal; none if there is no terminal to ask on.
    pub(crate) fn ask(&self, question: &str) -> Option<String> {
        if !std::io::stdin().is_terminal() {
            return None;
        }
        let mut stream = AutoStream::new(std::io::stderr().lock(), self.choice());
        drop(write!(stream, "{question} "));
        drop(stream.flush());
        let mut line = String::new();
        std::io::stdin().read_line(&mut line).ok().map(|_| line.trim().to_owned())
    }
}
