//! Operators and their passkeys in `SQLite`, each change with its audit entry in one transaction.
//!
//! Of an enrolment link only the hash is stored. An operator is removed and never deleted; a passkey is deleted. Both are written
//! to `store.revoked` first, so that a restored database does not bring one back; if that fails, nothing is changed. The service
//! decides who may do what, and verifies what a device signed.

use async_trait::async_trait;
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, params};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{AuditEvent, SqliteStore, StoreError, digests, document, events, failed, position, text};
use crate::{
    model::{
        Digest,
        operator::{Enrolment, Operator, PASSKEYS_LIMIT, PasskeyInfo},
    },
    passkey::Passkey,
    store::{
        Operators, PasskeyAdded, PasskeyRemoved, PasskeyUsed, StoredOperator, StoredPasskey,
        outbox::{Event, NewEvent},
    },
};

/// The document of a passkey.
#[derive(Serialize, Deserialize)]
struct PasskeyDocument {
    info: PasskeyInfo,
    key: Passkey,
}

/// The word of `store.revoked` for a removed operator.
fn revoked_operator(id: &str) -> String {
    format!("operator:{id}")
}

/// The word of `store.revoked` for a removed passkey.
fn revoked_passkey(id: &str) -> String {
    format!("passkey:{id}")
}

fn removal_error(error: &std::io::Error) -> StoreError {
    StoreError::Database(format!("cannot write down that an operator or a passkey is removed: {error}"))
}

/// Returns the operators that a condition selects, oldest first.
fn find(
    transaction: &Connection,
    condition: &str,
    parameters: impl rusqlite::Params,
) -> Result<Vec<StoredOperator>, StoreError> {
    let query = format!("SELECT document, enrolment FROM operator {condition} ORDER BY created_at, id");
    let mut statement = transaction.prepare_cached(&query).map_err(failed)?;
    let rows = statement
        .query_map(parameters, |row| Ok((row.get::<_, String>(0)?, row.get::<_, Option<String>>(1)?)))
        .map_err(failed)?;
    let mut found = Vec::new();
    for row in rows {
        let (operator, enrolment) = row.map_err(failed)?;
        let mut operator: Operator = document(&operator)?;
        let keys = keys_of(transaction, &operator.id)?;
        operator.passkeys = keys.iter().map(|stored| stored.info.clone()).collect();
        let enrolment = enrolment.map(|hash| hash.parse().map_err(StoreError::Corrupt)).transpose()?;
        found.push(StoredOperator { operator, enrolment, keys });
    }
    Ok(found)
}

fn keys_of(transaction: &Connection, operator: &str) -> Result<Vec<StoredPasskey>, StoreError> {
    let mut statement = transaction
        .prepare_cached("SELECT document, counter, used_at FROM passkey WHERE operator = ?1 ORDER BY added_at, id")
        .map_err(failed)?;
    let rows = statement
        .query_map([operator], |row| {
            Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?, row.get::<_, Option<i64>>(2)?))
        })
        .map_err(failed)?;
    rows.map(|row| {
        let (stored, counter, used_at) = row.map_err(failed)?;
        let PasskeyDocument { mut info, mut key } = document(&stored)?;
        let wrong = |_| StoreError::Corrupt("the use of a passkey".to_owned());
        key.counter = u32::try_from(counter).map_err(wrong)?;
        info.used_at = used_at
            .map(Timestamp::from_millisecond)
            .transpose()
            .map_err(|_| StoreError::Corrupt("the time of a passkey".to_owned()))?;
        Ok(StoredPasskey { info, key })
    })
    .collect()
}

fn find_one(transaction: &Connection, id: &str) -> Result<Option<StoredOperator>, StoreError> {
    Ok(find(transaction, "WHERE id = ?1", [id])?.pop())
}

