//! Problems of the service as pages show them: [`ProblemNotice`] is a part of a page, [`ProblemPage`] a page of its own.
//!
//! Causes and remedies are from outside: they are made printable here, once. Names and commands in them are between backticks;
//! templates show them with `page.prose`.

use askama::Template;

use super::page::{Page, shown};
use crate::{api::ProblemDetails, service::HttpProblem};

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

/// A problem as a page.
#[derive(Template)]
#[template(path = "error.html")]
pub(super) struct ProblemPage {
    page: Page,
    status: u16,
    title: String,
    problem: ProblemNotice,
}

impl ProblemPage {
    pub(super) fn new(page: Page, problem: &ProblemDetails) -> Self {
        Self {
            page,
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
