//! Errors in the form of Graph.
//!
//! Codes, statuses and texts are those of Microsoft, because clients compare them. An [`ODataError`] knows no request.

use serde_json::{Value, json};
use uuid::Uuid;

/// An error reply of Graph.
#[derive(Debug)]
pub(super) struct ODataError {
    pub(super) status: u16,
    code: &'static str,
    message: String,
}

impl ODataError {
    /// Returns the document that the error is sent as.
    pub(super) fn body(&self, now: jiff::Timestamp) -> Value {
        error_body(now, self.code, &self.message)
    }
}

/// Returns an error with a status, a code and a message.
pub(super) fn refusal(status: u16, code: &'static str, message: impl Into<String>) -> ODataError {
    ODataError { status, code, message: message.into() }
}

/// Returns the error for a missing permission on the directory.
pub(super) fn denied() -> ODataError {
    refusal(403, "Authorization_RequestDenied", "Insufficient privileges to complete the operation.")
}

/// Returns the error for an object that does not exist.
pub(super) fn absent(id: &str) -> ODataError {
    refusal(
        404,
        "Request_ResourceNotFound",
        format!("Resource '{id}' does not exist or one of its queried reference-property objects are not present."),
    )
}

/// Returns the error of Exchange for a message from another sender.
pub(super) fn send_as_denied() -> ODataError {
    refusal(
        403,
        "ErrorSendAsDenied",
        "The user account which was used to submit this request does not have the right to send mail on behalf of the specified sending account., Cannot submit message.",
    )
}

/// Returns an error document as Graph writes it. An error of Exchange has a code and a message alone.
pub(in crate::sandbox) fn error_body(now: jiff::Timestamp, code: &str, text: &str) -> Value {
    if code.starts_with("Error") || code.starts_with("Mailbox") {
        return json!({ "error": { "code": code, "message": text } });
    }
    let id = Uuid::now_v7();
    json!({ "error": { "code": code, "message": text, "innerError": { "date": now.strftime("%Y-%m-%dT%H:%M:%S").to_string(), "request-id": id, "client-request-id": id } } })
}

/// Returns the error for a path that does not exist.
pub(super) fn unknown_segment() -> ODataError {
    refusal(400, "BadRequest", "Resource not found for the segment.")
}

/// Returns the error for a method that a path does not have.
pub(super) fn wrong_method() -> ODataError {
    refusal(405, "Request_BadRequest", "Specified HTTP method is not allowed for the request target.")
}

/// Returns the error of Exchange for a missing permission on a mailbox.
pub(super) fn mailbox_denied() -> ODataError {
    refusal(403, "ErrorAccessDenied", "Access is denied. Check credentials and try again.")
}

/// Returns the error of Exchange for a user that does not exist.
pub(super) fn unknown_mailbox(name: &str) -> ODataError {
    refusal(404, "ErrorInvalidUser", format!("The requested user '{name}' is invalid."))
}

/// Returns the error of Exchange for a user without a mailbox.
pub(super) fn no_mailbox() -> ODataError {
    refusal(
        404,
        "MailboxNotEnabledForRESTAPI",
        "The mailbox is either inactive, soft-deleted, or is hosted on-premise.",
    )
}

/// Returns the error of Exchange for a draft or an upload session that does not exist.
pub(super) fn unknown_item() -> ODataError {
    refusal(404, "ErrorItemNotFound", "The specified object was not found in the store.")
}

/// Returns the error for a body that is not JSON.
pub(super) fn malformed_body() -> ODataError {
    refusal(400, "BadRequest", "Unable to read JSON request payload.")
}
