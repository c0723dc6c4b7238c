//! The stand-in for Microsoft Graph, for the requests of the verifier and of mail senders, with Graph's permission
//! checks and errors.
//!
//! | part | contents |
//! | --- | --- |
//! | here | authentication, `$batch`, routes, user info |
//! | `caller` | permissions of a token |
//! | `directory` | the organization, applications, service principals, grants |
//! | `registrations` | changes of applications, service principals, credentials and assignments |
//! | `consents` | changes of consent to delegated permissions |
//! | `users` | users, their mailboxes, and the mail that they send |
//! | `address_book` | groups, contacts of the organization and of a user |
//! | `send_mail` | the parameters of `sendMail` |
//! | `drafts` | drafts, their attachments, upload sessions |
//! | `documents` | documents of the directory |
//! | `odata` | query parameters, paging |
//! | `filter`, `search` | the expressions of `$filter` and `$search` |
//! | `error` | errors |

mod address_book;
mod caller;
mod consents;
mod directory;
mod documents;
mod drafts;
mod error;
mod filter;
mod odata;
mod registrations;
mod search;
mod send_mail;
mod users;

use std::sync::Arc;

use axum::{
    Json,
    body::Bytes,
    extract::State,
    http::{HeaderMap, Method, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use caller::Caller;
pub(super) use drafts::Upload;
pub(super) use error::error_body;
use error::{ODataError, malformed_body, refusal};
use odata::Query;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{Sandbox, Scenario};

/// The largest request, in bytes: Graph's limit for writing.
const BODY_LIMIT: usize = 4 * 1024 * 1024;

/// A status and a body, or an error.
type Reply = Result<(u16, Value), ODataError>;

/// A request that was authenticated, alone or from a batch.
struct GraphRequest<'a> {
    sandbox: &'a Sandbox,
    caller: &'a Caller<'a>,
    method: &'a Method,
    path: &'a str,
    query: &'a Query,
    content_type: &'a str,
    body: &'a Bytes,
}

/// Answers every request under `/v1.0`.
pub(super) async fn handle(
    State(sandbox): State<Arc<Sandbox>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let (status, mut answer) = answer(&sandbox, &method, &uri, &headers, &body).await;
    let status_code = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let id = Uuid::now_v7().to_string();
    let of_client = headers.get("client-request-id").and_then(|id| id.to_str().ok()).unwrap_or(&id);
    // The error names the ids that the headers have.
    if let Some(inner) = answer.pointer_mut("/error/innerError") {
        inner["request-id"] = json!(id);
        inner["client-request-id"] = json!(of_client);
    }
    let request_id = [("request-id", id)];
    match answer {
        Value::Null => (status_code, request_id).into_response(),
        // The number of objects (`/users/$count`).
        Value::Number(count) => {
            (status_code, request_id, [(header::CONTENT_TYPE, "text/plain")], count.to_string()).into_response()
        }
        answer => (status_code, request_id, Json(answer)).into_response(),
    }
}

/// `GET /oidc/userinfo`: the claims of an ID token that describe the user.
///
/// Source: "Microsoft identity platform `UserInfo` endpoint".
pub(super) async fn user_info(State(sandbox): State<Arc<Sandbox>>, headers: HeaderMap) -> Response {
    let scenario = sandbox.scenario();
    let Ok(caller) = authenticate(&sandbox, &scenario, &headers) else {
        return StatusCode::UNAUTHORIZED.into_response();
    };
    let Some(user) = caller.user.as_deref().and_then(|name| caller.tenant.user(name)) else {
        return StatusCode::UNAUTHORIZED.into_response();
    };
    let shown = user.display_name.as_ref().unwrap_or(&user.name);
    let subject = caller.tenant.object_id(&format!("{}/{}", caller.client, user.name));
    Json(json!({ "sub": subject, "name": shown, "email": user.mail.as_ref().unwrap_or(&user.name) })).into_response()
}

async fn answer(sandbox: &Sandbox, method: &Method, uri: &Uri, headers: &HeaderMap, body: &Bytes) -> (u16, Value) {
    let refused = |status, code, message| (status, error_body(sandbox.now(), code, message));
    if body.len() > BODY_LIMIT {
        return refused(413, "ErrorMessageSizeExceeded", "The message exceeds the maximum supported size.");
    }
    let path = uri.path().trim_start_matches("/v1.0");
    // The address of an upload session authorizes by itself.
    if let Some(session) = path.strip_prefix("/upload/") {
        return drafts::upload(sandbox, session, headers, body).await;
    }
    let scenario = sandbox.scenario();
    let caller = match authenticate(sandbox, &scenario, headers) {
        Ok(caller) => caller,
        Err(error) => return (error.status, error.body(sandbox.now())),
    };
    if path == "/$batch" && method == Method::POST {
        return batch(sandbox, &caller, body).await;
    }
    let url = format!("{path}{}", uri.query().map(|query| format!("?{query}")).unwrap_or_default());
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let is_eventual =
        headers.get("consistencylevel").is_some_and(|level| level.as_bytes().eq_ignore_ascii_case(b"eventual"));
    answer_one(sandbox, &caller, method, &url, Sent { content_type, body, is_eventual }).await
}

/// The contents of a request, with the headers that queries need.
#[derive(Clone, Copy)]
struct Sent<'a> {
    content_type: &'a str,
    body: &'a Bytes,
    /// True if the request has the header `ConsistencyLevel: eventual`.
    is_eventual: bool,
}

