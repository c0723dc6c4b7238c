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
