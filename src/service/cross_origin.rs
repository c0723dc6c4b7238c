//! Cross-origin access (CORS) to the delegate addresses, for web clients that sign their users in by themselves.
//!
//! [`allow_origins`] lets the pages of the origins that the issuers file names (`delegateOrigins`) read the answers below
//! `/v1/delegate`. Without an entry there are none. All other addresses have no headers of CORS. No cookie is accepted there, so
//! that credentials of the browser are never allowed.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse as _, Response},
};

use super::Service;

/// The addresses that other origins can use.
const DELEGATES: &str = "/v1/delegate/";
/// The time for which browsers keep the answer to a preflight, in seconds.
const KEPT: &str = "600";

/// Answers preflights of allowed origins, and lets their pages read the answers.
pub(super) async fn allow_origins(State(service): State<Arc<Service>>, request: Request, next: Next) -> Response {
    if !request.uri().path().starts_with(DELEGATES) {
        return next.run(request).await;
    }
    let origin = request.headers().get(header::ORIGIN).cloned();
    let is_allowed = |origin: &HeaderValue| {
        let issuers = service.trusted_issuers();
        origin.to_str().is_ok_and(|origin| issuers.is_some_and(|issuers| issuers.allows_delegates_of(origin)))
    };
    let origin = origin.filter(is_allowed);
    let is_preflight =
        request.method() == Method::OPTIONS && request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
    let mut response = match &origin {
        Some(_) if is_preflight => answer_preflight(),
        _ => next.run(request).await,
    };
    allow(response.headers_mut(), origin);
    response
}

fn answer_preflight() -> Response {
    let headers = [
        (header::ACCESS_CONTROL_ALLOW_METHODS, "GET, POST"),
        (header::ACCESS_CONTROL_ALLOW_HEADERS, "authorization, content-type"),
        (header::ACCESS_CONTROL_MAX_AGE, KEPT),
    ];
    (StatusCode::NO_CONTENT, headers).into_response()
}

/// Adds the headers for an allowed origin. The answer differs by origin, also if there is none.
fn allow(headers: &mut HeaderMap, origin: Option<HeaderValue>) {
    headers.append(header::VARY, HeaderValue::from_static("origin"));
    if let Some(origin) = origin {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    }
}
