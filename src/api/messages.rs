//! Requests and answers of the endpoints for mail: submission, messages, actions on messages, holds and the outbox.
//!
//! [`Submission`] is a message in parts, [`Action`] and [`Resolved`] change a message that was accepted, [`OutboxStatus`]
//! reports on delivery. The nouns are in [`crate::model::message`] and [`crate::model::hold`]. Nothing here checks addresses
//! or composes mail: `service::submissions` does.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::model::{
    Attempt, Client, CompanyId, Function, Hold, Message, ProfileName, Status, Waiting,
    integrity::Restored,
    message::{Document, Notify},
    rotation::Rotation,
    sender::PersonId,
    suspension::SuspendedProfile,
};

/// Maximum size of a submission, in bytes: 35 MiB of mail in base64.
pub const SUBMISSION_LIMIT: usize = 64 * 1024 * 1024;

/// Maximum length of an idempotency key.
pub const KEY_LIMIT: usize = 200;

/// `POST /v1/messages`: a message in parts. A raw message (RFC 5322) is sent as `message/rfc822`, with the same fields in the query.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Submission {
    /// The company.
    pub company: CompanyId,
    /// The function.
    pub function: Function,
    /// The client that the user works in. `user-interface` mail names it where a delegate profile serves the function.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<Client>,
    /// The person whose own client sends the message, where a delegate profile serves the function. Either an ID token of the person
    /// in the header `Mailwright-Sender-Token` or the right `name-sender` is needed; both name the same person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sender: Option<PersonId>,
    /// The document that the mail carries. Messages can be searched by it, and it is not sent twice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub document: Option<Document>,
    /// Send the document even if it was sent before.
    #[serde(default, alias = "again", skip_serializing_if = "std::ops::Not::not")]
    pub allow_duplicate: bool,
    /// Recipients: `a@example.com`, or `A Person <a@example.com>`; one address per entry. A name with a comma must be quoted:
    /// `"Doe, John" <john@example.com>`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub to: Vec<String>,
    /// Recipients of a copy.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cc: Vec<String>,
    /// Recipients of a blind copy.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub bcc: Vec<String>,
    /// Addresses for replies.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reply_to: Vec<String>,
    /// The sender's display name; by default the profile's. The address is always the profile's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 100)]
    pub sender_name: Option<String>,
    /// The subject.
    #[serde(default)]
    pub subject: String,
    /// The body as text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// The body as HTML.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub html: Option<String>,
    /// An invitation, its update or its cancellation: an iCalendar object (RFC 5545) with `METHOD:REQUEST` or `CANCEL`.
    /// It becomes the last alternative of the body, as mail programs expect it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calendar: Option<String>,
    /// Attachments.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attachments: Vec<File>,
    /// Further header fields: `X-...` and a few others that are allowed.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// The delivery status notifications to request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notify: Option<Notify>,
}

/// An attachment.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct File {
    /// The name of the file.
    #[schema(min_length = 1, max_length = 255)]
    pub name: String,
    /// The media type. A `text/calendar` file with `method=REQUEST` is an invitation as well.
    #[serde(default = "File::unknown_type")]
    #[schema(default = "application/octet-stream")]
    pub media_type: String,
    /// The contents in base64. Line breaks and missing padding are accepted.
    pub content: String,
    /// The id that the HTML refers to (`cid:...`); without it, the file is an ordinary attachment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_id: Option<String>,
}

impl Submission {
    /// Creates an empty submission.
    pub fn new(company: CompanyId, function: Function) -> Self {
        Self {
            company,
            function,
            client: None,
            sender: None,
            document: None,
            allow_duplicate: false,
            to: Vec::new(),
            cc: Vec::new(),
            bcc: Vec::new(),
            reply_to: Vec::new(),
            sender_name: None,
            subject: String::new(),
            text: None,
            html: None,
            calendar: None,
            attachments: Vec::new(),
            headers: BTreeMap::new(),
            notify: None,
        }
    }
}

impl File {
    fn unknown_type() -> String {
        "application/octet-stream".to_owned()
    }
}

/// `GET /v1/messages/{id}`: a message with its attempts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct MessageDetail {
    /// The message.
    #[serde(flatten)]
    pub message: Message,
    /// The attempts, oldest first.
    pub history: Vec<Attempt>,
    /// Why it waits; only while it is queued. Other messages are not counted here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting: Option<Waiting>,
}

