//! Mail: submitted, followed, searched, tried again, called back.

use std::sync::Arc;

use axum::{
    Json,
    body::Body as RequestBody,
    extract::{RawQuery, State},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use utoipa::IntoParams;
use uuid::Uuid;

use crate::{
    api::messages::{Action, ActionOptions, MessageDetail, MessagePage, Resolved, Submission},
    delivery::content,
    mime::address_list,
    model::{
        Client, Code, CompanyId, Function, Message, Status, address,
        message::{Document, Notify},
        token::Role,
    },
    service::{
        Service,
        access::{Admin, As, Deployer, Reader, Sender, refuse},
        http::extract::{self, Body, Parameters, Segment},
        http::{AnyProblem, HttpProblem},
        submissions::{Held, Purpose, Taken, idempotency_key, malformed},
    },
    store::outbox::Search,
};

/// How many messages a page may have.
const PAGE_LIMIT: u32 = 500;

/// What a raw message says in the address.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub(super) struct RawPurpose {
    /// For a raw message: whose mail it is.
    #[param(value_type = Option<String>)]
    company: Option<CompanyId>,
    /// For a raw message: what kind.
    #[param(value_type = Option<String>)]
    function: Option<Function>,
    /// For a raw message: the client that the user works in, `native` or `spa`.
    #[param(value_type = Option<String>)]
    client: Option<Client>,
    /// For a raw message: the type of the document that it carries.
    document_type: Option<String>,
    /// For a raw message: its number.
    document_number: Option<String>,
    /// For a raw message: send the document although it was sent before.
    again: bool,
    /// For a raw message: the recipients of the envelope, separated by commas, where they are not those of the header.
    recipients: Option<String>,
    /// For a raw message: which notifications are asked of the mail server: `success`, `failure`, `delay`, `full`.
    notify: Option<String>,
}

/// Submit a message
///
/// It is answered with 202 when it is durable. A raw message comes as `message/rfc822` with what it is for in the address.
/// With `Idempotency-Key`, repeating the same submission gives the same answer for 30 days, and another body 422.
#[utoipa::path(post, path = "/v1/messages", tag = "mail", request_body = Submission,
    params(RawPurpose, ("Idempotency-Key" = Option<String>, Header, description = "1 to 200 printable characters.")),
    responses((status = 202, description = "It is durable, and will be sent.", body = Message), AnyProblem))]
pub(super) async fn submit(
    As(caller, _): As<Sender>,
    State(service): State<Arc<Service>>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: RequestBody,
) -> Result<Response, HttpProblem> {
    let stated = extract::stated_length(&headers);
    let (bytes, _room) = service.read_submission(&caller, stated, body).await?;
    let query = query.unwrap_or_default();
    let key = idempotency_key(headers.get("idempotency-key"), &query, &bytes)?;
    if let Some(taken) = service.taken_before(&caller, key.as_ref()).await? {
        return Ok(accepted(&service.base, taken));
    }
    let media_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media_type = media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let (purpose, held) = match media_type.as_str() {
        "application/json" => {
            let mut submission: Submission = extract::parse(&bytes)?;
            drop(bytes);
            let purpose = Purpose {
                company: submission.company.clone(),
                function: submission.function,
                client: submission.client,
                document: submission.document.take(),
                again: submission.again,
            };
            (purpose, Held::Parts(Box::new(submission)))
        }
        "message/rfc822" => raw(&query, bytes)?,
        _ => {
            return Err(HttpProblem::unsupported_media_type("the body is declared neither as JSON nor as a message")
                .remedy("Send `Content-Type: application/json`, or `message/rfc822`."));
        }
    };
    service.submit(&caller, purpose, held, key).await.map(|taken| accepted(&service.base, taken))
}

fn accepted(base: &str, taken: Taken) -> Response {
    let json = [(header::CONTENT_TYPE, "application/json")];
    let mut response = (StatusCode::ACCEPTED, json, taken.document).into_response();
    if let Ok(location) = HeaderValue::from_str(&format!("{base}/v1/messages/{}", taken.id)) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    if taken.before {
        response
            .headers_mut()
            .insert(HeaderName::from_static("idempotency-replayed"), HeaderValue::from_static("true"));
    }
    response
}

