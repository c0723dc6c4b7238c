//! `/v1/messages`: submits messages, searches and reads them, and retries, cancels, replays or resolves them.
//!
//! Reads the request and its parameters; admission and composing are in `service::submissions`, actions in
//! `service::message_actions`. A token with the role `sender` sees its own messages within its scope, and may cancel them;
//! another message is 404 for it. Contents need the right `export` in `outbox`, each action the right of its name; the built-in
//! role `admin` has the first, `deployer` and `admin` have the others.

use std::sync::Arc;

use axum::{
    Json,
    body::Body as RequestBody,
    extract::{RawQuery, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header},
    response::{IntoResponse, Response},
};
use jiff::Timestamp;
use serde::Deserialize;
use utoipa::IntoParams;
use uuid::Uuid;

use crate::{
    api::{
        IDEMPOTENCY_KEY_HEADER,
        messages::{Action, ActionOptions, MessageDetail, MessagePage, Resolved, Submission},
    },
    mime::{address_list, raw_message::strip_byte_order_mark},
    model::{
        Client, Code, CompanyId, Function, Message, ProfileName, Status, WaitReason,
        access::{Activity, Area, Question},
        message::{Document, Notify},
        sender::PersonId,
    },
    service::{
        Service,
        access::{self, Authorized, ExportMail, MailReader, ResolveMail, SubmitMail},
        delegates::WantedSender,
        http::{
            AnyProblem, HttpProblem,
            extract::{self, Body, Parameters, Segment},
        },
        message_actions::activity_of,
        outbox::MessageFilter,
        submissions::{Addressing, SubmissionBody, SubmissionReceipt, idempotency_key, malformed},
    },
};

/// Query parameters of a raw message.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub(super) struct RawParameters {
    /// For a raw message: the company.
    #[param(value_type = Option<String>)]
    company: Option<CompanyId>,
    /// For a raw message: the function.
    #[param(value_type = Option<String>)]
    function: Option<Function>,
    /// For a raw message: the client that the user works in, `native` or `spa`.
    #[param(value_type = Option<String>)]
    client: Option<Client>,
    /// For a raw message: the tenant id of the person who sends it from their own client; goes with `senderObject`.
    #[param(value_type = Option<String>)]
    sender_tenant: Option<Uuid>,
    /// For a raw message: the object id of that person in the tenant.
    #[param(value_type = Option<String>)]
    sender_object: Option<Uuid>,
    /// For a raw message: the type of the document that it carries.
    document_type: Option<String>,
    /// For a raw message: the number of the document.
    document_number: Option<String>,
    /// For a raw message: send the document even if it was sent before.
    #[serde(alias = "again")]
    allow_duplicate: bool,
    /// For a raw message: the recipients of the envelope, separated by commas, if they are not those of the header.
    recipients: Option<String>,
    /// For a raw message: the delivery status notifications to request: `success`, `failure`, `delay`, `full`.
    notify: Option<String>,
}

/// Submit a message
///
/// The answer is 202 when the message is durable. A raw message is sent as `message/rfc822`, with its company and function in the query.
/// Where a delegate profile serves the function, the message waits for the person who sends it (`awaiting-sender`).
/// With `Idempotency-Key`, the same submission gets the same answer for 30 days, and another body is answered with 422.
#[utoipa::path(post, path = "/v1/messages", tag = "mail", request_body = Submission,
    params(RawParameters, ("Idempotency-Key" = Option<String>, Header, description = "1 to 200 printable characters."),
        ("Mailwright-Sender-Token" = Option<String>, Header, description = "An ID token of the person who sends the message from their own client, for the application of the delegate profile. Never a token for Microsoft Graph.")),
    responses((status = 202, description = "The message is durable and will be sent.", body = Message), AnyProblem))]
