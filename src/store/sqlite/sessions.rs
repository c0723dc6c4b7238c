//! Sessions of the console in `SQLite`. A restore from a backup removes all of them.

use async_trait::async_trait;
use jiff::Timestamp;
use rusqlite::{Connection, params};

use super::{AuditEvent, EndedSessions, Sessions, SqliteStore, StoreError, append, failed, record, records, text};
use crate::{
    model::{Digest, session::Session},
    store::SESSIONS_PER_SUBJECT,
};

#[async_trait]
impl Sessions for SqliteStore {
    async fn create_session(&self, session: Session, hash: Digest, event: AuditEvent) -> Result<(), StoreError> {
        self.write_plainly(move |transaction| {
            let subject = session.subject.to_string();
            transaction
                .execute("DELETE FROM session WHERE ends_at <= ?1", [event.at.as_millisecond()])
                .map_err(failed)?;
            let keep = i64::try_from(SESSIONS_PER_SUBJECT).unwrap_or(i64::MAX) - 1;
            transaction
                .execute(
                    "DELETE FROM session WHERE id IN
                     (SELECT id FROM session WHERE subject = ?1
                      ORDER BY ends_at DESC, json_extract(record, '$.createdAt') DESC LIMIT -1 OFFSET ?2)",
                    params![subject, keep],
                )
                .map_err(failed)?;
            transaction
                .execute(
                    "INSERT INTO session (id, hash, subject, ends_at, record) VALUES (?1, ?2, ?3, ?4, ?5)",
                    params![session.id, hash.as_str(), subject, session.ends_at.as_millisecond(), text(&session)?],
                )
                .map_err(failed)?;
            append(transaction, &event).map(drop)
        })
        .await
    }

    async fn session(&self, hash: &Digest) -> Result<Option<Session>, StoreError> {
        let hash = hash.to_string();
        self.read(move |transaction| record(transaction, "SELECT record FROM session WHERE hash = ?1", [hash])).await
    }

    async fn use_session(&self, id: &str, at: Timestamp) -> Result<(), StoreError> {
        let id = id.to_owned();
        self.write_plainly(move |transaction| {
            let found: Option<Session> = record(transaction, "SELECT record FROM session WHERE id = ?1", [&id])?;
            let Some(mut session) = found else { return Ok(()) };
            session.used_at = session.used_at.max(at);
            transaction
                .execute("UPDATE session SET record = ?2 WHERE id = ?1", params![id, text(&session)?])
                .map_err(failed)
                .map(drop)
        })
        .await
    }

    async fn renew_session(
        &self,
        id: &str,
        hash: Digest,
        authenticated_at: Timestamp,
        passkey: Option<String>,
        event: AuditEvent,
    ) -> Result<Option<Session>, StoreError> {
        let id = id.to_owned();
        self.write_plainly(move |transaction| {
            let found: Option<Session> = record(transaction, "SELECT record FROM session WHERE id = ?1", [&id])?;
            let Some(mut session) = found else { return Ok(None) };
            (session.authenticated_at, session.passkey) = (Some(authenticated_at), passkey);
            session.used_at = session.used_at.max(authenticated_at);
            transaction
                .execute(
                    "UPDATE session SET hash = ?2, record = ?3 WHERE id = ?1",
                    params![id, hash.as_str(), text(&session)?],
                )
                .map_err(failed)?;
            append(transaction, &event)?;
            Ok(Some(session))
        })
        .await
    }

    async fn sessions(&self, now: Timestamp) -> Result<Vec<Session>, StoreError> {
        let query = "SELECT record FROM session WHERE ends_at > ?1 ORDER BY ends_at DESC, id";
        self.read(move |transaction| {
            let mut sessions: Vec<Session> = records(transaction, query, [now.as_millisecond()])?;
            sessions.sort_by_key(|session| std::cmp::Reverse(session.created_at));
            Ok(sessions)
        })
        .await
    }

    async fn end_sessions(&self, ended: EndedSessions, event: AuditEvent) -> Result<usize, StoreError> {
        self.write_plainly(move |transaction| {
            let count = match &ended {
                EndedSessions::One(id) => transaction.execute("DELETE FROM session WHERE id = ?1", [id]),
                EndedSessions::OfSubject(subject) => {
                    transaction.execute("DELETE FROM session WHERE subject = ?1", [subject.to_string()])
                }
            };
            let count = count.map_err(failed)?;
            if count > 0 {
                append(transaction, &event)?;
            }
            Ok(count)
        })
        .await
    }
}

/// Removes every session: after a restore it is not known which of them have ended since the backup.
pub(super) fn end_all(transaction: &Connection) -> Result<(), StoreError> {
    transaction.execute("DELETE FROM session", []).map_err(failed).map(drop)
}
