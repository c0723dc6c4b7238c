//! `/v1/holds`: lists, creates and removes holds, with which an operator stops the mail of a profile, a company or a function.
//!
//! The rules are in `service::holds`; an equal hold that exists is returned instead of a new one. Delivery decides which mail a
//! hold covers.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};

use crate::{
    api::messages::{HoldList, NewHold},
    model::Hold,
    service::{
        Service,
        access::{Authorized, HoldMail, SeeOutbox},
        http::{
            AnyProblem, HttpProblem,
            extract::{Body, Segment},
        },
    },
};

/// List holds
#[utoipa::path(get, path = "/v1/holds", tag = "mail", responses((status = 200, description = "The holds.", body = HoldList), AnyProblem))]
pub(super) async fn list_holds(_: Authorized<SeeOutbox>, State(service): State<Arc<Service>>) -> Json<HoldList> {
    Json(HoldList { holds: service.holds() })
}

/// Create a hold
///
/// No mail of the given profile, company and function is sent until the hold is removed or expires. The retry schedule of the mail is
/// paused.
#[utoipa::path(post, path = "/v1/holds", tag = "mail", request_body = NewHold,
    responses((status = 201, description = "The hold.", body = Hold),
        (status = 200, description = "An equal hold, which exists already.", body = Hold), AnyProblem))]
pub(super) async fn create_hold(
    Authorized(caller, _): Authorized<HoldMail>,
    State(service): State<Arc<Service>>,
    Body(wanted, _permit): Body<NewHold>,
) -> Result<Response, HttpProblem> {
    let (hold, is_new) = service.create_hold(&caller, wanted).await?;
    let status = if is_new { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, Json(hold)).into_response())
}

/// Delete a hold
#[utoipa::path(delete, path = "/v1/holds/{id}", tag = "mail", params(("id" = String, Path, description = "The hold's id.")),
    responses((status = 204, description = "Deleted."), AnyProblem))]
pub(super) async fn delete_hold(
    Authorized(caller, _): Authorized<HoldMail>,
    State(service): State<Arc<Service>>,
    Segment(id): Segment<String>,
) -> Result<StatusCode, HttpProblem> {
    service.delete_hold(&caller, id).await?;
    Ok(StatusCode::NO_CONTENT)
}
