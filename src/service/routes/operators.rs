//! `/v1/operators`: creates, lists, confirms and removes operators, makes their enrolment links and removes their passkeys.
//!
//! The secret of a link is in the answer that made it and nowhere else; the store keeps a hash. The rules are in
//! `service::operators`. An operator has no token: it signs in to the console only.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use secrecy::{ExposeSecret as _, SecretString};

use crate::{
    api::operators::{NewEnrolmentLink, NewOperator, OperatorInvited, OperatorList},
    model::operator::Operator,
    service::{
        Service,
        access::{Authorized, ConfirmOperators, CreateOperators, DeleteOperators, SeeOperators},
        http::{
            AnyProblem, HttpProblem,
            extract::{Body, Segment},
        },
    },
};

/// List operators
///
/// Oldest first.
#[utoipa::path(get, path = "/v1/operators", tag = "access", responses((status = 200, description = "The operators.", body = OperatorList), AnyProblem))]
pub(super) async fn list_operators(
    _: Authorized<SeeOperators>,
    State(service): State<Arc<Service>>,
) -> Result<Json<OperatorList>, HttpProblem> {
    Ok(Json(OperatorList { operators: service.operators().await? }))
}

/// Create an operator
///
/// Only this answer contains the enrolment link.
#[utoipa::path(post, path = "/v1/operators", tag = "access", request_body = NewOperator,
    responses((status = 201, description = "The operator.", body = OperatorInvited), AnyProblem))]
pub(super) async fn create_operator(
    Authorized(caller, _): Authorized<CreateOperators>,
    State(service): State<Arc<Service>>,
    Body(wanted, _permit): Body<NewOperator>,
) -> Result<Response, HttpProblem> {
    let (operator, secret) = service.create_operator(&caller, wanted).await?;
    Ok((StatusCode::CREATED, Json(invited(&service, operator, &secret))).into_response())
}

/// Make an enrolment link
///
/// It replaces an open one. The person who opens it registers a passkey and signs in as the operator. Only this answer contains it.
#[utoipa::path(post, path = "/v1/operators/{id}/link", tag = "access", params(("id" = String, Path, description = "The operator's id.")),
    request_body = NewEnrolmentLink, responses((status = 201, description = "The operator.", body = OperatorInvited), AnyProblem))]
pub(super) async fn make_enrolment_link(
    Authorized(caller, _): Authorized<CreateOperators>,
    State(service): State<Arc<Service>>,
    Segment(id): Segment<String>,
    Body(wanted, _permit): Body<NewEnrolmentLink>,
) -> Result<Response, HttpProblem> {
    let (operator, secret) = service.make_enrolment_link(&caller, &id, wanted.link_ends_at).await?;
    Ok((StatusCode::CREATED, Json(invited(&service, operator, &secret))).into_response())
}

fn invited(service: &Service, operator: Operator, secret: &SecretString) -> OperatorInvited {
    let link = service.enrolment_address(secret);
    OperatorInvited { operator, secret: secret.expose_secret().to_owned(), link }
}

/// Confirm an operator
///
/// An operator that is suspended after a restore from a backup may sign in again, with the passkeys of the backup.
#[utoipa::path(post, path = "/v1/operators/{id}/confirm", tag = "access", params(("id" = String, Path, description = "The operator's id.")),
    responses((status = 200, description = "Confirmed, now or earlier.", body = Operator), AnyProblem))]
pub(super) async fn confirm_operator(
    Authorized(caller, _): Authorized<ConfirmOperators>,
    State(service): State<Arc<Service>>,
    Segment(id): Segment<String>,
) -> Result<Json<Operator>, HttpProblem> {
    service.confirm_operator(&caller, &id).await.map(Json)
}

/// Remove an operator
///
/// Its sessions end. Neither its id nor its name is given to another operator.
#[utoipa::path(delete, path = "/v1/operators/{id}", tag = "access", params(("id" = String, Path, description = "The operator's id.")),
    responses((status = 200, description = "Removed, now or earlier.", body = Operator), AnyProblem))]
pub(super) async fn remove_operator(
    Authorized(caller, _): Authorized<DeleteOperators>,
    State(service): State<Arc<Service>>,
    Segment(id): Segment<String>,
) -> Result<Json<Operator>, HttpProblem> {
    service.remove_operator(&caller, &id).await.map(Json)
}

/// Remove a passkey
///
/// Sessions that it signed in end.
#[utoipa::path(delete, path = "/v1/operators/{id}/passkeys/{passkey}", tag = "access",
    params(("id" = String, Path, description = "The operator's id."), ("passkey" = String, Path, description = "The passkey's id.")),
    responses((status = 200, description = "The operator without it.", body = Operator), AnyProblem))]
pub(super) async fn remove_operator_passkey(
    Authorized(caller, _): Authorized<DeleteOperators>,
    State(service): State<Arc<Service>>,
    Segment((id, passkey)): Segment<(String, String)>,
) -> Result<Json<Operator>, HttpProblem> {
    service.remove_operator_passkey(&caller, &id, &passkey).await.map(Json)
}
