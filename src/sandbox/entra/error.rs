//! A no, in Entra's own shape.

use axum::{
    Json,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde_json::json;
use uuid::Uuid;

use crate::sandbox::Sandbox;

/// A no, in Entra's own shape.
#[derive(Debug)]
pub(in crate::sandbox) struct No {
    status: u16,
    error: &'static str,
    code: u32,
    text: String,
}

/// A no with words of its own.
pub(super) fn no(status: u16, error: &'static str, code: u32, text: impl Into<String>) -> No {
    No { status, error, code, text: text.into() }
}

impl No {
    /// The no for a code alone, as a fault orders it.
    pub(in crate::sandbox) fn of(code: u32) -> Self {
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
        no(status, error, code, text)
    }

    pub(in crate::sandbox) fn answer(self, sandbox: &Sandbox) -> Response {
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
        // The address of the page about the error stands there only for codes that have a page.
        if !matches!(self.code, 700_038 | 70_003) {
            body["error_uri"] = json!(format!("{}/error?code={}", sandbox.address(), self.code));
        }
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::BAD_REQUEST);
        (status, Json(body)).into_response()
    }
}
