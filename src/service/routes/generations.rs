//! `/v1/generations` and `/v1/rollbacks`: the history of the configuration, one generation with its contents, and rollback to
//! one.
//!
//! A generation that does not exist is 404. A rollback is checked and committed by `service::changes`, like any other change; if
//! nothing differs, it succeeds without a new generation.

use std::sync::Arc;

use axum::{Json, extract::State};
use serde::Deserialize;
use utoipa::IntoParams;

use crate::{
    api::{Changed, GenerationPage, Rollback},
    model::GenerationDetail,
    service::{
        Service,
        access::{Authorized, RollBack, SeeHistory},
        http::{
            AnyProblem, HttpProblem,
            extract::{Body, Parameters, Segment},
        },
    },
};

/// Paging parameters.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct Page {
    /// Return generations older than this one.
    before: Option<u64>,
    /// Maximum number of generations, from 1 to 1000.
    #[serde(default = "Page::default_limit")]
    #[param(minimum = 1, maximum = 1000, default = 50)]
    limit: u32,
}

impl Page {
    fn default_limit() -> u32 {
        50
    }
}

/// List generations
///
/// Newest first.
#[utoipa::path(get, path = "/v1/generations", tag = "generations", params(Page),
    responses((status = 200, description = "One page of generations.", body = GenerationPage), AnyProblem))]
pub(super) async fn list_generations(
    Authorized(caller, _): Authorized<SeeHistory>,
    State(service): State<Arc<Service>>,
    Parameters(page): Parameters<Page>,
) -> Result<Json<GenerationPage>, HttpProblem> {
    service.generations(&caller, page.before, page.limit).await.map(Json)
}

/// Get a generation
///
/// The settings and profiles that were live at it are part of the answer.
#[utoipa::path(get, path = "/v1/generations/{number}", tag = "generations",
    params(("number" = u64, Path, description = "The generation's number.")),
    responses((status = 200, description = "The generation.", body = GenerationDetail), AnyProblem))]
pub(super) async fn get_generation(
    Authorized(caller, _): Authorized<SeeHistory>,
    State(service): State<Arc<Service>>,
    Segment(number): Segment<u64>,
) -> Result<Json<GenerationDetail>, HttpProblem> {
    service.generation(&caller, number).await.map(Json)
}

/// Roll back to an earlier generation
///
/// Restores profiles, settings and secrets as a new generation. The record of the last apply is unchanged, so the rollback is shown
/// as drift.
#[utoipa::path(post, path = "/v1/rollbacks", tag = "generations", request_body = Rollback,
    responses((status = 200, description = "Rolled back, or the state was the same.", body = Changed), AnyProblem))]
pub(super) async fn roll_back(
    Authorized(caller, _): Authorized<RollBack>,
    State(service): State<Arc<Service>>,
    Body(request, _permit): Body<Rollback>,
) -> Result<Json<Changed>, HttpProblem> {
    let (generation, summary) = service.roll_back(&caller, request).await?;
    Ok(Json(Changed { generation, summary }))
}