/// Writes the document of an operator, which has neither passkeys nor the hash of its link.
fn write(transaction: &Connection, operator: &Operator, enrolment: Option<&Digest>) -> Result<(), StoreError> {
    let stored = Operator { passkeys: Vec::new(), ..operator.clone() };
    transaction
        .execute(
            "UPDATE operator SET document = ?2, enrolment = ?3 WHERE id = ?1",
            params![operator.id, text(&stored)?, enrolment.map(Digest::as_str)],
        )
        .map_err(failed)
        .map(drop)
}

/// Suspends every operator, and closes every enrolment: it may not be known who was removed since the backup, and it is not known
/// which links were used. Returns the number of suspended operators.
pub(super) fn suspend_all(transaction: &Connection, now: Timestamp) -> Result<u64, StoreError> {
    let mut count = 0;
    for StoredOperator { mut operator, enrolment, .. } in find(transaction, "", [])? {
        let is_active = operator.is_active();
        if is_active {
            operator.suspended_at = Some(now);
            count += 1;
        }
        if is_active || enrolment.is_some() {
            operator.enrolment = None;
            write(transaction, &operator, None)?;
        }
    }
    Ok(count)
}

/// Removes operators and passkeys that were ever removed, even if the database has them. Returns the action and the
/// detail of each removal, for the audit log.
pub(super) fn remove_again(
    transaction: &Connection,
    revoked: &std::collections::BTreeSet<String>,
    now: Timestamp,
) -> Result<Vec<(&'static str, serde_json::Value)>, StoreError> {
    let mut removed = Vec::new();
    for StoredOperator { mut operator, keys, .. } in find(transaction, "", [])? {
        for StoredPasskey { info, .. } in keys {
            if revoked.contains(&revoked_passkey(&info.id)) {
                if removed.is_empty() {
                    digests::record_alteration(transaction, now)?;
                }
                transaction.execute("DELETE FROM passkey WHERE id = ?1", [&info.id]).map_err(failed)?;
                let detail = json!({ "id": operator.id, "name": operator.name, "passkey": info.id });
                removed.push(("operator.remove-passkey", detail));
            }
        }
        if operator.removed_at.is_none() && revoked.contains(&revoked_operator(&operator.id)) {
            if removed.is_empty() {
                digests::record_alteration(transaction, now)?;
            }
            (operator.removed_at, operator.enrolment) = (Some(now), None);
            write(transaction, &operator, None)?;
            removed.push(("operator.remove", json!({ "id": operator.id, "name": operator.name })));
        }
    }
    Ok(removed)
}

impl SqliteStore {
    /// Changes an operator, and records that in the audit log if `change` returns true.
    async fn change_operator(
        &self,
        id: &str,
        event: AuditEvent,
        change: impl FnOnce(&mut StoredOperator) -> Result<bool, StoreError> + Send + 'static,
    ) -> Result<Option<Operator>, StoreError> {
        let id = id.to_owned();
        self.write_plainly(move |transaction| {
            let Some(mut stored) = find_one(transaction, &id)? else { return Ok(None) };
            digests::record_alteration(transaction, event.at)?;
            if change(&mut stored)? {
                write(transaction, &stored.operator, stored.enrolment.as_ref())?;
                digests::append_with_statement(transaction, &event, None)?;
            }
            Ok(Some(stored.operator))
        })
        .await
    }
}

#[async_trait]
impl Operators for SqliteStore {
    async fn create_operator(
        &self,
        operator: Operator,
        enrolment: Digest,
        event: AuditEvent,
    ) -> Result<(), StoreError> {
        let mut event = event;
        // The audit log must have an entry about each operator.
        event.detail["id"] = serde_json::json!(operator.id);
        self.write_plainly(move |transaction| {
            let name = operator.name.to_lowercase();
            let taken: Option<String> = transaction
                .query_row("SELECT document FROM operator WHERE name = ?1", [&name], |row| row.get(0))
                .optional()
                .map_err(failed)?;
            if let Some(taken) = taken {
                return Err(StoreError::OperatorNameTaken(document::<Operator>(&taken)?.name));
            }
            digests::record_alteration(transaction, event.at)?;
            transaction
                .execute(
                    "INSERT INTO operator (id, name, document, enrolment, created_at) VALUES (?1, ?2, ?3, ?4, ?5)",
                    params![
                        operator.id,
                        name,
                        text(&Operator { passkeys: Vec::new(), ..operator.clone() })?,
                        enrolment.as_str(),
                        operator.created_at.as_millisecond()
                    ],
                )
                .map_err(failed)?;
            digests::append_with_statement(transaction, &event, None).map(drop)
        })
        .await
    }