/// The recipients of the envelope. None is not the same as not stated: then the header would decide, and everybody in it
/// get the message.
fn envelope(text: &str) -> Result<Vec<String>, HttpProblem> {
    let refused = |why: String, remedy: &str| HttpProblem::new(Code::MessageMalformed, why).remedy(remedy);
    let list = address_list::parse(text)
        .map_err(|error| refused(format!("`recipients` is not a list of e-mail addresses: {error}"), error.remedy))?;
    if list.entries.is_empty() {
        let remedy = "Name the recipients, or leave the parameter out: then those of the header get it.";
        return Err(refused("`recipients` names no address".to_owned(), remedy));
    }
    Ok(list.entries.into_iter().map(|entry| entry.address.to_string()).collect())
}

/// The notifications that are asked for.
fn notify(text: &str) -> Result<Notify, HttpProblem> {
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
                    "`notify` has `{word}`; `success`, `failure`, `delay` and `full` are known"
                )));
            }
        }
    }
    Ok(notify)
}

fn raw(query: &str, bytes: Vec<u8>) -> Result<(Purpose, Held), HttpProblem> {
    let parameters = extract::query::<RawPurpose>(query)?;
    let document = match (parameters.document_type, parameters.document_number) {
        (Some(kind), Some(number)) => Some(Document { kind, number }),
        (None, None) => None,
        _ => return Err(HttpProblem::malformed("a document has a type and a number")),
    };
    let bytes = content::without_byte_order_mark(bytes).map_err(malformed)?;
    let recipients = parameters.recipients.map(|text| envelope(&text)).transpose()?.unwrap_or_default();
    let notify = parameters.notify.map(|wanted| notify(&wanted)).transpose()?;
    let (Some(company), Some(function)) = (parameters.company, parameters.function) else {
        return Err(HttpProblem::malformed(
            "a raw message says in the address whose it is and what kind: `company` and `function`",
        ));
    };
    let purpose = Purpose { company, function, client: parameters.client, document, again: parameters.again };
    Ok((purpose, Held::Raw { bytes, recipients, notify }))
}

/// What to look for.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub(super) struct Wanted {
    /// What became of them.
    #[param(value_type = Option<String>)]
    status: Option<Status>,
    /// Whose mail.
    #[param(value_type = Option<String>)]
    company: Option<CompanyId>,
    /// What kind of mail.
    #[param(value_type = Option<String>)]
    function: Option<Function>,
    /// The `Message-ID`, with its angle brackets.
    message_id: Option<String>,
    /// The document's type.
    document_type: Option<String>,
    /// The document's number; goes with its type.
    document_number: Option<String>,
    /// Somebody whom it is for.
    recipient: Option<String>,
    /// Older than this, as `nextBefore` said.
    before: Option<u64>,
    /// How many, at most 500.
    #[param(default = 50)]
    limit: Option<u32>,
}

/// Messages, newest first
///
/// A sender sees what its own token submitted.
#[utoipa::path(get, path = "/v1/messages", tag = "mail", params(Wanted),
    responses((status = 200, description = "The messages.", body = MessagePage), AnyProblem))]
pub(super) async fn search(
    Reader(caller): Reader,
    State(service): State<Arc<Service>>,
    Parameters(wanted): Parameters<Wanted>,
) -> Result<Json<MessagePage>, HttpProblem> {
    if wanted.document_number.is_some() && wanted.document_type.is_none() {
        return Err(HttpProblem::malformed("`documentNumber` goes with `documentType`"));
    }
    let limit = wanted.limit.unwrap_or(50).clamp(1, PAGE_LIMIT);
    let search = Search {
        status: wanted.status,
        company: wanted.company,
        function: wanted.function,
        message_id: wanted.message_id,
        document: wanted.document_type.map(|kind| (kind, wanted.document_number)),
        // As it was accepted: a domain in A-labels.
        recipient: wanted.recipient.map(|text| address::canonical(&text)),
        owner: (caller.role == Role::Sender).then(|| caller.owner.clone()),
        before: wanted.before,
    };
    let store = Arc::clone(&service.store);
    let found = service.search(&caller, async move { store.search(search, limit).await }).await?;
    let full = found.len() == limit as usize;
    let next_before = found.last().map(|(number, _)| *number).filter(|_| full);
    let visible = |message: &Message| caller.may_see(&message.owner, &message.company, message.function);
    let messages = found.into_iter().map(|(_, message)| message).filter(visible).collect();
    Ok(Json(MessagePage { messages, next_before }))
}

