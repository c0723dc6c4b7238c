//! Why a request failed, in a form that both programs and people can use.

use crate::{api::ProblemDetails, model::Code};

/// Why a request failed.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct ClientError {
    /// Which kind of failure: what code decides on.
    pub code: Code,
    /// What happened, in one sentence. Never carries a token.
    pub message: String,
    /// What to do about it; may be empty.
    pub remedy: String,
    /// The service's own words, where it answered with a problem.
    pub problem: Option<Box<ProblemDetails>>,
}

impl ClientError {
    pub(super) fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), remedy: String::new(), problem: None }
    }

    pub(super) fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = remedy.into();
        self
    }

    /// The document in the answer, or the one to send, is not what it should be.
    pub(super) fn unreadable(error: &serde_json::Error) -> Self {
        // serde_json's message may quote a value; the place and the kind are enough.
        Self::new(
            Code::IncompleteAnswer,
            format!(
                "the service's answer makes no sense: {:?} error at line {}, column {}",
                error.classify(),
                error.line(),
                error.column()
            ),
        )
        .remedy("Nothing was planned or changed by this program. Check that both are of the same version.")
    }
}
