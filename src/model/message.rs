//! [`Message`]: a submitted message with its recipients, status and attempts, but without its contents, which the store keeps
//! apart.
//!
//! [`Status`] has every state that an accepted message can be in, and [`Class`] the meaning of a reply. Transitions are made
//! by delivery, by `service::message_actions` and by `service::delegates`.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::{CompanyId, Function, ProfileName, Resolution, sender::MessageSender};

/// Delivery status. An accepted message is always in exactly one of these states.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// The message waits for its next attempt.
    Queued,
    /// The message waits for the client of the person who sends it (provider `microsoft-graph-delegate`).
    AwaitingSender,
    /// An attempt is under way, possibly past the point at which it can be cancelled.
    Sending,
    /// The mail server, or Exchange, has accepted the message for every recipient. What follows is not known here: a mail that
    /// bounces later comes back to the sender's mailbox.
    Delivered,
    /// Delivery failed permanently for at least one recipient; the message names the recipients. The message is kept, and can be
    /// sent again.
    Failed,
    /// The server may have accepted the message; the outcome cannot be known.
    Unknown,
    /// The message was cancelled before it was sent.
    Cancelled,
}

impl Status {
    /// Every status.
    pub const ALL: &[Status] = &[
        Status::Queued,
        Status::AwaitingSender,
        Status::Sending,
        Status::Delivered,
        Status::Failed,
        Status::Unknown,
        Status::Cancelled,
    ];

    /// Returns the status as documents write it.
    pub fn id(self) -> &'static str {
        match self {
            Status::Queued => "queued",
            Status::AwaitingSender => "awaiting-sender",
            Status::Sending => "sending",
            Status::Delivered => "delivered",
            Status::Failed => "failed",
            Status::Unknown => "unknown",
            Status::Cancelled => "cancelled",
        }
    }

    /// Returns true if the status is final.
    pub fn is_final(self) -> bool {
        !matches!(self, Status::Queued | Status::AwaitingSender | Status::Sending)
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
    /// The id of the message.
    #[schema(value_type = String, format = "uuid")]
    pub id: Uuid,
    /// The status.
    pub status: Status,
    /// The company whose mail it is.
    pub company: CompanyId,
    /// The function.
    pub function: Function,
    /// The `Message-ID`, the same in every attempt.
    pub message_id: String,
    /// The subject.
    pub subject: String,
    /// The size as it was accepted, in bytes.
    pub size: u64,
    /// The recipients, each with its status.
    pub recipients: Vec<Recipient>,
    /// The document that the message carries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub document: Option<Document>,
    /// The name of the token that submitted it.
    pub by: String,
    /// The owner: `token:ID` of the token that submitted it, or `oidc:NAME` of a pipeline. A name may be given to
    /// another token later.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub owner: String,
    /// The time of acceptance.
    #[schema(value_type = String, format = DateTime)]
    pub accepted_at: Timestamp,
    /// The time at which the message was last put back into the queue; its lifetime counts from then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub requeued_at: Option<Timestamp>,
    /// The generation at which the message was accepted.
    pub generation: u64,
    /// The profile that was chosen at acceptance; each attempt names the profile that sent.
    #[schema(value_type = String)]
    pub profile: ProfileName,
    /// The steps by which that profile was chosen.
    pub resolution: Resolution,
    /// The number of attempts. An attempt that suspended its profile is listed and does not count.
    pub attempts: u32,
    /// The time of the next attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub next_attempt_at: Option<Timestamp>,
    /// The time at which the message reached a final status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub finished_at: Option<Timestamp>,
    /// True if the message was sent again after an unknown outcome.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub possible_duplicate: bool,
    /// True if an operator ordered the message to be sent again to a recipient that had it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub sent_again: bool,
    /// True if Sent Items are searched before it is sent again.
    #[serde(default, alias = "lookFirst", skip_serializing_if = "std::ops::Not::not")]
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
    /// The person whose own client sends the message; none if the service sends it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sender: Option<MessageSender>,
}

impl Message {
    /// Returns when the lifetime of the message began: at acceptance, or when it was put back into the queue.
    pub fn queued_since(&self) -> Timestamp {
        self.requeued_at.unwrap_or(self.accepted_at)
    }

    /// Returns the time at which a message of a person has to be looked at: the end of its lease, or its expiry. None for a
    /// message that the service sends, and for one that has ended.
    pub fn sender_due(&self) -> Option<Timestamp> {
        let sender = self.sender.as_ref()?;
        match self.status {
            Status::AwaitingSender => Some(sender.expires_at),
            Status::Sending => sender.lease_ends_at,
            _ => None,
        }
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
    /// The server's last reply about the recipient.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reply: String,
}

/// Status of one recipient.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RecipientStatus {
    /// There is no result yet.
    Waiting,
    /// The server accepted the message for the recipient.
    Delivered,
    /// The server refused the recipient permanently.
    Failed,
    /// The outcome cannot be known.
    Unknown,
}

/// The business document that a message carries. It is used to find the message, and to avoid sending a document twice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Document {
    /// The type, such as `invoice`.
    #[serde(rename = "type")]
    #[schema(min_length = 1, max_length = 40)]
    pub kind: String,
    /// The number of the document.
    #[schema(min_length = 1, max_length = 80)]
    pub number: String,
}

/// The delivery status notifications to request from the mail server (RFC 3461). Only SMTP can carry them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Notify {
    /// True if delivery is reported.
    pub success: bool,
    /// True if failure is reported.
    pub failure: bool,
    /// True if a delay is reported.
    pub delay: bool,
    /// True if the whole message is returned, not only its headers.
    pub full: bool,
}

/// One attempt to send a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Attempt {
    /// The number of the attempt among those of the message, from 1.
    pub number: u32,
    /// The time at which the attempt began.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// The duration.
    pub milliseconds: u64,
    /// The profile that sent.
    #[schema(value_type = String)]
    pub profile: ProfileName,
    /// The generation of that profile.
    pub generation: u64,
    /// The server.
    pub server: String,
    /// The phase that the attempt reached: `connect`, `tls`, `login`, `mail`, `rcpt`, `data`, `dot`, `token`, `send`, `upload`.
    pub phase: String,
    /// The reply, or the error that ended the connection.
    pub reply: String,
    /// The meaning of the reply.
    pub class: Class,
    /// The time of the next attempt; after an attempt that suspended its profile, the time of the next probe.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub next_attempt_at: Option<Timestamp>,
}

/// Returns the name of a phase for people. `dot` is the line that ends the contents; the server's answer to it decides.
pub fn describe_phase(phase: &str) -> &str {
    if phase == "dot" { "end of data" } else { phase }
}

/// The meaning of a reply for the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// The message was accepted.
    Delivered,
    /// The message was refused for now; a later attempt may succeed.
    Transient,
    /// Too much was sent in too short a time: nothing is sent through this mailbox for a while.
    Throttled,
    /// The login, the secret, the consent or the encryption was refused: the profile is at fault, not the message.
    Auth,
    /// The message is too large for this route.
    Size,
    /// The message was refused permanently.
    Permanent,
    /// The server may have accepted the message.
    Unknown,
}

impl Class {
    /// Returns the name in documents, in the log and in metrics.
    pub fn id(self) -> &'static str {
        match self {
            Class::Delivered => "delivered",
            Class::Transient => "transient",
            Class::Throttled => "throttled",
            Class::Auth => "auth",
            Class::Size => "size",
            Class::Permanent => "permanent",
            Class::Unknown => "unknown",
        }
    }
}