pub(super) async fn submit_message(
    Authorized(caller, _): Authorized<SubmitMail>,
    State(service): State<Arc<Service>>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: RequestBody,
) -> Result<Response, HttpProblem> {
    let verified = service.sender_of_submission(&headers).await?;
    let length = extract::content_length(&headers);
    let (bytes, _permit) = service.read_submission(&caller, length, body).await?;
    let query = query.unwrap_or_default();
    // The same submission of another person is another one.
    let of_person = verified.as_ref().map(|sender| format!("{query}&{}", sender.person));
    let (size, key) = (bytes.len(), headers.get(IDEMPOTENCY_KEY_HEADER).cloned());
    let parsing = &service.limits.parsing;
    let (key, query, bytes): (_, String, Vec<u8>) = parsing
        .run(size, move || {
            let key = idempotency_key(key.as_ref(), of_person.as_ref().unwrap_or(&query), &bytes);
            (key, query, bytes)
        })
        .await;
    let key = key?;
    if let Some(receipt) = service.find_receipt(&caller, key.as_ref()).await? {
        return Ok(accepted(&service.base, receipt));
    }
    let media_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media_type = media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let (addressing, body) = match media_type.as_str() {
        "application/json" => {
            let mut submission = parsing.run(size, move || extract::parse_json::<Submission>(&bytes)).await?;
            let addressing = Addressing {
                company: submission.company.clone(),
                function: submission.function,
                client: submission.client,
                sender: WantedSender { verified, named: submission.sender },
                document: submission.document.take(),
                allow_duplicate: submission.allow_duplicate,
                only_by: None,
            };
            (addressing, SubmissionBody::Parts(Box::new(submission)))
        }
        "message/rfc822" => {
            let (mut addressing, body) = parsing.run(size, move || read_raw(&query, bytes)).await?;
            addressing.sender.verified = verified;
            (addressing, body)
        }
        _ => {
            return Err(HttpProblem::unsupported_media_type("the body is neither declared as JSON nor as a message")
                .remedy("Send `Content-Type: application/json`, or `message/rfc822`."));
        }
    };
    service.submit(&caller, addressing, body, size, key).await.map(|receipt| accepted(&service.base, receipt))
}

fn accepted(base: &str, receipt: SubmissionReceipt) -> Response {
    let json = [(header::CONTENT_TYPE, "application/json")];
    let mut response = (StatusCode::ACCEPTED, json, receipt.document).into_response();
    if let Ok(location) = HeaderValue::from_str(&format!("{base}/v1/messages/{}", receipt.id)) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    if receipt.is_replayed {
        response
            .headers_mut()
            .insert(HeaderName::from_static("idempotency-replayed"), HeaderValue::from_static("true"));
    }
    response
}

/// Parses the recipients of the envelope. An empty list is refused: it would be understood as "the recipients of the header".
fn parse_envelope(text: &str) -> Result<Vec<String>, HttpProblem> {
    let refused = |reason: String, remedy: &str| HttpProblem::new(Code::MessageMalformed, reason).remedy(remedy);
    let list = address_list::parse(text)
        .map_err(|error| refused(format!("`recipients` is not a list of e-mail addresses: {error}"), error.remedy))?;
    if list.entries.is_empty() {
        let remedy = "Name the recipients, or omit the parameter to send to those of the header.";
        return Err(refused("`recipients` names no address".to_owned(), remedy));
    }
    Ok(list.entries.into_iter().map(|entry| entry.address.to_string()).collect())
}

/// Parses the delivery status notifications to request.
fn parse_notify(text: &str) -> Result<Notify, HttpProblem> {
    let mut notify = Notify::default();
    for word in text.split(',').map(str::trim).filter(|word| !word.is_empty()) {
        match word {
            "success" => notify.success = true,
            "failure" => notify.failure = true,
            "delay" => notify.delay = true,
            "full" => notify.full = true,
            _ => {
                let word: String = word.escape_debug().to_string().chars().take(70).collect();
                return Err(HttpProblem::malformed(format!(
                    "`notify` has `{word}`; allowed are `success`, `failure`, `delay` and `full`"
                )));
            }
        }
    }
    Ok(notify)
}

