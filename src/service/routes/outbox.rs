//! `/v1/outbox`: the state of delivery with the reasons for which mail waits, and the confirmation that a restore from a
//! backup is complete.
//!
//! The groups of waiting mail are formed by `delivery::waiting`. A confirmation without a restore that waits for one succeeds and
//! changes nothing.

use std::sync::Arc;

use axum::{Json, extract::State, http::StatusCode};
use serde::Deserialize;
use serde_json::json;
use utoipa::IntoParams;

use crate::{
    api::messages::OutboxStatus,
    model::AuditOutcome,
    service::{
        Service,
        access::{Authorized, ConfirmRestore, SeeOutbox},
        http::{AnyProblem, HttpProblem, extract::Parameters},
    },
    store::AuditEvent,
};

/// Parameters of the outbox status.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub(super) struct StatusParameters {
    /// Also count messages that finished within this number of seconds, at most 30 days.
    #[param(minimum = 1, maximum = 2_592_000)]
    #[serde(alias = "over")]
    finished_within: Option<u32>,
}

/// Get the outbox status
#[utoipa::path(get, path = "/v1/outbox", tag = "mail", params(StatusParameters),
    responses((status = 200, description = "Counts, suspended profiles, holds.", body = OutboxStatus), AnyProblem))]
pub(super) async fn get_outbox_status(
    Authorized(caller, _): Authorized<SeeOutbox>,
    State(service): State<Arc<Service>>,
    Parameters(parameters): Parameters<StatusParameters>,
) -> Result<Json<OutboxStatus>, HttpProblem> {
    service.outbox_status(&caller, parameters.finished_within).await.map(Json)
}

/// Confirm a restore from a backup
///
/// An administrator has checked the messages that are unknown because of the restore. Mail is accepted again.
#[utoipa::path(post, path = "/v1/outbox/confirm-restore", tag = "mail",
    responses((status = 204, description = "Confirmed, now or earlier."), AnyProblem))]
pub(super) async fn confirm_restore(
    Authorized(caller, _): Authorized<ConfirmRestore>,
    State(service): State<Arc<Service>>,
) -> Result<StatusCode, HttpProblem> {
    let Some(restored) = service.restored() else { return Ok(StatusCode::NO_CONTENT) };
    let event = AuditEvent {
        at: service.clock.now(),
        actor: caller.name,
        action: "store.restore-confirmed",
        outcome: AuditOutcome::Accepted,
        detail: json!({ "why": restored.why, "noticedAt": restored.noticed_at }),
    };
    service.store.confirm_restore(event).await?;
    *service.restored.lock() = None;
    tracing::info!("restore confirmed; mail is accepted again");
    Ok(StatusCode::NO_CONTENT)
}
