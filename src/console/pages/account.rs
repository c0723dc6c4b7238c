//! Account: the signed-in person, and its passkeys. They are changed only after the person has confirmed its identity.

use std::sync::Arc;

use askama::Template;
use axum::{extract::State, http::HeaderMap, response::Response};

use crate::{
    console::{
        answer::{Answer, redirect, render},
        extract::{Form, Segment},
        page::{Page, SignedIn, shown},
        passkey_form::{NewPasskey, PasskeyForm, site},
        problem_page::ProblemNotice,
    },
    model::{
        operator::{LABEL_LIMIT, PasskeyInfo},
        session::SessionSubject,
    },
    service::{HttpProblem, Service},
};

/// The page.
#[derive(Template)]
#[template(path = "account.html")]
struct AccountPage {
    page: Page,
    name: String,
    role: &'static str,
    /// `token`, `operator` or `identity`.
    kind: &'static str,
    passkeys: Vec<Row>,
    /// True if the person has confirmed its identity recently, so that passkeys can be changed.
    may_change: bool,
    form: Option<PasskeyForm>,
    /// Why no passkey can be added at this address.
    obstacle: Option<ProblemNotice>,
    label_limit: usize,
}

/// A passkey in the list.
struct Row {
    info: PasskeyInfo,
    label: String,
    enrolled_by: Option<String>,
    is_used_now: bool,
}

/// Shows the account.
pub(in crate::console) async fn show(
    State(service): State<Arc<Service>>,
    page: Page,
    SignedIn { session, caller }: SignedIn,
    headers: HeaderMap,
) -> Answer {
    let kind = match &session.subject {
        SessionSubject::Token(_) => "token",
        SessionSubject::Operator(_) => "operator",
        SessionSubject::Identity { .. } => "identity",
    };
    let passkeys = if kind == "operator" { service.own_operator(&session).await?.passkeys } else { Vec::new() };
    let may_change = kind == "operator" && service.is_confirmed_recently(&session);
    let (form, obstacle) = if may_change {
        let begun = async { service.begin_passkey(&site(&service, &headers)?, &session).await };
        match begun.await {
            Ok(options) => (Some(PasskeyForm::create(&options)), None),
            Err(problem) => (None, Some(ProblemNotice::new(&problem))),
        }
    } else {
        (None, None)
    };
    let passkeys = passkeys
        .into_iter()
        .map(|info| Row {
            label: shown(&info.label),
            enrolled_by: info.enrolled_by.as_deref().map(shown),
            is_used_now: session.passkey.as_ref() == Some(&info.id),
            info,
        })
        .collect();
    let (name, role) = (shown(&caller.name), caller.role_name());
    let label_limit = LABEL_LIMIT;
    render(&AccountPage { page, name, role, kind, passkeys, may_change, form, obstacle, label_limit })
}

/// Adds a passkey.
pub(in crate::console) async fn add(
    State(service): State<Arc<Service>>,
    page: Page,
    SignedIn { session, caller }: SignedIn,
    headers: HeaderMap,
    Form(entry): Form<NewPasskey>,
) -> Result<Response, HttpProblem> {
    let site = site(&service, &headers)?;
    service.finish_passkey(&site, &caller, &session, &entry.answer, &entry.label).await?;
    Ok(redirect(&format!("{}/console/account", page.base)))
}

/// Removes a passkey.
pub(in crate::console) async fn remove(
    State(service): State<Arc<Service>>,
    page: Page,
    SignedIn { session, caller }: SignedIn,
    Segment(id): Segment<String>,
) -> Result<Response, HttpProblem> {
    service.remove_own_passkey(&caller, &session, &id).await?;
    Ok(redirect(&format!("{}/console/account", page.base)))
}
