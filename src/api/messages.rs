//! The documents of submitting and following mail.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::model::{
    Attempt, Client, CompanyId, Function, Hold, Message, ProfileName, Status,
    integrity::Restored,
    message::{Document, Notify},
    rotation::Rotation,
    suspension::Parked,
};

/// The largest submission that the service reads, in bytes: 35 MiB of mail in base64.
pub const SUBMISSION_LIMIT: usize = 64 * 1024 * 1024;

/// The longest idempotency key.
pub const KEY_LIMIT: usize = 200;

/// `POST /v1/messages`: a message in parts. A raw one (RFC 5322) comes as `message/rfc822` with the same fields in the
/// address.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Submission {
    /// Whose mail it is.
    pub company: CompanyId,
    /// What kind of mail.
    pub function: Function,
    /// The client that the user works in. `user-interface` mail names it where a delegate profile serves the function.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<Client>,
    /// The document that the mail carries: it is found by it, and not sent twice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub document: Option<Document>,
    /// Send the document although it was sent before.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub again: bool,
    /// Recipients: `a@example.com`, or `A Person <a@example.com>`; one address an entry. A name with a comma is in quotes:
    /// `"Doe, John" <john@example.com>`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub to: Vec<String>,
    /// Recipients of a copy.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cc: Vec<String>,
    /// Recipients that nobody else sees.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub bcc: Vec<String>,
    /// Where answers go.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reply_to: Vec<String>,
    /// The name beside the sender's address; the profile's unless stated. The address is always the profile's.
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
    /// It becomes the last alternative of the text, as mail programs expect it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calendar: Option<String>,
    /// Files.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attachments: Vec<File>,
    /// Other headers: `X-...` and a few that are known to do no harm.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// Which notifications are asked of the mail server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notify: Option<Notify>,
}

/// A file.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct File {
    /// Its name.
    #[schema(min_length = 1, max_length = 255)]
    pub name: String,
    /// Its media type. A `text/calendar` file whose method wants an answer (`method=REQUEST`) is an invitation as well.
    #[serde(default = "File::unknown_type")]
    #[schema(default = "application/octet-stream")]
    pub media_type: String,
    /// Its bytes, in base64. Line breaks and missing padding are no matter.
    pub content: String,
    /// The id under which the HTML refers to it (`cid:...`); without it, it is a file beside the text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_id: Option<String>,
}

impl Submission {
    /// An empty one.
    pub fn new(company: CompanyId, function: Function) -> Self {
        Self {
            company,
            function,
            client: None,
            document: None,
            again: false,
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

/// `GET /v1/messages/{id}`: a message with every attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct MessageDetail {
    /// The message.
    #[serde(flatten)]
    pub message: Message,
    /// What was tried, the first one first.
    pub history: Vec<Attempt>,
    /// Why nothing of its company and function may leave just now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waits_for: Option<String>,
}

/// `GET /v1/messages`: newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct MessagePage {
    /// The messages.
    pub messages: Vec<Message>,
    /// Ask with `before` of this for older ones; none if there are no more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_before: Option<u64>,
}

/// What is to happen to a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// One that waits is tried now.
    Retry,
    /// One that waits is called back.
    Cancel,
    /// One that failed, or that nobody can know of, is sent again to those that it did not reach. One that was delivered
    /// or cancelled only with `again`, and then to all.
    Replay,
}

/// The body of `POST /v1/messages/{id}/{action}`; none is as good as an empty one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ActionOptions {
    /// For `replay`: send it again to everybody, also to recipients who had it. Without it, a message that was delivered
    /// or cancelled is refused, and others go to those whom they did not reach.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub again: bool,
}

/// `POST /v1/messages/{id}/resolve`: what a person found out about a message that is `unknown`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Resolved {
    /// What became of it.
    pub outcome: ResolvedOutcome,
    /// How that is known.
    #[schema(min_length = 1, max_length = 200)]
    pub reason: String,
}

/// What became of a message that was `unknown`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ResolvedOutcome {
    /// The recipients have it.
    Delivered,
    /// They do not have it.
    Failed,
}

impl ResolvedOutcome {
    /// As documents write it.
    pub fn id(self) -> &'static str {
        match self {
            ResolvedOutcome::Delivered => "delivered",
            ResolvedOutcome::Failed => "failed",
        }
    }
}

impl Action {
    /// As addresses and command lines write it.
    pub fn id(self) -> &'static str {
        match self {
            Action::Retry => "retry",
            Action::Cancel => "cancel",
            Action::Replay => "replay",
        }
    }
}

/// `POST /v1/holds`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NewHold {
    /// The profile that sends nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub profile: Option<ProfileName>,
    /// The company whose mail waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub company: Option<CompanyId>,
    /// The function whose mail waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub function: Option<Function>,
    /// Why.
    #[schema(min_length = 1, max_length = 200)]
    pub reason: String,
    /// Until when; none means until it is removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub until: Option<Timestamp>,
}

/// `GET /v1/holds`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct HoldList {
    /// The holds that last.
    pub holds: Vec<Hold>,
}

/// `GET /v1/outbox`: how delivery stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct OutboxStatus {
    /// How many messages there are of each status.
    #[schema(value_type = std::collections::HashMap<String, u64>)]
    pub messages: BTreeMap<Status, u64>,
    /// How many came to their end lately, by what became of them; only where `over` asks for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<std::collections::HashMap<String, u64>>)]
    pub ended: Option<BTreeMap<Status, u64>>,
    /// Profiles that cannot send until somebody mends them.
    pub parked: Vec<Parked>,
    /// Profiles whose server does not answer; they are tried again by themselves.
    #[schema(value_type = Vec<String>)]
    pub down: Vec<ProfileName>,
    /// The restore from a backup that no administrator has confirmed; no mail is accepted meanwhile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restored: Option<Restored>,
    /// What somebody holds.
    pub holds: Vec<Hold>,
    /// Whether the store can record what happens; nothing is sent while it cannot.
    pub records: bool,
    /// How rotations of secrets stand.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rotations: Vec<Rotation>,
}
