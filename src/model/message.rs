//! A message: its submission, recipients, attempts and status. Its contents are stored elsewhere.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::{CompanyId, Function, ProfileName, Resolution};

/// Delivery status. An accepted message is always in exactly one of these states.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// It waits for its next attempt.
    Queued,
    /// An attempt is under way, possibly past the point at which it can be cancelled.
    Sending,
    /// The mail server, or Exchange, has accepted it for every recipient. What they do with it is theirs: a mail that
    /// bounces later comes back to the sender's mailbox.
    Delivered,
    /// It failed for good for at least one recipient; the message names the recipients. It is kept, and can be sent again.
    Failed,
    /// The server may have accepted it; the outcome cannot be known.
    Unknown,
    /// It was cancelled before it was sent.
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

    /// Returns true if the status is final.
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
    /// The status.
    pub status: Status,
    /// The company whose mail it is.
    pub company: CompanyId,
    /// The function.
    pub function: Function,
    /// Its `Message-ID`, the same in every attempt.
    pub message_id: String,
    /// Its subject.
    pub subject: String,
    /// Bytes, as it was accepted.
    pub size: u64,
    /// The recipients, each with its status.
    pub recipients: Vec<Recipient>,
    /// The document that it carries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub document: Option<Document>,
    /// The name of the token that submitted it.
    pub by: String,
    /// The owner: `token:ID` of the token that submitted it, or `oidc:NAME` of a pipeline. A name may be given to
    /// another token later.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub owner: String,
    /// When it was accepted.
    #[schema(value_type = String, format = DateTime)]
    pub accepted_at: Timestamp,
    /// The time at which it was last put back into the queue; its lifetime counts from then.
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
    /// Number of attempts; one that suspended its profile is listed and does not count.
    pub attempts: u32,
    /// When the next one is due.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub next_attempt_at: Option<Timestamp>,
    /// When it came to its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub finished_at: Option<Timestamp>,
    /// True if it was sent again after an unknown outcome.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub possible_duplicate: bool,
    /// True if it was sent again by order to a recipient that had it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub sent_again: bool,
    /// True if Sent Items are searched before it is sent again.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub search_first: bool,
    /// The last reply or reason.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// Options for delivery status notifications (RFC 3461).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notify: Option<Notify>,
    /// The display name of the sender's address, where it is not the profile's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sender_name: Option<String>,
}

impl Message {
    /// When its lifetime began: when it was accepted, or put back into the queue.
    pub fn queued_since(&self) -> Timestamp {
        self.requeued_at.unwrap_or(self.accepted_at)
    }
}

/// A recipient of a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Recipient {
    /// The address.
    pub address: String,
    /// The status.
    pub status: RecipientStatus,
    /// The server's last reply about it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reply: String,
}

/// Status of one recipient.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RecipientStatus {
    /// Not yet decided.
    Waiting,
    /// Accepted.
    Delivered,
    /// Refused for good.
    Failed,
    /// The outcome cannot be known.
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

/// The delivery status notifications to request from the mail server (RFC 3461). Only SMTP can carry them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Notify {
    /// When it was delivered.
    pub success: bool,
    /// When it was not.
    pub failure: bool,
    /// When it takes long.
    pub delay: bool,
    /// True if the whole message is returned, not only its headers.
    pub full: bool,
}

/// One attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Attempt {
    /// Its number among the message's attempts, from 1.
    pub number: u32,
    /// When it began.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// Its duration.
    pub milliseconds: u64,
    /// The profile that it was sent by.
    #[schema(value_type = String)]
    pub profile: ProfileName,
    /// The generation of that profile.
    pub generation: u64,
    /// The server.
    pub server: String,
    /// The phase that it reached: `connect`, `tls`, `login`, `mail`, `rcpt`, `data`, `dot`, `token`, `send`, `upload`.
    pub phase: String,
    /// The reply, or the error that ended the connection.
    pub reply: String,
    /// The meaning of the reply.
    pub class: Class,
    /// When the next attempt is due; after one that suspended its profile, when the profile is tried again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub next_attempt_at: Option<Timestamp>,
}

/// The meaning of a reply for the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// Accepted.
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
