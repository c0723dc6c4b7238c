//! Step-up: a person confirms its identity with a passkey, or follows the link to its identity provider, and continues where it
//! was refused. The session gets a new secret.

use std::sync::Arc;

use askama::Template;
use axum::{
    extract::State,
    http::{HeaderMap, header},
    response::{IntoResponse as _, Response},
};
use serde::Deserialize;

use super::sign_in::local_path;
use crate::{
    console::{
        answer::{Answer, redirect, render},
        cookies,
        extract::{Form, Parameters},
        page::{Page, SignedIn},
        passkey_form::{PasskeyForm, site},
        problem_page::{ProblemNotice, status_of},
    },
    model::session::{Session, SessionSubject},
    service::{HttpProblem, Service},
    text::percent_encode,
};

/// The page.
#[derive(Template)]
#[template(path = "confirm.html")]
struct ConfirmPage {
    page: Page,
    next: String,
    /// The form; none if the session is not that of an operator, or passkeys cannot be used at this address.
    form: Option<PasskeyForm>,
    /// True if the session is that of a token, which is not a person.
    is_token: bool,
    /// The address that leads to the identity provider of the person, which confirms the identity.
    provider: Option<String>,
    problem: Option<ProblemNotice>,
}

/// The parameters of the page.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(in crate::console) struct Arrival {
    next: String,
}

/// Asks for a passkey.
pub(in crate::console) async fn show(
    State(service): State<Arc<Service>>,
    page: Page,
    SignedIn { session, .. }: SignedIn,
    headers: HeaderMap,
    Parameters(arrival): Parameters<Arrival>,
) -> Answer {
    let next = local_path(&arrival.next).to_owned();
    render(&ask(&service, page, &session, &headers, next, None).await)
}

async fn ask(
    service: &Service,
    page: Page,
    session: &Session,
    headers: &HeaderMap,
    next: String,
    problem: Option<ProblemNotice>,
) -> ConfirmPage {
    let is_token = matches!(session.subject, SessionSubject::Token(_));
    let provider = matches!(session.subject, SessionSubject::Identity { .. })
        .then(|| format!("{}/console/confirm/identity?next={}", page.base, percent_encode(next.as_bytes(), b"-._~/")));
    let (form, obstacle) = if is_token || provider.is_some() {
        (None, None)
    } else {
        let begun = async { service.begin_confirmation(&site(service, headers)?, session).await };
        match begun.await {
            Ok(options) => (Some(PasskeyForm::get(&options)), None),
            Err(problem) => (None, Some(ProblemNotice::new(&problem))),
        }
    };
    ConfirmPage { page, next, form, is_token, provider, problem: problem.or(obstacle) }
}

/// The answer of the device.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::console) struct Confirmation {
    answer: String,
    #[serde(default)]
    next: String,
}

/// Records the confirmation, and continues.
pub(in crate::console) async fn confirm(
    State(service): State<Arc<Service>>,
    page: Page,
    SignedIn { session, .. }: SignedIn,
    headers: HeaderMap,
    Form(entry): Form<Confirmation>,
) -> Result<Response, HttpProblem> {
    let next = local_path(&entry.next).to_owned();
    let finished = async { service.finish_confirmation(&site(&service, &headers)?, &session, &entry.answer).await };
    match finished.await {
        Ok((_, secret)) => {
            let mut response = redirect(&format!("{}{next}", page.base));
            if let Some(cookie) = cookies::set_session(&service, &secret) {
                response.headers_mut().append(header::SET_COOKIE, cookie);
            }
            Ok(response)
        }
        Err(problem) => {
            let refused = Some(ProblemNotice::new(&problem));
            let page = ask(&service, page, &session, &headers, next, refused).await;
            Ok((status_of(&problem), render(&page)?).into_response())
        }
    }
}
