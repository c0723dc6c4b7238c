//! The `Store` trait, and its implementation with `SQLite`.
//!
//! A store keeps an environment's name, every generation with all that was live in it, the age files, the destination that each
//! value was first accepted for, the tokens (hashed) and the audit log. It does not decide whether a change is allowed: the service
//! has checked that. It guarantees that a [`Commit`] is stored as a whole or not at all, and only on the generation that it was
//! computed from, that a changeset is stored once, and that each entry of the audit log names the hash of the one before. A
//! [`StoreError`] means that nothing was stored, except for [`StoreError::Broken`], after which that is not known until the next
//! start. `tests/service/store_conformance.rs` checks this for every store. [`outbox`] has the repositories that delivery needs.
//!
//! # Adding a repository
//!
//! 1. One trait per entity, with the methods that its callers need and no others. Times are `Timestamp`s.
//! 2. A method is one transaction. It is durable when it returns, unless its documentation says otherwise.
//! 3. Add the trait to the list of [`Store`] or [`outbox::Outbox`], and implement it in a file of its own.
//! 4. Add its rules to `tests/service/store_conformance.rs`, which every store has to pass.

pub mod outbox;
mod sqlite;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use async_trait::async_trait;
use jiff::Timestamp;
use secrecy::SecretString;

use crate::model::{
    AuditEntry, AuditOutcome, Destination, Digest, EnvironmentName, Generation, GenerationDetail, LastVerified, Lease,
    ProfileName, SecretRecord, State,
    finding::Verified,
    integrity::{Restored, StoreCheck},
    operator::{Enrolment, Operator, PasskeyInfo},
    proposal::Proposal,
    session::{Session, SessionSubject},
    token::Token,
};

use crate::passkey::Passkey;
use outbox::{Event, NewEvent};

pub use sqlite::{AuditReader, SqliteStore};

/// An atomic step from one generation to the next.
#[derive(Clone, Debug)]
pub struct Commit {
    /// The generation that the commit was computed from. A store at another generation refuses the commit.
    pub base: u64,
    /// The new generation.
    pub generation: Generation,
    /// The digest of the changeset, if the commit has one: the same id with another digest is refused.
    pub changeset: Option<Digest>,
    /// The state at the new generation.
    pub after: Arc<State>,
    /// The profiles that differ from the generation before.
    pub touched: BTreeSet<ProfileName>,
    /// Age files that the store did not have.
    pub secrets: Vec<NewSecret>,
    /// The audit entry.
    pub event: AuditEvent,
}

/// An age file that the store did not have.
#[derive(Clone, PartialEq, Eq)]
pub struct NewSecret {
    /// The record that may be shown.
    pub record: SecretRecord,
    /// The bytes of the file, unchanged.
    pub age_file: Vec<u8>,
}

impl std::fmt::Debug for NewSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NewSecret").field("record", &self.record).finish_non_exhaustive()
    }
}

/// An entry for the audit log; the store adds sequence and hashes.
#[derive(Clone, Debug, PartialEq)]
pub struct AuditEvent {
    /// The time.
    pub at: Timestamp,
    /// The name of the caller.
    pub actor: String,
    /// The requested action.
    pub action: &'static str,
    /// The outcome.
    pub outcome: AuditOutcome,
    /// Further details, which depend on the action. Never a secret.
    pub detail: serde_json::Value,
}

/// Conditions of a search in the audit log. A condition that is not set matches everything.
#[derive(Clone, Debug, Default)]
pub struct AuditSearch {
    /// The name of the caller.
    pub actor: Option<String>,
    /// The action, or its beginning: `message.` finds all about messages.
    pub action: Option<String>,
    /// The outcome.
    pub outcome: Option<AuditOutcome>,
    /// At this time or later, to the second.
    pub since: Option<Timestamp>,
    /// Before this time, to the second.
    pub until: Option<Timestamp>,
    /// A part of the details, as JSON has it.
    pub text: Option<String>,
    /// Before the entry with this number.
    pub before: Option<u64>,
}

/// A token with the hash by which it is recognised.
#[derive(Clone)]
pub struct StoredToken {
    /// The record that may be shown.
    pub token: Token,
    /// SHA-256 of the bearer token.
    pub hash: Digest,
}

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

