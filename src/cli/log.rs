//! The log of `serve` and `watch`: as text or JSON on standard error, filtered by `MAILWRIGHT_LOG`.
//!
//! [`start_log`] is called once. A log line cannot contain a line break or a control character. Other commands use the printer. An
//! invalid filter is an error at the start; a failure to write a line is ignored.

use std::io::IsTerminal as _;

use super::{CliError, variables};
use crate::{model::Code, text::printable_log_line};

/// The format of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum LogFormat {
    /// Text for a terminal.
    Human,
    /// One JSON document per line.
    Json,
}

/// Starts the log on standard error. `default_filter` applies if `MAILWRIGHT_LOG` is not set.
pub(super) fn start_log(format: Option<LogFormat>, default_filter: &str) -> Result<(), CliError> {
    let filter = variables::read(variables::LOG).unwrap_or_else(|| default_filter.to_owned());
    let filter = tracing_subscriber::EnvFilter::try_new(&filter).map_err(|_| {
        CliError::coded(Code::VariableUnusable, format!("{} is not a log filter", variables::LOG))
            .remedy("Write for example `info` or `mailwright=debug`.")
    })?;
    let is_terminal = std::io::stderr().is_terminal();
    let format = format.unwrap_or(if is_terminal { LogFormat::Human } else { LogFormat::Json });
    // An error while writing the log must not stop the service.
    let builder =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(|| LogWriter).log_internal_errors(false);
    let builder = if is_terminal { builder } else { builder.with_ansi(false) };
    match format {
        LogFormat::Human => builder.with_target(false).init(),
        LogFormat::Json => builder.json().flatten_event(true).with_span_list(false).with_target(false).init(),
    }
    Ok(())
}

/// Writes each event as one line to standard error. Text from peers can neither begin another line nor control a
/// terminal.
struct LogWriter;

impl std::io::Write for LogWriter {
    fn write(&mut self, event: &[u8]) -> std::io::Result<usize> {
        let text = String::from_utf8_lossy(event);
        let (line, end) = text.strip_suffix('\n').map_or((&*text, ""), |line| (line, "\n"));
        let written = format!("{}{end}", printable_log_line(line));
        std::io::stderr().lock().write_all(written.as_bytes())?;
        Ok(event.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        std::io::stderr().lock().flush()
    }
}
