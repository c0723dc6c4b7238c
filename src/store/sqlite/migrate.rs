//! Versions of the schema, each applied in one transaction when the store is opened. A store of a newer version is refused.
//!
//! A released version is never edited: its digest is recorded in the database and compared. A database with another digest is
//! corrupt and is not opened; an error undoes all versions of the attempt. Only a backup leads back to an older version.

use rusqlite::{Connection, OptionalExtension as _, TransactionBehavior, params};

use super::{StoreError, decoded, failed};
use crate::model::Digest;

/// The versions, oldest first. A released version is never edited; a test keeps their digests.
pub(super) const VERSIONS: &[&str] = &[
    include_str!("0001_tables.sql"),
    include_str!("0002_history_index.sql"),
    include_str!("0003_verification.sql"),
    include_str!("0004_outbox.sql"),
    include_str!("0005_lease.sql"),
    include_str!("0006_rotation.sql"),
    include_str!("0007_submission_answer.sql"),
    include_str!("0008_event_index.sql"),
    include_str!("0009_proof.sql"),
    include_str!("0010_secret_value.sql"),
    include_str!("0011_digests_and_documents.sql"),
    include_str!("0012_audit_head.sql"),
    include_str!("0013_delivery_epoch.sql"),
    include_str!("0014_session.sql"),
    include_str!("0015_proposal.sql"),
    include_str!("0016_operator.sql"),
    include_str!("0017_results_and_search.sql"),
    include_str!("0018_sender.sql"),
];

/// The version whose migration `decoded.rs` completes.
const DECODED: u32 = 10;

/// Refuses a database of a newer version than this program knows.
pub(super) fn check_version(connection: &Connection) -> Result<(), StoreError> {
    let found: u32 = connection
        .query_row("SELECT coalesce(max(version), 0) FROM schema_version", [], |row| row.get(0))
        .map_err(failed)?;
    let known = u32::try_from(VERSIONS.len()).unwrap_or(u32::MAX);
    if found > known { Err(StoreError::Newer { found, known }) } else { Ok(()) }
}

/// Returns true if the database has the newest version.
pub(super) fn is_current(connection: &Connection) -> Result<bool, StoreError> {
    let count: u32 =
        connection.query_row("SELECT count(*) FROM schema_version", [], |row| row.get(0)).map_err(failed)?;
    Ok(count as usize == VERSIONS.len())
}

/// Migrates the database to the newest version, or up to `target` (for the test of migrations from older versions).
pub(super) fn migrate(connection: &mut Connection, target: usize) -> Result<(), StoreError> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
    transaction
        .execute_batch(
            "CREATE TABLE IF NOT EXISTS schema_version (
                version INTEGER PRIMARY KEY, digest TEXT NOT NULL
            ) STRICT",
        )
        .map_err(failed)?;
    check_version(&transaction)?;
    for (version, text) in (1_u32..).zip(VERSIONS).take(target) {
        let digest = Digest::of_bytes(text.as_bytes());
        let taken: Option<String> = transaction
            .query_row("SELECT digest FROM schema_version WHERE version = ?1", [version], |row| row.get(0))
            .optional()
            .map_err(failed)?;
        match taken {
            Some(taken) if taken == digest.as_str() => {}
            Some(_) => {
                return Err(StoreError::Corrupt(format!("schema version {version} is not the one that was released")));
            }
            None => {
                transaction.execute_batch(text).map_err(failed)?;
                if version == DECODED {
                    decoded::rewrite(&transaction)?;
                }
                transaction
                    .execute(
                        "INSERT INTO schema_version (version, digest) VALUES (?1, ?2)",
                        params![version, digest.as_str()],
                    )
                    .map_err(failed)?;
            }
        }
    }
    transaction.commit().map_err(failed)
}
