//! Answers to requests for unknown pages and methods.

use crate::{console::answer::Answer, model::Code, service::HttpProblem};

/// Answers requests for pages that do not exist.
pub(in crate::console) async fn not_found() -> Answer {
    Err(HttpProblem::not_found("this page does not exist").remedy("Begin at the overview, and follow the navigation."))
}

/// Answers requests with a method that an address does not support.
pub(in crate::console) async fn method_not_allowed() -> Answer {
    Err(HttpProblem::new(Code::MethodNotAllowed, "this page does not support the method")
        .remedy("Begin at the overview, and follow the navigation."))
}
