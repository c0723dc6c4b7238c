//! API tokens in `SQLite`: created, read, revoked and confirmed, each change with its audit entry in one transaction.
//!
//! Only the hash of a token is stored. A token is revoked and never deleted. A revocation is written to `store.revoked` first; if
//! that fails, the token stays valid and the caller gets the error. A name that a token in use has is refused, unless the new token
//! replaces that one. The service checks hash, expiry and role.

use async_trait::async_trait;
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, params};

use super::{
    AuditEvent, SqliteStore, StoreError, StoredToken, Tokens, digests, document, failed, position, record, records,
    text,
};
use crate::model::token::Token;

impl SqliteStore {
    /// Changes a token, and records that in the audit log if `change` returns true.
    async fn change_token(
        &self,
        id: &str,
        event: AuditEvent,
        change: impl FnOnce(&mut Token) -> Result<bool, StoreError> + Send + 'static,
    ) -> Result<Option<Token>, StoreError> {
        let id = id.to_owned();
        self.write_plainly(move |transaction| {
            let found: Option<Token> = record(transaction, "SELECT document FROM token WHERE id = ?1", [&id])?;
            let Some(mut token) = found else { return Ok(None) };
            digests::record_alteration(transaction, event.at)?;
            if change(&mut token)? {
                transaction
                    .execute("UPDATE token SET document = ?2 WHERE id = ?1", params![id, text(&token)?])
                    .map_err(failed)?;
                digests::append_with_statement(transaction, &event, None)?;
            }
            Ok(Some(token))
        })
        .await
    }
}

#[async_trait]
impl Tokens for SqliteStore {
    async fn create_token(&self, token: StoredToken, event: AuditEvent) -> Result<(), StoreError> {
        let mut event = event;
        // The audit log must have an entry about each token.
        event.detail["id"] = serde_json::json!(token.token.id);
        self.write_plainly(move |transaction| {
            digests::record_alteration(transaction, event.at)?;
            refuse_taken_name(transaction, &token.token, event.at)?;
            transaction
                .execute(
                    "INSERT INTO token (id, document, hash, created_at) VALUES (?1, ?2, ?3, ?4)",
                    params![
                        token.token.id,
                        text(&token.token)?,
                        token.hash.as_str(),
                        token.token.created_at.as_millisecond()
                    ],
                )
                .map_err(failed)?;
            digests::append_with_statement(transaction, &event, None).map(drop)
        })
        .await
    }

    async fn token(&self, id: &str) -> Result<Option<StoredToken>, StoreError> {
        let id = id.to_owned();
        self.read(move |transaction| {
            let found: Option<(String, String)> = transaction
                .prepare_cached("SELECT document, hash FROM token WHERE id = ?1")
                .and_then(|mut statement| statement.query_row([id], |row| Ok((row.get(0)?, row.get(1)?))).optional())
                .map_err(failed)?;
            let Some((token, hash)) = found else { return Ok(None) };
            let hash = hash.parse().map_err(StoreError::Corrupt)?;
            Ok(Some(StoredToken { token: document(&token)?, hash }))
        })
        .await
    }

    async fn tokens(&self) -> Result<Vec<Token>, StoreError> {
        self.read(|transaction| records(transaction, "SELECT document FROM token ORDER BY created_at, id", [])).await
    }

    async fn revoke_token(&self, id: &str, at: Timestamp, event: AuditEvent) -> Result<Option<Token>, StoreError> {
        let path = self.path.clone();
        self.change_token(id, event, move |token| {
            if token.revoked_at.is_some() {
                return Ok(false);
            }
            // The file comes first: a restored database cannot undo it.
            position::add_revoked(&path, &token.id)
                .map_err(|error| StoreError::Database(format!("cannot write down that a token is revoked: {error}")))?;
            token.revoked_at = Some(at);
            Ok(true)
        })
        .await
    }

    async fn confirm_token(&self, id: &str, event: AuditEvent) -> Result<Option<Token>, StoreError> {
        self.change_token(id, event, |token| Ok(token.suspended_at.take().is_some())).await
    }
}

/// Refuses a name that another token has, except for tokens that the new one replaces.
fn refuse_taken_name(transaction: &Connection, token: &Token, now: Timestamp) -> Result<(), StoreError> {
    let name = token.name.to_lowercase();
    for other in records::<Token>(transaction, "SELECT document FROM token", [])? {
        if other.is_in_effect(now) && other.name.to_lowercase() == name && other.owner() != token.owner() {
            return Err(StoreError::TokenNameTaken(other.name));
        }
    }
    Ok(())
}