/// Returns the caller that the token of a request belongs to.
fn authenticate<'s>(sandbox: &Sandbox, scenario: &'s Scenario, headers: &HeaderMap) -> Result<Caller<'s>, ODataError> {
    let invalid = |message: &str| refusal(401, "InvalidAuthenticationToken", message);
    let token = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|text| text.strip_prefix("Bearer "));
    let claims = token.and_then(|token| sandbox.tokens.read(token));
    let claims = claims.ok_or_else(|| invalid("Access token is empty or invalid."))?;
    let text = |key: &str| claims[key].as_str().unwrap_or_default().to_owned();
    let tenant = scenario.tenant(&text("tid")).ok_or_else(|| invalid("Invalid tenant."))?;
    if claims["exp"].as_i64().unwrap_or_default() < sandbox.now().as_second() {
        return Err(invalid("Lifetime validation failed, the token is expired."));
    }
    let roles = claims["roles"].as_array().into_iter().flatten().filter_map(|role| role.as_str().map(str::to_owned));
    Ok(Caller {
        tenant,
        client: text("appid"),
        user: claims["upn"].as_str().map(str::to_owned),
        permissions: roles.chain(text("scp").split_whitespace().map(str::to_owned)).collect(),
    })
}

async fn batch(sandbox: &Sandbox, caller: &Caller<'_>, body: &Bytes) -> (u16, Value) {
    let document: Value = serde_json::from_slice(body).unwrap_or_default();
    let Some(requests) = document["requests"].as_array() else {
        return (400, error_body(sandbox.now(), "BadRequest", "Invalid batch payload format."));
    };
    if requests.len() > 20 {
        return (
            400,
            error_body(sandbox.now(), "BadRequest", "The number of requests in the batch exceeds the limit of 20."),
        );
    }
    let mut responses = Vec::new();
    for request in requests {
        let url = request["url"].as_str().unwrap_or_default();
        let url = if url.starts_with('/') { url.to_owned() } else { format!("/{url}") };
        let method = request["method"].as_str().unwrap_or("GET").parse().unwrap_or(Method::GET);
        let inner = Bytes::from(if request["body"].is_null() { String::new() } else { request["body"].to_string() });
        let fault = sandbox.take_fault(&format!("$batch{url}"));
        let (status, mut headers, body) =
            if let Some((status, fault)) = fault.and_then(|fault| fault.status.map(|status| (status, fault))) {
                let mut headers = json!({ "Content-Type": "application/json" });
                if let Some(text) = fault.retry_after_text(sandbox.now()) {
                    headers["Retry-After"] = json!(text);
                }
                (
                    status,
                    headers,
                    error_body(sandbox.now(), fault.code.as_deref().unwrap_or("TooManyRequests"), "Too many requests."),
                )
            } else {
                let own_headers = request["headers"].as_object().into_iter().flatten();
                let is_eventual = own_headers
                    .filter(|(name, _)| name.eq_ignore_ascii_case("ConsistencyLevel"))
                    .any(|(_, level)| level.as_str().is_some_and(|level| level.eq_ignore_ascii_case("eventual")));
                let sent = Sent { content_type: "application/json", body: &inner, is_eventual };
                let (status, body) = answer_one(sandbox, caller, &method, &url, sent).await;
                (status, json!({ "Content-Type": "application/json" }), body)
            };
        headers["Cache-Control"] = json!("no-cache");
        responses.push(json!({ "id": request["id"], "status": status, "headers": headers, "body": body }));
    }
    // The real service answers in any order.
    responses.reverse();
    (200, json!({ "responses": responses }))
}

async fn answer_one(
    sandbox: &Sandbox,
    caller: &Caller<'_>,
    method: &Method,
    url: &str,
    sent: Sent<'_>,
) -> (u16, Value) {
    let Sent { content_type, body, is_eventual } = sent;
    let routed = async {
        let (path, mut query) = Query::parse(url, is_eventual)?;
        // An older name of the caller's tenant, which the CLI for Microsoft 365 uses.
        let path = path.strip_prefix("/myorganization").unwrap_or(&path);
        let counted = path.strip_suffix("/$count").filter(|_| *method == Method::GET);
        if counted.is_some() {
            query.count_only()?;
        }
        let path = counted.unwrap_or(path);
        let request = GraphRequest { sandbox, caller, method, path, query: &query, content_type, body };
        let (status, mut answer) = request.route().await?;
        Ok::<_, ODataError>(match counted {
            Some(_) => (status, answer["@odata.count"].take()),
            None => (status, answer),
        })
    };
    match routed.await {
        Ok(reply) => reply,
        Err(error) => (error.status, error.body(sandbox.now())),
    }
}

impl GraphRequest<'_> {
    async fn route(&self) -> Reply {
        if let Some(rest) = self.path.strip_prefix("/users/") {
            let (name, rest) = rest.split_once('/').unwrap_or((rest, ""));
            return users::user(self, name, rest).await;
        }
        if let Some(rest) = self.path.strip_prefix("/me") {
            let user = self.caller.user.as_deref().ok_or_else(|| {
                refusal(400, "BadRequest", "/me request is only valid with delegated authentication flow.")
            })?;
            return users::user(self, user, rest.trim_start_matches('/')).await;
        }
        if *self.method != Method::GET {
            return registrations::route(self);
        }
        match self.path {
            "/users" => users::users(self),
            path if path.starts_with("/groups") || path.starts_with("/contacts") => address_book::route(self),
            _ => directory::route(self),
        }
    }

    /// Returns the body as JSON.
    fn json(&self) -> Result<Value, ODataError> {
        serde_json::from_slice(self.body).map_err(|_| malformed_body())
    }
}