    async fn operator(&self, id: &str) -> Result<Option<StoredOperator>, StoreError> {
        let id = id.to_owned();
        self.read(move |transaction| find_one(transaction, &id)).await
    }

    async fn operators(&self) -> Result<Vec<Operator>, StoreError> {
        self.read(|transaction| Ok(find(transaction, "", [])?.into_iter().map(|stored| stored.operator).collect()))
            .await
    }

    async fn operator_of_enrolment(&self, hash: &Digest) -> Result<Option<StoredOperator>, StoreError> {
        let hash = hash.to_string();
        self.read(move |transaction| Ok(find(transaction, "WHERE enrolment = ?1", [hash])?.pop())).await
    }

    async fn operator_of_passkey(&self, passkey: &str) -> Result<Option<StoredOperator>, StoreError> {
        let id = passkey.to_owned();
        let condition = "WHERE id = (SELECT operator FROM passkey WHERE id = ?1)";
        self.read(move |transaction| Ok(find(transaction, condition, [id])?.pop())).await
    }

    async fn open_enrolment(
        &self,
        id: &str,
        enrolment: Enrolment,
        hash: Digest,
        event: AuditEvent,
        notice: Option<NewEvent>,
    ) -> Result<Option<(Operator, Vec<Event>)>, StoreError> {
        let id = id.to_owned();
        self.write_plainly(move |transaction| {
            let Some(StoredOperator { mut operator, .. }) = find_one(transaction, &id)? else { return Ok(None) };
            if !operator.is_active() {
                return Ok(Some((operator, Vec::new())));
            }
            digests::record_alteration(transaction, event.at)?;
            operator.enrolment = Some(enrolment);
            write(transaction, &operator, Some(&hash))?;
            digests::append_with_statement(transaction, &event, None)?;
            let events = notice.map(|notice| events::insert_event(transaction, &notice)).transpose()?;
            Ok(Some((operator, events.into_iter().collect())))
        })
        .await
    }

    async fn add_passkey(
        &self,
        id: &str,
        passkey: StoredPasskey,
        consumed: Option<Digest>,
        event: AuditEvent,
    ) -> Result<PasskeyAdded, StoreError> {
        let id = id.to_owned();
        self.write_plainly(move |transaction| {
            let Some(StoredOperator { mut operator, enrolment, keys }) = find_one(transaction, &id)? else {
                return Ok(PasskeyAdded::NotActive);
            };
            if !operator.is_active() {
                return Ok(PasskeyAdded::NotActive);
            }
            let is_open = operator.has_open_enrolment(event.at) && enrolment == consumed;
            if consumed.is_some() && !is_open {
                return Ok(PasskeyAdded::NoEnrolment);
            }
            if keys.len() >= PASSKEYS_LIMIT {
                return Ok(PasskeyAdded::TooMany);
            }
            let known: bool = transaction
                .query_row("SELECT EXISTS (SELECT 1 FROM passkey WHERE id = ?1)", [&passkey.info.id], |row| row.get(0))
                .map_err(failed)?;
            if known {
                return Ok(PasskeyAdded::Known);
            }
            digests::record_alteration(transaction, event.at)?;
            let StoredPasskey { info, key } = passkey;
            let (passkey_id, counter, added_at) = (info.id.clone(), key.counter, info.added_at);
            transaction
                .execute(
                    "INSERT INTO passkey (id, operator, added_at, document, counter) VALUES (?1, ?2, ?3, ?4, ?5)",
                    params![
                        passkey_id,
                        id,
                        added_at.as_millisecond(),
                        text(&PasskeyDocument { info: info.clone(), key })?,
                        i64::from(counter)
                    ],
                )
                .map_err(failed)?;
            if consumed.is_some() {
                operator.enrolment = None;
                write(transaction, &operator, None)?;
            }
            digests::append_with_statement(transaction, &event, None)?;
            operator.passkeys.push(info);
            Ok(PasskeyAdded::Added(Box::new(operator)))
        })
        .await
    }