/// A message with every attempt
#[utoipa::path(get, path = "/v1/messages/{id}", tag = "mail", params(("id" = String, Path, description = "The message's id.")),
    responses((status = 200, description = "The message.", body = MessageDetail), AnyProblem))]
pub(super) async fn one(
    Reader(caller): Reader,
    State(service): State<Arc<Service>>,
    Segment(id): Segment<Uuid>,
) -> Result<Json<MessageDetail>, HttpProblem> {
    service.follow(&caller, id).await.map(Json)
}

/// A message's contents, as they were accepted
///
/// Without `From`, which the profile has at the time of sending, and without `Bcc`.
#[utoipa::path(get, path = "/v1/messages/{id}/content", tag = "mail", params(("id" = String, Path, description = "The message's id.")),
    responses((status = 200, description = "The contents.", body = Vec<u8>, content_type = "message/rfc822"), AnyProblem))]
pub(super) async fn content(
    As(caller, _): As<Admin>,
    State(service): State<Arc<Service>>,
    Segment(id): Segment<Uuid>,
) -> Result<Response, HttpProblem> {
    let message = service.seen(&caller, id).await?;
    let content =
        service.store.content(id).await?.ok_or_else(|| HttpProblem::not_found("its contents are not kept any more"))?;
    service.record_action(&caller, "message.export", &message).await?;
    Ok(([(header::CONTENT_TYPE, "message/rfc822")], content).into_response())
}

/// Retry, cancel or replay a message
///
/// `retry`: one that waits is tried now. `cancel`: one that waits is called back; a sender may do that for its own.
/// `replay`: one that failed or is unknown is sent to those whom it did not reach. One that was delivered or cancelled is
/// refused (409, MW0242) unless `again` says so; then it goes to everybody.
#[utoipa::path(post, path = "/v1/messages/{id}/{action}", tag = "mail", request_body = Option<ActionOptions>,
    params(("id" = String, Path, description = "The message's id."), ("action" = Action, Path, description = "What is to happen."),
        ("again" = Option<bool>, Query, description = "The same as in the body.")),
    responses((status = 200, description = "Done.", body = Message), AnyProblem))]
pub(super) async fn act(
    Reader(caller): Reader,
    State(service): State<Arc<Service>>,
    Segment((id, action)): Segment<(Uuid, Action)>,
    Parameters(asked): Parameters<ActionOptions>,
    body: axum::body::Bytes,
) -> Result<Json<Message>, HttpProblem> {
    let own_cancel = caller.role == Role::Sender && action == Action::Cancel;
    if !own_cancel && !caller.role.includes(Role::Deployer) {
        let method = axum::http::Method::POST;
        let path = format!("/v1/messages/{id}/{}", action.id());
        return Err(refuse(&service, &caller, Role::Deployer, &method, &path).await);
    }
    let mut options =
        if body.is_empty() { None } else { extract::parse::<Option<ActionOptions>>(&body)? }.unwrap_or_default();
    options.again |= asked.again;
    service.act(&caller, id, action, options).await.map(Json)
}

/// Resolve a message that is unknown
///
/// A person found out whether the recipients have it, and says how. It is `delivered` or `failed` from then on, with the
/// event and the audit entry of that.
#[utoipa::path(post, path = "/v1/messages/{id}/resolve", tag = "mail", request_body = Resolved,
    params(("id" = String, Path, description = "The message's id.")),
    responses((status = 200, description = "Done.", body = Message), AnyProblem))]
pub(super) async fn resolve(
    As(caller, _): As<Deployer>,
    State(service): State<Arc<Service>>,
    Segment(id): Segment<Uuid>,
    Body(resolved, _room): Body<Resolved>,
) -> Result<Json<Message>, HttpProblem> {
    service.resolve(&caller, id, resolved).await.map(Json)
}