fn read_raw(query: &str, bytes: Vec<u8>) -> Result<(Addressing, SubmissionBody), HttpProblem> {
    let parameters = extract::parse_query::<RawParameters>(query)?;
    let document = match (parameters.document_type, parameters.document_number) {
        (Some(kind), Some(number)) => Some(Document { kind, number }),
        (None, None) => None,
        _ => return Err(HttpProblem::malformed("`documentType` and `documentNumber` must be given together")),
    };
    let bytes = strip_byte_order_mark(bytes).map_err(malformed)?;
    let recipients = parameters.recipients.map(|text| parse_envelope(&text)).transpose()?.unwrap_or_default();
    let notify = parameters.notify.map(|wanted| parse_notify(&wanted)).transpose()?;
    let (Some(company), Some(function)) = (parameters.company, parameters.function) else {
        return Err(HttpProblem::malformed("a raw message needs the query parameters `company` and `function`"));
    };
    let named = match (parameters.sender_tenant, parameters.sender_object) {
        (Some(tenant), Some(object)) => Some(PersonId { tenant, object }),
        (None, None) => None,
        _ => return Err(HttpProblem::malformed("`senderTenant` and `senderObject` must be given together")),
    };
    let addressing = Addressing {
        company,
        function,
        client: parameters.client,
        sender: WantedSender { verified: None, named },
        document,
        allow_duplicate: parameters.allow_duplicate,
        only_by: None,
    };
    Ok((addressing, SubmissionBody::Raw { bytes, recipients, notify }))
}

/// Search parameters.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub(super) struct SearchParameters {
    /// The status.
    #[param(value_type = Option<String>)]
    status: Option<Status>,
    /// The company.
    #[param(value_type = Option<String>)]
    company: Option<CompanyId>,
    /// The function.
    #[param(value_type = Option<String>)]
    function: Option<Function>,
    /// The message's id, or its beginning.
    id: Option<String>,
    /// The `Message-ID`, with its angle brackets.
    message_id: Option<String>,
    /// The document's type.
    document_type: Option<String>,
    /// The document's number; requires `documentType`.
    document_number: Option<String>,
    /// The address of a recipient.
    recipient: Option<String>,
    /// The profile: for queued messages the one that sends them now, for others the one that was chosen at acceptance.
    #[param(value_type = Option<String>)]
    profile: Option<ProfileName>,
    /// The reason for which queued messages wait; other messages are omitted.
    #[param(value_type = Option<String>)]
    reason: Option<WaitReason>,
    /// Accepted at this time or later, to the second.
    #[param(value_type = Option<String>, format = DateTime)]
    since: Option<Timestamp>,
    /// Accepted before this time, to the second.
    #[param(value_type = Option<String>, format = DateTime)]
    until: Option<Timestamp>,
    /// Return older messages: `nextBefore` of the previous page.
    before: Option<u64>,
    /// Maximum number of messages, at most 500. A page with many recipients has fewer.
    #[param(default = 50)]
    limit: Option<u32>,
}

/// Search messages
///
/// Newest first. A sender sees the messages of its own token.
#[utoipa::path(get, path = "/v1/messages", tag = "mail", params(SearchParameters),
    responses((status = 200, description = "The messages.", body = MessagePage), AnyProblem))]
pub(super) async fn search_messages(
    MailReader(caller): MailReader,
    State(service): State<Arc<Service>>,
    Parameters(parameters): Parameters<SearchParameters>,
) -> Result<Json<MessagePage>, HttpProblem> {
    let SearchParameters { before, limit, .. } = parameters;
    let filter = MessageFilter {
        status: parameters.status,
        company: parameters.company,
        function: parameters.function,
        id: parameters.id,
        message_id: parameters.message_id,
        document_type: parameters.document_type,
        document_number: parameters.document_number,
        recipient: parameters.recipient,
        text: None,
        profile: parameters.profile,
        reason: parameters.reason,
        since: parameters.since,
        until: parameters.until,
    };
    service.find_messages(&caller, filter, before, limit.unwrap_or(50)).await.map(Json)
}

/// Get a message
///
/// With all attempts.
#[utoipa::path(get, path = "/v1/messages/{id}", tag = "mail", params(("id" = String, Path, description = "The message's id.")),
    responses((status = 200, description = "The message.", body = MessageDetail), AnyProblem))]
pub(super) async fn get_message(
    MailReader(caller): MailReader,
    State(service): State<Arc<Service>>,
    Segment(id): Segment<Uuid>,
) -> Result<Json<MessageDetail>, HttpProblem> {
    service.message_detail(&caller, id).await.map(Json)
}

