//! Repository of operators, the persons of the console, with their passkeys and enrolments.
//!
//! A store keeps the hash of the secret of an enrolment link, and public keys. Whether an operator may sign in is decided by the
//! service.

use async_trait::async_trait;
use jiff::Timestamp;

use super::{
    AuditEvent, StoreError,
    outbox::{Event, NewEvent},
};
use crate::{
    model::{
        Digest,
        operator::{Enrolment, Operator, PasskeyInfo},
    },
    passkey::Passkey,
};

/// A passkey with its public key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredPasskey {
    /// The record that may be shown.
    pub info: PasskeyInfo,
    /// The key, with the count of its last use.
    pub key: Passkey,
}

/// An operator with its keys and the hash of its enrolment link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredOperator {
    /// The record that may be shown, with its passkeys.
    pub operator: Operator,
    /// SHA-256 of the secret of the enrolment link; none if none is open. The link may have ended.
    pub enrolment: Option<Digest>,
    /// The passkeys, in the same order as in the record.
    pub keys: Vec<StoredPasskey>,
}

/// The outcome of storing a passkey.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PasskeyAdded {
    /// It was stored.
    Added(Box<Operator>),
    /// The operator does not exist, is removed or suspended.
    NotActive,
    /// The enrolment was used, replaced, or has ended.
    NoEnrolment,
    /// The passkey is stored already.
    Known,
    /// The operator has the maximum number of passkeys.
    TooMany,
}

/// The outcome of recording the use of a passkey.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PasskeyUsed {
    /// The use is recorded.
    Used,
    /// The passkey does not exist: it was removed.
    Unknown,
    /// The count is not higher than that of an earlier use.
    CountTooLow,
}

/// The outcome of removing a passkey.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PasskeyRemoved {
    /// It was removed.
    Removed(Box<Operator>),
    /// The operator or the passkey does not exist.
    Unknown,
    /// It is the last one, which was to be kept.
    Last,
}

/// Operators and their passkeys.
#[async_trait]
pub trait Operators: Send + Sync {
    /// Stores an operator with an open enrolment. Refuses a name that an operator has or had, regardless of case.
    async fn create_operator(&self, operator: Operator, enrolment: Digest, event: AuditEvent)
    -> Result<(), StoreError>;

    /// Returns an operator by its id.
    async fn operator(&self, id: &str) -> Result<Option<StoredOperator>, StoreError>;

    /// Returns all operators, oldest first.
    async fn operators(&self) -> Result<Vec<Operator>, StoreError>;

    /// Returns the operator whose enrolment link has a secret with this hash; the link may have ended.
    async fn operator_of_enrolment(&self, hash: &Digest) -> Result<Option<StoredOperator>, StoreError>;

    /// Returns the operator who has a passkey.
    async fn operator_of_passkey(&self, passkey: &str) -> Result<Option<StoredOperator>, StoreError>;

    /// Opens an enrolment, which replaces an open one, and records an event. Changes nothing if the operator
    /// is removed or suspended; none if it does not exist.
    async fn open_enrolment(
        &self,
        id: &str,
        enrolment: Enrolment,
        hash: Digest,
        event: AuditEvent,
        notice: Option<NewEvent>,
    ) -> Result<Option<(Operator, Vec<Event>)>, StoreError>;

    /// Stores a passkey. With `consumed`, the hash of an enrolment link, that enrolment must be open, and ends with it.
    async fn add_passkey(
        &self,
        id: &str,
        passkey: StoredPasskey,
        consumed: Option<Digest>,
        event: AuditEvent,
    ) -> Result<PasskeyAdded, StoreError>;

    /// Records the use of a passkey with the count of its device, which rises with each use. Not audited.
    async fn use_passkey(&self, passkey: &str, counter: u32, at: Timestamp) -> Result<PasskeyUsed, StoreError>;

    /// Removes a passkey; with `keep_last` not the last one.
    async fn remove_passkey(
        &self,
        id: &str,
        passkey: &str,
        keep_last: bool,
        event: AuditEvent,
    ) -> Result<PasskeyRemoved, StoreError>;

    /// Removes an operator; none if it does not exist. One that was removed before keeps the earlier time.
    async fn remove_operator(&self, id: &str, at: Timestamp, event: AuditEvent)
    -> Result<Option<Operator>, StoreError>;

    /// Confirms an operator that is suspended; none if it does not exist.
    async fn confirm_operator(&self, id: &str, event: AuditEvent) -> Result<Option<Operator>, StoreError>;
}