/// `GET /v1/messages`: one page of messages, newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct MessagePage {
    /// The messages.
    pub messages: Vec<Message>,
    /// The value of `before` for the next page; none on the last page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_before: Option<u64>,
}

/// An action on a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// Sends a queued message now.
    Retry,
    /// Cancels a queued message.
    Cancel,
    /// Sends a failed or unknown message again, to the recipients that it did not reach. A delivered or cancelled message is only
    /// sent with `allRecipients`.
    Replay,
}

/// `POST /v1/messages/{id}/{action}`: options of an action. The body can be omitted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ActionOptions {
    /// For `replay`: send the message to all recipients, also to those that received it. Without it, a delivered or cancelled
    /// message is refused, and others are sent to the recipients that they did not reach.
    #[serde(alias = "again", skip_serializing_if = "std::ops::Not::not")]
    pub all_recipients: bool,
}

/// `POST /v1/messages/{id}/resolve`: the outcome of an `unknown` message, as an operator found it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Resolved {
    /// The outcome.
    pub outcome: ResolvedOutcome,
    /// The reason, such as the log that the operator read.
    #[schema(min_length = 1, max_length = 200)]
    pub reason: String,
}

/// The outcome of a message that was `unknown`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ResolvedOutcome {
    /// The recipients have the message.
    Delivered,
    /// The recipients do not have the message.
    Failed,
}

impl ResolvedOutcome {
    /// Returns the name in documents.
    pub fn id(self) -> &'static str {
        match self {
            ResolvedOutcome::Delivered => "delivered",
            ResolvedOutcome::Failed => "failed",
        }
    }
}

impl Action {
    /// Returns the name in paths and on command lines.
    pub fn id(self) -> &'static str {
        match self {
            Action::Retry => "retry",
            Action::Cancel => "cancel",
            Action::Replay => "replay",
        }
    }
}

/// `POST /v1/holds`: a hold to create.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NewHold {
    /// The profile whose mail is held.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub profile: Option<ProfileName>,
    /// The company whose mail is held.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub company: Option<CompanyId>,
    /// The function whose mail is held.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub function: Option<Function>,
    /// The reason.
    #[schema(min_length = 1, max_length = 200)]
    pub reason: String,
    /// The expiry of the hold; none means that it stays until it is deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub until: Option<Timestamp>,
}

/// `GET /v1/holds`: the active holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct HoldList {
    /// The active holds.
    pub holds: Vec<Hold>,
}

/// A profile whose server asked to wait (`Retry-After`, or the reply of a mail server).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PausedProfile {
    /// The profile.
    #[schema(value_type = String)]
    pub profile: ProfileName,
    /// The time at which the pause ends. `retry` of a message of the profile ends it as well.
    #[schema(value_type = String, format = DateTime)]
    pub until: Timestamp,
}

/// `GET /v1/outbox`: status of the outbox and of delivery.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct OutboxStatus {
    /// Number of messages by status.
    #[schema(value_type = std::collections::HashMap<String, u64>)]
    pub messages: BTreeMap<Status, u64>,
    /// Number of messages that finished in the requested period, by status; only with `finishedWithin`.
    #[serde(default, alias = "ended", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<std::collections::HashMap<String, u64>>)]
    pub finished: Option<BTreeMap<Status, u64>>,
    /// Queued messages by the reason for which they wait, the most severe reason first. Profiles that cannot send are listed
    /// without messages as well.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waiting: Vec<Waiting>,
    /// Suspended profiles, which cannot send until an operator fixes them.
    pub suspended: Vec<SuspendedProfile>,
    /// The list `suspended` under its former name, for clients that read that one.
    #[serde(default)]
    pub parked: Vec<SuspendedProfile>,
    /// Profiles whose server does not answer. They are retried automatically.
    #[serde(alias = "down")]
    #[schema(value_type = Vec<String>)]
    pub unreachable: Vec<ProfileName>,
    /// Profiles whose mailbox is paused because its server asked to wait.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub paused: Vec<PausedProfile>,
    /// The restore from a backup that no administrator has confirmed; no mail is accepted meanwhile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restored: Option<Restored>,
    /// The active holds.
    pub holds: Vec<Hold>,
    /// True if the store can be written to. Nothing is sent while it cannot.
    #[serde(alias = "records")]
    pub store_writable: bool,
    /// The status of secret rotations.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rotations: Vec<Rotation>,
}
