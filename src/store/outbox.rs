//! What delivery needs of a store: messages, whose turn it is, what became of each attempt.
//!
//! A message is [`accept`](Outbox::accept)ed with its idempotency key in one transaction, [`claim`](Outbox::claim)ed by
//! one worker, marked by [`begin`](Outbox::begin) before its last byte leaves, and [`settle`](Outbox::settle)d. Each of
//! these is durable when it returns; `claim` alone need not be. What was begun and never settled is
//! [`Outbox::interrupted`]: nobody can know what became of it.

use async_trait::async_trait;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::StoreError;
use crate::model::{
    Attempt, CompanyId, Digest, Function, Hold, Lane, Message, ProfileName, Status, delivery::EventKind,
    rotation::Rotation, suspension::Parked,
};

/// What is known of a lane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaneState {
    /// Which one.
    pub lane: Lane,
    /// When the next message is due, in milliseconds since 1970; none if nothing waits.
    pub next_due: Option<i64>,
    /// Since when its clock stands still.
    pub paused_since: Option<i64>,
    /// How long it stood still before, in milliseconds.
    pub paused_total: i64,
}

/// A message to be taken.
pub struct NewMessage {
    /// The message.
    pub message: Message,
    /// What is sent, without what is only known when it is sent.
    pub content: Vec<u8>,
    /// The key that makes the submission safe to repeat.
    pub key: Option<IdempotencyKey>,
    /// True if a document may be sent although it was sent before.
    pub again: bool,
}

/// A key that makes a submission safe to repeat.
#[derive(Clone, Debug)]
pub struct IdempotencyKey {
    /// The key.
    pub key: String,
    /// Digest of what was submitted.
    pub digest: Digest,
}

/// What became of a submission.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Accepted {
    /// It was taken now. The message in JSON, as it was written: whoever answers with it need not write it again.
    Now(String),
    /// The same was taken before, as this message.
    Before(Box<Message>),
    /// The key was used before for something else.
    KeyReused,
    /// The document was sent before, by this message.
    DocumentSent(Uuid),
}

/// A message that nobody else works on.
#[derive(Clone, Debug)]
pub struct Claimed {
    /// The message.
    pub message: Message,
    /// Its contents, unless they are large.
    pub content: Option<Vec<u8>>,
    /// How long its lane had stood still when it was accepted, in milliseconds.
    pub paused_before: i64,
}

/// What the answer to a claim tells besides.
#[derive(Clone, Debug, Default)]
pub struct Claim {
    /// The messages.
    pub messages: Vec<Claimed>,
    /// When the lane's next message is due; none if nothing else waits.
    pub next_due: Option<i64>,
}

/// The end of an attempt, or of a message.
#[derive(Clone, Debug)]
pub struct Settled {
    /// The message as it is now.
    pub message: Message,
    /// The attempt, if one was made.
    pub attempt: Option<Attempt>,
    /// What is to be told.
    pub events: Vec<NewEvent>,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct NewEvent {
    /// What.
    #[serde(rename = "type")]
    pub kind: EventKind,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// The message, for those about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub message: Option<EventMessage>,
    /// The profile that sent, or that is parked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub profile: Option<ProfileName>,
    /// Why.
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

/// What an event tells of its message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct EventMessage {
    /// Its id.
    #[schema(value_type = String, format = "uuid")]
    pub id: Uuid,
    /// Its `Message-ID`.
    pub message_id: String,
    /// Whose mail it is.
    pub company: CompanyId,
    /// What kind of mail.
    pub function: Function,
    /// The document that it carries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub document: Option<crate::model::message::Document>,
    /// The name of the token that submitted it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub by: String,
    /// To whom it belongs.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub owner: String,
    /// True if it was sent again after nobody could know.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub possible_duplicate: bool,
    /// True if somebody asked to send it again to a recipient who had it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub sent_again: bool,
}

/// An event with its place in the order of all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// 1, 2, 3, ...
    pub number: u64,
    /// What happened.
    #[serde(flatten)]
    pub event: NewEvent,
}

/// What a mailbox sent in a minute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Which mailbox.
    pub mailbox: String,
    /// Minutes since 1970.
    pub minute: i64,
    /// How many messages were begun.
    pub messages: u64,
    /// How many recipients they had.
    pub recipients: u64,
}

/// What to look for among messages. What is none is not looked at.
#[derive(Clone, Debug, Default)]
pub struct Search {
    /// What became of them.
    pub status: Option<Status>,
    /// Whose mail.
    pub company: Option<CompanyId>,
    /// What kind of mail.
    pub function: Option<Function>,
    /// The `Message-ID`.
    pub message_id: Option<String>,
    /// The document's type and number.
    pub document: Option<(String, Option<String>)>,
    /// Somebody whom it is for.
    pub recipient: Option<String>,
    /// To whom it belongs.
    pub owner: Option<String>,
    /// Older than this one, by the order of acceptance.
    pub before: Option<u64>,
}

