//! The stand-in for Microsoft Graph, for the requests of the verifier and of mail senders, with Graph's permission
//! checks and errors.
//!
//! | part | contents |
//! | --- | --- |
//! | here | authentication, `$batch`, routes |
//! | `caller` | permissions of a token |
//! | `directory` | the organization, applications, service principals, grants |
//! | `registrations` | changes of applications, service principals and grants |
//! | `users` | users, their mailboxes, and the mail that they send |
//! | `drafts` | drafts, their attachments, upload sessions |
//! | `documents` | documents of the directory |
//! | `odata` | `$select`, `$filter`, `$top`, paging |
//! | `error` | errors |

mod caller;
mod directory;
mod documents;
mod drafts;
mod error;
mod odata;
mod registrations;
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
    let (status, answer) = answer(&sandbox, &method, &uri, &headers, &body).await;
    let status_code = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let request_id = [("request-id", Uuid::now_v7().to_string())];
    if answer.is_null() {
        (status_code, request_id).into_response()
    } else {
        (status_code, request_id, Json(answer)).into_response()
    }
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
    answer_one(sandbox, &caller, method, &url, content_type, body).await
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
                let (status, body) = answer_one(sandbox, caller, &method, &url, "application/json", &inner).await;
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
    content_type: &str,
    body: &Bytes,
) -> (u16, Value) {
    let routed = async {
        let (path, query) = Query::parse(url)?;
        let request = GraphRequest { sandbox, caller, method, path: &path, query: &query, content_type, body };
        request.route().await
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
            _ => directory::route(self),
        }
    }

    /// Returns the body as JSON.
    fn json(&self) -> Result<Value, ODataError> {
        serde_json::from_slice(self.body).map_err(|_| malformed_body())
    }
}