/// The reason why a commit was refused. The store is unchanged.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// The store is at another generation.
    #[error("the store is at generation {0}")]
    Stale(u64),
    /// The changeset was applied before.
    #[error("the changeset was taken before as generation {generation}")]
    Taken {
        /// The generation that the changeset created.
        generation: u64,
        /// The digest that the changeset had.
        digest: Digest,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The reason why a store failed or cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The store was written by a newer version.
    #[error("the store has schema version {found}, and this program knows versions up to {known}")]
    Newer {
        /// The schema version of the store.
        found: u32,
        /// The newest schema version that this program knows.
        known: u32,
    },
    /// The store belongs to another environment.
    #[error("the store belongs to environment `{theirs}`, not `{ours}`")]
    OtherEnvironment {
        /// The environment that was requested.
        ours: String,
        /// The environment of the store.
        theirs: String,
    },
    /// The secrets in the store are sealed to another service.
    #[error("the store was used with the recipient {theirs}, and the identity here is that of {ours}")]
    OtherIdentity {
        /// The recipient of the identity.
        ours: String,
        /// The recipient that the store is bound to.
        theirs: String,
    },
    /// Another token that is in use has the name.
    #[error("another token of the name `{0}` is in use")]
    TokenNameTaken(String),
    /// An operator has the name, or had it.
    #[error("an operator has the name `{0}`, or had it before it was removed")]
    OperatorNameTaken(String),
    /// Another process delivers the environment's mail.
    #[error("another process delivers the mail of this environment since epoch {current}; this one has epoch {own}")]
    NotOwner {
        /// The epoch of the caller.
        own: u64,
        /// The epoch of the current owner.
        current: u64,
    },
    /// It holds something that this program did not write.
    #[error("the store holds something that makes no sense: {0}")]
    Corrupt(String),
    /// The disk failed; what it holds is not known.
    #[error("the disk failed while something was written; start the service again once it is sound")]
    Broken,
    /// The database failed.
    #[error("the database failed: {0}")]
    Database(String),
}

/// A request for a lease, or for its renewal.
#[derive(Clone, Debug)]
pub struct WantedLease {
    /// The name.
    pub name: String,
    /// The holder, as the client names itself.
    pub holder: String,
    /// The name of the token that was used.
    pub by: String,
    /// The fencing token of the lease to renew; none acquires a new lease.
    pub token: Option<u64>,
    /// The current time.
    pub now: Timestamp,
    /// The expiry.
    pub until: Timestamp,
}

/// The outcome of a request for a lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LeaseTaken {
    /// The caller holds the lease.
    Held(Lease),
    /// Another client holds the lease.
    HeldByAnother(Lease),
    /// The maximum number of leases is held.
    TooMany,
}

/// Maximum number of leases at once.
pub const LEASES: usize = 1000;

/// Generations of the configuration, and the live state.
#[async_trait]
pub trait Generations: Send + Sync {
    /// Returns everything that is live now.
    async fn state(&self) -> Result<State, StoreError>;

    /// Stores a commit as a whole, or not at all.
    async fn commit(&self, commit: Commit) -> Result<(), CommitError>;

    /// Returns the digest and the generation of a changeset, if it was applied.
    async fn changeset(&self, id: uuid::Uuid) -> Result<Option<(Digest, Generation)>, StoreError>;

    /// Returns the newest generations older than `before`, newest first.
    async fn generations(&self, before: Option<u64>, limit: u32) -> Result<Vec<Generation>, StoreError>;

    /// Returns a generation with everything that was live in it.
    async fn generation(&self, number: u64) -> Result<Option<GenerationDetail>, StoreError>;
}

/// Age files, and the destinations that their values are bound to.
#[async_trait]
pub trait Secrets: Send + Sync {
    /// Returns the records of these age files, without those that were never accepted.
    async fn secrets(&self, digests: Vec<Digest>) -> Result<Vec<SecretRecord>, StoreError>;

    /// Returns the destinations that values were first accepted for, by the ids of the values, without those that were never
    /// accepted.
    async fn destinations(&self, value_ids: Vec<String>) -> Result<BTreeMap<String, Destination>, StoreError>;

    /// Records the destination that a value is accepted for, unless one is recorded, and returns the recorded one. A commit
    /// does the same for its secrets.
    async fn bind(&self, value_id: String, to: Destination) -> Result<Destination, StoreError>;

    /// Returns the bytes of an age file.
    async fn age_file(&self, digest: &Digest) -> Result<Option<Vec<u8>>, StoreError>;
}