/// Get the contents of a message
///
/// As accepted, without `From`, which is set when the message is sent, and without `Bcc`.
#[utoipa::path(get, path = "/v1/messages/{id}/content", tag = "mail", params(("id" = String, Path, description = "The message's id.")),
    responses((status = 200, description = "The contents.", body = Vec<u8>, content_type = "message/rfc822"), AnyProblem))]
pub(super) async fn get_message_content(
    Authorized(caller, _): Authorized<ExportMail>,
    State(service): State<Arc<Service>>,
    Segment(id): Segment<Uuid>,
) -> Result<Response, HttpProblem> {
    let message = service.permitted_message(&caller, id, Activity::Export).await?;
    let content = service
        .store
        .content(id)
        .await?
        .ok_or_else(|| HttpProblem::not_found("the contents of the message are not kept any more"))?;
    service.record_action(&caller, "message.export", &message).await?;
    Ok(([(header::CONTENT_TYPE, "message/rfc822")], content).into_response())
}

/// Retry, cancel or replay a message
///
/// `retry` sends a queued message now. `cancel` cancels a queued message; a sender may cancel its own. `replay` sends a failed or
/// unknown message to the recipients that it did not reach. A delivered or cancelled message is refused (409, MW0242) unless
/// `allRecipients` is set; then it is sent to all recipients.
#[utoipa::path(post, path = "/v1/messages/{id}/{action}", tag = "mail", request_body = Option<ActionOptions>,
    params(("id" = String, Path, description = "The message's id."), ("action" = Action, Path, description = "The action."),
        ("allRecipients" = Option<bool>, Query, description = "The same as in the body.")),
    responses((status = 200, description = "Done.", body = Message), AnyProblem))]
pub(super) async fn apply_message_action(
    MailReader(caller): MailReader,
    State(service): State<Arc<Service>>,
    Segment((id, action)): Segment<(Uuid, Action)>,
    Parameters(parameters): Parameters<ActionOptions>,
    body: axum::body::Bytes,
) -> Result<Json<Message>, HttpProblem> {
    let activity = activity_of(action);
    let own_cancel = activity == Activity::Cancel && caller.may_at_all(Area::OwnMail, activity);
    if !own_cancel {
        let path = format!("/v1/messages/{id}/{}", action.id());
        let question = Question::any(Area::Outbox, activity);
        access::check(&service, &caller, &question, &Method::POST, &path).await?;
    }
    let mut options =
        if body.is_empty() { None } else { extract::parse_json::<Option<ActionOptions>>(&body)? }.unwrap_or_default();
    options.all_recipients |= parameters.all_recipients;
    service.apply_action(&caller, id, action, options).await.map(Json)
}

/// Resolve an unknown message
///
/// An operator found out whether the recipients have the message, and states the reason. The message becomes `delivered` or `failed`,
/// with an event and an audit entry.
#[utoipa::path(post, path = "/v1/messages/{id}/resolve", tag = "mail", request_body = Resolved,
    params(("id" = String, Path, description = "The message's id.")),
    responses((status = 200, description = "Done.", body = Message), AnyProblem))]
pub(super) async fn resolve_message(
    Authorized(caller, _): Authorized<ResolveMail>,
    State(service): State<Arc<Service>>,
    Segment(id): Segment<Uuid>,
    Body(resolved, _permit): Body<Resolved>,
) -> Result<Json<Message>, HttpProblem> {
    service.resolve_message(&caller, id, resolved).await.map(Json)
}

#[cfg(test)]
mod tests {
    use super::{parse_envelope, parse_notify};

    #[test]
    fn an_envelope_needs_an_address() {
        assert_eq!(parse_envelope("a@example.com, b@example.com").ok().map(|list| list.len()), Some(2));
        assert!(parse_envelope("").is_err() && parse_envelope("not an address").is_err());
    }

    #[test]
    fn notifications_are_named_in_a_list() {
        let notify = parse_notify("success, delay").unwrap();
        assert!(notify.success && notify.delay && !notify.failure && !notify.full);
        assert!(parse_notify("never").is_err());
    }
}
