//! The option `--fail-on` of commands that verify: the findings that make the command fail.
//!
//! [`FailOn::limit`] converts it to the limit with which a report is evaluated ([`crate::model::finding::Limit`]).

use crate::model::finding::Limit;

/// The findings that count as a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum FailOn {
    /// Errors, and unknown results of checks of the same severity.
    Error,
    /// Warnings too.
    Warning,
    /// Any unknown result too.
    Unknown,
}

impl FailOn {
    /// Returns the limit for the evaluation of a report.
    pub(crate) fn limit(self) -> Limit {
        match self {
            FailOn::Error => Limit::Error,
            FailOn::Warning => Limit::Warning,
            FailOn::Unknown => Limit::Unknown,
        }
    }

    /// Describes the findings.
    pub(crate) fn describe(self) -> &'static str {
        match self {
            FailOn::Error => "errors",
            FailOn::Warning => "errors or warnings",
            FailOn::Unknown => "errors, warnings or unknown results",
        }
    }
}
