//! The parameters of `sendMail`: a message as JSON, or MIME in base64.
//!
//! [`parse`] returns the mail to record. It sends nothing, and does not check if the caller may use the mailbox. Recipients and
//! senders are checked in JSON alone, not in MIME.
//!
//! Sources: the CSDL of v1.0, which names the parameters of the action `Message` and `SaveToSentItems` (so do the generated
//! SDKs, while the reference has `message`; both are accepted, hence names are compared without regard to case); "user:
//! sendMail"; replies with `ErrorInvalidRecipients` and `ErrorSendAsDenied` in public issues. No reply shows that Graph refuses
//! a message without `toRecipients` that has other recipients.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::{Value, json};

use super::{
    GraphRequest,
    error::{ODataError, refusal, send_as_denied},
};

/// The properties of a message that have recipients.
const RECIPIENTS: [&str; 3] = ["toRecipients", "ccRecipients", "bccRecipients"];

/// Returns a parameter of an action, whose name is compared without regard to case.
pub(super) fn parameter<'b>(body: &'b Value, name: &str) -> &'b Value {
    let mut parameters = body.as_object().into_iter().flatten();
    parameters.find(|(key, _)| key.eq_ignore_ascii_case(name)).map_or(&Value::Null, |(_, value)| value)
}

/// Returns the mail that a request sends from the mailbox of a user.
pub(super) fn parse(request: &GraphRequest<'_>, from: &str) -> Result<Value, ODataError> {
    if request.content_type.starts_with("text/plain") {
        let text: Vec<u8> = request.body.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
        let invalid =
            |_| refusal(400, "ErrorMimeContentInvalidBase64String", "Invalid base64 string for MIME content.");
        let mime = BASE64_STANDARD.decode(text).map_err(invalid)?;
        return Ok(json!({ "mime": String::from_utf8_lossy(&mime) }));
    }
    let body = request.json()?;
    let mut mail = parameter(&body, "message").clone();
    if !mail.is_object() {
        return Err(refusal(400, "ErrorInvalidParameter", "The 'message' parameter is required."));
    }
    check_recipients(&mail)?;
    check_from(request, from, &mail)?;
    if *parameter(&body, "saveToSentItems") == json!(false) {
        mail["saveToSentItems"] = json!(false);
    }
    Ok(mail)
}

fn check_recipients(mail: &Value) -> Result<(), ODataError> {
    let recipients = || RECIPIENTS.iter().flat_map(|list| mail[list].as_array().into_iter().flatten());
    if recipients().next().is_none() {
        return Err(refusal(400, "ErrorInvalidRecipients", "At least one recipient is not valid."));
    }
    for recipient in recipients() {
        let address = recipient["emailAddress"]["address"].as_str().unwrap_or_default();
        if !is_address(address) {
            return Err(refusal(
                400,
                "ErrorInvalidRecipients",
                format!(
                    "At least one recipient is not valid., Recipient '{address}' is not resolved. All recipients must be resolved before a message can be submitted."
                ),
            ));
        }
    }
    Ok(())
}

/// Returns true if a text can be one address. A dot at an end of the local part is what public issues show as refused.
fn is_address(text: &str) -> bool {
    let Some((local, domain)) = text.rsplit_once('@') else { return false };
    let is_part =
        |part: &str| !part.is_empty() && !part.starts_with('.') && !part.ends_with('.') && !part.contains("..");
    is_part(local) && is_part(domain) && !text.contains([' ', ';', ',', '<', '>']) && text.matches('@').count() == 1
}

/// Fails if a message names a sender that the user may not send as.
fn check_from(request: &GraphRequest<'_>, from: &str, mail: &Value) -> Result<(), ODataError> {
    let tenant = request.caller.tenant;
    let named = ["from", "sender"].into_iter().filter_map(|name| mail[name]["emailAddress"]["address"].as_str());
    for address in named {
        let is_own = tenant.user(from).is_some_and(|user| user.may_send_as(address));
        if !is_own {
            return Err(send_as_denied());
        }
    }
    Ok(())
}
