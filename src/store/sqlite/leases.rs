//! Leases in `SQLite`: acquired, renewed and released, each in one transaction.
//!
//! The fencing token of a lease is a number that rises with every acquisition and is never used twice, also after a restore. A
//! lease that has expired is not renewed: its holder gets a new token if the name is free, as does a holder that asks for its own
//! lease without the token. While another one holds the name, nothing is written. At most 1,000 are held at once. A lease excludes
//! clients from one another; it does not guard the store.

use async_trait::async_trait;
use jiff::Timestamp;
use rusqlite::{Connection, params};
use serde_json::json;

use super::{
    AuditEvent, LeaseTaken, Leases, SqliteStore, StoreError, WantedLease, append, failed, record, records, set_value,
    text, value,
};
use crate::{model::Lease, store::LEASES};

/// The key of the newest fencing token. The number only grows, even if rows are removed.
const NEWEST: &str = "leaseToken";

#[async_trait]
impl Leases for SqliteStore {
    async fn take_lease(&self, wanted: WantedLease, event: AuditEvent) -> Result<LeaseTaken, StoreError> {
        self.write_plainly(move |transaction| take(transaction, wanted, event)).await
    }

    async fn release_lease(&self, name: &str, token: u64, event: AuditEvent) -> Result<bool, StoreError> {
        let name = name.to_owned();
        self.write_plainly(move |transaction| release(transaction, &name, token, &event)).await
    }

    async fn leases(&self, now: Timestamp) -> Result<Vec<Lease>, StoreError> {
        self.read(move |transaction| lasting(transaction, now)).await
    }
}

fn take(transaction: &Connection, wanted: WantedLease, mut event: AuditEvent) -> Result<LeaseTaken, StoreError> {
    transaction.execute("DELETE FROM lease WHERE until <= ?1", [wanted.now.as_millisecond()]).map_err(failed)?;
    let held = find(transaction, &wanted.name)?;
    let (token, since, renewed) = match held {
        Some(held) if Some(held.token) == wanted.token && held.holder == wanted.holder => {
            (held.token, held.since, true)
        }
        // A holder that was killed before it could record its fencing token acquires the lease again.
        Some(held) if wanted.token.is_some() || held.holder != wanted.holder => {
            return Ok(LeaseTaken::HeldByAnother(held));
        }
        // A lease that expired is not renewed: another client may have held the name since.
        _ => {
            let count: i64 =
                transaction.query_row("SELECT count(*) FROM lease", [], |row| row.get(0)).map_err(failed)?;
            if count.unsigned_abs() >= LEASES as u64 {
                return Ok(LeaseTaken::TooMany);
            }
            let token = value::<u64>(transaction, NEWEST)?.unwrap_or(0) + 1;
            set_value(transaction, NEWEST, &token)?;
            (token, wanted.now, false)
        }
    };
    let WantedLease { name, holder, by, until, .. } = wanted;
    let lease = Lease { name, holder, token, by, since, until };
    transaction
        .execute(
            "INSERT INTO lease (name, until, record) VALUES (?1, ?2, ?3)
             ON CONFLICT (name) DO UPDATE SET until = excluded.until, record = excluded.record",
            params![lease.name, until.as_millisecond(), text(&lease)?],
        )
        .map_err(failed)?;
    if !renewed {
        event.detail["token"] = json!(token);
        append(transaction, &event)?;
    }
    Ok(LeaseTaken::Held(lease))
}

fn release(transaction: &Connection, name: &str, token: u64, event: &AuditEvent) -> Result<bool, StoreError> {
    if find(transaction, name)?.is_none_or(|held| held.token != token) {
        return Ok(false);
    }
    transaction.execute("DELETE FROM lease WHERE name = ?1", [name]).map_err(failed)?;
    append(transaction, event)?;
    Ok(true)
}

fn lasting(transaction: &Connection, now: Timestamp) -> Result<Vec<Lease>, StoreError> {
    records(transaction, "SELECT record FROM lease WHERE until > ?1 ORDER BY name", [now.as_millisecond()])
}

/// Increases the number of the next fencing token, so that numbers that were used since a backup are not used again.
pub(super) fn skip(transaction: &Connection, by: u64) -> Result<(), StoreError> {
    let newest = value::<u64>(transaction, NEWEST)?.unwrap_or(0);
    set_value(transaction, NEWEST, &newest.saturating_add(by))
}

fn find(transaction: &Connection, name: &str) -> Result<Option<Lease>, StoreError> {
    record(transaction, "SELECT record FROM lease WHERE name = ?1", [name])
}
