//! Repositories of delivery: messages, lanes, attempts, holds, suspensions, rotations, usage and events.
//!
//! A message is [`accept`](Messages::accept)ed with its idempotency key in one transaction, [`claim`](Lanes::claim)ed by
//! one worker, marked by [`begin`](Lanes::begin) before its last byte leaves, and [`settle`](Lanes::settle)d. Each of
//! these is durable when it returns; `claim` alone need not be. What was begun and never settled is
//! [`interrupted`](Lanes::interrupted): its outcome is unknown.
//!
//! One process at a time delivers the mail of an environment: the [`DeliveryOwner`] that
//! [`acquire_delivery`](Lanes::acquire_delivery) returned last. `begin` and `settle` of an earlier one are refused, so a process
//! that was declared dead and continues cannot send a message a second time or overwrite an outcome. Ended messages, events and
//! keys are kept for a time and then [`purge`](Messages::purge)d, also events that a webhook has not received.

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::StoreError;
use crate::model::{
    Attempt, CompanyId, Digest, Function, Hold, Lane, Message, ProfileName, Status, delivery::EventKind,
    rotation::Rotation, sender::PersonId, suspension::SuspendedProfile,
};

/// The process that delivers an environment's mail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeliveryOwner {
    /// Identifies the process from its start to its end.
    pub instance: Uuid,
    /// Rises with every change of owner.
    pub epoch: u64,
}

/// State of a lane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaneState {
    /// The lane.
    pub lane: Lane,
    /// The time at which the next message is due; none if nothing waits.
    pub next_due: Option<Timestamp>,
    /// The time since which its clock is paused.
    pub paused_since: Option<Timestamp>,
    /// Earlier pauses in total, and all changes of the system clock; it can be negative.
    pub paused_total: SignedDuration,
}

/// A message to be accepted.
pub struct NewMessage {
    /// The message.
    pub message: Message,
    /// The contents, without fields that are set when it is sent.
    pub content: Vec<u8>,
    /// The key that makes the submission safe to repeat.
    pub key: Option<IdempotencyKey>,
    /// True if a document may be sent although it was sent before.
    pub allow_duplicate: bool,
}

/// A key that makes a submission safe to repeat.
#[derive(Clone, Debug)]
pub struct IdempotencyKey {
    /// The idempotency key.
    pub key: String,
    /// The digest of the submission.
    pub digest: Digest,
}

/// The outcome of a submission: accepted, repeated or refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SubmissionOutcome {
    /// The message was accepted. Contains it as JSON, as stored, so that the answer need not serialize it again.
    Now(String),
    /// The same submission was accepted before, as this message.
    Before(Box<Message>),
    /// The key was used before for another submission.
    KeyReused,
    /// The document was sent before, by this message.
    DocumentSent(Uuid),
}

/// A message that this worker has claimed.
#[derive(Clone, Debug)]
pub struct Claimed {
    /// The message.
    pub message: Message,
    /// Its contents, unless they are large.
    pub content: Option<Vec<u8>>,
    /// Pauses of its lane before its acceptance.
    pub paused_before: SignedDuration,
}

/// The result of a claim.
#[derive(Clone, Debug, Default)]
pub struct Claim {
    /// The messages.
    pub messages: Vec<Claimed>,
    /// When the lane's next message is due; none if nothing else waits.
    pub next_due: Option<Timestamp>,
}

/// A message whose last byte is about to leave.
#[derive(Clone, Debug)]
pub struct Begun {
    /// The message as it is now.
    pub message: Message,
    /// The mailbox that sends it.
    pub mailbox: String,
    /// Number of recipients that it is sent to.
    pub recipients: u32,
    /// The time.
    pub at: Timestamp,
}

/// The result of an attempt, or the end of a message.
#[derive(Clone, Debug)]
pub struct Settled {
    /// The message as it is now.
    pub message: Message,
    /// The attempt, if one was made.
    pub attempt: Option<Attempt>,
    /// Events to record.
    pub events: Vec<NewEvent>,
}

/// An event, before it has a number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct NewEvent {
    /// The kind.
    #[serde(rename = "type")]
    pub kind: EventKind,
    /// The time of the event.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// The message, for events about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub message: Option<EventMessage>,
    /// The profile that sent, or that is suspended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub profile: Option<ProfileName>,
    /// The reason.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

