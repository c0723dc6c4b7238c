//! Sign-in, and confirmation of an identity, with an identity provider: a link sends the browser there, and the provider sends it
//! back.
//!
//! [`begin`] and [`confirm`] set a cookie and redirect to the provider; they change nothing else. Links lead to them, because the
//! policy of the pages lets no form lead to another site. [`complete_named`] receives the answer, and accepts it only with the
//! cookie that it fits. A refused answer shows the form for the sign-in with the reason; if the browser is signed in, its session
//! stays and a page shows the reason. The answer is verified in `service::identity_sign_in`.

use std::sync::Arc;

use axum::{
    Extension,
    extract::State,
    http::{HeaderMap, header},
    response::{IntoResponse as _, Response},
};
use serde::Deserialize;

use crate::{
    console::{
        answer::redirect,
        cookies,
        extract::{Parameters, Segment},
        page::{Page, SignedIn},
        pages::sign_in::{Source, local_path, refuse, signed_in},
    },
    service::{BegunSignIn, CompletedSignIn, DEFAULT_PROVIDER, HttpProblem, ProviderAnswer, Service},
};

/// The parameters of the link.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(in crate::console) struct Start {
    next: String,
}

/// Sends the browser to an identity provider.
pub(in crate::console) async fn begin(
    State(service): State<Arc<Service>>,
    page: Page,
    headers: HeaderMap,
    Segment(provider): Segment<String>,
    Parameters(start): Parameters<Start>,
) -> Result<Response, HttpProblem> {
    let next = local_path(&start.next).to_owned();
    match service.begin_identity_sign_in(&provider, &next).await {
        Ok(begun) => Ok(to_provider(&service, &begun)),
        Err(problem) => refuse(&service, &headers, page, next, &problem),
    }
}

/// Sends the person of a session to its identity provider, to confirm its identity there.
pub(in crate::console) async fn confirm(
    State(service): State<Arc<Service>>,
    SignedIn { session, .. }: SignedIn,
    Parameters(start): Parameters<Start>,
) -> Result<Response, HttpProblem> {
    let begun = service.begin_confirmation_with_provider(&session, local_path(&start.next)).await?;
    Ok(to_provider(&service, &begun))
}

pub(super) fn to_provider(service: &Service, begun: &BegunSignIn) -> Response {
    let mut response = redirect(begun.address.as_str());
    if let Some(cookie) = cookies::set_sign_in(service, &begun.cookie) {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
    response
}

/// Completes a sign-in with the answer of the only identity provider, or of the one without a name.
pub(in crate::console) async fn complete(
    state: State<Arc<Service>>,
    page: Page,
    source: Source,
    signed_in_as: Option<Extension<SignedIn>>,
    headers: HeaderMap,
    answer: Parameters<ProviderAnswer>,
) -> Result<Response, HttpProblem> {
    complete_named(state, page, source, signed_in_as, headers, Segment(DEFAULT_PROVIDER.to_owned()), answer).await
}

/// Completes a sign-in, a confirmation of identity or a signature with the answer of an identity provider.
pub(in crate::console) async fn complete_named(
    State(service): State<Arc<Service>>,
    page: Page,
    Source(source): Source,
    signed_in_as: Option<Extension<SignedIn>>,
    headers: HeaderMap,
    Segment(provider): Segment<String>,
    Parameters(answer): Parameters<ProviderAnswer>,
) -> Result<Response, HttpProblem> {
    let cookie = cookies::sign_in(&headers, &service);
    let caller = signed_in_as.as_ref().map(|Extension(signed_in)| &signed_in.caller);
    let mut response = match service.complete_identity_sign_in(&provider, cookie, &answer, &source, caller).await {
        Ok(CompletedSignIn::Confirmed { secret, next }) => {
            let mut response = redirect(&format!("{}{next}", page.base));
            if let Some(cookie) = cookies::set_session(&service, &secret) {
                response.headers_mut().append(header::SET_COOKIE, cookie);
            }
            response
        }
        Ok(CompletedSignIn::Signed { next }) => redirect(&format!("{}{next}", page.base)),
        Ok(CompletedSignIn::SignedIn { secret, next }) => signed_in(&service, &page, &next, &secret),
        // The session stays as it is: a page of its own shows the problem.
        Err(problem) if source.replaces.is_some() => problem.into_response(),
        Err(problem) => refuse(&service, &headers, page, "/console".to_owned(), &problem)?,
    };
    if let Some(cookie) = cookies::remove_sign_in(&service) {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
    Ok(response)
}
