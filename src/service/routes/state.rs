//! `/v1/service` and `/v1/state`: version, recipient and public key of the service, and its whole configuration.
//!
//! The state needs the right to see profiles, settings and access everywhere. It contains names and digests of secrets, never
//! values. It is sent only if it differs from the `ETag` that the client names, and to one caller 8 times at once at most (429).

use std::sync::Arc;

use axum::{
    Json,
    body::Body,
    extract::State as Shared,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};

use crate::{
    api::ServiceInfo,
    model::State,
    service::{
        Service,
        access::{Authorized, SeeService, StateReader},
        caller_limit::CountedBody,
        http::{AnyProblem, HttpProblem},
    },
};

/// Get service information
#[utoipa::path(get, path = "/v1/service", tag = "state", responses((status = 200, description = "Service information.", body = ServiceInfo), AnyProblem))]
pub(super) async fn get_service(
    Authorized(caller, _): Authorized<SeeService>,
    Shared(service): Shared<Arc<Service>>,
) -> Result<Json<ServiceInfo>, HttpProblem> {
    service.info(&caller).map(Json)
}

/// Get the state
///
/// The settings and all profiles. The answer has an `ETag`; with `If-None-Match` it is sent only if it changed. It has the names and
/// digests of secrets, never a value.
#[utoipa::path(get, path = "/v1/state", tag = "state",
    params(("If-None-Match" = Option<String>, Header, description = "The `ETag` of the state that the client already has.")),
    responses((status = 200, description = "The state.", body = State), (status = 304, description = "The state has not changed."), AnyProblem))]
pub(super) async fn get_state(
    StateReader(caller): StateReader,
    Shared(service): Shared<Arc<Service>>,
    headers: HeaderMap,
) -> Result<Response, HttpProblem> {
    let state = service.state();
    let known = headers.get(header::IF_NONE_MATCH).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let has =
        |tag: &str| known.split(',').any(|part| part.trim().trim_start_matches("W/") == tag || part.trim() == "*");
    let unchanged = |tag: String| (StatusCode::NOT_MODIFIED, [(header::ETAG, tag)]).into_response();
    if let Some(tag) = service.state_tag.find(&state).filter(|tag| has(tag)) {
        return Ok(unchanged(tag));
    }
    let permit = service.state_responses.acquire(&caller)?;
    // This does not run on the async runtime, because serialising ten thousand profiles takes a while.
    let serialize = move || {
        let body = serde_json::to_vec(state.as_ref())?;
        Ok::<_, serde_json::Error>((service.state_tag.compute(&state, &body), body, permit))
    };
    let (tag, body, permit) =
        tokio::task::spawn_blocking(serialize).await.map_err(HttpProblem::internal)?.map_err(HttpProblem::internal)?;
    if has(&tag) {
        return Ok(unchanged(tag));
    }
    let body = Body::new(CountedBody::new(body, permit));
    Ok(([(header::ETAG, tag), (header::CONTENT_TYPE, "application/json".to_owned())], body).into_response())
}
