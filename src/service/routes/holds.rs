//! `/v1/holds`: lists, creates and removes holds, with which an operator stops the mail of a profile, a company or a function.
//!
//! An unknown company or profile, or an end in the past, is refused; an equal hold that exists is returned instead of a new one.
//! The change is recorded in the audit log, and delivery reloads the holds; if it cannot, the answer is an error although the
//! change is stored. Delivery decides which mail a hold covers.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    http::{Method, StatusCode},
    response::{IntoResponse, Response},
};
use serde_json::json;
use uuid::Uuid;

use crate::{
    api::messages::{HoldList, NewHold},
    model::{
        AuditOutcome, Code, CompanyId, Function, Hold,
        access::{Activity, Area, Extent, Question},
    },
    service::{
        Service,
        access::{self, Authorized, HoldMail, SeeOutbox},
        caller::Caller,
        http::{
            AnyProblem, HttpProblem,
            extract::{Body, Segment, check_reason},
        },
    },
    store::AuditEvent,
};

/// List holds
#[utoipa::path(get, path = "/v1/holds", tag = "mail", responses((status = 200, description = "The holds.", body = HoldList), AnyProblem))]
pub(super) async fn list_holds(_: Authorized<SeeOutbox>, State(service): State<Arc<Service>>) -> Json<HoldList> {
    Json(HoldList { holds: service.delivery.holds() })
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
    check_hold_right(&service, &caller, wanted.company.as_ref(), wanted.function, &Method::POST).await?;
    let reason = check_reason(&wanted.reason)?;
    let now = service.delivery.now();
    if wanted.until.is_some_and(|until| until <= now) {
        return Err(HttpProblem::malformed("`until` is in the past"));
    }
    let state = service.state();
    let missing = |message: String| {
        HttpProblem::new(Code::HoldTargetMissing, message)
            .remedy(format!("Correct the name. `mailwright status {}` lists the profiles.", state.environment))
    };
    if let Some(company) = wanted.company.as_ref().filter(|company| !state.settings.companies.contains(*company)) {
        return Err(HttpProblem::unknown_company(company, &state.settings, &state.environment));
    }
    if let Some(name) = wanted.profile.as_ref().filter(|name| state.live().all(|(own, _)| own != *name)) {
        return Err(missing(format!("the environment has no profile `{name}`")));
    }
    let is_equal = |hold: &Hold| {
        (&hold.profile, &hold.company, hold.function, hold.until, hold.reason.as_str())
            == (&wanted.profile, &wanted.company, wanted.function, wanted.until, reason)
    };
    if let Some(equal) = service.delivery.holds().into_iter().find(is_equal) {
        return Ok((StatusCode::OK, Json(equal)).into_response());
    }
    let id = Uuid::now_v7().simple().to_string();
    let hold = Hold {
        id: id.chars().skip(20).collect(),
        profile: wanted.profile,
        company: wanted.company,
        function: wanted.function,
        reason: reason.to_owned(),
        owner: caller.name.clone(),
        since: now,
        until: wanted.until,
    };
    let event = AuditEvent {
        at: service.clock.now(),
        actor: caller.name,
        action: "hold.create",
        outcome: AuditOutcome::Accepted,
        detail: json!(hold),
    };
    service.store.set_hold(hold.id.clone(), Some(hold.clone()), event).await?;
    service.delivery.reload_holds().await?;
    Ok((StatusCode::CREATED, Json(hold)).into_response())
}

/// Delete a hold
#[utoipa::path(delete, path = "/v1/holds/{id}", tag = "mail", params(("id" = String, Path, description = "The hold's id.")),
    responses((status = 204, description = "Deleted."), AnyProblem))]
pub(super) async fn delete_hold(
    Authorized(caller, _): Authorized<HoldMail>,
    State(service): State<Arc<Service>>,
    Segment(id): Segment<String>,
) -> Result<StatusCode, HttpProblem> {
    if let Some(hold) = service.delivery.holds().into_iter().find(|hold| hold.id == id) {
        check_hold_right(&service, &caller, hold.company.as_ref(), hold.function, &Method::DELETE).await?;
    }
    let event = AuditEvent {
        at: service.clock.now(),
        actor: caller.name,
        action: "hold.remove",
        outcome: AuditOutcome::Accepted,
        detail: json!({ "id": id }),
    };
    if !service.store.set_hold(id, None, event).await? {
        return Err(HttpProblem::not_found("the hold does not exist")
            .remedy(format!("List the holds: mailwright outbox holds {}", service.store.environment())));
    }
    service.delivery.reload_holds().await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Checks that the caller may hold the mail of a company and a function; without one, of all.
async fn check_hold_right(
    service: &Service,
    caller: &Caller,
    company: Option<&CompanyId>,
    function: Option<Function>,
    method: &Method,
) -> Result<(), HttpProblem> {
    let company = company.map_or(Extent::All, Extent::One);
    let function = function.map_or(Extent::All, Extent::One);
    let question = Question::any(Area::Outbox, Activity::Hold).at(company, function);
    access::check(service, caller, &question, method, "/v1/holds").await
}
