//! A problem with a place, and all problems of a run.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::model::{Code, code::Severity};

/// A problem with a place: what is wrong, where, and how to mend it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Diagnostic {
    /// The file, relative to the repository, with forward slashes.
    pub file: String,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// The column after the last one that is meant, on the same line.
    pub end_column: usize,
    /// Which kind of problem.
    pub code: Code,
    /// How much it weighs.
    pub severity: Severity,
    /// What is wrong, in one sentence. Never quotes a value that could be a secret.
    pub message: String,
    /// How to mend it.
    pub remedy: String,
    /// The environment that it shows up in, where that is not the file's own layer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<String>,
    /// The line, fit to be shown: values that could be secrets are masked. None where there is no line to show.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub excerpt: Option<Excerpt>,
}

/// A line of a file, fit to be shown.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Excerpt {
    /// The text; long lines are cut.
    pub text: String,
    /// The first character that is underlined, from 0.
    pub from: usize,
    /// The first character after it.
    pub to: usize,
}

impl Diagnostic {
    /// A problem of a file as a whole.
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

/// All problems of a run, ordered by place; and how much was looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// The problems.
    pub diagnostics: Vec<Diagnostic>,
    /// How many environments were checked.
    pub environments: usize,
    /// How many files were read.
    pub files: usize,
    /// The environments that have errors, if several were checked.
    pub failed: Vec<String>,
}

impl Report {
    /// Orders the problems. What several environments inherit is told once.
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

    /// The two together.
    #[must_use]
    pub fn and(self, other: Report) -> Self {
        let Self { diagnostics, environments, files, mut failed } = self;
        failed.extend(other.failed);
        let both = Self::new(
            diagnostics.into_iter().chain(other.diagnostics),
            environments + other.environments,
            files + other.files,
        );
        Self { failed, ..both }
    }

    /// Whether anything in it stops a command.
    pub fn has_errors(&self) -> bool {
        self.diagnostics.iter().any(|diagnostic| diagnostic.severity == Severity::Error)
    }

    /// How many problems of a severity there are.
    pub fn count(&self, severity: Severity) -> usize {
        self.diagnostics.iter().filter(|diagnostic| diagnostic.severity == severity).count()
    }
}