impl NewEvent {
    /// An event about a message, by the profile that was chosen for it.
    pub fn about(kind: EventKind, message: &Message, at: Timestamp) -> Self {
        Self {
            kind,
            at,
            message: Some(EventMessage {
                id: message.id,
                message_id: message.message_id.clone(),
                company: message.company.clone(),
                function: message.function,
                document: message.document.clone(),
                by: message.by.clone(),
                owner: message.owner.clone(),
                possible_duplicate: message.possible_duplicate,
                sent_again: message.sent_again,
            }),
            profile: Some(message.profile.clone()),
            reason: message.reason.clone(),
        }
    }
}

/// The message of an event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct EventMessage {
    /// The id of the message.
    #[schema(value_type = String, format = "uuid")]
    pub id: Uuid,
    /// The `Message-ID`.
    pub message_id: String,
    /// The company whose mail the message is.
    pub company: CompanyId,
    /// The function.
    pub function: Function,
    /// The document that the message carries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub document: Option<crate::model::message::Document>,
    /// The name of the token that submitted it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub by: String,
    /// The owner.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub owner: String,
    /// True if the message was sent again after an unknown outcome.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub possible_duplicate: bool,
    /// True if an operator ordered the message to be sent again to a recipient that had it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub sent_again: bool,
}

/// An event with its number in the order of all events.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// The number: 1, 2, 3, ...
    pub number: u64,
    /// The event.
    #[serde(flatten)]
    pub event: NewEvent,
}

/// Use of a mailbox in one minute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Usage {
    /// The mailbox.
    pub mailbox: String,
    /// The start of the minute.
    pub minute: Timestamp,
    /// Number of messages whose sending began.
    pub messages: u64,
    /// Number of their recipients.
    pub recipients: u64,
}

/// The queued messages of a lane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaneBacklog {
    /// The lane.
    pub lane: Lane,
    /// Number of messages that wait.
    pub messages: u64,
    /// The one that was accepted first.
    pub oldest: Option<Message>,
    /// The one that is due first.
    pub next: Option<Message>,
}

/// Times before which a purge removes what has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PurgeCutoffs {
    /// For messages that were delivered or cancelled, and for events that every webhook in `webhooks` has received.
    pub delivered: Timestamp,
    /// For all other events.
    pub unsent_events: Timestamp,
    /// The addresses of the webhooks that events are kept for.
    pub webhooks: Vec<String>,
    /// For messages that failed, or whose outcome is unknown.
    pub failed: Timestamp,
    /// For idempotency keys and mailbox usage.
    pub keys: Timestamp,
}

/// The result of a purge.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Purged {
    /// The number of removed rows.
    pub rows: usize,
    /// The number of removed events that a webhook has not received.
    pub unsent_events: usize,
}

/// Conditions of a search for messages. A condition that is not set matches everything.
#[derive(Clone, Debug, Default)]
pub struct Search {
    /// The status.
    pub status: Option<Status>,
    /// The company.
    pub company: Option<CompanyId>,
    /// The function.
    pub function: Option<Function>,
    /// The beginning of the id, in the form of [`message_id_prefix`].
    pub id_prefix: Option<String>,
    /// The `Message-ID`.
    pub message_id: Option<String>,
    /// The document's type and number.
    pub document: Option<(String, Option<String>)>,
    /// A recipient.
    pub recipient: Option<String>,
    /// A part of the subject, of a recipient's address or of the `Message-ID`, or the beginning of the document's number. The
    /// case of ASCII letters does not matter.
    pub text: Option<String>,
    /// The owner.
    pub owner: Option<String>,
    /// Older than this one, by the order of acceptance.
    pub before: Option<u64>,
    /// Accepted at this time or later.
    pub since: Option<Timestamp>,
    /// Accepted before this time.
    pub until: Option<Timestamp>,
    /// The profile that was chosen at acceptance, for messages that are not queued, and the lanes that it sends now, for queued
    /// ones.
    pub profile: Option<(ProfileName, Vec<Lane>)>,
    /// One of these lanes.
    pub lanes: Option<Vec<Lane>>,
    /// What the caller may see, if that is not all mail.
    pub within: Option<LaneScope>,
}

/// The mail of some lanes, and of one owner.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LaneScope {
    /// The lanes.
    pub lanes: Vec<Lane>,
    /// The owner of mail of any lane.
    pub owner: Option<String>,
}

