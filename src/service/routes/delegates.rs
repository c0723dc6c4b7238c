//! `/v1/delegate/messages`: the messages that a signed-in person sends from their own client.
//!
//! The caller is the person, by an ID token as the bearer token. A token of the service is refused, and so is every token for
//! Microsoft Graph. A person reaches their own messages only. Transitions are in `service::delegates`.

use std::sync::Arc;

use axum::{
    Json,
    body::Body,
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use utoipa::IntoParams;
use uuid::Uuid;

use crate::{
    api::delegates::{DelegateLease, DelegateMessage, DelegatePage, DelegateReport},
    model::Message,
    service::{
        Service,
        caller_limit::CountedBody,
        delegates::{DelegateBody, DelegateContent, DelegateUser},
        http::{
            AnyProblem, HttpProblem,
            extract::{Parameters, Segment},
        },
    },
};

/// Parameters of a page.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub(super) struct DelegatePageParameters {
    /// Return older messages: `nextBefore` of the previous page.
    before: Option<u64>,
    /// Maximum number of messages, at most 100.
    #[param(default = 50)]
    limit: Option<u32>,
}

/// Parameters of the contents.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct DelegateContentParameters {
    /// The number of the lease.
    epoch: u64,
    /// The address of the signed-in person, for `From`.
    from: String,
    /// `mime` for MIME, `graph` for the body of Graph's `sendMail`.
    #[serde(default)]
    #[param(value_type = Option<String>)]
    format: ContentFormat,
}

/// The form of the contents.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum ContentFormat {
    #[default]
    Mime,
    Graph,
}

/// List the person's messages
///
/// The caller is a person, by an ID token for the application of a delegate profile. Newest first: messages that wait, are leased, or
/// have an unknown outcome. Nothing of other persons is returned.
#[utoipa::path(get, path = "/v1/delegate/messages", tag = "delegate", params(DelegatePageParameters),
    responses((status = 200, description = "The messages.", body = DelegatePage), AnyProblem))]
pub(super) async fn list_delegate_messages(
    user: DelegateUser,
    State(service): State<Arc<Service>>,
    Parameters(parameters): Parameters<DelegatePageParameters>,
) -> Result<Json<DelegatePage>, HttpProblem> {
    service.delegate_messages(&user, parameters.before, parameters.limit.unwrap_or(50)).await.map(Json)
}

/// Get a message of the person
///
/// In any status. One that waits for another account of the tenant is refused (MW0433); the contents need a lease.
#[utoipa::path(get, path = "/v1/delegate/messages/{id}", tag = "delegate",
    params(("id" = String, Path, description = "The message's id.")),
    responses((status = 200, description = "The message.", body = DelegateMessage), AnyProblem))]
pub(super) async fn get_delegate_message(
    user: DelegateUser,
    State(service): State<Arc<Service>>,
    Segment(id): Segment<Uuid>,
) -> Result<Json<DelegateMessage>, HttpProblem> {
    service.delegate_message(&user, id).await.map(Json)
}

/// Begin to send a message
///
/// Gives the person's client a lease of 5 minutes. Of several clients one gets it; the others are answered with 409 (MW0280). Without a
/// report until its end the message is `unknown`.
#[utoipa::path(post, path = "/v1/delegate/messages/{id}/begin", tag = "delegate",
    params(("id" = String, Path, description = "The message's id.")),
    responses((status = 200, description = "The lease.", body = DelegateLease), AnyProblem))]
pub(super) async fn begin_delegate_message(
    user: DelegateUser,
    State(service): State<Arc<Service>>,
    Segment(id): Segment<Uuid>,
) -> Result<Json<DelegateLease>, HttpProblem> {
    service.begin_delegate(&user, id).await.map(Json)
}

/// Get the contents of a leased message
///
/// As they are to be sent, with `From`, the `Message-ID` of the message, and `Bcc`. `format=graph` is the body of Graph's `sendMail`;
/// a message that cannot be written so is refused (422), and is sent as MIME.
#[utoipa::path(get, path = "/v1/delegate/messages/{id}/content", tag = "delegate",
    params(("id" = String, Path, description = "The message's id."), DelegateContentParameters),
    responses((status = 200, description = "The contents.", body = Vec<u8>, content_type = "message/rfc822"), AnyProblem))]
pub(super) async fn get_delegate_content(
    user: DelegateUser,
    State(service): State<Arc<Service>>,
    Segment(id): Segment<Uuid>,
    Parameters(parameters): Parameters<DelegateContentParameters>,
) -> Result<Response, HttpProblem> {
    let as_graph = parameters.format == ContentFormat::Graph;
    // Held until the contents are sent: they are in memory.
    let permit = service.contents_permit(&user)?;
    let content = service.delegate_content(&user, id, parameters.epoch, &parameters.from, as_graph).await?;
    let (media_type, bytes) = match content {
        DelegateContent::Mime(bytes) => ("message/rfc822", bytes),
        DelegateContent::Graph(document) => ("application/json", document.into()),
    };
    Ok(([(header::CONTENT_TYPE, media_type)], Body::new(CountedBody::new(bytes, permit))).into_response())
}

/// Report the outcome of a lease
///
/// `sent`, `failed`, `unknown`, or `released` if the message was certainly not sent and waits again. After the end of the lease only
/// `sent` and `failed` are accepted: they resolve the unknown outcome after a look into Sent Items. The same report is accepted again.
#[utoipa::path(post, path = "/v1/delegate/messages/{id}/report", tag = "delegate", request_body = DelegateReport,
    params(("id" = String, Path, description = "The message's id.")),
    responses((status = 200, description = "Recorded.", body = Message), AnyProblem))]
pub(super) async fn report_delegate_message(
    user: DelegateUser,
    State(service): State<Arc<Service>>,
    Segment(id): Segment<Uuid>,
    DelegateBody(report): DelegateBody<DelegateReport>,
) -> Result<Json<Message>, HttpProblem> {
    service.report_delegate(&user, id, report).await.map(Json)
}

/// Cancel a message that waits for the person
#[utoipa::path(post, path = "/v1/delegate/messages/{id}/cancel", tag = "delegate",
    params(("id" = String, Path, description = "The message's id.")),
    responses((status = 200, description = "Cancelled.", body = Message), AnyProblem))]
pub(super) async fn cancel_delegate_message(
    user: DelegateUser,
    State(service): State<Arc<Service>>,
    Segment(id): Segment<Uuid>,
) -> Result<Json<Message>, HttpProblem> {
    service.cancel_delegate(&user, id).await.map(Json)
}
