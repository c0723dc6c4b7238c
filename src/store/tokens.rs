//! Repositories of those who call the service by a secret: API tokens, and sessions of the console.
//!
//! A store keeps the hash of a secret ([`token_hash`]) and never the secret. Whether a token or session may be used is decided by
//! the service.

use async_trait::async_trait;
use jiff::Timestamp;
use secrecy::{ExposeSecret as _, SecretString};

use super::{AuditEvent, StoreError};
use crate::model::{
    Digest,
    session::{Session, SessionSubject},
    token::Token,
};

/// A token with the hash by which it is recognised.
#[derive(Clone)]
pub struct StoredToken {
    /// The record that may be shown.
    pub token: Token,
    /// SHA-256 of the bearer token.
    pub hash: Digest,
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

/// Returns the hash under which a bearer token is kept. The token has 256 random bits, so a fast hash is enough.
pub fn token_hash(bearer: &SecretString) -> Digest {
    Digest::of_bytes(bearer.expose_secret().as_bytes())
}