/// Returns the beginning of a message's id as the store has it: lower case, with dashes. None if the text cannot be one.
pub fn message_id_prefix(text: &str) -> Option<String> {
    let digits: String = text.chars().filter(|character| *character != '-').collect();
    if !(1..=32).contains(&digits.len()) || !digits.chars().all(|character| character.is_ascii_hexdigit()) {
        return None;
    }
    let mut prefix = String::new();
    for (index, digit) in digits.to_ascii_lowercase().chars().enumerate() {
        if matches!(index, 8 | 12 | 16 | 20) {
            prefix.push('-');
        }
        prefix.push(digit);
    }
    Some(prefix)
}

/// The number of recipients after which a search ends. Each recipient has a reply, so that the number of messages alone does not
/// bound the memory of an answer.
pub const PAGE_RECIPIENTS: usize = 10_000;

/// Accepted messages with their attempts and contents.
#[async_trait]
pub trait Messages: Send + Sync {
    /// Accepts messages, and returns the outcome of each in the same order. With a key that was used before, the outcome is the
    /// earlier message or a refusal; a message that is refused does not affect the others. An earlier message of the call
    /// counts as accepted before a later one. After an error, none is accepted.
    async fn accept(&self, new: Vec<NewMessage>) -> Result<Vec<SubmissionOutcome>, StoreError>;

    /// Returns the earlier acceptance under a key.
    async fn replayed(&self, sender: &str, key: &IdempotencyKey) -> Result<Option<SubmissionOutcome>, StoreError>;

    /// Changes a message that is not claimed, or that the caller has claimed, and releases it. `change` runs inside the
    /// transaction and returns the new message and the audit entry, or a refusal. None if the message does not exist.
    async fn change(
        &self,
        id: Uuid,
        claimed: bool,
        change: Box<dyn FnOnce(Message) -> Result<(Settled, super::AuditEvent), String> + Send>,
    ) -> Result<Option<Result<(Message, Vec<Event>), String>>, StoreError>;

    /// Returns a message.
    async fn message(&self, id: Uuid) -> Result<Option<Message>, StoreError>;

    /// Returns a message with its attempts, the first one first, as they were at one moment.
    async fn message_with_attempts(&self, id: Uuid) -> Result<Option<(Message, Vec<Attempt>)>, StoreError>;

    /// Returns the contents of a message.
    async fn content(&self, id: Uuid) -> Result<Option<Vec<u8>>, StoreError>;

    /// Returns messages, newest first, with their place in the order of acceptance: at most `limit`, and none after
    /// [`PAGE_RECIPIENTS`] is reached.
    async fn search(&self, search: Search, limit: u32) -> Result<Vec<(u64, Message)>, StoreError>;

    /// Returns the number of messages that a search finds; `limit` if there are as many or more.
    async fn count(&self, search: Search, limit: u32) -> Result<u64, StoreError>;

    /// Returns messages that wait for a person, are leased to it, or have an unknown outcome, newest first, with their place in
    /// the order of acceptance: at most `limit`, older than `before`, for one application (in lower case).
    async fn messages_of_sender(
        &self,
        person: PersonId,
        application: String,
        before: Option<u64>,
        limit: u32,
    ) -> Result<Vec<(u64, Message)>, StoreError>;

    /// Returns messages of persons whose lease or lifetime has ended at `now`, at most `limit`.
    async fn due_of_senders(&self, now: Timestamp, limit: u32) -> Result<Vec<Uuid>, StoreError>;

    /// Returns the time at which the next lease or lifetime of a message of a person ends.
    async fn next_due_of_senders(&self) -> Result<Option<Timestamp>, StoreError>;

    /// Returns the number of messages of each status.
    async fn counts(&self) -> Result<Vec<(Status, u64)>, StoreError>;

    /// Returns the number of messages that finished since a time, by status.
    async fn ended_since(&self, since: Timestamp) -> Result<Vec<(Status, u64)>, StoreError>;

    /// Removes some messages, keys, events and usage that are older than the given times. No rows in the result mean that nothing
    /// is left to remove.
    async fn purge(&self, before: PurgeCutoffs) -> Result<Purged, StoreError>;
}

/// Lanes, and the work on their messages.
#[async_trait]
pub trait Lanes: Send + Sync {
    /// Makes a process the owner of the environment's delivery, with an epoch above that of every owner before it. The current
    /// owner keeps its epoch.
    async fn acquire_delivery(&self, instance: Uuid) -> Result<DeliveryOwner, StoreError>;

