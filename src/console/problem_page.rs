//! Problems of the service as pages show them: [`ProblemNotice`] is a part of a page, [`ProblemPage`] a page of its own.
//!
//! Causes and remedies are from outside: they are made printable here, once. Names and commands in them are between backticks;
//! templates show them with `page.prose`.

use askama::Template;
use axum::http::StatusCode;

use super::page::{Page, shown};
use crate::{api::ProblemDetails, model::Code, service::HttpProblem, text::percent_encode};

/// Maximum number of broken rules that a message names.
const RULES: usize = 5;

/// A problem, for a page that shows more than it.
pub(super) struct ProblemNotice {
    pub(super) code: String,
    pub(super) cause: String,
    pub(super) remedy: String,
}

impl ProblemNotice {
    pub(super) fn new(problem: &HttpProblem) -> Self {
        let problem = explain_rules(problem.clone());
        Self { code: problem.code().to_string(), cause: shown(problem.message()), remedy: shown(problem.remedy_text()) }
    }
}

/// Names the broken rules in the message of a problem, for a page that has no fields to show them at.
pub(super) fn explain_rules(problem: HttpProblem) -> HttpProblem {
    let Some(first) = problem.violations().first() else { return problem };
    let messages = problem.violations().iter().take(RULES).map(|violation| violation.problem.message.as_str());
    let message = format!("{}: {}", problem.message(), messages.collect::<Vec<_>>().join("; "));
    HttpProblem::new(problem.code(), message).remedy(first.problem.remedy.clone())
}

/// Returns the status of a page that shows a problem next to its form.
pub(super) fn status_of(problem: &HttpProblem) -> StatusCode {
    StatusCode::from_u16(problem.code().status()).unwrap_or(StatusCode::BAD_REQUEST)
}

/// A problem as a page.
#[derive(Template)]
#[template(path = "error.html")]
pub(super) struct ProblemPage {
    page: Page,
    status: u16,
    title: String,
    problem: ProblemNotice,
    /// The address where the person confirms its identity, if that is what is missing.
    confirm: Option<String>,
    /// The page whose form was refused.
    back: Option<String>,
}

impl ProblemPage {
    /// `next` is the page that follows a confirmation of the identity, `back` the one whose form was refused.
    pub(super) fn new(page: Page, problem: &ProblemDetails, next: &str, back: Option<String>) -> Self {
        let can_confirm = page.user.as_ref().is_some_and(|user| user.caller.can_confirm_identity());
        let confirm = (problem.code == Code::StepUpRequired && can_confirm)
            .then(|| format!("{}/console/confirm?next={}", page.base, percent_encode(next.as_bytes(), b"-._~/")));
        Self {
            back,
            page,
            confirm,
            status: problem.status,
            title: problem.title.clone(),
            problem: ProblemNotice {
                code: problem.code.to_string(),
                cause: shown(&problem.detail),
                remedy: shown(&problem.remedy),
            },
        }
    }
}
