//! [`Summary`]: the result of a command for one environment, as it is reported alone and among those of others.
//!
//! A result can have an error next to it: the text is printed, and the exit code is that of the error.

use serde_json::Value;

use crate::{
    cli::{CliError, Context, Exit, Format, ui::format::document_of},
    model::EnvironmentName,
    text::markdown::code_block,
};

/// The key of a result that is a list.
pub(super) const RESULTS: &str = "results";

/// The result of a task for one environment.
pub(crate) struct TaskResult<T> {
    pub(crate) name: EnvironmentName,
    /// The messages of the task.
    pub(crate) notes: String,
    pub(crate) result: Result<T, CliError>,
}

/// The place of a result in a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Significance {
    /// A line in the table, or only counted.
    Quiet,
    /// A line in the table, without being counted as notable.
    Noted,
    /// A section, without being counted as notable.
    Shown,
    /// A line in the table, counted as notable.
    Listed,
    /// A section if there is text, and counted as notable.
    Counted,
}

/// The result of a command for one environment.
#[derive(Clone)]
pub(crate) struct Summary {
    /// The result as text or Markdown, depending on the format.
    pub(crate) text: String,
    /// The result as JSON.
    pub(crate) document: Value,
    /// The result in one line.
    pub(crate) line: String,
    /// The exit code for this environment alone.
    pub(crate) exit: Exit,
    pub(crate) significance: Significance,
    /// The error, if there is a result in spite of it.
    pub(crate) refusal: Option<CliError>,
    /// The part that must be equal for two results to be reported together. Default: the text.
    pub(crate) content: Option<Value>,
    /// Numbers that follow the line. They can differ between results that are reported together, and are added up.
    pub(crate) amounts: Vec<(&'static str, u64)>,
    /// The differences that results which are reported together can have.
    pub(crate) varying: &'static str,
}

/// The differences that results with equal content can have, unless a command says otherwise.
pub(super) const VARYING: &str = "names, companies, variables, keys, ids, generations and times";

impl Summary {
    /// A result without an error that is compared by its text.
    pub(crate) fn new(significance: Significance, line: String, text: String, document: Value) -> Self {
        Self {
            text,
            document,
            line,
            exit: Exit::Done,
            significance,
            refusal: None,
            content: None,
            amounts: Vec::new(),
            varying: VARYING,
        }
    }

    /// Returns the result or the error in one line.
    pub(crate) fn headline(&self) -> String {
        self.refusal.as_ref().map_or_else(|| line_with(&self.line, &self.amounts), CliError::headline)
    }

    /// Prints the result of a single environment, and returns the exit.
    pub(crate) fn print(
        self,
        context: &Context,
        format: Format,
        environment: &EnvironmentName,
    ) -> Result<Exit, CliError> {
        if format == Format::Json {
            context.printer.json(&document_of(environment.as_str(), RESULTS, &self.document));
        } else if format == Format::Markdown {
            context.printer.document(&markdown_section(&format!("`{environment}`"), &self.text));
        } else {
            context.printer.out(&self.text);
        }
        match self.refusal {
            // The document contains the error.
            Some(refusal) => Err(CliError { in_json: format == Format::Json, ..refusal }),
            None => Ok(self.exit),
        }
    }
}

/// The names of notable and other results in totals: a JSON key and a text each.
pub(crate) struct SummaryLabels {
    pub(crate) notable: (&'static str, &'static str),
    pub(crate) quiet: (&'static str, &'static str),
}

/// Returns true if a text is Markdown already.
pub(super) fn is_markdown(text: &str) -> bool {
    let text = text.trim_start_matches('\n');
    text.starts_with("<!--") || text.starts_with('#')
}

/// Returns a text as a section of Markdown, with a heading unless it is Markdown already.
pub(super) fn markdown_section(heading: &str, text: &str) -> String {
    let plain = anstream::adapter::strip_str(text.trim_matches('\n')).to_string();
    if is_markdown(&plain) { plain } else { format!("### {heading}\n\n{}", code_block(&plain)) }
}

/// Returns a line with the numbers that follow it.
pub(super) fn line_with(line: &str, amounts: &[(&'static str, u64)]) -> String {
    let amounts = amounts.iter().map(|(label, amount)| match (amount, label.strip_suffix('s')) {
        (1, Some(one)) => format!("1 {one}"),
        _ => format!("{amount} {label}"),
    });
    let line = Some(line.to_owned()).filter(|line| !line.is_empty());
    line.into_iter().chain(amounts).collect::<Vec<_>>().join(", ")
}
