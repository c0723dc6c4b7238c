//! Tokens: name, role, limits and end of each, with a button that revokes it. No page shows a token itself.

use std::sync::Arc;

use askama::Template;
use axum::{extract::State, response::Response};
use jiff::Timestamp;

use super::list_pages::{ListPages, Position};
use crate::{
    console::{
        answer::{Answer, redirect, render},
        extract::{Parameters, Segment},
        page::{Page, SignedIn, shown},
    },
    model::{
        CompanyId, Function,
        access::{Activity, Area},
        token::Token,
    },
    service::{HttpProblem, Service},
};

/// Number of tokens of a page, those in effect first.
const ROWS: usize = 100;
/// Number of companies and of functions of a token that are named.
const NAMED: usize = 8;

/// The page.
#[derive(Template)]
#[template(path = "tokens.html")]
struct TokensPage {
    page: Page,
    rows: Vec<Row>,
    pages: Option<ListPages>,
    may_revoke: bool,
}

/// A token in the list.
struct Row {
    id: String,
    name: String,
    role: &'static str,
    companies: Vec<CompanyId>,
    more_companies: usize,
    functions: Vec<Function>,
    more_functions: usize,
    created_at: Timestamp,
    expires_at: Option<Timestamp>,
    revoked_at: Option<Timestamp>,
    state: &'static str,
}

impl Row {
    fn new(token: Token, now: Timestamp) -> Self {
        let state = if token.revoked_at.is_some() {
            "revoked"
        } else if !token.is_in_effect(now) {
            "expired"
        } else if token.suspended_at.is_some() {
            "suspended"
        } else {
            "active"
        };
        Self {
            id: token.id,
            name: shown(&token.name),
            role: token.role.id(),
            more_companies: token.scope.companies.len().saturating_sub(NAMED),
            companies: token.scope.companies.into_iter().take(NAMED).collect(),
            more_functions: token.scope.functions.len().saturating_sub(NAMED),
            functions: token.scope.functions.into_iter().take(NAMED).collect(),
            created_at: token.created_at,
            expires_at: token.expires_at,
            revoked_at: token.revoked_at,
            state,
        }
    }

    fn is_over(&self) -> bool {
        matches!(self.state, "revoked" | "expired")
    }
}

/// Lists the tokens.
pub(in crate::console) async fn show(
    State(service): State<Arc<Service>>,
    page: Page,
    Parameters(position): Parameters<Position>,
) -> Answer {
    let now = service.now();
    let mut rows: Vec<Row> = service.tokens().await?.into_iter().map(|token| Row::new(token, now)).collect();
    rows.sort_by_key(Row::is_over);
    let (rows, pages) = ListPages::cut(rows, ROWS, position.page, |number| format!("/console/tokens?page={number}"));
    render(&TokensPage { may_revoke: page.may(Area::Tokens, Activity::Delete), page, rows, pages })
}

/// Revokes a token.
pub(in crate::console) async fn revoke(
    State(service): State<Arc<Service>>,
    page: Page,
    SignedIn { caller, .. }: SignedIn,
    Segment(id): Segment<String>,
) -> Result<Response, HttpProblem> {
    service.revoke_token(&caller, &id).await?;
    Ok(redirect(&format!("{}/console/tokens", page.base)))
}
