//! The generations of the state, and the way back to one.

use std::sync::Arc;

use axum::{Json, extract::State};
use serde::Deserialize;
use utoipa::IntoParams;

use crate::{
    api::{Changed, GenerationPage, Rollback},
    model::GenerationDetail,
    service::{
        Service,
        access::{As, Deployer, Viewer},
        http::extract::{Body, Parameters, Segment},
        http::{AnyProblem, HttpProblem},
    },
};

/// Which generations.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct Page {
    /// Only those older than this one.
    before: Option<u64>,
    /// At most so many; 1 to 1000.
    #[serde(default = "Page::default_limit")]
    #[param(minimum = 1, maximum = 1000, default = 50)]
    limit: u32,
}

impl Page {
    fn default_limit() -> u32 {
        50
    }
}

/// The generations, newest first
#[utoipa::path(get, path = "/v1/generations", tag = "generations", params(Page),
    responses((status = 200, description = "A page of generations.", body = GenerationPage), AnyProblem))]
pub(super) async fn list(
    As(caller, _): As<Viewer>,
    State(service): State<Arc<Service>>,
    Parameters(page): Parameters<Page>,
) -> Result<Json<GenerationPage>, HttpProblem> {
    if !(1..=1000).contains(&page.limit) {
        return Err(HttpProblem::malformed("`limit` is 1 to 1000"));
    }
    let store = Arc::clone(&service.store);
    let read = async move { store.generations(page.before, page.limit).await };
    let generations = service.search(&caller, read).await?;
    let next_before = generations
        .last()
        .map(|oldest| oldest.number)
        .filter(|oldest| generations.len() == page.limit as usize && *oldest > 1);
    Ok(Json(GenerationPage { generations, next_before }))
}

/// One generation, with everything that was live at it
#[utoipa::path(get, path = "/v1/generations/{number}", tag = "generations",
    params(("number" = u64, Path, description = "The generation.")),
    responses((status = 200, description = "The generation.", body = GenerationDetail), AnyProblem))]
pub(super) async fn one(
    As(caller, _): As<Viewer>,
    State(service): State<Arc<Service>>,
    Segment(number): Segment<u64>,
) -> Result<Json<GenerationDetail>, HttpProblem> {
    let store = Arc::clone(&service.store);
    let found = service.search(&caller, async move { store.generation(number).await }).await?;
    found.map(Json).ok_or_else(|| {
        HttpProblem::not_found(format!("there is no generation {number}")).remedy("`mailwright history` lists them.")
    })
}

/// Go back to an earlier generation, as a new one
///
/// Profiles, settings and secrets go back. What the last apply left stays on record, so the way back shows as drift.
#[utoipa::path(post, path = "/v1/rollbacks", tag = "generations", request_body = Rollback,
    responses((status = 200, description = "Done, or nothing to do.", body = Changed), AnyProblem))]
pub(super) async fn roll_back(
    As(caller, _): As<Deployer>,
    State(service): State<Arc<Service>>,
    Body(order, _room): Body<Rollback>,
) -> Result<Json<Changed>, HttpProblem> {
    let (generation, summary) = service.roll_back(&caller, order).await?;
    Ok(Json(Changed { generation, summary }))
}