    async fn use_passkey(&self, passkey: &str, counter: u32, at: Timestamp) -> Result<PasskeyUsed, StoreError> {
        let (id, counter) = (passkey.to_owned(), i64::from(counter));
        self.write_plainly(move |transaction| {
            // Of two answers with the same count that were verified at the same time, one is accepted.
            let changed = transaction
                .execute(
                    "UPDATE passkey SET counter = ?2, used_at = ?3 WHERE id = ?1 AND (counter < ?2 OR (counter = 0 AND ?2 = 0))",
                    params![id, counter, at.as_millisecond()],
                )
                .map_err(failed)?;
            if changed > 0 {
                return Ok(PasskeyUsed::Used);
            }
            let is_known = transaction
                .prepare_cached("SELECT 1 FROM passkey WHERE id = ?1")
                .and_then(|mut statement| statement.exists([&id]))
                .map_err(failed)?;
            Ok(if is_known { PasskeyUsed::CountTooLow } else { PasskeyUsed::Unknown })
        })
        .await
    }

    async fn remove_passkey(
        &self,
        id: &str,
        passkey: &str,
        keep_last: bool,
        event: AuditEvent,
    ) -> Result<PasskeyRemoved, StoreError> {
        let (path, id, passkey) = (self.path.clone(), id.to_owned(), passkey.to_owned());
        self.write_plainly(move |transaction| {
            let Some(StoredOperator { mut operator, .. }) = find_one(transaction, &id)? else {
                return Ok(PasskeyRemoved::Unknown);
            };
            if !operator.passkeys.iter().any(|one| one.id == passkey) {
                return Ok(PasskeyRemoved::Unknown);
            }
            if keep_last && operator.passkeys.len() == 1 {
                return Ok(PasskeyRemoved::Last);
            }
            digests::record_alteration(transaction, event.at)?;
            // The file comes first: a restored database cannot undo it.
            position::add_revoked(&path, &revoked_passkey(&passkey)).map_err(|error| removal_error(&error))?;
            transaction.execute("DELETE FROM passkey WHERE id = ?1", [&passkey]).map_err(failed)?;
            digests::append_with_statement(transaction, &event, None)?;
            operator.passkeys.retain(|one| one.id != passkey);
            Ok(PasskeyRemoved::Removed(Box::new(operator)))
        })
        .await
    }

    async fn remove_operator(
        &self,
        id: &str,
        at: Timestamp,
        event: AuditEvent,
    ) -> Result<Option<Operator>, StoreError> {
        let path = self.path.clone();
        self.change_operator(id, event, move |stored| {
            if stored.operator.removed_at.is_some() {
                return Ok(false);
            }
            position::add_revoked(&path, &revoked_operator(&stored.operator.id))
                .map_err(|error| removal_error(&error))?;
            (stored.operator.removed_at, stored.operator.enrolment, stored.enrolment) = (Some(at), None, None);
            Ok(true)
        })
        .await
    }

    async fn confirm_operator(&self, id: &str, event: AuditEvent) -> Result<Option<Operator>, StoreError> {
        self.change_operator(id, event, |stored| Ok(stored.operator.suspended_at.take().is_some())).await
    }
}
