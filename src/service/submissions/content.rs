//! Composes the message that the store keeps, from the parts of a submission or from a raw message.
//!
//! Parsing, composing and the check of attachments are in [`crate::mime`]; the sender's name is checked here. A raw message whose
//! `From` is another address than the profile's is refused. `From` is set later, when the message is sent. An error is
//! [`Malformed`] with what to correct, and nothing is stored.

use jiff::Timestamp;
use uuid::Uuid;

use super::SubmissionBody;
use crate::{
    api::messages::{File, Submission},
    mime::{
        Malformed, base64,
        compose::{FilePart, MessageParts},
        content::StoredContent,
        raw_message::read_raw_message,
    },
    model::{Address, Code, delivery::Attachments, message::Notify},
    service::http::HttpProblem,
};

/// Maximum length of a sender's display name, in characters.
const SENDER_NAME_LIMIT: usize = 100;

/// A message as the store keeps it.
pub(super) struct Composed {
    pub(super) content: Vec<u8>,
    pub(super) message_id: String,
    pub(super) subject: String,
    /// The addresses of the envelope.
    pub(super) recipients: Vec<String>,
    pub(super) notify: Option<Notify>,
    pub(super) sender_name: Option<String>,
}

/// Composes the message from parts, or checks a raw one. `from` is the address of the profile that sends it.
pub(super) fn compose(
    body: SubmissionBody,
    id: Uuid,
    from: &str,
    now: Timestamp,
    attachments: &Attachments,
) -> Result<Composed, HttpProblem> {
    let domain = from.rsplit_once('@').map_or("mailwright.invalid", |(_, domain)| domain);
    let message_id = format!("<{}@{domain}>", id.simple());
    let (kept, sender_name, notify) = match body {
        SubmissionBody::Parts(submission) => {
            let (parts, sender_name, notify) = decode_parts(*submission)?;
            (parts.compose(&message_id, now, attachments).map_err(malformed)?, sender_name, notify)
        }
        SubmissionBody::Raw { bytes, recipients, notify } => {
            let kept = read_raw_message(&bytes, &recipients, &message_id, now, attachments).map_err(malformed)?;
            let sender_name = display_name(&kept, from)?;
            (kept, sender_name, notify)
        }
    };
    let is_invalid = |name: &String| name.chars().count() > SENDER_NAME_LIMIT || name.chars().any(char::is_control);
    if sender_name.as_ref().is_some_and(is_invalid) {
        return Err(malformed(Malformed::new("`senderName` has control characters or more than 100 characters")));
    }
    let StoredContent { content, message_id, subject, recipients, .. } = kept;
    Ok(Composed { content, message_id, subject, recipients, notify, sender_name })
}

/// Converts an error in a message's contents to a problem.
pub(in crate::service) fn malformed(error: Malformed) -> HttpProblem {
    let remedy = error.remedy.clone().unwrap_or_else(|| "Correct the message and submit it again.".to_owned());
    HttpProblem::new(Code::MessageMalformed, error.reason).remedy(remedy)
}

/// Decodes the attachments of a submission.
fn decode_parts(submission: Submission) -> Result<(MessageParts, Option<String>, Option<Notify>), HttpProblem> {
    let mut attachments = Vec::new();
    for (index, file) in submission.attachments.into_iter().enumerate() {
        let File { name, media_type, content, content_id } = file;
        let bytes = base64::decode(&content).map_err(|error| {
            let reason = format!("`attachments/{index}/content` is not base64: {error}");
            malformed(Malformed::new(reason).remedy(error.remedy))
        })?;
        attachments.push(FilePart { name, media_type, bytes, content_id });
    }
    let parts = MessageParts {
        to: submission.to,
        cc: submission.cc,
        bcc: submission.bcc,
        reply_to: submission.reply_to,
        subject: submission.subject,
        text: submission.text,
        html: submission.html,
        calendar: submission.calendar,
        attachments,
        headers: submission.headers.into_iter().collect(),
    };
    Ok((parts, submission.sender_name, submission.notify))
}

/// Returns the display name in `From` of a raw message. The address must be the profile's.
fn display_name(kept: &StoredContent, profile: &str) -> Result<Option<String>, HttpProblem> {
    let Some((address, name)) = &kept.from else { return Ok(None) };
    if Address::parse(profile).is_ok_and(|own| Address::parse(address).is_ok_and(|address| address == own)) {
        return Ok(name.clone());
    }
    if profile.is_empty() {
        return Err(malformed(
            Malformed::new("`From` is set, and the message is sent from the mailbox of the person who signs in")
                .remedy("Omit `From`."),
        ));
    }
    Err(malformed(
        Malformed::new(format!("`From` has another address than the profile, which sends from {profile}"))
            .remedy(format!("Set `From` to {profile}, or omit it.")),
    ))
}