/// The audit log.
#[async_trait]
pub trait AuditLog: Send + Sync {
    /// Adds an entry to the audit log.
    async fn record(&self, event: AuditEvent) -> Result<AuditEntry, StoreError>;

    /// Returns the oldest entries of the audit log after `after`.
    async fn audit(&self, after: u64, limit: u32) -> Result<Vec<AuditEntry>, StoreError>;

    /// Returns the newest entries that a search finds, newest first.
    async fn find_audit(&self, search: AuditSearch, limit: u32) -> Result<Vec<AuditEntry>, StoreError>;
}

/// API tokens.
#[async_trait]
pub trait Tokens: Send + Sync {
    /// Stores a token. Refuses a name that another token in use has, regardless of case, unless the new token replaces that
    /// one.
    async fn create_token(&self, token: StoredToken, event: AuditEvent) -> Result<(), StoreError>;

    /// Returns a token by its id.
    async fn token(&self, id: &str) -> Result<Option<StoredToken>, StoreError>;

    /// Returns all tokens, oldest first.
    async fn tokens(&self) -> Result<Vec<Token>, StoreError>;

    /// Revokes a token; none if it does not exist. A token that was revoked before keeps the earlier time.
    async fn revoke_token(&self, id: &str, at: Timestamp, event: AuditEvent) -> Result<Option<Token>, StoreError>;

    /// Confirms a token that is suspended; none if it does not exist.
    async fn confirm_token(&self, id: &str, event: AuditEvent) -> Result<Option<Token>, StoreError>;
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

/// Comparison with the audit log, and the consequences of a restore from a backup.
#[async_trait]
pub trait Integrity: Send + Sync {
    /// Compares everything in the store with what the audit log states.
    async fn check(&self) -> Result<StoreCheck, StoreError>;

    /// Writes an entry that states what the store holds, if there is none: in a new store, or in one of an older version.
    async fn state_contents(&self, at: Timestamp) -> Result<(), StoreError>;

    /// Applies the consequences of a restore, if the store was restored since it was last used: the owner of delivery loses it,
    /// messages that waited become `unknown`, tokens that may have been revoked and all operators are suspended. To be called
    /// before anything is sent. Returns the restore that no administrator has confirmed.
    async fn settle_restore(&self, now: Timestamp) -> Result<Option<Restored>, StoreError>;

    /// Records that an administrator confirmed the restore. False if there is nothing to confirm.
    async fn confirm_restore(&self, event: AuditEvent) -> Result<bool, StoreError>;
}

/// Results of the verifier.
#[async_trait]
pub trait Verifications: Send + Sync {
    /// Returns what was proved in the last days of profiles with exactly these settings and secrets, by the digest of each.
    async fn proofs(&self, of: BTreeMap<ProfileName, Digest>) -> Result<BTreeMap<ProfileName, Verified>, StoreError>;

    /// Keeps results, each under the digest of the settings that it is for. One of the live settings becomes the profile's last
    /// result; one of other settings, such as those of a plan, never does, until these settings become live. Adds what was proved
    /// earlier of the same settings and the new result could not see.
    async fn record_verified(&self, results: Vec<(LastVerified, Verified)>) -> Result<(), StoreError>;

    /// Returns the last result of each profile, in short form: of its live settings, or else of those that were live before.
    async fn last_verified(&self) -> Result<BTreeMap<ProfileName, LastVerified>, StoreError>;

    /// Returns the results of other settings, in short form, the newest first.
    async fn planned_verified(&self) -> Result<BTreeMap<ProfileName, Vec<LastVerified>>, StoreError>;

    /// Returns the results of profiles with exactly these settings, live or not, in short form.
    async fn verified_with(
        &self,
        of: BTreeMap<ProfileName, Digest>,
    ) -> Result<BTreeMap<ProfileName, LastVerified>, StoreError>;

    /// Returns the result of a profile: of exactly these settings, or the last one.
    async fn verified(&self, name: &ProfileName, of: Option<&Digest>) -> Result<Option<Verified>, StoreError>;
}

/// Leases.
#[async_trait]
pub trait Leases: Send + Sync {
    /// Acquires or renews a lease, in one transaction. Acquiring is recorded in the audit log, with the fencing token; renewing
    /// is not.
    async fn take_lease(&self, wanted: WantedLease, event: AuditEvent) -> Result<LeaseTaken, StoreError>;

