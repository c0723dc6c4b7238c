//! Errors as Entra replies with them: OAuth 2.0 errors with a code (AADSTS) and a text.
//!
//! The handlers return an [`OAuthError`]. Which code a mistake has is decided by them; what else a reply has follows from the
//! code.

use axum::{
    Json,
    http::{HeaderMap, HeaderValue, StatusCode},
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};
use uuid::Uuid;

use super::Fields;
use crate::{entra::aadsts, sandbox::Sandbox};

/// An error reply of the token endpoint.
#[derive(Debug)]
pub(in crate::sandbox) struct OAuthError {
    status: u16,
    error: &'static str,
    code: u32,
    text: String,
    /// The id that the client gave its request.
    correlation: Option<Uuid>,
}

/// Returns an error with a status, an error name of OAuth 2.0, a code and a text.
pub(super) fn oauth_error(status: u16, error: &'static str, code: u32, text: impl Into<String>) -> OAuthError {
    OAuthError { status, error, code, text: text.into(), correlation: None }
}

impl OAuthError {
    /// Returns the usual error for a code that a fault injects. Status, error and text are those of captured replies; of a code
    /// without a capture, the error is the one of Microsoft's list, and the status follows from it.
    pub(in crate::sandbox) fn from_code(code: u32) -> Self {
        let (status, error, text) = match code {
            7_000_215 => (
                401,
                "invalid_client",
                "Invalid client secret provided. Ensure the secret being sent in the request is the client secret value, not the client secret ID, for a secret added to app.",
            ),
            7_000_222 => (
                401,
                "invalid_client",
                "The provided client secret keys are expired. Visit the Azure portal to create new keys for your app.",
            ),
            7_000_112 => (401, "unauthorized_client", "Application is disabled."),
            700_016 => (
                400,
                "unauthorized_client",
                "Application was not found in the directory. This can happen if the application has not been installed by the administrator of the tenant or consented to by any user in the tenant.",
            ),
            700_024 => (401, "invalid_client", "Client assertion is not within its valid time range."),
            700_027 => (
                401,
                "invalid_client",
                "The certificate with identifier used to sign the client assertion is not registered on application. [Reason - The key was not found.]",
            ),
            70_021 => (401, "invalid_client", "No matching federated identity record found for presented assertion."),
            9_002_313 => (400, "invalid_grant", "Invalid request. Request is malformed or invalid."),
            65_001 => (
                400,
                "invalid_grant",
                "The user or administrator has not consented to use the application. Send an interactive authorization request for this user and resource.",
            ),
            90_002 => (
                400,
                "invalid_request",
                "Tenant not found. Check to make sure you have the correct tenant ID and are signing into the correct cloud.",
            ),
            50_076 => (
                400,
                "interaction_required",
                "Due to a configuration change made by your administrator, or because you moved to a new location, you must use multi-factor authentication to access the resource.",
            ),
            53_003 => (
                400,
                "invalid_grant",
                "Access has been blocked by Conditional Access policies. The access policy does not allow token issuance.",
            ),
            500_011 => (400, "invalid_resource", "The resource principal was not found in the tenant."),
            _ => {
                let error = aadsts::find(code).map_or("invalid_request", |row| row.error.as_str());
                let status = match error {
                    "invalid_client" => 401,
                    "server_error" => 500,
                    "temporarily_unavailable" => 503,
                    _ => 400,
                };
                (status, error, "The request is refused.")
            }
        };
        oauth_error(status, error, code, text)
    }

    /// Takes over the id of a request, which the field `correlation_id` of the reply has then.
    pub(super) fn correlated(mut self, headers: &HeaderMap, form: &Fields) -> Self {
        let of_header = headers.get("client-request-id").and_then(|id| id.to_str().ok());
        let id = of_header.or_else(|| form.get("client-request-id").map(String::as_str));
        self.correlation = id.and_then(|id| id.trim().parse().ok());
        self
    }

    /// Returns the hint to clients that Entra sends with some codes.
    ///
    /// Sources: MSAL's `Classification` of `MsalUiRequiredException` (`consent_required`, `basic_action`,
    /// `message_only`, `user_password_expired`).
    fn suberror(&self) -> Option<&'static str> {
        Some(match self.code {
            65_001 => "consent_required",
            50_076 | 50_079 => "basic_action",
            53_003 => "message_only",
            50_055 => "user_password_expired",
            _ => return None,
        })
    }

    /// Returns what the next request for a token must ask for, of the policies that a user has to satisfy.
    ///
    /// Source: "Developer guidance for Microsoft Entra Conditional Access" (AADSTS50076 with `claims`).
    fn claims(&self) -> Option<String> {
        let policy = "0c0ffee0-0000-4000-8000-0000000000ca";
        matches!(self.code, 50_076 | 50_079)
            .then(|| json!({ "access_token": { "polids": { "essential": true, "values": [policy] } } }).to_string())
    }

    /// Returns the response.
    pub(in crate::sandbox) fn into_response(self, sandbox: &Sandbox) -> Response {
        let (trace, correlation) = (Uuid::now_v7(), self.correlation.unwrap_or_else(Uuid::now_v7));
        let now = sandbox.now().strftime("%Y-%m-%d %H:%M:%SZ").to_string();
        let mut body = json!({
            "error": self.error,
            "error_description": format!(
                "AADSTS{}: {} Trace ID: {trace} Correlation ID: {correlation} Timestamp: {now}", self.code, self.text
            ),
            "error_codes": [self.code],
            "timestamp": now,
            "trace_id": trace,
            "correlation_id": correlation,
        });
        // Only codes that have a page get its address.
        if !matches!(self.code, 700_038 | 70_003) {
            body["error_uri"] = json!(format!("{}/error?code={}", sandbox.address(), self.code));
        }
        for (name, value) in [("suberror", self.suberror().map(str::to_owned)), ("claims", self.claims())] {
            if let Some(value) = value {
                body[name] = Value::String(value);
            }
        }
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::BAD_REQUEST);
        let mut response = (status, Json(body)).into_response();
        if let Ok(id) = HeaderValue::from_str(&trace.to_string()) {
            response.headers_mut().insert("x-ms-request-id", id);
        }
        response
    }
}
