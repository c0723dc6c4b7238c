//! The `Store` trait and `SQLite` behind it.
//!
//! A store keeps an environment's name, every generation with all that was live at it, the age files, the destination that
//! each value was first accepted for, the tokens (hashed) and the audit log. It decides nothing: the service has checked what
//! it is handed. What it does guarantee is that a [`Commit`] is taken as a whole or not at all, that it is taken
//! only on the generation that it was computed from, that a changeset is taken once, and that the audit log is a
//! chain without gaps. `tests/service/store_conformance.rs` holds every store to that.
//! [`outbox`] has the repositories that delivery needs.
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
    token::Token,
};

pub use sqlite::{AuditReader, SqliteStore};

/// One atomic step from a generation to the next.
#[derive(Clone, Debug)]
pub struct Commit {
    /// The generation that it was computed from; another one refuses it.
    pub base: u64,
    /// The new generation.
    pub generation: Generation,
    /// The digest of the changeset, where there is one: the same id with another digest is refused.
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
    /// The file, as it is.
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
    /// More, by action. Never a secret.
    pub detail: serde_json::Value,
}

/// A token with what it takes to recognise it.
#[derive(Clone)]
pub struct StoredToken {
    /// The record that may be shown.
    pub token: Token,
    /// SHA-256 of the bearer token.
    pub hash: Digest,
}

/// Why a commit was not taken. In each case nothing changed.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// The store is at another generation.
    #[error("the store is at generation {0}")]
    Stale(u64),
    /// The changeset was taken before, with this digest, as this generation.
    #[error("the changeset was taken before as generation {generation}")]
    Taken {
        /// The generation that it made.
        generation: u64,
        /// The digest that it had.
        digest: Digest,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a store failed, or refuses to open.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It was written by a newer version.
    #[error("the store has schema version {found}, and this program knows versions up to {known}")]
    Newer {
        /// The store's.
        found: u32,
        /// This program's.
        known: u32,
    },
    /// It belongs to another environment.
    #[error("the store belongs to environment `{theirs}`, not `{ours}`")]
    OtherEnvironment {
        /// The one that was asked for.
        ours: String,
        /// The store's.
        theirs: String,
    },
    /// Its secrets are sealed to another service.
    #[error("the store was used with the recipient {theirs}, and the identity here is that of {ours}")]
    OtherIdentity {
        /// The recipient of the identity.
        ours: String,
        /// The store's.
        theirs: String,
    },
    /// Another token of the name is in use.
    #[error("another token of the name `{0}` is in use")]
    TokenNameTaken(String),
    /// It holds something that this program did not write.
    #[error("the store holds something that makes no sense: {0}")]
    Corrupt(String),
    /// The disk failed; its contents are not known.
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
    /// The holding that is to be renewed; none takes a new one.
    pub token: Option<u64>,
    /// The present moment.
    pub now: Timestamp,
    /// Its end.
    pub until: Timestamp,
}

/// The outcome of a request for a lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LeaseTaken {
    /// The caller holds it.
    Held(Lease),
    /// Another client holds it.
    HeldByAnother(Lease),
    /// More are held than are kept.
    TooMany,
}

/// Maximum number of leases at once.
pub const LEASES: usize = 1000;

/// Generations of the configuration, and the live state.
#[async_trait]
pub trait Generations: Send + Sync {
    /// Everything that is live now.
    async fn state(&self) -> Result<State, StoreError>;

    /// Takes a commit as a whole, or not at all.
    async fn commit(&self, commit: Commit) -> Result<(), CommitError>;

    /// Returns the digest and the generation of a changeset, if it was applied.
    async fn changeset(&self, id: uuid::Uuid) -> Result<Option<(Digest, Generation)>, StoreError>;

    /// The newest generations older than `before`, newest first.
    async fn generations(&self, before: Option<u64>, limit: u32) -> Result<Vec<Generation>, StoreError>;

    /// A generation with everything that was live at it.
    async fn generation(&self, number: u64) -> Result<Option<GenerationDetail>, StoreError>;
}

/// Age files, and the destinations that their values are bound to.
#[async_trait]
pub trait Secrets: Send + Sync {
    /// Returns the records of these age files; those that were never accepted are left out.
    async fn secrets(&self, digests: Vec<Digest>) -> Result<Vec<SecretRecord>, StoreError>;

    /// Returns the destinations that values were first accepted for, by the ids of the values; values that never were are left
    /// out.
    async fn destinations(&self, value_ids: Vec<String>) -> Result<BTreeMap<String, Destination>, StoreError>;

    /// Records the destination that a value is accepted for, if it is the first one, and returns the first one. A commit does
    /// the same for its secrets.
    async fn bind(&self, value_id: String, to: Destination) -> Result<Destination, StoreError>;

