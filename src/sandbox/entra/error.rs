//! Errors as Entra replies with them: OAuth 2.0 errors with a code (AADSTS) and a text.
//!
//! The handlers return an [`OAuthError`]. Which code a mistake has is decided by them.

use axum::{
    Json,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde_json::json;
use uuid::Uuid;

use crate::sandbox::Sandbox;

/// An error reply of the token endpoint.
#[derive(Debug)]
pub(in crate::sandbox) struct OAuthError {
    status: u16,
    error: &'static str,
    code: u32,
    text: String,
}

/// Returns an error with a status, an error name of OAuth 2.0, a code and a text.
pub(super) fn oauth_error(status: u16, error: &'static str, code: u32, text: impl Into<String>) -> OAuthError {
    OAuthError { status, error, code, text: text.into() }
}

impl OAuthError {
    /// Returns the usual error for a code that a fault injects.
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
            700_016 => (
                400,
                "unauthorized_client",
                "Application was not found in the directory. This can happen if the application has not been installed by the administrator of the tenant or consented to by any user in the tenant.",
            ),
            90_002 => (
                400,
                "invalid_request",
                "Tenant not found. Check to make sure you have the correct tenant ID and are signing into the correct cloud.",
            ),
            53_003 => (
                400,
                "invalid_grant",
                "Access has been blocked by Conditional Access policies. The access policy does not allow token issuance.",
            ),
            500_011 => (400, "invalid_resource", "The resource principal was not found in the tenant."),
            _ => (400, "invalid_request", "The request is refused."),
        };
        oauth_error(status, error, code, text)
    }

    /// Returns the response.
    pub(in crate::sandbox) fn into_response(self, sandbox: &Sandbox) -> Response {
        let (trace, correlation) = (Uuid::now_v7(), Uuid::now_v7());
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
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::BAD_REQUEST);
        (status, Json(body)).into_response()
    }
}
