//! Problems: the reason why something failed, in a form that programs and people can use.
//!
//! Every layer reports failures as a [`Problem`]: the code decides what a program does, the message and the remedy are for
//! people. Types that add something wrap it: a violation of a rule its profile, a problem of a file its span, an HTTP answer
//! its status. Only the error of a command and the diagnostic of a file, which are documents, have the same fields side by
//! side. A problem never carries a secret.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Code, code::Severity};
use crate::text::{printable, shortened};

/// Maximum length of a condensed message or remedy, in characters.
const CONDENSED: usize = 600;
/// Maximum number of details that a condensed message includes.
const CONDENSED_DETAILS: usize = 3;

/// A failure: code, message and remedy. All texts are printable: a text from another program cannot forge a line.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema, thiserror::Error)]
#[serde(rename_all = "camelCase")]
#[error("{message}")]
pub struct Problem {
    /// The kind of problem.
    pub code: Code,
    /// The message, in one sentence.
    pub message: String,
    /// Further facts, one per line: places and causes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub details: Vec<String>,
    /// The remedy, in the imperative; can be empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub remedy: String,
}

impl Problem {
    /// Creates a problem without details and without a remedy.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: escaped(message.into()), details: Vec::new(), remedy: String::new() }
    }

    /// Sets the remedy.
    #[must_use]
    pub fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = escaped(remedy.into());
        self
    }

    /// Adds a detail.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.details.push(escaped(detail.into()));
        self
    }

    /// Returns the HTTP status of an answer with this problem.
    pub fn status(&self) -> u16 {
        self.code.status()
    }

    /// Returns true if the problem stops a command; a warning does not.
    pub fn is_error(&self) -> bool {
        self.code.severity() == Severity::Error
    }

    /// Returns the problem with the first details in the message and with bounded texts, for journals and status pages.
    #[must_use]
    pub fn condensed(self) -> Self {
        let details = self.details.into_iter().take(CONDENSED_DETAILS);
        let message = details.fold(self.message, |message, detail| format!("{message}; {detail}"));
        Self {
            code: self.code,
            message: shortened(&message, CONDENSED).into_owned(),
            details: Vec::new(),
            remedy: shortened(&self.remedy, CONDENSED).into_owned(),
        }
    }
}

fn escaped(text: String) -> String {
    match printable(&text) {
        std::borrow::Cow::Borrowed(_) => text,
        std::borrow::Cow::Owned(escaped) => escaped,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_other_programs_stay_on_their_line() {
        let problem = Problem::new(Code::NotFound, "a\nb").remedy("c\u{202e}d").detail("e\u{1b}[2J");
        let all = format!("{}{}{}", problem.message, problem.remedy, problem.details[0]);
        assert!(!all.contains(char::is_control) && !all.contains('\u{202e}'), "{all:?}");
    }

    #[test]
    fn condensing_keeps_three_details_and_bounds_the_texts() {
        let long = (0..5).fold(Problem::new(Code::RulesBroken, "broken"), |problem, n| problem.detail(format!("d{n}")));
        let condensed = long.remedy("x".repeat(5000)).condensed();
        assert_eq!(condensed.message, "broken; d0; d1; d2");
        assert!(condensed.remedy.chars().count() <= CONDENSED + 3 && condensed.details.is_empty());
    }

    #[test]
    fn the_status_comes_from_the_catalogue() {
        assert_eq!(Problem::new(Code::NotFound, "").status(), 404);
        assert_eq!(Problem::new(Code::Syntax, "").status(), 500);
    }
}
