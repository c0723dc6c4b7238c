//! Age files and the destinations of their values, in `SQLite`.
//!
//! A file is known by the digest of its binary form, a value by its value id. The first destination that a value is bound to stays:
//! a later binding returns it and changes nothing. Files and values that were never accepted are left out of an answer. Nothing
//! here decrypts.

use std::collections::BTreeMap;

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension as _, params};

use super::{Secrets, SqliteStore, StoreError, failed, record, text};
use crate::model::{Destination, Digest, SecretRecord};

#[async_trait]
impl Secrets for SqliteStore {
    async fn secrets(&self, digests: Vec<Digest>) -> Result<Vec<SecretRecord>, StoreError> {
        self.read(move |transaction| {
            digests.iter().filter_map(|digest| find(transaction, digest).transpose()).collect()
        })
        .await
    }

    async fn destinations(&self, value_ids: Vec<String>) -> Result<BTreeMap<String, Destination>, StoreError> {
        self.read(move |transaction| {
            let found = value_ids.into_iter().map(|id| Ok(destination(transaction, &id)?.map(|found| (id, found))));
            found.filter_map(Result::transpose).collect()
        })
        .await
    }

    async fn bind(&self, value_id: String, to: Destination) -> Result<Destination, StoreError> {
        self.write_plainly(move |transaction| {
            bind(transaction, &value_id, &to)?;
            Ok(destination(transaction, &value_id)?.unwrap_or(to))
        })
        .await
    }

    async fn age_file(&self, digest: &Digest) -> Result<Option<Vec<u8>>, StoreError> {
        let digest = digest.clone();
        self.read(move |transaction| {
            transaction
                .prepare_cached("SELECT age_file FROM secret WHERE digest = ?1")
                .and_then(|mut statement| statement.query_row([digest.as_str()], |row| row.get(0)).optional())
                .map_err(failed)
        })
        .await
    }
}

pub(super) fn find(transaction: &Connection, digest: &Digest) -> Result<Option<SecretRecord>, StoreError> {
    record(transaction, "SELECT record FROM secret WHERE digest = ?1", [digest.as_str()])
}

/// Returns the destination that a value was first accepted for.
fn destination(transaction: &Connection, value_id: &str) -> Result<Option<Destination>, StoreError> {
    record(transaction, "SELECT destination FROM secret_value WHERE value_id = ?1", [value_id])
}

/// Records the destination that a value is accepted for, if it is the first one.
pub(super) fn bind(transaction: &Connection, value_id: &str, to: &Destination) -> Result<(), StoreError> {
    let to = text(to)?;
    transaction
        .prepare_cached(
            "INSERT INTO secret_value (value_id, destination) VALUES (?1, ?2) ON CONFLICT (value_id) DO NOTHING",
        )
        .and_then(|mut statement| statement.execute(params![value_id, to]))
        .map_err(failed)?;
    Ok(())
}
