//! Why something failed, in a form that the journal keeps and people read.

use serde::{Deserialize, Serialize};

use crate::{model::Code, text::printable};

/// The longest message that is kept, in characters.
const LONGEST: usize = 600;

/// Why something failed: code, cause and remedy. Never a secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "camelCase")]
#[error("{message}")]
pub struct Problem {
    /// Which kind of problem.
    pub code: Code,
    /// What happened.
    pub message: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub remedy: String,
}

impl Problem {
    /// A problem without a remedy.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: short(message.into()), remedy: String::new() }
    }

    /// With what to do about it.
    #[must_use]
    pub fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = short(remedy.into());
        self
    }
}

/// What a service says is cut, and cannot forge a line.
fn short(text: String) -> String {
    let text = printable(&text);
    if text.chars().count() <= LONGEST { text.into_owned() } else { text.chars().take(LONGEST).collect() }
}
