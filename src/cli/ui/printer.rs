//! Terminal output: results to standard output, messages to standard error, colour only when enabled.
//!
//! Results and messages are folded to the width of the terminal; documents that programs read are not.
//!
//! Of every text only line breaks, tabs and this program's own colours reach the terminal. Other control characters are
//! escaped; in JSON the escape means the same.
//!
//! A reader that closes the pipe (`| head`) is not an error. While several environments are processed in parallel, the messages of
//! each are collected in a [`TaskLog`] and shown under its name. Failures to write are otherwise ignored too.

use std::{
    io::{IsTerminal as _, Write as _},
    os::{
        fd::AsFd,
        unix::fs::{FileTypeExt as _, MetadataExt as _},
    },
    sync::Arc,
};

use anstream::{AutoStream, ColorChoice};

use crate::{
    cli::ui::{
        format::versioned,
        terminal::{message_width, output_width},
        wrap::wrap,
    },
    sync::Mutex,
    text::{printable_lines, printable_log_line},
};

/// Use of colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Color {
    /// On a terminal, unless `NO_COLOR` is set
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

/// Writes results and messages. Text may contain ANSI colours; they are removed when colour is disabled.
#[derive(Clone, Debug)]
pub(crate) struct Printer {
    color: Color,
    /// Collects messages instead of standard error.
    task_log: Option<Arc<TaskLog>>,
}

/// The messages of one environment while others are processed in parallel.
#[derive(Debug, Default)]
pub(crate) struct TaskLog {
    notes: Mutex<String>,
    status: Mutex<String>,
}

impl TaskLog {
    /// Returns the messages, each with a line break.
    pub(crate) fn notes(&self) -> String {
        self.notes.lock().clone()
    }

    /// Returns the current step; empty if none was set.
    pub(crate) fn status(&self) -> String {
        self.status.lock().clone()
    }
}

/// Returns true if a stream is `/dev/null`. A program that is started with a closed standard output has it in its place.
fn is_discarded(stream: &impl AsFd) -> std::io::Result<bool> {
    let metadata = std::fs::File::from(stream.as_fd().try_clone_to_owned()?).metadata()?;
    let null = std::fs::metadata("/dev/null");
    Ok(metadata.file_type().is_char_device() && null.is_ok_and(|null| null.rdev() == metadata.rdev()))
}

impl Printer {
    pub(crate) fn new(color: Color) -> Self {
        Self { color, task_log: None }
    }

    /// Returns a printer that collects messages, and its log.
    pub(crate) fn with_task_log(&self) -> (Self, Arc<TaskLog>) {
        let task_log = Arc::new(TaskLog::default());
        (Self { task_log: Some(Arc::clone(&task_log)), ..self.clone() }, task_log)
    }

    fn choice(&self) -> ColorChoice {
        match self.color {
            Color::Auto => ColorChoice::Auto,
            Color::Always => ColorChoice::AlwaysAnsi,
            Color::Never => ColorChoice::Never,
        }
    }

    /// Prints a result to standard output, folded to the terminal's width, with a line break.
    pub(crate) fn out(&self, text: &str) {
        self.write_out(text, output_width());
    }

    /// Prints a document that programs read to standard output, with a line break. Its lines are not folded.
    pub(crate) fn document(&self, text: &str) {
        self.write_out(text, None);
    }

    /// Prints a JSON document with the version of its form to standard output.
    pub(crate) fn json(&self, document: &serde_json::Value) {
        self.document(&format!("{:#}", versioned(document)));
    }

    /// Prints a JSON document with the version of its form on one line.
    pub(crate) fn json_line(&self, document: &serde_json::Value) {
        self.document(&versioned(document).to_string());
    }

    /// Prints a result that is shown only once. Fails if standard output cannot be written or is discarded.
    pub(crate) fn try_out(&self, text: &str) -> std::io::Result<()> {
        if is_discarded(&std::io::stdout())? {
            return Err(std::io::Error::other("standard output is closed, or /dev/null"));
        }
        self.try_write_out(text, output_width())
    }

    fn write_out(&self, text: &str, width: Option<usize>) {
        drop(self.try_write_out(text, width));
    }

    fn try_write_out(&self, text: &str, width: Option<usize>) -> std::io::Result<()> {
        let mut stream = AutoStream::new(std::io::stdout().lock(), self.choice());
        writeln!(stream, "{}", folded(text, width))?;
        stream.flush()
    }

    /// Prints a message about the command as a whole to standard error, also while environments are processed in parallel.
    pub(crate) fn note_for_command(&self, text: &str) {
        Self { task_log: None, ..self.clone() }.note(text);
    }

    /// Prints a message to standard error, with a line break.
    pub(crate) fn note(&self, text: &str) {
        if let Some(task_log) = &self.task_log {
            let mut notes = task_log.notes.lock();
            notes.push_str(text.strip_suffix('\n').unwrap_or(text));
            notes.push('\n');
            return;
        }
        let mut stream = AutoStream::new(std::io::stderr().lock(), self.choice());
        drop(writeln!(stream, "{}", folded(text, message_width())));
    }

    /// Reports that a step takes long: as a message, or as the status of the environment.
    pub(crate) fn progress_line(&self, text: &str) {
        if self.task_log.is_some() { self.status_line(text) } else { self.note(text) }
    }

    /// Shows the current step on a line that the next call replaces; does nothing without a terminal. An empty text
    /// removes the line.
    pub(crate) fn status_line(&self, text: &str) {
        match &self.task_log {
            Some(task_log) => text.clone_into(&mut task_log.status.lock()),
            None => self.draw(&format!("\r\x1b[K{}", printable_log_line(text))),
        }
    }

    /// Returns true if standard error is a terminal.
    #[expect(clippy::unused_self, reason = "a property of the printer's output")]
    pub(crate) fn is_live(&self) -> bool {
        std::io::stderr().is_terminal()
    }

    /// Writes text at the cursor's position; does nothing without a terminal.
    pub(crate) fn draw(&self, text: &str) {
        if self.is_live() {
            let mut stream = std::io::stderr().lock();
            drop(stream.write_all(text.as_bytes()));
            drop(stream.flush());
        }
    }

    /// Clears the terminal of standard output. Returns false without a terminal.
    #[expect(clippy::unused_self, reason = "a property of the printer's output")]
    pub(crate) fn clear_screen(&self) -> bool {
        let mut stream = std::io::stdout().lock();
        let is_terminal = stream.is_terminal();
        if is_terminal {
            drop(stream.write_all(b"\x1b[H\x1b[2J"));
        }
        is_terminal
    }

    /// Asks for a line on the terminal. Returns none without a terminal.
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

/// Returns a text as it is shown: without a line break at the end, printable, and folded to a width.
fn folded(text: &str, width: Option<usize>) -> String {
    let text = printable_lines(text.strip_suffix('\n').unwrap_or(text));
    match width {
        Some(width) => wrap(&text, width),
        None => text.into_owned(),
    }
}
