//! Holds of the outbox in `SQLite`, each as JSON, with the audit entry of its change in the same transaction.
//!
//! The removal of a hold that does not exist is false, without an entry. An expired hold stays until it is removed; delivery
//! decides which are in effect.

use async_trait::async_trait;
use rusqlite::params;

use super::{SqliteStore, append, failed, records, text};
use crate::{
    model::Hold,
    store::{AuditEvent, StoreError, outbox::Holds},
};

#[async_trait]
impl Holds for SqliteStore {
    async fn holds(&self) -> Result<Vec<Hold>, StoreError> {
        self.read(|connection| records(connection, "SELECT record FROM hold ORDER BY id", [])).await
    }

    async fn set_hold(&self, id: String, hold: Option<Hold>, event: AuditEvent) -> Result<bool, StoreError> {
        self.write_plainly(move |connection| {
            let changed = match &hold {
                Some(hold) => connection.execute(
                    "INSERT INTO hold (id, record) VALUES (?1, ?2) ON CONFLICT (id) DO UPDATE SET record = excluded.record",
                    params![id, text(hold)?],
                ),
                None => connection.execute("DELETE FROM hold WHERE id = ?1", [&id]),
            }
            .map_err(failed)?;
            if changed > 0 {
                append(connection, &event)?;
            }
            Ok(changed > 0)
        })
        .await
    }
}
