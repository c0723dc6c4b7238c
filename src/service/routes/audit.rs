//! The audit log.

use std::sync::Arc;

use axum::{Json, extract::State};
use serde::Deserialize;
use utoipa::IntoParams;

use crate::{
    api::AuditPage,
    model::integrity::StoreCheck,
    service::{
        Service,
        access::{Admin, As},
        http::extract::Parameters,
        http::{AnyProblem, HttpProblem},
    },
};

/// Which entries.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct Page {
    /// Only those after this one.
    #[serde(default)]
    after: u64,
    /// At most so many; 1 to 1000.
    #[serde(default = "Page::default_limit")]
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: u32,
}

impl Page {
    fn default_limit() -> u32 {
        100
    }
}

/// The audit log, oldest first
///
/// Each entry carries the hash of the one before; `mailwright audit verify` computes the chain again.
#[utoipa::path(get, path = "/v1/audit", tag = "access", params(Page),
    responses((status = 200, description = "A page of entries.", body = AuditPage), AnyProblem))]
pub(super) async fn list(
    As(caller, _): As<Admin>,
    State(service): State<Arc<Service>>,
    Parameters(page): Parameters<Page>,
) -> Result<Json<AuditPage>, HttpProblem> {
    if !(1..=1000).contains(&page.limit) {
        return Err(HttpProblem::malformed("`limit` is 1 to 1000"));
    }
    let store = Arc::clone(&service.store);
    let entries = service.search(&caller, async move { store.audit(page.after, page.limit).await }).await?;
    let next_after = entries.last().map(|last| last.sequence).filter(|_| entries.len() == page.limit as usize);
    Ok(Json(AuditPage { entries, next_after }))
}

/// The store, compared with its audit log
///
/// Computes the chain of hashes again, and compares profiles, settings, tokens and every generation with what the entries
/// state. Reads everything, which takes a while where there is much.
#[utoipa::path(get, path = "/v1/audit/check", tag = "access",
    responses((status = 200, description = "What was found.", body = StoreCheck), AnyProblem))]
pub(super) async fn check(_: As<Admin>, State(service): State<Arc<Service>>) -> Result<Json<StoreCheck>, HttpProblem> {
    Ok(Json(service.store.check().await?))
}
