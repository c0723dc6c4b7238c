//! A message: what somebody asked to be sent, and what became of it. Its contents are elsewhere.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::{CompanyId, Function, ProfileName, Resolution};

/// What became of a message. From the moment that it was accepted it is exactly one of these; lost is none of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// It waits for its next attempt.
    Queued,
    /// An attempt is under way, and may have come so far that nobody could call it back.
    Sending,
    /// The mail server, or Exchange, has taken it for every recipient. What they do with it is theirs: a mail that
    /// bounces later comes back to the sender's mailbox.
    Delivered,
    /// It failed for good for at least one recipient; the message says for whom. It is kept, and can be sent again.
    Failed,
    /// The other side may have taken it, and nobody can know.
    Unknown,
    /// Somebody called it back before it was sent.
    Cancelled,
}

impl Status {
    /// Every status.
    pub const ALL: &[Status] =
        &[Status::Queued, Status::Sending, Status::Delivered, Status::Failed, Status::Unknown, Status::Cancelled];

    /// As documents write it.
    pub fn id(self) -> &'static str {
        match self {
            Status::Queued => "queued",
            Status::Sending => "sending",
            Status::Delivered => "delivered",
            Status::Failed => "failed",
            Status::Unknown => "unknown",
            Status::Cancelled => "cancelled",
        }
    }

    /// Whether nothing more happens by itself.
    pub fn is_final(self) -> bool {
        !matches!(self, Status::Queued | Status::Sending)
    }
}

impl std::str::FromStr for Status {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.iter().find(|status| status.id() == text);
        found.copied().ok_or_else(|| {
            let all: Vec<&str> = Self::ALL.iter().map(|status| status.id()).collect();
            format!("a status is one of {}", all.join(", "))
        })
    }
}

/// A message without its contents.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Message {
    /// Its id.
    #[schema(value_type = String, format = "uuid")]
    pub id: Uuid,
    /// What became of it.
    pub status: Status,
    /// Whose mail it is.
    pub company: CompanyId,
    /// What kind of mail.
    pub function: Function,
    /// Its `Message-ID`, the same in every attempt.
    pub message_id: String,
    /// Its subject.
    pub subject: String,
    /// Bytes, as it was accepted.
    pub size: u64,
    /// Whom it is for, each with what became of it.
    pub recipients: Vec<Recipient>,
    /// The document that it carries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub document: Option<Document>,
    /// The name of the token that submitted it.
    pub by: String,
    /// To whom it belongs: `token:ID` of the token that submitted it, or `oidc:NAME` of a pipeline. A name may be given to
    /// another token later.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub owner: String,
    /// When it was accepted.
    #[schema(value_type = String, format = DateTime)]
    pub accepted_at: Timestamp,
    /// When somebody last put it back into the queue; its lifetime counts from then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub requeued_at: Option<Timestamp>,
    /// The generation at which it was accepted.
    pub generation: u64,
    /// The profile that was chosen then; each attempt says which one sent.
    #[schema(value_type = String)]
    pub profile: ProfileName,
    /// Why that one.
    pub resolution: Resolution,
    /// How many attempts were made; one that parked its profile is told of and does not count.
    pub attempts: u32,
    /// When the next one is due.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub next_attempt_at: Option<Timestamp>,
    /// When it came to its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub finished_at: Option<Timestamp>,
    /// Whether it was sent again after nobody could know.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub possible_duplicate: bool,
    /// Whether somebody asked to send it again to a recipient who had it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub sent_again: bool,
    /// Whether Sent Items are searched before it is sent again.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub look_first: bool,
    /// What was said last: a server's reply, a reason.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// Options for delivery status notifications (RFC 3461).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notify: Option<Notify>,
    /// The name beside the sender's address, where it is not the profile's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sender_name: Option<String>,
}

impl Message {
    /// When its lifetime began: when it was accepted, or put back into the queue.
    pub fn queued_since(&self) -> Timestamp {
        self.requeued_at.unwrap_or(self.accepted_at)
    }
}

/// Somebody whom a message is for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Recipient {
    /// The address.
    pub address: String,
    /// What became of it.
    pub status: RecipientStatus,
    /// What the server said about it last.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reply: String,
}

/// What became of a message for one recipient.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RecipientStatus {
    /// Not yet decided.
    Waiting,
    /// Taken.
    Delivered,
    /// Refused for good.
    Failed,
    /// Nobody can know.
    Unknown,
}

/// The document that a message carries, by which it is found and not sent twice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Document {
    /// Its type: `invoice`.
    #[serde(rename = "type")]
    #[schema(min_length = 1, max_length = 40)]
    pub kind: String,
    /// Its number.
    #[schema(min_length = 1, max_length = 80)]
    pub number: String,
}

/// Which delivery status notifications are asked of the mail server (RFC 3461). Only SMTP can carry them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Notify {
    /// When it was delivered.
    pub success: bool,
    /// When it was not.
    pub failure: bool,
    /// When it takes long.
    pub delay: bool,
    /// Whether the whole message comes back, and not its headers alone.
    pub full: bool,
}

/// One attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Attempt {
    /// Its place among the message's attempts: 1, 2, 3, ...
    pub number: u32,
    /// When it began.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// How long it took.
    pub milliseconds: u64,
    /// The profile that it was sent by.
    #[schema(value_type = String)]
    pub profile: ProfileName,
    /// The generation of that profile.
    pub generation: u64,
    /// The server that was spoken with.
    pub server: String,
    /// How far it came: `connect`, `tls`, `login`, `mail`, `rcpt`, `data`, `dot`, `token`, `send`, `upload`.
    pub phase: String,
    /// What was said: the reply, or what the connection ended with.
    pub reply: String,
    /// What that was taken for.
    pub class: Class,
    /// When the next attempt is due; after one that parked its profile, when that is tried again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub next_attempt_at: Option<Timestamp>,
}

/// What a reply means for the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// Taken.
    Delivered,
    /// Not now; perhaps later.
    Transient,
    /// Too much in too short a time: later, and nothing else through this mailbox meanwhile.
    Throttled,
    /// The login, the secret, the consent or the encryption: the profile's fault and not the message's.
    Auth,
    /// Too large for this route.
    Size,
    /// Never.
    Permanent,
    /// It may have been taken.
    Unknown,
}
