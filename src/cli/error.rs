//! The error of a command: a message, its problem code, details and a remedy; as text and as JSON.
//!
//! Every other layer reports a [`Problem`], which becomes a [`CliError`]. This type does not wrap one: an error of the command line
//! can have no code (an option that does not fit another has no page), its texts can have several lines, which a `Problem`
//! does not keep, and it says what was printed already.

use std::fmt::Write as _;

use anstyle::{AnsiColor, Style};
use serde_json::{Value, json};

use crate::{
    cli::{
        Exit,
        ui::{format::ErrorFormat, printer::Printer},
    },
    config::Diagnostic,
    model::{Code, Problem, code::Severity},
    text::printable_paragraph,
};

/// An error that ends a command. `explain` has a page for its code.
#[derive(Clone, Debug)]
pub(crate) struct CliError {
    pub(crate) code: Option<Code>,
    pub(crate) message: String,
    /// Further lines, such as places and causes.
    pub(crate) details: Vec<String>,
    pub(crate) remedy: Option<String>,
    /// The problems were printed already; only the exit code remains.
    pub(crate) silent: bool,
    /// The problems of the files, for the JSON document.
    pub(crate) diagnostics: Vec<Diagnostic>,
    /// Standard output has the error in its JSON document already.
    pub(crate) in_json: bool,
    pub(crate) exit: Exit,
}

impl CliError {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self {
            code: None,
            message: message.into(),
            details: Vec::new(),
            remedy: None,
            silent: false,
            diagnostics: Vec::new(),
            in_json: false,
            exit: Exit::Error,
        }
    }

    pub(crate) fn coded(code: Code, message: impl Into<String>) -> Self {
        Self { code: Some(code), ..Self::new(message) }
    }

    /// An error for a command that has printed its problems itself.
    pub(crate) fn already_printed() -> Self {
        Self { silent: true, ..Self::new("the files have problems; `mailwright validate` lists them") }
    }

    /// An error for a command that has printed the problems of the files.
    pub(crate) fn from_diagnostics(diagnostics: Vec<Diagnostic>) -> Self {
        let first = diagnostics.iter().find(|diagnostic| diagnostic.severity == Severity::Error);
        Self { code: first.map(|diagnostic| diagnostic.code), diagnostics, ..Self::already_printed() }
    }

    pub(crate) fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }

    pub(crate) fn detail(mut self, detail: impl Into<String>) -> Self {
        self.details.push(detail.into());
        self
    }

    /// Returns the code, the message and the remedy. `otherwise` is the code of an error without one.
    pub(crate) fn into_problem(self, otherwise: Code) -> Problem {
        Problem::new(self.code.unwrap_or(otherwise), self.message).remedy(self.remedy.unwrap_or_default())
    }

    /// Reports the error: as text to standard error, and in a command's JSON format to standard output as well.
    pub(crate) fn report(&self, printer: &Printer, format: ErrorFormat) {
        match format {
            _ if self.in_json => {}
            ErrorFormat::Text => {}
            ErrorFormat::Json => printer.json(&self.to_json()),
            ErrorFormat::JsonLine => printer.json_line(&self.to_json()),
        }
        if !self.silent {
            printer.note(&self.render());
        }
    }

    /// Renders the error for a terminal, without a line break at the end.
    pub(crate) fn render(&self) -> String {
        if self.silent {
            return String::new();
        }
        let red = Style::new().bold().fg_color(Some(AnsiColor::Red.into()));
        let mut text = String::new();
        let code = self.code.map(|code| format!("[{code}]")).unwrap_or_default();
        // Writing to a String cannot fail.
        let _ = write!(text, "{red}error{code}{red:#}: {}", printable_paragraph(&self.message));
        for detail in &self.details {
            let _ = write!(text, "\n  {}", printable_paragraph(detail).replace('\n', "\n  "));
        }
        if let Some(remedy) = &self.remedy {
            let _ = write!(text, "\nhelp: {}", printable_paragraph(remedy));
        }
        if let Some(code) = self.code {
            let _ = write!(text, "\n      (details: `mailwright explain {code}`)");
        }
        text
    }

    /// Returns the first line of the message with its code.
    pub(crate) fn headline(&self) -> String {
        if self.silent {
            return "the files have problems".to_owned();
        }
        let code = self.code.map(|code| format!("[{code}]")).unwrap_or_default();
        format!("error{code}: {}", self.message.lines().next().unwrap_or_default())
    }

    /// Returns the error as a JSON document.
    pub(crate) fn to_json(&self) -> Value {
        let mut error = json!({
            "code": self.code, "message": self.message, "details": self.details, "remedy": self.remedy,
        });
        if !self.diagnostics.is_empty() {
            error["diagnostics"] = json!(self.diagnostics);
        }
        json!({ "error": error })
    }
}

impl From<Problem> for CliError {
    fn from(problem: Problem) -> Self {
        let Problem { code, message, details, remedy } = problem;
        Self { details, remedy: Some(remedy).filter(|remedy| !remedy.is_empty()), ..Self::coded(code, message) }
    }
}

impl std::fmt::Display for CliError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for CliError {}