    /// Returns the number of queued messages of each lane that has some, with the oldest one and the one that is due first.
    async fn backlog(&self) -> Result<Vec<LaneBacklog>, StoreError>;

    /// Returns every lane that ever had a message.
    async fn lanes(&self) -> Result<Vec<LaneState>, StoreError>;

    /// Claims messages of a lane that are due and not claimed.
    async fn claim(&self, lane: &Lane, now: Timestamp, limit: usize) -> Result<Claim, StoreError>;

    /// Gives claimed messages back. They can be claimed again when this returns, and not before.
    async fn release(&self, messages: &[Uuid]) -> Result<(), StoreError>;

    /// Marks a message before its last byte leaves, and counts its recipients for the mailbox. Refuses an owner that is not the
    /// current one with [`StoreError::NotOwner`]; the message must not be sent then.
    async fn begin(&self, owner: DeliveryOwner, begun: Begun) -> Result<(), StoreError>;

    /// Records the outcome of a claimed message and releases it. Refuses an owner that is not the current one with
    /// [`StoreError::NotOwner`], and changes nothing then.
    async fn settle(&self, owner: DeliveryOwner, settled: Settled) -> Result<Vec<Event>, StoreError>;

    /// Returns the messages that an earlier owner began and never settled.
    async fn interrupted(&self, owner: DeliveryOwner) -> Result<Vec<Message>, StoreError>;

    /// Stops or starts the clocks of lanes.
    async fn pause(&self, lanes: Vec<LaneState>) -> Result<(), StoreError>;

    /// Moves what waits by `by`, because the system clock was set, but not past `latest`. The clocks of lanes do not count it as
    /// time that passed.
    async fn retime(&self, by: SignedDuration, latest: Timestamp) -> Result<(), StoreError>;
}

/// Holds of operators.
#[async_trait]
pub trait Holds: Send + Sync {
    /// Returns the holds.
    async fn holds(&self) -> Result<Vec<Hold>, StoreError>;

    /// Creates a hold, or removes it.
    async fn set_hold(&self, id: String, hold: Option<Hold>, event: super::AuditEvent) -> Result<bool, StoreError>;
}

/// Suspended profiles.
#[async_trait]
pub trait Suspensions: Send + Sync {
    /// Returns the suspended profiles.
    async fn suspended_profiles(&self) -> Result<Vec<SuspendedProfile>, StoreError>;

    /// Suspends a profile, or ends its suspension.
    async fn set_suspended(
        &self,
        profile: ProfileName,
        suspended: Option<SuspendedProfile>,
        event: Option<NewEvent>,
    ) -> Result<Vec<Event>, StoreError>;
}

/// States of rotations.
#[async_trait]
pub trait Rotations: Send + Sync {
    /// Returns the states of rotations.
    async fn rotations(&self) -> Result<Vec<Rotation>, StoreError>;

    /// Records the state of a rotation, or removes it. `of` identifies it.
    async fn set_rotation(
        &self,
        of: Digest,
        rotation: Option<Rotation>,
        event: Option<NewEvent>,
    ) -> Result<Vec<Event>, StoreError>;
}

/// Use of mailboxes, for their limits.
#[async_trait]
pub trait MailboxUsage: Send + Sync {
    /// Returns the use of each mailbox by minute, since the minute of a time.
    async fn usage(&self, since: Timestamp) -> Result<Vec<Usage>, StoreError>;
}

/// Events, and how far webhooks have received them.
#[async_trait]
pub trait Events: Send + Sync {
    /// Returns the oldest events after a number.
    async fn events(&self, after: u64, limit: u32) -> Result<Vec<Event>, StoreError>;

    /// Records an event together with an audit entry.
    async fn record_event(&self, audit: super::AuditEvent, event: NewEvent) -> Result<Event, StoreError>;

    /// Returns the number of the newest event.
    async fn newest_event(&self) -> Result<u64, StoreError>;

    /// Returns the newest event that a webhook has received; none if it is new.
    async fn webhook_cursor(&self, url: &str) -> Result<Option<u64>, StoreError>;

    /// Records the newest event that a webhook has received.
    async fn set_webhook_cursor(&self, url: &str, event: u64) -> Result<(), StoreError>;
}

/// All repositories of delivery.
pub trait Outbox: Messages + Lanes + Holds + Suspensions + Rotations + MailboxUsage + Events {}

impl<T: Messages + Lanes + Holds + Suspensions + Rotations + MailboxUsage + Events> Outbox for T {}