    /// Releases a lease; false if it is held with another fencing token.
    async fn release_lease(&self, name: &str, token: u64, event: AuditEvent) -> Result<bool, StoreError>;

    /// Returns the leases that have not expired at a time, by name.
    async fn leases(&self, now: Timestamp) -> Result<Vec<Lease>, StoreError>;
}

/// The sessions to end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EndedSessions {
    /// One session, by its id.
    One(String),
    /// All sessions of a subject.
    OfSubject(SessionSubject),
}

/// Maximum number of sessions of one subject; a further one ends the oldest.
pub const SESSIONS_PER_SUBJECT: usize = 50;

/// Sessions of the console.
#[async_trait]
pub trait Sessions: Send + Sync {
    /// Stores a session under the hash of its secret. Removes those that have ended, and the oldest ones of a subject that has
    /// too many.
    async fn create_session(&self, session: Session, hash: Digest, event: AuditEvent) -> Result<(), StoreError>;

    /// Returns a session by the hash of its secret; also one that has ended, if it is still stored.
    async fn session(&self, hash: &Digest) -> Result<Option<Session>, StoreError>;

    /// Records that a session was used. Not audited.
    async fn use_session(&self, id: &str, at: Timestamp) -> Result<(), StoreError>;

    /// Replaces the hash of a session's secret, and records when its person confirmed its identity, and with which passkey; none
    /// if the session does not exist.
    async fn renew_session(
        &self,
        id: &str,
        hash: Digest,
        authenticated_at: Timestamp,
        passkey: Option<String>,
        event: AuditEvent,
    ) -> Result<Option<Session>, StoreError>;

    /// Returns the sessions that end after a time, newest first.
    async fn sessions(&self, now: Timestamp) -> Result<Vec<Session>, StoreError>;

    /// Ends sessions, and returns how many. The audit entry is written if there was one.
    async fn end_sessions(&self, ended: EndedSessions, event: AuditEvent) -> Result<usize, StoreError>;
}

/// Maximum number of open proposals.
pub const OPEN_PROPOSALS: usize = 200;

/// Maximum size of all open proposals, in bytes.
pub const OPEN_PROPOSALS_SIZE: usize = 256 * 1024 * 1024;

/// Number of decided proposals that are kept, the latest decisions first.
pub const DECIDED_PROPOSALS: usize = 200;

/// The outcome of storing a proposal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProposalStored {
    /// It was stored, with these events.
    Stored(Vec<Event>),
    /// The maximum number of proposals is open, or their maximum size is reached.
    TooMany,
    /// It does not exist, or was decided before.
    NotOpen,
}

/// Proposals.
#[async_trait]
pub trait Proposals: Send + Sync {
    /// Stores an open proposal and its events, unless too many are open.
    async fn create_proposal(
        &self,
        proposal: Proposal,
        event: AuditEvent,
        news: Vec<NewEvent>,
    ) -> Result<ProposalStored, StoreError>;

    /// Replaces an open proposal, with its decision if it has one, and stores its events. Keeps those that were decided last.
    async fn update_proposal(
        &self,
        proposal: Proposal,
        event: AuditEvent,
        news: Vec<NewEvent>,
    ) -> Result<ProposalStored, StoreError>;

    /// Returns a proposal.
    async fn proposal(&self, id: &str) -> Result<Option<Proposal>, StoreError>;

    /// Returns the proposals: open ones first, then the last decided first. Without the changes, settings and age files of plans.
    async fn proposals(&self) -> Result<Vec<Proposal>, StoreError>;
}

/// The store of a service.
#[async_trait]
pub trait Store:
    outbox::Outbox
    + Generations
    + Secrets
    + AuditLog
    + Tokens
    + Operators
    + Sessions
    + Proposals
    + Integrity
    + Verifications
    + Leases
{
    /// Returns the environment that the store belongs to.
    fn environment(&self) -> &EnvironmentName;

    /// Closes the store before the process ends. A store that was not closed is intact as well, but consists of more files.
    async fn close(&self) -> Result<(), StoreError>;

    /// Checks that the store can be written to durably now.
    async fn probe(&self) -> Result<(), StoreError>;
}

/// Returns the hash under which a bearer token is kept. The token has 256 random bits, so a fast hash is enough.
pub fn token_hash(bearer: &SecretString) -> Digest {
    use secrecy::ExposeSecret as _;
    Digest::of_bytes(bearer.expose_secret().as_bytes())
}
