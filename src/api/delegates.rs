//! Requests and answers of the endpoints by which a person's own client sends messages of a delegate profile.
//!
//! [`DelegatePage`] lists what waits for the person, [`DelegateLease`] is the lease of one message, [`DelegateReport`] its
//! outcome. The caller is the person, by an ID token; a token for Microsoft Graph is never part of a request. The endpoints are
//! in `service::routes::delegates`.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::model::{
    Client, CompanyId, Function, ProfileName, Status,
    message::Document,
    sender::{PersonId, SenderProof},
};

/// The request header of a submission with the ID token of the person who sends the message.
pub const SENDER_TOKEN_HEADER: &str = "mailwright-sender-token";

/// The duration of a lease, in seconds.
pub const LEASE_SECONDS: i64 = 300;

/// `GET /v1/delegate/messages`: one page of the person's own messages, newest first: those that wait, are leased, or have an
/// unknown outcome.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DelegatePage {
    /// The person, as the ID token names it.
    pub person: PersonId,
    /// The messages.
    pub messages: Vec<DelegateMessage>,
    /// The value of `before` for the next page; none on the last page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_before: Option<u64>,
}

/// A message that a person sends from their own client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DelegateMessage {
    /// The id of the message.
    #[schema(value_type = String, format = "uuid")]
    pub id: Uuid,
    /// The status: `awaiting-sender`, `sending` while it is leased, or `unknown`.
    pub status: Status,
    /// The company.
    pub company: CompanyId,
    /// The function.
    pub function: Function,
    /// The profile.
    #[schema(value_type = String)]
    pub profile: ProfileName,
    /// The client that the message is for.
    pub client: Client,
    /// The `Message-ID`, by which it is found in Sent Items.
    pub message_id: String,
    /// The subject.
    pub subject: String,
    /// The recipients.
    pub recipients: Vec<String>,
    /// The size as it was accepted, in bytes.
    pub size: u64,
    /// The document that the message carries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub document: Option<Document>,
    /// The name of the token that submitted it.
    pub by: String,
    /// How the person was established. A message that others named for the person should be sent only after the person has seen it.
    pub proof: SenderProof,
    /// The time of acceptance.
    #[schema(value_type = String, format = DateTime)]
    pub accepted_at: Timestamp,
    /// The time at which the message expires.
    #[schema(value_type = String, format = DateTime)]
    pub expires_at: Timestamp,
    /// The number of the last lease.
    pub epoch: u64,
    /// The end of the current lease.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub lease_ends_at: Option<Timestamp>,
    /// The time at which the last lease was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub begun_at: Option<Timestamp>,
    /// A mail with this `Message-ID` in Sent Items is this message if it was sent at this time or later, by any lease. None for a
    /// message that no attempt can have sent, and if another message has the same `Message-ID`: then such a mail proves nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub sent_items_since: Option<Timestamp>,
    /// True if the message may have been sent before: look into Sent Items before sending it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub possible_duplicate: bool,
}

/// `POST /v1/delegate/messages/{id}/begin`: the lease that was given. Only its holder may send the message, and only once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DelegateLease {
    /// The number of the lease, for the report and for the contents.
    pub epoch: u64,
    /// The end. Without a report until then, the message is `unknown`.
    #[schema(value_type = String, format = DateTime)]
    pub ends_at: Timestamp,
    /// The message.
    pub message: DelegateMessage,
    /// The address in `From`, if it is not that of the signed-in person (needs `Mail.Send.Shared`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
}

/// `POST /v1/delegate/messages/{id}/report`: the outcome of a lease.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DelegateReport {
    /// The number of the lease.
    pub epoch: u64,
    /// The outcome.
    pub outcome: DelegateOutcome,
    /// The reason, such as Graph's answer.
    #[serde(default)]
    #[schema(max_length = 300)]
    pub reason: String,
    /// The header `request-id` of Graph's answer.
    #[serde(default)]
    #[schema(max_length = 100)]
    pub request_id: String,
    /// The header `client-request-id` of the request to Graph.
    #[serde(default)]
    #[schema(max_length = 100)]
    pub client_request_id: String,
    /// The time at which Graph answered, by the clock of the client.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub at: Option<Timestamp>,
}

/// The outcome of a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum DelegateOutcome {
    /// Graph accepted the message, or it is in Sent Items.
    Sent,
    /// Graph refused the message, and always will.
    Failed,
    /// The request that sends was certainly not made, or was refused for a reason that passes, such as missing consent: the message
    /// waits again. Not possible after the end of the lease.
    Released,
    /// It is not known whether Graph accepted the message.
    Unknown,
}

impl DelegateOutcome {
    /// Returns the name in documents.
    pub fn id(self) -> &'static str {
        match self {
            DelegateOutcome::Sent => "sent",
            DelegateOutcome::Failed => "failed",
            DelegateOutcome::Released => "released",
            DelegateOutcome::Unknown => "unknown",
        }
    }
}
