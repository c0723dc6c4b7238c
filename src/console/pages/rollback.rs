//! Rollback: a preview of what the return to an earlier generation changes, with its guards, and the rollback itself.
//!
//! The form has the generation that the preview was made for. A change in between is refused, and nothing is rolled back. Where
//! the console is read-only or only proposes, the page shows the differences and no button.

use std::sync::Arc;

use askama::Template;
use axum::{extract::State, response::Response};
use serde::Deserialize;

use super::history::Differences;
use crate::{
    api::Rollback,
    console::{
        answer::{Answer, redirect, render},
        extract::{Form, Segment},
        page::{Page, SignedIn, shown},
        problem_page::ProblemNotice,
    },
    model::{Allowances, settings::ConsolePolicy},
    service::{HttpProblem, RollbackPreview, Service},
};

/// Maximum number of warnings that are listed.
const WARNINGS: usize = 20;

/// The preview.
#[derive(Template)]
#[template(path = "rollback.html")]
struct RollbackPage {
    page: Page,
    to: u64,
    base: u64,
    differences: Differences,
    guards: Vec<String>,
    approvals: Vec<String>,
    warnings: Vec<String>,
    /// The problem for which the rollback would be refused.
    refused: Option<ProblemNotice>,
}

/// Shows the preview.
pub(in crate::console) async fn show(
    State(service): State<Arc<Service>>,
    page: Page,
    SignedIn { caller, .. }: SignedIn,
    Segment(to): Segment<u64>,
) -> Answer {
    let RollbackPreview { base, differences, guards, approvals, warnings, refused } =
        service.preview_rollback(&caller, to).await?;
    let refused = service.check_console_policy(ConsolePolicy::Apply).err().or(refused);
    render(&RollbackPage {
        page,
        to,
        base,
        differences: Differences::new(differences),
        guards: guards.iter().map(|guard| shown(&guard.message())).collect(),
        approvals: approvals.iter().map(|need| shown(need)).collect(),
        warnings: warnings.iter().take(WARNINGS).map(|warning| shown(warning)).collect(),
        refused: refused.as_ref().map(ProblemNotice::new),
    })
}

/// The fields of the form.
#[derive(Debug, Deserialize)]
pub(in crate::console) struct Confirmation {
    /// The generation that the preview was made for.
    base: u64,
    /// `yes` if the guards are lifted.
    #[serde(default)]
    allow: String,
}

/// Rolls back.
pub(in crate::console) async fn roll_back(
    State(service): State<Arc<Service>>,
    page: Page,
    SignedIn { caller, .. }: SignedIn,
    Segment(to): Segment<u64>,
    Form(Confirmation { base, allow }): Form<Confirmation>,
) -> Result<Response, HttpProblem> {
    // A rollback is a change that was not proposed.
    service.check_console_policy(ConsolePolicy::Apply)?;
    let allowances = if allow == "yes" { service.lift_guards(&caller, to).await? } else { Allowances::default() };
    service.roll_back(&caller, Rollback { to, base, allowances, approvals: Vec::new() }).await?;
    Ok(redirect(&format!("{}/console/history", page.base)))
}
