//! The rows of the audit log, and its head: number and hash of the newest entry.
//!
//! The head is kept outside of the log as well: in the table `store`, in the transaction of the entry, and in the file
//! `store.position`. So a log that lost its newest entries, or all of them, differs from its head ([`find_loss`]).
//! [`append`] records that before it adds an entry, and continues with the number after the head: the gap stays in the log,
//! and no number is used twice.
//!
//! This module does not know what entries state about the store; `digests` does.

use async_trait::async_trait;
use rusqlite::{Connection, params, types::Value};
use serde::{Deserialize, Serialize};

use super::{
    AuditEvent, AuditLog, AuditSearch, SqliteStore, StoreError, failed, number, record, records, set_value, text, value,
};
use crate::model::{AuditEntry, AuditOutcome, Digest};

/// The key in the table `store` under which the head is kept.
pub(super) const HEAD: &str = "auditHead";
/// The action of an entry that records a change that bypassed the service.
pub(super) const ALTERED: &str = "store.altered";

/// Number and hash of an entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Head {
    pub(super) sequence: u64,
    pub(super) hash: Digest,
}

impl Head {
    /// Returns the head of a log without entries.
    pub(super) fn genesis() -> Self {
        Self { sequence: 0, hash: AuditEntry::genesis() }
    }

    fn from_entry(entry: AuditEntry) -> Self {
        Self { sequence: entry.sequence, hash: entry.hash }
    }
}

#[async_trait]
impl AuditLog for SqliteStore {
    async fn record(&self, event: AuditEvent) -> Result<AuditEntry, StoreError> {
        self.write_plainly(move |transaction| append(transaction, &event)).await
    }

    async fn audit(&self, after: u64, limit: u32) -> Result<Vec<AuditEntry>, StoreError> {
        self.read_at_length(move |transaction| entries(transaction, after, limit)).await
    }

    async fn find_audit(&self, search: AuditSearch, limit: u32) -> Result<Vec<AuditEntry>, StoreError> {
        self.read_at_length(move |transaction| find(transaction, &search, limit)).await
    }
}

/// Returns the oldest entries after `after`.
pub(super) fn entries(connection: &Connection, after: u64, limit: u32) -> Result<Vec<AuditEntry>, StoreError> {
    let query = "SELECT entry FROM audit WHERE sequence > ?1 ORDER BY sequence LIMIT ?2";
    records(connection, query, params![number(after), limit])
}

/// Returns the newest entries that a search finds, newest first.
fn find(connection: &Connection, search: &AuditSearch, limit: u32) -> Result<Vec<AuditEntry>, StoreError> {
    let mut conditions = vec!["sequence < ?1"];
    let mut values = vec![Value::Integer(search.before.map_or(i64::MAX, number))];
    let mut add = |condition: &'static str, value: String| {
        conditions.push(condition);
        values.push(Value::Text(value));
    };
    if let Some(actor) = &search.actor {
        add("json_extract(entry, '$.actor') = ?", actor.clone());
    }
    if let Some(action) = &search.action {
        add("instr(json_extract(entry, '$.action'), ?) = 1", action.clone());
    }
    if let Some(outcome) = search.outcome {
        add("json_extract(entry, '$.outcome') = ?", outcome.id().to_owned());
    }
    if let Some(since) = search.since {
        // Without a suffix, the text of a second sorts before all moments of it.
        add("json_extract(entry, '$.at') >= ?", since.strftime("%Y-%m-%dT%H:%M:%S").to_string());
    }
    if let Some(until) = search.until {
        add("json_extract(entry, '$.at') < ?", until.strftime("%Y-%m-%dT%H:%M:%S").to_string());
    }
    if let Some(text) = &search.text {
        add("instr(lower(json_extract(entry, '$.detail')), ?) > 0", text.to_ascii_lowercase());
    }
    let query =
        format!("SELECT entry FROM audit WHERE {} ORDER BY sequence DESC LIMIT {limit}", conditions.join(" AND "));
    records(connection, &query, rusqlite::params_from_iter(values))
}

/// Returns the head that the table `store` holds; none before the first entry.
pub(super) fn read_head(connection: &Connection) -> Result<Option<Head>, StoreError> {
    value(connection, HEAD)
}

