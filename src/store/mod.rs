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

mod leases;
mod operators;
pub mod outbox;
mod proposals;
mod sqlite;
mod tokens;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use async_trait::async_trait;
use jiff::Timestamp;

use crate::model::{
    AuditEntry, AuditOutcome, Destination, Digest, EnvironmentName, Generation, GenerationDetail, LastVerified,
    ProfileName, SecretRecord, State, StoredProfile,
    finding::Verified,
    integrity::{Restored, StoreCheck},
};

pub use leases::{LEASES, LeaseTaken, Leases, WantedLease};
pub use operators::{Operators, PasskeyAdded, PasskeyRemoved, PasskeyUsed, StoredOperator, StoredPasskey};
pub use proposals::{DECIDED_PROPOSALS, OPEN_PROPOSALS, OPEN_PROPOSALS_SIZE, ProposalStored, Proposals};
pub use sqlite::{AuditReader, SqliteStore};
pub use tokens::{EndedSessions, SESSIONS_PER_SUBJECT, Sessions, StoredToken, Tokens, token_hash};

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

    /// Returns the newest generations that changed a profile, newest first, each with the profile as it left it: none if it was
    /// gone.
    async fn profile_versions(
        &self,
        name: &ProfileName,
        limit: u32,
    ) -> Result<Vec<(Generation, Option<StoredProfile>)>, StoreError>;
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

    /// Returns the last result of one profile, in short form.
    async fn last_verified_of(&self, name: &ProfileName) -> Result<Option<LastVerified>, StoreError>;

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