    /// An age file, as it is.
    async fn age_file(&self, digest: &Digest) -> Result<Option<Vec<u8>>, StoreError>;
}

/// The audit log.
#[async_trait]
pub trait AuditLog: Send + Sync {
    /// Adds to the audit log.
    async fn record(&self, event: AuditEvent) -> Result<AuditEntry, StoreError>;

    /// The oldest entries of the audit log after `after`.
    async fn audit(&self, after: u64, limit: u32) -> Result<Vec<AuditEntry>, StoreError>;
}

/// API tokens.
#[async_trait]
pub trait Tokens: Send + Sync {
    /// Stores a token. Refuses a name that another token in use has, regardless of case, except for those that it replaces.
    async fn create_token(&self, token: StoredToken, event: AuditEvent) -> Result<(), StoreError>;

    /// A token by its id.
    async fn token(&self, id: &str) -> Result<Option<StoredToken>, StoreError>;

    /// All tokens, oldest first.
    async fn tokens(&self) -> Result<Vec<Token>, StoreError>;

    /// Revokes a token; none if there is none. One that was revoked before keeps its time.
    async fn revoke_token(&self, id: &str, at: Timestamp, event: AuditEvent) -> Result<Option<Token>, StoreError>;

    /// Confirms a token that is suspended; none if there is none.
    async fn confirm_token(&self, id: &str, event: AuditEvent) -> Result<Option<Token>, StoreError>;
}

/// Comparison with the audit log, and the consequences of a restore.
#[async_trait]
pub trait Integrity: Send + Sync {
    /// Compares everything with what the audit log states. Reads all of it.
    async fn check(&self) -> Result<StoreCheck, StoreError>;

    /// Writes an entry that states what the store holds, if none does: of a store of an older version, or a new one.
    async fn state_contents(&self, at: Timestamp) -> Result<(), StoreError>;

    /// Draws the consequences if the store was restored since it was last used: messages that waited are `unknown`, tokens
    /// that may have been revoked are suspended. To be called before anything is sent. Returns the restore that is not confirmed
    /// yet.
    async fn settle_restore(&self, now: Timestamp) -> Result<Option<Restored>, StoreError>;

    /// An administrator confirms that the store was restored. False if there is nothing to confirm.
    async fn confirm_restore(&self, event: AuditEvent) -> Result<bool, StoreError>;
}

/// Results of the verifier.
#[async_trait]
pub trait Verifications: Send + Sync {
    /// Returns what was proved of profiles with exactly these settings and secrets, by the digest of each, in the last days.
    async fn proofs(&self, of: BTreeMap<ProfileName, Digest>) -> Result<BTreeMap<ProfileName, Verified>, StoreError>;

    /// Replaces the last results of profiles. Adds what was proved of the same settings earlier, where the new result could
    /// not see it.
    async fn record_verified(&self, results: Vec<(LastVerified, Verified)>) -> Result<(), StoreError>;

    /// Returns the last result of each profile, in short form.
    async fn last_verified(&self) -> Result<BTreeMap<ProfileName, LastVerified>, StoreError>;

    /// Returns the last result of a profile.
    async fn verified(&self, name: &ProfileName) -> Result<Option<Verified>, StoreError>;
}

/// Leases.
#[async_trait]
pub trait Leases: Send + Sync {
    /// Takes a lease or renews it, as one step. A new holding is written into the audit log, with its number; a renewal
    /// is not.
    async fn take_lease(&self, wanted: WantedLease, event: AuditEvent) -> Result<LeaseTaken, StoreError>;

    /// Gives a lease back; false if it is not the holding of this number.
    async fn release_lease(&self, name: &str, token: u64, event: AuditEvent) -> Result<bool, StoreError>;

    /// The leases that last at a moment, by name.
    async fn leases(&self, now: Timestamp) -> Result<Vec<Lease>, StoreError>;
}

/// The store of a service.
#[async_trait]
pub trait Store:
    outbox::Outbox + Generations + Secrets + AuditLog + Tokens + Integrity + Verifications + Leases
{
    /// The environment that it belongs to.
    fn environment(&self) -> &EnvironmentName;

    /// Puts the store in order before the process ends. A store that was not closed is whole as well; it lies in more files.
    async fn close(&self) -> Result<(), StoreError>;

    /// Proves that something can be written durably now.
    async fn probe(&self) -> Result<(), StoreError>;
}

/// The hash under which a bearer token is kept. It has 256 random bits, so a fast hash is enough.
pub fn token_hash(bearer: &SecretString) -> Digest {
    use secrecy::ExposeSecret as _;
    Digest::of_bytes(bearer.expose_secret().as_bytes())
}
