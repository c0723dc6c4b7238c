//! Events of the outbox and cursors of webhooks in `SQLite`.
//!
//! Events are numbered without gaps in the order in which they are recorded, except after a restore. [`insert_event`] is called
//! inside the transaction that causes the event. Old events are removed by the purge of `messages`, later if a webhook has not
//! received them; the newest stays, because the number of the next one follows it. Nothing here sends an event.

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension as _, params};

use super::{AuditEvent, SqliteStore, append, document, failed, number, text};
use crate::store::{
    StoreError,
    outbox::{Event, Events, NewEvent},
};

#[async_trait]
impl Events for SqliteStore {
    async fn events(&self, after: u64, limit: u32) -> Result<Vec<Event>, StoreError> {
        self.read(move |connection| {
            let mut statement = connection
                .prepare_cached("SELECT number, record FROM event WHERE number > ?1 ORDER BY number LIMIT ?2")
                .map_err(failed)?;
            let rows = statement
                .query_map(params![number(after), limit], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?)))
                .map_err(failed)?;
            rows.map(|row| {
                let (number, record) = row.map_err(failed)?;
                Ok(Event { number: number.unsigned_abs(), event: document(&record)? })
            })
            .collect()
        })
        .await
    }

    async fn record_event(&self, audit: AuditEvent, event: NewEvent) -> Result<Event, StoreError> {
        self.write_plainly(move |connection| {
            append(connection, &audit)?;
            insert_event(connection, &event)
        })
        .await
    }

    async fn newest_event(&self) -> Result<u64, StoreError> {
        self.read(|connection| {
            connection
                .query_row("SELECT coalesce(max(number), 0) FROM event", [], |row| row.get::<_, i64>(0))
                .map(i64::unsigned_abs)
                .map_err(failed)
        })
        .await
    }

    async fn webhook_cursor(&self, url: &str) -> Result<Option<u64>, StoreError> {
        let url = url.to_owned();
        self.read(move |connection| {
            connection
                .query_row("SELECT event FROM webhook WHERE url = ?1", [url], |row| row.get::<_, i64>(0))
                .optional()
                .map(|found| found.map(i64::unsigned_abs))
                .map_err(failed)
        })
        .await
    }

    async fn set_webhook_cursor(&self, url: &str, event: u64) -> Result<(), StoreError> {
        let url = url.to_owned();
        self.write_plainly(move |connection| {
            connection
                .execute(
                    "INSERT INTO webhook (url, event) VALUES (?1, ?2) ON CONFLICT (url) DO UPDATE SET event = excluded.event",
                    params![url, number(event)],
                )
                .map_err(failed)
                .map(drop)
        })
        .await
    }
}

/// Records an event with the number of the newest event plus `gap`.
pub(super) fn insert_event_after(connection: &Connection, event: &NewEvent, gap: u64) -> Result<(), StoreError> {
    connection
        .execute(
            "INSERT INTO event (number, at, record)
             VALUES ((SELECT coalesce(max(number), 0) FROM event) + ?1, ?2, ?3)",
            params![number(gap), event.at.as_millisecond(), text(event)?],
        )
        .map_err(failed)
        .map(drop)
}

pub(super) fn insert_event(connection: &Connection, event: &NewEvent) -> Result<Event, StoreError> {
    let record = text(event)?;
    connection
        .prepare_cached("INSERT INTO event (at, record) VALUES (?1, ?2)")
        .and_then(|mut statement| statement.execute(params![event.at.as_millisecond(), record]))
        .map_err(failed)?;
    Ok(Event { number: connection.last_insert_rowid().unsigned_abs(), event: event.clone() })
}
