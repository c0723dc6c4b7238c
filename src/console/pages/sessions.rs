//! Sessions: who is signed in, from where and until when, with a button to end each.

use std::sync::Arc;

use askama::Template;
use axum::{extract::State, response::Response};
use jiff::Timestamp;

use crate::{
    console::{
        answer::{Answer, redirect, render},
        extract::Segment,
        page::{Page, SignedIn, shown},
        pages::sign_in::signed_out,
    },
    service::{HttpProblem, Service},
};

/// The page.
#[derive(Template)]
#[template(path = "sessions.html")]
struct SessionsPage {
    page: Page,
    sessions: Vec<Row>,
    /// True if the sessions of others are listed as well.
    of_all: bool,
}

/// A session in the list.
struct Row {
    id: String,
    name: String,
    role: &'static str,
    client: String,
    address: String,
    created_at: Timestamp,
    used_at: Timestamp,
    ends_at: Timestamp,
    is_own: bool,
}

/// Lists the sessions that the caller may see.
pub(in crate::console) async fn show(
    State(service): State<Arc<Service>>,
    page: Page,
    SignedIn { session, caller }: SignedIn,
) -> Answer {
    let found = service.sessions(&caller, &session).await?;
    let of_all = found.iter().any(|other| other.subject != session.subject);
    let sessions = found
        .into_iter()
        .map(|found| Row {
            is_own: found.id == session.id,
            id: found.id,
            name: shown(&found.name),
            role: found.role.id(),
            client: found.client,
            address: found.address,
            created_at: found.created_at,
            used_at: found.used_at,
            ends_at: found.ends_at,
        })
        .collect();
    render(&SessionsPage { page, sessions, of_all })
}

/// Ends a session.
pub(in crate::console) async fn end(
    State(service): State<Arc<Service>>,
    page: Page,
    SignedIn { session, caller }: SignedIn,
    Segment(id): Segment<String>,
) -> Result<Response, HttpProblem> {
    service.end_session(&caller, &session, &id).await?;
    Ok(if id == session.id {
        signed_out(&service, &page)
    } else {
        redirect(&format!("{}/console/sessions", page.base))
    })
}
