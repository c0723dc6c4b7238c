//! [`LocatedProblem`]: a problem and the span of the file that it concerns, as the parser and the interpolation report it.
//!
//! `diagnostic` turns it into a [`Diagnostic`](super::Diagnostic) with file, line and excerpt.

use super::sources::Span;
use crate::model::{Code, Problem};

/// A [`Problem`] with its place. The message never contains a value of the file.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct LocatedProblem {
    pub(super) span: Span,
    pub(super) problem: Problem,
}

impl LocatedProblem {
    pub(super) fn new(span: Span, code: Code, message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { span, problem: Problem::new(code, message).remedy(remedy) }
    }
}