/// What delivery needs of a store.
#[async_trait]
pub trait Outbox: Send + Sync {
    /// Takes a message. With a key that was used before, it is the message of then or a refusal.
    async fn accept(&self, new: NewMessage) -> Result<Accepted, StoreError>;

    /// What was taken under a key before.
    async fn replayed(&self, sender: &str, key: &IdempotencyKey) -> Result<Option<Accepted>, StoreError>;

    /// Every lane that ever had a message.
    async fn lanes(&self) -> Result<Vec<LaneState>, StoreError>;

    /// Messages of a lane that are due and that nobody works on; from now on somebody does.
    async fn claim(&self, lane: &Lane, now: i64, limit: usize) -> Result<Claim, StoreError>;

    /// Gives claimed messages back. They can be claimed again when this returns, and not before.
    async fn release(&self, messages: &[Uuid]) -> Result<(), StoreError>;

    /// Marks a message before its last byte leaves, and counts its recipients for the mailbox.
    async fn begin(&self, message: &Message, mailbox: &str, recipients: u32, at: Timestamp) -> Result<(), StoreError>;

    /// Writes what became of a claimed message, which is given back.
    async fn settle(&self, settled: Settled) -> Result<Vec<Event>, StoreError>;

    /// Messages that were begun and never settled, because the process ended.
    async fn interrupted(&self) -> Result<Vec<Message>, StoreError>;

    /// Changes a message that nobody works on, or that the caller has claimed; it is given back. `change` says what it is to
    /// be, and what the audit log says of that, or why not; it is asked inside the transaction. None if there is no such
    /// message.
    async fn change(
        &self,
        id: Uuid,
        claimed: bool,
        change: Box<dyn FnOnce(Message) -> Result<(Settled, super::AuditEvent), String> + Send>,
    ) -> Result<Option<Result<(Message, Vec<Event>), String>>, StoreError>;

    /// A message.
    async fn message(&self, id: Uuid) -> Result<Option<Message>, StoreError>;

    /// Its attempts, the first one first.
    async fn attempts(&self, id: Uuid) -> Result<Vec<Attempt>, StoreError>;

    /// Its contents.
    async fn content(&self, id: Uuid) -> Result<Option<Vec<u8>>, StoreError>;

    /// Messages, newest first, with their place in the order of acceptance.
    async fn search(&self, search: Search, limit: u32) -> Result<Vec<(u64, Message)>, StoreError>;

    /// How many messages there are of each status.
    async fn counts(&self) -> Result<Vec<(Status, u64)>, StoreError>;

    /// How many messages came to their end since a moment, in milliseconds since 1970, by what became of them.
    async fn ended_since(&self, since: i64) -> Result<Vec<(Status, u64)>, StoreError>;

    /// Stops or starts the clocks of lanes.
    async fn pause(&self, lanes: Vec<LaneState>) -> Result<(), StoreError>;

    /// The clock was set by so many milliseconds: what waits moves with it, to `latest` at the latest, and the clocks of
    /// lanes do not take it for time that passed.
    async fn retime(&self, by: i64, latest: i64) -> Result<(), StoreError>;

    /// The holds.
    async fn holds(&self) -> Result<Vec<Hold>, StoreError>;

    /// Keeps a hold, or removes it.
    async fn set_hold(&self, id: String, hold: Option<Hold>, event: super::AuditEvent) -> Result<bool, StoreError>;

    /// Profiles that are parked.
    async fn parked(&self) -> Result<Vec<Parked>, StoreError>;

    /// Parks a profile, or lets it go.
    async fn set_parked(
        &self,
        profile: ProfileName,
        parked: Option<Parked>,
        event: Option<NewEvent>,
    ) -> Result<Vec<Event>, StoreError>;

    /// How rotations stand.
    async fn rotations(&self) -> Result<Vec<Rotation>, StoreError>;

    /// Writes how a rotation stands, or forgets it. `of` is what it is about.
    async fn set_rotation(
        &self,
        of: Digest,
        rotation: Option<Rotation>,
        event: Option<NewEvent>,
    ) -> Result<Vec<Event>, StoreError>;

    /// How much each mailbox sent, by minute, since a minute.
    async fn usage(&self, since_minute: i64) -> Result<Vec<Usage>, StoreError>;

    /// The oldest events after a number.
    async fn events(&self, after: u64, limit: u32) -> Result<Vec<Event>, StoreError>;

    /// The number of the newest event.
    async fn newest_event(&self) -> Result<u64, StoreError>;

    /// How far a webhook was told; none if it is new.
    async fn told(&self, url: &str) -> Result<Option<u64>, StoreError>;

    /// Remembers how far a webhook was told.
    async fn set_told(&self, url: &str, event: u64) -> Result<(), StoreError>;

    /// Removes what is older than it need be; a few at a time. Says how much went; nothing means that nothing is left.
    async fn purge(&self, delivered_before: i64, failed_before: i64, keys_before: i64) -> Result<usize, StoreError>;
}