fn newest_entry(connection: &Connection) -> Result<Option<Head>, StoreError> {
    Ok(record(connection, "SELECT entry FROM audit ORDER BY sequence DESC LIMIT 1", [])?.map(Head::from_entry))
}

/// Returns the difference between the newest entry of a log and its head; none if they agree.
pub(super) fn compare(newest: Option<&Head>, head: Option<&Head>) -> Option<String> {
    let last = newest.map_or(0, |newest| newest.sequence);
    match (newest, head) {
        (_, Some(head)) if last.saturating_add(1) == head.sequence => {
            Some(format!("entry {}, the newest of the audit log, is missing", head.sequence))
        }
        (_, Some(head)) if last < head.sequence => {
            Some(format!("entries {} to {} of the audit log are missing", last.saturating_add(1), head.sequence))
        }
        (Some(newest), Some(head)) if newest != head => Some(format!(
            "entry {last} of the audit log is not the one that the service wrote last, entry {}",
            head.sequence
        )),
        (Some(_), None) => Some("the note of the newest entry of the audit log is missing".to_owned()),
        (_, Some(_)) | (None, None) => None,
    }
}

/// Returns how the log differs from its head.
pub(super) fn find_loss(connection: &Connection) -> Result<Option<String>, StoreError> {
    Ok(compare(newest_entry(connection)?.as_ref(), read_head(connection)?.as_ref()))
}

/// Adopts a head that was noted outside of the database, if the log has no such entry: the next comparison finds what is
/// missing, and the next entry records it.
pub(super) fn adopt_head(transaction: &Connection, noted: &Head) -> Result<(), StoreError> {
    if noted.sequence == 0 {
        return Ok(());
    }
    let query = "SELECT entry FROM audit WHERE sequence = ?1";
    let found = record(transaction, query, [number(noted.sequence)])?.map(Head::from_entry);
    let is_higher = read_head(transaction)?.is_some_and(|head| head.sequence > noted.sequence);
    if found.as_ref() == Some(noted) || (found.is_none() && is_higher) {
        return Ok(());
    }
    set_value(transaction, HEAD, noted)
}

/// Adds an entry to the chain. If the log lost entries before, an entry that says so comes first.
pub(super) fn append(transaction: &Connection, event: &AuditEvent) -> Result<AuditEntry, StoreError> {
    let (newest, head) = (newest_entry(transaction)?, read_head(transaction)?);
    let loss = compare(newest.as_ref(), head.as_ref());
    let mut last = [newest, head].into_iter().flatten().max_by_key(|head| head.sequence).unwrap_or_else(Head::genesis);
    if let Some(why) = loss.filter(|_| event.action != ALTERED) {
        tracing::error!(why, "the store was changed by another program");
        last = Head::from_entry(write(transaction, last, &alteration(event.at, &why))?);
    }
    write(transaction, last, event)
}

/// Creates the event that records a change that bypassed the service.
pub(super) fn alteration(at: jiff::Timestamp, why: &str) -> AuditEvent {
    AuditEvent {
        at,
        actor: "(service)".to_owned(),
        action: ALTERED,
        outcome: AuditOutcome::Accepted,
        detail: serde_json::json!({ "why": why }),
    }
}

fn write(transaction: &Connection, last: Head, event: &AuditEvent) -> Result<AuditEntry, StoreError> {
    let mut entry = AuditEntry {
        sequence: last.sequence.saturating_add(1),
        at: event.at,
        actor: event.actor.clone(),
        action: event.action.to_owned(),
        outcome: event.outcome,
        detail: event.detail.clone(),
        hash: last.hash.clone(),
        previous: last.hash,
    };
    entry.hash = entry.expected_hash();
    let written = text(&entry)?;
    transaction
        .prepare_cached("INSERT INTO audit (sequence, entry) VALUES (?1, ?2)")
        .and_then(|mut statement| statement.execute(params![number(entry.sequence), written]))
        .map_err(failed)?;
    set_value(transaction, HEAD, &Head { sequence: entry.sequence, hash: entry.hash.clone() })?;
    Ok(entry)
}
