//! A problem with its place, and the report of a run.
//!
//! [`Diagnostic`] is an element of the list `diagnostics` in `validate --format json`, and in the JSON error of other commands if
//! the files have errors. Its keys, in this order: the place, code, severity, message, remedy, the environment that inherits the
//! problem, and the excerpt (the line, with possible secrets masked).
//!
//! A problem of a whole file is at line 1, column 1, without an excerpt.
//!
//! [`Report`] sorts problems by these keys in their order. Of several with the same place, code and message only the first is
//! kept, so a problem that several environments inherit names at most one of them. [`Report::to_problem`] condenses a report into
//! one problem. A warning does not make a run fail; an error does ([`Report::has_errors`]).

use std::{collections::BTreeSet, sync::Arc};

use serde::{Deserialize, Serialize};

use super::{
    excerpt::{Excerpt, render_excerpt},
    sources::{Sources, Span},
};
use crate::model::{Code, Problem, ProfileName, code::Severity};

/// A problem with its place, cause and remedy.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Diagnostic {
    /// The file, relative to the repository, with forward slashes.
    pub file: String,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// The column after the last one that is underlined, on the same line.
    pub end_column: usize,
    /// The problem's code.
    pub code: Code,
    /// The severity, which follows from the code.
    pub severity: Severity,
    /// The cause, in one sentence. Never quotes a value that may be a secret.
    pub message: String,
    /// The remedy.
    pub remedy: String,
    /// The environment that inherits the problem, if the file belongs to another layer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<String>,
    /// The line, with possible secrets masked; none if the problem is not about one line, or the line is too long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub excerpt: Option<Excerpt>,
}

impl Diagnostic {
    /// Describes a problem of a file as a whole.
    pub(super) fn file(code: Code, file: &str, message: String, remedy: &str) -> Self {
        Self {
            file: file.to_owned(),
            line: 1,
            column: 1,
            end_column: 1,
            code,
            severity: code.severity(),
            message,
            remedy: remedy.to_owned(),
            environment: None,
            excerpt: None,
        }
    }
}

/// Builder of diagnostics: adds the place and the excerpt of a span.
#[derive(Clone, Debug)]
pub(super) struct DiagnosticBuilder {
    pub(super) sources: Arc<Sources>,
}

impl DiagnosticBuilder {
    /// Describes a problem at a place.
    pub(super) fn diagnostic_at(
        &self,
        span: Span,
        code: Code,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Diagnostic {
        self.diagnostic_with_concealment(span, code, message, remedy, false)
    }

    /// Describes a problem at a place. With `conceal`, the value that begins there is masked in the excerpt.
    pub(super) fn diagnostic_with_concealment(
        &self,
        span: Span,
        code: Code,
        message: impl Into<String>,
        remedy: impl Into<String>,
        conceal: bool,
    ) -> Diagnostic {
        let place = self.sources.place(span);
        let excerpt = self.sources.get(span.file).and_then(|source| render_excerpt(&source, span, conceal));
        let remedy = name_profile(remedy.into(), &place.file);
        let end_column = if span.end_line == span.line { span.end_column as usize + 1 } else { place.column + 1 };
        Diagnostic {
            file: place.file,
            line: place.line,
            column: place.column,
            end_column: end_column.max(place.column + 1),
            code,
            severity: code.severity(),
            message: message.into(),
            remedy,
            environment: None,
            excerpt,
        }
    }
}

/// Returns a remedy with the name of the profile, if the file is that of a profile. The secret of a profile is named after it.
fn name_profile(remedy: String, file: &str) -> String {
    let name = file.split_once("/profiles/").and_then(|(_, name)| Some(name.rsplit_once('.')?.0));
    // The remedy may be a command: the name of a file can be any text, that of a profile needs no quotes.
    let name = name.filter(|name| name.parse::<ProfileName>().is_ok());
    let Some(profile) = name.filter(|_| remedy.contains("NAME/")) else { return remedy };
    let key = if remedy.contains("clientSecret") { "client-secret" } else { "password" };
    remedy.replace("NAME/KEY", &format!("{profile}/{key}")).replace("NAME/", &format!("{profile}/"))
}

/// All problems of a run, ordered by place, with the number of environments and files checked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// The problems.
    pub diagnostics: Vec<Diagnostic>,
    /// The number of environments that were checked.
    #[serde(rename = "environmentCount")]
    pub environments: usize,
    /// The number of files that were read.
    pub files: usize,
    /// The environments that have errors, if several were checked.
    pub failed: Vec<String>,
}

impl Report {
    /// Orders the problems, and drops duplicates: several environments may inherit the same one.
    pub(super) fn new(diagnostics: impl IntoIterator<Item = Diagnostic>, environments: usize, files: usize) -> Self {
        let mut seen = BTreeSet::new();
        let mut kept: Vec<Diagnostic> = Vec::new();
        let mut all: Vec<Diagnostic> = diagnostics.into_iter().collect();
        all.sort();
        for diagnostic in all {
            let key = (
                diagnostic.file.clone(),
                diagnostic.line,
                diagnostic.column,
                diagnostic.code,
                diagnostic.message.clone(),
            );
            if seen.insert(key) {
                kept.push(diagnostic);
            }
        }
        Self { diagnostics: kept, environments, files, failed: Vec::new() }
    }

    /// Returns the report as one problem: the first error, and the number of others.
    pub fn to_problem(&self) -> Problem {
        let mut errors = self.diagnostics.iter().filter(|problem| problem.severity == Severity::Error);
        let first = errors.next().map_or_else(String::new, |first| {
            format!(": {}:{}: {} {}", first.file, first.line, first.code.id(), first.message)
        });
        let more = match errors.count() {
            0 => String::new(),
            count => format!(" and {count} more"),
        };
        Problem::new(Code::FilesInvalid, format!("the files break the rules{first}{more}"))
            .remedy("`mailwright validate` lists all errors.")
    }

    /// Combines two reports.
    #[must_use]
    pub fn merge(self, other: Report) -> Self {
        let Self { diagnostics, environments, files, mut failed } = self;
        failed.extend(other.failed);
        let both = Self::new(
            diagnostics.into_iter().chain(other.diagnostics),
            environments + other.environments,
            files + other.files,
        );
        Self { failed, ..both }
    }

    /// Returns true if a problem is an error.
    pub fn has_errors(&self) -> bool {
        self.diagnostics.iter().any(|diagnostic| diagnostic.severity == Severity::Error)
    }

    /// Returns the number of problems of a severity.
    pub fn count(&self, severity: Severity) -> usize {
        self.diagnostics.iter().filter(|diagnostic| diagnostic.severity == severity).count()
    }
}
