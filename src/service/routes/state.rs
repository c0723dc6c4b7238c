//! Who is talking, and everything that it holds.

use std::sync::Arc;

use axum::{
    Json,
    extract::State as Shared,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};

use crate::{
    api::{self, ServiceInfo},
    model::State,
    service::{
        Service,
        access::{As, Viewer},
        http::{AnyProblem, HttpProblem},
    },
};

/// Who is talking
#[utoipa::path(get, path = "/v1/service", tag = "state", responses((status = 200, description = "The service.", body = ServiceInfo), AnyProblem))]
pub(super) async fn service(
    As(caller, _): As<Viewer>,
    Shared(service): Shared<Arc<Service>>,
) -> Result<Json<ServiceInfo>, HttpProblem> {
    Ok(Json(ServiceInfo {
        product: "mailwright".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        api_version: api::VERSION,
        environment: service.store.environment().clone(),
        role: Some(caller.role),
        recipient: service.identity.recipient(),
        generation: service.state().generation,
        webhook_key: crate::delivery::public_key(&service.identity).map_err(HttpProblem::internal)?,
        demo: service.demo,
        started_at: service.started_at,
    }))
}

/// Everything that the service holds
///
/// The answer has an `ETag`; with `If-None-Match` it is sent only if it changed. It names secrets and their digests,
/// and has no field for a value.
#[utoipa::path(get, path = "/v1/state", tag = "state",
    params(("If-None-Match" = Option<String>, Header, description = "The `ETag` of the state that the client has.")),
    responses((status = 200, description = "The state.", body = State), (status = 304, description = "The client has it."), AnyProblem))]
pub(super) async fn state(
    _: As<Viewer>,
    Shared(service): Shared<Arc<Service>>,
    headers: HeaderMap,
) -> Result<Response, HttpProblem> {
    let state = service.state();
    let tag = format!("\"g{}\"", state.generation);
    let has =
        |value: &str| value.split(',').any(|part| part.trim().trim_start_matches("W/") == tag || part.trim() == "*");
    if headers.get(header::IF_NONE_MATCH).and_then(|value| value.to_str().ok()).is_some_and(has) {
        return Ok((StatusCode::NOT_MODIFIED, [(header::ETAG, tag)]).into_response());
    }
    // Ten thousand profiles take a moment to write down; other requests need not wait for it.
    let body = tokio::task::spawn_blocking(move || serde_json::to_vec(state.as_ref()))
        .await
        .map_err(HttpProblem::internal)?
        .map_err(HttpProblem::internal)?;
    Ok(([(header::ETAG, tag), (header::CONTENT_TYPE, "application/json".to_owned())], body).into_response())
}
