//! [`ProblemPage`]: the page that every problem of the service is shown with.

use askama::Template;

use super::page::{Page, shown};
use crate::api::ProblemDetails;

/// A problem as a page.
#[derive(Template)]
#[template(path = "error.html")]
pub(super) struct ProblemPage {
    page: Page,
    status: u16,
    code: String,
    title: String,
    cause: String,
    remedy: String,
}

impl ProblemPage {
    pub(super) fn new(page: Page, problem: &ProblemDetails) -> Self {
        Self {
            page,
            status: problem.status,
            code: problem.code.to_string(),
            title: problem.title.clone(),
            cause: shown(&problem.detail),
            remedy: shown(&problem.remedy),
        }
    }
}
